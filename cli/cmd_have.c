/* SPDX-License-Identifier: Apache-2.0 */
/* have: what a machine has already, for export --have on another one. */
#include "cli/commands.h"

static int run_have(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	struct varve_blob_list blobs = {0};
	char digest[VARVE_DIGEST_STR_MAX];
	struct varve_json *j;
	int r = cli_store_to_list(c, e);

	(void)options, (void)argc, (void)argv;
	if (r == 0)
		r = varve_store_blobs(c->store, &blobs, e);
	if (r < 0)
		return varve_wrap(e, r, "have");
	j = cli_json(c, "varve.have/1");
	if (j)
		varve_json_array(j, "blobs");
	for (size_t i = 0; i < blobs.n; i++) {
		if (!blobs.items[i].present)
			continue;
		if (j)
			varve_json_digest(j, NULL, &blobs.items[i].digest);
		else
			out_printf("%s\n", varve_digest_str(&blobs.items[i].digest, digest));
	}
	varve_blob_list_free(&blobs);
	if (!j)
		return 0;
	varve_json_end_array(j);
	return cli_json_end(c, e);
}

const struct cli_command cmd_have = {
	.name = "have",
	.summary = "List the digests in the store, for export --have on another machine",
	.run = run_have,
};
