/* SPDX-License-Identifier: Apache-2.0 */
/* Images as an OCI image layout, in a directory or a tar: the blobs as they are stored. */
#include "materialize/export/export.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/manifest.h"

#define CHUNK (1u << 20)

void layout_out_done(struct layout_out *o)
{
	free(o->done);
	o->done = NULL;
	o->n_done = 0;
}

static bool has_digest(const struct varve_digest *list, size_t n, const struct varve_digest *d)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (varve_digest_equal(&list[i], d))
			return true;
	return false;
}

/* True the first time. */
static int first_time(struct layout_out *o, const struct varve_digest *d, struct varve_err *e)
{
	struct varve_digest *more;

	if (has_digest(o->done, o->n_done, d))
		return 0;
	more = reallocarray(o->done, o->n_done + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	o->done = more;
	more[o->n_done++] = *d;
	return 1;
}

int layout_out_bytes(struct layout_out *o, const char *name, const void *p, size_t n,
		     struct varve_err *e)
{
	struct tar_out_entry en = {.path = name, .mode = S_IFREG | 0644, .size = n, .body_len = n};
	int r;

	if (!o->tar)
		return fsx_replace_file(o->dir, name, p, n, 0644, e);
	r = tar_out_entry(o->tar, &en, e);
	return r == 0 && n ? tar_out_body(o->tar, p, n, e) : r;
}

struct copy {
	struct layout_out *o;
	int in, out; /* out -1: tar */
	uint64_t size;
	const struct varve_digest *digest;
	const struct varve_store *from;
};

static int copy_bytes(const struct copy *c, struct hash *h, char *chunk, struct varve_err *e)
{
	uint64_t at = 0;

	while (at < c->size) {
		size_t want = (size_t)VARVE_MIN(c->size - at, (uint64_t)CHUNK);
		ssize_t n = fsx_pread_full(c->in, chunk, want, at);
		int r = ctx_check(c->o->x->ctx, e);

		if (r < 0)
			return r;
		if (n != (ssize_t)want)
			return varve_fail_errno(e, "blob %s", DIGEST_STR(c->digest));
		hash_update(h, chunk, want);
		if (c->out >= 0 && fsx_write_all(c->out, chunk, want) < 0)
			return varve_fail_errno(e, "%s", TEXT_SAFE(c->o->x->name));
		r = c->out < 0 ? tar_out_body(c->o->tar, chunk, want, e) : 0;
		if (r < 0)
			return r;
		at += want;
		if (c->out >= 0)
			c->o->x->ret->bytes += want;
		progress_emit(c->o->x->ctx, &(struct varve_progress){
						    .stage = VARVE_STAGE_WRITE,
						    .object = DIGEST_STR(c->digest),
						    .done = at,
						    .total = c->size,
						    .finished = at == c->size,
					    });
	}
	return 0;
}

/* A rotten blob must not leave this machine under a good name. */
static int copy_verified(const struct copy *c, struct varve_err *e)
{
	VARVE_CLEANUP(hash_cleanup) struct hash *h = NULL;
	VARVE_FREE char *chunk = malloc(CHUNK);
	struct varve_digest got;
	int r = chunk ? hash_new(&h, (enum varve_algo)c->digest->algo, e) : varve_fail_oom(e);

	if (r == 0)
		r = copy_bytes(c, h, chunk, e);
	if (r == 0)
		r = hash_final(h, &got, e);
	if (r == 0 && !varve_digest_equal(&got, c->digest)) {
		if (c->from == c->o->x->s)
			(void)blob_set_damaged(c->o->x->s, c->digest, NULL);
		r = blob_fail_digest(c->from, c->o->x->s, c->digest, e);
	}
	return r;
}

static int copy_to_dir(struct copy *c, const char *name, struct varve_err *e)
{
	int dir = c->o->dir, r;
	char tmp[32] = ".tmp-";
	struct stat st;
	VARVE_CLOSE int out = -1;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == c->size)
		return 0; /* a layout that is added to */
	fsx_random_name(tmp + 5);
	out = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (out < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(c->o->x->name));
	c->out = out;
	r = copy_verified(c, e);
	if (r == 0 && (fsync(out) < 0 || renameat(dir, tmp, dir, name) < 0))
		r = varve_fail_errno(e, "%s/%s", TEXT_SAFE(c->o->x->name), name);
	if (r < 0)
		(void)unlinkat(dir, tmp, 0);
	return r;
}

int layout_out_blob(struct layout_out *o, const struct varve_digest *d, uint64_t size,
		    struct varve_err *e)
{
	const struct varve_export_options *opt = o->x->opt;
	struct copy c = {.o = o, .out = -1, .digest = d};
	VARVE_CLOSE int in = -1;
	struct blob_file f;
	char name[256];
	int r = first_time(o, d, e);

	if (r <= 0)
		return r;
	if (has_digest(opt->have, opt->n_have, d)) {
		o->x->ret->n_left_out++;
		return 0;
	}
	r = blob_open_file(o->x->s, d, &f, e);
	if (r < 0)
		return r == -VARVE_E_NOTFOUND ? varve_fail(e, VARVE_E_INCOMPLETE,
							   "blob %s is missing in the store; pull "
							   "the image again",
							   DIGEST_STR(d))
					      : r;
	c.in = in = f.fd;
	r = blob_check_size(o->x->s, d, &f, size, e);
	if (r < 0)
		return r;
	c.size = f.size;
	c.from = f.from;
	o->x->ret->n_blobs++;
	(void)snprintf(name, sizeof(name), "blobs/%s/%s",
		       d->algo == VARVE_SHA512 ? "sha512" : "sha256", DIGEST_HEX(d));
	if (!o->tar)
		return copy_to_dir(&c, name, e);
	r = tar_out_entry(
		o->tar,
		&(struct tar_out_entry){
			.path = name, .mode = S_IFREG | 0644, .size = c.size, .body_len = c.size},
		e);
	return r == 0 ? copy_verified(&c, e) : r;
}

