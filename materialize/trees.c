/* SPDX-License-Identifier: Apache-2.0 */
/* Open, lock and list a roots dir; join what is on disk with what is recorded. */
#include "materialize/trees.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/blob.h"
#include "store/catalog.h"

#define WAIT_STEP_NS 100000000

/* --- the directory --- */

static int fd_path(int fd, char **ret, struct varve_err *e)
{
	VARVE_FREE char *p = malloc(PATH_MAX);
	char link[32];
	ssize_t n;

	if (!p)
		return varve_fail_oom(e);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, p, PATH_MAX - 1);
	if (n <= 0 || p[0] != '/')
		return varve_fail_errno(e, "%s (is /proc mounted?)", link);
	p[n] = '\0';
	*ret = VARVE_TAKE(p);
	return 0;
}

static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return !strncmp(path, top, n) && (path[n] == '/' || !path[n]);
}

static int check_place(const struct roots *r, struct varve_err *e)
{
	VARVE_FREE char *store = realpath(varve_store_path(r->store), NULL);
	struct stat st;

	if (fstat(r->fd, &st))
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	if ((st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH)
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s: everybody may rename and delete in this directory; "
				  "\"chmod o-w\" it or choose another with --roots",
				  TEXT_SAFE(r->path));
	if (store && is_below(r->path, store))
		return varve_fail(e, VARVE_E_CONFLICT,
				  "%s: lies in the store %s; choose another with --roots",
				  TEXT_SAFE(r->path), TEXT_SAFE(store));
	return 0;
}

int roots_open(struct roots *r, struct varve_store *s, const char *path, bool create,
	       struct varve_err *e)
{
	int ret;

	*r = (struct roots){.fd = -1, .store = s, .ctx = store_ctx(s)};
	if (!path || path[0] != '/')
		return varve_fail(e, VARVE_E_USAGE, "%s: the roots dir needs an absolute path",
				  path ? TEXT_SAFE(path) : "(none)");
	r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->fd < 0 && errno == ENOENT && create) {
		ret = fsx_make_path(path, 0700, e);
		if (ret < 0)
			return varve_wrap(e, ret, "make the roots dir");
		r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (r->fd < 0 && errno == ENOENT)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: there is no such roots dir; \"varve install\" makes it",
				  TEXT_SAFE(path));
	if (r->fd < 0)
		return varve_fail_errno(e, "roots dir %s", TEXT_SAFE(path));
	ret = fd_path(r->fd, &r->path, e);
	if (ret >= 0)
		ret = check_place(r, e);
	if (ret < 0)
		roots_close(r);
	else
		r->writable = !faccessat(r->fd, ".", W_OK, AT_EACCESS);
	r->journalled = !varve_store_is_read_only(s);
	return ret;
}

void roots_close(struct roots *r)
{
	if (r->fd >= 0)
		(void)close(r->fd);
	free(r->path);
	*r = (struct roots){.fd = -1};
}

int roots_wait_flock(const struct roots *r, int fd, const char *what, struct varve_err *e)
{
	const struct timespec step = {.tv_nsec = WAIT_STEP_NS};
	bool said = false;

	while (fsx_flock(fd, LOCK_EX | LOCK_NB)) {
		int ret;

		if (errno != EWOULDBLOCK)
			return varve_fail_errno(e, "lock %s", what);
		if (!said)
			log_warn(r->ctx, "roots", "waiting for another varve that works on %s",
				 what);
		said = true;
		ret = ctx_check(r->ctx, e);
		if (ret < 0)
			return ret;
		(void)nanosleep(&step, NULL);
	}
	return 0;
}

int roots_lock_new(struct roots *r, struct varve_err *e)
{
	return roots_wait_flock(r, r->fd, TEXT_SAFE(r->path), e);
}

