/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI and Docker documents: image index, manifest, config, schema1 manifest. Pure: bytes to
 * structs. Limits: documents 4 MiB, 10,000 descriptors, 1,000 layers, JSON depth 64.
 */
#pragma once

#include "store/base/json.h"
#include "varve-store.h"

#define OCI_DOC_MAX    (4u << 20)
#define OCI_CONFIG_MAX (4u << 20)

#define OCI_MT_INDEX             "application/vnd.oci.image.index.v1+json"
#define OCI_MT_MANIFEST          "application/vnd.oci.image.manifest.v1+json"
#define OCI_MT_CONFIG            "application/vnd.oci.image.config.v1+json"
#define OCI_MT_LAYER             "application/vnd.oci.image.layer.v1.tar"
#define DOCKER_MT_LIST           "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_MT_MANIFEST       "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_MT_CONFIG         "application/vnd.docker.container.image.v1+json"
#define DOCKER_MT_LAYER          "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define DOCKER_MT_SCHEMA1        "application/vnd.docker.distribution.manifest.v1+json"
#define DOCKER_MT_SCHEMA1_SIGNED "application/vnd.docker.distribution.manifest.v1+prettyjws"

enum oci_doc_kind {
	OCI_DOC_UNKNOWN,
	OCI_DOC_INDEX,    /* OCI image index, Docker manifest list */
	OCI_DOC_MANIFEST, /* OCI image manifest, Docker schema2 */
	OCI_DOC_SCHEMA1,  /* signed or not */
};

struct oci_descriptor {
	char *media_type; /* as written, lower-cased, parameters stripped */
	struct varve_digest digest;
	uint64_t size; /* VARVE_SIZE_UNKNOWN only in schema1 */
	char **urls;   /* NULL-terminated or NULL: foreign layers */
	char *data;    /* inline content, decoded; NULL if none or wrong (size and digest were
			  verified) */
	size_t data_size;
	bool has_platform;
	struct varve_platform platform; /* normalised */
	bool is_attestation; /* vnd.docker.reference.type or unknown/unknown: never a candidate */
	char *artifact_type; /* may be NULL */
	char *ref_name;      /* org.opencontainers.image.ref.name; may be NULL */
};
struct oci_index {
	struct oci_descriptor *manifests;
	size_t n;
};
struct oci_manifest {
	char *media_type; /* of the document itself */
	char *artifact_type;
	struct oci_descriptor config;
	struct oci_descriptor *layers; /* base first; repeats are significant */
	size_t n_layers;
	bool is_image;    /* config and layers are of known image types */
	bool has_subject; /* it says something of another manifest: a referrer */
};
struct oci_config {
	struct varve_platform platform;
	struct varve_digest *diff_ids;
	size_t n_diff_ids;
};
struct oci_schema1 {
	struct varve_digest
		digest; /* over the signed payload (docs/requirements.md 3.20), or the whole body */
	char *payload;  /* the bytes that the digest covers */
	size_t payload_size;
	struct varve_platform platform;
	struct {
		struct varve_digest blob;
		bool throwaway; /* metadata only: has no layer in the image */
	} * layers;             /* base first (fsLayers reversed) */
	size_t n_layers;
	char *config;   /* history[0].v1Compatibility, rewritten as the start of an image config, no
			   rootfs */
	char **history; /* base first: JSON objects for "history" of an image config */
};

/*
 * What a document is. content_type: of the answer (may be NULL, parameters allowed); expected: of
 * the descriptor that led here (may be NULL; it wins). A document that claims to be two things, or
 * whose mediaType contradicts: VARVE_E_FORMAT (CVE-2021-41190).
 */
int oci_classify(const void *p, size_t n, const char *content_type, const char *expected,
		 enum oci_doc_kind *ret, struct varve_err *e);
/* The digest of an entry of an index is unset if its algorithm is not known. */
int oci_index_parse(struct oci_index **ret, const void *p, size_t n, struct varve_err *e);
void oci_index_free(struct oci_index *i);
/* For an entry that is needed and has no digest that is known. what: it. Returns
 * -VARVE_E_UNSUPPORTED. */
int oci_fail_algorithm(const char *what, struct varve_err *e);
int oci_manifest_parse(struct oci_manifest **ret, const void *p, size_t n, struct varve_err *e);
void oci_manifest_free(struct oci_manifest *m);
int oci_config_parse(struct oci_config **ret, const void *p, size_t n, struct varve_err *e);
void oci_config_free(struct oci_config *c);
int oci_schema1_parse(struct oci_schema1 **ret, const void *p, size_t n, struct varve_err *e);
void oci_schema1_free(struct oci_schema1 *m);

enum oci_what {
	OCI_WHAT_IMAGE,      /* or what may be one */
	OCI_WHAT_UNREADABLE, /* an image, and why no tree can be made of it: a layer */
	OCI_WHAT_ARTIFACT,   /* anything else, and what: "a Helm chart" */
};
/* What it is in words, for who wants an image; nothing is added for OCI_WHAT_IMAGE. */
enum oci_what oci_manifest_what(const struct oci_manifest *m, struct buf *why);
enum oci_what oci_descriptor_what(const struct oci_descriptor *d, struct buf *why);
/* A tag under which signatures and the like stand: "sha256-<digest>", ".sig", ".att", ".sbom". */
bool oci_is_referrer_name(const char *name);

/* Build documents for what came without them (schema1, rootfs tarballs, squashfs). */
struct oci_layer_desc {
	const char *media_type;
	struct varve_digest digest, diff_id;
	uint64_t size;
};
/* base_config: JSON object text whose members are kept (NULL: none); history likewise (NULL: made
 * up). */
int oci_build_config(struct buf *out, const struct varve_platform *platform,
		     const char *base_config, char *const *history, const struct oci_layer_desc *l,
		     size_t n, struct varve_err *e);
/* annotations: key, value, key, value, NULL; or NULL. */
int oci_build_manifest(struct buf *out, const struct varve_digest *config, uint64_t config_size,
		       const struct oci_layer_desc *l, size_t n, const char *const *annotations,
		       struct varve_err *e);
/* The layer media type for a compression. */
const char *oci_layer_media_type(enum varve_compression c);

/*
 * Choose the manifest of an index (docs/requirements.md 3.12-3.18; pure). Index into i->manifests,
 * or -1. Nested indexes count as candidates when their platform fits or is absent.
 */
int oci_index_choose(const struct oci_index *i, const struct varve_platform *want);
/* Does it list anything that could be an image? */
bool oci_index_has_images(const struct oci_index *i);
/* "linux/amd64, linux/arm64/v8" of all candidates, for the error. */
void oci_index_platforms(const struct oci_index *i, struct buf *out);
