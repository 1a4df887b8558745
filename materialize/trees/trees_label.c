/* SPDX-License-Identifier: Apache-2.0 */
/* What a tree is called: labels in directory names, and labels of trees that others made
 * (docs/from-wsl-distribution-switcher.md, "Names and labels"). */
#include "materialize/trees/trees.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define RELEASE_MAX       (64u << 10)
#define RELEASE_FILES_MAX 32u

int label_check(const char *label, struct varve_err *e)
{
	size_t n = strlen(label);

	if (!n)
		return varve_fail(e, VARVE_E_USAGE, "the label is empty");
	if (n > TREE_LABEL_MAX)
		return varve_fail(
			e, VARVE_E_USAGE,
			"label %s: %zu bytes, at most %u are possible; choose a shorter one "
			"with --name",
			TEXT_SAFE(label), n, TREE_LABEL_MAX);
	if (label[0] == '.' || label[0] == '-')
		return varve_fail(e, VARVE_E_USAGE, "label %s: must not begin with \"%c\"",
				  TEXT_SAFE(label), label[0]);
	for (size_t i = 0; i < n; i++)
		if (label[i] == '/' || (unsigned char)label[i] < 0x20 || label[i] == 0x7f)
			return varve_fail(
				e, VARVE_E_USAGE,
				"label %s: \"/\" and control characters cannot be part of it",
				TEXT_SAFE(label));
	return 0;
}

/* ".rootfs_<label><infix><rest>": the last infix counts, a label may contain one itself. */
static bool parse_hidden(const char *p, const char *infix, char label[256], const char **ret_rest)
{
	const char *at = NULL;

	for (const char *q = strstr(p, infix); q; q = strstr(q + 1, infix))
		at = q;
	if (!at || at == p || (size_t)(at - p) > TREE_LABEL_MAX)
		return false;
	(void)snprintf(label, 256, "%.*s", (int)(at - p), p);
	*ret_rest = at + strlen(infix);
	return true;
}

bool label_from_directory(const char *directory, enum tree_kind *ret_kind, char label[256],
			  uint64_t *ret_generation)
{
	static const char prefix[] = "rootfs_";
	const char *rest;
	const char *p;

	*ret_generation = 0;
	label[0] = '\0';
	if (!strcmp(directory, TREE_ACTIVE_NAME)) {
		*ret_kind = TREE_ACTIVE;
		return true;
	}
	if (!strncmp(directory, prefix, strlen(prefix)) && directory[strlen(prefix)]) {
		*ret_kind = TREE_NAMED;
		(void)snprintf(label, 256, "%s", directory + strlen(prefix));
		return true;
	}
	if (directory[0] != '.' || strncmp(directory + 1, prefix, strlen(prefix)) != 0)
		return false;
	p = directory + 1 + strlen(prefix);
	if (parse_hidden(p, ".old.", label, &rest) &&
	    span_u64(span_str(rest), UINT64_MAX, ret_generation)) {
		*ret_kind = TREE_PREVIOUS;
		return true;
	}
	if (parse_hidden(p, ".new.", label, &rest) && strlen(rest) == 16) {
		*ret_kind = TREE_STAGING;
		return true;
	}
	if (parse_hidden(p, ".del.", label, &rest) && strlen(rest) == 16) {
		*ret_kind = TREE_DELETED;
		return true;
	}
	label[0] = '\0';
	return false;
}

/* A small regular file as seen from inside the tree.
 * A FIFO or a device there must not hold us up. */
static int read_in_tree(int rootfd, const char *path, struct buf *b)
{
	VARVE_CLOSE int fd =
		fsx_open_in_root(rootfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	struct stat st;

	buf_reset(b);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return -1;
	return fsx_read_file(fd, NULL, b, NULL);
}

/* Text of an image, for use as a label: false if it cannot be one. */
static bool take_label(struct span s, char label[256])
{
	s = span_trim(s);
	if (!s.n || s.n > TREE_LABEL_MAX)
		return false;
	(void)snprintf(label, 256, "%.*s", (int)s.n, s.p);
	if (strlen(label) == s.n && !label_check(label, NULL))
		return true;
	label[0] = '\0';
	return false;
}

struct release {
	char id[64], distrib_id[64], name[64];
	char codename[64], distrib_release[64], version_id[64];
};

static void keep_value(char out[64], struct span v)
{
	size_t n = 0;

	for (size_t i = 0; i < v.n && n < 63; i++)
		if (v.p[i] != '"' && v.p[i] != '\'')
			out[n++] = (char)tolower((unsigned char)v.p[i]);
	out[n] = '\0';
}

static void read_release(struct release *r, struct span text)
{
	const struct {
		const char *key;
		char *out;
	} keys[] = {
		{"ID", r->id},
		{"DISTRIB_ID", r->distrib_id},
		{"NAME", r->name},
		{"DISTRIB_CODENAME", r->codename},
		{"DISTRIB_RELEASE", r->distrib_release},
		{"VERSION_ID", r->version_id},
	};

	while (text.n) {
		struct span line, key;

		(void)span_cut(&text, '\n', &line);
		if (!span_cut(&line, '=', &key))
			continue;
		for (size_t i = 0; i < VARVE_ARRAY_SIZE(keys); i++)
			if (span_eq_nocase(span_trim(key), keys[i].key))
				keep_value(keys[i].out, span_trim(line));
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All files of one directory of the tree that match, in byte order, so that the last line that
 * counts is the same everywhere. */
static void read_releases(int rootfd, const char *dir, const char *pattern, struct release *out)
{
	VARVE_CLOSEDIR DIR *d = NULL;
	char *names[RELEASE_FILES_MAX];
	unsigned n = 0;
	struct dirent *de;
	struct buf text;
	int fd = fsx_open_in_root(rootfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return;
	}
	while (n < RELEASE_FILES_MAX && (de = readdir(d)))
		if (!fnmatch(pattern, de->d_name, 0)) {
			names[n] = strdup(de->d_name);
			n += names[n] != NULL;
		}
	qsort(names, n, sizeof(*names), by_name);
	buf_init(&text, RELEASE_MAX);
	for (unsigned i = 0; i < n; i++) {
		char path[512];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (!read_in_tree(rootfd, path, &text))
			read_release(out, span_of(text.p, text.n));
		free(names[i]);
	}
	buf_done(&text);
}

void label_from_tree(int rootfd, char label[256])
{
	struct release r = {0};
	const char *name, *version;
	char both[160];
	struct buf b;

	label[0] = '\0';
	buf_init(&b, 4096);
	if (!read_in_tree(rootfd, ".switch_label", &b)) {
		struct span text = span_of(b.p, b.n), line;

		(void)span_cut(&text, '\n', &line);
		(void)take_label(line, label);
	}
	buf_done(&b);
	if (label[0])
		return;
	read_releases(rootfd, "etc", "*release", &r);
	read_releases(rootfd, "usr/lib", "os-release*", &r);
	name = r.id[0] ? r.id : r.distrib_id[0] ? r.distrib_id : r.name;
	version = r.codename[0]          ? r.codename
		  : r.distrib_release[0] ? r.distrib_release
					 : r.version_id;
	if (!name[0])
		return;
	(void)snprintf(both, sizeof(both), "%s%s%s", name, version[0] ? "_" : "", version);
	(void)take_label(span_str(both), label);
}
