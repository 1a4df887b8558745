/* SPDX-License-Identifier: Apache-2.0 */
/* What registries say about their limits: kept per registry, shown by "varve registry status"
 * (docs/requirements.md 4.22). */
#include "fetch/registry/ratelimit.h"
#include "store/state.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/base/compiler.h"
#include "store/base/json.h"
#include "store/catalog.h"

/* "100;w=21600": a number and the seconds of its window (0: not said). */
static bool parse_quota(struct span s, uint64_t *ret_n, uint64_t *ret_window)
{
	struct span number, param;

	*ret_window = 0;
	if (span_cut(&s, ';', &number)) {
		param = span_trim(s);
		if (span_starts(param, "w=") &&
		    !span_u64(span_of(param.p + 2, param.n - 2), 1u << 30, ret_window))
			*ret_window = 0;
	}
	return span_u64(span_trim(number), UINT32_MAX, ret_n);
}

static bool read_quota(const struct headers *h, const char *name, uint64_t *ret_n,
		       uint64_t *ret_window)
{
	struct span value;

	return headers_get(h, name, 0, &value) && parse_quota(value, ret_n, ret_window);
}

void ratelimit_words(const struct headers *h, char *out, size_t size)
{
	uint64_t limit, left, window = 0, ignored;

	out[0] = 0;
	if (!read_quota(h, "RateLimit-Limit", &limit, &window) ||
	    !read_quota(h, "RateLimit-Remaining", &left, &ignored))
		return;
	(void)snprintf(out, size, ", %llu of %llu left", (unsigned long long)left,
		       (unsigned long long)limit);
	if (window)
		(void)snprintf(out + strlen(out), size - strlen(out), " in %llu min",
			       (unsigned long long)window / 60);
}

void ratelimit_note(struct client *c, const char *domain, const struct headers *h)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	uint64_t limit, left, window, ignored;
	struct span source;
	struct jsonw w;
	char key[300];

	if (!domain || !c->store || varve_store_is_read_only(c->store) ||
	    !read_quota(h, "RateLimit-Limit", &limit, &window) ||
	    !read_quota(h, "RateLimit-Remaining", &left, &ignored))
		return;
	buf_init(&b, 4096);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_u64(&w, "limit", limit);
	jsonw_u64(&w, "remaining", left);
	jsonw_u64(&w, "window_seconds", window);
	if (headers_get(h, "Docker-RateLimit-Source", 0, &source))
		jsonw_strn(&w, "source", source.p, source.n);
	jsonw_time(&w, "seen_at", time(NULL));
	jsonw_end_object(&w);
	(void)snprintf(key, sizeof(key), "ratelimit:%s", domain);
	if (buf_error(&b) == 0)
		(void)catalog_put_state(c->store, key, b.p, b.n, NULL);
}
