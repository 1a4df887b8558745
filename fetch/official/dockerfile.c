/* SPDX-License-Identifier: Apache-2.0 */
/* Find the archives that a Dockerfile adds to the root file system, read as BuildKit reads it. */
#include "fetch/official/dockerfile.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"

#define BLANKS        " \t\r\n"
#define DEPTH_UNKNOWN (-1)
#define SOURCES_MAX   64u
#define HEREDOCS_MAX  16u

/* What is known while reading. */
struct reader {
	struct dockerfile_add *d;
	struct span text; /* what is left */
	char escape;
	int depth; /* of WORKDIR below "/"; DEPTH_UNKNOWN: it has a variable */
};

struct heredoc {
	char *end;
	bool tabs; /* "<<-": tabs in front of the end are not part of it */
};

void dockerfile_add_done(struct dockerfile_add *d)
{
	for (size_t i = 0; i < d->n_sources; i++)
		free(d->sources[i]);
	free(d->sources);
	free(d->base);
	free(d->remote);
	*d = (struct dockerfile_add){0};
}

/* --- words --- */

/* One word as it is written; blanks inside quotes are part of it. */
static bool next_word(struct span *s, char escape, struct span *ret)
{
	char quote = 0;
	size_t n = 0;

	*s = span_trim(*s);
	for (; n < s->n && (quote || !strchr(BLANKS, s->p[n])); n++) {
		char c = s->p[n];

		if (c == escape && quote != '\'' && n + 1 < s->n)
			n++;
		else if (quote ? c == quote : c == '"' || c == '\'')
			quote = quote ? 0 : c;
	}
	*ret = span_of(s->p, n);
	*s = span_of(s->p + n, s->n - n);
	return n > 0;
}

/* Without its quotes; *ret_open: a variable is left in it. Returns NULL without memory. */
static char *unquote(struct span word, char escape, bool *ret_open)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	char quote = 0;

	buf_init(&b, DOCKERFILE_MAX + 1);
	for (size_t i = 0; i < word.n; i++) {
		char c = word.p[i];

		if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
			continue;
		}
		if (c == escape && quote != '\'' && i + 1 < word.n &&
		    (!quote || word.p[i + 1] == '"' || word.p[i + 1] == '$' ||
		     word.p[i + 1] == escape))
			c = word.p[++i];
		else if (c == '$' && quote != '\'')
			*ret_open = true;
		buf_addc(&b, c);
	}
	buf_addc(&b, '\0');
	return buf_take(&b);
}

/* How far below "/" a path ends that begins at "depth". */
static int walk(int depth, const char *path)
{
	struct span rest = span_str(path), part;
	bool more = true;

	if (*path == '/')
		depth = 0;
	while (more && depth != DEPTH_UNKNOWN) {
		more = span_cut(&rest, '/', &part);
		if (span_eq(part, "..") && depth > 0)
			depth--;
		else if (part.n && !span_eq(part, ".") && !span_eq(part, ".."))
			depth++;
	}
	return depth;
}

/* --- instructions --- */

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

/* An archive of an ADD to "/". */
static int take_source(struct reader *rd, struct span line, char *source, bool open,
		       struct varve_err *e)
{
	struct dockerfile_add *d = rd->d;
	char **more;
	size_t skip = strspn(source, "/");

	/* What comes over the network is put there as it is, and not unpacked. */
	if (strstr(source, "://") || !strncmp(source, "git@", 4)) {
		note_lost(d, line);
		if (!d->remote)
			d->remote = strdup(source);
		return d->remote ? 0 : varve_fail_oom(e);
	}
	if (open || strpbrk(source, "*?["))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile adds \"%s\": variables and patterns need a build",
				  TEXT_SAFE(source));
	if (d->n_sources == SOURCES_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "the Dockerfile adds more than %u archives",
				  SOURCES_MAX);
	more = reallocarray(d->sources, d->n_sources + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	d->sources = more;
	/* "/x" is x of the directory that is built. */
	d->sources[d->n_sources] = strdup(source + skip);
	return d->sources[d->n_sources++] ? 0 : varve_fail_oom(e);
}

struct words {
	char *text[SOURCES_MAX + 1];
	bool open[SOURCES_MAX + 1];    /* has a variable */
	bool heredoc[SOURCES_MAX + 1]; /* a here-document, no file */
	size_t n;
};

static void words_done(struct words *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->text[i]);
}

static bool heredoc_parse(struct span word, char escape, struct heredoc *ret);

static int add_word(struct words *w, struct span raw, char escape, struct varve_err *e)
{
	struct heredoc h = {0};

	if (w->n == VARVE_ARRAY_SIZE(w->text))
		return varve_fail(e, VARVE_E_LIMIT, "an ADD line of more than %u words",
				  SOURCES_MAX);
	w->open[w->n] = false;
	w->heredoc[w->n] = heredoc_parse(raw, escape, &h);
	free(h.end);
	w->text[w->n] = unquote(raw, escape, &w->open[w->n]);
	return w->text[w->n++] ? 0 : varve_fail_oom(e);
}

