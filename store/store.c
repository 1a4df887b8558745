/* SPDX-License-Identifier: Apache-2.0 */
/* Open, create and close a store. */
#include "store/store.h"
#include "store/derived.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/rebuild.h"
#include "store/trust.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>

#define MAX_LOWER 16

/* Not in linux/magic.h of every kernel that we build with. */
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif
#ifndef CEPH_SUPER_MAGIC
#define CEPH_SUPER_MAGIC 0x00c36400
#endif
/* Not of the kernel: their own modules have them. */
#define LUSTRE_SUPER_MAGIC 0x0bd00bd0
#define GPFS_SUPER_MAGIC   0x47504653

static const struct varve_limits default_limits = {
	.size = sizeof(struct varve_limits),
	.max_layer_bytes = (uint64_t)64 << 30,
	.max_layer_entries = 5 * 1000 * 1000,
	.max_entries = 10 * 1000 * 1000,
	.max_documents = 256u << 20,
	.max_path = 32768,
	.max_depth = 1024,
	.max_ratio = 1000,
};

const char *varve_store_path(const struct varve_store *s)
{
	return s->path;
}

bool varve_store_is_read_only(const struct varve_store *s)
{
	return s->read_only;
}

uint64_t store_fs_free(const struct varve_store *s)
{
	struct statvfs v;

	if (fstatvfs(s->root, &v) < 0 || v.f_blocks == 0) /* ramfs says 0 */
		return UINT64_MAX;
	/* Root may use the reserved blocks, too. */
	return (uint64_t)(geteuid() == 0 ? v.f_bfree : v.f_bavail) * v.f_frsize;
}

bool store_disk_full(int err)
{
	return err == ENOSPC || err == EDQUOT || err == EFBIG || err == VARVE_E_NOSPACE;
}

/* --- opening --- */

static const char *remote_fs(int root)
{
	struct statfs v;

	if (fstatfs(root, &v) < 0)
		return NULL;
	switch ((unsigned long)v.f_type) {
	case NFS_SUPER_MAGIC:
		return "NFS";
	case CIFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
		return "CIFS";
	case V9FS_MAGIC:
		return "9p";
	case CEPH_SUPER_MAGIC:
		return "Ceph";
	case LUSTRE_SUPER_MAGIC:
		return "Lustre";
	case GPFS_SUPER_MAGIC:
		return "GPFS";
	case FUSE_SUPER_MAGIC:
		return "FUSE";
	default:
		return NULL;
	}
}

static int open_root(struct varve_store *s, const struct varve_store_options *opt,
		     struct varve_err *e)
{
	s->root = open(opt->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0 && errno == ENOENT && opt->create && !opt->read_only) {
		int r = fsx_make_path(opt->path, 0700, e);

		if (r < 0)
			return varve_wrap(e, r, "make the store");
		s->root = open(opt->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (s->root < 0 && errno == ENOENT)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "the store %s does not exist; a pull or an import makes it",
				  opt->path);
	if (s->root < 0 && errno == ENOTDIR)
		return varve_fail(e, VARVE_E_NOSTORE, "%s: is not a directory", opt->path);
	if (s->root < 0)
		return varve_fail_errno(e, "open the store %s", opt->path);
	s->path = realpath(opt->path, NULL);
	return s->path ? 0 : varve_fail_errno(e, "find the store %s", opt->path);
}

/* Whether we may write: a read-only mount, missing rights, or another owner. */
static int find_mode(struct varve_store *s, const struct varve_store_options *opt,
		     struct varve_err *e)
{
	const char *fs = remote_fs(s->root);
	struct stat st;

	if (fstat(s->root, &st) < 0)
		return varve_fail_errno(e, "%s", s->path);
	s->read_only = opt->read_only || faccessat(s->root, ".", W_OK, AT_EACCESS) < 0;
	if (s->read_only)
		s->no_index = fs != NULL;
	else if (fs && !opt->force_fs)
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"the store %s is on %s, where locks may not hold: use a local disk, "
			"or this one as a read-only lower store",
			s->path, fs);
	else if (st.st_uid != geteuid())
		/* Files of ours in it would lock its owner out, and its owner could feed us forged
		 * ones. */
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"the store %s belongs to user %u, you are user %u; run varve as that user, "
			"or use a store of your own and that one as a read-only lower store "
			"(\"lower\" "
			"in the configuration)",
			s->path, (unsigned)st.st_uid, (unsigned)geteuid());
	else if (s->foreign)
		return varve_fail(
			e, VARVE_E_UNSAFE,
			"the store %s is not yours alone: %s. Take that right away (chmod -R go-w, "
			"chown) and run \"varve check --rebuild --read-data\", as others may have "
			"changed it",
			s->path, s->foreign);
	return 0;
}

