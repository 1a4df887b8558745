/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small file beside each tree that says what it was made from: the record of the store's index
 * can be made again from it. It is named after the record and holds the inode number, so no switch
 * ever has to rename it.
 */
#include "materialize/trees/trees.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/json.h"
#include "store/trust.h"

#define SIDECAR_MAX    (64u << 10)
#define SIDECAR_SUFFIX ".varve.json"
#define SIDECAR_SCHEMA "varve.tree/1"

static void sidecar_name(const char *label, const char *id, char out[256])
{
	(void)snprintf(out, 256, ".rootfs_%s.%s" SIDECAR_SUFFIX, label, id);
}

static bool is_sidecar(const char *name)
{
	size_t n = strlen(name), k = strlen(SIDECAR_SUFFIX);

	return !strncmp(name, ".rootfs_", 8) && n > k && !strcmp(name + n - k, SIDECAR_SUFFIX);
}

int sidecar_write(const struct roots *r, const struct varve_install_record *in, struct varve_err *e)
{
	char name[256], platform[84], number[24];
	struct jsonw w;
	struct buf b;
	int x;

	buf_init(&b, SIDECAR_MAX);
	jsonw_init(&w, &b, true);
	jsonw_object(&w, NULL);
	jsonw_str(&w, "schema", SIDECAR_SCHEMA);
	jsonw_str(&w, "id", in->id);
	jsonw_str(&w, "label", in->label);
	jsonw_str(&w, "reference", in->reference);
	if (varve_digest_is_set(&in->manifest))
		jsonw_digest(&w, "manifest", &in->manifest);
	if (in->platform.os[0])
		jsonw_str(&w, "platform", varve_platform_str(&in->platform, platform));
	/* As text: inode numbers may need more than the
	 * 53 bits that JSON numbers hold everywhere. */
	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)in->ino);
	jsonw_str(&w, "inode", number);
	jsonw_time(&w, "installed_at", in->installed_at);
	jsonw_u64(&w, "made", in->made);
	jsonw_str(&w, "source", in->source);
	jsonw_str(&w, "origin", in->origin);
	jsonw_str(&w, "settings", in->settings);
	if (varve_digest_is_set(&in->target))
		jsonw_digest(&w, "target", &in->target);
	jsonw_str(&w, "varve", varve_version());
	jsonw_end_object(&w);
	buf_addc(&b, '\n');
	sidecar_name(in->label, in->id, name);
	x = buf_error(&b) ? varve_fail_oom(e) : fsx_replace_file(r->fd, name, b.p, b.n, 0600, e);
	buf_done(&b);
	return x;
}

void sidecar_remove(const struct roots *r, const char *label, const char *id)
{
	char name[256];

	sidecar_name(label, id, name);
	(void)unlinkat(r->fd, name, 0);
}

static const char *copy_str(const json *j, const char *key, bool *ret_oom)
{
	const char *v = json_str(json_get(j, key));
	const char *copy = v ? strdup(v) : NULL;

	*ret_oom |= v && !copy;
	return copy;
}

static void install_done(struct varve_install_record *in)
{
	free((void *)(uintptr_t)in->id);
	free((void *)(uintptr_t)in->label);
	free((void *)(uintptr_t)in->directory);
	free((void *)(uintptr_t)in->reference);
	free((void *)(uintptr_t)in->source);
	free((void *)(uintptr_t)in->origin);
	free((void *)(uintptr_t)in->settings);
}

