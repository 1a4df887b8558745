/* SPDX-License-Identifier: Apache-2.0 */
/* What a document is, and the descriptor that all of them are made of
 * (docs/requirements.md 3.4-3.12). */
#include "store/oci/oci_internal.h"

#include <ctype.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/oci/platform.h"

bool oci_media_type_set(char **ret, const char *text)
{
	struct span s = span_str(text ? text : ""), head;
	char *copy;
	size_t i;

	(void)span_cut(&s, ';', &head);
	head = span_trim(head);
	copy = span_dup(head);
	if (!copy)
		return false;
	for (i = 0; copy[i]; i++)
		copy[i] = (char)tolower((unsigned char)copy[i]);
	*ret = copy;
	return true;
}

enum oci_doc_kind oci_doc_kind_of(const char *t)
{
	if (strcmp(t, OCI_MT_INDEX) == 0 || strcmp(t, DOCKER_MT_LIST) == 0)
		return OCI_DOC_INDEX;
	if (strcmp(t, OCI_MT_MANIFEST) == 0 || strcmp(t, DOCKER_MT_MANIFEST) == 0)
		return OCI_DOC_MANIFEST;
	if (strcmp(t, DOCKER_MT_SCHEMA1) == 0 || strcmp(t, DOCKER_MT_SCHEMA1_SIGNED) == 0)
		return OCI_DOC_SCHEMA1;
	return OCI_DOC_UNKNOWN;
}

/*
 * A squashfs, by whichever name: stacker, sylabs' OCI-SIF and others each have their own, with what
 * is in it behind it ("+zstd", "+gzip", "+zstd+verity").
 */
static bool is_squashfs_type(const char *t)
{
	static const char end[] = ".squashfs";
	size_t n = strcspn(t, "+");

	return !strncmp(t, "application/", 12) && n > strlen(end) &&
	       !strncmp(t + n - strlen(end), end, strlen(end));
}

bool oci_is_layer_type(const char *t)
{
	static const char *const types[] = {
		OCI_MT_LAYER,
		OCI_MT_LAYER "+gzip",
		OCI_MT_LAYER "+zstd",
		OCI_MT_LAYER "+xz",
		OCI_MT_LAYER "+bzip2",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		DOCKER_MT_LAYER,
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.docker.container.image.rootfs.diff+x-gtar",
	};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(types); i++) {
		if (strcmp(t, types[i]) == 0)
			return true;
	}
	return is_squashfs_type(t);
}

/* Old clients pushed image configs as octet-stream
 * or without a type; docker takes them for images. */
bool oci_is_config_type(const char *t)
{
	return strcmp(t, OCI_MT_CONFIG) == 0 || strcmp(t, DOCKER_MT_CONFIG) == 0 ||
	       strcmp(t, "application/octet-stream") == 0 || t[0] == '\0';
}

const char *oci_layer_media_type(enum varve_compression c)
{
	switch (c) {
	case VARVE_COMP_GZIP:
		return OCI_MT_LAYER "+gzip";
	case VARVE_COMP_ZSTD:
		return OCI_MT_LAYER "+zstd";
	case VARVE_COMP_XZ:
		return OCI_MT_LAYER "+xz";
	case VARVE_COMP_BZIP2:
		return OCI_MT_LAYER "+bzip2";
	case VARVE_COMP_SQUASHFS:
		return OCI_MT_SQUASHFS;
	case VARVE_COMP_UNKNOWN:
	case VARVE_COMP_NONE:
		break;
	}
	return OCI_MT_LAYER;
}

int oci_refuse_members(const json *j, const char *what, const char *const *names,
		       struct varve_err *e)
{
	for (; *names; names++) {
		if (json_has_nocase(j, *names))
			return varve_fail(e, VARVE_E_FORMAT,
					  "%s has the member \"%s\", which makes it ambiguous",
					  what, *names);
	}
	return 0;
}

int oci_need_schema(const json *j, const char *what, uint64_t version, struct varve_err *e)
{
	uint64_t got;
	int r = json_need_u64(j, what, "schemaVersion", &got, e);

	if (r < 0)
		return r;
	if (got != version)
		return varve_fail(e, VARVE_E_FORMAT, "%s has schemaVersion %llu, not %llu", what,
				  (unsigned long long)got, (unsigned long long)version);
	return 0;
}

int oci_take_media_type(const json *j, const char *what, enum oci_doc_kind kind, char **ret,
			struct varve_err *e)
{
	const char *text = NULL;
	VARVE_FREE char *type = NULL;
	enum oci_doc_kind got;
	int r = json_opt_str(j, what, "mediaType", &text, e);

