/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that knows the names of paths on disk and how a store's directory begins. */
#include "store/layout.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/index/index.h"
#include "store/lock.h"
#include "store/mirror.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

/* compat: others may ignore it; ro-compat: others may only read; incompat: others must refuse. */
static const char version_text[] = "varve 1\ncompat:\nro-compat:\nincompat:\n";
static const char oci_layout_text[] = "{\"imageLayoutVersion\":\"1.0.0\"}\n";
static const char empty_index[] = "{\"schemaVersion\":2,\"mediaType\":"
				  "\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n";

static const char *const directories[] = {
	INDEX_DIR,  LAYOUT_BLOBS,   LAYOUT_BLOBS "/sha256", LAYOUT_BLOBS "/sha512", LAYOUT_AUX,
	LAYOUT_TMP, LAYOUT_PARTIAL, LAYOUT_LEASES,          LAYOUT_TRASH,
};

const char *layout_blob_dir(enum varve_algo algo)
{
	return algo == VARVE_SHA512 ? LAYOUT_BLOBS "/sha512" : LAYOUT_BLOBS "/sha256";
}

const char *layout_blob(const struct varve_digest *d, char buf[LAYOUT_PATH_MAX])
{
	(void)snprintf(buf, LAYOUT_PATH_MAX, "%s/%s", layout_blob_dir(d->algo), DIGEST_HEX(d));
	return buf;
}

const char *layout_partial(const struct varve_digest *d, char buf[LAYOUT_PATH_MAX])
{
	(void)snprintf(buf, LAYOUT_PATH_MAX, LAYOUT_PARTIAL "/%s", DIGEST_HEX(d));
	return buf;
}

const char *layout_aux(const char *kind, const struct varve_digest *d, char buf[LAYOUT_PATH_MAX])
{
	(void)snprintf(buf, LAYOUT_PATH_MAX, LAYOUT_AUX "/%.16s/%s", kind, DIGEST_HEX(d));
	return buf;
}

const char *layout_trash(const char *name, char buf[LAYOUT_PATH_MAX])
{
	char random[17];

	fsx_random_name(random);
	(void)snprintf(buf, LAYOUT_PATH_MAX, LAYOUT_TRASH "/%s-%.130s", random, name);
	return buf;
}

bool layout_digest_of(const char *name, struct varve_digest *ret)
{
	char text[VARVE_DIGEST_STR_MAX];
	size_t n = strlen(name);

	if (n != 64 && n != 128)
		return false;
	(void)snprintf(text, sizeof(text), "%s:%s", n == 64 ? "sha256" : "sha512", name);
	return varve_digest_parse(ret, text) == 0;
}

/* --- beginning --- */

static bool ours(const char *name)
{
	static const char *const files[] = {
		LAYOUT_VERSION_FILE, LAYOUT_LOCK,     LAYOUT_GATE,      LAYOUT_OCI,  LAYOUT_INDEX,
		LAYOUT_BLOBS,        LAYOUT_AUX,      LAYOUT_TMP,       INDEX_DIR,   LAYOUT_LEASES,
		LAYOUT_TRASH,        LAYOUT_INSTALLS, LAYOUT_INDEX_BAD, "lost+found"};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(files); i++) {
		if (strcmp(name, files[i]) == 0)
			return true;
	}
	/* Temporaries of fsx_replace_file() that a kill left. */
	return strncmp(name, "." LAYOUT_OCI ".", sizeof(LAYOUT_OCI) + 1) == 0 ||
	       strncmp(name, "." LAYOUT_INDEX ".", sizeof(LAYOUT_INDEX) + 1) == 0 ||
	       strncmp(name, "." LAYOUT_VERSION_FILE ".", sizeof(LAYOUT_VERSION_FILE) + 1) == 0;
}

