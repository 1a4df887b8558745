/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: one stored image in full. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/image_json.h"
#include "cli/table.h"

enum raw { RAW_NONE, RAW_MANIFEST, RAW_CONFIG, RAW_TARGET };

struct inspect_options {
	struct varve_platform platform;
	unsigned raw; /* enum raw */
};
static const struct opt_row inspect_rows[] = {
	OPT_ALL_OF(platform_rows, offsetof(struct inspect_options, platform)),
	{"raw", 0, "none|manifest|config|target", "print this document as it is stored", OPT_CHOICE,
	 offsetof(struct inspect_options, raw)},
};

static int document(struct cli *c, const char *key, const struct varve_digest *d,
		    struct varve_err *e)
{
	char *text = NULL;
	size_t n;
	int r = varve_store_read_blob(c->store, d, &text, &n, e);

	if (r == 0)
		r = varve_json_document(c->json, key, text, n, e);
	if (r < 0 && r != -ENOMEM && text) {
		varve_json_null(c->json, key); /* no JSON; "image" says which blob it is */
		r = 0;
	}
	free(text);
	return r;
}

static int inspect_json(struct cli *c, const struct varve_image *m,
			const struct varve_blob_list *layers, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.inspect/1");
	int r;

	varve_json_object(j, "image");
	image_json(j, m);
	varve_json_end_object(j);
	varve_json_array(j, "layers");
	for (size_t i = 0; i < layers->n; i++) {
		varve_json_object(j, NULL);
		blob_json(j, &layers->items[i]);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
	r = document(c, "manifest", &m->manifest, e);
	if (r == 0)
		r = document(c, "config", &m->config, e);
	return r < 0 ? r : cli_json_end(c, e);
}

static void line(const char *what, const char *text)
{
	if (!text || !text[0])
		return;
	out_printf("%s%-10s%s  ", out_bold(), what, out_plain());
	out_safe(text);
	out_printf("\n");
}

static void layers_table(const struct varve_blob_list *layers)
{
	static const char *const columns[] = {">LAYER",   "DIGEST",  ">SIZE", ">UNPACKED",
					      ">ENTRIES", ">IMAGES", "FORM",  NULL};
	struct table *t = table_new(columns);

	for (size_t i = 0; i < layers->n; i++) {
		const struct varve_blob_info *b = &layers->items[i];

		table_addf(t, "%zu", i + 1);
		table_digest(t, &b->digest, true);
		table_size(t, b->size);
		if (b->has_facts) {
			table_size(t, b->facts.size);
			table_addf(t, "%" PRIu64, b->facts.entries);
		} else {
			table_add(t, NULL);
			table_add(t, NULL);
		}
		table_addf(t, "%" PRIu64, b->references);
		table_addf(t, "%s%s",
			   b->has_facts ? varve_compression_str(b->facts.compression) : "",
			   b->present ? "" : " missing");
	}
	table_print(t);
}

static void inspect_text(const struct varve_image *m, const struct varve_blob_list *layers)
{
	char text[84], times[32], sizes[128];

	line("name", m->name);
	line("reference", m->reference);
	line("platform", varve_platform_str(&m->platform, text));
	line("manifest", DIGEST_TEXT(&m->manifest, true));
	line("config", DIGEST_TEXT(&m->config, true));
	if (!varve_digest_equal(&m->target, &m->manifest))
		line("index", DIGEST_TEXT(&m->target, true));
	line("source", m->source);
	line("from", m->origin);
	line("resolved at", m->place);
	line("fetched", m->fetched_at > 0 ? varve_text_time(m->fetched_at, times) : NULL);
	line("used", m->last_used > 0 ? varve_text_time(m->last_used, times) : NULL);
	(void)snprintf(sizes, sizeof(sizes), "%s: %s own, %s shared%s%s%s",
		       VARVE_TEXT_SIZE(m->size), VARVE_TEXT_SIZE(m->own_size),
		       VARVE_TEXT_SIZE(m->shared_size), m->unpacked_size ? "; " : "",
		       m->unpacked_size ? VARVE_TEXT_SIZE(m->unpacked_size) : "",
		       m->unpacked_size ? " unpacked" : "");
	line("size", sizes);
	line("lower", m->lower);
	line("state", !m->complete ? "partial: varve pull completes it"
		      : m->pinned  ? "pinned"
				   : NULL);
	out_printf("\n");
	layers_table(layers);
}

static int inspect_raw(struct cli *c, const struct varve_image *m, enum raw raw,
		       struct varve_err *e)
{
	const struct varve_digest *d = raw == RAW_MANIFEST ? &m->manifest
				       : raw == RAW_CONFIG ? &m->config
							   : &m->target;
	char *text = NULL;
	size_t n;
	int r = varve_store_read_blob(c->store, d, &text, &n, e);

	if (r == 0)
		out_write(text, n); /* exactly the bytes of the digest: no line feed is added */
	free(text);
	return r;
}

/* How many images share each layer: the list of the layers does not say. */
static int count_references(struct cli *c, struct varve_blob_list *layers, struct varve_err *e)
{
	struct varve_blob_list all = {0};
	int r = varve_store_blobs(c->store, &all, e);

	for (size_t i = 0; r == 0 && i < layers->n; i++)
		for (size_t k = 0; k < all.n; k++)
			if (varve_digest_equal(&layers->items[i].digest, &all.items[k].digest))
				layers->items[i].references = all.items[k].references;
	varve_blob_list_free(&all);
	return r;
}

static int run_inspect(struct cli *c, const void *options, int argc, char **argv,
		       struct varve_err *e)
{
	const struct inspect_options *o = options;
	struct varve_image_list images = {0};
	struct varve_blob_list layers = {0};
	int r;

	(void)argc;
	if (o->raw != RAW_NONE && c->g.json)
		return varve_fail(e, VARVE_E_USAGE,
				  "inspect: --json holds the documents; leave --raw out");
	r = cli_store(c, CLI_READ, e);
	if (r == 0)
		r = cli_find(c, argv[0], platform_or_null(&o->platform), &images, e);
	if (r == 0 && o->raw != RAW_NONE) {
		r = inspect_raw(c, &images.items[0], o->raw, e);
	} else if (r == 0) {
		r = varve_store_layers(c->store, &images.items[0].manifest, &layers, e);
		if (r == 0)
			r = count_references(c, &layers, e);
		if (r == 0 && c->g.json)
			r = inspect_json(c, &images.items[0], &layers, e);
		else if (r == 0)
			inspect_text(&images.items[0], &layers);
	}
	varve_blob_list_free(&layers);
	varve_image_list_free(&images);
	return r < 0 ? varve_wrap(e, r, "inspect %s", VARVE_TEXT_SAFE(argv[0])) : 0;
}

const struct cli_command cmd_inspect = {
	.name = "inspect",
	.args = "REF",
	.summary = "Show manifest, layers, sizes and origin of a stored image",
	.run = run_inspect,
	.min_args = 1,
	.max_args = 1,
	.rows = inspect_rows,
	.n_rows = ARRAY_SIZE(inspect_rows),
	.options_size = sizeof(struct inspect_options),
};
