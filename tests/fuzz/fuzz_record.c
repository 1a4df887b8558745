/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a value of the database, of each kind; what is read of a brief record of a blob and
 * written again is read in the same way. */
#include <stdint.h>
#include <stdlib.h>

#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_blob(struct span v)
{
	struct blob_record r = {0}, again = {0};
	struct buf b;

	(void)blob_more_get(v, &r);
	r = (struct blob_record){0};
	if (!blob_brief_get(v, &r))
		return;
	buf_init(&b, RECORD_MAX);
	blob_brief_put(&b, &r);
	if (buf_error(&b) || !blob_brief_get(span_of(b.p, b.n), &again) || again.size != r.size ||
	    again.state != r.state || again.kind != r.kind || again.has_facts != r.has_facts)
		abort();
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span v = span_of(data, n), rest, s[INSTALL_STRINGS];
	struct varve_install_record in = {0};
	struct image_record im = {0};
	struct pin_record pin = {0};
	struct tag_record tag = {0};
	struct image_ref ref;
	int64_t when;

	check_blob(v);
	if (image_record_get(v, &im)) {
		rest = im.refs;
		while (image_next_ref(&rest, &ref)) /* who reads them counts them */
			if (!varve_digest_is_set(&ref.digest))
				abort();
	}
	(void)tag_record_get(v, &tag);
	(void)install_record_get(v, &in, s);
	(void)pin_record_get(v, &pin);
	(void)used_record_get(v, &when);
	return 0;
}
