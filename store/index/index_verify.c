/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a database file whole? Its page structure is checked before LMDB sees it, since LMDB crashes
 * on damaged pages; after a change that we did not make every value is read as well, in a child
 * process.
 */
#include "store/index/index_internal.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/index/index_pages.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- pages --- */

static int read_at(void *user, uint64_t offset, void *buf, size_t n)
{
	ssize_t got = fsx_pread_full(*(int *)user, buf, n, offset);

	return got < 0 ? -errno : (size_t)got < n ? -EIO : 0;
}

int index_check_pages(const struct index *ix, const char *name, struct varve_err *e)
{
	struct stat st;
	VARVE_CLOSE int fd = fsx_open_plain(ix->db, name, O_RDONLY, 0, &st);
	struct pages_file f = {.read = read_at, .user = &fd};
	const char *why;
	int r;

	if (fd < 0)
		return errno == ENOENT
			       ? index_fail_corrupt(ix, e, "its file is missing")
			       : varve_fail_errno(e, "open %s/" INDEX_DIR "/%s", ix->path, name);
	f.size = (uint64_t)st.st_size;
	f.map_size = index_map_for(f.size);
	r = pages_check(&f, &why);
	if (r > 0 || r == -EIO) /* the disk has lost it */
		return index_fail_corrupt(ix, e, r > 0 ? why : "it cannot be read");
	return r < 0 ? varve_fail(e, -r, "read the database of the store %s: %s", ix->path,
				  varve_code_text(-r))
		     : 0;
}

/* --- values --- */

/* 0 whole, MDB_CORRUPTED, or what LMDB said. */
static int verify_table(MDB_txn *txn, enum index_table table)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	MDB_stat st;
	MDB_dbi dbi;
	struct span value;
	uint64_t n = 0;
	int rc = mdb_dbi_open(txn, index_table_names[table], 0, &dbi);

	if (!rc)
		rc = mdb_stat(txn, dbi, &st);
	if (!rc)
		rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		if (++n > st.ms_entries || k.mv_size > INDEX_KEY_MAX ||
		    !index_value_open(table, &k, &v, &value))
			return MDB_CORRUPTED;
	}
	return rc == MDB_NOTFOUND && n == st.ms_entries ? 0 : MDB_CORRUPTED;
}

static int verify_values(const char *file, uint64_t size)
{
	MDB_env *env;
	MDB_txn *txn;
	size_t i;
	int rc = index_new_env(&env, file, MDB_RDONLY, index_map_for(size));

	if (!rc)
		rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	for (i = 0; i < INDEX_N_TABLES && !rc; i++)
		rc = verify_table(txn, (enum index_table)i);
	return rc;
}

/* Whatever crashes in spite of the checked pages crashes here. */
static void verify_child(const char *file, uint64_t size, int result) __attribute__((noreturn));
static void verify_child(const char *file, uint64_t size, int result)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	struct rlimit none = {0, 0};
	size_t i;
	int null, rc;

	(void)setrlimit(RLIMIT_CORE, &none);
	for (i = 0; i < VARVE_ARRAY_SIZE(signals); i++)
		(void)signal(signals[i], SIG_DFL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDERR_FILENO); /* LMDB prints before it aborts */
	rc = verify_values(file, size);
	(void)!write(result, &rc, sizeof(rc));
	_exit(0);
}

/* Only a wrong value and a crash are damage; who has no memory or is killed knows nothing. */
static int judge(const struct index *ix, ssize_t n, int rc, int status, struct varve_err *e)
{
	if (n == (ssize_t)sizeof(rc))
		return rc ? index_fail_mdb(ix, rc, "verify", e) : 0;
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS ||
				    WTERMSIG(status) == SIGABRT))
		return index_fail_corrupt(ix, e, "reading it crashes");
	return varve_fail(
		e, EINTR,
		"verify the database of the store %s: the process that reads it was ended "
		"by signal %d; try again",
		ix->path, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int index_verify(struct index *ix, const char *name, struct varve_err *e)
{
	int ends[2], rc = 0, status = 0, r;
	char file[4200];
	struct stat st;
	ssize_t n;
	pid_t pid;

	r = index_check_pages(ix, name, e);
	if (r < 0)
		return r;
	if (fstatat(ix->db, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return index_fail_corrupt(ix, e, "its file is missing");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return varve_fail_errno(e, "make a pipe");
	(void)index_file(ix->path, name, file, sizeof(file));
	pid = fork();
	if (pid == 0)
		verify_child(file, (uint64_t)st.st_size, ends[1]);
	(void)close(ends[1]);
	if (pid < 0) {
		r = varve_fail_errno(e, "start a process to verify the database");
		(void)close(ends[0]);
		return r;
	}
	while ((n = read(ends[0], &rc, sizeof(rc))) < 0 && errno == EINTR)
		;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	(void)close(ends[0]);
	return judge(ix, n, rc, status, e);
}

int index_check(struct index *ix, struct varve_err *e)
{
	int r;

	(void)pthread_mutex_lock(&ix->mutex);
	r = fsx_flock_wait(ix->lock, LOCK_SH, ix->ctx) < 0
		    ? varve_fail_errno(e, "lock the database of the store %s", ix->path)
		    : index_verify(ix, INDEX_DATA, e);
	(void)flock(ix->lock, LOCK_UN);
	(void)pthread_mutex_unlock(&ix->mutex);
	return r;
}