static int put_image(struct layout_out *o, const struct varve_image *image, struct varve_err *e)
{
	struct oci_manifest *m = NULL;
	uint64_t size;
	size_t i;
	int r = manifest_read(&m, o->x->s, &image->manifest, &size, e);

	if (r == 0)
		r = layout_out_blob(o, &image->manifest, size, e);
	if (r == 0)
		r = layout_out_blob(o, &m->config.digest, m->config.size, e);
	for (i = 0; r == 0 && i < m->n_layers; i++)
		r = layout_out_blob(o, &m->layers[i].digest, m->layers[i].size, e);
	oci_manifest_free(m);
	return r;
}

static int describe(struct jsonw *w, struct export *x, const struct varve_image *image,
		    struct varve_err *e)
{
	struct oci_manifest *m = NULL;
	uint64_t size;
	int r = manifest_read(&m, x->s, &image->manifest, &size, e);

	if (r < 0)
		return r;
	jsonw_object(w, NULL);
	jsonw_str(w, "mediaType",
		  m->media_type && *m->media_type ? m->media_type : OCI_MT_MANIFEST);
	jsonw_digest(w, "digest", &image->manifest);
	jsonw_u64(w, "size", size);
	jsonw_object(w, "platform");
	jsonw_str(w, "architecture", image->platform.arch);
	jsonw_str(w, "os", image->platform.os);
	if (image->platform.variant[0])
		jsonw_str(w, "variant", image->platform.variant);
	jsonw_end_object(w);
	if (image->name) {
		jsonw_object(w, "annotations");
		jsonw_str(w, "io.containerd.image.name", image->reference);
		jsonw_str(w, "org.opencontainers.image.ref.name", image->name);
		jsonw_end_object(w);
	}
	jsonw_end_object(w);
	oci_manifest_free(m);
	return 0;
}

/* What was in the index of a directory that is added to, but for the names that we write. */
static void keep_entries(struct jsonw *w, const json *old, const struct export *x)
{
	const json *d = json_first(json_get(old, "manifests"));
	size_t i;

	for (; d; d = json_next(d)) {
		const char *name = json_str(
			json_get(json_get(d, "annotations"), "org.opencontainers.image.ref.name"));

		for (i = 0; i < x->n; i++)
			if (name && x->images[i].name && !strcmp(name, x->images[i].name))
				break;
		if (i == x->n)
			jsonw_node(w, NULL, d);
	}
}

static int put_index(struct layout_out *o, const json *old, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct jsonw w;
	size_t i;
	int r = 0;

	buf_init(&b, OCI_DOC_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_u64(&w, "schemaVersion", 2);
	jsonw_str(&w, "mediaType", OCI_MT_INDEX);
	jsonw_array(&w, "manifests");
	keep_entries(&w, old, o->x);
	for (i = 0; r == 0 && i < o->x->n; i++)
		r = describe(&w, o->x, &o->x->images[i], e);
	jsonw_end_array(&w);
	jsonw_end_object(&w);
	if (r == 0 && buf_error(&b))
		r = varve_fail_oom(e);
	return r == 0 ? layout_out_bytes(o, "index.json", b.p, b.n, e) : r;
}

/* A directory that is no layout and not empty is somebody else's. */
static int look_at_dir(struct layout_out *o, json **ret_old, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct dirent *d;
	DIR *dir;
	int r, fd;

	buf_init(&b, OCI_DOC_MAX);
	if (faccessat(o->dir, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		r = fsx_read_file(o->dir, "index.json", &b, e);
		return r == 0 ? json_parse(ret_old, b.p, b.n, OCI_DOC_MAX, e) : r;
	}
	fd = openat(o->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir)
		return varve_fail_errno(e, "%s", TEXT_SAFE(o->x->name));
	r = 0;
	while (r == 0 && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = varve_fail(e, VARVE_E_CONFLICT,
				       "%s: is not empty and no OCI layout; give a new name",
				       TEXT_SAFE(o->x->name));
	(void)closedir(dir);
	return r;
}

static int make_dirs(struct layout_out *o, struct varve_err *e)
{
	static const char *const names[] = {"blobs", "blobs/sha256", "blobs/sha512"};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(names); i++) {
		struct tar_out_entry en = {.path = names[i], .mode = S_IFDIR | 0755};
		int r = 0;

		if (i == 2) /* rare: made when it is needed */
			break;
		if (o->tar)
			r = tar_out_entry(o->tar, &en, e);
		else if (mkdirat(o->dir, names[i], 0755) < 0 && errno != EEXIST)
			r = varve_fail_errno(e, "%s/%s", TEXT_SAFE(o->x->name), names[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int export_layout(struct layout_out *o, struct varve_err *e)
{
	static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	JSON_FREE json *old = NULL;
	size_t i;
	int r = o->tar ? 0 : look_at_dir(o, &old, e);

	/* In a tar the small files come first, so that a reader knows what it has; in a directory
	 * the index comes last, when everything it names is there. */
	if (r == 0)
		r = layout_out_bytes(o, "oci-layout", version, sizeof(version) - 1, e);
	if (r == 0 && o->tar)
		r = put_index(o, NULL, e);
	if (r == 0)
		r = make_dirs(o, e);
	for (i = 0; r == 0 && i < o->x->n; i++)
		r = put_image(o, &o->x->images[i], e);
	if (r == 0 && !o->tar)
		r = put_index(o, old, e);
	return r;
}
