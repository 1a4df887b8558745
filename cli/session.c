/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON document of a command, and the end of what it has open. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>

enum { FLUSH_AT = 1 << 20 };

void session_done(struct cli *c)
{
	if (c->close)
		c->close(c);
	varve_json_free(c->json);
	free(c->store_path);
	free(c->roots_path);
}

int session_json(struct cli *c, struct varve_err *e)
{
	if (!c->g.json || c->json)
		return 0;
	c->json = varve_json_new(true);
	return c->json ? 0 : varve_fail(e, ENOMEM, "out of memory");
}

struct varve_json *cli_json(struct cli *c, const char *schema)
{
	if (!c->g.json)
		return NULL;
	varve_json_object(c->json, NULL);
	varve_json_str(c->json, "schema", schema);
	return c->json;
}

static int drain(struct cli *c, struct varve_err *e)
{
	size_t n;
	const char *text = varve_json_drain(c->json, &n);

	if (!text)
		return varve_fail(e, ENOMEM, "out of memory for the JSON document");
	out_write(text, n);
	return 0;
}

int cli_json_end(struct cli *c, struct varve_err *e)
{
	int r;

	varve_json_end_object(c->json);
	r = drain(c, e);
	if (r == 0)
		out_write("\n", 1);
	return r;
}

int cli_json_flush(struct cli *c, struct varve_err *e)
{
	return varve_json_pending(c->json) < FLUSH_AT ? 0 : drain(c, e);
}
