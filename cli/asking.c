/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to registries about tags. */
#include "asking.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct question *add(struct questions *q, const char *reference, const char *label)
{
	struct question *items = realloc(q->items, (q->n + 1) * sizeof(*items));
	struct question *it;

	if (!items)
		return NULL;
	q->items = items;
	it = &items[q->n];
	*it = (struct question){.reference = strdup(reference)};
	if (!it->reference)
		return NULL;
	it->label = label ? strdup(label) : NULL;
	q->n++;
	return it;
}

void questions_done(struct questions *q)
{
	for (size_t i = 0; i < q->n; i++) {
		free(q->items[i].reference);
		free(q->items[i].label);
	}
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

/* An imported one has nowhere to ask. */
static bool is_from_registry(const struct varve_image *m)
{
	return !m->source || strcmp(m->source, "registry") == 0;
}

int ask_images(struct cli *c, struct questions *q, int argc, char **argv, struct varve_err *e)
{
	struct varve_image_list images = {0};
	int r = varve_store_images(c->store, &images, e);

	for (size_t i = 0; i < images.n && r == 0; i++) {
		const struct varve_image *m = &images.items[i];
		struct question *it;

		/* A name by digest cannot move. */
		if (!m->reference || !m->is_default || strchr(m->reference, '@') ||
		    !is_from_registry(m) || !wanted(m->reference, argc, argv))
			continue;
		it = add(q, m->reference, NULL);
		if (it)
			it->have = m->target;
		else
			r = varve_fail(e, ENOMEM, "out of memory");
	}
	varve_image_list_free(&images);
	return r;
}

/*
 * What a tree was made from is known by its manifest; the index behind the tag, and whether there
 * is a registry to ask, by the stored image, which an installed tree keeps from gc.
 */
static bool target_of(struct cli *c, const struct varve_digest *manifest, struct varve_digest *ret)
{
	struct varve_image_list images = {0};
	char text[VARVE_DIGEST_STR_MAX];
	bool from_registry;

	*ret = *manifest;
	if (varve_store_find(c->store, varve_digest_str(manifest, text), NULL, &images, NULL) < 0)
		return true;
	*ret = images.items[0].target;
	from_registry = is_from_registry(&images.items[0]);
	varve_image_list_free(&images);
	return from_registry;
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
		struct varve_digest have;
		struct question *it;

		if (!t->reference || t->previous || strchr(t->reference, '@') ||
		    !wanted(t->reference, argc, argv) || !target_of(c, &t->manifest, &have))
			continue;
		it = add(q, t->reference, t->label);
		if (it)
			it->have = have;
		else
			r = varve_fail(e, ENOMEM, "out of memory");
	}
	varve_tree_list_free(&trees);
	return r;
}

/* A stored image and the tree made from it are one question: the one that was asked before. */
static const struct question *same_before(const struct questions *q, size_t i)
{
	const struct question *it = &q->items[i];

	for (size_t k = 0; k < i; k++)
		if (strcmp(q->items[k].reference, it->reference) == 0 &&
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
		if (same_before(q, i))
			continue;
		*ret = varve_reference_parse(&items[n].ref, q->items[i].reference, e);
		items[n].target = q->items[i].have;
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
	if (r == 0 && n)
		r = varve_outdated(c->store, items, n, &o, e);
	for (size_t i = 0; i < n && r == 0; i++)
		take_answer(c, &q->items[map[i]], &items[i]);
	for (size_t i = 0; i < q->n && r == 0; i++) {
		const struct question *old = same_before(q, i);

		if (!old)
			continue;
		q->items[i].answer = old->answer;
		q->items[i].now = old->now;
		memcpy(q->items[i].error, old->error, sizeof(old->error));
	}
	free(items);
	free(map);
	return r;
}
