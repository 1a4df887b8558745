/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as the records of a stored table of contents with a right checksum: refused, or planned
 * without harm. */
#include "materialize/layer/toc_format.h"
#include "materialize/plan/tree.h"
#include "plan_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct toc_file_header h = {
		.magic = TOC_MAGIC, .version = TOC_VERSION, .bytes = n, .entries = n / 100};
	struct varve_plan_layer layer = {0};
	struct varve_plan p = {0};
	struct tree_keep keep = {0};
	struct tree *t;
	struct toc *toc;
	uint8_t *bytes = malloc(sizeof(h) + n);

	CHECK(bytes);
	if (n > 0)
		memcpy(bytes + sizeof(h), data, n);
	/* How many records there are is for the fuzzer to say, by the length of the first. */
	if (n >= 4) {
		uint32_t len;

		memcpy(&len, data, sizeof(len));
		h.entries = len ? n / len : 0;
	}
	h.crc = toc_crc(0, bytes + sizeof(h), n);
	h.header_crc = toc_crc(0, &h, sizeof(h));
	memcpy(bytes, &h, sizeof(h));
	if (toc_open_memory(&toc, bytes, sizeof(h) + n, NULL) == 0) {
		CHECK(tree_new(&t, NULL, NULL, NULL) == 0);
		if (tree_apply(t, toc, 0, NULL) == 0 &&
		    tree_freeze(t, &p, &layer, 1, &keep, NULL) == 0) {
			struct buf path;

			/* Types, sizes and extents are as the
			 * records say: only names are checked. */
			buf_init(&path, 1u << 20);
			for (uint32_t k = 0; k < p.n_names; k++) {
				plan_check_name(&p, k);
				CHECK(plan_path(&p, k, &path) == 0);
			}
			buf_done(&path);
		}
		tree_thaw(&p, &keep);
		tree_free(t);
		toc_free(toc);
	}
	free(bytes);
	return 0;
}
