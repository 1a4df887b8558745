/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that are installed again: what is there already, and every tree whose tag has moved. */
#include <stdio.h>
#include <string.h>

#include "cli/reinstall.h"

struct again {
	uint64_t current, unknown, failed, not_asked;
};

/* One tree that cannot be made anew says nothing about the others. */
static int again_one(struct cli *c, const struct install_options *o, const struct question *q,
		     install_again_fn *again, struct again *n, struct varve_err *e)
{
	char text[1024];
	int r;

	if (q->answer == ANSWER_CURRENT) {
		n->current++;
		return 0;
	}
	if (q->answer == ANSWER_NOT_ASKED) {
		n->not_asked++;
		message_note(c, "%s: was not asked about: %s", VARVE_TEXT_SAFE(q->label), q->error);
		return 0;
	}
	if (q->answer == ANSWER_ERROR) {
		n->unknown++;
		message_warn(c, "%s: %s", VARVE_TEXT_SAFE(q->label), q->error);
		return 0;
	}
	r = again(c, o, q, e);
	if (r == 0 || r == -VARVE_E_INTERRUPTED)
		return r;
	n->failed++;
	message_warn(c, "%s", message_text(e, text, sizeof(text)));
	if (c->status == 0)
		c->status = varve_code_exit(r);
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool install_is_there(struct cli *c, const char *roots, struct varve_tree *t, char *path,
		      size_t size)
{
	struct varve_tree_list trees = {0};
	bool found = false;

	if (varve_trees(c->store, roots, &trees, NULL) < 0)
		return false;
	for (size_t i = 0; i < trees.n && !found; i++) {
		const struct varve_tree *is = &trees.items[i];

		found = is->ours && !is->previous && same_text(is->label, t->label) &&
			same_text(is->reference, t->reference) &&
			same_text(is->settings, t->settings) &&
			varve_digest_equal(&is->manifest, &t->manifest);
		if (!found)
			continue;
		t->active = is->active;
		(void)snprintf(path, size, "%s/%s", roots, is->directory);
	}
	varve_tree_list_free(&trees);
	return found;
}

int reinstall_outdated(struct cli *c, const struct install_options *o, install_again_fn *again,
		       struct varve_err *e)
{
	struct questions q = {0};
	struct again n = {0};
	struct install_options own = *o;
	int r = o->making.userns ? cli_userns(c, e) : cli_userns_of(c, NULL, 0, e);

	own.making.userns = o->making.userns || r == 1;
	o = &own;
	if (r >= 0)
		r = cli_store(c, CLI_WRITE, e);
	if (r == 0)
		r = ask_trees(c, &q, 0, NULL, e);
	if (r == 0)
		r = ask_all(c, &q, &o->pulling, e);
	if (r == 0 && c->g.json)
		varve_json_array(cli_json(c, "varve.reinstall/1"), "installs");
	for (size_t i = 0; i < q.n && r == 0; i++)
		r = again_one(c, o, &q.items[i], again, &n, e);
	questions_done(&q);
	if (r < 0)
		return varve_wrap(e, r, "install --all-outdated");
	if (!c->g.json) {
		message_note(c, "%s up to date", COUNT(n.current, "tree"));
		return 0;
	}
	varve_json_end_array(c->json);
	varve_json_u64(c->json, "current", n.current);
	varve_json_u64(c->json, "unknown", n.unknown);
	varve_json_u64(c->json, "failed", n.failed);
	varve_json_u64(c->json, "not_asked", n.not_asked);
	return cli_json_end(c, e);
}
