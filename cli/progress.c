/* SPDX-License-Identifier: Apache-2.0 */
/* Shows the library's progress events: a redrawn block, plain lines, or NDJSON. */
#include "cli/progress.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/rate.h"

enum { MAX_ITEMS = 64, MAX_SHOWN = 8, OBJECT_MAX = 160 };
/* Plain lines: small things that are done at once are not told; others every ten seconds. */
enum { QUIET_MS = 1000, QUIET_BYTES = 65536, SIGN_OF_LIFE_MS = 10000 };

/* One piece of work that is going on. */
struct item {
	bool used;
	enum varve_stage stage;
	char object[OBJECT_MAX];
	uint64_t done, total, resumed;
	struct rate rate;
	uint64_t told_ms; /* when the last line was written */
	uint64_t began_ms;
};

static struct {
	pthread_mutex_t lock;
	enum progress_mode mode; /* never AUTO */
	bool block;              /* redraw a block */
	struct item items[MAX_ITEMS];
	unsigned lines; /* that the block has on the screen */
	uint64_t drawn_ms;
} p = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
	const char *name, *doing;
	bool bytes;
} stages[] = {
	[VARVE_STAGE_RESOLVE] = {"resolve", "resolving", false},
	[VARVE_STAGE_DOWNLOAD] = {"download", "download", true},
	[VARVE_STAGE_READ] = {"read", "reading", true},
	[VARVE_STAGE_WAIT] = {"wait", "other pull", true},
	[VARVE_STAGE_PLAN] = {"plan", "planning", false},
	[VARVE_STAGE_WRITE] = {"write", "writing", true},
	[VARVE_STAGE_SYNC] = {"sync", "to disk", false},
	[VARVE_STAGE_HOOK] = {"hook", "hook", false},
	[VARVE_STAGE_DELETE] = {"delete", "deleting", false},
	[VARVE_STAGE_CHECK] = {"check", "checking", true},
	[VARVE_STAGE_GC] = {"gc", "gc", false},
	[VARVE_STAGE_UPLOAD] = {"upload", "upload", true},
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Finds the item of an event, or takes a free one; NULL when there are too many at once. */
static struct item *item_of(const struct varve_progress *ev, bool *ret_new)
{
	const char *object = ev->object ? ev->object : "";
	struct item *vacant = NULL;

	*ret_new = false;
	for (size_t i = 0; i < MAX_ITEMS; i++) {
		struct item *it = &p.items[i];

		if (!it->used && !vacant)
			vacant = it;
		if (it->used && it->stage == ev->stage &&
		    strncmp(it->object, object, OBJECT_MAX - 1) == 0)
			return it;
	}
	if (!vacant)
		return NULL;
	*vacant = (struct item){.used = true, .stage = ev->stage, .began_ms = now_ms()};
	vacant->told_ms = vacant->began_ms;
	(void)snprintf(vacant->object, sizeof(vacant->object), "%s", object);
	rate_begin(&vacant->rate, vacant->began_ms, ev->done);
	*ret_new = true;
	return vacant;
}

/* "sha256:0123456789abcdef…" -> its first 12 digits; other text made safe and cut. */
static const char *short_object(const char *object, char buf[64])
{
	struct varve_digest d;

	if (varve_digest_parse(&d, object) == 0)
		return DIGEST_TEXT(&d, false)[0] ? strcpy(buf, DIGEST_TEXT(&d, false)) : buf;
	return varve_text_escape_str(object, buf, 40);
}

/* --- the block on a terminal --- */

static void erase_block(void)
{
	if (p.lines)
		(void)fprintf(stderr, "\033[%uA\r\033[J", p.lines);
	p.lines = 0;
}

static void print_item(const struct item *it, unsigned width)
{
	char line[256], object[64], left[32];
	uint64_t rate = rate_per_second(&it->rate);
	size_t n;

	n = (size_t)snprintf(line, sizeof(line), "%-10s %-12s", stages[it->stage].doing,
			     short_object(it->object, object));
	if (stages[it->stage].bytes && it->total)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %3u%% %9s of %-9s",
				      rate_percent(it->done, it->total), VARVE_TEXT_SIZE(it->done),
				      VARVE_TEXT_SIZE(it->total));
	else if (stages[it->stage].bytes)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %9s",
				      VARVE_TEXT_SIZE(it->done));
	else if (it->total)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %" PRIu64 " of %" PRIu64,
				      it->done, it->total);
	else if (it->done)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %" PRIu64, it->done);
	if (stages[it->stage].bytes && rate)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %9s/s  %s",
				      VARVE_TEXT_SIZE(rate),
				      rate_left(&it->rate, it->done, it->total, left));
	if (n > width)
		n = width;
	(void)fprintf(stderr, "%.*s\033[K\n", (int)n, line);
	p.lines++;
}

