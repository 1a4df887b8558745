/* SPDX-License-Identifier: Apache-2.0 */
/* Encode and decode the values of the database. */
#include "store/record.h"

#include "store/base/hash.h"

#include <string.h>

#define VERSION         1
#define VERSION_INSTALL 2 /* 1: without "made" */

/* --- pieces --- */

size_t record_digest_len(const struct varve_digest *d)
{
	return 1 + digest_len(d->algo);
}

bool record_digest_of(struct span key, struct varve_digest *ret)
{
	size_t n;

	if (key.n < 1)
		return false;
	n = digest_len((unsigned char)key.p[0]);
	if (n == 0 || key.n != 1 + n)
		return false;
	*ret = (struct varve_digest){0};
	memcpy(ret, key.p, key.n);
	return true;
}

uint64_t record_uint(struct record_in *in, unsigned bytes)
{
	uint64_t v = 0;
	unsigned i;

	if (in->bad || (size_t)(in->end - in->p) < bytes) {
		in->bad = true;
		return 0;
	}
	for (i = 0; i < bytes; i++)
		v |= (uint64_t)in->p[i] << (8 * i);
	in->p += bytes;
	return v;
}

struct varve_digest record_digest(struct record_in *in)
{
	struct varve_digest d = {0};
	size_t n;

	if (record_uint(in, 1) == 0) /* none */
		return d;
	n = in->bad ? 0 : digest_len(in->p[-1]);
	if (n == 0 || (size_t)(in->end - in->p) < n) {
		in->bad = true;
		return d;
	}
	d.algo = in->p[-1];
	memcpy(d.bytes, in->p, n);
	in->p += n;
	return d;
}

struct span record_str(struct record_in *in)
{
	uint64_t n = record_uint(in, 2);
	struct span s = {NULL, 0};

	if (in->bad || n == 0)
		return s;
	n--;
	if ((size_t)(in->end - in->p) < n) {
		in->bad = true;
		return s;
	}
	s = span_of(in->p, n);
	in->p += n;
	return s;
}

void record_add_uint(struct buf *b, uint64_t v, unsigned bytes)
{
	unsigned char le[8];
	unsigned i;

	for (i = 0; i < bytes; i++)
		le[i] = (unsigned char)(v >> (8 * i));
	buf_add(b, le, bytes);
}

void record_add_digest(struct buf *b, const struct varve_digest *d)
{
	if (!varve_digest_is_set(d))
		record_add_uint(b, 0, 1);
	else
		buf_add(b, d, record_digest_len(d));
}

/* Stored as length + 1, so that "no string" is told from an empty one. Longer ones are cut. */
void record_add_str(struct buf *b, struct span s)
{
	size_t n = s.n < 65534 ? s.n : 65534;

	record_add_uint(b, s.p ? n + 1 : 0, 2);
	if (s.p)
		buf_add(b, s.p, n);
}

static struct record_in begin(struct span v)
{
	struct record_in in = {(const unsigned char *)v.p, (const unsigned char *)v.p + v.n, false};

	if (record_uint(&in, 1) != VERSION)
		in.bad = true;
	return in;
}

static void add_platform(struct buf *b, const struct varve_platform *p)
{
	record_add_str(b, span_str(p->os));
	record_add_str(b, span_str(p->arch));
	record_add_str(b, span_str(p->variant));
}