/* The words of the JSON form or of the shell form. */
static int split_words(struct words *w, struct span args, char escape, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	struct span word;
	int r = 0;

	args = span_trim(args);
	if (args.n && args.p[0] == '[' &&
	    json_parse(&j, args.p, args.n, DOCKERFILE_MAX, NULL) == 0) {
		for (const json *it = json_first(j); it && r == 0; it = json_next(it))
			r = add_word(w, span_str(json_str(it) ? json_str(it) : ""), escape, e);
		return r;
	}
	while (r == 0 && next_word(&args, escape, &word))
		r = add_word(w, word, escape, e);
	return r;
}

/* Options that do not change what an archive of the directory becomes. */
static bool harmless(struct span flag)
{
	return span_starts(flag, "--link") || span_starts(flag, "--keep-git-dir") ||
	       span_eq(flag, "--unpack") || span_eq(flag, "--unpack=true");
}

static int take_add(struct reader *rd, struct span line, struct span args, struct varve_err *e)
{
	VARVE_CLEANUP(words_done) struct words w = {0};
	struct span word, rest = args, flag = {0};
	bool packed = false;
	int r;

	while (next_word(&rest, rd->escape, &word) && span_starts(word, "--")) {
		args = rest;
		packed |= span_eq_nocase(word, "--unpack=false");
		if (!flag.n && !harmless(word))
			flag = word;
	}
	r = split_words(&w, args, rd->escape, e);
	if (r < 0)
		return r;
	if (packed || w.n < 2 || w.open[w.n - 1] || walk(rd->depth, w.text[w.n - 1]) != 0) {
		note_lost(rd->d, line);
		return 0;
	}
	if (flag.n) {
		VARVE_FREE char *text = span_dup(flag);

		return !text ? varve_fail_oom(e)
			     : varve_fail(e, VARVE_E_UNSUPPORTED,
					  "the Dockerfile adds \"%s\" with %s, which needs a build",
					  TEXT_SAFE(w.text[0]), TEXT_SAFE(text));
	}
	for (size_t i = 0; r == 0 && i + 1 < w.n; i++)
		if (w.heredoc[i])
			note_lost(rd->d, line);
		else
			r = take_source(rd, line, w.text[i], w.open[i], e);
	return r;
}

static int take_from(struct reader *rd, struct span args, struct varve_err *e)
{
	struct span word;

	dockerfile_add_done(rd->d);
	rd->depth = 0;
	while (next_word(&args, rd->escape, &word) && span_starts(word, "--"))
		;
	if (!word.n || span_eq(word, "scratch"))
		return 0;
	rd->d->base = span_dup(word);
	return rd->d->base ? 0 : varve_fail_oom(e);
}

static int take_workdir(struct reader *rd, struct span args, struct varve_err *e)
{
	bool open = false;
	VARVE_FREE char *path = unquote(span_trim(args), rd->escape, &open);

	if (!path)
		return varve_fail_oom(e);
	rd->depth = open ? DEPTH_UNKNOWN : walk(rd->depth, path);
	return 0;
}

static int take_instruction(struct reader *rd, struct span line, struct varve_err *e)
{
	struct span rest = line, word;

	/* An archive that is not taken is a difference only in the stage that counts. */
	if (!next_word(&rest, rd->escape, &word))
		return 0;
	if (span_eq_nocase(word, "FROM"))
		return take_from(rd, rest, e);
	if (span_eq_nocase(word, "WORKDIR"))
		return take_workdir(rd, rest, e);
	if (span_eq_nocase(word, "RUN") || span_eq_nocase(word, "COPY"))
		note_lost(rd->d, line);
	return span_eq_nocase(word, "ADD") ? take_add(rd, line, rest, e) : 0;
}

/* --- here-documents --- */

/* "[N]<<[-]NAME" as a word of its own; a shift, a quoted text and "<<<" are none. */
static bool heredoc_parse(struct span word, char escape, struct heredoc *ret)
{
	bool open = false;

	while (word.n && word.p[0] >= '0' && word.p[0] <= '9')
		word = span_of(word.p + 1, word.n - 1);
	if (!span_starts(word, "<<"))
		return false;
	word = span_of(word.p + 2, word.n - 2);
	ret->tabs = word.n && word.p[0] == '-';
	if (ret->tabs)
		word = span_of(word.p + 1, word.n - 1);
	if (!word.n || memchr(word.p, '<', word.n))
		return false;
	ret->end = unquote(word, escape, &open);
	return ret->end != NULL;
}

/* Behind the body of one here-document. */
static int skip_body(struct reader *rd, const struct heredoc *h, struct varve_err *e)
{
	struct span line;
	bool more = rd->text.n > 0;

	while (more) {
		more = span_cut(&rd->text, '\n', &line);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		while (h->tabs && line.n && line.p[0] == '\t')
			line = span_of(line.p + 1, line.n - 1);
		if (span_eq(line, h->end))
			return 0;
	}
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "the Dockerfile has a here-document \"%s\" without an end",
			  TEXT_SAFE(h->end));
}

