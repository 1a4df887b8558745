/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration, store and images as a command needs them: nothing is opened that it does not ask
 * for. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cli_close(struct cli *c)
{
	varve_store_close(c->store);
	c->store = NULL;
	varve_config_free(c->config);
	c->config = NULL;
}

const char *cli_config_path(const struct cli *c)
{
	const char *path = c->g.config ? c->g.config : getenv("VARVE_CONFIG");

	return path && path[0] ? path : NULL;
}

int cli_config(struct cli *c, struct varve_err *e)
{
	if (c->config)
		return 0;
	c->close = cli_close;
	return varve_config_load(&c->config, cli_config_path(c), &c->ctx, e);
}

int cli_userns(struct cli *c, struct varve_err *e)
{
	const char *path;
	int r = cli_config(c, e);

	if (r == 0)
		r = cli_store_path(c, &path, e);
	if (r == 0)
		r = cli_roots_path(c, &path, e);
	return r < 0 ? r : varve_userns_enter(e);
}

static bool is_of(const struct varve_tree *t, char *const *labels, int n, struct cli *c)
{
	char label[512];

	for (int i = 0; i < n; i++)
		if (cli_label(c, labels[i], label, NULL) == 0 && !strcmp(t->label, label))
			return true;
	return n == 0;
}

int cli_userns_of(struct cli *c, char *const *labels, int n, struct varve_err *e)
{
	struct varve_tree_list trees = {0};
	const char *roots;
	bool some = false, all = true;
	int r;

	if (geteuid() == 0)
		return 0;
	r = cli_store(c, CLI_READ, NULL);
	if (r == 0)
		r = cli_roots_path(c, &roots, NULL);
	if (r == 0)
		r = varve_trees(c->store, roots, &trees, NULL);
	for (size_t i = 0; r == 0 && i < trees.n; i++) {
		const struct varve_tree *t = &trees.items[i];
		bool mapped = t->made & VARVE_MADE_USERNS;

		if (!t->ours || !is_of(t, labels, n, c))
			continue;
		some = some || mapped;
		all = all && mapped;
	}
	varve_tree_list_free(&trees);
	/* What is wrong is said by who does the work. It opens its store as the one who it is then.
	 */
	varve_store_close(c->store);
	c->store = NULL;
	if (r < 0 || !some || (!n && !all))
		return 0;
	r = cli_userns(c, e);
	return r < 0 ? r : 1;
}

static bool cannot_write(int r)
{
	return r == -VARVE_E_READONLY || r == -EROFS || r == -EACCES || r == -EPERM;
}

int cli_store(struct cli *c, enum cli_access access, struct varve_err *e)
{
	struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;
	int r = cli_config(c, e);

	if (r == 0)
		r = cli_store_path(c, &o.path, e);
	if (r < 0)
		return r;
	o.lower = varve_config_lower(c->config);
	o.trusted = varve_config_trusted_owners(c->config, &o.n_trusted);
	o.create = access == CLI_CREATE;
	varve_config_limits(c->config, &o.limits);
	o.restore = access == CLI_RESTORE;
	r = varve_store_open(&c->store, &c->ctx, &o, e);
	if (access == CLI_READ && cannot_write(r)) {
		o.read_only = true;
		r = varve_store_open(&c->store, &c->ctx, &o, e);
	}
	if (r == -VARVE_E_NOTFOUND)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: there is no store yet; varve pull REF makes one (or name "
				  "another with --store)",
				  VARVE_TEXT_SAFE(o.path));
	return r;
}

int cli_store_for_trees(struct cli *c, struct varve_err *e)
{
	const char *roots;
	int r = cli_roots_path(c, &roots, e);

	if (r < 0)
		return r;
	if (access(roots, F_OK) == 0)
		return cli_store(c, access(roots, W_OK) == 0 ? CLI_CREATE : CLI_READ, e);
	return cli_store_to_list(c, e);
}

