/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming JSON writer. */
#include "store/base/invariant.h"
#include "store/base/json.h"
#include "store/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void jsonw_init(struct jsonw *w, struct buf *b, bool pretty)
{
	*w = (struct jsonw){.b = b, .pretty = pretty};
}

static void new_line(struct jsonw *w)
{
	if (!w->pretty)
		return;
	buf_addc(w->b, '\n');
	for (unsigned i = 0; i < w->depth; i++)
		buf_adds(w->b, "  ");
}

/*
 * Bytes of what is one character in JSON text, taken from p: as it is, or as \uNNNN if it could
 * drive the terminal that shows the document, or as U+FFFD if it is no UTF-8.
 */
static size_t add_character(struct buf *b, const unsigned char *p, size_t n)
{
	bool drives;
	uint32_t code;
	size_t len = text_sequence(p, n, &drives, &code);

	if (!len)
		buf_adds(b, "\xef\xbf\xbd");
	else if (drives)
		buf_printf(b, "\\u%04x", code);
	else
		buf_add(b, p, len);
	return len ? len : 1;
}

static void add_string(struct buf *b, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	buf_addc(b, '"');
	for (size_t i = 0; i < n;) {
		if (p[i] == '"' || p[i] == '\\') {
			buf_addc(b, '\\');
			buf_addc(b, (char)p[i++]);
		} else if (p[i] == '\n') {
			buf_adds(b, "\\n");
			i++;
		} else {
			i += add_character(b, p + i, n - i);
		}
	}
	buf_addc(b, '"');
}

static void begin_value(struct jsonw *w, const char *key)
{
	if (w->need_comma)
		buf_addc(w->b, ',');
	if (w->depth)
		new_line(w);
	if (key) {
		add_string(w->b, key, strlen(key));
		buf_adds(w->b, w->pretty ? ": " : ":");
	}
	w->need_comma = true;
}

static void open_value(struct jsonw *w, const char *key, char bracket)
{
	begin_value(w, key);
	buf_addc(w->b, bracket);
	w->depth++;
	w->need_comma = false;
}

static void close_value(struct jsonw *w, char bracket)
{
	bool had_members = w->need_comma;

	assert(w->depth);
	w->depth--;
	if (had_members)
		new_line(w);
	buf_addc(w->b, bracket);
	w->need_comma = true;
}

void jsonw_object(struct jsonw *w, const char *key)
{
	open_value(w, key, '{');
}

void jsonw_end_object(struct jsonw *w)
{
	close_value(w, '}');
}

void jsonw_array(struct jsonw *w, const char *key)
{
	open_value(w, key, '[');
}

void jsonw_end_array(struct jsonw *w)
{
	close_value(w, ']');
}

void jsonw_strn(struct jsonw *w, const char *key, const void *p, size_t n)
{
	begin_value(w, key);
	add_string(w->b, p, n);
}

void jsonw_str(struct jsonw *w, const char *key, const char *value)
{
	if (value)
		jsonw_strn(w, key, value, strlen(value));
	else
		jsonw_null(w, key);
}

void varve_json_base64(struct varve_json *w, const char *key, const void *p, size_t n)
{
	begin_value(w, key);
	buf_addc(w->b, '"');
	text_base64_encode(p, n, w->b);
	buf_addc(w->b, '"');
}

void jsonw_u64(struct jsonw *w, const char *key, uint64_t value)
{
	begin_value(w, key);
	buf_printf(w->b, "%" PRIu64, value);
}

void jsonw_i64(struct jsonw *w, const char *key, int64_t value)
{
	begin_value(w, key);
	buf_printf(w->b, "%" PRId64, value);
}

void jsonw_bool(struct jsonw *w, const char *key, bool value)
{
	begin_value(w, key);
	buf_adds(w->b, value ? "true" : "false");
}

void jsonw_null(struct jsonw *w, const char *key)
{
	begin_value(w, key);
	buf_adds(w->b, "null");
}

void jsonw_digest(struct jsonw *w, const char *key, const struct varve_digest *d)
{
	char text[VARVE_DIGEST_STR_MAX];

	if (varve_digest_is_set(d))
		jsonw_str(w, key, varve_digest_str(d, text));
	else
		jsonw_null(w, key);
}

void jsonw_time(struct jsonw *w, const char *key, int64_t seconds)
{
	char text[32];

	jsonw_str(w, key, text_time(seconds, text));
}

void jsonw_node(struct jsonw *w, const char *key, const json *node)
{
	char *text = json_print(node);

	begin_value(w, key);
	/* cJSON prints all but C0 as it is; outside its strings there is nothing but ASCII. */
	if (text)
		for (size_t i = 0, n = strlen(text); i < n;)
			i += add_character(w->b, (const unsigned char *)text + i, n - i);
	else
		w->b->error = -ENOMEM;
	free(text);
}

/* A writer with a buffer of its own, for callers of the library. */
struct own_json {
	struct jsonw w; /* first: struct varve_json * points here */
	struct buf pending, drained;
};

enum { MAX_PENDING = 1 << 30, MAX_DOCUMENT = 64 << 20 };

struct varve_json *varve_json_new(bool pretty)
{
	struct own_json *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	buf_init(&j->pending, MAX_PENDING);
	buf_init(&j->drained, MAX_PENDING);
	jsonw_init(&j->w, &j->pending, pretty);
	return &j->w;
}

void varve_json_free(struct varve_json *w)
{
	struct own_json *j = (struct own_json *)w;

	if (!j)
		return;
	buf_done(&j->pending);
	buf_done(&j->drained);
	free(j);
}

size_t varve_json_pending(const struct varve_json *w)
{
	return w->b->n;
}

const char *varve_json_drain(struct varve_json *w, size_t *ret_n)
{
	struct own_json *j = (struct own_json *)w;
	struct buf text = j->pending;

	if (buf_error(&text))
		return NULL;
	j->pending = j->drained;
	buf_reset(&j->pending);
	j->drained = text;
	*ret_n = text.n;
	return text.p;
}

int varve_json_document(struct varve_json *w, const char *key, const void *p, size_t n,
			struct varve_err *e)
{
	JSON_FREE json *doc = NULL;
	int r = json_parse(&doc, p, n, MAX_DOCUMENT, e);

	if (r == 0)
		jsonw_node(w, key, doc);
	return r;
}
