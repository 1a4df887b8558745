/* SPDX-License-Identifier: Apache-2.0 */
/* How a check tells what it found, and when it has to end. */

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/care/check.h"
#include "store/layout.h"
#include <stdarg.h>
#include <string.h>

bool check_must_end(int code)
{
	return store_disk_full(code) || err_is_passing(code);
}

bool check_repairs(const struct check *c)
{
	return c->opt->repair && !c->store->read_only;
}

void check_report(struct check *c, enum check_level level, const char *what, const char *name,
		  const char *fmt, ...)
{
	struct varve_check_finding f = {.error = level != CHECK_NOTE,
					.repaired = level == CHECK_REPAIRED,
					.what = what,
					.name = name};
	char message[1024];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(message, sizeof(message), fmt, ap) < 0)
		message[0] = '\0';
	va_end(ap);
	f.message = message;
	if (level != CHECK_NOTE)
		c->result->errors++;
	if (level == CHECK_REPAIRED)
		c->result->repaired++;
	if (c->opt->finding)
		c->opt->finding(c->opt->user, &f);
}
