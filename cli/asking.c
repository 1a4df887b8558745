/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to registries about tags. */
#include "cli/asking.h"
#include "cli/signals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of a stored image or of a tree. */
struct subject {
	const char *reference, *label, *directory, *source, *origin, *settings;
	const struct varve_platform *platform;
	struct varve_digest target;
	uint32_t made;
};

static char *copy(const char *text, bool *failed)
{
	char *p = text ? strdup(text) : NULL;

	*failed |= text && !p;
	return p;
}

static void question_done(struct question *q)
{
	free(q->reference);
	free(q->label);
	free(q->origin);
	free(q->settings);
	free(q->directory);
}

/* Why there is nobody to ask; NULL if there is. */
static const char *why_not(const struct subject *s)
{
	if (strchr(s->reference, '@'))
		return "a digest means the same for ever";
	if (!s->source)
		return "it is not recorded where it came from; installed anew, it will be";
	if (strcmp(s->source, "registry") == 0)
		return NULL;
	if (strcmp(s->source, "official") == 0)
		return s->origin ? NULL : "it is not recorded which commit it was made from";
	return "it was made from a file, which has nowhere to ask";
}

static int add(struct questions *q, const struct subject *s, struct varve_err *e)
{
	struct question *items = realloc(q->items, (q->n + 1) * sizeof(*items));
	const char *why = why_not(s);
	struct question *it;
	bool failed = false;

	if (!items)
		return varve_fail(e, ENOMEM, "out of memory");
	q->items = items;
	it = &items[q->n];
	*it = (struct question){
		.reference = copy(s->reference, &failed),
		.label = copy(s->label, &failed),
		.settings = copy(s->settings, &failed),
		.directory = copy(s->directory, &failed),
		.platform = *s->platform,
		.have = s->target,
		.made = s->made,
		.answer = why ? ANSWER_NOT_ASKED : ANSWER_CURRENT,
	};
	if (!why && strcmp(s->source, "official") == 0)
		it->origin = copy(s->origin, &failed);
	if (failed) {
		question_done(it);
		return varve_fail(e, ENOMEM, "out of memory");
	}
	if (why)
		(void)snprintf(it->error, sizeof(it->error), "%s", why);
	q->n++;
	return 0;
}

void questions_done(struct questions *q)
{
	for (size_t i = 0; i < q->n; i++)
		question_done(&q->items[i]);
	free(q->items);
}

static bool wanted(const char *reference, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct varve_reference ref;
		char canonical[800];

		if (varve_reference_parse(&ref, argv[i], NULL) == 0 &&
		    strcmp(varve_reference_canonical(&ref, canonical), reference) == 0)
			return true;
	}
	return argc == 0;
}

int ask_images(struct cli *c, struct questions *q, int argc, char **argv, struct varve_err *e)
{
	struct varve_image_list images = {0};
	int r = varve_store_images(c->store, &images, e);

	for (size_t i = 0; i < images.n && r == 0; i++) {
		const struct varve_image *m = &images.items[i];

		if (m->reference && !m->lower && m->is_default && wanted(m->reference, argc, argv))
			r = add(q,
				&(struct subject){
					.reference = m->reference,
					.source = m->source,
					.origin = m->origin,
					.platform = &m->platform,
					.target = m->target,
				},
				e);
	}
	varve_image_list_free(&images);
	return r;
}

int ask_trees(struct cli *c, struct questions *q, int argc, char **argv, struct varve_err *e)
{
	struct varve_tree_list trees = {0};
	const char *roots;
	int r = cli_roots_path(c, &roots, e);

	if (r == 0)
		r = varve_trees(c->store, roots, &trees, e);
	for (size_t i = 0; i < trees.n && r == 0; i++) {
		const struct varve_tree *t = &trees.items[i];

		if (t->reference && !t->previous && wanted(t->reference, argc, argv))
			r = add(q,
				&(struct subject){
					.reference = t->reference,
					.label = t->label,
					.directory = t->directory,
					.source = t->source,
					.origin = t->origin,
					.settings = t->settings,
					.made = t->made,
					.platform = &t->platform,
					.target = t->target,
				},
				e);
	}
	varve_tree_list_free(&trees);
	return r;
}

/* A stored image and the tree made from it are one question: the one that was asked before. */
static const struct question *same_before(const struct questions *q, size_t i)
{
	const struct question *it = &q->items[i];

	for (size_t k = 0; k < i; k++)
		if (q->items[k].answer != ANSWER_NOT_ASKED && !q->items[k].origin == !it->origin &&
		    strcmp(q->items[k].reference, it->reference) == 0 &&
		    varve_digest_equal(&q->items[k].have, &it->have))
			return &q->items[k];
	return NULL;
}

/* The questions that need an answer of their own; map[i] is where the i-th item came from. */
static size_t collect(const struct questions *q, struct varve_outdated *items, size_t *map,
		      int *ret, struct varve_err *e)
{
	size_t n = 0;

	*ret = 0;
	for (size_t i = 0; i < q->n && *ret == 0; i++) {
		if (q->items[i].answer == ANSWER_NOT_ASKED || same_before(q, i))
			continue;
		*ret = varve_reference_parse(&items[n].ref, q->items[i].reference, e);
		items[n].target = q->items[i].have;
		items[n].origin = q->items[i].origin;
		items[n].platform = q->items[i].platform;
		map[n++] = i;
	}
	return n;
}

static void take_answer(struct cli *c, struct question *it, const struct varve_outdated *o)
{
	it->now = o->now;
	it->answer = o->changed ? ANSWER_OUTDATED : ANSWER_CURRENT;
	if (o->result == 0)
		return;
	it->answer = ANSWER_ERROR;
	memcpy(it->error, o->error, sizeof(it->error));
	if (c->status == 0)
		c->status = varve_code_exit(o->result);
}

int ask_all(struct cli *c, struct questions *q, const struct pulling *p, struct varve_err *e)
{
	struct varve_outdated *items = calloc(q->n + 1, sizeof(*items));
	size_t *map = calloc(q->n + 1, sizeof(*map)), n = 0;
	struct varve_pull_options o;
	int r = items && map ? 0 : varve_fail(e, ENOMEM, "out of memory");

	pulling_options(c, p, &o);
	if (r == 0)
		n = collect(q, items, map, &r, e);
	signals_no_core();
	if (r == 0 && n)
		r = varve_outdated(c->store, items, n, &o, e);
	for (size_t i = 0; i < n && r == 0; i++)
		take_answer(c, &q->items[map[i]], &items[i]);
	for (size_t i = 0; i < q->n && r == 0; i++) {
		const struct question *old = same_before(q, i);

		if (!old || q->items[i].answer == ANSWER_NOT_ASKED)
			continue;
		q->items[i].answer = old->answer;
		q->items[i].now = old->now;
		memcpy(q->items[i].error, old->error, sizeof(old->error));
	}
	free(items);
	free(map);
	return r;
}
