/* SPDX-License-Identifier: Apache-2.0 */
/* index.json (for other tools, and to rebuild tags and pins from) and installs.json, kept equal to
 * the database. */
#include "store/mirror.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/graph.h"
#include "store/layout.h"
#include "store/oci/oci.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#define REF_NAME "org.opencontainers.image.ref.name"

/* --- reading what is there --- */

bool mirror_entry_is_ours(const json *entry)
{
	return json_str(json_get(json_get(entry, "annotations"), MIRROR_REFERENCE)) ||
	       json_str(json_get(json_get(entry, "annotations"), MIRROR_PINNED));
}

int mirror_read_index(struct varve_store *s, json **ret, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	struct buf b;
	int r;

	buf_init(&b, MIRROR_MAX);
	r = fsx_read_plain(s->root, LAYOUT_INDEX, &b, e);
	if (r == 0)
		r = json_parse(&j, b.p, b.n, MIRROR_MAX, e);
	buf_done(&b);
	if (r < 0)
		return varve_wrap(e, r, "%s/" LAYOUT_INDEX, s->path);
	if (!json_is_array(json_get(j, "manifests")))
		return varve_fail(e, VARVE_E_FORMAT,
				  "%s/" LAYOUT_INDEX ": has no list \"manifests\"", s->path);
	*ret = VARVE_TAKE(j);
	return 0;
}

/* --- index.json --- */

static void write_platform(struct jsonw *w, const struct varve_platform *p)
{
	if (!p->os[0] || !p->arch[0])
		return;
	jsonw_object(w, "platform");
	jsonw_str(w, "architecture", p->arch);
	jsonw_str(w, "os", p->os);
	if (p->variant[0])
		jsonw_str(w, "variant", p->variant);
	jsonw_end_object(w);
}

static void write_annotations(struct jsonw *w, const struct graph *g, const struct graph_tag *t,
			      const struct graph_image *im, bool plain)
{
	jsonw_object(w, "annotations");
	if (t) {
		/* Only one entry may have the plain name,
		 * or it would be ambiguous to other tools. */
		if (plain)
			jsonw_str(w, REF_NAME, t->name);
		else
			jsonw_str(w, MIRROR_NAME, t->name);
		jsonw_str(w, MIRROR_REFERENCE, t->reference);
		if (t->source)
			jsonw_str(w, MIRROR_SOURCE, t->source);
		if (t->origin)
			jsonw_str(w, MIRROR_ORIGIN, t->origin);
		if (t->target != GRAPH_NONE && t->target != im->blob)
			jsonw_digest(w, MIRROR_TARGET, &g->blobs[t->target].digest);
		jsonw_time(w, MIRROR_FETCHED, t->fetched_at);
	}
	if (im->pinned)
		jsonw_str(w, MIRROR_PINNED, im->pin_reference ? im->pin_reference : "");
	jsonw_end_object(w);
}

static void write_entry(struct jsonw *w, const struct graph *g, const struct graph_tag *t,
			const struct graph_image *im, bool plain)
{
	const struct graph_blob *b = &g->blobs[im->blob];

	jsonw_object(w, NULL);
	jsonw_str(w, "mediaType", im->docker ? DOCKER_MT_MANIFEST : OCI_MT_MANIFEST);
	jsonw_digest(w, "digest", &b->digest);
	jsonw_u64(w, "size", b->size);
	write_platform(w, t ? &t->platform : &im->platform);
	write_annotations(w, g, t, im, plain);
	jsonw_end_object(w);
}

/* Names that other tools gave, sorted: where they gave one of ours to something, it is theirs. */
struct foreign {
	struct foreign_name {
		const char *name, *digest;
		const json *entry;
		bool ours; /* our tag of that name says the same: one entry is enough */
	} * items;
	size_t n;
	bool any;
	bool *tagged; /* for each image of the graph: has a name */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct foreign_name *)a)->name,
		      ((const struct foreign_name *)b)->name);
}