/* The bodies of all here-documents of a line stand behind it, in their order. */
static int skip_bodies(struct reader *rd, struct span line, struct varve_err *e)
{
	struct span word, rest = line;
	unsigned n = 0;
	int r = 0;

	if (!next_word(&rest, rd->escape, &word))
		return 0;
	if (span_eq_nocase(word, "ONBUILD") && !next_word(&rest, rd->escape, &word))
		return 0;
	if (!span_eq_nocase(word, "RUN") && !span_eq_nocase(word, "COPY") &&
	    !span_eq_nocase(word, "ADD"))
		return 0;
	while (r == 0 && next_word(&rest, rd->escape, &word)) {
		struct heredoc h = {0};

		if (!heredoc_parse(word, rd->escape, &h))
			continue;
		r = n++ < HEREDOCS_MAX
			    ? skip_body(rd, &h, e)
			    : varve_fail(e, VARVE_E_LIMIT,
					 "a line of the Dockerfile has more than %u here-documents",
					 HEREDOCS_MAX);
		free(h.end);
	}
	return r;
}

/* --- lines --- */

/* "# NAME=VALUE" lines at the top; of them only escape changes how the rest is read. */
static void read_directives(struct reader *rd)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct span line, name, value, rest;
	bool more = true;

	if (span_starts(rd->text, bom))
		rd->text = span_of(rd->text.p + 3, rd->text.n - 3);
	rest = rd->text;
	while (more) {
		more = span_cut(&rest, '\n', &line);
		value = span_trim(line);
		if (!value.n || value.p[0] != '#')
			return;
		value = span_of(value.p + 1, value.n - 1);
		if (!span_cut(&value, '=', &name))
			return;
		name = span_trim(name);
		value = span_trim(value);
		for (size_t i = 0; i < name.n; i++)
			if (strchr(BLANKS, name.p[i]))
				return;
		if (span_eq_nocase(name, "escape") && value.n == 1 &&
		    (value.p[0] == '`' || value.p[0] == '\\'))
			rd->escape = value.p[0];
	}
}

/* Does the line go on in the next one? Then without what says so. */
static bool continued(struct span *line, char escape)
{
	size_t n = line->n;

	while (n && (line->p[n - 1] == ' ' || line->p[n - 1] == '\t'))
		n--;
	if (!n || line->p[n - 1] != escape || (n > 1 && line->p[n - 2] == escape))
		return false;
	line->n = n - 1;
	return true;
}

/* Join continued lines, drop comment lines (also between continued ones) and here-documents'
 * bodies. */
static int each_instruction(struct reader *rd, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf joined = {0};
	struct span line;
	bool more = true;
	int r;

	buf_init(&joined, DOCKERFILE_MAX + 1);
	while (more) {
		struct span t;
		bool on;

		more = span_cut(&rd->text, '\n', &line);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		t = span_trim(line);
		if (t.n && t.p[0] == '#')
			continue;
		if (!t.n && joined.n && more)
			continue; /* an empty continuation line is dropped by docker too */
		on = continued(&line, rd->escape);
		buf_add(&joined, line.p, line.n);
		if (buf_error(&joined))
			return varve_fail_oom(e);
		if (on && more)
			continue;
		if (!more)
			rd->text = span_of("", 0);
		line = span_trim(span_of(joined.p, joined.n));
		r = take_instruction(rd, line, e);
		if (r == 0)
			r = skip_bodies(rd, line, e);
		if (r < 0)
			return r;
		more = more && rd->text.n;
		buf_reset(&joined);
	}
	line = span_trim(span_of(joined.p, joined.n));
	return take_instruction(rd, line, e);
}

static int judge(const struct dockerfile_add *d, struct varve_err *e)
{
	if (d->base)
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"the Dockerfile builds on the image \"%s\"; it is not a root file "
			"system by itself",
			TEXT_SAFE(d->base));
	if (!d->n_sources && d->remote)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile adds \"%s\", which is no file of the repository",
				  TEXT_SAFE(d->remote));
	if (!d->n_sources)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "the Dockerfile has no line \"ADD FILE /\"%s%s",
				  d->n_lost ? "; the image is made by: " : "", d->first_lost);
	return 0;
}

int dockerfile_parse(struct dockerfile_add *ret, const void *p, size_t n, struct varve_err *e)
{
	VARVE_CLEANUP(dockerfile_add_done) struct dockerfile_add d = {0};
	struct reader rd = {.d = &d, .text = span_of(p, n), .escape = '\\'};
	int r;

	if (n > DOCKERFILE_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "Dockerfile: larger than %u bytes",
				  DOCKERFILE_MAX);
	if (!text_utf8_valid(p, n) || memchr(p, '\0', n))
		return varve_fail(e, VARVE_E_FORMAT, "Dockerfile: not UTF-8 text");
	read_directives(&rd);
	r = each_instruction(&rd, e);
	if (r == 0)
		r = judge(&d, e);
	if (r < 0)
		return r;
	*ret = d;
	d = (struct dockerfile_add){0};
	return 0;
}
