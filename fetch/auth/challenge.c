/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate headers (RFC 9110 11.6.1, docs/requirements.md 2.3); pure. */
#include "fetch/auth/challenge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"

#define VALUE_MAX 8192

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_blanks(struct span *s)
{
	while (s->n && (s->p[0] == ' ' || s->p[0] == '\t'))
		*s = span_of(s->p + 1, s->n - 1);
}

/* Blanks and commas: empty list elements are legal. */
static void skip_separators(struct span *s)
{
	while (s->n && (s->p[0] == ' ' || s->p[0] == '\t' || s->p[0] == ','))
		*s = span_of(s->p + 1, s->n - 1);
}

static struct span take_token(struct span *s)
{
	struct span t = span_of(s->p, 0);

	while (t.n < s->n && is_token_char(s->p[t.n]))
		t.n++;
	*s = span_of(s->p + t.n, s->n - t.n);
	return t;
}

/* With the cursor behind the opening quote. False: the quote never ends. */
static bool take_quoted(struct span *s, struct buf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '"') {
			*s = span_of(s->p + i + 1, s->n - i - 1);
			return true;
		}
		if (c == '\\' && i + 1 < s->n)
			c = s->p[++i];
		buf_addc(out, c);
	}
	return false;
}

/*
 * name BWS "=" BWS value. False: the cursor is not at a parameter (it may be at the next scheme),
 * or the value is broken, then *ret_broken.
 */
static bool take_param(struct span *s, struct span *ret_name, struct buf *value, bool *ret_broken)
{
	struct span c = *s, v;

	*ret_name = take_token(&c);
	skip_blanks(&c);
	if (!ret_name->n || !c.n || c.p[0] != '=')
		return false;
	c = span_of(c.p + 1, c.n - 1);
	skip_blanks(&c);
	buf_reset(value);
	if (c.n && c.p[0] == '"') {
		c = span_of(c.p + 1, c.n - 1);
		if (!take_quoted(&c, value)) {
			*ret_broken = true;
			return false;
		}
	} else {
		v = take_token(&c);
		/* Unquoted URLs and scopes are seen: up to the next blank or comma. */
		while (c.n && c.p[0] != ',' && c.p[0] != ' ' && c.p[0] != '\t' && c.p[0] != '"') {
			v.n++;
			c = span_of(c.p + 1, c.n - 1);
		}
		buf_add(value, v.p, v.n);
	}
	*s = c;
	return true;
}

static bool has_control(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 127)
			return true;
	return false;
}

static int store_param(struct challenge *c, struct span name, const struct buf *value)
{
	char **slot = span_eq_nocase(name, "realm")     ? &c->realm
		      : span_eq_nocase(name, "service") ? &c->service
		      : span_eq_nocase(name, "scope")   ? &c->scope
		      : span_eq_nocase(name, "error")   ? &c->error
							: NULL;

	/* The first one counts, as for every repeated parameter that is an error anyway. */
	if (!slot || *slot || has_control(value->p, value->n))
		return 0;
	*slot = span_dup(span_of(value->p, value->n));
	return *slot ? 0 : -ENOMEM;
}

static void free_challenge(struct challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct challenge){0};
}

/* The parameters of one challenge into c; false if the rest of the header is not usable. */
static bool take_params(struct span *s, struct challenge *c, struct buf *value, int *ret_error)
{
	bool broken = false;
	struct span name;

	skip_separators(s);
	while (take_param(s, &name, value, &broken)) {
		*ret_error = store_param(c, name, value);
		if (*ret_error < 0)
			return false;
		skip_separators(s);
	}
	return !broken;
}

/* "Negotiate YII=": a token68 is not a parameter; skip it and its padding. */
static void skip_token68(struct span *s)
{
	struct span c = *s;

	skip_blanks(&c);
	while (c.n && (is_token_char(c.p[0]) || c.p[0] == '/'))
		c = span_of(c.p + 1, c.n - 1);
	while (c.n && c.p[0] == '=')
		c = span_of(c.p + 1, c.n - 1);
	skip_blanks(&c);
	if (!c.n || c.p[0] == ',')
		*s = c;
}

static int take_challenge(struct challenge_list *l, struct span *s, struct buf *value,
			  bool *ret_more)
{
	struct challenge c = {0};
	struct span scheme = take_token(s);
	bool basic = span_eq_nocase(scheme, "basic"), bearer = span_eq_nocase(scheme, "bearer");
	int r = 0;

	*ret_more = false;
	if (!scheme.n)
		return 0;
	if (!basic && !bearer)
		skip_token68(s);
	c.scheme = bearer ? CHALLENGE_BEARER : CHALLENGE_BASIC;
	*ret_more = take_params(s, &c, value, &r);
	if (r == 0 && (basic || bearer) && l->n < CHALLENGE_MAX &&
	    (*ret_more || c.realm || !s->n)) {
		l->items[l->n++] = c;
		return 0;
	}
	free_challenge(&c);
	return r;
}

int challenge_parse(struct challenge_list *ret, struct span header)
{
	VARVE_CLEANUP(buf_done) struct buf value = {0};
	bool more = true;
	int r = 0;

	buf_init(&value, VALUE_MAX);
	while (more && r == 0) {
		skip_separators(&header);
		r = take_challenge(ret, &header, &value, &more);
	}
	return r;
}

const struct challenge *challenge_find(const struct challenge_list *l, enum challenge_scheme scheme)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].scheme == scheme)
			return &l->items[i];
	return NULL;
}

void challenge_done(struct challenge_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_challenge(&l->items[i]);
	l->n = 0;
}
