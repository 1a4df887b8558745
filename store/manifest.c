/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manifest.h"

#include "store/base/buf.h"
#include "store/base/compiler.h"
#include "store/blob.h"

int manifest_read(struct oci_manifest **ret, struct varve_store *s, const struct varve_digest *d,
		  uint64_t *ret_size, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	int r;

	buf_init(&b, OCI_DOC_MAX);
	r = blob_read(s, d, &b, e);
	if (r == 0)
		r = oci_manifest_parse(ret, b.p, b.n, e);
	if (r == 0 && ret_size)
		*ret_size = b.n;
	return r;
}
