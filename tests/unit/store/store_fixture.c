/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a temporary directory, and small images in it. */
#include "store_fixture.h"

#include "store/base/buf.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_log(void *user, enum varve_log_level level, const char *module, const char *message)
{
	struct fixture *f = user;

	(void)module;
	(void)message;
	if (level == VARVE_LOG_WARN)
		f->warnings++;
}

int fixture_open(struct fixture *f, bool create, bool read_only)
{
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;

	opt.path = f->path;
	opt.create = create;
	opt.read_only = read_only;
	return varve_store_open(&f->store, &f->ctx, &opt, &f->err);
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/varve-unit-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
	f->ctx.log = on_log;
	f->ctx.log_user = f;
	f->ctx.log_level = VARVE_LOG_WARN;
	assert_ok(fixture_open(f, true, false), &f->err);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	struct varve_err e;
	int tmp;

	varve_store_close(f->store);
	tmp = fsx_open_dir(AT_FDCWD, "/tmp");
	assert_true(tmp >= 0);
	assert_ok(fsx_remove_tree(tmp, f->dir + strlen("/tmp/"), NULL, NULL, &e), &e);
	close(tmp);
	free(f);
	return 0;
}

void fixture_reopen(struct fixture *f, bool read_only)
{
	varve_store_close(f->store);
	f->store = NULL;
	assert_ok(fixture_open(f, false, read_only), &f->err);
}

struct varve_digest fixture_blob(struct fixture *f, const char *text)
{
	struct varve_digest d;

	assert_ok(ingest_bytes(f->store, NULL, VARVE_BLOB_LAYER, text, strlen(text), NULL, &d,
			       &f->err),
		  &f->err);
	return d;
}

static void build(struct fixture *f, const struct varve_platform *p, const char *const *layers,
		  struct fixture_image *im, struct catalog_blob *blobs)
{
	struct oci_layer_desc desc[8];
	struct buf config, manifest;
	size_t i;

	buf_init(&config, OCI_CONFIG_MAX);
	buf_init(&manifest, OCI_DOC_MAX);
	for (i = 0; layers[i]; i++) {
		im->layers[i] = fixture_blob(f, layers[i]);
		desc[i] = (struct oci_layer_desc){OCI_MT_LAYER, im->layers[i], im->layers[i],
						  strlen(layers[i])};
		blobs[i] = (struct catalog_blob){.digest = im->layers[i],
						 .size = strlen(layers[i]),
						 .kind = VARVE_BLOB_LAYER,
						 .origin = "registry:example.org/test"};
	}
	im->n = i;
	assert_ok(oci_build_config(&config, p, NULL, NULL, desc, i, &f->err), &f->err);
	assert_ok(ingest_bytes(f->store, NULL, VARVE_BLOB_CONFIG, config.p, config.n, NULL,
			       &im->config, &f->err),
		  &f->err);
	blobs[i] = (struct catalog_blob){
		.digest = im->config, .size = config.n, .kind = VARVE_BLOB_CONFIG};
	assert_ok(oci_build_manifest(&manifest, &im->config, config.n, desc, i, NULL, &f->err),
		  &f->err);
	assert_ok(ingest_bytes(f->store, NULL, VARVE_BLOB_MANIFEST, manifest.p, manifest.n, NULL,
			       &im->manifest, &f->err),
		  &f->err);
	blobs[i + 1] = (struct catalog_blob){
		.digest = im->manifest, .size = manifest.n, .kind = VARVE_BLOB_MANIFEST};
	buf_done(&config);
	buf_done(&manifest);
}

struct fixture_image fixture_image(struct fixture *f, const char *name, const char *platform,
				   const char *const *layers)
{
	struct fixture_image im = {0};
	struct catalog_blob blobs[16] = {0};
	struct catalog_tag tag = {0};
	struct catalog_commit c = {.blobs = blobs};
	char reference[300];

	assert_ok(varve_platform_parse(&tag.platform, platform ? platform : "linux/amd64", &f->err),
		  &f->err);
	build(f, &tag.platform, layers, &im, blobs);
	c.n_blobs = im.n + 2;
	c.manifest = im.manifest;
	if (name) {
		snprintf(reference, sizeof(reference), "docker.io/library/%s", name);
		tag.name = name;
		tag.reference = reference;
		tag.source = "registry";
		tag.origin = "example.org";
		tag.target = tag.manifest = im.manifest;
		tag.explicit_platform = platform != NULL;
		c.tags = &tag;
		c.n_tags = 1;
	}
	assert_ok(catalog_commit(f->store, &c, &f->err), &f->err);
	return im;
}

const char *fixture_blob_path(struct fixture *f, const struct varve_digest *d, char buf[512])
{
	snprintf(buf, 512, "%s/blobs/%s/%s", f->path, d->algo == VARVE_SHA512 ? "sha512" : "sha256",
		 DIGEST_HEX(d));
	return buf;
}

const char *fixture_file(struct fixture *f, const char *name)
{
	static char text[1 << 20];
	char path[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

void fixture_write(struct fixture *f, const char *name, const char *text)
{
	char path[512];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

bool fixture_exists(struct fixture *f, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	return access(path, F_OK) == 0;
}

size_t fixture_count(struct fixture *f, const char *name)
{
	char path[512];
	size_t n = 0;
	const struct dirent *de;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	d = opendir(path);
	assert_non_null(d);
	while ((de = readdir(d)) != NULL)
		n += strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0;
	closedir(d);
	return n;
}
