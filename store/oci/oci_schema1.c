/* SPDX-License-Identifier: Apache-2.0 */
/* Parse Docker's schema 1 manifest, signed or not (docs/requirements.md 3.20-3.28). */
#include "store/oci/oci_internal.h"

#include <ctype.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/oci/platform.h"

/* One layer as written, newest first, with the JSON that its v1Compatibility string holds. */
struct v1_layer {
	struct varve_digest blob;
	json *v1;
	const char *id, *parent;
	bool drop; /* the same id as the next one: kept once */
};
struct v1_list {
	struct v1_layer *items;
	size_t n;
};

static void v1_list_done(struct v1_list *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		json_free(l->items[i].v1);
	free(l->items);
}

void oci_schema1_free(struct oci_schema1 *m)
{
	size_t i;

	if (!m)
		return;
	for (i = 0; m->history && m->history[i]; i++)
		free(m->history[i]);
	free(m->history);
	free(m->payload);
	free(m->layers);
	free(m->config);
	free(m);
}

static void schema1_cleanup(struct oci_schema1 **m)
{
	oci_schema1_free(*m);
}

/* --- the payload under the signatures --- */

/* What one signature covers: body[0:formatLength] and formatTail. */
static int signed_part(const json *sig, size_t body_size, uint64_t *ret_length, struct buf *tail,
		       struct varve_err *e)
{
	const char *prot = json_str(json_get(sig, "protected")), *text;
	JSON_FREE json *head = NULL;
	struct buf b;
	int r;

	if (!prot)
		return varve_fail(e, VARVE_E_FORMAT, "signature has no \"protected\"");
	buf_init(&b, 64u << 10);
	if (!text_base64url_decode(span_str(prot), &b) || buf_error(&b) < 0) {
		r = buf_error(&b) ? buf_fail(&b, e, "\"protected\" of a signature is too long")
				  : varve_fail(e, VARVE_E_FORMAT,
					       "\"protected\" of a signature is not base64url");
		buf_done(&b);
		return r;
	}
	r = json_parse(&head, b.p, b.n, b.max, e);
	buf_done(&b);
	if (r == 0)
		r = json_need_u64(head, "signature", "formatLength", ret_length, e);
	if (r == 0)
		r = json_need_str(head, "signature", "formatTail", &text, e);
	if (r < 0)
		return r;
	if (*ret_length > body_size)
		return varve_fail(e, VARVE_E_FORMAT, "signature covers more than there is");
	if (!text_base64url_decode(span_str(text), tail) || buf_error(tail) < 0)
		return buf_error(tail)
			       ? buf_fail(tail, e, "\"formatTail\" of a signature is too long")
			       : varve_fail(e, VARVE_E_FORMAT,
					    "\"formatTail\" of a signature is not base64url");
	return 0;
}

/* The bytes that the digest covers. Signatures are no trust anchor (anyone can sign), but must
 * agree. */
static int take_payload(const json *j, const char *p, size_t n, struct oci_schema1 *m,
			struct varve_err *e)
{
	const json *sigs = json_get(j, "signatures"), *sig;
	struct buf first, tail;
	uint64_t length = n, first_length = 0;
	size_t count = 0;
	int r = 0;

	buf_init(&first, 1u << 10);
	buf_init(&tail, 1u << 10);
	for (sig = json_first(sigs); sig && r == 0; sig = json_next(sig), count++) {
		buf_reset(&tail);
		r = count < 16 ? signed_part(sig, n, &length, &tail, e)
			       : varve_fail(e, VARVE_E_LIMIT, "more than 16 signatures");
		if (r < 0)
			break;
		if (count == 0) {
			first_length = length;
			buf_add(&first, tail.p, tail.n);
		} else if (length != first_length || tail.n != first.n ||
			   memcmp(tail.p, first.p, tail.n) != 0) {
			r = varve_fail(e, VARVE_E_FORMAT, "signatures cover different content");
		}
	}
	if (r == 0 && buf_error(&first) < 0)
		r = varve_fail_oom(e);
	if (r == 0) {
		m->payload_size = length + first.n;
		m->payload = malloc(m->payload_size + 1);
		if (m->payload) {
			memcpy(m->payload, p, length);
			memcpy(m->payload + length, first.p, first.n);
			m->payload[m->payload_size] = '\0';
		} else {
			r = varve_fail_oom(e);
		}
	}
	buf_done(&first);
	buf_done(&tail);
	return r < 0 ? varve_wrap(e, r, "schema 1 manifest") : 0;
}

