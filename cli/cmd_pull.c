/* SPDX-License-Identifier: Apache-2.0 */
/* pull: bring images into the store. */
#include "cli/cmd_pull.h"
#include "cli/signals.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/commands.h"

#define AT(member) offsetof(struct pulling, member)
static const struct opt_row pulling_array[] = {
	{"platform", 0, "PLATFORM", "os/arch[/variant] instead of this machine's", OPT_PLATFORM,
	 AT(platform)},
	{"source", 0, "registry|official", "where names are looked up", OPT_CHOICE, AT(source)},
	{"jobs", 'j', "N", "blobs that are fetched at once (6)", OPT_NUMBER, AT(jobs)},
	{"wait", 0, NULL, "wait as long as a registry asks for", OPT_FLAG, AT(wait)},
};
#undef AT
const struct opt_rows pulling_rows = OPT_ROWS_OF(pulling_array);

void pulling_options(const struct cli *c, const struct pulling *p, struct varve_pull_options *ret)
{
	static const char *const sources[] = {"registry", "official"};

	*ret = (struct varve_pull_options)VARVE_PULL_OPTIONS_INIT;
	ret->config = c->config;
	ret->platform = platform_or_null(&p->platform);
	ret->jobs = p->jobs;
	ret->offline = c->g.offline;
	ret->wait = p->wait;
	ret->layers = varve_layer_ops();
	ret->source = sources[p->source];
}

int pulling_run(struct cli *c, const struct varve_reference *refs, size_t n,
		const struct pulling *p, struct varve_spool *spool,
		struct varve_pull_result *results, struct varve_err *e)
{
	struct varve_pull_options o;

	signals_no_core();
	pulling_options(c, p, &o);
	if (spool)
		o.layers = varve_spool_ops(spool);
	return varve_pull(c->store, refs, n, &o, results, e);
}

void pulling_json(struct varve_json *j, const struct varve_reference *ref,
		  const struct varve_pull_result *res)
{
	char text[800];

	varve_json_str(j, "name", varve_reference_familiar(ref, text));
	varve_json_str(j, "reference", varve_reference_canonical(ref, text));
	varve_json_digest(j, "target", &res->target);
	varve_json_digest(j, "manifest", &res->manifest);
	varve_json_bool(j, "unchanged", res->unchanged);
	varve_json_u64(j, "layers", res->n_layers);
	varve_json_u64(j, "blobs_fetched", res->n_fetched);
	varve_json_u64(j, "bytes_fetched", res->bytes_fetched);
	varve_json_u64(j, "bytes_reused", res->bytes_reused);
	varve_json_str(j, "resolved_at", res->resolved_at[0] ? res->resolved_at : NULL);
}

void pulling_line(const struct cli *c, const struct varve_reference *ref,
		  const struct varve_pull_result *res)
{
	char name[800];

	varve_reference_familiar(ref, name);
	out_printf("%s  %s  ", name, DIGEST_TEXT(&res->manifest, c->g.verbose > 0));
	if (res->unchanged) {
		out_printf("unchanged\n");
		return;
	}
	out_printf("%s, %s fetched in %s", COUNT(res->n_layers, "layer"),
		   VARVE_TEXT_SIZE(res->bytes_fetched), COUNT(res->n_fetched, "blob"));
	if (res->bytes_reused)
		out_printf(", %s were there", VARVE_TEXT_SIZE(res->bytes_reused));
	out_printf("\n");
}

struct pull_options {
	struct pulling pulling;
};
static const struct opt_row pull_rows[] = {
	OPT_ALL_OF(pulling_rows, offsetof(struct pull_options, pulling)),
};

static int report(struct cli *c, const struct varve_reference *refs, size_t n,
		  const struct varve_pull_result *results, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.pull/1");

	if (!j) {
		for (size_t i = 0; i < n; i++)
			pulling_line(c, &refs[i], &results[i]);
		return 0;
	}
	varve_json_array(j, "images");
	for (size_t i = 0; i < n; i++) {
		varve_json_object(j, NULL);
		pulling_json(j, &refs[i], &results[i]);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
	return cli_json_end(c, e);
}

static int pull_all(struct cli *c, const struct pull_options *o, struct varve_reference *refs,
		    struct varve_pull_result *results, int n, char **names, struct varve_err *e)
{
	int r;

	/* All of them are read before the first is fetched. */
	for (int i = 0; i < n; i++) {
		r = varve_reference_parse(&refs[i], names[i], e);
		if (r < 0)
			return r;
	}
	r = cli_store(c, CLI_CREATE, e);
	if (r == 0)
		r = pulling_run(c, refs, (size_t)n, &o->pulling, NULL, results, e);
	return r < 0 ? r : report(c, refs, (size_t)n, results, e);
}

static int run_pull(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	struct varve_reference *refs = calloc((size_t)argc, sizeof(*refs));
	struct varve_pull_result *results = calloc((size_t)argc, sizeof(*results));
	char name[800] = "";
	int r;

	if (refs && results)
		r = pull_all(c, options, refs, results, argc, argv, e);
	else
		r = varve_fail(e, ENOMEM, "out of memory");
	/* Of several the library names the one that failed. */
	if (r < 0 && argc == 1 && refs && refs[0].path[0])
		varve_reference_familiar(&refs[0], name);
	if (r < 0)
		(void)varve_wrap(e, r, "pull%s%s", name[0] ? " " : "", name);
	free(refs);
	free(results);
	return r;
}

const struct cli_command cmd_pull = {
	.name = "pull",
	.args = "REF...",
	.summary = "Fetch images into the store",
	.run = run_pull,
	.min_args = 1,
	.max_args = -1,
	.rows = pull_rows,
	.n_rows = ARRAY_SIZE(pull_rows),
	.options_size = sizeof(struct pull_options),
};