static int open_index(struct varve_store *s, struct varve_err *e)
{
	int r;

	/* Its pages could change under LMDB, and what its records say of layers is proven by
	 * nothing. */
	s->no_index = s->no_index || s->foreign;
	if (!s->no_index) {
		r = index_open(&s->index, s->root, s->path, s->read_only, s->ctx, e);
		/* A reader who may not open it still has index.json and the blobs (A.6). */
		if (r == 0 || !s->read_only)
			return r;
		s->no_index = true;
	}
	r = index_open_memory(&s->index, e);
	if (r == 0)
		r = rebuild_from_documents(s, e);
	return r < 0 ? varve_wrap(e, r, "read the store %s without its database", s->path) : 0;
}

static void told_lower(const struct varve_store *s)
{
	if (s->foreign)
		log_info(s->ctx, "store",
			 "lower store %s: only what its digest proves is used, because %s", s->path,
			 s->foreign);
}

/* A lower store that is away (an unmounted share) is worth a warning, not a failure. */
static int open_lower(struct varve_store *s, const char *const *lower, struct varve_err *e)
{
	size_t n = 0;

	while (lower && lower[n])
		n++;
	if (n > MAX_LOWER)
		return varve_fail(e, VARVE_E_CONFIG, "more than %d lower stores", MAX_LOWER);
	s->lower = calloc(n + 1, sizeof(struct varve_store *));
	if (!s->lower)
		return varve_fail_oom(e);
	for (n = 0; lower && lower[n]; n++) {
		struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
		struct varve_err why = VARVE_ERR_INIT;
		char text[512];

		opt.path = lower[n];
		opt.read_only = true;
		opt.trusted = s->trusted;
		opt.n_trusted = s->n_trusted;
		if (varve_store_open(&s->lower[s->n_lower], s->ctx, &opt, &why) < 0)
			log_warn(s->ctx, "store", "lower store %s is not used: %s", lower[n],
				 varve_err_text(&why, text, sizeof(text)));
		else
			told_lower(s->lower[s->n_lower++]);
	}
	return 0;
}

static int copy_trusted(struct varve_store *s, const struct varve_store_options *opt,
			struct varve_err *e)
{
	s->trusted = malloc((opt->n_trusted + 1) * sizeof(*s->trusted));
	if (!s->trusted)
		return varve_fail_oom(e);
	if (opt->n_trusted)
		memcpy(s->trusted, opt->trusted, opt->n_trusted * sizeof(*s->trusted));
	s->n_trusted = opt->n_trusted;
	return 0;
}

static void store_cleanup(struct varve_store **s)
{
	varve_store_close(*s);
}

int varve_store_open(struct varve_store **ret, const struct varve_ctx *ctx,
		     const struct varve_store_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(store_cleanup) struct varve_store *s = NULL;
	struct varve_store_options own;
	bool only_read = false;
	int r = OPTIONS_COPY(&own, opt, limits.max_link_work, e);

	if (r < 0)
		return r;
	opt = &own;
	s = calloc(1, sizeof(*s));
	if (!s)
		return varve_fail_oom(e);
	s->root = -1;
	s->ctx = ctx;
	s->limits = limits_or(&opt->limits, &default_limits);
	(void)pthread_mutex_init(&s->mutex, NULL);
	r = copy_trusted(s, opt, e);
	if (r == 0)
		r = open_root(s, opt, e);
	if (r == 0 && opt->create && !opt->read_only &&
	    faccessat(s->root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		r = find_mode(s, opt, e);
		if (r == 0 && !s->read_only)
			r = layout_create(s->root, s->path, s->ctx, e);
	}
	if (r == 0)
		r = trust_find(s, e);
	if (r == 0 && opt->restore && faccessat(s->root, ".", W_OK, AT_EACCESS) == 0)
		r = layout_restore(s->root, e);
	if (r == 0)
		r = layout_absent(s->root, s->path, s->ctx, !s->foreign, e);
	if (r == 0)
		r = layout_check(s->root, s->path, &only_read, e);
	if (r == 0)
		r = find_mode(s, opt, e);
	if (r == 0) {
		s->read_only = s->read_only || only_read;
		if (!s->read_only)
			layout_complete(s->root);
		r = open_index(s, e);
	}
	if (r == 0)
		r = open_lower(s, opt->lower, e);
	if (r < 0)
		return r;
	mirror_catch_up(s);
	*ret = VARVE_TAKE(s);
	return 0;
}

void varve_store_close(struct varve_store *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n_lower; i++)
		varve_store_close(s->lower[i]);
	free(s->lower);
	index_close(s->index);
	aux_memory_free(s);
	blob_forget_published(s);
	(void)pthread_mutex_destroy(&s->mutex);
	if (s->root >= 0)
		(void)close(s->root);
	free(s->path);
	free(s->foreign);
	free(s->trusted);
	free(s);
}
