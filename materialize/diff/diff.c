/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compare an installed tree with its plan. First names and attributes, directory by directory; then
 * the content of the files that could have changed, layer by layer, as it streams by.
 */
#include "materialize/diff/diff.h"
#include "materialize/plan/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#define PATH_CEILING ((size_t)1 << 20)

static const struct plan_inode *inode_of(const struct diff *d, uint32_t name)
{
	return &d->p->inodes[d->p->names[name].inode];
}

static bool target_differs(const char *target, int dir, const char *name)
{
	char text[4097];
	ssize_t n = readlinkat(dir, name, text, sizeof(text));

	return n < 0 || (size_t)n != strlen(target) || memcmp(text, target, (size_t)n) != 0;
}

static bool is_device(const struct plan_inode *i)
{
	return S_ISCHR(i->mode) || S_ISBLK(i->mode);
}

/* The path of an open directory's child for calls that know no directory fds. */
static void proc_path(char *to, size_t size, int dir, const char *name)
{
	(void)snprintf(to, size, "/proc/self/fd/%d/%s", dir, name);
}

static int compare_entry(struct diff *d, int dir, const char *name, uint32_t index,
			 const struct stat *st)
{
	const struct plan_inode *i = inode_of(d, index);
	unsigned c = diff_stat(d, i, st);
	char proc[64 + 256];

	d->ret->entries++;
	if (!(c & VARVE_DIFF_TYPE)) {
		c |= diff_links(d, index, st);
		proc_path(proc, sizeof(proc), dir, name);
		if (diff_xattrs(d, i, proc))
			c |= VARVE_DIFF_XATTRS;
		if (S_ISLNK(i->mode) && target_differs(i->target, dir, name))
			c |= VARVE_DIFF_TARGET;
		/* Content is told later, together with what was found here. */
		if (S_ISREG(i->mode) && !(c & VARVE_DIFF_SIZE) && i->size > 0 &&
		    (c & VARVE_DIFF_MTIME || diff_is_suspect(d, st))) {
			d->inodes[d->p->names[index].inode].suspect = true;
			d->changes[index] = c | DIFF_SUSPECT;
			return 0;
		}
	}
	return c ? diff_tell(d, VARVE_DIFF_CHANGED, d->path.p, c, st->st_mode) : 0;
}

/* --- trees that are only on one side --- */

static int tell_removed(struct diff *d, uint32_t name)
{
	const struct varve_plan *p = d->p;
	int r = 0;

	for (uint32_t k = name; r == 0 && k < p->n_names; k++) {
		if (k > name && p->names[k].parent < name)
			break;
		if (d->no_devices && is_device(inode_of(d, k)))
			continue;
		if (plan_path(p, k, &d->path) < 0)
			return varve_fail_oom(d->e);
		r = diff_tell(d, VARVE_DIFF_REMOVED, d->path.p, 0, inode_of(d, k)->mode);
	}
	return r;
}

/* --- directories --- */

/* A directory still to be compared: of the plan too, or (name PLAN_NONE) only in the tree. */
static int push(struct diff *d, const char *path, uint32_t name)
{
	struct diff_dir *x;

	if (d->n_dirs == d->cap_dirs) {
		size_t cap = d->cap_dirs * 2 + 64;

		x = reallocarray(d->dirs, cap, sizeof(*x));
		if (!x)
			return varve_fail_oom(d->e);
		d->dirs = x;
		d->cap_dirs = cap;
	}
	x = &d->dirs[d->n_dirs];
	x->name = name;
	x->path = strdup(path);
	if (!x->path)
		return varve_fail_oom(d->e);
	d->n_dirs++;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct listing {
	char **names;
	size_t n, cap;
};

static void listing_done(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
}

static int list(int fd, struct listing *l)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	VARVE_CLOSEDIR DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!dir)
		return -1;
	while ((errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (l->n == l->cap) {
			size_t cap = l->cap * 2 + 32;
			char **p = reallocarray(l->names, cap, sizeof(*p));

			if (!p)
				return -1;
			l->names = p;
			l->cap = cap;
		}
		l->names[l->n] = strdup(entry->d_name);
		if (!l->names[l->n])
			return -1;
		l->n++;
	}
	if (errno)
		return -1;
	if (l->n > 1)
		qsort(l->names, l->n, sizeof(*l->names), by_text);
	return 0;
}

static void set_path(struct diff *d, const char *dir, const char *name)
{
	buf_reset(&d->path);
	if (strcmp(dir, ".") != 0)
		buf_printf(&d->path, "%s/", dir);
	buf_adds(&d->path, name);
}

