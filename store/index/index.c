/* SPDX-License-Identifier: Apache-2.0 */
/* The database: environment, transactions, growth, replacement; what LMDB says in our words. */
#include "store/index/index_internal.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#define SEAL_FILE "lock"
#define PAGE_MIN  4096

/* --- environment --- */

static int open_tables(MDB_env *env, MDB_dbi dbi[INDEX_N_TABLES], bool create, bool read_only)
{
	MDB_txn *txn;
	size_t i;
	int rc = mdb_txn_begin(env, NULL, read_only ? MDB_RDONLY : 0, &txn);

	if (rc)
		return rc;
	for (i = 0; i < INDEX_N_TABLES && !rc; i++)
		rc = mdb_dbi_open(txn, index_table_names[i], create ? MDB_CREATE : 0, &dbi[i]);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static void env_close(struct index *ix)
{
	if (ix->env)
		mdb_env_close(ix->env);
	ix->env = NULL;
}

/* The seal was lost or is of an earlier commit: write it again. */
static int reseal(struct index *ix, struct varve_err *e)
{
	struct index_txn t = {.ix = ix};
	uint64_t generation;
	int rc = mdb_txn_begin(ix->env, NULL, MDB_RDONLY, &t.txn), r;

	if (rc)
		return index_fail_mdb(ix, rc, "read", e);
	r = index_generation(&t, &generation, e);
	mdb_txn_abort(t.txn);
	if (r == 0)
		index_seal_data(ix, generation);
	return r;
}

static int env_open(struct index *ix, struct varve_err *e)
{
	char file[4200];
	bool sealed;
	struct stat st;
	int rc;

	if (!index_data_stat(ix, &st))
		return index_fail_corrupt(ix, e, "db/" INDEX_DATA " is missing");
	if (st.st_size < 2 * PAGE_MIN)
		return index_fail_corrupt(ix, e, "db/" INDEX_DATA " is too short");
	sealed = index_seal_fits(ix, &st);
	if (!sealed)
		log_debug(ix->ctx, "index", "database changed since it was sealed: verifying it");
	/* A disk may rot without a trace in size and time: the pages are looked at each time. */
	rc = sealed ? index_check_pages(ix, INDEX_DATA, e) : index_verify(ix, INDEX_DATA, e);
	if (rc < 0)
		return rc;
	rc = index_new_env(&ix->env, index_file(ix->path, INDEX_DATA, file, sizeof(file)),
			   ix->read_only ? MDB_RDONLY : 0, index_map_for((uint64_t)st.st_size));
	if (rc)
		return index_fail_mdb(ix, rc, "open", e);
	/* The tables were made by index_create(); opening them must not write. */
	rc = open_tables(ix->env, ix->dbi, false, true);
	if (rc) {
		env_close(ix);
		return index_fail_mdb(ix, rc, "open", e);
	}
	ix->data_ino = st.st_ino;
	return sealed ? 0 : reseal(ix, e);
}

int index_create(int root, struct varve_err *e)
{
	char file[64], random[17], tmp[32];
	VARVE_CLOSE int db = openat(root, INDEX_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	VARVE_CLOSE int lock = -1;
	MDB_dbi dbi[INDEX_N_TABLES];
	MDB_env *env;
	int rc;

	if (db < 0)
		return varve_fail_errno(e, "open " INDEX_DIR);
	lock = fsx_open_plain(db, SEAL_FILE, O_RDWR | O_CREAT, 0644, NULL);
	if (lock < 0)
		return varve_fail_errno(e, "make " INDEX_DIR "/" SEAL_FILE);
	if (faccessat(db, INDEX_DATA, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	fsx_random_name(random);
	(void)snprintf(tmp, sizeof(tmp), "new-%s", random);
	(void)snprintf(file, sizeof(file), "/proc/self/fd/%d/%s", db, tmp);
	rc = index_new_env(&env, file, 0, INDEX_MAP_SIZE);
	if (!rc) {
		rc = open_tables(env, dbi, true, false);
		mdb_env_close(env);
	}
	if (rc || renameat(db, tmp, db, INDEX_DATA) < 0 || fsync(db) < 0) {
		errno = rc == 0 ? errno : rc > 0 ? index_true_reason(rc, db) : EIO;
		rc = varve_fail_errno(e, "make " INDEX_DIR "/" INDEX_DATA);
		(void)unlinkat(db, tmp, 0);
		return rc;
	}
	return 0;
}

static int new_index(struct index **ret, struct varve_err *e)
{
	struct index *ix = calloc(1, sizeof(*ix));
	pthread_mutexattr_t attr;

	if (!ix)
		return varve_fail_oom(e);
	(void)pthread_mutexattr_init(&attr);
	(void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	(void)pthread_mutex_init(&ix->mutex, &attr);
	(void)pthread_mutexattr_destroy(&attr);
	ix->db = ix->lock = ix->memory = -1;
	*ret = ix;
	return 0;
}

void index_close(struct index *ix)
{
	if (!ix)
		return;
	env_close(ix);
	if (ix->db >= 0)
		(void)close(ix->db);
	if (ix->lock >= 0)
		(void)close(ix->lock);
	if (ix->memory >= 0)
		(void)close(ix->memory);
	(void)pthread_mutex_destroy(&ix->mutex);
	free(ix->path);
	free(ix);
}

static void index_cleanup(struct index **ix)
{
	index_close(*ix);
}

int index_open(struct index **ret, int root, const char *path, bool read_only,
	       const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(index_cleanup) struct index *ix = NULL;
	int r = new_index(&ix, e);

	if (r < 0 || !ix)
		return r;
	ix->ctx = ctx;
	ix->read_only = read_only;
	ix->path = strdup(path);
	if (!ix->path)
		return varve_fail_oom(e);
	ix->db = openat(root, INDEX_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ix->db >= 0)
		ix->lock = fsx_open_plain(ix->db, SEAL_FILE,
					  read_only ? O_RDONLY : O_RDWR | O_CREAT, 0644, NULL);
	if (ix->lock < 0)
		return varve_fail_errno(e, "open %s/" INDEX_DIR "/" SEAL_FILE, path);
	*ret = VARVE_TAKE(ix);
	return 0;
}

int index_open_memory(struct index **ret, struct varve_err *e)
{
	VARVE_CLEANUP(index_cleanup) struct index *ix = NULL;
	char file[32];
	int r = new_index(&ix, e), rc;

	if (r < 0 || !ix)
		return r;
	ix->path = strdup("(memory)");
	ix->memory = memfd_create("varve-index", MFD_CLOEXEC);
	if (!ix->path || ix->memory < 0)
		return varve_fail_errno(e, "make a database in memory");
	(void)snprintf(file, sizeof(file), "/proc/self/fd/%d", ix->memory);
	rc = index_new_env(&ix->env, file, MDB_NOSYNC, INDEX_MAP_SIZE);
	if (!rc)
		rc = open_tables(ix->env, ix->dbi, true, false);
	if (rc)
		return index_fail_mdb(ix, rc, "make", e);
	*ret = VARVE_TAKE(ix);
	return 0;
}

uint64_t index_size(const struct index *ix)
{
	struct stat st;

	return ix->memory < 0 && index_data_stat(ix, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

/* --- transactions --- */

/* Mutex and flock; the environment is open and of the file that has the name now. */
static int enter(struct index *ix, int mode, struct varve_err *e)
{
	struct stat st;
	int r = pthread_mutex_lock(&ix->mutex);

	if (r)
		return varve_fail(e, r, "transaction within a transaction");
	if (ix->memory >= 0)
		return 0;
	if (fsx_flock_wait(ix->lock, mode, ix->ctx) < 0) {
		r = varve_fail_errno(e, "lock the database of the store %s", ix->path);
		(void)pthread_mutex_unlock(&ix->mutex);
		return r;
	}
	if (ix->env && (!index_data_stat(ix, &st) || st.st_ino != ix->data_ino))
		env_close(ix); /* a rebuild put another file in its place */
	r = ix->env ? 0 : env_open(ix, e);
	if (r < 0) {
		(void)flock(ix->lock, LOCK_UN);
		(void)pthread_mutex_unlock(&ix->mutex);
	}
	return r;
}

static void leave(struct index *ix)
{
	if (ix->lock >= 0)
		(void)flock(ix->lock, LOCK_UN);
	(void)pthread_mutex_unlock(&ix->mutex);
}

static int begin(struct index_txn *t, unsigned flags)
{
	int rc, tries;

	for (tries = 0;; tries++) {
		rc = mdb_txn_begin(t->ix->env, NULL, flags, &t->txn);
		if (rc != MDB_MAP_RESIZED || tries >= 3)
			return rc;
		rc = mdb_env_set_mapsize(t->ix->env, 0); /* another process grew it */
		if (rc)
			return rc;
	}
}

int index_view(struct index *ix, int (*fn)(struct index_txn *t, void *user, struct varve_err *e),
	       void *user, struct varve_err *e)
{
	struct index_txn t = {.ix = ix};
	int r = enter(ix, LOCK_SH, e), rc;

	if (r < 0)
		return r;
	rc = begin(&t, MDB_RDONLY);
	if (rc) {
		r = index_fail_mdb(ix, rc, "read", e);
	} else {
		r = fn(&t, user, e);
		mdb_txn_abort(t.txn);
	}
	leave(ix);
	return r;
}

static int grow(struct index *ix, struct varve_err *e)
{
	MDB_envinfo info;
	int rc = mdb_env_info(ix->env, &info);

	if (!rc)
		rc = mdb_env_set_mapsize(ix->env, info.me_mapsize * 2);
	return rc ? index_fail_mdb(ix, rc, "grow", e) : 0;
}

/* One attempt. *ret_again: the map was full and has grown. */
static int try_update(struct index *ix,
		      int (*fn)(struct index_txn *t, void *user, struct varve_err *e), void *user,
		      bool *ret_again, struct varve_err *e)
{
	struct index_txn t = {.ix = ix};
	uint64_t generation = 0;
	int r, rc;

	*ret_again = false;
	rc = begin(&t, 0);
	if (rc)
		return index_fail_mdb(ix, rc, "write to", e);
	r = fn(&t, user, e);
	if (r >= 0 && index_generation(&t, &generation, e) < 0)
		r = -VARVE_E_CORRUPT;
	if (r < 0) {
		mdb_txn_abort(t.txn);
		if (!t.map_full)
			return r;
		*ret_again = true;
		return grow(ix, e);
	}
	rc = mdb_txn_commit(t.txn);
	if (rc == MDB_MAP_FULL) {
		*ret_again = true;
		return grow(ix, e);
	}
	if (rc) {
		r = index_fail_mdb(ix, rc, "write to", e);
		if (ix->memory < 0)
			env_close(ix); /* a failed meta page makes LMDB refuse the environment */
		return r;
	}
	index_seal_data(ix, generation);
	return r;
}

int index_update(struct index *ix, int (*fn)(struct index_txn *t, void *user, struct varve_err *e),
		 void *user, struct varve_err *e)
{
	bool again = true;
	int r, tries;

	if (ix->read_only)
		return varve_fail(e, VARVE_E_READONLY, "the store %s is read-only", ix->path);
	r = enter(ix, LOCK_EX, e);
	if (r < 0)
		return r;
	for (tries = 0; again && r >= 0 && tries < 16; tries++)
		r = try_update(ix, fn, user, &again, e);
	leave(ix);
	return r;
}

struct replacement {
	int (*fn)(struct index_txn *t, struct index_txn *old, void *user, struct varve_err *e);
	void *user;
	struct index_txn *old;
};

static int call_replacement(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct replacement *p = user;

	return p->fn(t, p->old, p->user, e);
}

static int build_new(struct index *ix, const char *name, struct replacement *p, struct varve_err *e)
{
	struct index fresh = {.path = ix->path, .memory = -1, .lock = -1, .db = ix->db};
	char file[4200];
	bool again = true;
	int r = 0, rc, tries;

	rc = index_new_env(&fresh.env, index_file(ix->path, name, file, sizeof(file)), 0,
			   INDEX_MAP_SIZE);
	if (rc)
		return index_fail_mdb(ix, rc, "make", e);
	rc = open_tables(fresh.env, fresh.dbi, true, false);
	if (rc)
		r = index_fail_mdb(ix, rc, "make", e);
	for (tries = 0; again && r >= 0 && tries < 16; tries++)
		r = try_update(&fresh, call_replacement, p, &again, e);
	env_close(&fresh);
	return r;
}

/* A second name for the old one first, so that there is a database at every moment. */
static int put_in_place(struct index *ix, const char *name, struct varve_err *e)
{
	(void)unlinkat(ix->db, INDEX_DATA ".bad", 0);
	(void)!linkat(ix->db, INDEX_DATA, ix->db, INDEX_DATA ".bad", 0);
	index_seal_break(ix);
	if (renameat(ix->db, name, ix->db, INDEX_DATA) < 0 || fsync(ix->db) < 0)
		return varve_fail_errno(e, "put the new database in place");
	return 0;
}

int index_replace(struct index *ix, const char *name,
		  int (*fn)(struct index_txn *t, struct index_txn *old, void *user,
			    struct varve_err *e),
		  void *user, struct varve_err *e)
{
	struct index_txn old = {.ix = ix};
	struct replacement p = {fn, user, NULL};
	int r = 0;

	(void)pthread_mutex_lock(&ix->mutex);
	if (fsx_flock_wait(ix->lock, LOCK_EX, ix->ctx) < 0)
		r = varve_fail_errno(e, "lock the database of the store %s", ix->path);
	env_close(ix);
	if (r == 0 && index_verify(ix, INDEX_DATA, NULL) == 0 && env_open(ix, NULL) == 0 &&
	    begin(&old, MDB_RDONLY) == 0)
		p.old = &old;
	if (r == 0)
		r = build_new(ix, name, &p, e);
	if (p.old)
		mdb_txn_abort(old.txn);
	env_close(ix);
	if (r >= 0)
		r = put_in_place(ix, name, e);
	if (r < 0)
		(void)unlinkat(ix->db, name, 0);
	leave(ix);
	return r < 0 ? r : 0;
}
