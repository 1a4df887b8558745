/* SPDX-License-Identifier: Apache-2.0 */
/* xz and bzip2 by libarchive, which gets exactly one filter and no archive format. */
#include "materialize/codec/inflate_codec.h"

#include <archive.h>
#include <pthread.h>
#include <stdlib.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/library.h"

/* Every function of libarchive that is used. */
#define FUNCTIONS(X)                                                                               \
	X(error_string)                                                                            \
	X(filter_bytes)                                                                            \
	X(read_data)                                                                               \
	X(read_free)                                                                               \
	X(read_new)                                                                                \
	X(read_next_header)                                                                        \
	X(read_open)                                                                               \
	X(read_support_filter_bzip2)                                                               \
	X(read_support_filter_xz)                                                                  \
	X(read_support_format_raw)                                                                 \
	X(set_error)

static struct {
#define FIELD(name) __typeof__(&archive_##name) name;
	FUNCTIONS(FIELD)
#undef FIELD
} la;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct varve_err load_error;
static int load_result;

static void load(void)
{
#ifdef VARVE_LAZY_LIBRARIES
#define ROW(name) {"archive_" #name, &la.name},
	static const struct library_function rows[] = {FUNCTIONS(ROW)};
#undef ROW

	load_result = library_load("libarchive.so.13", rows, VARVE_ARRAY_SIZE(rows), &load_error);
#else
#define SET(name) la.name = archive_##name;
	FUNCTIONS(SET)
#undef SET
#endif
}

struct archive_state {
	struct archive *a;
	struct inflate_input *in;
	struct varve_err *e; /* where a failing source reports */
	int source_error;
	bool open;
	bool end;
	const uint8_t *window; /* the last that libarchive was given */
	size_t window_n;
	uint64_t given;
	unsigned turn; /* which buffer */
	uint8_t out[2][INFLATE_WINDOW];
};

static int state_new(void **ret, bool xz, struct varve_err *e)
{
	struct archive_state *s;

	(void)pthread_once(&once, load);
	if (load_result < 0) {
		if (e)
			*e = load_error;
		return load_result;
	}
	s = malloc(sizeof(*s));
	if (!s)
		return varve_fail_oom(e);
	s->source_error = 0;
	s->open = s->end = false;
	s->window_n = 0;
	s->turn = 0;
	s->given = 0;
	s->a = la.read_new();
	if (!s->a ||
	    (xz ? la.read_support_filter_xz : la.read_support_filter_bzip2)(s->a) != ARCHIVE_OK ||
	    la.read_support_format_raw(s->a) != ARCHIVE_OK) {
		(void)la.read_free(s->a);
		free(s);
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "libarchive was built without this compression");
	}
	*ret = s;
	return 0;
}

static int xz_open(void **ret, struct varve_err *e)
{
	return state_new(ret, true, e);
}

static int bzip2_open(void **ret, struct varve_err *e)
{
	return state_new(ret, false, e);
}

static void archive_state_free(void *state)
{
	struct archive_state *s = state;

	(void)la.read_free(s->a);
	free(s);
}

static la_ssize_t read_cb(struct archive *a, void *user, const void **ret)
{
	struct archive_state *s = user;
	size_t n;

	if (s->in->n == 0) {
		s->source_error = inflate_refill(s->in, s->e);
		if (s->source_error < 0) {
			la.set_error(a, EIO, "source");
			return -1;
		}
	}
	*ret = s->window = s->in->p;
	n = s->window_n = s->in->n;
	s->given += n;
	s->in->n = 0;
	return (la_ssize_t)n;
}

static int fail(struct archive_state *s, struct varve_err *e)
{
	const char *why = la.error_string(s->a);

	if (s->source_error < 0)
		return s->source_error;
	return varve_fail(e, VARVE_E_FORMAT,
			  "damaged compressed data, or something else follows behind it: %s",
			  why ? why : "no reason given");
}

/* What libarchive did not use of its last window is behind the end of the stream. */
static void give_back(struct archive_state *s)
{
	la_int64_t used = la.filter_bytes(s->a, -1);
	uint64_t left = used >= 0 && (uint64_t)used < s->given ? s->given - (uint64_t)used : 0;

	if (!left || left > s->window_n || s->in->n)
		return;
	s->in->p = s->window + s->window_n - left;
	s->in->n = (size_t)left;
}

static int start(struct archive_state *s, struct varve_err *e)
{
	struct archive_entry *entry;
	int r;

	if (la.read_open(s->a, s, NULL, read_cb, NULL) != ARCHIVE_OK)
		return fail(s, e);
	s->open = true;
	r = la.read_next_header(s->a, &entry);
	if (r == ARCHIVE_EOF)
		s->end = true;
	else if (r != ARCHIVE_OK)
		return fail(s, e);
	return 0;
}

static int archive_next(void *state, struct inflate_input *in, const uint8_t **ret, size_t *ret_n,
			struct varve_err *e)
{
	struct archive_state *s = state;
	la_ssize_t n = 0;
	int r;

	s->in = in;
	s->e = e;
	if (!s->open) {
		r = start(s, e);
		if (r < 0)
			return r;
	}
	if (!s->end)
		n = la.read_data(s->a, s->out[s->turn ^= 1], INFLATE_WINDOW);
	if (n < 0)
		return fail(s, e);
	if (n == 0 && !s->end)
		give_back(s);
	s->end = s->end || n == 0;
	*ret = s->out[s->turn];
	*ret_n = (size_t)n;
	return 0;
}

const struct inflate_codec inflate_xz = {VARVE_COMP_XZ, xz_open, archive_state_free, archive_next};
const struct inflate_codec inflate_bzip2 = {VARVE_COMP_BZIP2, bzip2_open, archive_state_free,
					    archive_next};
