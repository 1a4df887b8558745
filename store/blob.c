/* SPDX-License-Identifier: Apache-2.0 */
/* Look up, open, adopt and set aside one blob; what is remembered of it. */
#include "store/blob.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob_record.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/lower.h"
#include "store/oci/oci.h"
#include "store/store.h"
#include "store/trust.h"

#include <fcntl.h>
#include <string.h>

/* --- the record of one blob --- */

struct lookup {
	const struct varve_digest *digest;
	struct varve_blob_info *info;
	enum blob_state state; /* 0: no record */
	int64_t mtime_ns;
};

static int look(struct index_txn *t, void *user, struct varve_err *e)
{
	struct lookup *l = user;
	struct blob_record rec;
	int r = blob_record_load(t, l->digest, &rec, e);

	if (r <= 0)
		return r;
	l->state = rec.state;
	l->info->size = rec.size;
	l->info->kind = rec.kind;
	l->info->has_facts = rec.has_facts;
	l->info->facts = rec.facts;
	l->info->verified_at = rec.verified_at;
	l->mtime_ns = rec.mtime_ns;
	return 0;
}

/* Change a record; fill gets the old one (zeroed if there is none) and says whether to write it. */
struct change {
	const struct varve_digest *digest;
	bool (*fill)(struct blob_record *rec, bool exists, void *user);
	void *user;
};

static int change_record(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct change *c = user;
	struct blob_record rec = {0};
	int r = blob_record_load(t, c->digest, &rec, e);

	if (r < 0 || !c->fill(&rec, r == 1, c->user))
		return r < 0 ? r : 0;
	return blob_record_store(t, c->digest, &rec, e);
}

static int update_record(struct varve_store *s, const struct varve_digest *d,
			 bool (*fill)(struct blob_record *rec, bool exists, void *user), void *user,
			 struct varve_err *e)
{
	struct change c = {d, fill, user};

	return index_update(s->index, change_record, &c, e);
}

/* --- published by this handle, not recorded yet --- */

void blob_note_published(struct varve_store *s, const struct varve_digest *d)
{
	struct varve_digest *more;

	(void)pthread_mutex_lock(&s->mutex);
	more = realloc(s->published, (s->n_published + 1) * sizeof(*more));
	if (more) { /* without memory it is hashed once more, that is all */
		s->published = more;
		s->published[s->n_published++] = *d;
	}
	(void)pthread_mutex_unlock(&s->mutex);
}

void blob_forget_published(struct varve_store *s)
{
	(void)pthread_mutex_lock(&s->mutex);
	free(s->published);
	s->published = NULL;
	s->n_published = 0;
	(void)pthread_mutex_unlock(&s->mutex);
}

static bool was_published(struct varve_store *s, const struct varve_digest *d)
{
	bool found = false;
	size_t i;

	(void)pthread_mutex_lock(&s->mutex);
	for (i = 0; i < s->n_published && !found; i++)
		found = varve_digest_equal(&s->published[i], d);
	(void)pthread_mutex_unlock(&s->mutex);
	return found;
}

/* --- adopt and set aside --- */

int blob_sync_names(struct varve_store *s, struct varve_err *e)
{
	enum varve_algo algo;

	for (algo = VARVE_SHA256; algo <= VARVE_SHA512; algo++) {
		VARVE_CLOSE int dir = fsx_open_dir(s->root, layout_blob_dir(algo));

		if (dir < 0 && errno == ENOENT && algo == VARVE_SHA512)
			continue;
		if (dir < 0 || fsync(dir) < 0)
			return varve_fail_errno(e, "sync %s/%s", s->path, layout_blob_dir(algo));
	}
	return 0;
}

static bool fill_missing(struct blob_record *rec, bool exists, void *user)
{
	(void)user;
	if (!exists || rec->state == BLOB_MISSING)
		return false;
	rec->state = BLOB_MISSING;
	rec->mtime_ns = 0;
	return true;
}

int blob_quarantine(struct varve_store *s, const struct varve_digest *d, uint64_t ino,
		    struct varve_err *e)
{
	/* Exclusive: a good copy must not be published under the name between look and rename. */
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char path[LAYOUT_PATH_MAX], trash[LAYOUT_PATH_MAX];
	struct stat st;
	int r = lock_acquire(&lock, s->root, LOCK_EX, s->ctx, e);