	if (r < 0)
		return r;
	if (!oci_media_type_set(&type, text))
		return varve_fail_oom(e);
	got = oci_doc_kind_of(type);
	if (got != OCI_DOC_UNKNOWN && got != kind)
		return varve_fail(e, VARVE_E_FORMAT, "%s says that it is %s", what,
				  TEXT_SAFE(type));
	*ret = VARVE_TAKE(type);
	return 0;
}

/* --- classification --- */

static enum oci_doc_kind shape_of(const json *j)
{
	uint64_t version = 0;
	bool index = json_has_nocase(j, "manifests");
	bool manifest = json_has_nocase(j, "config") || json_has_nocase(j, "layers");
	bool schema1 = json_has_nocase(j, "fsLayers");

	/* An image's config has a member "config" too. */
	if (index + manifest + schema1 != 1 || json_has_nocase(j, "rootfs"))
		return OCI_DOC_UNKNOWN;
	if (schema1)
		return json_u64(json_get(j, "schemaVersion"), &version) && version == 1
			       ? OCI_DOC_SCHEMA1
			       : OCI_DOC_UNKNOWN;
	return index ? OCI_DOC_INDEX : OCI_DOC_MANIFEST;
}

static int contradiction(const char *said, const char *body, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_FORMAT, "document was announced as %s but says that it is %s",
			  TEXT_SAFE(said), TEXT_SAFE(body));
}

int oci_classify(const void *p, size_t n, const char *content_type, const char *expected,
		 enum oci_doc_kind *ret, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	VARVE_FREE char *said = NULL, *body = NULL;
	const char *text = NULL;
	enum oci_doc_kind kind, inner, shape;
	int r;

	r = json_parse(&j, p, n, OCI_DOC_MAX, e);
	if (r < 0)
		return r;
	if (!json_is_object(j))
		return varve_fail(e, VARVE_E_FORMAT, "document is not a JSON object");
	r = json_opt_str(j, "document", "mediaType", &text, e);
	if (r < 0)
		return r;
	if (!oci_media_type_set(&body, text) || !oci_media_type_set(&said, expected))
		return varve_fail_oom(e);
	if (oci_doc_kind_of(said) == OCI_DOC_UNKNOWN) {
		free(VARVE_TAKE(said));
		if (!oci_media_type_set(&said, content_type))
			return varve_fail_oom(e);
	}
	kind = oci_doc_kind_of(said);
	inner = oci_doc_kind_of(body);
	/* The same kind is not enough: Docker's and OCI's types differ in meaning; schema1's do
	 * not. */
	if (kind != OCI_DOC_UNKNOWN && inner != OCI_DOC_UNKNOWN && strcmp(said, body) != 0 &&
	    !(kind == OCI_DOC_SCHEMA1 && inner == OCI_DOC_SCHEMA1))
		return contradiction(said, body, e);
	if (kind == OCI_DOC_UNKNOWN)
		kind = inner;
	shape = shape_of(j);
	if (kind == OCI_DOC_UNKNOWN)
		kind = shape;
	if (kind == OCI_DOC_UNKNOWN)
		return varve_fail(e, VARVE_E_FORMAT,
				  "document is neither an image index nor an image manifest");
	if (kind != shape)
		return varve_fail(e, VARVE_E_FORMAT,
				  "document's members do not fit its type, or fit two types");
	*ret = kind;
	return 0;
}

/* --- descriptor --- */

void oci_descriptor_done(struct oci_descriptor *d)
{
	size_t i;

	free(d->media_type);
	for (i = 0; d->urls && d->urls[i]; i++)
		free(d->urls[i]);
	free(d->urls);
	free(d->data);
	free(d->artifact_type);
	free(d->ref_name);
	*d = (struct oci_descriptor){0};
}

/* "algorithm:encoded" by the grammar of descriptor.md, for algorithms that we do not know. */
static bool digest_well_formed(const char *s)
{
	const char *colon = strchr(s, ':');
	size_t i;

	if (!colon || colon == s || !colon[1])
		return false;
	for (i = 0; s + i < colon; i++) {
		if (!islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]) &&
		    !strchr("+._-", s[i]))
			return false;
	}
	return colon[1 + strspn(colon + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789=_-")] == '\0';
}

int oci_fail_algorithm(const char *what, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "%s has a digest of an algorithm that varve does not know: sha256 and "
			  "sha512 are known",
			  what);
}

static int take_digest(const json *j, const char *what, bool lenient, struct varve_digest *ret,
		       struct varve_err *e)
{
	const char *text;
	int r = json_need_str(j, what, "digest", &text, e);