/* 0, -ENOMEM, or another error when it is none of ours. */
static int parse_sidecar(const struct buf *b, struct varve_install_record *in)
{
	JSON_FREE json *j = NULL;
	uint64_t made = 0;
	const char *text;
	bool oom = false;
	int x;

	*in = (struct varve_install_record){0};
	x = json_parse(&j, b->p, b->n, SIDECAR_MAX, NULL);
	if (x < 0)
		return x;
	text = json_str(json_get(j, "schema"));
	if (!text || strcmp(text, SIDECAR_SCHEMA) != 0)
		return -VARVE_E_FORMAT;
	in->id = copy_str(j, "id", &oom);
	in->label = copy_str(j, "label", &oom);
	in->reference = copy_str(j, "reference", &oom);
	in->source = copy_str(j, "source", &oom);
	in->origin = copy_str(j, "origin", &oom);
	in->settings = copy_str(j, "settings", &oom);
	in->directory = strdup("");
	if (oom || !in->directory)
		return -ENOMEM;
	in->state = VARVE_INSTALL_READY;
	text = json_str(json_get(j, "manifest"));
	if (text)
		(void)varve_digest_parse(&in->manifest, text);
	text = json_str(json_get(j, "target"));
	if (text)
		(void)varve_digest_parse(&in->target, text);
	text = json_str(json_get(j, "platform"));
	if (text)
		(void)varve_platform_parse(&in->platform, text, NULL);
	text = json_str(json_get(j, "installed_at"));
	if (text)
		(void)text_parse_time(span_str(text), &in->installed_at);
	(void)json_u64(json_get(j, "made"), &made);
	in->made = (uint32_t)made;
	text = json_str(json_get(j, "inode"));
	return text && span_u64(span_str(text), UINT64_MAX, &in->ino) && in->id &&
			       strlen(in->id) == 16 && !strchr(in->id, '/') && in->label &&
			       !label_check(in->label, NULL)
		       ? 0
		       : -VARVE_E_FORMAT;
}

/* In a directory that others may write to (/tmp) anybody can put one: such a one is not read. */
static int read_sidecar(const struct roots *r, const char *name, struct buf *b)
{
	struct stat st;
	VARVE_CLOSE int fd = fsx_open_plain(r->fd, name, O_RDONLY, 0, &st);

	if (fd < 0)
		return -errno;
	return trust_stat(r->store, &st) ? fsx_read_file(fd, NULL, b, NULL) : -VARVE_E_UNSAFE;
}

static int add_sidecar(const struct roots *r, const char *name, struct varve_install_list *l,
		       struct varve_err *e)
{
	struct varve_install_record in = {0};
	struct varve_install_record *p;
	struct buf b;
	int x;

	buf_init(&b, SIDECAR_MAX);
	x = read_sidecar(r, name, &b);
	if (x == 0)
		x = parse_sidecar(&b, &in);
	buf_done(&b);
	if (x < 0) {
		install_done(&in);
		if (err_is_passing(x))
			return varve_fail(e, -x, "%s/%s: %s", TEXT_SAFE(r->path), TEXT_SAFE(name),
					  varve_code_text(x));
		log_warn(r->ctx, "roots",
			 "%s/%s: cannot be read, or may be of another user; ignored",
			 TEXT_SAFE(r->path), TEXT_SAFE(name));
		return 0;
	}
	p = realloc(l->items, (l->n + 1) * sizeof(*p));
	if (!p) {
		install_done(&in);
		return varve_fail_oom(e);
	}
	l->items = p;
	p[l->n++] = in;
	return 0;
}

static DIR *open_list(const struct roots *r)
{
	int fd = openat(r->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		(void)close(fd);
	return d;
}

int sidecar_list(const struct roots *r, struct varve_install_list *ret, struct varve_err *e)
{
	VARVE_CLOSEDIR DIR *d = open_list(r);
	struct varve_install_list l = {0};
	struct dirent *de;
	int x = 0;

	if (!d)
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	while (x >= 0 && (de = readdir(d)))
		if (is_sidecar(de->d_name))
			x = add_sidecar(r, de->d_name, &l, e);
	if (x < 0)
		sidecar_list_free(&l);
	else
		*ret = l;
	return x;
}

void sidecar_list_free(struct varve_install_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		install_done(&l->items[i]);
	free(l->items);
	*l = (struct varve_install_list){0};
}