int roots_lock(struct roots *r, struct varve_err *e)
{
	int ret;

	if (!r->writable)
		return varve_fail(e, VARVE_E_READONLY, "%s: cannot write to this roots dir",
				  TEXT_SAFE(r->path));
	if (!r->journalled)
		return varve_fail(
			e, VARVE_E_READONLY,
			"%s: trees are exchanged and removed under a journal in the store, "
			"and the store %s is read-only",
			TEXT_SAFE(r->path), TEXT_SAFE(varve_store_path(r->store)));
	ret = roots_lock_new(r, e);
	if (ret < 0)
		return ret;
	ret = swap_recover(r, e);
	if (ret < 0)
		roots_unlock(r);
	return ret;
}

void roots_unlock(struct roots *r)
{
	(void)fsx_flock(r->fd, LOCK_UN);
}

/* --- what is there --- */

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
static bool record_fits(const struct varve_install *in, const struct tree *t)
{
	if (in->ino != t->ino || t->odd)
		return false;
	if (t->born && in->installed_at && t->born > in->installed_at)
		return false;
	return t->kind == TREE_ACTIVE || !strcmp(in->label, t->label);
}

static const struct varve_install *find_record(const struct varve_install_list *l,
					       const struct tree *t)
{
	for (size_t i = 0; i < l->n; i++)
		if (record_fits(&l->items[i], t))
			return &l->items[i];
	return NULL;
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

/* --- records --- */

bool tree_is_remembered(const struct tree_scan *s, const struct tree *t)
{
	const struct varve_install *first = s->sidecars.items;

	return t->record && t->kind != TREE_DELETED && s->sidecars.n && t->record >= first &&
	       t->record < first + s->sidecars.n;
}

static enum varve_install_state state_of(enum tree_kind kind)
{
	return kind == TREE_PREVIOUS  ? VARVE_INSTALL_PREVIOUS
	       : kind == TREE_STAGING ? VARVE_INSTALL_STAGING
				      : VARVE_INSTALL_READY;
}

/* Or it may be: below a mount nobody can see. */
static bool on_disk(const struct tree_scan *s, const struct varve_install *in)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct tree *t = &s->trees[i];

		if (t->hidden ? !strcmp(t->directory, in->directory)
			      : t->record == in && t->kind != TREE_DELETED)
			return true;
	}
	return false;
}

/* Ids of records whose tree is gone. Another file system at this place (not mounted?) proves
 * nothing. */
static size_t gone(const struct roots *r, const struct tree_scan *s, const char **ids)
{
	struct stat st;
	size_t n = 0;

	if (fstat(r->fd, &st))
		return 0;
	for (size_t i = 0; i < s->records.n; i++) {
		const struct varve_install *in = &s->records.items[i];

		if (in->dev == (uint64_t)st.st_dev && !on_disk(s, in))
			ids[n++] = in->id;
	}
	return n;
}

int tree_records_update(const struct roots *r, const char *const *del, struct varve_err *e)
{
	struct tree_scan s = {0};
	VARVE_FREE struct varve_install *put = NULL;
	VARVE_FREE const char **ids = NULL;
	size_t n_put = 0, n_ids = 0, n_del = 0;
	struct stat st;
	int x;

	x = tree_scan(r, &s, e);
	if (x < 0)
		return x;
	while (del && del[n_del])
		n_del++;
	put = calloc(s.n + 1, sizeof(*put));
	ids = calloc(s.records.n + n_del + 1, sizeof(*ids));
	if (!put || !ids) {
		tree_scan_done(&s);
		return varve_fail_oom(e);
	}
	n_ids = gone(r, &s, ids);
	for (size_t i = 0; i < n_del; i++)
		ids[n_ids++] = del[i];
	for (size_t i = 0; i < s.n && !fstat(r->fd, &st); i++) {
		const struct tree *t = &s.trees[i];
		struct varve_install in;

		if (!t->record || t->kind == TREE_DELETED)
			continue;
		in = *t->record;
		in.roots = r->path;
		in.directory = t->directory;
		in.state = state_of(t->kind);
		in.dev = (uint64_t)st.st_dev;
		in.generation = t->kind == TREE_PREVIOUS ? t->generation : in.generation;
		if (strcmp(in.directory, t->record->directory) || in.state != t->record->state ||
		    in.dev != t->record->dev || in.generation != t->record->generation ||
		    tree_is_remembered(&s, t))
			put[n_put++] = in;
	}
	if (n_put || n_ids)
		x = catalog_update_installs(r->store, put, n_put, n_ids ? ids : NULL, e);
	tree_scan_done(&s);
	return x;
}

