/* SPDX-License-Identifier: Apache-2.0 */
/* One blob into the store: partial file under a lock, hash while writing, verify, fsync, publish by
 * name. */
#include "store/ingest.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/store.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define FLUSH_STEP ((uint64_t)8 << 20)

struct ingest {
	struct varve_store *store;
	struct ingest_want want;
	struct hash *hash;
	int fd;
	uint64_t offset, flushed;
	char path[LAYOUT_PATH_MAX]; /* of the partial */
	char name[256];             /* for messages */
	bool reserved;              /* blocks beyond the end of the file, perhaps */
	bool keeps;                 /* another run may continue what came */
};

/* Blocks that were reserved and not written: the disk has them again. */
static void give_back(struct ingest *in)
{
	struct stat st;

	if (in->reserved && fstat(in->fd, &st) == 0)
		(void)!ftruncate(in->fd, st.st_size);
	in->reserved = false;
}

static void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	hash_free(in->hash);
	if (in->fd >= 0)
		(void)close(in->fd);
	free(in);
}

static void ingest_cleanup(struct ingest **in)
{
	ingest_free(*in);
}

static uint64_t ceiling(const struct ingest_want *w)
{
	if (w->size != VARVE_SIZE_UNKNOWN)
		return w->size;
	return w->max_size ? w->max_size : VARVE_SIZE_UNKNOWN - 1;
}

static int fail_full(const struct ingest *in, uint64_t need, struct varve_err *e)
{
	struct rlimit limit;
	int saved = errno;

	if (saved == EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		return varve_fail(e, VARVE_E_NOSPACE,
				  "%s: needs a file of %s, the limit of this process is %s "
				  "(ulimit -f)",
				  in->name, TEXT_SIZE(in->offset + need),
				  TEXT_SIZE((uint64_t)limit.rlim_cur));
	return varve_fail(e, VARVE_E_NOSPACE,
			  "%s: needs %s more, the disk of the store %s has %s (%s)%s", in->name,
			  TEXT_SIZE(need), in->store->path, TEXT_SIZE(store_fs_free(in->store)),
			  strerror(saved),
			  in->keeps && in->offset ? "; what came is kept for the next try" : "");
}

/*
 * Open and lock the partial. Another process may publish or remove it between open and lock: then
 * ours has no name any more, and we begin again.
 */
static int open_partial(struct ingest *in, struct varve_err *e)
{
	struct timespec pause = {0, 1000000};
	struct stat st, named;
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		in->fd = fsx_open_plain(in->store->root, in->path, O_RDWR | O_CREAT, 0600, NULL);
		if (in->fd < 0)
			return varve_fail_errno(e, "open %s/%s", in->store->path, in->path);
		if (fsx_flock(in->fd, LOCK_EX | LOCK_NB) < 0) {
			int r = errno == EWOULDBLOCK
					? varve_fail(e, VARVE_E_BUSY,
						     "another process is downloading %s", in->name)
					: varve_fail_errno(e, "lock %s/%s", in->store->path,
							   in->path);
			return r;
		}
		if (fstat(in->fd, &st) == 0 && st.st_nlink > 0 && S_ISREG(st.st_mode) &&
		    fstatat(in->store->root, in->path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    named.st_ino == st.st_ino && named.st_dev == st.st_dev)
			return 0;
		(void)close(VARVE_TAKE_FD(in->fd));
		(void)nanosleep(&pause, NULL);
	}
	return varve_fail(e, VARVE_E_BUSY, "%s/%s is made and removed over and over",
			  in->store->path, in->path);
}

/* The hash state is not kept across processes: what is there is hashed again. */
static int resume(struct ingest *in, struct varve_err *e)
{
	VARVE_FREE char *block = NULL;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(in->fd, &st) < 0)
		return varve_fail_errno(e, "look at %s/%s", in->store->path, in->path);
	if (st.st_size == 0)
		return 0;
	if ((uint64_t)st.st_size > ceiling(&in->want))
		return ingest_restart(in, e);
	block = malloc(1 << 20);
	if (!block)
		return varve_fail_oom(e);
	while (in->offset < (uint64_t)st.st_size) {
		r = ctx_check(in->store->ctx, e);
		if (r < 0)
			return r;
		n = fsx_pread_full(in->fd, block, 1 << 20, in->offset);
		if (n <= 0) /* a partial that cannot be read is not worth keeping */
			return ingest_restart(in, e);
		hash_update(in->hash, block, (size_t)n);
		in->offset += (uint64_t)n;
	}
	in->flushed = in->offset;
	return 0;
}

/* Say "no room" before the bytes come. KEEP_SIZE,
 * so that the file's size stays what was received. */