	if (r < 0)
		return r;
	(void)layout_blob(d, path);
	if (fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? update_record(s, d, fill_missing, NULL, e)
				       : varve_fail_errno(e, "look at %s/%s", s->path, path);
	if (st.st_ino != ino)
		return 0;
	r = update_record(s, d, fill_missing, NULL, e);
	if (r < 0)
		return r;
	if (renameat(s->root, path, s->root, layout_trash(DIGEST_HEX(d), trash)) < 0)
		return varve_fail_errno(e, "set %s/%s aside", s->path, path);
	return 0;
}

static bool fill_adopted(struct blob_record *rec, bool exists, void *user)
{
	const struct stat *st = user;

	if (!exists)
		rec->added_at = store_now();
	rec->state = BLOB_PRESENT;
	rec->size = (uint64_t)st->st_size;
	rec->mtime_ns = stat_mtime_ns(st);
	rec->verified_at = store_now();
	return true;
}

/* While it was hashed gc may have taken it: 1 it is the file that was hashed, and recorded. */
static int record_adopted(struct varve_store *s, const struct varve_digest *d, struct stat *hashed,
			  struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char path[LAYOUT_PATH_MAX];
	struct stat now;
	int r = lock_acquire(&lock, s->root, LOCK_SH, s->ctx, e);

	if (r < 0)
		return r;
	if (fstatat(s->root, layout_blob(d, path), &now, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : varve_fail_errno(e, "look at %s/%s", s->path, path);
	if (now.st_ino != hashed->st_ino || now.st_size != hashed->st_size ||
	    stat_mtime_ns(&now) != stat_mtime_ns(hashed))
		return 0;
	r = update_record(s, d, fill_adopted, hashed, e);
	return r < 0 ? r : 1;
}

/* A file without a valid record: 1 it is what its name says and recorded now, 0 it was not and is
 * gone. */
int blob_adopt(struct varve_store *s, const struct varve_digest *d, struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX];
	struct stat st;
	VARVE_CLOSE int fd = fsx_open_plain(s->root, layout_blob(d, path), O_RDONLY, 0, &st);
	struct varve_digest got;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return varve_fail_errno(e, "open %s/%s", s->path, path);
	log_debug(s->ctx, "blob", "%s has no record: hashing it", DIGEST_STR(d));
	r = hash_fd(d->algo, fd, s->ctx, &got, NULL, e);
	if (r < 0)
		return varve_wrap(e, r, "blob %s", DIGEST_STR(d));
	if (!varve_digest_equal(&got, d)) {
		log_warn(s->ctx, "blob", "%s: its content is not what its name says; set aside",
			 DIGEST_STR(d));
		r = blob_quarantine(s, d, st.st_ino, e);
		return r < 0 ? r : 0;
	}
	if (fsync(fd) < 0)
		return varve_fail_errno(e, "sync %s/%s", s->path, path);
	r = blob_sync_names(s, e);
	return r < 0 ? r : record_adopted(s, d, &st, e);
}

static bool fill_verified(struct blob_record *rec, bool exists, void *user)
{
	if (!exists || rec->state != BLOB_PRESENT)
		return false;
	rec->mtime_ns = *(const int64_t *)user;
	rec->verified_at = store_now();
	return true;
}

/* --- look up --- */

static int stat_lower(struct varve_store *s, const struct varve_digest *d,
		      struct varve_blob_info *ret)
{
	size_t i;

	for (i = 0; i < s->n_lower; i++) {
		if (blob_stat(s->lower[i], d, ret, NULL) == 1)
			return 1;
	}
	return 0;
}

static int stat_own(struct varve_store *s, const struct varve_digest *d,
		    struct varve_blob_info *ret, struct varve_err *e)
{
	struct lookup l = {.digest = d, .info = ret};
	char path[LAYOUT_PATH_MAX];
	struct stat st;
	int r = index_view(s->index, look, &l, e);

	if (r < 0)
		return r;
	if (fstatat(s->root, layout_blob(d, path), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : varve_fail_errno(e, "look at %s/%s", s->path, path);
	if (l.state == BLOB_PRESENT && S_ISREG(st.st_mode) && (uint64_t)st.st_size == ret->size)
		return 1;
	/* A name in blobs/ always has verified content
	 * (invariant I2); a reader cannot record more. */
	if (S_ISREG(st.st_mode) && ((s->read_only && l.state == 0) || was_published(s, d))) {
		ret->size = (uint64_t)st.st_size;
		return 1;
	}
	if (s->read_only)
		return 0;
	if (!S_ISREG(st.st_mode)) {
		r = blob_quarantine(s, d, st.st_ino, e);
		return r < 0 ? r : 0;
	}
	r = blob_adopt(s, d, e);
	if (r == 1)
		r = index_view(s->index, look, &l, e) < 0 ? -VARVE_E_CORRUPT : 1;
	return r;
}

int blob_recorded(struct varve_store *s, const struct varve_digest *d, struct blob_seen *ret)
{
	struct varve_blob_info info = {.digest = *d};
	struct lookup l = {.digest = d, .info = &info};
	int r = index_view(s->index, look, &l, NULL);

	*ret = (struct blob_seen){l.state == BLOB_PRESENT, info.size, l.mtime_ns};
	return r < 0 ? r : l.state != 0;
}

int blob_put_verified(struct index_txn *t, const struct varve_digest *d, int64_t mtime_ns,
		      struct varve_err *e)
{
	struct change c = {d, fill_verified, &mtime_ns};

	return change_record(t, &c, e);
}

int blob_stat(struct varve_store *s, const struct varve_digest *d, struct varve_blob_info *ret,
	      struct varve_err *e)
{
	struct varve_blob_info info = {.digest = *d};
	int r;

	if (!varve_digest_is_set(d))
		return varve_fail(e, EINVAL, "no digest given");
	r = stat_own(s, d, &info, e);
	if (r == 0) {
		info = (struct varve_blob_info){.digest = *d};
		r = stat_lower(s, d, &info);
		if (r == 1 && !info.has_facts)
			info.has_facts = lower_get_facts(s, d, &info.facts);
	}
	info.present = r == 1;
	if (r == 1 && ret)
		*ret = info;
	return r;
}

int blob_open_file(struct varve_store *s, const struct varve_digest *d, struct blob_file *ret,
		   struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX];
	struct stat st;
	size_t i;
	int fd = fsx_open_plain(s->root, layout_blob(d, path), O_RDONLY, 0, &st);

	if (fd >= 0) {
		*ret = (struct blob_file){.fd = fd,
					  .size = (uint64_t)st.st_size,
					  .proven = !s->foreign && trust_stat(s, &st),
					  .from = s};
		return 0;
	}
	if (errno != ENOENT)
		return varve_fail_errno(e, "open %s/%s", s->path, path);
	for (i = 0; i < s->n_lower; i++) {
		if (blob_open_file(s->lower[i], d, ret, NULL) == 0)
			return 0;
	}
	return varve_fail(e, VARVE_E_NOTFOUND, "blob %s is not in the store %s", DIGEST_STR(d),
			  s->path);
}

int blob_open(struct varve_store *s, const struct varve_digest *d, int *ret_fd, uint64_t *ret_size,
	      struct varve_err *e)
{
	struct blob_file f;
	int r = blob_open_file(s, d, &f, e);

	if (r < 0)
		return r;
	if (ret_size)
		*ret_size = f.size;
	*ret_fd = f.fd;
	return 0;
}

int blob_fail_digest(const struct varve_store *from, const struct varve_store *s,
		     const struct varve_digest *d, struct varve_err *e)
{
	if (from == s)
		return varve_fail(e, VARVE_E_DIGEST,
				  "blob %s in the store %s is damaged: the stored bytes have "
				  "changed; pull the image again, or run \"varve check --repair\"",
				  DIGEST_STR(d), s->path);
	return varve_fail(e, VARVE_E_DIGEST,
			  "blob %s in the lower store %s is not what its name says; leave that "
			  "store out of \"lower\" in the configuration until its owner has run "
			  "\"varve check --read-data --repair\"",
			  DIGEST_STR(d), from->path);
}

int blob_check_size(const struct varve_store *s, const struct varve_digest *d,
		    const struct blob_file *f, uint64_t size, struct varve_err *e)
{
	return f->proven || f->size == size ? 0 : blob_fail_digest(f->from, s, d, e);
}

int blob_check_stored(struct varve_store *s, const struct varve_digest *d, uint64_t size,
		      struct varve_err *e)
{
	struct blob_file f;

	if (s->n_lower == 0 || blob_open_file(s, d, &f, NULL) < 0)
		return 0;
	(void)close(f.fd);
	return blob_check_size(s, d, &f, size, e);
}

int blob_read(struct varve_store *s, const struct varve_digest *d, struct buf *b,
	      struct varve_err *e)
{
	struct blob_file f = {.fd = -1};
	struct varve_digest got;
	int r = blob_open_file(s, d, &f, e);

	if (r == 0) {
		r = fsx_read_file(f.fd, NULL, b, e);
		(void)close(f.fd);
	}
	if (r == 0)
		r = hash_bytes(d->algo, b->p, b->n, &got, e);
	if (r < 0)
		return varve_wrap(e, r, "blob %s", DIGEST_STR(d));
	return varve_digest_equal(&got, d) ? 0 : blob_fail_digest(f.from, s, d, e);
}

int varve_store_read_blob(struct varve_store *s, const struct varve_digest *d, char **ret,
			  size_t *ret_size, struct varve_err *e)
{
	struct buf b;
	int r;

	buf_init(&b, OCI_CONFIG_MAX);
	r = blob_read(s, d, &b, e);
	if (r == 0) {
		*ret_size = b.n;
		*ret = buf_take(&b);
		if (!*ret)
			r = varve_fail_oom(e);
	}
	buf_done(&b);
	return r;
}

/* --- what is remembered --- */

static bool fill_facts(struct blob_record *rec, bool exists, void *user)
{
	const struct varve_layer_facts *facts = user;

	rec->has_facts = true;
	rec->facts = *facts;
	if (rec->kind == VARVE_BLOB_OTHER)
		rec->kind = VARVE_BLOB_LAYER;
	return exists;
}

int blob_set_facts(struct varve_store *s, const struct varve_digest *d,
		   const struct varve_layer_facts *facts, struct varve_err *e)
{
	struct varve_layer_facts copy = *facts;
	char path[LAYOUT_PATH_MAX];

	/* Of a layer that only a lower store has; a cache, which must not fail a command. */
	if (s->n_lower && faccessat(s->root, layout_blob(d, path), F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		(void)lower_put_facts(s, d, facts, NULL);
	if (s->read_only)
		return 0; /* they are found out again by whoever reads the layer next */
	return update_record(s, d, fill_facts, &copy, e);
}

struct origins {
	const struct varve_digest *digest;
	char **list;
	size_t n;
};

static int copy_origins(struct index_txn *t, void *user, struct varve_err *e)
{
	struct origins *o = user;
	struct blob_record rec;
	int r = blob_record_load(t, o->digest, &rec, e);

	if (r <= 0)
		return r;
	for (; o->n < rec.n_origins; o->n++) {
		o->list[o->n] = span_dup(rec.origins[o->n]);
		if (!o->list[o->n])
			return varve_fail_oom(e);
	}
	return 0;
}

int blob_origins(struct varve_store *s, const struct varve_digest *d, char *list[],
		 struct varve_err *e)
{
	struct origins o = {d, list, 0};

	memset(list, 0, (RECORD_MAX_ORIGINS + 1) * sizeof(*list));
	return index_view(s->index, copy_origins, &o, e);
}

int blob_set_damaged(struct varve_store *s, const struct varve_digest *d, struct varve_err *e)
{
	VARVE_CLOSE int fd = -1;
	struct varve_digest got;
	struct stat st;
	int r = store_need_write(s, e);

	if (r == 0)
		r = blob_open(s, d, &fd, NULL, e);
	if (r == 0 && fstat(fd, &st) < 0)
		r = varve_fail_errno(e, "look at blob %s", DIGEST_STR(d));
	if (r == 0) /* who says so may be wrong, or late */
		r = hash_fd(d->algo, fd, s->ctx, &got, NULL, e);
	if (r < 0 || varve_digest_equal(&got, d))
		return r;
	return blob_quarantine(s, d, st.st_ino, e);
}
