/* SPDX-License-Identifier: Apache-2.0 */
/* Look a tag up in a parsed library file, with bashbrew's defaults and precedences. */
#include "fetch/official/official_internal.h"

#include <stdio.h>
#include <string.h>

#include "fetch/config/official_path.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

/* <arch>-KEY of the entry or of the defaults, then KEY of the entry or of the defaults. */
static struct span get_value(const struct official_library *l, struct official_paragraph entry,
			     const char *arch, const char *key)
{
	const struct official_field *f = official_find_field(l, entry, arch, key);

	if (!f)
		f = official_find_field(l, l->global, arch, key);
	if (!f || !f->value.n)
		f = official_find_field(l, entry, NULL, key);
	if (!f)
		f = official_find_field(l, l->global, NULL, key);
	return f ? f->value : span_of("", 0);
}

/* A list of the entry; when it has none that of the defaults. */
static struct span get_list(const struct official_library *l, struct official_paragraph entry,
			    const char *key)
{
	const struct official_field *f = official_find_field(l, entry, NULL, key);

	if (!f || !f->value.n)
		f = official_find_field(l, l->global, NULL, key);
	return f ? f->value : span_of("", 0);
}

static bool list_next(struct span *list, struct span *ret)
{
	while (list->n) {
		struct span item;

		if (!span_cut(list, ',', &item))
			*list = span_of("", 0);
		*ret = span_trim(item);
		if (ret->n)
			return true;
	}
	return false;
}

static bool list_has(struct span list, const char *text)
{
	struct span item;

	while (list_next(&list, &item))
		if (span_eq(item, text))
			return true;
	return false;
}

static struct span get_arches(const struct official_library *l, struct official_paragraph entry)
{
	struct span list = get_list(l, entry, "Architectures");

	return list.n ? list : span_str("amd64");
}

int official_library_each(const struct official_library *l, int (*fn)(void *user, const char *tag),
			  void *user)
{
	size_t i;
	int pass, r;

	for (i = 0; i < l->n_entries; i++) {
		for (pass = 0; pass < 2; pass++) {
			struct span list =
				pass ? get_list(l, l->entries[i], "SharedTags")
				     : official_find_field(l, l->entries[i], NULL, "Tags")->value;
			struct span item;
			char tag[256];

			while (list_next(&list, &item)) {
				if (item.n >= sizeof(tag))
					continue; /* no reference can name it */
				memcpy(tag, item.p, item.n);
				tag[item.n] = '\0';
				r = fn(user, tag);
				if (r)
					return r;
			}
		}
	}
	return 0;
}

/* An entry with the tag. Of a tag whose entries all lack the architecture: *ret_other is one. */
static const struct official_paragraph *find_entry(const struct official_library *l,
						   const char *tag, const char *arch,
						   const struct official_paragraph **ret_other)
{
	size_t i;

	*ret_other = NULL;
	for (i = 0; i < l->n_entries; i++)
		if (list_has(official_find_field(l, l->entries[i], NULL, "Tags")->value, tag)) {
			if (list_has(get_arches(l, l->entries[i]), arch))
				return &l->entries[i];
			*ret_other = &l->entries[i];
		}
	for (i = 0; i < l->n_entries; i++)
		if (list_has(get_list(l, l->entries[i], "SharedTags"), tag)) {
			if (list_has(get_arches(l, l->entries[i]), arch))
				return &l->entries[i];
			*ret_other = &l->entries[i];
		}
	return NULL;
}

struct nearest {
	const char *want;
	char tags[3][129];
	unsigned distance[3];
};

static int near_tag(void *user, const char *tag)
{
	struct nearest *n = user;
	unsigned d = text_distance(n->want, tag), i, j;

	for (i = 0; i < 3; i++)
		if (!strcmp(n->tags[i], tag))
			return 0;
	for (i = 0; i < 3 && n->distance[i] <= d; i++)
		;
	if (i == 3 || strlen(tag) >= sizeof(n->tags[0]))
		return 0;
	for (j = 2; j > i; j--) {
		memcpy(n->tags[j], n->tags[j - 1], sizeof(n->tags[j]));
		n->distance[j] = n->distance[j - 1];
	}
	n->distance[i] = d;
	strcpy(n->tags[i], tag);
	return 0;
}

