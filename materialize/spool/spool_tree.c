/* SPDX-License-Identifier: Apache-2.0 */
/* Directories by (parent, name). */
#include "materialize/spool/spool_tree.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "materialize/spool/spool.h"
#include "materialize/spool/spool_internal.h"
#include "store/base/arena.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include <inttypes.h>
#include <string.h>

void spool_body_name(uint64_t body_off, char name[20])
{
	(void)snprintf(name, 20, "%" PRIx64, body_off);
}

bool spool_has(const struct plan_inode *in)
{
	return S_ISREG(in->mode) && in->body_len && !in->n_extents;
}

#define CHUNK      1024u
#define CHUNKS     1024u
#define DEPTH_MAX  128u
#define NAME_LEN   255u
#define PLACES_MAX ((size_t)32 << 20)

struct spool_dir *spool_dir_at(const struct spool_tree *t, uint32_t id)
{
	return &t->chunks[id / CHUNK][id % CHUNK];
}

static const char *dir_name(const void *user, uint32_t id, uint32_t *ret_parent)
{
	const struct spool_dir *d = spool_dir_at(user, id);

	*ret_parent = d->parent;
	return d->name;
}

int spool_tree_init(struct spool_tree *t, int dir, const char *name, struct varve_err *e)
{
	struct stat st;

	*t = (struct spool_tree){.n = 1, .dirs = {-1, dir_name, t}};
	siphash_key_new(&t->secret, t);
	(void)pthread_mutex_init(&t->lock, NULL);
	t->chunks = calloc(CHUNKS, sizeof(struct spool_dir *));
	if (!t->chunks)
		return varve_fail_oom(e);
	t->chunks[0] = calloc(CHUNK, sizeof(struct spool_dir));
	if (!t->chunks[0])
		return varve_fail_oom(e);
	if (mkdirat(dir, name, 0777) < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return varve_fail_errno(e, "make a directory to build in");
	if ((st.st_mode & 0700) != 0700) { /* a umask that shuts us out of our own directories */
		(void)unlinkat(dir, name, AT_REMOVEDIR);
		return 0;
	}
	t->dirs.root = fsx_open_dir(dir, name);
	if (t->dirs.root < 0 || fsx_flock(t->dirs.root, LOCK_EX | LOCK_NB) < 0 ||
	    fchmod(t->dirs.root, 0700) < 0)
		return varve_fail_errno(e, "lock a directory to build in");
	return 0;
}

void spool_tree_done(struct spool_tree *t)
{
	if (!t->chunks)
		return;
	for (uint32_t i = 0; i < CHUNKS; i++)
		free(t->chunks[i]);
	free(t->chunks);
	free(t->table);
	arena_free(t->names);
	if (t->dirs.root >= 0)
		(void)close(t->dirs.root);
	(void)pthread_mutex_destroy(&t->lock);
}

static uint32_t hash_of(const struct spool_tree *t, uint32_t parent, struct span name)
{
	return (uint32_t)siphash13(&t->secret, parent, name.p, name.n);
}

uint32_t spool_tree_find(const struct spool_tree *t, uint32_t parent, struct span name)
{
	uint32_t hash = hash_of(t, parent, name);

	for (uint32_t i = t->table_n ? t->table[hash % t->table_n] : 0; i;
	     i = spool_dir_at(t, i)->next) {
		const struct spool_dir *d = spool_dir_at(t, i);

		if (d->hash == hash && d->parent == parent && span_eq(name, d->name))
			return i;
	}
	return SPOOL_NOWHERE;
}

static void enter(struct spool_tree *t, uint32_t id)
{
	struct spool_dir *d = spool_dir_at(t, id);
	uint32_t *head = &t->table[d->hash % t->table_n];

	d->next = *head;
	*head = id;
}

static bool grow(struct spool_tree *t)
{
	uint32_t n = t->table_n ? 2 * t->table_n : 4096, *table = calloc(n, sizeof(*table));

	if (!table)
		return false;
	free(t->table);
	t->table = table;
	t->table_n = n;
	for (uint32_t i = 1; i < t->n; i++)
		enter(t, i);
	return true;
}

static uint32_t make(struct spool_tree *t, struct dir_cache *cache, uint32_t parent,
		     struct span name)
{
	struct spool_dir *d;
	int above;

	if (t->n == CHUNK * CHUNKS || (t->n >= t->table_n && !grow(t)))
		return SPOOL_NOWHERE;
	if (!t->chunks[t->n / CHUNK])
		t->chunks[t->n / CHUNK] = calloc(CHUNK, sizeof(*d));
	if (!t->chunks[t->n / CHUNK])
		return SPOOL_NOWHERE;
	d = spool_dir_at(t, t->n);
	d->name = arena_strn(&t->names, name.p, name.n);
	if (!d->name)
		return SPOOL_NOWHERE;
	d->parent = parent;
	d->hash = hash_of(t, parent, name);
	above = dir_cache_get(cache, parent);
	d->ours = above >= 0 && mkdirat(above, d->name, SPOOL_DIR_MODE) == 0;
	t->n_ours += d->ours;
	enter(t, t->n);
	return t->n++;
}

bool spool_tree_takes(struct span name)
{
	return name.n && name.n <= NAME_LEN && !span_eq(name, ".") && !span_eq(name, "..") &&
	       !span_starts(name, ".wh.");
}

bool spool_tree_remembers(struct spool_tree *t, size_t n)
{
	bool r;

	(void)pthread_mutex_lock(&t->lock);
	r = n <= PLACES_MAX - t->places;
	t->places += r ? n : 0;
	(void)pthread_mutex_unlock(&t->lock);
	return r;
}

uint32_t spool_tree_directory(struct spool_tree *t, struct dir_cache *cache, struct span path)
{
	uint32_t at = 0;
	unsigned depth = 0;
	struct span name;
	bool more = true;

	if (t->dirs.root < 0)
		return SPOOL_NOWHERE;
	if (span_starts(path, "/"))
		path = span_of(path.p + 1, path.n - 1);
	else if (span_starts(path, "./"))
		path = span_of(path.p + 2, path.n - 2);
	if (path.n == 0 || span_eq(path, "."))
		return 0;
	(void)pthread_mutex_lock(&t->lock);
	while (more && at != SPOOL_NOWHERE) {
		uint32_t below;

		more = span_cut(&path, '/', &name);
		if (!spool_tree_takes(name) || ++depth > DEPTH_MAX) {
			at = SPOOL_NOWHERE;
			break;
		}
		below = spool_tree_find(t, at, name);
		at = below == SPOOL_NOWHERE ? make(t, cache, at, name) : below;
		if (at != SPOOL_NOWHERE && !spool_dir_at(t, at)->ours)
			at = SPOOL_NOWHERE;
	}
	(void)pthread_mutex_unlock(&t->lock);
	return at;
}