/* --- layers --- */

static bool is_id(const char *s)
{
	return s && strlen(s) == 64 && s[strspn(s, "0123456789abcdef")] == '\0';
}

static int take_one(const json *fs, const json *history, struct v1_layer *l, struct varve_err *e)
{
	const char *text;
	int r = json_need_digest(fs, "fsLayers", "blobSum", &l->blob, e);

	if (r == 0)
		r = json_need_str(history, "history", "v1Compatibility", &text, e);
	if (r == 0)
		r = json_parse(&l->v1, text, strlen(text), OCI_DOC_MAX, e);
	if (r < 0)
		return r;
	l->id = json_str(json_get(l->v1, "id"));
	l->parent = json_str(json_get(l->v1, "parent"));
	if (!is_id(l->id))
		return varve_fail(e, VARVE_E_FORMAT,
				  "history has an \"id\" that is not 64 hex "
				  "characters");
	return 0;
}

static int take_list(const json *j, struct v1_list *l, struct varve_err *e)
{
	const json *fs = json_get(j, "fsLayers"), *history = json_get(j, "history");
	int r;

	if (!json_is_array(fs) || !json_is_array(history))
		return varve_fail(e, VARVE_E_FORMAT, "no lists \"fsLayers\" and \"history\"");
	if (json_len(fs) != json_len(history) || json_len(fs) == 0)
		return varve_fail(e, VARVE_E_FORMAT,
				  "%zu layers but %zu history entries: they must pair",
				  json_len(fs), json_len(history));
	if (json_len(fs) > OCI_MAX_LAYERS)
		return varve_fail(e, VARVE_E_LIMIT, "%zu layers, more than %d", json_len(fs),
				  OCI_MAX_LAYERS);
	l->items = calloc(json_len(fs), sizeof(*l->items));
	if (!l->items)
		return varve_fail_oom(e);
	for (fs = json_first(fs), history = json_first(history); fs;
	     fs = json_next(fs), history = json_next(history)) {
		r = take_one(fs, history, &l->items[l->n++], e);
		if (r < 0)
			return varve_wrap(e, r, "layer %zu", l->n - 1);
	}
	return 0;
}

/* The parent chain, as docker checks it (moby v20.10 pull_v2.go): consecutive repeats are one
 * layer. */
static int check_chain(struct v1_list *l, struct varve_err *e)
{
	size_t i, k;

	for (i = 0; i < l->n; i++) {
		struct v1_layer *a = &l->items[i];
		const struct v1_layer *b = i + 1 < l->n ? &l->items[i + 1] : NULL;

		for (k = 0; i > 0 && k + 1 < i; k++) {
			if (strcmp(l->items[k].id, a->id) == 0 &&
			    strcmp(l->items[i - 1].id, a->id) != 0)
				return varve_fail(e, VARVE_E_FORMAT, "id %s appears twice", a->id);
		}
		if (!b && a->parent && *a->parent)
			return varve_fail(e, VARVE_E_FORMAT,
					  "the base layer %s has a parent that is not there",
					  a->id);
		if (b && strcmp(a->id, b->id) == 0)
			a->drop = true;
		else if (b && (!a->parent || strcmp(a->parent, b->id) != 0))
			return varve_fail(e, VARVE_E_FORMAT,
					  "the parent of %s is not the layer "
					  "below it",
					  a->id);
	}
	return 0;
}

static bool is_throwaway(const json *v1)
{
	bool flag = false;
	uint64_t size = 1;

	if (json_bool(json_get(v1, "throwaway"), &flag))
		return flag;
	return json_u64(json_get(v1, "Size"), &size) && size == 0;
}

/* --- the image config that it stands for --- */