int cli_store_to_list(struct cli *c, struct varve_err *e)
{
	return cli_store_if_any(c, CLI_READ, e);
}

int cli_store_if_any(struct cli *c, enum cli_access access, struct varve_err *e)
{
	int r = cli_store(c, access, e);

	if (r != -VARVE_E_NOTFOUND)
		return r;
	message_note(c, "%s", varve_err_frame(e, 0));
	return 1;
}

/* At least 12 hex digits, perhaps with the algorithm before them. */
static bool looks_like_digest(const char *text)
{
	const char *hex = strncmp(text, "sha256:", 7) == 0 ? text + 7 : text;

	return strlen(hex) >= 12 && hex[strspn(hex, "0123456789abcdef")] == '\0';
}

static const struct opt_row platform_array[] = {
	{"platform", 0, "PLATFORM", "os/arch[/variant], when several are stored", OPT_PLATFORM, 0},
};
const struct opt_rows platform_rows = OPT_ROWS_OF(platform_array);

int cli_find(struct cli *c, const char *text, const struct varve_platform *platform,
	     struct varve_image_list *ret, struct varve_err *e)
{
	struct varve_reference ref;
	char canonical[800];
	int r;

	if (looks_like_digest(text) && varve_store_find(c->store, text, platform, ret, NULL) == 0)
		return 0;
	r = varve_reference_parse(&ref, text, e);
	if (r < 0)
		return r;
	return varve_store_find(c->store, varve_reference_canonical(&ref, canonical), platform, ret,
				e);
}

static int fail_ambiguous(const struct varve_tree_list *trees, const char *text,
			  const char *canonical, struct varve_err *e)
{
	char labels[600] = "";
	size_t n = 0;

	for (size_t i = 0; i < trees->n && n < sizeof(labels); i++)
		if (!trees->items[i].previous && trees->items[i].reference &&
		    strcmp(trees->items[i].reference, canonical) == 0)
			n += (size_t)snprintf(labels + n, sizeof(labels) - n, "%s%s", n ? ", " : "",
					      VARVE_TEXT_SAFE(trees->items[i].label));
	return varve_fail(e, VARVE_E_CONFLICT,
			  "%s is installed several times: say which label of %s",
			  VARVE_TEXT_SAFE(text), labels);
}

int cli_label(struct cli *c, const char *text, char ret[512], struct varve_err *e)
{
	struct varve_tree_list trees = {0};
	struct varve_reference ref;
	char canonical[800] = "", own[512] = "";
	const char *roots, *found = NULL;
	size_t n_of_reference = 0;
	int r = cli_roots_path(c, &roots, e);

	if (r == 0)
		r = varve_trees(c->store, roots, &trees, e);
	if (r < 0)
		return r;
	if (varve_reference_parse(&ref, text, NULL) == 0) {
		varve_reference_canonical(&ref, canonical);
		varve_reference_label(&ref, own);
	}
	for (size_t i = 0; i < trees.n && !found; i++)
		if (!trees.items[i].previous && strcmp(trees.items[i].label, text) == 0)
			found = trees.items[i].label;
	for (size_t i = 0, exact = found != NULL; i < trees.n && !exact; i++) {
		const struct varve_tree *t = &trees.items[i];

		if (t->previous || !t->reference || strcmp(t->reference, canonical) != 0)
			continue;
		/* Of several, a reference means the one that install names by itself. */
		exact = strcmp(t->label, own) == 0;
		found = t->label;
		n_of_reference = exact ? 1 : n_of_reference + 1;
	}
	if (n_of_reference > 1)
		r = fail_ambiguous(&trees, text, canonical, e);
	/* Not installed: what looks like a reference is one, the rest is taken for a mistyped
	 * label. */
	if (found || !canonical[0] || !strpbrk(text, ":/@"))
		(void)snprintf(ret, 512, "%s", found ? found : text);
	else
		(void)snprintf(ret, 512, "%s", own);
	varve_tree_list_free(&trees);
	return r;
}