static int fail_no_tag(const struct official_library *l, const char *tag, struct varve_err *e)
{
	struct nearest n = {.want = tag, .distance = {UINT32_MAX, UINT32_MAX, UINT32_MAX}};

	official_library_each(l, near_tag, &n);
	return varve_fail(e, VARVE_E_NOTFOUND,
			  "tag \"%s\": not in the library file; nearest: %s%s%s%s%s",
			  TEXT_SAFE(tag), TEXT_SAFE(n.tags[0]), *n.tags[1] ? ", " : "",
			  TEXT_SAFE(n.tags[1]), *n.tags[2] ? ", " : "", TEXT_SAFE(n.tags[2]));
}

static int fail_no_arch(const struct official_library *l, struct official_paragraph entry,
			const char *tag, const char *arch, struct varve_err *e)
{
	struct span list = get_arches(l, entry);
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, 4096);
	text_escape(&b, list.p, VARVE_MIN(list.n, 500u));
	return varve_fail(e, VARVE_E_NOPLATFORM, "tag \"%s\": not made for %s; made for: %s",
			  TEXT_SAFE(tag), arch, b.p);
}

static int put(char *out, size_t size, struct span v, const char *fallback, const char *key,
	       struct varve_err *e)
{
	size_t i;

	if (!v.n && fallback)
		v = span_str(fallback);
	if (!v.n && fallback == NULL)
		return varve_fail(e, VARVE_E_FORMAT, "library file: the entry has no %s", key);
	if (v.n >= size)
		return varve_fail(e, VARVE_E_LIMIT, "library file: %s is too long", key);
	for (i = 0; i < v.n; i++)
		if ((unsigned char)v.p[i] <= 0x20 || v.p[i] == 0x7f)
			return varve_fail(e, VARVE_E_FORMAT,
					  "library file: %s has blanks or control characters", key);
	memcpy(out, v.p, v.n);
	out[v.n] = '\0';
	return 0;
}

static int put_path(char *out, size_t size, struct span v, const char *fallback, const char *key,
		    struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	int r;

	buf_init(&b, 2048);
	r = official_path_clean(&b, v.n ? v : span_str(fallback), e);
	if (r < 0)
		return varve_wrap(e, r, "library file: %s", key);
	if (b.n >= size)
		return varve_fail(e, VARVE_E_LIMIT, "library file: %s is too long", key);
	memcpy(out, b.p, b.n + 1);
	return 0;
}

static bool is_commit(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return !s[n] && (n == 40 || n == 64);
}

/* A commit or, in the old format, a tag of git: it becomes a part of a URL's path. */
static int check_commit(const struct official_library *l, struct official_place *p,
			struct varve_err *e)
{
	if (is_commit(p->commit))
		return 0;
	if (!l->lines || strstr(p->commit, "..") || p->commit[0] == '/')
		return varve_fail(e, VARVE_E_FORMAT, "library file: \"%s\" is not a commit",
				  TEXT_SAFE(p->commit));
	if ((size_t)snprintf(p->fetch, sizeof(p->fetch), "refs/tags/%s", p->commit) >=
	    sizeof(p->fetch))
		return varve_fail(e, VARVE_E_LIMIT, "library file: GitCommit is too long");
	return 0;
}

int official_library_find(const struct official_library *l, const char *tag, const char *arch,
			  struct official_place *ret, struct varve_err *e)
{
	struct official_place p = {0};
	const struct official_paragraph *en, *other;
	int r;

	if (!l->n_entries)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "image has no supported tags: it was withdrawn from the official "
				  "images");
	en = find_entry(l, tag, arch, &other);
	if (!en)
		return other ? fail_no_arch(l, *other, tag, arch, e) : fail_no_tag(l, tag, e);
	r = put(p.repo, sizeof(p.repo), get_value(l, *en, arch, "GitRepo"), NULL, "GitRepo", e);
	if (r == 0)
		r = put(p.commit, sizeof(p.commit), get_value(l, *en, arch, "GitCommit"), NULL,
			"GitCommit", e);
	if (r == 0)
		r = put(p.fetch, sizeof(p.fetch), get_value(l, *en, arch, "GitFetch"),
			l->lines ? "" : "refs/heads/master", "GitFetch", e);
	if (r == 0)
		r = put(p.builder, sizeof(p.builder), get_value(l, *en, arch, "Builder"), "",
			"Builder", e);
	if (r == 0)
		r = put_path(p.directory, sizeof(p.directory), get_value(l, *en, arch, "Directory"),
			     ".", "Directory", e);
	if (r == 0)
		r = put_path(p.file, sizeof(p.file), get_value(l, *en, arch, "File"), "Dockerfile",
			     "File", e);
	if (r == 0)
		r = check_commit(l, &p, e);
	if (r < 0)
		return varve_wrap(e, r, "tag \"%s\"", TEXT_SAFE(tag));
	*ret = p;
	return 0;
}