static void get_word(struct record_in *in, char *out, size_t size)
{
	struct span s = record_str(in);

	if (s.n >= size) {
		in->bad = true;
		return;
	}
	if (s.n)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

static void get_platform(struct record_in *in, struct varve_platform *p)
{
	get_word(in, p->os, sizeof(p->os));
	get_word(in, p->arch, sizeof(p->arch));
	get_word(in, p->variant, sizeof(p->variant));
}

/* --- blob --- */

/* Seven bits a byte, the lowest first. */
static void add_varint(struct buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		record_add_uint(b, (v & 0x7f) | 0x80, 1);
	record_add_uint(b, v, 1);
}

static uint64_t get_varint(struct record_in *in)
{
	uint64_t v = 0, byte = 0x80;
	unsigned shift;

	for (shift = 0; (byte & 0x80) && shift < 64 && !in->bad; shift += 7) {
		byte = record_uint(in, 1);
		v |= (byte & 0x7f) << shift;
	}
	if (byte & 0x80)
		in->bad = true;
	return v;
}

uint64_t record_origin_id(struct span origin)
{
	struct varve_digest d = {0};
	uint64_t id = 0;
	unsigned i;

	(void)hash_bytes(VARVE_SHA256, origin.p, origin.n, &d, NULL);
	for (i = 0; i < 8; i++)
		id |= (uint64_t)d.bytes[i] << (8 * i);
	return id;
}

void blob_brief_put(struct buf *b, const struct blob_record *r)
{
	record_add_uint(b, VERSION, 1);
	record_add_uint(b, (uint64_t)r->state | (uint64_t)r->kind << 4, 1);
	add_varint(b, r->size);
	record_add_uint(b, r->has_facts ? (uint64_t)r->facts.compression + 1 : 0, 1);
	if (r->has_facts)
		add_varint(b, r->facts.size);
}

bool blob_brief_get(struct span v, struct blob_record *r)
{
	struct record_in in = begin(v);
	uint64_t bits = record_uint(&in, 1), facts;

	*r = (struct blob_record){0};
	r->state = (enum blob_state)(bits & 15);
	r->kind = (enum varve_blob_kind)(bits >> 4);
	r->size = get_varint(&in);
	facts = record_uint(&in, 1);
	if (facts) {
		r->has_facts = true;
		r->facts.compression = (enum varve_compression)(facts - 1);
		r->facts.size = get_varint(&in);
	}
	return !in.bad && (r->state == BLOB_PRESENT || r->state == BLOB_MISSING) &&
	       r->kind <= VARVE_BLOB_LAYER && facts <= (uint64_t)VARVE_COMP_SQUASHFS + 1;
}

void blob_more_put(struct buf *b, const struct blob_record *r)
{
	size_t i;

	record_add_uint(b, VERSION, 1);
	add_varint(b, (uint64_t)r->added_at);
	add_varint(b, (uint64_t)r->verified_at);
	add_varint(b, (uint64_t)r->mtime_ns);
	record_add_uint(b, r->has_facts, 1);
	if (r->has_facts) {
		record_add_digest(b, &r->facts.diff_id);
		add_varint(b, r->facts.entries);
	}
	record_add_uint(b, r->n_origins, 1);
	for (i = 0; i < r->n_origins; i++)
		record_add_uint(b, record_origin_id(r->origins[i]), 8);
}

bool blob_more_get(struct span v, struct blob_record *r)
{
	struct record_in in = begin(v);
	size_t i;

	r->added_at = (int64_t)get_varint(&in);
	r->verified_at = (int64_t)get_varint(&in);
	r->mtime_ns = (int64_t)get_varint(&in);
	if (record_uint(&in, 1)) {
		r->facts.diff_id = record_digest(&in);
		r->facts.entries = get_varint(&in);
	}
	r->n_origins = record_uint(&in, 1);
	if (r->n_origins > RECORD_MAX_ORIGINS)
		return false;
	for (i = 0; i < r->n_origins; i++)
		r->origin_ids[i] = record_uint(&in, 8);
	return !in.bad;
}

bool blob_record_add_origin(struct blob_record *r, struct span origin)
{
	size_t i, at = r->n_origins;

	for (i = 0; i < r->n_origins; i++) {
		if (r->origins[i].n == origin.n && memcmp(r->origins[i].p, origin.p, origin.n) == 0)
			at = i;
	}
	if (at == 0 && r->n_origins > 0)
		return false;
	if (at == r->n_origins && r->n_origins < RECORD_MAX_ORIGINS)
		r->n_origins++;
	if (at == RECORD_MAX_ORIGINS)
		at--;
	for (; at > 0; at--)
		r->origins[at] = r->origins[at - 1];
	r->origins[0] = origin;
	return true;
}

/* --- image --- */

void image_record_put(struct buf *b, const struct image_record *r, const struct image_ref *refs)
{
	uint32_t i;

	record_add_uint(b, VERSION, 1);
	add_platform(b, &r->platform);
	record_add_uint(b, r->docker, 1);
	record_add_uint(b, (uint64_t)r->fetched_at, 8);
	record_add_uint(b, r->n_layers, 4);
	record_add_uint(b, r->n_refs, 4);
	for (i = 0; i < r->n_refs; i++) {
		record_add_uint(b, refs[i].role, 1);
		record_add_uint(b, refs[i].size, 8);
		record_add_digest(b, &refs[i].digest);
	}
}

bool image_record_get(struct span v, struct image_record *r)
{
	struct record_in in = begin(v);

	*r = (struct image_record){0};
	get_platform(&in, &r->platform);
	r->docker = record_uint(&in, 1) != 0;
	r->fetched_at = (int64_t)record_uint(&in, 8);
	r->n_layers = (uint32_t)record_uint(&in, 4);
	r->n_refs = (uint32_t)record_uint(&in, 4);
	if (in.bad)
		return false;
	r->refs = span_of(in.p, (size_t)(in.end - in.p));
	return true;
}

bool image_next_ref(struct span *rest, struct image_ref *ret)
{
	struct record_in in = {(const unsigned char *)rest->p,
			       (const unsigned char *)rest->p + rest->n, false};

	if (rest->n == 0)
		return false;
	ret->role = (enum image_role)record_uint(&in, 1);
	ret->size = record_uint(&in, 8);
	ret->digest = record_digest(&in);
	if (in.bad || ret->role < ROLE_MANIFEST || ret->role > ROLE_PARENT ||
	    !varve_digest_is_set(&ret->digest)) {
		rest->n = 0;
		return false;
	}
	*rest = span_of(in.p, (size_t)(in.end - in.p));
	return true;
}

/* --- tag --- */

void tag_record_put(struct buf *b, const struct tag_record *r)
{
	record_add_uint(b, VERSION, 1);
	record_add_str(b, r->name);
	record_add_str(b, r->reference);
	record_add_str(b, r->source);
	record_add_str(b, r->origin);
	record_add_str(b, r->place);
	record_add_digest(b, &r->target);
	record_add_digest(b, &r->manifest);
	add_platform(b, &r->platform);
	record_add_uint(b, r->is_default, 1);
	record_add_uint(b, (uint64_t)r->fetched_at, 8);
}

bool tag_record_get(struct span v, struct tag_record *r)
{
	struct record_in in = begin(v);

	*r = (struct tag_record){0};
	r->name = record_str(&in);
	r->reference = record_str(&in);
	r->source = record_str(&in);
	r->origin = record_str(&in);
	r->place = record_str(&in);
	r->target = record_digest(&in);
	r->manifest = record_digest(&in);
	get_platform(&in, &r->platform);
	r->is_default = record_uint(&in, 1) != 0;
	r->fetched_at = (int64_t)record_uint(&in, 8);
	return !in.bad && r->name.p && r->reference.p && varve_digest_is_set(&r->manifest);
}

size_t tag_key_prefix(char key[RECORD_KEY_MAX], struct span reference)
{
	struct varve_digest d;

	if (reference.n + 1 + 84 <= RECORD_KEY_MAX) {
		memcpy(key, reference.p, reference.n);
		key[reference.n] = '\0';
		return reference.n + 1;
	}
	if (hash_bytes(VARVE_SHA256, reference.p, reference.n, &d, NULL) < 0)
		return 0;
	key[0] = (char)0xff;
	memcpy(key + 1, d.bytes, 32);
	key[33] = '\0';
	return 34;
}

size_t tag_key(char key[RECORD_KEY_MAX], struct span reference, const struct varve_platform *p)
{
	size_t n = tag_key_prefix(key, reference);
	char text[84];

	if (n == 0)
		return 0;
	(void)varve_platform_str(p, text);
	memcpy(key + n, text, strlen(text));
	return n + strlen(text);
}

/* --- install --- */

static struct span opt_span(const char *s)
{
	return s ? span_str(s) : (struct span){NULL, 0};
}

void install_record_put(struct buf *b, const struct varve_install_record *in)
{
	record_add_uint(b, VERSION_INSTALL, 1);
	record_add_str(b, opt_span(in->roots));
	record_add_str(b, opt_span(in->label));
	record_add_str(b, opt_span(in->directory));
	record_add_str(b, opt_span(in->reference));
	record_add_digest(b, &in->manifest);
	add_platform(b, &in->platform);
	record_add_uint(b, in->state, 1);
	record_add_uint(b, in->dev, 8);
	record_add_uint(b, in->ino, 8);
	record_add_uint(b, (uint64_t)in->installed_at, 8);
	record_add_uint(b, in->generation, 8);
	record_add_uint(b, in->made, 4);
	record_add_str(b, opt_span(in->source));
	record_add_str(b, opt_span(in->origin));
	record_add_str(b, opt_span(in->settings));
	record_add_digest(b, &in->target);
}

bool install_record_get(struct span v, struct varve_install_record *ret,
			struct span s[INSTALL_STRINGS])
{
	struct record_in in = {(const unsigned char *)v.p, (const unsigned char *)v.p + v.n, false};
	uint64_t version = record_uint(&in, 1);
	bool more;
	size_t i;

	if (version < VERSION || version > VERSION_INSTALL)
		return false;
	*ret = (struct varve_install_record){0};
	for (i = 0; i < 4; i++)
		s[i] = record_str(&in);
	ret->manifest = record_digest(&in);
	get_platform(&in, &ret->platform);
	ret->state = (enum varve_install_state)record_uint(&in, 1);
	ret->dev = record_uint(&in, 8);
	ret->ino = record_uint(&in, 8);
	ret->installed_at = (int64_t)record_uint(&in, 8);
	ret->generation = record_uint(&in, 8);
	if (version >= VERSION_INSTALL)
		ret->made = (uint32_t)record_uint(&in, 4);
	more = version >= VERSION_INSTALL && in.p < in.end; /* records of before had no more */
	for (i = 4; i < INSTALL_STRINGS; i++)
		s[i] = more ? record_str(&in) : (struct span){NULL, 0};
	if (more)
		ret->target = record_digest(&in);
	return !in.bad && s[0].p && s[1].p && s[2].p && ret->state <= VARVE_INSTALL_PREVIOUS;
}

/* --- pin, used --- */

void pin_record_put(struct buf *b, const struct pin_record *r)
{
	record_add_uint(b, VERSION, 1);
	record_add_str(b, r->reference);
	record_add_uint(b, (uint64_t)r->since, 8);
}

bool pin_record_get(struct span v, struct pin_record *r)
{
	struct record_in in = begin(v);

	r->reference = record_str(&in);
	r->since = (int64_t)record_uint(&in, 8);
	return !in.bad;
}

void used_record_put(struct buf *b, int64_t when)
{
	record_add_uint(b, VERSION, 1);
	record_add_uint(b, (uint64_t)when, 8);
}

bool used_record_get(struct span v, int64_t *ret)
{
	struct record_in in = begin(v);

	*ret = (int64_t)record_uint(&in, 8);
	return !in.bad;
}