static struct foreign_name *foreign_name(const struct foreign *f, const char *name)
{
	struct foreign_name key = {.name = name};

	return f->n ? bsearch(&key, f->items, f->n, sizeof(*f->items), by_name) : NULL;
}

static void note_same(struct foreign *f, const struct graph_tag *t)
{
	struct foreign_name *theirs = foreign_name(f, t->name);
	char text[VARVE_DIGEST_STR_MAX];

	if (theirs && t->image != GRAPH_NONE && t->is_default &&
	    strcmp(theirs->digest, varve_digest_str(&t->manifest, text)) == 0)
		theirs->ours = true;
}

/* An entry of another tool that stays. */
static bool stays(const struct foreign *f, const json *entry)
{
	const char *name = json_str(json_get(json_get(entry, "annotations"), REF_NAME));
	const struct foreign_name *n = name ? foreign_name(f, name) : NULL;

	return !mirror_entry_is_ours(entry) && !(n && n->ours && n->entry == entry);
}

static bool name_is_theirs(const struct foreign *f, const char *name)
{
	const struct foreign_name *n = foreign_name(f, name);

	return n && !n->ours;
}

static int collect_foreign(struct foreign *f, const json *old, const struct graph *g,
			   struct varve_err *e)
{
	const json *list = json_get(old, "manifests"), *entry;
	size_t i;

	f->any = json_get(old, "annotations") != NULL;
	f->items = calloc(json_len(list) + 1, sizeof(*f->items));
	f->tagged = calloc(g->n_images + 1, sizeof(*f->tagged));
	if (!f->items || !f->tagged)
		return varve_fail_oom(e);
	for (entry = json_first(list); entry; entry = json_next(entry)) {
		const char *name = json_str(json_get(json_get(entry, "annotations"), REF_NAME));
		const char *digest = json_str(json_get(entry, "digest"));

		if (mirror_entry_is_ours(entry))
			continue;
		f->any = true;
		if (name && digest)
			f->items[f->n++] = (struct foreign_name){name, digest, entry, false};
	}
	if (f->n)
		qsort(f->items, f->n, sizeof(*f->items), by_name);
	for (i = 0; f->n && i < g->n_tags; i++)
		note_same(f, &g->tags[i]);
	for (i = 0; i < g->n_tags; i++)
		if (g->tags[i].image != GRAPH_NONE)
			f->tagged[g->tags[i].image] = true;
	return 0;
}

static void write_index(struct buf *b, const struct graph *g, const json *old,
			const struct foreign *f)
{
	const json *entry;
	struct jsonw w;
	size_t i;

	jsonw_init(&w, b, true);
	jsonw_object(&w, NULL);
	jsonw_u64(&w, "schemaVersion", 2);
	jsonw_str(&w, "mediaType", OCI_MT_INDEX);
	jsonw_array(&w, "manifests");
	for (entry = json_first(json_get(old, "manifests")); entry; entry = json_next(entry)) {
		if (stays(f, entry))
			jsonw_node(&w, NULL, entry);
	}
	for (i = 0; i < g->n_tags; i++) {
		const struct graph_tag *t = &g->tags[i];

		if (t->image != GRAPH_NONE)
			write_entry(&w, g, t, &g->images[t->image],
				    t->is_default && !name_is_theirs(f, t->name));
	}
	for (i = 0; i < g->n_images; i++) {
		if (g->images[i].pinned && !f->tagged[i])
			write_entry(&w, g, NULL, &g->images[i], false);
	}
	jsonw_end_array(&w);
	if (json_get(old, "annotations"))
		jsonw_node(&w, "annotations", json_get(old, "annotations"));
	jsonw_end_object(&w);
	buf_addc(b, '\n');
}

