/* SPDX-License-Identifier: Apache-2.0 */
/* The header block of one HTTP answer and the fields that a registry client reads; pure. */
#include "fetch/http/headers.h"

#include <ctype.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/hash.h"

void headers_init(struct headers *h)
{
	buf_init(&h->text, HEADERS_MAX);
}

void headers_done(struct headers *h)
{
	buf_done(&h->text);
}

int headers_line(struct headers *h, const char *line, size_t n)
{
	struct span s = span_trim(span_of(line, n));

	if (span_starts(s, "HTTP/")) {
		buf_reset(&h->text);
		return 0;
	}
	if (memchr(s.p, 0, s.n))
		return 0;
	buf_add(&h->text, s.p, s.n);
	buf_addc(&h->text, '\n');
	return buf_error(&h->text);
}

bool headers_get(const struct headers *h, const char *name, unsigned i, struct span *ret)
{
	struct span rest = span_of(h->text.p, h->text.n), line, field;

	while (span_cut(&rest, '\n', &line)) {
		if (!span_cut(&line, ':', &field) || !span_eq_nocase(field, name))
			continue;
		if (i-- == 0) {
			*ret = span_trim(line);
			return true;
		}
	}
	return false;
}

const char *headers_media_type(const struct headers *h, char *out, size_t size)
{
	struct span value = {0}, type;
	size_t n = 0;

	out[0] = 0;
	if (!headers_get(h, "Content-Type", 0, &value))
		return out;
	(void)span_cut(&value, ';', &type);
	type = span_trim(type);
	for (; n < type.n && n + 1 < size; n++)
		out[n] = (char)tolower((unsigned char)type.p[n]);
	out[n] = 0;
	return out;
}

bool headers_u64(const struct headers *h, const char *name, uint64_t *ret)
{
	struct span value, second;

	if (!headers_get(h, name, 0, &value) || !span_u64(value, INT64_MAX, ret))
		return false;
	return !headers_get(h, name, 1, &second) ||
	       (second.n == value.n && !memcmp(second.p, value.p, value.n));
}

bool headers_digest(const struct headers *h, struct varve_digest *ret)
{
	struct span value;

	return headers_get(h, "Docker-Content-Digest", 0, &value) &&
	       digest_parse_span(ret, value) == 0;
}

bool content_range_parse(struct span value, struct content_range *ret)
{
	struct content_range out = {.complete = UINT64_MAX};
	struct span unit, range, first, total;

	value = span_trim(value);
	if (!span_cut(&value, ' ', &unit) || !span_eq_nocase(unit, "bytes"))
		return false;
	total = span_trim(value);
	if (!span_cut(&total, '/', &range))
		return false;
	if (!span_eq(total, "*") && !span_u64(total, INT64_MAX, &out.complete))
		return false;
	if (span_eq(range, "*")) {
		out.unsatisfied = true;
		*ret = out;
		return out.complete != UINT64_MAX;
	}
	if (!span_cut(&range, '-', &first) || !span_u64(first, INT64_MAX, &out.first) ||
	    !span_u64(range, INT64_MAX, &out.last) || out.last < out.first ||
	    out.last >= out.complete)
		return false;
	*ret = out;
	return true;
}
