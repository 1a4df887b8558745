/* SPDX-License-Identifier: Apache-2.0 */
/* What is said on stderr: errors, warnings, notes, the library's log. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"

static bool colour_on_stderr;

static bool wants_colour(const struct cli *c, int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (c->g.color != COLOR_AUTO)
		return c->g.color == COLOR_ALWAYS;
	return isatty(fd) && !(no && no[0]) && term && strcmp(term, "dumb") != 0;
}

/* "varve: " begins an error and nothing else; one write for one line keeps processes apart. */
static void say(const char *kind, const char *fmt, va_list ap) VARVE_PRINTF(2, 0);

static void say(const char *kind, const char *fmt, va_list ap)
{
	char text[4096];

	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		return;
	progress_hide();
	(void)fprintf(stderr, "%s%s%s%s\n", kind[0] && colour_on_stderr ? "\033[33m" : "", kind,
		      kind[0] && colour_on_stderr ? "\033[0m" : "", text);
}

static void on_log(void *user, enum varve_log_level level, const char *module, const char *message)
{
	static const char *const kinds[] = {"error: ", "warning: ", "", "debug: "};
	const char *only = getenv("VARVE_DEBUG");
	bool debug = level == VARVE_LOG_DEBUG;

	(void)user;
	if (debug && only && only[0] && strcmp(only, "all") != 0 && !strstr(only, module))
		return;
	progress_hide();
	(void)fprintf(stderr, "%s%s%s%s\n", kinds[level], debug ? module : "", debug ? ": " : "",
		      message);
}

void message_setup(struct cli *c)
{
	static const enum varve_log_level levels[] = {VARVE_LOG_WARN, VARVE_LOG_INFO,
						      VARVE_LOG_DEBUG};
	unsigned v = c->g.verbose < 2 ? c->g.verbose : 2;
	const char *debug = getenv("VARVE_DEBUG");

	colour_on_stderr = wants_colour(c, STDERR_FILENO);
	out_set_colour(wants_colour(c, STDOUT_FILENO));
	c->ctx.log = on_log;
	c->ctx.log_level = c->g.quiet ? VARVE_LOG_ERROR : levels[v];
	if (debug && debug[0])
		c->ctx.log_level = VARVE_LOG_DEBUG;
}

/* {"schema":"varve.error/1","error":{"code":…,"errno":…,"message":…,"chain":[…]}} */
static void error_document(const struct varve_err *e, const char *text)
{
	struct varve_json *j = varve_json_new(false);
	size_t n;

	if (!j)
		return;
	varve_json_object(j, NULL);
	varve_json_str(j, "schema", "varve.error/1");
	varve_json_object(j, "error");
	varve_json_str(j, "code", varve_code_slug(e->code));
	if (e->code < VARVE_E_USAGE)
		varve_json_str(j, "errno", strerrorname_np(e->code));
	else
		varve_json_null(j, "errno");
	varve_json_str(j, "message", text);
	varve_json_array(j, "chain");
	for (unsigned i = 0; i < e->n_frames; i++)
		varve_json_str(j, NULL, varve_err_frame(e, i));
	varve_json_end_array(j);
	varve_json_end_object(j);
	varve_json_end_object(j);
	const char *p = varve_json_drain(j, &n);

	if (p) {
		out_write(p, n);
		out_write("\n", 1);
	}
	varve_json_free(j);
}

static bool ends_with(const char *text, const char *word, size_t n)
{
	size_t len = strlen(text);

	return n && len >= n && memcmp(text + len - n, word, n) == 0 &&
	       (len == n || text[len - n - 1] == ' ');
}

/*
 * What inner adds to outer, so that nothing is said twice: "install ./x" over "./x: no such file",
 * "pull debian:sid" over "debian:sid", "install debian" over "install debian_latest". NULL:
 * nothing.
 */
static const char *what_is_new(const char *outer, const char *inner)
{
	size_t n = strcspn(inner, ":"), verb = strcspn(outer, " ");

	if (ends_with(outer, inner, strlen(inner)) ||
	    (outer[verb] == ' ' && strncmp(inner, outer, verb + 1) == 0))
		return NULL;
	/* The object may hold colons itself: "debian:sid: not found". */
	while (inner[n] == ':' && inner[n + 1] != ' ')
		n += 1 + strcspn(inner + n + 1, ":");
	return inner[n] == ':' && ends_with(outer, inner, n) ? inner + n + 2 : inner;
}

const char *message_text(const struct varve_err *e, char *buf, size_t size)
{
	const char *outer = NULL;
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned i = e->n_frames; i-- > 0 && n < size;) {
		const char *frame = varve_err_frame(e, i);
		/* The cause itself is never left out. */
		const char *text = outer ? what_is_new(outer, frame) : frame;

		if (!text && i > 0)
			continue;
		n += (size_t)snprintf(buf + n, size - n, "%s%s", outer ? ": " : "",
				      text ? text : frame);
		outer = frame;
	}
	return buf;
}

void message_error(struct cli *c, const struct varve_err *e)
{
	char text[4096];
	bool usage = e->code == VARVE_E_USAGE;

	message_text(e, text, sizeof(text));
	progress_hide();
	(void)fprintf(stderr, "%svarve:%s %s\n", colour_on_stderr ? "\033[31m" : "",
		      colour_on_stderr ? "\033[0m" : "", text);
	if (usage)
		(void)fprintf(stderr, "see varve help%s%s\n", c->command ? " " : "",
			      c->command ? c->command->name : "");
	if (c->g.json && !out_used())
		error_document(e, text);
}

void message_note(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	if (c->g.quiet)
		return;
	va_start(ap, fmt);
	say("", fmt, ap);
	va_end(ap);
}

void message_warn(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	if (c->g.quiet)
		return;
	va_start(ap, fmt);
	say("warning: ", fmt, ap);
	va_end(ap);
}
