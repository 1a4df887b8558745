/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a block of header lines, and each
 * as a Content-Range: what is accepted is a range. */
#include <stdint.h>
#include <stdlib.h>

#include "fetch/http/headers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span rest = span_of(data, n), line, value;
	struct content_range cr;
	struct varve_digest d;
	struct headers h;
	char type[64];
	uint64_t number;
	bool more;

	headers_init(&h);
	do {
		more = span_cut(&rest, '\n', &line);
		if (content_range_parse(line, &cr) && !cr.unsatisfied &&
		    (cr.last < cr.first || cr.last >= cr.complete))
			abort();
		(void)headers_line(&h, line.p, line.n);
	} while (more);
	for (unsigned i = 0; headers_get(&h, "Content-Range", i, &value); i++)
		(void)content_range_parse(value, &cr);
	(void)headers_media_type(&h, type, sizeof(type));
	(void)headers_u64(&h, "Content-Length", &number);
	(void)headers_digest(&h, &d);
	headers_done(&h);
	return 0;
}
