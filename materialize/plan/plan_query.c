/* SPDX-License-Identifier: Apache-2.0 */
/* Look into a plan: paths and listing. */
#include <string.h>

#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/invariant.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#define LINKS_MAX    40u
#define PATH_CEILING ((size_t)1 << 20)

static void add_path(const struct varve_plan *p, uint32_t name, struct buf *b)
{
	size_t n = 0, at;
	char *q;

	for (uint32_t i = name; i != PLAN_ROOT; i = p->names[i].parent)
		n += strlen(p->names[i].name) + 1;
	q = buf_room(b, n);
	if (!q)
		return;
	at = n;
	for (uint32_t i = name; i != PLAN_ROOT; i = p->names[i].parent) {
		size_t len = strlen(p->names[i].name);

		q[--at] = '/';
		at -= len;
		memcpy(q + at, p->names[i].name, len);
	}
	b->n += n - 1; /* without the last slash */
	b->p[b->n] = 0;
}

int plan_path(const struct varve_plan *p, uint32_t name, struct buf *b)
{
	buf_reset(b);
	if (name == PLAN_ROOT)
		buf_adds(b, ".");
	else
		add_path(p, name, b);
	return buf_error(b);
}

static const struct plan_inode *inode_of(const struct varve_plan *p, uint32_t name)
{
	assert(name < p->n_names && p->names[name].inode < p->n_inodes);
	return &p->inodes[p->names[name].inode];
}

static uint32_t child_of(const struct varve_plan *p, uint32_t dir, struct span s)
{
	uint32_t i = p->names[dir].first_child;

	assert(dir < p->n_names);
	while (i != PLAN_NONE && !span_eq(s, p->names[i].name))
		i = p->names[i].next_sibling;
	return i;
}

uint32_t plan_lookup(const struct varve_plan *p, const char *path, bool follow)
{
	struct buf b[2];
	struct span rest = span_str(path), c;
	uint32_t at = PLAN_ROOT;
	unsigned n_links = 0;

	buf_init(&b[0], PATH_CEILING);
	buf_init(&b[1], PATH_CEILING);
	while (rest.n > 0 && at != PLAN_NONE) {
		bool more = span_cut(&rest, '/', &c);
		uint32_t child;

		if (!S_ISDIR(inode_of(p, at)->mode)) {
			at = PLAN_NONE;
			break;
		}
		if (c.n == 0 || span_eq(c, "."))
			continue;
		if (span_eq(c, "..")) {
			at = p->names[at].parent;
			continue;
		}
		child = child_of(p, at, c);
		if (child != PLAN_NONE && S_ISLNK(inode_of(p, child)->mode) && (more || follow)) {
			const char *target = inode_of(p, child)->target;
			struct buf *to = &b[n_links % 2];

			buf_reset(to);
			buf_adds(to, target);
			buf_addc(to, '/');
			buf_add(to, rest.p, rest.n);
			rest = span_of(to->p, to->n);
			if (++n_links > LINKS_MAX || buf_error(to) < 0)
				at = PLAN_NONE;
			else if (*target == '/')
				at = PLAN_ROOT;
			continue;
		}
		at = child;
	}
	buf_done(&b[0]);
	buf_done(&b[1]);
	return at;
}

int plan_find(const struct varve_plan *p, const char *path, bool follow, uint32_t *ret,
	      struct varve_err *e)
{
	*ret = path && *path ? plan_lookup(p, path, follow) : PLAN_ROOT;
	if (*ret != PLAN_NONE)
		return 0;
	return varve_fail(e, VARVE_E_NOTFOUND, "%s: not in the image", TEXT_SAFE(path));
}

static int tell(const struct varve_plan *p, uint32_t name, struct buf *path, struct buf *link,
		int (*fn)(void *, const struct varve_entry *), void *user, struct varve_err *e)
{
	const struct plan_inode *i = inode_of(p, name);
	struct varve_entry x = {
		.mode = i->mode,
		.uid = i->uid,
		.gid = i->gid,
		.size = i->size,
		.mtime = i->mtime,
		.mtime_ns = i->mtime_ns,
		.link = S_ISLNK(i->mode) ? i->target : NULL,
		.is_hardlink = i->first_name != name,
		.dev_major = i->rdev_major,
		.dev_minor = i->rdev_minor,
		.layer = i->layer,
		.n_xattrs = i->n_xattrs,
		.xattrs = i->xattrs,
	};
	int r = plan_path(p, name, path);

	if (r == 0 && x.is_hardlink)
		r = plan_path(p, i->first_name, link);
	if (r < 0)
		return varve_fail_oom(e);
	x.path = path->p;
	if (x.is_hardlink)
		x.link = link->p;
	return fn(user, &x);
}

int varve_plan_each(const struct varve_plan *p, const char *path,
		    int (*fn)(void *user, const struct varve_entry *entry), void *user,
		    struct varve_err *e)
{
	struct buf a, b;
	uint32_t top, i;
	int r = plan_find(p, path, false, &top, e);

	if (r < 0)
		return r;
	buf_init(&a, PATH_CEILING);
	buf_init(&b, PATH_CEILING);
	for (i = top; r == 0; i++) {
		r = i % 4096 == 0 ? ctx_check(store_ctx(p->store), e) : 0;
		if (r == 0)
			r = tell(p, i, &a, &b, fn, user, e);
		/* Index order is depth first: the subtree ends where parents lie before top. */
		if (i + 1 == p->n_names || p->names[i + 1].parent < top)
			break;
	}
	buf_done(&a);
	buf_done(&b);
	return r;
}
