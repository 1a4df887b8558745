/* SPDX-License-Identifier: Apache-2.0 */
/* Decode the records of a pax extended header (POSIX.1-2017 pax, "pax Header Block"), and sparse
 * maps. */
#include "materialize/tar/tar_pax.h"
#include "materialize/tar/tar_header.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

/* More attributes than these are found by a table of their numbers plus one, at most half full. */
#define FEW_XATTRS  16u
#define XATTR_SLOTS (2 * TAR_XATTRS_MAX)

void tar_meta_reset(struct tar_meta *m)
{
	struct tar_meta fresh = {.xattrs = m->xattrs,
				 .cap_xattrs = m->cap_xattrs,
				 .xattr_slots = m->xattr_slots,
				 .secret = m->secret,
				 .extents = m->extents,
				 .cap_extents = m->cap_extents};

	if (m->n_xattrs > FEW_XATTRS)
		memset(m->xattr_slots, 0, XATTR_SLOTS * sizeof(*m->xattr_slots));
	*m = fresh;
}

void tar_meta_done(struct tar_meta *m)
{
	free(m->xattrs);
	free(m->xattr_slots);
	free(m->extents);
	memset(m, 0, sizeof(*m));
}

static int bad(struct varve_err *e, struct span key, const char *why)
{
	char k[64];
	size_t n = VARVE_MIN(key.n, sizeof(k) - 1);

	memcpy(k, key.p, n);
	k[n] = 0;
	return varve_fail(e, VARVE_E_FORMAT, "pax header: %s: %s", TEXT_SAFE(k), why);
}

/* Room for one more item in a growing array, doubling, at most max items. */
static int grow(void **p, uint32_t *cap, uint32_t n, uint32_t max, size_t item, const char *what,
		struct varve_err *e)
{
	uint32_t c = *cap ? *cap * 2 : 16;
	void *q;

	if (n < *cap)
		return 0;
	if (n >= max)
		return varve_fail(e, VARVE_E_LIMIT, "tar entry: more than %u %s", max, what);
	q = realloc(*p, c * item);
	if (!q)
		return varve_fail_oom(e);
	*p = q;
	*cap = c;
	return 0;
}

int tar_meta_extent(struct tar_meta *m, uint64_t off, uint64_t n, struct varve_err *e)
{
	void *p = m->extents;
	int r = grow(&p, &m->cap_extents, m->n_extents, TAR_EXTENTS_MAX, sizeof(*m->extents),
		     "sparse extents", e);

	if (r < 0)
		return r;
	m->extents = p;
	m->extents[m->n_extents++] = (struct file_extent){off, n};
	return 0;
}

int tar_meta_check_extents(struct tar_meta *m, uint64_t size, uint64_t *ret_sum,
			   struct varve_err *e)
{
	uint64_t end = 0, sum = 0;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < m->n_extents; i++) {
		struct file_extent x = m->extents[i];

		if (x.off > size || x.n > size - x.off || x.off < end)
			return varve_fail(e, VARVE_E_FORMAT,
					  "sparse map: extents overlap or lie outside the file");
		end = x.off + x.n;
		sum += x.n;
		if (x.n == 0)
			continue;
		if (kept > 0 && m->extents[kept - 1].off + m->extents[kept - 1].n == x.off)
			m->extents[kept - 1].n += x.n;
		else
			m->extents[kept++] = x;
	}
	m->n_extents = kept;
	*ret_sum = sum;
	return 0;
}