static void draw_block(void)
{
	struct winsize ws = {0};
	unsigned width = 80, rows = 24, shown = 0, more = 0;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20) {
		width = ws.ws_col;
		rows = ws.ws_row > 3 ? ws.ws_row : 3;
	}
	erase_block();
	for (size_t i = 0; i < MAX_ITEMS; i++) {
		if (!p.items[i].used)
			continue;
		if (shown < MAX_SHOWN && shown + 2 < rows) {
			print_item(&p.items[i], width - 1);
			shown++;
		} else {
			more++;
		}
	}
	if (more) {
		(void)fprintf(stderr, "and %u more\033[K\n", more);
		p.lines++;
	}
	(void)fflush(stderr);
}

/* --- plain lines: one when it is done, and a sign of life before that when it takes long --- */

static void plain_line(struct item *it, bool finished, uint64_t now)
{
	char object[64], left[32];
	uint64_t ms = now - it->began_ms;
	bool whole = it->done == it->total || it->total == 0;

	if (!stages[it->stage].bytes || (finished ? ms < QUIET_MS && it->done < QUIET_BYTES
						  : now - it->told_ms < SIGN_OF_LIFE_MS))
		return;
	it->told_ms = now;
	(void)fprintf(stderr, "%s%s%s: ", stages[it->stage].doing, it->object[0] ? " " : "",
		      short_object(it->object, object));
	if (finished)
		(void)fprintf(stderr, "%s%s%s in %" PRIu64 ".%" PRIu64 " s\n",
			      VARVE_TEXT_SIZE(it->done), whole ? "" : " of ",
			      whole ? "" : VARVE_TEXT_SIZE(it->total), ms / 1000, ms % 1000 / 100);
	else
		(void)fprintf(stderr, "%s of %s, %s/s, %s\n", VARVE_TEXT_SIZE(it->done),
			      VARVE_TEXT_SIZE(it->total),
			      VARVE_TEXT_SIZE(rate_per_second(&it->rate)),
			      rate_left(&it->rate, it->done, it->total, left));
}

/* --- one JSON object a line --- */

static void json_line(const struct item *it, bool finished)
{
	struct varve_json *j = varve_json_new(false);
	size_t n;
	const char *text;

	if (!j)
		return;
	varve_json_object(j, NULL);
	varve_json_str(j, "schema", "varve.progress/1");
	varve_json_str(j, "stage", stages[it->stage].name);
	varve_json_str(j, "object", it->object[0] ? it->object : NULL);
	varve_json_u64(j, "done", it->done);
	if (it->total)
		varve_json_u64(j, "total", it->total);
	else
		varve_json_null(j, "total");
	varve_json_u64(j, "resumed", it->resumed);
	varve_json_u64(j, "rate", rate_per_second(&it->rate));
	varve_json_bool(j, "finished", finished);
	varve_json_end_object(j);
	text = varve_json_drain(j, &n);
	if (text)
		(void)fprintf(stderr, "%.*s\n", (int)n, text);
	varve_json_free(j);
}

static void tell(struct item *it, bool began, bool finished, uint64_t now)
{
	if (p.block) {
		if (finished)
			it->used = false;
		/* The first one after a pause is drawn at once, the rest at most ten times a
		 * second. */
		if (now - p.drawn_ms >= 100) {
			p.drawn_ms = now;
			draw_block();
		}
		return;
	}
	if (p.mode == PROGRESS_JSON) {
		if (began || finished || now - it->told_ms >= 100) {
			it->told_ms = now;
			json_line(it, finished);
		}
	} else {
		/* What ends as it begins was there already. */
		if (!began || !finished)
			plain_line(it, finished, now);
	}
	if (finished)
		it->used = false;
}

static void on_progress(void *user, const struct varve_progress *ev)
{
	struct item *it;
	uint64_t now = now_ms();
	bool began;

	(void)user;
	if ((size_t)ev->stage >= ARRAY_SIZE(stages))
		return;
	(void)pthread_mutex_lock(&p.lock);
	it = item_of(ev, &began);
	if (it) {
		it->done = ev->done;
		it->total = ev->total;
		it->resumed = ev->resumed;
		rate_add(&it->rate, now, ev->done);
		tell(it, began, ev->finished, now);
	}
	(void)pthread_mutex_unlock(&p.lock);
}

void progress_hide(void)
{
	(void)pthread_mutex_lock(&p.lock);
	if (p.lines) {
		erase_block();
		(void)fflush(stderr);
	}
	(void)pthread_mutex_unlock(&p.lock);
}

void progress_setup(struct cli *c)
{
	const char *term = getenv("TERM");
	bool terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;

	p.mode = c->g.quiet ? PROGRESS_NONE : c->g.progress;
	p.block = p.mode == PROGRESS_AUTO && terminal;
	if (p.mode == PROGRESS_NONE)
		return;
	c->ctx.progress = on_progress;
}
