/* SPDX-License-Identifier: Apache-2.0 */
/* See lower.h. */
#include "store/lower.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/derived.h"
#include "store/index/crc32c.h"
#include "store/record.h"

#include <string.h>

#define FACTS_MAGIC "varvefc1"
#define FACTS_MAX   512

void lower_facts_write(struct buf *b, const struct varve_digest *blob,
		       const struct varve_layer_facts *facts)
{
	buf_add(b, FACTS_MAGIC, sizeof(FACTS_MAGIC) - 1);
	record_add_digest(b, blob);
	record_add_digest(b, &facts->diff_id);
	record_add_uint(b, facts->size, 8);
	record_add_uint(b, facts->entries, 8);
	record_add_uint(b, (uint64_t)facts->compression, 1);
	if (buf_error(b) == 0)
		record_add_uint(b, crc32c(0, b->p, b->n), 4);
}

bool lower_facts_parse(struct span text, const struct varve_digest *blob,
		       struct varve_layer_facts *ret)
{
	const size_t magic = sizeof(FACTS_MAGIC) - 1;
	struct varve_layer_facts f = {0};
	struct record_in in, crc;
	struct varve_digest of;

	if (text.n < magic + 4 || memcmp(text.p, FACTS_MAGIC, magic) != 0)
		return false;
	in = (struct record_in){(const unsigned char *)text.p + magic,
				(const unsigned char *)text.p + text.n - 4, false};
	crc = (struct record_in){in.end, in.end + 4, false};
	of = record_digest(&in);
	f.diff_id = record_digest(&in);
	f.size = record_uint(&in, 8);
	f.entries = record_uint(&in, 8);
	f.compression = (enum varve_compression)record_uint(&in, 1);
	if (in.bad || in.p != in.end || record_uint(&crc, 4) != crc32c(0, text.p, text.n - 4) ||
	    !varve_digest_equal(&of, blob) || !varve_digest_is_set(&f.diff_id) ||
	    f.compression > VARVE_COMP_SQUASHFS)
		return false;
	*ret = f;
	return true;
}

int lower_put_facts(struct varve_store *s, const struct varve_digest *blob,
		    const struct varve_layer_facts *facts, struct varve_err *e)
{
	struct aux_file file;
	struct buf b;
	int r = aux_create(s, &file, e);

	if (r < 0)
		return r;
	buf_init(&b, FACTS_MAX);
	lower_facts_write(&b, blob, facts);
	if (buf_error(&b) < 0)
		r = varve_fail_oom(e);
	else if (fsx_pwrite_all(file.fd, b.p, b.n, 0) < 0)
		r = varve_fail_errno(e, "facts of layer %s", DIGEST_STR(blob));
	buf_done(&b);
	if (r == 0)
		return aux_commit(&file, LOWER_FACTS, blob, e);
	aux_abort(&file);
	return r;
}

bool lower_get_facts(struct varve_store *s, const struct varve_digest *blob,
		     struct varve_layer_facts *ret)
{
	VARVE_CLOSE int fd = -1;
	struct buf b;
	bool found;

	buf_init(&b, FACTS_MAX);
	found = aux_open(s, LOWER_FACTS, blob, &fd, NULL) == 0 &&
		fsx_read_file(fd, NULL, &b, NULL) == 0 &&
		lower_facts_parse(span_of(b.p, b.n), blob, ret);
	buf_done(&b);
	return found;
}
