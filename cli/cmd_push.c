/* SPDX-License-Identifier: Apache-2.0 */
/* push: a stored image goes to a registry. */
#include <inttypes.h>

#include "cli/commands.h"
#include "cli/signals.h"

struct push_options {
	struct varve_platform platform;
	unsigned jobs;
	bool wait, all;
};
#define AT(member) offsetof(struct push_options, member)
static const struct opt_row push_rows[] = {
	OPT_ALL_OF(platform_rows, AT(platform)),
	{"all", 'a', NULL, "the whole image index with all its platforms", OPT_FLAG, AT(all)},
	{"jobs", 'j', "N", "blobs that are sent at once (3)", OPT_NUMBER, AT(jobs)},
	{"wait", 0, NULL, "wait as long as a registry asks for", OPT_FLAG, AT(wait)},
};
#undef AT

static int report(struct cli *c, const struct varve_reference *dest,
		  const struct varve_push_result *res, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.push/1");
	char text[800];

	if (!j) {
		out_printf("%s  %s  %s, %" PRIu64 " there already, %" PRIu64 " mounted, %" PRIu64
			   " sent (%s)\n",
			   varve_reference_familiar(dest, text),
			   DIGEST_TEXT(&res->digest, c->g.verbose > 0), COUNT(res->n_blobs, "blob"),
			   res->n_present, res->n_mounted, res->n_uploaded,
			   VARVE_TEXT_SIZE(res->bytes_uploaded));
		return 0;
	}
	varve_json_str(j, "reference", varve_reference_canonical(dest, text));
	varve_json_digest(j, "digest", &res->digest);
	varve_json_u64(j, "blobs", res->n_blobs);
	varve_json_u64(j, "blobs_present", res->n_present);
	varve_json_u64(j, "blobs_mounted", res->n_mounted);
	varve_json_u64(j, "blobs_uploaded", res->n_uploaded);
	varve_json_u64(j, "bytes_uploaded", res->bytes_uploaded);
	return cli_json_end(c, e);
}

static int run_push(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct push_options *o = options;
	struct varve_push_options to = VARVE_PUSH_OPTIONS_INIT;
	struct varve_image_list images = {0};
	struct varve_push_result res = {0};
	struct varve_reference dest;
	int r = varve_reference_parse(&dest, argv[1], e);

	(void)argc;
	if (r == 0 && c->g.offline)
		r = varve_fail(e, VARVE_E_OFFLINE, "a push needs the network: leave --offline out");
	if (r == 0)
		r = cli_store(c, CLI_READ, e);
	if (r == 0)
		r = cli_find(c, argv[0], platform_or_null(&o->platform), &images, e);
	if (r == 0) {
		to.config = c->config;
		to.jobs = o->jobs;
		to.wait = o->wait;
		to.all = o->all;
		signals_no_core();
		r = varve_push(c->store, &images.items[0], &dest, &to, &res, e);
	}
	varve_image_list_free(&images);
	if (r < 0)
		return varve_wrap(e, r, "push %s to %s", VARVE_TEXT_SAFE(argv[0]),
				  VARVE_TEXT_SAFE(argv[1]));
	return report(c, &dest, &res, e);
}

const struct cli_command cmd_push = {
	.name = "push",
	.args = "REF DEST",
	.summary = "Send a stored image to a registry, only what it lacks",
	.run = run_push,
	.min_args = 2,
	.max_args = 2,
	.rows = push_rows,
	.n_rows = ARRAY_SIZE(push_rows),
	.options_size = sizeof(struct push_options),
};
