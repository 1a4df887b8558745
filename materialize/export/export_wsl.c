/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two files that make a tar.gz a distribution for "wsl --install --from-file":
 * /etc/wsl-distribution.conf and /etc/wsl.conf (learn.microsoft.com, "Build a custom Linux
 * distribution for WSL").
 */
#include "materialize/export/export.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/export/export_tree.h"
#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define CONF_MAX   (1u << 20)
#define PASSWD_MAX (16u << 20)
#define ICON_PATH  "usr/share/wsl/icon.ico"

void wsl_files_done(struct wsl_files *f)
{
	buf_done(&f->distribution);
	buf_done(&f->conf);
	free(f->extras);
	f->extras = NULL;
}

static int collect(void *user, const void *p, size_t n)
{
	struct buf *b = user;

	buf_add(b, p, n);
	return buf_error(b);
}

/* A file of the image, empty if it has none. */
static int read_file(struct varve_plan *p, const char *path, struct buf *b, struct varve_err *e)
{
	int r;

	if (plan_lookup(p, path, true) == PLAN_NONE)
		return 0;
	r = varve_plan_cat(p, path, collect, b, e);
	if (buf_error(b))
		return varve_fail(e, VARVE_E_LIMIT, "/%s of the image is too large", path);
	return r;
}

static bool next_line(struct span *rest, struct span *ret)
{
	if (!rest->n)
		return false;
	if (!span_cut(rest, '\n', ret))
		*rest = span_of("", 0);
	return true;
}

/* The uid that passwd gives a name. */
static int find_user(struct varve_plan *p, const char *user, uint64_t *ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct span rest, line, name, field;
	int r;

	buf_init(&b, PASSWD_MAX);
	r = read_file(p, "etc/passwd", &b, e);
	if (r < 0)
		return r;
	rest = span_of(b.p, b.n);
	while (next_line(&rest, &line))
		if (span_cut(&line, ':', &name) && span_eq(name, user) &&
		    span_cut(&line, ':', &field) && span_cut(&line, ':', &field) &&
		    span_u64(field, UINT32_MAX, ret))
			return 0;
	return varve_fail(e, VARVE_E_NOTFOUND, "the image has no user \"%s\" in /etc/passwd",
			  TEXT_SAFE(user));
}

static bool is_section(struct span line)
{
	line = span_trim(line);
	return line.n > 1 && line.p[0] == '[';
}

static bool is_key(struct span line, const char *key)
{
	struct span k;

	return span_cut(&line, '=', &k) && span_eq_nocase(span_trim(k), key);
}

/*
 * The text with key=value in [section]: in the place of an old value, else at the section's
 * head, else in a section of its own at the end.
 */
static void set_value(struct buf *b, const char *section, const char *key, const char *value)
{
	VARVE_CLEANUP(buf_done) struct buf old = {0};
	bool inside = false, done = false;
	struct span rest, line;
	char head[64];

	buf_init(&old, CONF_MAX);
	buf_add(&old, b->p, b->n);
	rest = span_of(old.p, old.n);
	(void)snprintf(head, sizeof(head), "[%s]", section);
	buf_reset(b);
	while (next_line(&rest, &line)) {
		if (is_section(line)) {
			inside = span_eq_nocase(span_trim(line), head);
			buf_add(b, line.p, line.n);
			buf_addc(b, '\n');
			if (inside && !done)
				buf_printf(b, "%s=%s\n", key, value);
			done = done || inside;
			continue;
		}
		if (inside && is_key(line, key))
			continue;
		buf_add(b, line.p, line.n);
		buf_addc(b, '\n');
	}
	if (!done)
		buf_printf(b, "%s\n%s=%s\n", head, key, value);
}

static int check_text(const char *what, const char *text, struct varve_err *e)
{
	const char *p;

	for (p = text; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return varve_fail(e, VARVE_E_USAGE, "%s: has control characters", what);
	return 0;
}

static int make_texts(struct wsl_files *f, struct varve_plan *p, const struct varve_wsl_options *o,
		      struct varve_err *e)
{
	char text[32];
	uint64_t uid;
	int r = read_file(p, "etc/wsl-distribution.conf", &f->distribution, e);

	if (r == 0)
		r = read_file(p, "etc/wsl.conf", &f->conf, e);
	if (r == 0 && o->user) {
		r = find_user(p, o->user, &uid, e);
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)uid);
		set_value(&f->distribution, "oobe", "defaultUid", text);
		set_value(&f->conf, "user", "default", o->user);
	}
	if (o->name)
		set_value(&f->distribution, "oobe", "defaultName", o->name);
	if (o->icon)
		set_value(&f->distribution, "shortcut", "icon", "/" ICON_PATH);
	if (o->systemd >= 0)
		set_value(&f->conf, "boot", "systemd", o->systemd ? "true" : "false");
	return r == 0 && (buf_error(&f->distribution) || buf_error(&f->conf))
		       ? varve_fail(e, VARVE_E_LIMIT, "the configuration for WSL is too large")
		       : r;
}

int wsl_files_make(struct wsl_files *ret, struct varve_plan *p, const struct varve_wsl_options *o,
		   struct varve_err *e)
{
	static const struct varve_wsl_options none = {.systemd = -1};
	struct wsl_files f = {0};
	int64_t mtime = p->inodes[p->names[PLAN_ROOT].inode].mtime;
	int r;

	o = o ? o : &none;
	buf_init(&f.distribution, CONF_MAX);
	buf_init(&f.conf, CONF_MAX);
	r = check_text("the name of the distribution", o->name, e);
	if (r == 0)
		r = make_texts(&f, p, o, e);
	if (r == 0) {
		f.extras = calloc(3, sizeof(*f.extras));
		if (!f.extras)
			r = varve_fail_oom(e);
	}
	if (r < 0) {
		wsl_files_done(&f);
		return r;
	}
	*ret = f; /* before pointers into its buffers are taken */
	ret->extras[ret->n++] = (struct export_extra){
		"etc/wsl-distribution.conf", ret->distribution.p, ret->distribution.n, mtime};
	if (ret->conf.n)
		ret->extras[ret->n++] =
			(struct export_extra){"etc/wsl.conf", ret->conf.p, ret->conf.n, mtime};
	if (o->icon)
		ret->extras[ret->n++] =
			(struct export_extra){ICON_PATH, o->icon, o->icon_size, mtime};
	return 0;
}