	if (r < 0)
		return r;
	if (varve_digest_parse(ret, text) == 0)
		return 0;
	if (lenient && strncmp(text, "sha256:", 7) != 0 && strncmp(text, "sha512:", 7) != 0 &&
	    digest_well_formed(text)) {
		*ret = (struct varve_digest){0};
		return 0;
	}
	return varve_fail(e, VARVE_E_FORMAT, "%s has the digest \"%s\", which is not valid", what,
			  TEXT_SAFE(text));
}

static int take_urls(const json *j, const char *what, struct oci_descriptor *d, struct varve_err *e)
{
	const json *urls = json_get(j, "urls"), *u;
	size_t n = 0;

	if (!urls)
		return 0;
	if (!json_is_array(urls) || json_len(urls) > OCI_MAX_URLS)
		return varve_fail(e, VARVE_E_FORMAT, "%s has \"urls\" that are no short list",
				  what);
	d->urls = calloc(json_len(urls) + 1, sizeof(*d->urls));
	if (!d->urls)
		return varve_fail_oom(e);
	for (u = json_first(urls); u; u = json_next(u)) {
		const char *s = json_str(u);

		if (!s || strlen(s) > OCI_MAX_STRING)
			return varve_fail(e, VARVE_E_FORMAT, "%s has a bad URL", what);
		d->urls[n] = strdup(s);
		if (!d->urls[n++])
			return varve_fail_oom(e);
	}
	return 0;
}

/* Inline content that does not fit size and digest is ignored: it will be fetched
 * (docs/requirements.md 3.11). */
static int take_data(const json *j, struct oci_descriptor *d, struct varve_err *e)
{
	const char *text = json_str(json_get(j, "data"));
	struct varve_digest got;
	struct buf b;
	int r = 0;

	if (!text || !varve_digest_is_set(&d->digest) || d->size > OCI_DOC_MAX)
		return 0;
	buf_init(&b, OCI_DOC_MAX);
	if (text_base64_decode(span_str(text), &b) && buf_error(&b) == 0 && b.n == d->size) {
		r = hash_bytes(d->digest.algo, b.p, b.n, &got, e);
		if (r == 0 && varve_digest_equal(&got, &d->digest)) {
			d->data_size = b.n;
			d->data = buf_take(&b);
			if (!d->data)
				r = varve_fail_oom(e);
		}
	}
	buf_done(&b);
	return r;
}

static int take_platform(const json *j, struct oci_descriptor *d)
{
	const json *p = json_get(j, "platform");
	const char *os = json_str(json_get(p, "os"));
	const char *arch = json_str(json_get(p, "architecture"));

	if (!json_is_object(p))
		return 0;
	if (!os || !arch || !platform_set(&d->platform, os, arch, json_str(json_get(p, "variant"))))
		return 0; /* a platform that cannot be named is never asked for */
	d->has_platform = true;
	if (strcmp(os, "unknown") == 0 && strcmp(arch, "unknown") == 0)
		d->is_attestation = true;
	return 0;
}

static int take_annotations(const json *j, struct oci_descriptor *d, struct varve_err *e)
{
	const json *a = json_get(j, "annotations");
	const char *s;

	s = json_str(json_get(a, "vnd.docker.reference.type"));
	if (s)
		d->is_attestation = true;
	s = json_str(json_get(a, "org.opencontainers.image.ref.name"));
	if (s && strlen(s) <= OCI_MAX_STRING) {
		d->ref_name = strdup(s);
		if (!d->ref_name)
			return varve_fail_oom(e);
	}
	s = json_str(json_get(j, "artifactType"));
	if (s && *s && !oci_media_type_set(&d->artifact_type, s))
		return varve_fail_oom(e);
	return 0;
}

int oci_descriptor_parse(const json *j, const char *what, bool lenient, struct oci_descriptor *ret,
			 struct varve_err *e)
{
	VARVE_CLEANUP(oci_descriptor_done) struct oci_descriptor d = {0};
	const char *text = NULL;
	int r;

	if (!json_is_object(j))
		return varve_fail(e, VARVE_E_FORMAT, "%s is not a JSON object", what);
	r = json_opt_str(j, what, "mediaType", &text, e);
	if (r < 0)
		return r;
	if (!oci_media_type_set(&d.media_type, text))
		return varve_fail_oom(e);
	r = take_digest(j, what, lenient, &d.digest, e);
	if (r < 0)
		return r;
	r = json_need_u64(j, what, "size", &d.size, e);
	if (r < 0)
		return r;
	r = take_urls(j, what, &d, e);
	if (r < 0)
		return r;
	r = take_data(j, &d, e);
	if (r < 0)
		return r;
	(void)take_platform(j, &d);
	r = take_annotations(j, &d, e);
	if (r < 0)
		return r;
	*ret = d;
	d = (struct oci_descriptor){0};
	return 0;
}
