/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a roots dir, each tree with its record. */
#include "materialize/trees/trees.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/catalog.h"
#include "store/trust.h"

static int by_directory(const void *a, const void *b)
{
	return strcmp(((const struct tree *)a)->directory, ((const struct tree *)b)->directory);
}

static void look_at(const struct roots *r, struct tree *t)
{
	struct statx stx;

	t->odd = t->hidden = true;
	if (statx(r->fd, t->directory, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		  STATX_BASIC_STATS | STATX_BTIME, &stx))
		return;
	t->ino = stx.stx_ino;
	t->owner = stx.stx_uid;
	t->born = stx.stx_mask & STATX_BTIME ? stx.stx_btime.tv_sec : 0;
	t->hidden = (stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
		    (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
	t->odd = t->hidden || !S_ISDIR(stx.stx_mode);
}

static int add_tree(struct tree_scan *s, size_t *cap, const char *directory, const struct tree *t,
		    struct varve_err *e)
{
	if (s->n == *cap) {
		size_t more = *cap ? 2 * *cap : 16;
		struct tree *p = realloc(s->trees, more * sizeof(*p));

		if (!p)
			return varve_fail_oom(e);
		s->trees = p;
		*cap = more;
	}
	s->trees[s->n] = *t;
	s->trees[s->n].directory = strdup(directory);
	if (!s->trees[s->n].directory)
		return varve_fail_oom(e);
	s->n++;
	return 0;
}

static int read_directory(const struct roots *r, struct tree_scan *s, struct varve_err *e)
{
	VARVE_CLOSEDIR DIR *d = NULL;
	struct dirent *de;
	size_t cap = 0;
	int fd = openat(r->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	}
	while ((errno = 0, de = readdir(d))) {
		struct tree t = {0};
		int ret;

		if (!label_from_directory(de->d_name, &t.kind, t.label, &t.generation))
			continue;
		ret = add_tree(s, &cap, de->d_name, &t, e);
		if (ret < 0)
			return ret;
		look_at(r, &s->trees[s->n - 1]);
	}
	if (errno)
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	if (s->n)
		qsort(s->trees, s->n, sizeof(*s->trees), by_directory);
	return 0;
}

/*
 * A record is a tree's if it has the inode number, under a name that the record's label allows. A
 * directory born after the install only inherited the number of one that was deleted behind our
 * back.
 */
static bool record_fits(const struct varve_install_record *in, const struct tree *t)
{
	if (in->ino != t->ino || t->odd)
		return false;
	if (t->born && in->installed_at && t->born > in->installed_at)
		return false;
	return t->kind == TREE_ACTIVE || !strcmp(in->label, t->label);
}

static const struct varve_install_record *find_record(const struct varve_install_list *l,
						      const struct tree *t)
{
	for (size_t i = 0; i < l->n; i++)
		if (record_fits(&l->items[i], t))
			return &l->items[i];
	return NULL;
}

/* Whose root directory an image gave to another user has a record. */
static void find_foreign(const struct roots *r, struct tree_scan *s)
{
	for (size_t i = 0; r->shared && i < s->n; i++)
		s->trees[i].foreign =
			!s->trees[i].record && !trust_owner(r->store, s->trees[i].owner);
}

static int join(const struct roots *r, struct tree_scan *s, struct varve_err *e)
{
	bool orphans = false;
	int ret;

	for (size_t i = 0; i < s->n; i++) {
		s->trees[i].record = find_record(&s->records, &s->trees[i]);
		orphans |= !s->trees[i].record && !s->trees[i].odd;
	}
	if (orphans) {
		ret = sidecar_list(r, &s->sidecars, e);
		if (ret < 0)
			return ret;
	}
	for (size_t i = 0; i < s->n; i++) {
		struct tree *t = &s->trees[i];

		if (!t->record)
			t->record = find_record(&s->sidecars, t);
		if (t->record) {
			(void)snprintf(t->label, sizeof(t->label), "%s", t->record->label);
		} else if (t->kind == TREE_ACTIVE && !t->odd) {
			VARVE_CLOSE int fd = fsx_open_dir(r->fd, t->directory);

			if (fd >= 0)
				label_from_tree(fd, t->label);
		}
	}
	find_foreign(r, s);
	return 0;
}

int tree_scan(const struct roots *r, struct tree_scan *ret, struct varve_err *e)
{
	struct tree_scan s = {0};
	int x;

	x = varve_store_installs(r->store, r->path, &s.records, e);
	if (x >= 0)
		x = read_directory(r, &s, e);
	if (x >= 0)
		x = join(r, &s, e);
	if (x < 0)
		tree_scan_done(&s);
	else
		*ret = s;
	return x;
}

void tree_scan_done(struct tree_scan *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->trees[i].directory);
	free(s->trees);
	varve_install_list_free(&s->records);
	sidecar_list_free(&s->sidecars);
	*s = (struct tree_scan){0};
}

/* --- finding one --- */

struct tree *tree_by_directory(const struct tree_scan *s, const char *directory)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->trees[i].directory, directory))
			return &s->trees[i];
	return NULL;
}

struct tree *tree_by_label(const struct tree_scan *s, const char *label)
{
	for (size_t i = 0; i < s->n; i++)
		if ((s->trees[i].kind == TREE_ACTIVE || s->trees[i].kind == TREE_NAMED) &&
		    !strcmp(s->trees[i].label, label))
			return &s->trees[i];
	return NULL;
}

struct tree *tree_by_inode(const struct tree_scan *s, uint64_t ino)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].ino == ino && !s->trees[i].odd)
			return &s->trees[i];
	return NULL;
}

struct tree *tree_active(const struct tree_scan *s)
{
	return tree_by_directory(s, TREE_ACTIVE_NAME);
}

uint64_t tree_next_generation(const struct tree_scan *s, const char *label)
{
	uint64_t max = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].kind == TREE_PREVIOUS && !strcmp(s->trees[i].label, label))
			max = VARVE_MAX(max, s->trees[i].generation);
	return max + 1;
}

void tree_nearest(const struct tree_scan *s, const char *label, struct buf *out)
{
	unsigned best = UINT32_MAX;
	unsigned n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].kind <= TREE_NAMED && s->trees[i].label[0])
			best = VARVE_MIN(best, text_distance(label, s->trees[i].label));
	for (size_t i = 0; i < s->n && n < 5; i++) {
		const struct tree *t = &s->trees[i];

		if (t->kind > TREE_NAMED || !t->label[0])
			continue;
		if (best <= strlen(label) / 2 && text_distance(label, t->label) > best)
			continue;
		buf_adds(out, n++                         ? ", "
			      : best <= strlen(label) / 2 ? "; nearest: "
							  : "; installed: ");
		text_escape(out, t->label, strlen(t->label));
	}
	if (!n)
		buf_adds(out, "; none is installed here");
}
