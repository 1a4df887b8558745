/* SPDX-License-Identifier: Apache-2.0 */
/* Find the ADD line of a Dockerfile that brings the root file system. */
#include "fetch/official/dockerfile.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"

void dockerfile_add_done(struct dockerfile_add *d)
{
	free(d->source);
	free(d->base);
	*d = (struct dockerfile_add){0};
}

/* One word; quotes are not special in the shell form of ADD. */
static bool next_word(struct span *s, struct span *ret)
{
	size_t n = 0;

	*s = span_trim(*s);
	while (n < s->n && !strchr(" \t\r\n", s->p[n]))
		n++;
	*ret = span_of(s->p, n);
	*s = span_of(s->p + n, s->n - n);
	return n > 0;
}

/* Source and destination: the last two words, or the last two strings of the JSON form. */
static int add_words(struct span args, char **ret_source, bool *ret_root, struct varve_err *e)
{
	struct span word, prev = {0}, last = {0}, rest = args;
	JSON_FREE json *j = NULL;
	const json *it;
	const char *a = NULL, *b = NULL;

	*ret_root = false;
	while (next_word(&rest, &word) && span_starts(word, "--"))
		args = rest;
	args = span_trim(args);
	if (args.n && args.p[0] == '[' &&
	    json_parse(&j, args.p, args.n, DOCKERFILE_MAX, NULL) == 0) {
		for (it = json_first(j); it; it = json_next(it)) {
			a = b;
			b = json_str(it);
		}
		if (!a || !b || strcmp(b, "/") != 0)
			return 0;
		prev = span_str(a);
	} else {
		while (next_word(&args, &word)) {
			prev = last;
			last = word;
		}
		if (!prev.n || !span_eq(last, "/"))
			return 0;
	}
	*ret_source = span_dup(prev);
	if (!*ret_source)
		return varve_fail_oom(e);
	*ret_root = true;
	return 0;
}

static void note_lost(struct dockerfile_add *d, struct span line)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	if (d->n_lost++ > 0)
		return;
	buf_init(&b, 1024);
	text_escape(&b, line.p, VARVE_MIN(line.n, 60u));
	if (line.n > 60)
		buf_adds(&b, "...");
	snprintf(d->first_lost, sizeof(d->first_lost), "%s", b.p);
}

static int take_from(struct dockerfile_add *d, struct span args, struct varve_err *e)
{
	struct span word;

	dockerfile_add_done(d);
	while (next_word(&args, &word) && span_starts(word, "--"))
		;
	if (!word.n || span_eq(word, "scratch"))
		return 0;
	d->base = span_dup(word);
	return d->base ? 0 : varve_fail_oom(e);
}

static int take_instruction(struct dockerfile_add *d, struct span line, struct varve_err *e)
{
	struct span rest = line, word;
	char *source = NULL;
	bool root;
	int r;

	if (!next_word(&rest, &word))
		return 0;
	if (span_eq_nocase(word, "FROM"))
		return take_from(d, rest, e);
	if (span_eq_nocase(word, "RUN") || span_eq_nocase(word, "COPY"))
		note_lost(d, line);
	if (!span_eq_nocase(word, "ADD"))
		return 0;
	r = add_words(rest, &source, &root, e);
	if (r < 0)
		return r;
	if (!root) {
		note_lost(d, line);
		return 0;
	}
	d->n_adds++;
	free(d->source);
	d->source = source;
	return 0;
}

/* The word that ends the here-document of "RUN <<EOF", without "-" and quotes; empty if there is
 * none. */
static struct span heredoc_end(struct span line)
{
	struct span word, rest = line;
	const char *p;
	size_t n = 0;

	if (!next_word(&rest, &word) ||
	    !(span_eq_nocase(word, "RUN") || span_eq_nocase(word, "COPY") ||
	      span_eq_nocase(word, "ADD")))
		return span_of("", 0);
	p = memmem(rest.p, rest.n, "<<", 2);
	if (!p)
		return span_of("", 0);
	rest = span_of(p + 2, (size_t)(rest.p + rest.n - p - 2));
	while (rest.n && strchr("-\"'", rest.p[0]))
		rest = span_of(rest.p + 1, rest.n - 1);
	while (n < rest.n && !strchr(" \t\"';&|<>", rest.p[n]))
		n++;
	return span_of(rest.p, n);
}

/* Behind the line that is end, or at the end of the text. */
static bool skip_heredoc(struct span *text, struct span end)
{
	struct span line;
	bool more = true;

	while (more) {
		more = span_cut(text, '\n', &line);
		line = span_trim(line);
		if (line.n == end.n && !memcmp(line.p, end.p, end.n))
			break;
	}
	return more;
}

/* Join continued lines, drop comment lines (also between continued ones) and here-documents'
 * bodies. */
static int each_instruction(struct dockerfile_add *d, struct span text, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf joined = {0};
	struct span line, end;
	bool more = true;
	int r;

	buf_init(&joined, DOCKERFILE_MAX + 1);
	while (more) {
		struct span t;

		more = span_cut(&text, '\n', &line);
		t = span_trim(line);
		if (t.n && t.p[0] == '#')
			continue;
		if (!t.n && joined.n)
			continue; /* an empty continuation line is dropped by docker too */
		if (t.n && t.p[t.n - 1] == '\\') {
			buf_add(&joined, t.p, t.n - 1);
			buf_addc(&joined, ' ');
			continue;
		}
		buf_add(&joined, t.p, t.n);
		if (buf_error(&joined))
			return varve_fail_oom(e);
		r = take_instruction(d, span_of(joined.p, joined.n), e);
		if (r < 0)
			return r;
		end = heredoc_end(span_of(joined.p, joined.n));
		if (end.n && more)
			more = skip_heredoc(&text, end);
		buf_reset(&joined);
	}
	return take_instruction(d, span_of(joined.p, joined.n), e);
}

static int judge(const struct dockerfile_add *d, struct varve_err *e)
{
	if (d->base)
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"the Dockerfile builds on the image \"%s\"; it is not a root file "
			"system by itself",
			TEXT_SAFE(d->base));
	if (!d->source)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile has no line \"ADD FILE /\"%s%s",
				  d->n_lost ? "; the image is made by: " : "", d->first_lost);
	if (strstr(d->source, "://") || !strncmp(d->source, "git@", 4))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile adds \"%s\", which is no file of the repository",
				  TEXT_SAFE(d->source));
	if (strpbrk(d->source, "$*?["))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile adds \"%s\": variables and patterns need a build",
				  TEXT_SAFE(d->source));
	return 0;
}

int dockerfile_parse(struct dockerfile_add *ret, const void *p, size_t n, struct varve_err *e)
{
	VARVE_CLEANUP(dockerfile_add_done) struct dockerfile_add d = {0};
	int r;

	if (n > DOCKERFILE_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "Dockerfile: larger than %u bytes",
				  DOCKERFILE_MAX);
	if (!text_utf8_valid(p, n) || memchr(p, '\0', n))
		return varve_fail(e, VARVE_E_FORMAT, "Dockerfile: not UTF-8 text");
	r = each_instruction(&d, span_of(p, n), e);
	if (r == 0)
		r = judge(&d, e);
	if (r < 0)
		return r;
	*ret = d;
	d = (struct dockerfile_add){0};
	return 0;
}
