/* SPDX-License-Identifier: Apache-2.0 */
/* Small values of other modules, by key. */
#include "store/state.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "store/catalog.h"
#include "store/record.h"
#include "store/store.h"

#include <string.h>

struct state_change {
	struct span key, value;
};

static int put(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct state_change *c = user;

	if (!c->value.p)
		return index_del(t, INDEX_STATE, c->key.p, c->key.n, e);
	return index_put(t, INDEX_STATE, c->key.p, c->key.n, c->value.p, c->value.n, e);
}

int catalog_put_state(struct varve_store *s, const char *key, const void *value, size_t n,
		      struct varve_err *e)
{
	struct state_change c = {span_str(key), span_of(value, value ? n : 0)};

	if (c.key.n == 0 || c.key.n > RECORD_KEY_MAX || n > RECORD_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "state \"%s\" is too large", TEXT_SAFE(key));
	if (s->read_only)
		return 0; /* like installs: what must outlive the command is kept beside the tree */
	return index_update(s->index, put, &c, e);
}

struct state_read {
	struct span key;
	struct buf *out;
};

static int get(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct state_read *q = user;
	struct span v;
	int r = index_get(t, INDEX_STATE, q->key.p, q->key.n, &v, e);

	if (r == 1) {
		buf_reset(q->out);
		buf_add(q->out, v.p, v.n);
		if (buf_error(q->out) < 0)
			return buf_fail(q->out, e, "state is larger than expected");
	}
	return r;
}

int catalog_get_state(struct varve_store *s, const char *key, struct buf *out, struct varve_err *e)
{
	struct state_read q = {span_str(key), out};

	return q.key.n == 0 || q.key.n > RECORD_KEY_MAX ? 0 : index_view(s->index, get, &q, e);
}

/* Copies of what has the prefix, so that fn runs
 * outside of the transaction and may change state. */
struct state_scan {
	struct span prefix;
	struct buf copy; /* key length, value length, key, NUL, value, NUL */
};

static int copy_one(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct state_scan *c = user;

	record_add_uint(&c->copy, key.n, 8);
	record_add_uint(&c->copy, value.n, 8);
	buf_add(&c->copy, key.p, key.n);
	buf_addc(&c->copy, '\0');
	buf_add(&c->copy, value.p, value.n);
	buf_addc(&c->copy, '\0');
	return buf_error(&c->copy) < 0 ? varve_fail_oom(e) : 0;
}

static int scan(struct index_txn *t, void *user, struct varve_err *e)
{
	struct state_scan *c = user;

	return index_each(t, INDEX_STATE, c->prefix.p, c->prefix.n, copy_one, c, e);
}

int catalog_each_state(struct varve_store *s, const char *prefix,
		       int (*fn)(void *user, const char *key, const void *value, size_t n),
		       void *user, struct varve_err *e)
{
	struct state_scan c = {.prefix = span_str(prefix)};
	struct record_in in;
	int r;

	buf_init(&c.copy, SIZE_MAX / 2);
	r = index_view(s->index, scan, &c, e);
	in = (struct record_in){(const unsigned char *)c.copy.p,
				(const unsigned char *)c.copy.p + c.copy.n, false};
	while (r == 0 && in.p < in.end) {
		uint64_t key_n = record_uint(&in, 8), n = record_uint(&in, 8);
		const char *key = (const char *)in.p;

		r = fn(user, key, key + key_n + 1, n);
		in.p += key_n + n + 2;
	}
	buf_done(&c.copy);
	return r;
}