/* index.json names an image as we do, or trees were installed. */
static bool is_backup(int root)
{
	struct buf b;
	bool found;

	if (faccessat(root, LAYOUT_INSTALLS, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	buf_init(&b, MIRROR_MAX);
	found = fsx_read_plain(root, LAYOUT_INDEX, &b, NULL) == 0 &&
		memmem(b.p, b.n, "\"" MIRROR_REFERENCE "\"", sizeof(MIRROR_REFERENCE) + 1);
	buf_done(&b);
	buf_done(&b);
	return found;
}

/* Only what a creation that was cut short leaves: our names, and our lock among them. */
static int check_empty(int root, const char *path, struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	VARVE_CLOSEDIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *de;
	bool any = false, lock = false;
	const char *hint =
		"is an OCI layout of another tool, not a store; choose another directory "
		"and import it with: varve import";

	if (!d)
		return varve_fail_errno(e, "%s", path);
	(void)VARVE_TAKE_FD(fd);
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
		    strcmp(de->d_name, "lost+found") == 0)
			continue;
		if (!ours(de->d_name))
			return varve_fail(e, VARVE_E_NOSTORE,
					  "%s: is no store and not empty (it holds \"%s\"); choose "
					  "another directory",
					  path, TEXT_SAFE(de->d_name));
		any = true;
		lock = lock || strcmp(de->d_name, LAYOUT_LOCK) == 0;
	}
	if (is_backup(root))
		hint = "is the backup of a store; restore it with: varve check --rebuild --store";
	if (any && !lock)
		return varve_fail(e, VARVE_E_NOSTORE, "%s: %s %s", path, hint, path);
	return 0;
}

/* A store is for its owner to write, also in a directory that was made with a umask of 002. */
static int keep_to_owner(int root, const char *path, struct varve_err *e)
{
	struct stat st;

	if (fstat(root, &st) < 0 ||
	    ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && fchmod(root, st.st_mode & 07755) < 0))
		return varve_fail_errno(e, "keep %s to its owner", path);
	return 0;
}