/* Seconds with an optional sign and fraction; what does not fit is clamped (M05). */
static bool parse_time(struct span s, int64_t *ret_s, uint32_t *ret_ns, bool *clamped)
{
	bool negative = false;
	uint64_t v = 0;
	uint32_t ns = 0, scale = 100000000;
	size_t i = 0;

	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		negative = s.p[i++] == '-';
	if (i == s.n || s.p[i] == '.')
		return false;
	for (; i < s.n && s.p[i] != '.'; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (v > (uint64_t)INT64_MAX / 10 - 1)
			*clamped = true;
		else
			v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	for (i++; i < s.n; i++, scale /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		ns += scale * (uint32_t)(s.p[i] - '0');
	}
	if (*clamped)
		v = INT64_MAX, ns = 0;
	*ret_s = negative ? -(int64_t)v : (int64_t)v;
	*ret_ns = ns;
	if (negative && ns > 0) {
		*ret_s -= 1;
		*ret_ns = 1000000000 - ns;
	}
	return true;
}

static int take_id(struct span key, struct span v, uint32_t *ret, bool *has, struct varve_err *e)
{
	uint64_t n;

	/* (uid_t)-1 means "leave it" to chown: never a user of an image (CVE-2024-40635). */
	if (!span_u64(v, UINT32_MAX - 1, &n))
		return bad(e, key, "an id must be a number below 4294967295");
	*ret = (uint32_t)n;
	*has = true;
	return 0;
}

static int take_text(struct span key, struct span v, struct span *ret, bool *has,
		     struct varve_err *e)
{
	if (memchr(v.p, 0, v.n))
		return bad(e, key, "a name must not hold a NUL");
	*ret = v;
	*has = true;
	return 0;
}

/* Where the attribute of that name is in the table, or would be. */
static uint16_t *xattr_slot(const struct tar_meta *m, const char *name)
{
	size_t at = (size_t)siphash13(&m->secret, 0, name, strlen(name));

	for (;; at++) {
		uint16_t *slot = &m->xattr_slots[at % XATTR_SLOTS];

		if (!*slot || strcmp(m->xattrs[*slot - 1].name, name) == 0)
			return slot;
	}
}

static struct varve_xattr *find_xattr(const struct tar_meta *m, const char *name)
{
	uint16_t *slot;

	if (m->n_xattrs > FEW_XATTRS) {
		slot = xattr_slot(m, name);
		return *slot ? &m->xattrs[*slot - 1] : NULL;
	}
	for (uint32_t i = 0; i < m->n_xattrs; i++)
		if (strcmp(m->xattrs[i].name, name) == 0)
			return &m->xattrs[i];
	return NULL;
}

/* The last one that was added goes into the table, with all before it when there is none yet. */
static int note_xattr(struct tar_meta *m, struct varve_err *e)
{
	uint32_t i = m->n_xattrs - 1;

	if (m->n_xattrs <= FEW_XATTRS)
		return 0;
	if (!m->xattr_slots) {
		m->xattr_slots = calloc(XATTR_SLOTS, sizeof(*m->xattr_slots));
		if (!m->xattr_slots) {
			m->n_xattrs = 0;
			return varve_fail_oom(e);
		}
		siphash_key_new(&m->secret, m);
	}
	if (m->n_xattrs == FEW_XATTRS + 1)
		i = 0;
	for (; i < m->n_xattrs; i++)
		*xattr_slot(m, m->xattrs[i].name) = (uint16_t)(i + 1);
	return 0;
}

static int take_xattr(struct tar_meta *m, struct span key, const char *name, struct span v,
		      struct varve_err *e)
{
	struct varve_xattr *before;
	void *p = m->xattrs;
	int r;

	if (*name == 0 || strlen(name) > 255)
		return bad(e, key, "bad name of an extended attribute");
	if (v.n > TAR_XATTR_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "extended attribute %s: more than %u bytes",
				  TEXT_SAFE(name), TAR_XATTR_MAX);
	before = find_xattr(m, name);
	if (before) {
		before->value = v.p;
		before->size = v.n;
		return 0;
	}
	r = grow(&p, &m->cap_xattrs, m->n_xattrs, TAR_XATTRS_MAX, sizeof(*m->xattrs),
		 "extended attributes", e);
	if (r < 0)
		return r;
	m->xattrs = p;
	m->xattrs[m->n_xattrs++] = (struct varve_xattr){name, v.p, v.n};
	return note_xattr(m, e);
}

/* GNU.sparse.map of format 0.1: "offset,bytes,offset,bytes". */
static int take_map(struct tar_meta *m, struct span key, struct span v, struct varve_err *e)
{
	struct span item;
	uint64_t off, n;
	bool more = v.n > 0;

	m->n_extents = 0;
	while (more) {
		if (!span_cut(&v, ',', &item) || !span_u64(item, INT64_MAX, &off))
			return bad(e, key, "not a list of offset,size pairs");
		more = span_cut(&v, ',', &item);
		if (!span_u64(item, INT64_MAX, &n))
			return bad(e, key, "not a list of offset,size pairs");
		int r = tar_meta_extent(m, off, n, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int take_sparse(struct tar_meta *m, struct span key, struct span v, struct varve_err *e)
{
	struct span sub = {key.p + strlen("GNU.sparse."), key.n - strlen("GNU.sparse.")};
	uint64_t n = 0;

	m->sparse = true;
	if (span_eq(sub, "name"))
		return take_text(key, v, &m->path, &m->has_path, e);
	if (span_eq(sub, "map"))
		return take_map(m, key, v, e);
	if (!span_u64(v, INT64_MAX, &n))
		return bad(e, key, "not a number");
	if (span_eq(sub, "size") || span_eq(sub, "realsize")) {
		m->realsize = n;
		m->has_realsize = true;
	} else if (span_eq(sub, "major")) {
		m->sparse_major = (unsigned)VARVE_MIN(n, 1000u);
	} else if (span_eq(sub, "minor")) {
		m->sparse_minor = (unsigned)VARVE_MIN(n, 1000u);
	} else if (span_eq(sub, "offset")) {
		if (m->half_extent)
			return bad(e, key, "two offsets without a size between");
		m->half_extent = true;
		m->half_off = n;
	} else if (span_eq(sub, "numbytes")) {
		if (!m->half_extent)
			return bad(e, key, "a size without an offset");
		m->half_extent = false;
		return tar_meta_extent(m, m->half_off, n, e);
	}
	return 0;
}

static int take_record(struct tar_meta *m, struct span key, struct span v, struct varve_err *e)
{
	static const char xattr[] = "SCHILY.xattr.";

	if (span_starts(key, xattr))
		return take_xattr(m, key, key.p + strlen(xattr), v, e);
	if (v.n == 0)
		return 0; /* "as if the record were not there": the header's own value counts */
	if (span_starts(key, "GNU.sparse."))
		return take_sparse(m, key, v, e);
	if (span_eq(key, "path"))
		/* GNU.sparse.name is the true one, whatever the order. */
		return m->sparse && m->has_path ? 0 : take_text(key, v, &m->path, &m->has_path, e);
	if (span_eq(key, "linkpath"))
		return take_text(key, v, &m->link, &m->has_link, e);
	if (span_eq(key, "uid"))
		return take_id(key, v, &m->uid, &m->has_uid, e);
	if (span_eq(key, "gid"))
		return take_id(key, v, &m->gid, &m->has_gid, e);
	if (span_eq(key, "mtime")) {
		m->has_mtime = parse_time(v, &m->mtime, &m->mtime_ns, &m->clamped);
		return m->has_mtime ? 0 : bad(e, key, "not a time");
	}
	if (span_eq(key, "size")) {
		m->has_size = span_u64(v, INT64_MAX, &m->size);
		return m->has_size ? 0 : bad(e, key, "not a size");
	}
	/* LIBARCHIVE.xattr.*, RHT.security.selinux and the rest: no other tool applies them to
	 * layers (M12). */
	if (span_starts(key, "SCHILY.acl."))
		m->acl = true;
	return 0;
}

/* "<length> <key>=<value>\n", length counts itself. Key and value are made strings in place. */
int tar_meta_pax(struct tar_meta *m, char *text, size_t n, struct varve_err *e)
{
	while (n > 0) {
		char *space = memchr(text, ' ', VARVE_MIN(n, (size_t)20)), *end, *eq;
		uint64_t len;
		int r;

		/* Padding with NULs is seen in the wild. */
		if (*text == 0)
			return 0;
		if (!space || !span_u64(span_of(text, (size_t)(space - text)), n, &len) ||
		    len < (uint64_t)(space - text) + 3)
			return varve_fail(e, VARVE_E_FORMAT, "pax header: bad record length");
		end = text + len - 1;
		eq = memchr(space + 1, '=', (size_t)(end - space - 1));
		if (*end != '\n' || !eq || eq == space + 1)
			return varve_fail(e, VARVE_E_FORMAT, "pax header: malformed record");
		if (memchr(space + 1, 0, (size_t)(eq - space - 1)))
			return varve_fail(e, VARVE_E_FORMAT, "pax header: NUL in a keyword");
		*end = 0;
		*eq = 0;
		r = take_record(m, span_of(space + 1, (size_t)(eq - space - 1)),
				span_of(eq + 1, (size_t)(end - eq - 1)), e);
		if (r < 0)
			return r;
		text += len;
		n -= len;
	}
	return m->half_extent ? varve_fail(e, VARVE_E_FORMAT, "sparse map: half an extent") : 0;
}
