/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of registries as ratelimit.c kept them. */
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"
#include "store/catalog.h"
#include "store/state.h"
#include "varve-fetch.h"

#define PREFIX    "ratelimit:"
#define VALUE_MAX 4096u

struct gather {
	struct varve_registry_status_list *list;
	bool oom;
};

static int add_one(void *user, const char *key, const void *value, size_t n)
{
	struct gather *g = user;
	struct varve_registry_status_list *l = g->list;
	struct varve_registry_status s = {0}, *grown;
	JSON_FREE json *doc = NULL;
	const char *text;

	/* Ours, so it is well-formed; what is not is of a newer version. */
	if (json_parse(&doc, value, n, VALUE_MAX, NULL) < 0)
		return 0;
	(void)json_u64(json_get(doc, "limit"), &s.limit);
	(void)json_u64(json_get(doc, "remaining"), &s.remaining);
	(void)json_u64(json_get(doc, "window_seconds"), &s.window_s);
	text = json_str(json_get(doc, "seen_at"));
	if (text)
		(void)text_parse_time(span_str(text), &s.seen_at);
	grown = realloc(l->items, (l->n + 1) * sizeof(*grown));
	if (!grown) {
		g->oom = true;
		return 1;
	}
	l->items = grown;
	text = json_str(json_get(doc, "source"));
	s.registry = strdup(key + strlen(PREFIX));
	s.source = text ? strdup(text) : NULL;
	l->items[l->n++] = s;
	g->oom = !s.registry || (text && !s.source);
	return g->oom;
}

int varve_registry_status(struct varve_store *s, struct varve_registry_status_list *ret,
			  struct varve_err *e)
{
	struct gather g = {.list = ret};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = catalog_each_state(s, PREFIX, add_one, &g, e);
	if (g.oom)
		r = varve_fail_oom(e);
	if (r < 0)
		varve_registry_status_free(ret);
	return r < 0 ? r : 0;
}

void varve_registry_status_free(struct varve_registry_status_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free((char *)(uintptr_t)l->items[i].registry);
		free((char *)(uintptr_t)l->items[i].source);
	}
	free(l->items);
	memset(l, 0, sizeof(*l));
}