static int reserve(struct ingest *in, struct varve_err *e)
{
	uint64_t need, has = 0;
	struct rlimit limit;
	struct stat st;

	if (in->want.size == VARVE_SIZE_UNKNOWN || in->want.size <= in->offset)
		return 0;
	need = in->want.size - in->offset;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    in->want.size > (uint64_t)limit.rlim_cur) {
		errno = EFBIG;
		return fail_full(in, need, e);
	}
	/* Not even for a moment may a try that must fail take what others need. */
	if (fstat(in->fd, &st) == 0)
		has = (uint64_t)st.st_blocks * 512;
	if (in->want.size > has && in->want.size - has > store_fs_free(in->store)) {
		errno = ENOSPC;
		return fail_full(in, need, e);
	}
	in->reserved = true; /* one that fails keeps what it got (ext4, xfs) */
	if (fallocate(in->fd, FALLOC_FL_KEEP_SIZE, (off_t)in->offset, (off_t)need) < 0) {
		int saved = errno;

		give_back(in);
		errno = saved;
		if (store_disk_full(errno))
			return fail_full(in, need, e);
	}
	return 0; /* a file system that cannot reserve tells when writing */
}

/* A partial that could not be begun: what came earlier stays, one of nothing goes. */
static int not_begun(struct ingest *in, int r)
{
	struct stat st;

	give_back(in);
	if (r < 0 && fstat(in->fd, &st) == 0 && st.st_size == 0)
		(void)unlinkat(in->store->root, in->path, 0);
	return r;
}

/* want->digest names the partial. */
static int ingest_new(struct ingest **ret, struct varve_store *s, const struct ingest_want *want,
		      struct varve_err *e)
{
	VARVE_CLEANUP(ingest_cleanup) struct ingest *in = NULL;
	int r = store_need_write(s, e);

	if (r < 0)
		return r;
	in = calloc(1, sizeof(*in));
	if (!in)
		return varve_fail_oom(e);
	in->store = s;
	in->want = *want;
	in->fd = -1;
	(void)layout_partial(&want->digest, in->path);
	r = hash_new(&in->hash, want->digest.algo, e);
	if (r < 0)
		return r;
	*ret = VARVE_TAKE(in);
	return 0;
}

int ingest_open(struct ingest **ret, struct varve_store *s, struct lease *l,
		const struct ingest_want *want, struct varve_err *e)
{
	VARVE_CLEANUP(ingest_cleanup) struct ingest *in = NULL;
	int r = l ? lease_add(l, &want->digest, e) : 0;

	if (r == 0)
		r = blob_stat(s, &want->digest, NULL, e);
	if (r == 1)
		*ret = NULL;
	if (r != 0)
		return r;
	r = ingest_new(&in, s, want, e);
	if (r < 0 || !in)
		return r;
	in->keeps = !want->once;
	(void)snprintf(in->name, sizeof(in->name), "blob %s", DIGEST_STR(&want->digest));
	r = open_partial(in, e);
	if (r == 0) /* it may have been published while we waited for the lock */
		r = blob_stat(s, &want->digest, NULL, e);
	if (r == 1) {
		(void)unlinkat(s->root, in->path, 0);
		*ret = NULL;
	}
	if (r != 0)
		return r;
	r = resume(in, e);
	if (r == 0)
		r = reserve(in, e);
	if (r < 0)
		return not_begun(in, r);
	*ret = VARVE_TAKE(in);
	return 0;
}

int ingest_open_wait(struct ingest **ret, struct varve_store *s, struct lease *l,
		     const struct ingest_want *want, struct varve_err *e)
{
	const struct timespec pause = {0, 50000000};
	struct varve_err why = VARVE_ERR_INIT;
	int r;

	while ((r = ingest_open(ret, s, l, want, &why)) == -VARVE_E_BUSY) {
		progress_emit(s->ctx,
			      &(struct varve_progress){
				      .stage = VARVE_STAGE_WAIT,
				      .object = DIGEST_STR(&want->digest),
				      .done = ingest_partial_size(s, &want->digest),
				      .total = want->size == VARVE_SIZE_UNKNOWN ? 0 : want->size});
		(void)nanosleep(&pause, NULL);
		r = ctx_check(s->ctx, e);
		if (r < 0)
			return r;
		why = (struct varve_err)VARVE_ERR_INIT;
	}
	if (r < 0 && e)
		*e = why;
	return r;
}

/* The partial has the digest of the key as its name, so that gc and df see one like any other. */
int ingest_open_unnamed(struct ingest **ret, struct varve_store *s, const char *key,
			enum varve_blob_kind kind, uint64_t max_size, struct varve_err *e)
{
	VARVE_CLEANUP(ingest_cleanup) struct ingest *in = NULL;
	struct ingest_want want = {.size = VARVE_SIZE_UNKNOWN, .kind = kind, .max_size = max_size};
	char random[17];
	int r;

