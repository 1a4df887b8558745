/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the store, and what in them belongs to a living process. */
#include "store/care/scan.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/oci/oci.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#define MAX_LEASE   (16u << 20)
#define MAX_NESTING 5 /* indexes within indexes (docs/requirements.md 3.13) */

int scan_dir(struct varve_store *s, const char *dir,
	     int (*fn)(void *user, const struct scan_entry *entry, struct varve_err *e), void *user,
	     struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(s->root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	VARVE_CLOSEDIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct scan_entry entry = {.dir = dir};
	const struct dirent *de;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : varve_fail_errno(e, "read %s/%s", s->path, dir);
	(void)VARVE_TAKE_FD(fd);
	while (r == 0 && (de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		entry.name = de->d_name;
		(void)snprintf(entry.path, sizeof(entry.path), "%s/%s", dir, de->d_name);
		if (fstatat(dirfd(d), de->d_name, &entry.st, AT_SYMLINK_NOFOLLOW) == 0)
			r = fn(user, &entry, e);
	}
	return r;
}

bool scan_claim(struct varve_store *s, const char *path, int *ret_fd)
{
	VARVE_CLOSE int fd = openat(s->root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fsx_flock(fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	if (fstat(fd, &st) < 0 || st.st_nlink == 0)
		return false;
	*ret_fd = VARVE_TAKE_FD(fd);
	return true;
}

/* --- leases --- */

struct lease_scan {
	struct varve_store *store;
	int (*fn)(void *user, const struct varve_digest *d);
	void (*dead)(void *user, const struct scan_entry *entry);
	void *user;
};

static int read_lease(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct lease_scan *l = user;
	VARVE_CLOSE int claimed = -1;
	struct varve_digest d;
	struct span text, line;
	struct buf b;
	int r;

	if (scan_claim(l->store, entry->path, &claimed)) {
		if (l->dead)
			l->dead(l->user, entry);
		return 0;
	}
	buf_init(&b, MAX_LEASE);
	r = fsx_read_plain(l->store->root, entry->path, &b, e);
	text = span_of(b.p, b.n);
	while (r == 0 && text.n > 0) {
		char word[VARVE_DIGEST_STR_MAX];

		(void)span_cut(&text, '\n', &line);
		if (line.n >= sizeof(word))
			continue;
		memcpy(word, line.p, line.n);
		word[line.n] = '\0';
		if (varve_digest_parse(&d, word) == 0)
			r = l->fn(l->user, &d);
	}
	buf_done(&b);
	return r == -ENOENT ? 0 : r; /* it ended meanwhile */
}

int scan_leases(struct varve_store *s, int (*fn)(void *user, const struct varve_digest *d),
		void (*dead)(void *user, const struct scan_entry *entry), void *user,
		struct varve_err *e)
{
	struct lease_scan l = {s, fn, dead, user};

	return scan_dir(s, LAYOUT_LEASES, read_lease, &l, e);
}

/* --- entries of other tools --- */

struct foreign {
	struct varve_store *store;
	int (*fn)(void *user, const struct varve_digest *d, const char *name);
	void *user;
	const char *name;
	struct varve_err *e; /* of what passes; fn has its own */
};

/* What is below a document that is damaged cannot be known; one that could not be read at this
 * moment may not be taken for it. */
static int unreadable(struct foreign *f, int r, const struct varve_err *why)
{
	if (!err_is_passing(r))
		return 0;
	if (f->e)
		*f->e = *why;
	return r;
}

static int walk(struct foreign *f, const struct varve_digest *d, unsigned depth);

static int walk_manifest(struct foreign *f, const struct buf *b)
{
	struct oci_manifest *m = NULL;
	size_t i;
	struct varve_err why = VARVE_ERR_INIT;
	int r = oci_manifest_parse(&m, b->p, b->n, &why);

	if (r < 0)
		return unreadable(f, r, &why);
	r = f->fn(f->user, &m->config.digest, f->name);
	for (i = 0; r == 0 && i < m->n_layers; i++)
		r = f->fn(f->user, &m->layers[i].digest, f->name);
	oci_manifest_free(m);
	return r;
}

static int walk_index(struct foreign *f, const struct buf *b, unsigned depth)
{
	struct oci_index *index = NULL;
	size_t i;
	struct varve_err why = VARVE_ERR_INIT;
	int r = oci_index_parse(&index, b->p, b->n, &why);

	if (r < 0)
		return unreadable(f, r, &why);
	for (i = 0; r == 0 && i < index->n; i++) {
		if (varve_digest_is_set(&index->manifests[i].digest))
			r = walk(f, &index->manifests[i].digest, depth + 1);
	}
	oci_index_free(index);
	return r;
}

/* A document that is missing or damaged has nothing below it that could be known. */
static int walk(struct foreign *f, const struct varve_digest *d, unsigned depth)
{
	struct varve_err why = VARVE_ERR_INIT;
	enum oci_doc_kind kind = OCI_DOC_UNKNOWN;
	struct buf b;
	int r = f->fn(f->user, d, f->name);

	if (r != 0 || depth > MAX_NESTING)
		return r;
	buf_init(&b, OCI_DOC_MAX);
	r = blob_read(f->store, d, &b, &why);
	if (r == 0)
		r = oci_classify(b.p, b.n, NULL, NULL, &kind, &why);
	if (r < 0)
		r = unreadable(f, r, &why);
	else if (kind == OCI_DOC_MANIFEST)
		r = walk_manifest(f, &b);
	else if (kind == OCI_DOC_INDEX)
		r = walk_index(f, &b, depth);
	buf_done(&b);
	return r;
}

int scan_document(struct varve_store *s, const struct varve_digest *d,
		  int (*fn)(void *user, const struct varve_digest *d, const char *name), void *user,
		  struct varve_err *e)
{
	struct foreign f = {s, fn, user, NULL, e};

	return walk(&f, d, 0);
}

int scan_foreign(struct varve_store *s,
		 int (*fn)(void *user, const struct varve_digest *d, const char *name), void *user,
		 struct varve_err *e)
{
	struct foreign f = {s, fn, user, NULL, e};
	JSON_FREE json *index = NULL;
	const json *entry;
	int r = mirror_all_ours(s) ? 0 : mirror_read_index(s, &index, e);

	if (r < 0)
		return r;
	for (entry = json_first(json_get(index, "manifests")); entry && r == 0;
	     entry = json_next(entry)) {
		const char *text = json_str(json_get(entry, "digest"));
		struct varve_digest d;

		if (mirror_entry_is_ours(entry) || !text || varve_digest_parse(&d, text) < 0)
			continue;
		f.name = json_str(json_get(json_get(entry, "annotations"),
					   "org.opencontainers.image.ref.name"));
		r = walk(&f, &d, 0);
	}
	return r;
}
