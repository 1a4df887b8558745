/* SPDX-License-Identifier: Apache-2.0 */
/* Library files of official-images, read as bashbrew reads them (manifest/rfc2822.go,
 * line-based.go). */
#include "fetch/official/official_internal.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define MAX_FIELDS 200000u

void official_library_free(struct official_library *l)
{
	if (!l)
		return;
	free(l->text);
	free(l->fields);
	free(l->entries);
	free(l);
}

static int fail_line(struct varve_err *e, struct span line, const char *why)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, 4096);
	text_escape(&b, line.p, VARVE_MIN(line.n, 120u));
	return varve_fail(e, VARVE_E_FORMAT, "library file: line \"%s\": %s", b.p, why);
}

/* Copy without the lines whose first visible character is '#': they do not end a paragraph. */
static size_t strip_comments(char *out, const char *p, size_t n)
{
	struct span rest = span_of(p, n), line;
	size_t used = 0;
	bool more = true;

	while (more) {
		struct span t;

		more = span_cut(&rest, '\n', &line);
		t = span_trim(line);
		if (t.n && t.p[0] == '#')
			continue;
		memcpy(out + used, line.p, line.n);
		used += line.n;
		if (more)
			out[used++] = '\n';
	}
	return used;
}

static int add_field(struct official_library *l, struct span key, struct span value,
		     struct varve_err *e)
{
	if (l->n_fields == MAX_FIELDS)
		return varve_fail(e, VARVE_E_LIMIT, "library file: more than %u fields",
				  MAX_FIELDS);
	if (l->n_fields == l->cap_fields) {
		size_t cap = l->cap_fields ? 2 * l->cap_fields : 64;
		struct official_field *f = reallocarray(l->fields, cap, sizeof(*f));

		if (!f)
			return varve_fail_oom(e);
		l->fields = f;
		l->cap_fields = cap;
	}
	l->fields[l->n_fields++] = (struct official_field){key, value};
	return 0;
}

static int add_entry(struct official_library *l, size_t first, struct varve_err *e)
{
	if (l->n_entries == l->cap_entries) {
		size_t cap = l->cap_entries ? 2 * l->cap_entries : 32;
		struct official_paragraph *p = reallocarray(l->entries, cap, sizeof(*p));

		if (!p)
			return varve_fail_oom(e);
		l->entries = p;
		l->cap_entries = cap;
	}
	l->entries[l->n_entries++] = (struct official_paragraph){first, l->n_fields - first};
	return 0;
}

/* The old format: "tag: repository@commit [directory]" becomes a paragraph of its own. */
static int parse_line(struct official_library *l, struct span line, struct varve_err *e)
{
	const struct span whole = line;
	size_t first = l->n_fields;
	struct span tag, repo, commit;
	bool dir;
	int r;

	if (!span_cut(&line, ':', &tag) || !span_cut(&line, '@', &repo))
		return fail_line(e, whole, "not \"tag: repository@commit directory\"");
	line = span_trim(line);
	dir = span_cut(&line, ' ', &commit);
	r = add_field(l, span_str("Tags"), span_trim(tag), e);
	if (r == 0)
		r = add_field(l, span_str("GitRepo"), span_trim(repo), e);
	if (r == 0)
		r = add_field(l, span_str("GitCommit"), span_trim(commit), e);
	if (r == 0 && dir)
		r = add_field(l, span_str("Directory"), span_trim(line), e);
	return r < 0 ? r : add_entry(l, first, e);
}

static int parse_lines(struct official_library *l, struct span rest, struct varve_err *e)
{
	struct span line;
	bool more = true;
	int r;

	while (more) {
		more = span_cut(&rest, '\n', &line);
		line = span_trim(line);
		if (!line.n)
			continue;
		r = parse_line(l, line, e);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct official_field *official_find_field(const struct official_library *l,
						 struct official_paragraph p, const char *prefix,
						 const char *key)
{
	size_t i, n = prefix ? strlen(prefix) : 0;

	for (i = p.n; i > 0; i--) { /* a field given twice: the last one, as bashbrew's decoder */
		const struct official_field *f = &l->fields[p.first + i - 1];
		struct span k = f->key;

		if (n) {
			if (k.n <= n + 1 || memcmp(k.p, prefix, n) != 0 || k.p[n] != '-')
				continue;
			k = span_of(k.p + n + 1, k.n - n - 1);
		}
		if (span_eq(k, key))
			return f;
	}
	return NULL;
}

/* The first paragraph, if it has no Tags, holds the defaults of all others. */
static int end_paragraph(struct official_library *l, size_t first, struct varve_err *e)
{
	struct official_paragraph p = {first, l->n_fields - first};

	if (!p.n)
		return 0;
	if (official_find_field(l, p, NULL, "Tags"))
		return add_entry(l, first, e);
	if (first != 0)
		return fail_line(e, l->fields[first].key, "its paragraph has no Tags");
	l->global = p;
	return 0;
}

static int parse_paragraphs(struct official_library *l, struct span rest, struct varve_err *e)
{
	size_t first = 0;
	struct span line;
	bool more = true;
	int r;

	while (more) {
		struct official_field *last =
			l->n_fields > first ? &l->fields[l->n_fields - 1] : NULL;
		struct span key, t;

		more = span_cut(&rest, '\n', &line);
		t = span_trim(line);
		if (!t.n) {
			r = end_paragraph(l, first, e);
			first = l->n_fields;
		} else if (line.p[0] == ' ' || line.p[0] == '\t') {
			if (!last)
				return fail_line(e, t, "continues no field");
			/* The lines lie next to each other in the text: the value just grows. */
			if (!last->value.n)
				last->value.p = t.p;
			last->value.n = (size_t)(t.p + t.n - last->value.p);
			r = 0;
		} else {
			if (!span_cut(&line, ':', &key) || !span_trim(key).n)
				return fail_line(e, t, "not \"Field: value\"");
			r = add_field(l, span_trim(key), span_trim(line), e);
		}
		if (r < 0)
			return r;
	}
	return end_paragraph(l, first, e);
}

static bool looks_like_paragraphs(struct span rest)
{
	struct span line;
	bool more = true;

	while (more) {
		more = span_cut(&rest, '\n', &line);
		if (span_starts(line, "Maintainers:") || span_starts(line, "GitRepo:") ||
		    span_starts(line, "Tags:"))
			return true;
	}
	return false;
}

int official_library_parse(struct official_library **ret, const void *p, size_t n,
			   struct varve_err *e)
{
	VARVE_CLEANUP(official_library_cleanup) struct official_library *l = NULL;
	struct span text;
	int r;

	if (n > OFFICIAL_LIBRARY_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "library file: larger than %u bytes",
				  OFFICIAL_LIBRARY_MAX);
	if (!text_utf8_valid(p, n) || memchr(p, '\0', n))
		return varve_fail(e, VARVE_E_FORMAT, "library file: not UTF-8 text");
	l = calloc(1, sizeof(*l));
	if (!l)
		return varve_fail_oom(e);
	l->text = malloc(n + 1);
	if (!l->text)
		return varve_fail_oom(e);
	text = span_of(l->text, strip_comments(l->text, p, n));
	l->lines = !looks_like_paragraphs(text);
	r = l->lines ? parse_lines(l, text, e) : parse_paragraphs(l, text, e);
	if (r < 0)
		return r;
	*ret = VARVE_TAKE(l);
	return 0;
}