/* --- the public list --- */

struct list_priv {
	struct tree_scan scan;
};

static void fill_item(struct varve_tree *out, const struct tree *t)
{
	*out = (struct varve_tree){
		.label = t->label,
		.directory = t->directory,
		.active = t->kind == TREE_ACTIVE,
		.previous = t->kind == TREE_PREVIOUS,
		.generation = t->generation,
	};
	if (!t->record)
		return;
	out->reference = t->record->reference;
	out->platform = t->record->platform;
	out->source = t->record->source;
	out->origin = t->record->origin;
	out->target = t->record->target;
	out->settings = t->record->settings;
	out->manifest = t->record->manifest;
	out->installed_at = t->record->installed_at;
	out->made = t->record->made;
	out->ours = varve_digest_is_set(&t->record->manifest);
}

static int list_trees(struct roots *r, struct varve_tree_list *ret, struct varve_err *e)
{
	struct list_priv *p;
	size_t n = 0;
	int x;

	p = calloc(1, sizeof(*p));
	if (!p)
		return varve_fail_oom(e);
	x = tree_scan(r, &p->scan, e);
	if (x >= 0)
		ret->items = calloc(p->scan.n + 1, sizeof(*ret->items));
	if (x < 0 || !ret->items) {
		tree_scan_done(&p->scan);
		free(p);
		return x < 0 ? x : varve_fail_oom(e);
	}
	for (size_t i = 0; i < p->scan.n; i++) {
		const struct tree *t = &p->scan.trees[i];

		if (!t->odd && t->kind != TREE_STAGING && t->kind != TREE_DELETED)
			fill_item(&ret->items[n++], t);
	}
	ret->n = n;
	ret->priv = p;
	return 0;
}

int varve_trees_remember(struct varve_store *s, const char *roots, uint64_t *ret,
			 struct varve_err *e)
{
	struct tree_scan scan;
	struct roots r;
	uint64_t n = 0;
	int x;

	x = roots_open(&r, s, roots, false, e);
	if (x < 0)
		return x;
	x = roots_lock(&r, e);
	if (x >= 0)
		x = tree_scan(&r, &scan, e);
	if (x >= 0) {
		for (size_t i = 0; i < scan.n; i++)
			n += tree_is_remembered(&scan, &scan.trees[i]);
		tree_scan_done(&scan);
		x = tree_records_update(&r, NULL, e);
	}
	roots_close(&r);
	if (x >= 0)
		*ret = n;
	return x < 0 ? x : 0;
}

int varve_trees(struct varve_store *s, const char *roots, struct varve_tree_list *ret,
		struct varve_err *e)
{
	struct roots r;
	int x;

	*ret = (struct varve_tree_list){0};
	if (roots && roots[0] == '/' && access(roots, F_OK) && errno == ENOENT)
		return 0; /* nothing was installed yet */
	x = roots_open(&r, s, roots, false, e);
	if (x < 0)
		return x;
	x = r.writable && r.journalled ? swap_pending(&r, e) : 0;
	if (x > 0) {
		x = roots_lock(&r, e);
		if (x >= 0)
			roots_unlock(&r);
	}
	if (x >= 0)
		x = list_trees(&r, ret, e);
	roots_close(&r);
	return x;
}

void varve_tree_list_free(struct varve_tree_list *l)
{
	struct list_priv *p = l->priv;

	if (p)
		tree_scan_done(&p->scan);
	free(p);
	free(l->items);
	*l = (struct varve_tree_list){0};
}