	fsx_random_name(random);
	r = hash_bytes(VARVE_SHA256, key ? key : random, strlen(key ? key : random), &want.digest,
		       e);
	if (r == 0)
		r = ingest_new(&in, s, &want, e);
	if (r < 0)
		return r;
	(void)text_escape_str(key ? key : "new blob", in->name, sizeof(in->name));
	in->keeps = key;
	r = open_partial(in, e);
	if (r < 0)
		return r;
	r = resume(in, e);
	if (r < 0)
		return not_begun(in, r);
	*ret = VARVE_TAKE(in);
	return 0;
}

uint64_t ingest_offset(const struct ingest *in)
{
	return in->offset;
}

int ingest_fd(const struct ingest *in)
{
	return in->fd;
}

int ingest_write(struct ingest *in, const void *p, size_t n, struct varve_err *e)
{
	if (n > ceiling(&in->want) - in->offset)
		return varve_fail(
			e, in->want.size == VARVE_SIZE_UNKNOWN ? VARVE_E_LIMIT : VARVE_E_SIZE,
			"%s: is larger than the %llu bytes it may have", in->name,
			(unsigned long long)ceiling(&in->want));
	if (fsx_pwrite_all(in->fd, p, n, in->offset) < 0) {
		if (store_disk_full(errno))
			return fail_full(in,
					 in->want.size == VARVE_SIZE_UNKNOWN
						 ? n
						 : in->want.size - in->offset,
					 e);
		return varve_fail_errno(e, "write %s/%s", in->store->path, in->path);
	}
	hash_update(in->hash, p, n);
	in->offset += n;
	if (in->offset - in->flushed >= FLUSH_STEP) { /* so that the last fsync is short */
		(void)sync_file_range(in->fd, (off_t)in->flushed, (off_t)(in->offset - in->flushed),
				      SYNC_FILE_RANGE_WRITE);
		in->flushed = in->offset;
	}
	return 0;
}

int ingest_restart(struct ingest *in, struct varve_err *e)
{
	if (ftruncate(in->fd, 0) < 0)
		return varve_fail_errno(e, "truncate %s/%s", in->store->path, in->path);
	hash_reset(in->hash);
	in->offset = in->flushed = 0;
	return reserve(in, e);
}

void ingest_close(struct ingest *in, bool keep)
{
	if (!in)
		return;
	if (!keep || in->offset == 0)
		(void)unlinkat(in->store->root, in->path, 0);
	give_back(in); /* also of a removed one: a reader may hold it open for a while */
	ingest_free(in);
}

static int verify(struct ingest *in, struct varve_err *e)
{
	struct varve_digest got;
	int r;

	if (in->want.size != VARVE_SIZE_UNKNOWN && in->offset != in->want.size)
		return varve_fail(e, VARVE_E_SIZE, "blob %s: has %llu bytes, not %llu",
				  DIGEST_STR(&in->want.digest), (unsigned long long)in->offset,
				  (unsigned long long)in->want.size);
	r = hash_final(in->hash, &got, e);
	if (r < 0)
		return r;
	if (!varve_digest_equal(&got, &in->want.digest))
		return varve_fail(e, VARVE_E_DIGEST, "blob %s: what came has the digest %s",
				  DIGEST_STR(&in->want.digest), DIGEST_STR(&got));
	return 0;
}

/*
 * The name appears with all its content. A plain rename: it also puts good bytes in the place of a
 * copy that was found damaged. After a failed fsync the pages are clean but not on disk, so the
 * file is given up, never synced again.
 */
static int publish(struct ingest *in, bool *ret_keep, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	struct varve_store *s = in->store;
	char path[LAYOUT_PATH_MAX];
	int r;

	if (fchmod(in->fd, 0444) < 0 || fsync(in->fd) < 0)
		return varve_fail_errno(e, "sync %s/%s", s->path, in->path);
	*ret_keep = true;
	r = lock_acquire(&lock, s->root, LOCK_SH, s->ctx, e);
	if (r < 0)
		return r;
	if (renameat(s->root, in->path, s->root, layout_blob(&in->want.digest, path)) < 0)
		return varve_fail_errno(e, "publish %s/%s", s->path, path);
	blob_note_published(s, &in->want.digest);
	return 0;
}

int ingest_commit(struct ingest **in, uint64_t *ret_size, struct varve_err *e)
{
	uint64_t size = (*in)->offset;
	bool keep = false;
	int r = verify(*in, e);

	if ((r == -VARVE_E_SIZE || r == -VARVE_E_DIGEST) && ingest_restart(*in, NULL) == 0)
		return r; /* the lock is kept: nobody comes between this and the next try */
	if (r == 0)
		r = publish(*in, &keep, e);
	if (r < 0) {
		ingest_close(VARVE_TAKE(*in), keep);
		return r;
	}
	ingest_free(VARVE_TAKE(*in));
	if (ret_size)
		*ret_size = size;
	return 0;
}