static int make_file(int root, const char *name, const char *text, struct varve_err *e)
{
	if (faccessat(root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return fsx_replace_file(root, name, text, strlen(text), 0644, e);
}

/* Both lock files are made here and never again; the lock first, check_empty() knows us by it. */
static int make_locks(int root, const char *path, struct varve_err *e)
{
	static const char *const names[] = {LAYOUT_LOCK, LAYOUT_GATE};
	size_t i;

	for (i = 0; i < 2; i++) {
		VARVE_CLOSE int fd = fsx_open_plain(root, names[i], O_RDWR | O_CREAT, 0644, NULL);

		if (fd < 0)
			return varve_fail_errno(e, "%s/%s", path, names[i]);
	}
	return 0;
}

void layout_make_ballast(int root)
{
	VARVE_CLOSE int fd = openat(root, LAYOUT_BALLAST,
				    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0 && fallocate(fd, 0, 0, 1 << 20) < 0)
		(void)unlinkat(root, LAYOUT_BALLAST, 0);
}

int layout_create(int root, const char *path, const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	VARVE_CLOSE int blobs = -1;
	size_t i;
	int r;

	if (faccessat(root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = check_empty(root, path, e);
	if (r == 0)
		r = keep_to_owner(root, path, e);
	if (r == 0)
		r = make_locks(root, path, e);
	if (r == 0)
		r = lock_acquire(&lock, root, LOCK_EX, ctx, e);
	if (r < 0)
		return r;
	if (faccessat(root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0; /* another process was quicker */
	for (i = 0; i < VARVE_ARRAY_SIZE(directories); i++) {
		if (mkdirat(root, directories[i], 0755) < 0 && errno != EEXIST)
			return varve_fail_errno(e, "make %s/%s", path, directories[i]);
	}
	blobs = fsx_open_dir(root, LAYOUT_BLOBS);
	if (blobs < 0 || fsync(blobs) < 0) /* the root is synced with VERSION */
		return varve_fail_errno(e, "sync %s/" LAYOUT_BLOBS, path);
	layout_make_ballast(root);
	r = index_create(root, e);
	if (r == 0)
		r = make_file(root, LAYOUT_INDEX, empty_index, e);
	if (r == 0)
		r = make_file(root, LAYOUT_OCI, oci_layout_text, e);
	if (r == 0)
		r = make_file(root, LAYOUT_VERSION_FILE, version_text, e);
	return r < 0 ? varve_wrap(e, r, "make the store %s", path) : 0;
}

void layout_complete(int root)
{
	static const char *const locks[] = {LAYOUT_LOCK, LAYOUT_GATE};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(directories); i++) {
		if (faccessat(root, directories[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			(void)mkdirat(root, directories[i], 0755);
	}
	for (i = 0; i < VARVE_ARRAY_SIZE(locks); i++) {
		VARVE_CLOSE int fd = -1;

		if (faccessat(root, locks[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			fd = fsx_open_plain(root, locks[i], O_RDWR | O_CREAT, 0644, NULL);
	}
}

/* VERSION first: while the database is missing nobody can take the names for forgotten. */
int layout_restore(int root, struct varve_err *e)
{
	int r;

	if (faccessat(root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    faccessat(root, LAYOUT_LOCK, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || !is_backup(root))
		return 0;
	r = make_file(root, LAYOUT_OCI, oci_layout_text, e);
	return r < 0 ? r : make_file(root, LAYOUT_VERSION_FILE, version_text, e);
}

int layout_absent(int root, const char *path, const struct varve_ctx *ctx, bool wait,
		  struct varve_err *e)
{
	const struct timespec pause = {0, 10000000};
	unsigned tries;
	int r;

	/*
	 * Another process may be in layout_create(), which holds the lock until VERSION is there;
	 * or it has made the lock and does not hold it yet.
	 */
	for (tries = 0; tries < 50 && (wait || tries == 0); tries++) {
		VARVE_CLOSE int fd = -1;

		if (faccessat(root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
		fd = wait ? fsx_open_plain(root, LAYOUT_LOCK, O_RDONLY, 0, NULL) : -1;
		if (fd < 0)
			break;
		if (fsx_flock_wait(fd, LOCK_SH, ctx) < 0)
			return varve_fail_errno(e, "%s/%s", path, LAYOUT_LOCK);
		if (faccessat(root, LAYOUT_VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
		(void)close(VARVE_TAKE_FD(fd));
		(void)nanosleep(&pause, NULL);
	}
	r = check_empty(root, path, e);
	return r < 0 ? r
		     : varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: holds no store, or one whose making was cut short; a pull "
				  "or an import makes it",
				  path);
}

int layout_write_oci(int root, struct varve_err *e)
{
	return fsx_replace_file(root, LAYOUT_OCI, oci_layout_text, strlen(oci_layout_text), 0644,
				e);
}

/* --- VERSION --- */

/* Any feature in the list is one that this version does not know: it knows none yet. */
static bool has_feature(struct span line, const char *key)
{
	struct span head;

	return span_cut(&line, ':', &head) && span_eq(head, key) && span_trim(line).n > 0;
}

int layout_check(int root, const char *path, bool *ret_read_only, struct varve_err *e)
{
	struct span text, line;
	uint64_t version = 0;
	struct buf b;
	int r;

	buf_init(&b, 64u << 10);
	r = fsx_read_plain(root, LAYOUT_VERSION_FILE, &b, NULL);
	if (r < 0) {
		buf_done(&b);
		if (r == -ENOENT)
			return varve_fail(e, VARVE_E_NOSTORE,
					  "%s: is no varve store (no file VERSION in it)", path);
		return varve_fail(e, -r, "%s/VERSION: %s", path, varve_code_text(-r));
	}
	text = span_of(b.p, b.n);
	(void)span_cut(&text, '\n', &line);
	if (!span_starts(line, "varve ") ||
	    !span_u64(span_of(line.p + 6, line.n - 6), UINT32_MAX, &version)) {
		buf_done(&b);
		return varve_fail(e, VARVE_E_NOSTORE,
				  "%s: is no varve store (its VERSION is of "
				  "something else)",
				  path);
	}
	*ret_read_only = false;
	r = 0;
	while (r == 0 && text.n > 0) {
		(void)span_cut(&text, '\n', &line);
		if (has_feature(line, "incompat"))
			r = -VARVE_E_VERSION;
		else if (has_feature(line, "ro-compat"))
			*ret_read_only = true;
	}
	buf_done(&b);
	if (r < 0 || version > 1)
		return varve_fail(e, VARVE_E_VERSION,
				  "%s: was made by a newer varve; install that version to use it",
				  path);
	return 0;
}
