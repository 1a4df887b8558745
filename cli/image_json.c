/* SPDX-License-Identifier: Apache-2.0 */
/* One form for images and blobs in every document. */
#include "cli/image_json.h"

void time_json(struct varve_json *j, const char *key, int64_t seconds)
{
	if (seconds > 0)
		varve_json_time(j, key, seconds);
	else
		varve_json_null(j, key);
}

void image_json(struct varve_json *j, const struct varve_image *m)
{
	char platform[84];

	varve_json_str(j, "name", m->name);
	varve_json_str(j, "reference", m->reference);
	varve_json_str(j, "source", m->source);
	varve_json_str(j, "origin", m->origin);
	varve_json_str(j, "resolved_at", m->place);
	varve_json_digest(j, "target", &m->target);
	varve_json_digest(j, "manifest", &m->manifest);
	varve_json_digest(j, "config", &m->config);
	varve_json_str(j, "platform", varve_platform_str(&m->platform, platform));
	varve_json_u64(j, "layers", m->n_layers);
	varve_json_u64(j, "size", m->size);
	varve_json_u64(j, "own_size", m->own_size);
	varve_json_u64(j, "shared_size", m->shared_size);
	varve_json_u64(j, "unpacked_size", m->unpacked_size);
	time_json(j, "fetched_at", m->fetched_at);
	time_json(j, "last_used", m->last_used);
	varve_json_bool(j, "pinned", m->pinned);
	varve_json_bool(j, "complete", m->complete);
	varve_json_bool(j, "default", m->is_default);
	varve_json_str(j, "lower", m->lower);
}

void blob_json(struct varve_json *j, const struct varve_blob_info *b)
{
	varve_json_digest(j, "digest", &b->digest);
	varve_json_u64(j, "size", b->size);
	varve_json_bool(j, "present", b->present);
	varve_json_u64(j, "references", b->references);
	time_json(j, "verified_at", b->verified_at);
	if (!b->has_facts) {
		varve_json_null(j, "facts");
		return;
	}
	varve_json_object(j, "facts");
	varve_json_digest(j, "diff_id", &b->facts.diff_id);
	varve_json_u64(j, "unpacked_size", b->facts.size);
	varve_json_u64(j, "entries", b->facts.entries);
	varve_json_str(j, "compression", varve_compression_str(b->facts.compression));
	varve_json_end_object(j);
}