bool mirror_all_ours(struct varve_store *s)
{
	struct index_mirror m;
	uint64_t generation;
	struct stat st;

	return !s->no_index && index_get_seal(s->index, &m, &generation) && !m.foreign &&
	       fstatat(s->root, LAYOUT_INDEX, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_ino == m.ino && (uint64_t)st.st_size == m.size &&
	       stat_mtime_ns(&st) == m.mtime_ns;
}

/* What is no file or no JSON will never be one. All else may be whole, and other tools' names are
 * kept nowhere else. */
static bool is_damage(int code)
{
	return code == VARVE_E_FORMAT || code == VARVE_E_LIMIT || code == EMEDIUMTYPE;
}

static int read_old(struct varve_store *s, json **ret, struct varve_err *e)
{
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];

	if (mirror_all_ours(s) || mirror_read_index(s, ret, &why) == 0 || why.code == ENOENT)
		return 0;
	if (!is_damage(why.code)) {
		if (e)
			*e = why;
		return -why.code;
	}
	log_warn(s->ctx, "store", "%s; it is kept as " LAYOUT_INDEX ".bad and made again",
		 varve_err_text(&why, text, sizeof(text)));
	(void)renameat(s->root, LAYOUT_INDEX, s->root, LAYOUT_INDEX_BAD);
	return 0;
}

static int replace_document(struct varve_store *s, const char *name, const struct buf *b,
			    struct varve_err *e)
{
	if (buf_error(b) == -ENOMEM)
		return varve_fail_oom(e);
	if (buf_error(b) < 0)
		return varve_fail(e, VARVE_E_LIMIT, "%s/%s grows too large", s->path, name);
	return fsx_replace_file(s->root, name, b->p, b->n, 0644, e);
}

static int update_index(struct varve_store *s, const struct graph *g, bool *ret_foreign,
			struct varve_err *e)
{
	JSON_FREE json *old = NULL;
	struct foreign f = {0};
	struct buf b;
	int r = read_old(s, &old, e);

	if (r == 0)
		r = collect_foreign(&f, old, g, e);
	buf_init(&b, MIRROR_MAX);
	if (r == 0)
		write_index(&b, g, old, &f);
	*ret_foreign = f.any;
	free(f.items);
	free(f.tagged);
	if (r == 0)
		r = replace_document(s, LAYOUT_INDEX, &b, e);
	buf_done(&b);
	return r;
}

/* --- installs.json --- */

static const char *const state_names[] = {
	[VARVE_INSTALL_STAGING] = "staging",
	[VARVE_INSTALL_SWITCHING] = "switching",
	[VARVE_INSTALL_READY] = "ready",
	[VARVE_INSTALL_PREVIOUS] = "previous",
};

_Static_assert(VARVE_ARRAY_SIZE(state_names) == VARVE_INSTALL_PREVIOUS + 1,
	       "every state of an install has a name");

static void write_install(struct jsonw *w, const struct varve_install_record *in)
{
	char text[84];

	jsonw_object(w, NULL);
	jsonw_str(w, "id", in->id);
	jsonw_str(w, "roots", in->roots);
	jsonw_str(w, "label", in->label);
	jsonw_str(w, "directory", in->directory);
	if (in->reference)
		jsonw_str(w, "reference", in->reference);
	if (varve_digest_is_set(&in->manifest))
		jsonw_digest(w, "manifest", &in->manifest);
	jsonw_str(w, "platform", varve_platform_str(&in->platform, text));
	jsonw_str(w, "state", state_names[in->state]);
	jsonw_u64(w, "dev", in->dev);
	/* As text: inode numbers may not fit into the numbers that JSON readers keep exactly. */
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)in->ino);
	jsonw_str(w, "ino", text);
	jsonw_time(w, "installed_at", in->installed_at);
	jsonw_u64(w, "generation", in->generation);
	jsonw_u64(w, "made", in->made);
	jsonw_str(w, "source", in->source);
	jsonw_str(w, "origin", in->origin);
	jsonw_str(w, "settings", in->settings);
	if (varve_digest_is_set(&in->target))
		jsonw_digest(w, "target", &in->target);
	jsonw_end_object(w);
}

