/* SPDX-License-Identifier: Apache-2.0 */
/* The files that gc removes beside blobs: partial downloads, trash, scratch, dead leases, derived
 * data, orphans. */
#include "store/care/gc_files.h"
#include "store/blob.h"
#include "store/handle.h"
#include "store/index/index.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/care/scan.h"
#include "store/layout.h"
#include "store/lower.h"

#include <fcntl.h>
#include <string.h>

#define PARTIAL_AGE (7 * 24 * 3600) /* seconds after which nobody resumes it any more */
#define ORPHAN_AGE  (24 * 3600)     /* another tool writes its blobs before its index.json */
#define TEMP_AGE    3600

struct look {
	struct gc_files *files;
	struct gc_state *st;
	const char *kind;              /* below aux/ */
	struct varve_digest *diff_ids; /* of kept layers, sorted */
	size_t n_diff_ids, cap_diff_ids;
	bool old_index; /* a damaged index.json was set aside: entries of other tools were in it */
};

void gc_files_done(struct gc_files *f)
{
	free(f->items);
	arena_free(VARVE_TAKE(f->strings));
	*f = (struct gc_files){0};
}

static int add(struct look *l, const struct scan_entry *entry, const char *what, const char *reason,
	       bool remove, struct gc_file **ret, struct varve_err *e)
{
	struct gc_files *f = l->files;
	struct gc_file *more;
	const char *path = arena_strn(&f->strings, entry->path, strlen(entry->path));

	if (f->n == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 64;
		more = realloc(f->items, f->cap * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		f->items = more;
	}
	if (!path)
		return varve_fail_oom(e);
	f->items[f->n] = (struct gc_file){
		.what = what,
		.path = path,
		.name = path + strlen(path) - strlen(entry->name),
		.reason = reason,
		.size = strcmp(what, "partial") == 0 ? fsx_room(&entry->st)
						     : (uint64_t)entry->st.st_size,
		.remove = remove,
		.claim = S_ISREG(entry->st.st_mode) &&
			 (strcmp(what, "partial") == 0 || strcmp(what, "lease") == 0 ||
			  strcmp(what, "scratch") == 0),
	};
	if (ret)
		*ret = &f->items[f->n];
	f->n++;
	return 0;
}

static int64_t age(const struct scan_entry *entry)
{
	return store_now() - entry->st.st_mtim.tv_sec;
}

static bool claimable(struct varve_store *s, const char *path)
{
	VARVE_CLOSE int fd = -1;

	return scan_claim(s, path, &fd);
}

/* A download that was killed could not give back what it had reserved beyond what came. */
static void give_back(struct varve_store *s, struct scan_entry *entry)
{
	VARVE_CLOSE int fd = -1, out = -1;

	if (!scan_claim(s, entry->path, &fd))
		return;
	out = fsx_open_plain(s->root, entry->path, O_WRONLY, 0, &entry->st);
	if (out >= 0 && ftruncate(out, entry->st.st_size) == 0)
		(void)fstat(out, &entry->st);
}

static int see_partial(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;
	struct scan_entry now = *entry;
	struct gc_file *f;
	int r;

	if (!claimable(l->st->store, entry->path))
		return add(l, entry, "partial", "is being downloaded", false, NULL, e);
	if (entry->st.st_size == 0)
		return add(l, entry, "partial", "unfinished download of which nothing came", true,
			   NULL, e);
	if (age(entry) > PARTIAL_AGE)
		return add(l, entry, "partial", "unfinished download, not touched for a week", true,
			   NULL, e);
	if (!l->st->opt->dry_run && fsx_room(&now.st) > (uint64_t)now.st.st_size)
		give_back(l->st->store, &now);
	r = add(l, &now, "partial", "the next pull resumes it", false, &f, e);
	if (r == 0)
		f->for_budget = true;
	return r;
}

static int see_scratch(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;

	if (strcmp(entry->name, "partial") == 0)
		return 0;
	if (!S_ISDIR(entry->st.st_mode) && !claimable(l->st->store, entry->path))
		return 0;
	if (S_ISDIR(entry->st.st_mode) && age(entry) < TEMP_AGE)
		return 0;
	return add(l, entry, "scratch", "left by a command that was cut", true, NULL, e);
}

static int see_trash(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	return add(user, entry, "trash", "left by a gc that was cut, or set aside as damaged", true,
		   NULL, e);
}

static int see_lease(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;

	if (!claimable(l->st->store, entry->path))
		return 0;
	return add(l, entry, "lease", "its command has ended", true, NULL, e);
}

/* Temporaries of files that are replaced by rename. */
static int see_root(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	if (entry->name[0] != '.' || !S_ISREG(entry->st.st_mode) || age(entry) < TEMP_AGE ||
	    (strncmp(entry->name, "." LAYOUT_INDEX ".", sizeof(LAYOUT_INDEX) + 1) != 0 &&
	     strncmp(entry->name, "." LAYOUT_INSTALLS ".", sizeof(LAYOUT_INSTALLS) + 1) != 0))
		return 0;
	return add(user, entry, "scratch", "left by a command that was cut", true, NULL, e);
}

static int see_db(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	if (strncmp(entry->name, "new-", 4) == 0 && age(entry) > TEMP_AGE)
		return add(user, entry, "scratch", "left by a rebuild that was cut", true, NULL, e);
	if (strcmp(entry->name, "data.mdb.bad") == 0)
		return add(user, entry, "scratch", "the database before a rebuild", true, NULL, e);
	return 0;
}

/* --- derived data --- */

/* What aux/ has under this digest stays. */
static int keep_derived(struct look *l, const struct varve_digest *d, struct varve_err *e)
{
	struct varve_digest *more;

	if (l->n_diff_ids == l->cap_diff_ids) {
		l->cap_diff_ids = l->cap_diff_ids ? l->cap_diff_ids * 2 : 256;
		more = realloc(l->diff_ids, l->cap_diff_ids * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		l->diff_ids = more;
	}
	l->diff_ids[l->n_diff_ids++] = *d;
	return 0;
}

static int note_layer(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct look *l = user;
	struct blob_record rec = {0};
	struct varve_digest d;
	uint32_t i;

	if (!record_digest_of(key, &d) || !blob_more_get(value, &rec))
		return varve_fail(e, VARVE_E_CORRUPT,
				  "record of a blob: run varve check --rebuild");
	i = graph_find_blob(&l->st->g, &d);
	if (!varve_digest_is_set(&rec.facts.diff_id) || i == GRAPH_NONE ||
	    l->st->g.blobs[i].mark == 0)
		return 0;
	return keep_derived(l, &rec.facts.diff_id, e);
}

/* Of a layer that only a lower store has: its facts, and by them its table of contents. */
static int note_lower(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;
	struct varve_layer_facts facts;
	struct varve_digest blob;
	int r;

	if (!layout_digest_of(entry->name, &blob) ||
	    !lower_get_facts(l->st->store, &blob, &facts) ||
	    blob_stat(l->st->store, &blob, NULL, NULL) != 1)
		return 0;
	r = keep_derived(l, &blob, e);
	return r == 0 ? keep_derived(l, &facts.diff_id, e) : r;
}

static int note_layers(struct index_txn *t, void *user, struct varve_err *e)
{
	return index_each(t, INDEX_MORE, NULL, 0, note_layer, user, e);
}

static int by_digest(const void *a, const void *b)
{
	return digest_cmp(a, b);
}

static int see_derived(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;
	struct varve_digest d;
	bool known = layout_digest_of(entry->name, &d) && l->n_diff_ids > 0 &&
		     bsearch(&d, l->diff_ids, l->n_diff_ids, sizeof(d), by_digest);

	if (known && !l->st->drop_derived)
		return 0;
	/* A layer is read before its facts are recorded. */
	if (!known && age(entry) < TEMP_AGE)
		return 0;
	return add(l, entry, l->kind,
		   known ? "can be made again, to meet the budget" : "no stored layer has it", true,
		   NULL, e);
}

static int see_kind(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;

	l->kind = arena_strn(&l->files->strings, entry->name, strlen(entry->name));
	return l->kind ? scan_dir(l->st->store, entry->path, see_derived, l, e) : varve_fail_oom(e);
}

/* --- blobs without a record --- */

static int see_blob(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct look *l = user;
	struct gc_file *f;
	struct varve_digest d;
	uint32_t i;
	int r;

	if (!layout_digest_of(entry->name, &d)) {
		if (age(entry) < ORPHAN_AGE)
			return 0;
		return add(l, entry, "scratch", "is no blob", true, NULL, e);
	}
	i = graph_find_blob(&l->st->g, &d);
	if (i != GRAPH_NONE && (l->st->g.blobs[i].recorded || l->st->g.blobs[i].mark))
		return 0;
	if (l->st->foreign_unknown)
		r = add(l, entry, "blob",
			"has no record; index.json cannot be read and may name it", false, &f, e);
	else if (l->old_index)
		r = add(l, entry, "blob",
			"has no record; index.json.bad may name it: delete that file if not", false,
			&f, e);
	else if ((uint64_t)age(entry) < VARVE_MAX((uint64_t)ORPHAN_AGE, l->st->opt->grace))
		r = add(l, entry, "blob", "has no record yet; may be part of a pull that was cut",
			false, &f, e);
	else
		r = add(l, entry, "blob", "has no record, and nothing names it", true, &f, e);
	if (r < 0)
		return r;
	f->is_orphan = true;
	f->digest = d;
	return 0;
}

int gc_files_scan(struct gc_files *f, struct gc_state *st, struct varve_err *e)
{
	static const struct {
		const char *dir;
		int (*fn)(void *user, const struct scan_entry *entry, struct varve_err *e);
	} places[] = {
		{LAYOUT_PARTIAL, see_partial},
		{LAYOUT_TRASH, see_trash},
		{LAYOUT_TMP, see_scratch},
		{LAYOUT_LEASES, see_lease},
		{INDEX_DIR, see_db},
		{".", see_root},
		{LAYOUT_AUX, see_kind},
		{LAYOUT_BLOBS "/sha256", see_blob},
		{LAYOUT_BLOBS "/sha512", see_blob},
	};
	struct look l = {.files = f, .st = st};
	size_t i;
	int r = index_view(st->store->index, note_layers, &l, e);

	if (r == 0)
		r = scan_dir(st->store, LAYOUT_AUX "/" LOWER_FACTS, note_lower, &l, e);
	l.old_index = faccessat(st->store->root, LAYOUT_INDEX_BAD, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (l.n_diff_ids)
		qsort(l.diff_ids, l.n_diff_ids, sizeof(*l.diff_ids), by_digest);
	for (i = 0; r == 0 && i < VARVE_ARRAY_SIZE(places); i++)
		r = scan_dir(st->store, places[i].dir, places[i].fn, &l, e);
	free(l.diff_ids);
	return r;
}

bool gc_file_goes(const struct gc_file *f, const struct gc_state *st)
{
	return f->remove || (f->for_budget && st->drop_partials);
}

void gc_files_sum(const struct gc_files *f, uint64_t *ret_freed, uint64_t *ret_partials)
{
	static const char *const kinds[] = {"partial", "trash", "scratch", "blob"};
	uint64_t freed = 0, partials = 0;
	size_t i, k;

	for (i = 0; i < f->n; i++) {
		for (k = 0; k < VARVE_ARRAY_SIZE(kinds); k++)
			if (f->items[i].remove && strcmp(f->items[i].what, kinds[k]) == 0)
				freed += f->items[i].size;
		if (f->items[i].for_budget)
			partials += f->items[i].size;
	}
	*ret_freed = freed;
	*ret_partials = partials;
}

/* Since the look somebody may have begun to use it. */
static bool still_free(struct gc_state *st, const struct gc_file *f, int *fd)
{
	uint32_t i;

	if (f->is_orphan) {
		i = graph_find_blob(&st->g, &f->digest);
		return i == GRAPH_NONE || (!st->g.blobs[i].recorded && !st->g.blobs[i].mark);
	}
	if (f->claim)
		return scan_claim(st->store, f->path, fd);
	return true;
}

static void count(const struct gc_file *f, struct varve_gc_result *ret)
{
	if (strcmp(f->what, "partial") == 0)
		ret->removed_partials++;
	if (strcmp(f->what, "blob") == 0)
		ret->removed_blobs++;
	ret->removed_bytes += f->size;
}

/* Data that can be made again and what is in trash/ already: nobody has to be kept from it. */
static bool needs_lock(const struct gc_file *f)
{
	return strncmp(f->path, LAYOUT_AUX "/", sizeof(LAYOUT_AUX)) != 0 &&
	       strncmp(f->path, LAYOUT_TRASH "/", sizeof(LAYOUT_TRASH)) != 0;
}

/* Outside of the lock there is time to unlink. */
static int remove_now(struct varve_store *s, const struct gc_file *f, struct varve_err *e)
{
	VARVE_CLOSE int dir = -1;

	if (unlinkat(s->root, f->path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR || strncmp(f->path, LAYOUT_TRASH "/", sizeof(LAYOUT_TRASH)) != 0)
		return varve_fail_errno(e, "remove %s/%s", s->path, f->path);
	dir = fsx_open_dir(s->root, LAYOUT_TRASH);
	return fsx_remove_tree(dir, f->name, s->ctx, NULL, e);
}

int gc_files_remove(struct gc_files *f, struct gc_state *st, enum gc_files_when when,
		    struct gc_trash *trash, struct varve_gc_result *ret, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < f->n; i++) {
		struct gc_file *file = &f->items[i];
		VARVE_CLOSE int fd = -1;

		if (!gc_file_goes(file, st) || needs_lock(file) != (when == GC_FILES_LOCKED))
			continue;
		if (!still_free(st, file, &fd)) {
			file->remove = file->for_budget = false;
			file->reason = "is in use now";
			continue;
		}
		r = when == GC_FILES_FREE ? remove_now(st->store, file, e)
					  : gc_trash_move(trash, st->store, file->path, e);
		if (r == 0)
			count(file, ret);
	}
	return r;
}
