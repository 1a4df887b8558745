/* SPDX-License-Identifier: Apache-2.0 */
/* The names that an OCI layout gives its images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "materialize/import/import_names.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define NAMES_MAX 64u

/* docker save writes both forms; the names in its own are the better ones. */
static size_t docker_names(const struct layout *l, const struct varve_digest *config,
			   const char **names, size_t max)
{
	const json *image, *tag;
	size_t n = 0;

	for (image = json_first(l->docker); image; image = json_next(image)) {
		const char *path = json_str(json_get_nocase(image, "Config"));

		if (!path || !strstr(path, DIGEST_HEX(config)))
			continue;
		tag = json_first(json_get_nocase(image, "RepoTags"));
		for (; tag && n < max; tag = json_next(tag))
			if (json_str(tag))
				names[n++] = json_str(tag);
	}
	return n;
}

static const char *annotation(const struct layout *l, size_t i, const char *key)
{
	return json_str(json_get(json_get(l->entries[i].raw, "annotations"), key));
}

const char *layout_own_name(const struct layout *l, size_t i)
{
	const char *name = annotation(l, i, "io.containerd.image.name");

	return name ? name : annotation(l, i, "org.opencontainers.image.ref.name");
}

/* A name for what brings none, or only a tag; *made is ours to free. */
static int name_image(struct layout *l, size_t i, const struct varve_digest *manifest, char **made,
		      struct varve_err *e)
{
	const char *name = layout_own_name(l, i);
	struct varve_import_label label;
	int r;

	/* A tag alone, or nothing: the file's name says whose. */
	if (l->im->opt->name)
		return 0;
	r = varve_import_label(l->im->path, &label, e);
	if (r < 0)
		return r;
	if (name)
		r = asprintf(made, "localhost/%s:%s", label.image, name);
	else if (l->unnamed++)
		r = asprintf(made, "localhost/%s:%.12s", label.image, DIGEST_HEX(manifest));
	else
		r = asprintf(made, "localhost/%s:%s", label.image, label.tag);
	if (r < 0) {
		*made = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

void layout_names_done(struct layout_names *n)
{
	for (size_t i = 0; i < n->n_made; i++)
		free(n->made[i]);
	free(n->made);
	free(n->items);
}

int layout_names(struct layout *l, size_t first, const struct varve_digest *config,
		 const struct varve_digest *manifest, struct layout_names *ret, struct varve_err *e)
{
	size_t i = first, max = NAMES_MAX + 1;
	int r = 0;

	do
		max++;
	while ((i = l->entries[i].next));
	ret->items = calloc(max, sizeof(*ret->items));
	ret->made = calloc(max, sizeof(*ret->made));
	if (!ret->items || !ret->made)
		return varve_fail_oom(e);
	ret->n = docker_names(l, config, ret->items, NAMES_MAX);
	if (ret->n)
		return 0;
	i = first;
	do {
		const char *name = layout_own_name(l, i);

		if (name && strpbrk(name, ":/@")) {
			ret->items[ret->n++] = name;
			continue;
		}
		if (!name && ret->n)
			continue;
		r = name_image(l, i, manifest, &ret->made[ret->n_made], e);
		if (r == 0 && ret->made[ret->n_made])
			ret->items[ret->n++] = ret->made[ret->n_made++];
	} while (r == 0 && (i = l->entries[i].next));
	return r;
}

bool layout_is_selected(const struct layout *l, size_t i, const char *select)
{
	const char *ref = annotation(l, i, "org.opencontainers.image.ref.name"),
		   *name = layout_own_name(l, i);
	const struct varve_digest *d = &l->index->manifests[i].digest;

	return (ref && !strcmp(ref, select)) || (name && !strcmp(name, select)) ||
	       !strcmp(DIGEST_STR(d), select);
}
