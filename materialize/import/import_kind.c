/* SPDX-License-Identifier: Apache-2.0 */
/* Whether files are those of an OCI layout or of a docker-archive, or almost. */
#include "materialize/import/import_members.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"

#define OR_ROOTFS " (or, if it is a tree after all: --type rootfs)"

/* 1: it is there, as a file. What is there as something else is none of ours. */
static int has_member(struct members *m, const char *name, struct varve_err *e)
{
	struct import_range range;
	int r = members_find(m, name, &range, e);

	return r == 1 || (r < 0 && err_is_passing(r)) ? r : 0;
}

/* The document, or NULL: it is not there, or is none. */
static json *read_json(struct members *m, const char *name)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	json *j = NULL;

	buf_init(&b, OCI_DOC_MAX);
	if (members_read(m, name, &b, NULL) == 1)
		(void)json_parse(&j, b.p, b.n, OCI_DOC_MAX, NULL);
	return j;
}

/* A list of images, as docker save writes it; any program may have a manifest.json. */
static bool lists_images(const json *j)
{
	const json *first = json_first(j);

	return json_is_array(j) &&
	       (!first || (json_has_nocase(first, "Config") && json_has_nocase(first, "Layers")));
}

/* What an archive of images consists of; a tree has other names, too. */
static bool is_of_images(const char *name)
{
	return !strcmp(name, "manifest.json") || !strcmp(name, "repositories") ||
	       !strcmp(name, "index.json") || !strcmp(name, "oci-layout") ||
	       !strncmp(name, "blobs/", 6) || strspn(name, "0123456789abcdef") == 64;
}

static bool is_manifest(const json *j)
{
	return json_is_object(j) && json_get(j, "schemaVersion") && json_get(j, "config") &&
	       json_is_array(json_get(j, "layers"));
}

/* skopeo's dir: has the blobs by their bare digests beside one manifest. */
static int check_skopeo(const struct import *im, struct members *m, const json *manifest,
			struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, 4096);
	if (!is_manifest(manifest) || members_read(m, "version", &b, NULL) != 1 ||
	    strncmp(b.p, "Directory Transport", 19) != 0)
		return 0;
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "%s: is a directory of skopeo (dir:), which has no names and no "
			  "platforms; make a layout of it: skopeo copy dir:DIR oci:NEW:TAG",
			  TEXT_SAFE(im->path));
}

/* What is almost an OCI layout, or a docker-archive of before 1.10. */
static int check_almost(const struct import *im, struct members *m, const json *index,
			struct varve_err *e)
{
	const char *inner = members_ending(m, "/oci-layout");

	if (json_is_array(json_get(index, "manifests")) && json_get(index, "schemaVersion") &&
	    (json_first(json_get(index, "manifests"))))
		return varve_fail(e, VARVE_E_FORMAT,
				  "%s: looks like an OCI layout, but has no file oci-layout; add "
				  "one that holds {\"imageLayoutVersion\":\"1.0.0\"}" OR_ROOTFS,
				  TEXT_SAFE(im->path));
	if (inner && strchr(inner, '/') == strrchr(inner, '/'))
		return varve_fail(
			e, VARVE_E_FORMAT,
			"%s: is an OCI layout within a folder, %.*s; unpack it and import "
			"that folder, or pack it anew: tar -C FOLDER -cf FILE ." OR_ROOTFS,
			TEXT_SAFE(im->path), (int)(strrchr(inner, '/') - inner), TEXT_SAFE(inner));
	inner = members_ending(m, "/layer.tar");
	if (inner && strcspn(inner, "/") == 64 && has_member(m, "repositories", NULL) == 1)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "%s: is a docker-archive of a Docker before 1.10, without "
				  "manifest.json; docker load reads it, docker save writes a new "
				  "one" OR_ROOTFS,
				  TEXT_SAFE(im->path));
	return 0;
}

int import_kind(struct import *im, struct members *m, enum import_kind *ret, bool *ret_docker_too,
		struct varve_err *e)
{
	JSON_FREE json *manifest = NULL;
	JSON_FREE json *index = NULL;
	int docker = has_member(m, "manifest.json", e);
	int layout = docker < 0 ? docker : has_member(m, "oci-layout", e), r = 0;

	if (layout > 0)
		layout = has_member(m, "index.json", e);
	if (layout < 0)
		return layout;
	manifest = docker ? read_json(m, "manifest.json") : NULL;
	/* One that cannot be parsed is said so by who reads it, unless it may be a tree's. */
	*ret_docker_too = docker && lists_images(manifest);
	*ret = layout ? IMPORT_LAYOUT : *ret_docker_too ? IMPORT_DOCKER : IMPORT_NO_IMAGES;
	if (*ret == IMPORT_NO_IMAGES && docker && members_all(m, is_of_images))
		*ret = IMPORT_DOCKER; /* a damaged list: its reader says what is wrong */
	if (*ret == IMPORT_NO_IMAGES) {
		r = check_skopeo(im, m, manifest, e);
		index = read_json(m, "index.json");
		if (r == 0)
			r = check_almost(im, m, index, e);
	}
	return r;
}