static char *history_entry(const json *v1, bool empty)
{
	const json *cmd = json_get(json_get(v1, "container_config"), "Cmd"), *word;
	const char *text;
	struct jsonw w;
	struct buf b, by;

	buf_init(&b, OCI_DOC_MAX);
	buf_init(&by, OCI_DOC_MAX);
	for (word = json_first(cmd); word; word = json_next(word)) {
		if (by.n)
			buf_addc(&by, ' ');
		buf_adds(&by, json_str(word) ? json_str(word) : "");
	}
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	text = json_str(json_get(v1, "created"));
	if (text)
		jsonw_str(&w, "created", text);
	text = json_str(json_get(v1, "author"));
	if (text)
		jsonw_str(&w, "author", text);
	if (by.n)
		jsonw_str(&w, "created_by", by.p);
	text = json_str(json_get(v1, "comment"));
	if (text && *text)
		jsonw_str(&w, "comment", text);
	if (empty)
		jsonw_bool(&w, "empty_layer", true);
	jsonw_end_object(&w);
	buf_done(&by);
	if (buf_error(&b) < 0) {
		buf_done(&b);
		return NULL;
	}
	return buf_take(&b);
}

static char *start_of_config(const json *v1)
{
	static const char *const drop[] = {"id",        "parent", "parent_id", "layer_id",
					   "throwaway", "Size",   "rootfs",    "history"};
	const json *m;
	struct jsonw w;
	struct buf b;
	size_t i;

	buf_init(&b, OCI_DOC_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	for (m = json_first(v1); m; m = json_next(m)) {
		for (i = 0; i < VARVE_ARRAY_SIZE(drop); i++) {
			if (strcmp(json_key(m), drop[i]) == 0)
				break;
		}
		if (i == VARVE_ARRAY_SIZE(drop))
			jsonw_node(&w, json_key(m), m);
	}
	jsonw_end_object(&w);
	if (buf_error(&b) < 0) {
		buf_done(&b);
		return NULL;
	}
	return buf_take(&b);
}

static int build(const struct v1_list *l, struct oci_schema1 *m, struct varve_err *e)
{
	const json *top = l->items ? l->items[0].v1 : NULL;
	const char *os = json_str(json_get(top, "os"));
	const char *arch = json_str(json_get(top, "architecture"));
	size_t i;

	m->layers = calloc(l->n, sizeof(*m->layers));
	m->history = calloc(l->n + 1, sizeof(*m->history));
	if (!m->layers || !m->history)
		return varve_fail_oom(e);
	for (i = l->n; i-- > 0;) {
		const struct v1_layer *v = &l->items[i];

		if (v->drop)
			continue;
		m->layers[m->n_layers].blob = v->blob;
		m->layers[m->n_layers].throwaway = is_throwaway(v->v1);
		m->history[m->n_layers] = history_entry(v->v1, m->layers[m->n_layers].throwaway);
		if (!m->history[m->n_layers++])
			return varve_fail_oom(e);
	}
	m->config = start_of_config(top);
	if (!m->config)
		return varve_fail_oom(e);
	if (!platform_set(&m->platform, os && *os ? os : "linux", arch && *arch ? arch : "amd64",
			  json_str(json_get(top, "variant"))))
		return varve_fail(e, VARVE_E_FORMAT, "\"os\" or \"architecture\" is no name");
	return 0;
}

int oci_schema1_parse(struct oci_schema1 **ret, const void *p, size_t n, struct varve_err *e)
{
	static const char *const foreign[] = {"manifests", "layers", "config", NULL};
	VARVE_CLEANUP(schema1_cleanup) struct oci_schema1 *m = NULL;
	VARVE_CLEANUP(v1_list_done) struct v1_list list = {0};
	JSON_FREE json *outer = NULL, *j = NULL;
	int r;

	r = json_parse(&outer, p, n, OCI_DOC_MAX, e);
	if (r < 0)
		return varve_wrap(e, r, "schema 1 manifest");
	m = calloc(1, sizeof(*m));
	if (!m)
		return varve_fail_oom(e);
	r = take_payload(outer, p, n, m, e);
	if (r < 0)
		return r;
	/* Layers come from what the digest covers, never from the envelope around it. */
	r = json_parse(&j, m->payload, m->payload_size, OCI_DOC_MAX, e);
	if (r == 0)
		r = oci_need_schema(j, "payload", 1, e);
	if (r == 0)
		r = oci_refuse_members(j, "payload", foreign, e);
	if (r == 0)
		r = take_list(j, &list, e);
	if (r == 0)
		r = check_chain(&list, e);
	if (r == 0)
		r = build(&list, m, e);
	if (r == 0)
		r = hash_bytes(VARVE_SHA256, m->payload, m->payload_size, &m->digest, e);
	if (r < 0)
		return varve_wrap(e, r, "schema 1 manifest");
	*ret = VARVE_TAKE(m);
	return 0;
}