static int on_child(struct diff *d, int fd, const char *dir, const char *name, uint32_t index)
{
	struct stat st;
	bool same_device;
	int r;

	set_path(d, dir, name);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == EACCES)
		return diff_tell(d, VARVE_DIFF_UNREADABLE, d->path.p, 0, 0);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : varve_fail_errno(d->e, "%s", TEXT_SAFE(d->path.p));
	same_device = st.st_dev == d->dev;
	if (index == PLAN_NONE)
		r = diff_tell(d, VARVE_DIFF_ADDED, d->path.p, 0, st.st_mode);
	else
		r = compare_entry(d, fd, name, index, &st);
	if (r == 0 && S_ISDIR(st.st_mode) && same_device)
		return push(d, d->path.p,
			    index != PLAN_NONE && S_ISDIR(inode_of(d, index)->mode) ? index
										    : PLAN_NONE);
	/* The image's directory is something else now: what it held is gone. */
	if (r == 0 && index != PLAN_NONE && S_ISDIR(inode_of(d, index)->mode))
		for (uint32_t k = d->p->names[index].first_child; r == 0 && k != PLAN_NONE;
		     k = d->p->names[k].next_sibling)
			r = tell_removed(d, k);
	return r;
}

/* Both lists are sorted by bytes. */
static int merge(struct diff *d, int fd, const struct diff_dir *dir, const struct listing *l)
{
	const struct plan_name *names = d->p->names;
	uint32_t k = dir->name == PLAN_NONE ? PLAN_NONE : names[dir->name].first_child;
	size_t i = 0;
	int r = 0;

	while (r == 0 && (i < l->n || k != PLAN_NONE)) {
		int c = i == l->n ? 1 : k == PLAN_NONE ? -1 : strcmp(l->names[i], names[k].name);

		if (c > 0)
			r = tell_removed(d, k);
		else
			r = on_child(d, fd, dir->path, l->names[i], c == 0 ? k : PLAN_NONE);
		if (c <= 0)
			i++;
		if (c >= 0)
			k = names[k].next_sibling;
	}
	return r;
}

static int compare_dir(struct diff *d, const struct diff_dir *dir)
{
	VARVE_CLOSE int fd = fsx_open_beneath(d->root, dir->path, O_RDONLY | O_DIRECTORY, 0);
	struct listing l = {0};
	int r = ctx_check(store_ctx(d->p->store), d->e);

	if (r < 0)
		return r;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0; /* changed under our eyes */
	if (fd < 0 && errno == EACCES)
		return diff_tell(d, VARVE_DIFF_UNREADABLE, dir->path, 0, S_IFDIR);
	if (fd < 0 || list(fd, &l) < 0)
		r = varve_fail_errno(d->e, "%s", TEXT_SAFE(dir->path));
	if (r == 0)
		r = merge(d, fd, dir, &l);
	listing_done(&l);
	return r;
}

static int compare_dirs(struct diff *d)
{
	struct stat st;
	int r;

	if (fstat(d->root, &st) < 0)
		return varve_fail_errno(d->e, "the tree");
	d->dev = st.st_dev;
	buf_adds(&d->path, ".");
	r = compare_entry(d, d->root, ".", PLAN_ROOT, &st);
	if (r == 0)
		r = push(d, ".", PLAN_ROOT);
	while (r == 0 && d->n_dirs > 0) {
		struct diff_dir dir = d->dirs[--d->n_dirs];

		r = compare_dir(d, &dir);
		free(dir.path);
	}
	return r;
}

static void diff_done(struct diff *d)
{
	while (d->n_dirs > 0)
		free(d->dirs[--d->n_dirs].path);
	free(d->dirs);
	free(d->inodes);
	free(d->changes);
	buf_done(&d->path);
	if (d->probe >= 0)
		(void)close(d->probe);
	if (d->root >= 0)
		(void)close(d->root);
}

int varve_diff(struct varve_plan *p, const char *tree, const struct varve_diff_options *opt,
	       struct varve_diff_result *ret, struct varve_err *e)
{
	struct varve_diff_options own;
	struct diff d = {.p = p, .ret = ret, .opt = &own, .e = e};
	int r = OPTIONS_COPY(&own, opt, user, e);

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r;
	diff_attr_init(&d);
	buf_init(&d.path, PATH_CEILING);
	d.inodes = calloc(p->n_inodes, sizeof(*d.inodes));
	d.changes = calloc(p->n_names, sizeof(*d.changes));
	d.root = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.root < 0)
		r = varve_fail_errno(e, "tree %s", TEXT_SAFE(tree));
	else if (!d.inodes || !d.changes)
		r = varve_fail_oom(e);
	if (r == 0)
		r = compare_dirs(&d);
	if (r == 0)
		r = diff_contents(&d);
	diff_done(&d);
	return r;
}