int ingest_commit_unnamed(struct ingest *in, struct lease *l, struct varve_digest *ret,
			  uint64_t *ret_size, struct varve_err *e)
{
	uint64_t size = in->offset;
	bool keep = true;
	int r = hash_final(in->hash, &in->want.digest, e);

	if (r == 0 && l)
		r = lease_add(l, &in->want.digest, e);
	if (r == 0)
		r = blob_stat(in->store, &in->want.digest, NULL, e);
	if (r == 0)
		r = publish(in, &keep, e);
	else if (r == 1)
		keep = false;
	if (r < 0) {
		ingest_close(in, keep);
		return r;
	}
	*ret = in->want.digest;
	if (ret_size)
		*ret_size = size;
	if (r == 1)
		ingest_close(in, false);
	else
		ingest_free(in);
	return r;
}

/* --- small documents --- */

/*
 * Without a name until it is whole; a named temporary where the file system has no O_TMPFILE, which
 * is flocked, and made under the lock so that gc never sees it before that.
 */
static int open_document(struct varve_store *s, char tmp[LAYOUT_PATH_MAX])
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	VARVE_CLOSE int fd = openat(s->root, LAYOUT_TMP, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char random[17];

	tmp[0] = '\0';
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return VARVE_TAKE_FD(fd);
	if (lock_acquire(&lock, s->root, LOCK_SH, s->ctx, NULL) < 0)
		return -1;
	fsx_random_name(random);
	(void)snprintf(tmp, LAYOUT_PATH_MAX, LAYOUT_TMP "/x.%s", random);
	fd = openat(s->root, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fsx_flock(fd, LOCK_EX) < 0)
		return -1;
	return VARVE_TAKE_FD(fd);
}

static int write_document(struct varve_store *s, const struct varve_digest *d, const void *p,
			  size_t n, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char path[LAYOUT_PATH_MAX], tmp[LAYOUT_PATH_MAX], proc[32];
	VARVE_CLOSE int fd = open_document(s, tmp);
	int r;

	if (fd < 0 || fsx_write_all(fd, p, n) < 0 || fchmod(fd, 0444) < 0 || fsync(fd) < 0)
		goto failed;
	r = lock_acquire(&lock, s->root, LOCK_SH, s->ctx, e);
	if (r < 0)
		goto cleanup;
	(void)layout_blob(d, path);
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (tmp[0] ? renameat(s->root, tmp, s->root, path) < 0
		   : linkat(AT_FDCWD, proc, s->root, path, AT_SYMLINK_FOLLOW) < 0 &&
			     errno != EEXIST)
		goto failed;
	blob_note_published(s, d);
	return 0;
failed:
	r = varve_fail_errno(e, "write blob %s to the store %s", DIGEST_STR(d), s->path);
cleanup:
	if (tmp[0])
		(void)unlinkat(s->root, tmp, 0);
	return r;
}

int ingest_bytes(struct varve_store *s, struct lease *l, enum varve_blob_kind kind, const void *p,
		 size_t n, const struct varve_digest *expect, struct varve_digest *ret,
		 struct varve_err *e)
{
	enum varve_algo algo = expect ? (enum varve_algo)expect->algo : VARVE_SHA256;
	struct varve_digest d;
	int r = hash_bytes(algo, p, n, &d, e);

	(void)kind; /* recorded by catalog_commit() */
	if (r < 0)
		return r;
	if (expect && !varve_digest_equal(expect, &d))
		return varve_fail(e, VARVE_E_DIGEST, "document has the digest %s, not %s",
				  DIGEST_STR(&d), DIGEST_STR(expect));
	r = l ? lease_add(l, &d, e) : 0;
	if (r == 0)
		r = blob_stat(s, &d, NULL, e);
	if (r == 0)
		r = store_need_write(s, e);
	else if (r == 1)
		goto done;
	if (r == 0)
		r = write_document(s, &d, p, n, e);
	if (r < 0)
		return r;
done:
	if (ret)
		*ret = d;
	return 0;
}

static void stat_partial(struct varve_store *s, const struct varve_digest *d, struct stat *ret)
{
	char path[LAYOUT_PATH_MAX];

	if (fstatat(s->root, layout_partial(d, path), ret, AT_SYMLINK_NOFOLLOW) < 0)
		*ret = (struct stat){0};
}

uint64_t ingest_partial_size(struct varve_store *s, const struct varve_digest *d)
{
	struct stat st;

	stat_partial(s, d, &st);
	return (uint64_t)st.st_size;
}

uint64_t ingest_partial_room(struct varve_store *s, const struct varve_digest *d)
{
	struct stat st;

	stat_partial(s, d, &st);
	return VARVE_MAX((uint64_t)st.st_blocks * 512, (uint64_t)st.st_size);
}
