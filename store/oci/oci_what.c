/* SPDX-License-Identifier: Apache-2.0 */
/* What is no image of a root filesystem is called what it is. */
#include "store/oci/oci_internal.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/text.h"

/* Parts of media types and of artifact types, the more special ones first. */
static const struct {
	const char *part, *name;
} known[] = {
	{"vnd.cncf.helm", "a Helm chart"},
	{"wasm", "a WebAssembly module"},
	{"simplesigning", "a signature of cosign"},
	{"vnd.cncf.notary", "a signature of notation"},
	{"vnd.dev.sigstore", "a signature of sigstore"},
	{"vnd.dev.cosign", "a signature of cosign"},
	{"dsse.envelope", "an attestation"},
	{"in-toto", "an attestation"},
	{"attestation", "an attestation"},
	{"spdx", "an SPDX SBOM"},
	{"cyclonedx", "a CycloneDX SBOM"},
	{"syft", "an SBOM of Syft"},
	{"sif.config", "a SIF of Singularity"},
	{"sif.layer", "a SIF of Singularity"},
	{"buildkit.cacheconfig", "a build cache of BuildKit"},
	{"vnd.docker.plugin", "a plugin of Docker"},
	{"vnd.docker.ai", "a model"},
	{"ollama", "a model"},
	{"cncf.model", "a model"},
};

static const char *find_known(const char *type)
{
	for (size_t i = 0; type && i < VARVE_ARRAY_SIZE(known); i++)
		if (strstr(type, known[i].part))
			return known[i].name;
	return NULL;
}

/* Of a layer of a root filesystem, if one that varve cannot read. */
static bool is_some_layer(const char *type)
{
	return oci_is_layer_type(type) ||
	       (!find_known(type) && (strstr(type, "layer") || strstr(type, "rootfs")));
}

enum oci_what oci_manifest_what(const struct oci_manifest *m, struct buf *why)
{
	const char *type, *name = find_known(m->artifact_type);
	size_t i, bad = m->n_layers;

	if (m->is_image)
		return OCI_WHAT_IMAGE;
	name = name ? name : find_known(m->config.media_type);
	for (i = m->n_layers; i-- > 0;) {
		type = m->layers[i].media_type;
		if (!oci_is_layer_type(type))
			bad = i;
		name = name ? name : find_known(type);
	}
	type = m->artifact_type ? m->artifact_type : m->config.media_type;
	if (name)
		buf_printf(why, "%s (%s)", name,
			   *type && !oci_is_config_type(type) ? TEXT_SAFE(type)
			   : m->n_layers                      ? TEXT_SAFE(m->layers[0].media_type)
							      : "no type");
	else if (!oci_is_config_type(m->config.media_type) || bad == m->n_layers ||
		 !is_some_layer(m->layers[bad].media_type))
		buf_printf(why, "an artifact of the type %s",
			   *type && !oci_is_config_type(type) ? TEXT_SAFE(type)
			   : m->n_layers                      ? TEXT_SAFE(m->layers[0].media_type)
							      : "unknown");
	else if (strstr(m->layers[bad].media_type, "+encrypted")) {
		buf_printf(
			why,
			"layer %zu of %zu is encrypted (%s), which varve cannot read; ask for an "
			"image without encryption",
			bad + 1, m->n_layers, TEXT_SAFE(m->layers[bad].media_type));
		return OCI_WHAT_UNREADABLE;
	} else {
		buf_printf(why, "layer %zu of %zu is of the type %s, which varve cannot read",
			   bad + 1, m->n_layers, TEXT_SAFE(m->layers[bad].media_type));
		return OCI_WHAT_UNREADABLE;
	}
	return OCI_WHAT_ARTIFACT;
}

enum oci_what oci_descriptor_what(const struct oci_descriptor *d, struct buf *why)
{
	const char *name = find_known(d->artifact_type);

	if (!varve_digest_is_set(&d->digest)) {
		buf_adds(why, "something whose digest is of an unknown algorithm");
		return OCI_WHAT_ARTIFACT;
	}
	if (d->is_attestation) {
		buf_adds(why, "an attestation");
		return OCI_WHAT_ARTIFACT;
	}
	if (*d->media_type && oci_doc_kind_of(d->media_type) == OCI_DOC_UNKNOWN) {
		name = name ? name : find_known(d->media_type);
		if (name)
			buf_adds(why, name);
		else
			buf_printf(why, "of the type %s", TEXT_SAFE(d->media_type));
		return OCI_WHAT_ARTIFACT;
	}
	return OCI_WHAT_IMAGE;
}

bool oci_is_referrer_name(const char *name)
{
	size_t n;

	if (strncmp(name, "sha256-", 7) != 0 && strncmp(name, "sha512-", 7) != 0)
		return false;
	name += 7;
	n = strspn(name, "0123456789abcdef");
	return n >= 32 && (!name[n] || !strcmp(name + n, ".sig") || !strcmp(name + n, ".att") ||
			   !strcmp(name + n, ".sbom"));
}