static int update_installs(struct varve_store *s, struct varve_err *e)
{
	struct varve_install_list list = {0};
	struct jsonw w;
	struct buf b;
	size_t i;
	int r = varve_store_installs(s, NULL, &list, e);

	if (r < 0)
		return r;
	buf_init(&b, MIRROR_MAX);
	jsonw_init(&w, &b, true);
	jsonw_object(&w, NULL);
	jsonw_array(&w, "installs");
	for (i = 0; i < list.n; i++)
		write_install(&w, &list.items[i]);
	jsonw_end_array(&w);
	jsonw_end_object(&w);
	buf_addc(&b, '\n');
	varve_install_list_free(&list);
	r = replace_document(s, LAYOUT_INSTALLS, &b, e);
	buf_done(&b);
	return r;
}

bool mirror_install_state(const char *name, enum varve_install_state *ret)
{
	size_t i;

	for (i = 0; name && i < VARVE_ARRAY_SIZE(state_names); i++) {
		if (strcmp(name, state_names[i]) == 0) {
			*ret = (enum varve_install_state)i;
			return true;
		}
	}
	return false;
}

/* --- keeping up --- */

static int write_both(struct varve_store *s, const struct graph *g, struct varve_err *e)
{
	struct index_mirror m = {.generation = g->generation};
	struct stat st;
	int r = update_index(s, g, &m.foreign, e);

	if (r == 0)
		r = update_installs(s, e);
	if (r < 0 || fstatat(s->root, LAYOUT_INDEX, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return r;
	m.ino = st.st_ino;
	m.size = (uint64_t)st.st_size;
	m.mtime_ns = stat_mtime_ns(&st);
	return index_put_mirror(s->index, &m, e);
}

/* Both files or none: whose change was not mirrored yet is not known, and it may never do it. */
static int update_locked(struct varve_store *s, enum mirror_when when, struct varve_err *e)
{
	struct index_mirror m;
	struct graph g = {0};
	int r = graph_load(&g, s, e);

	if (r < 0)
		return r;
	if (when == MIRROR_ALWAYS || !index_get_mirror(s->index, &m) ||
	    m.generation != g.generation)
		r = write_both(s, &g, e);
	graph_done(&g);
	return r;
}

int mirror_update(struct varve_store *s, enum mirror_when when, struct varve_err *e)
{
	/* One writer at a time, from reading the records to the rename: the last file shows the
	 * last state. */
	VARVE_CLOSE int lock =
		fsx_open_plain(s->root, LAYOUT_MIRROR_LOCK, O_RDONLY | O_CREAT, 0644, NULL);
	int r;

	if (lock < 0 || fsx_flock_wait(lock, LOCK_EX, s->ctx) < 0)
		return varve_fail_errno(e, "lock %s/" LAYOUT_MIRROR_LOCK, s->path);
	r = update_locked(s, when, e);
	return r < 0 ? varve_wrap(e, r, "bring %s/" LAYOUT_INDEX " up to date", s->path) : 0;
}

static int nothing(struct index_txn *t, void *user, struct varve_err *e)
{
	(void)t;
	(void)user;
	(void)e;
	return 0;
}

bool mirror_is_behind(struct varve_store *s)
{
	struct index_mirror m;
	uint64_t generation;

	if (!index_get_seal(s->index, &m, &generation)) {
		/* The first use verifies the database and seals it again. */
		if (index_view(s->index, nothing, NULL, NULL) < 0 ||
		    !index_get_seal(s->index, &m, &generation))
			return false;
	}
	return m.generation != generation;
}

void mirror_catch_up(struct varve_store *s)
{
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];

	if (s->read_only || s->no_index || !mirror_is_behind(s))
		return;
	if (mirror_update(s, MIRROR_IF_BEHIND, &why) < 0)
		log_warn(s->ctx, "store", "%s", varve_err_text(&why, text, sizeof(text)));
}
