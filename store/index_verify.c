/* SPDX-License-Identifier: Apache-2.0 */
/* Walk a database file in a child process: LMDB crashes on damaged pages. */
#include "store/index_internal.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define VERIFY_MS 120000

/* Free pages must lie within the file and be sorted; else a writer would overwrite live pages. */
static bool verify_free_list(MDB_txn *txn, uint64_t last, uint64_t *pages)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, 0, &cursor);

	while (!rc && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		size_t count, i, page, before = SIZE_MAX;

		if (k.mv_size != sizeof(size_t) || v.mv_size < sizeof(size_t))
			return false;
		memcpy(&count, v.mv_data, sizeof(count));
		if (count > v.mv_size / sizeof(size_t) - 1)
			return false;
		for (i = 0; i < count; i++, before = page) {
			memcpy(&page, (char *)v.mv_data + (i + 1) * sizeof(size_t), sizeof(page));
			if (page < 2 || page > last || page >= before)
				return false;
		}
		*pages += count;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND;
}

static bool verify_table(MDB_txn *txn, enum index_table table, uint64_t *pages)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	MDB_stat st;
	MDB_dbi dbi;
	struct span value;
	uint64_t n = 0;
	int rc;

	if (mdb_dbi_open(txn, index_table_names[table], 0, &dbi) || mdb_stat(txn, dbi, &st) ||
	    mdb_cursor_open(txn, dbi, &cursor))
		return false;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		if (++n > st.ms_entries || k.mv_size > INDEX_KEY_MAX ||
		    !index_value_open(table, &k, &v, &value))
			return false;
	}
	*pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	return rc == MDB_NOTFOUND && n == st.ms_entries;
}

/* In the child: touch every page that is in use. Anything may crash here. */
static bool verify_file(const char *file, uint64_t size)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_envinfo info;
	MDB_stat st;
	uint64_t pages = 2;
	size_t i;

	if (index_new_env(&env, file, MDB_RDONLY, index_map_for(size)) ||
	    mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) || mdb_env_info(env, &info) ||
	    mdb_env_stat(env, &st))
		return false;
	pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	if (!verify_free_list(txn, info.me_last_pgno, &pages))
		return false;
	for (i = 0; i < INDEX_N_TABLES; i++) {
		if (!verify_table(txn, (enum index_table)i, &pages))
			return false;
	}
	return pages <= info.me_last_pgno + 1;
}

static void verify_child(const char *file, uint64_t size, int result) __attribute__((noreturn));
static void verify_child(const char *file, uint64_t size, int result)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	struct rlimit none = {0, 0};
	size_t i;
	int null;

	(void)setrlimit(RLIMIT_CORE, &none);
	for (i = 0; i < VARVE_ARRAY_SIZE(signals); i++)
		(void)signal(signals[i], SIG_DFL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDERR_FILENO); /* LMDB prints before it aborts */
	if (verify_file(file, size))
		(void)!write(result, "K", 1);
	_exit(0);
}

int index_verify(struct index *ix, const char *name, struct varve_err *e)
{
	struct pollfd p = {.events = POLLIN};
	char file[4200], answer = 0;
	struct stat st;
	int ends[2];
	pid_t pid;

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
		(void)close(ends[0]);
		return varve_fail_errno(e, "start a process to verify the database");
	}
	p.fd = ends[0];
	while (poll(&p, 1, VERIFY_MS) < 0 && errno == EINTR)
		;
	if (p.revents && read(ends[0], &answer, 1) != 1)
		answer = 0;
	if (answer != 'K')
		(void)kill(pid, SIGKILL); /* ours, and not waited for yet */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	(void)close(ends[0]);
	return answer == 'K' ? 0 : index_fail_corrupt(ix, e, "its pages or checksums are wrong");
}

int index_check(struct index *ix, struct varve_err *e)
{
	int r;

	(void)pthread_mutex_lock(&ix->mutex);
	r = fsx_flock(ix->lock, LOCK_SH) < 0
		    ? varve_fail_errno(e, "lock the database of the store %s", ix->path)
		    : index_verify(ix, INDEX_DATA, e);
	(void)flock(ix->lock, LOCK_UN);
	(void)pthread_mutex_unlock(&ix->mutex);
	return r;
}
