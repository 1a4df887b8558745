/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values and keys of the database: little-endian, length-checked, with a version byte each.
 * Decoding borrows: spans and digests point into the value. Pure.
 */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

#define RECORD_MAX         (4u << 20)
#define RECORD_MAX_ORIGINS 4
#define RECORD_KEY_MAX     511

/* A digest as a key: the algorithm's byte and the digest's bytes. */
size_t record_digest_len(const struct varve_digest *d);
static inline const void *record_digest_key(const struct varve_digest *d)
{
	return d; /* struct varve_digest begins exactly so */
}
bool record_digest_of(struct span key, struct varve_digest *ret);

/* Reading a value piece by piece; bad is sticky. */
struct record_in {
	const unsigned char *p, *end;
	bool bad;
};
uint64_t record_uint(struct record_in *in, unsigned bytes);
struct varve_digest record_digest(struct record_in *in);
struct span record_str(struct record_in *in); /* p is NULL for "no string" */
void record_add_uint(struct buf *b, uint64_t v, unsigned bytes);
void record_add_digest(struct buf *b, const struct varve_digest *d);
void record_add_str(struct buf *b, struct span s);

/* --- blob and more: key digest --- */
enum blob_state { BLOB_PRESENT = 1, BLOB_MISSING = 2 };
struct blob_record {
	uint64_t size;
	enum blob_state state;
	enum varve_blob_kind kind;
	bool has_facts;
	struct varve_layer_facts facts;
	int64_t added_at, verified_at;
	int64_t mtime_ns; /* of the file when it was last known to be right; 0: unknown */
	struct span origins[RECORD_MAX_ORIGINS]; /* newest first */
	uint64_t origin_ids[RECORD_MAX_ORIGINS]; /* how the value names them: record_origin_id() */
	size_t n_origins;
};
/*
 * Two values: the brief one is all that walks over every blob need, and stays small for them
 * (docs/store-format.md); the rest is read for one blob at a time. blob_record.h joins them.
 */
void blob_brief_put(struct buf *b, const struct blob_record *r);
bool blob_brief_get(
	struct span v,
	struct blob_record *r); /* size, state, kind, has_facts, unpacked size, compression */
void blob_more_put(struct buf *b, const struct blob_record *r);
bool blob_more_get(struct span v,
		   struct blob_record *r); /* the rest, over a brief one; origins as ids */
/* Many blobs share few origins: each text is stored once, under this (64 bits of its sha256). */
uint64_t record_origin_id(struct span origin);
/* To the front; the oldest goes. origin is borrowed. False if it was there already. */
bool blob_record_add_origin(struct blob_record *r, struct span origin);
/* Only what a walk over all blobs needs. */
bool blob_record_brief(struct span v, uint64_t *ret_size, enum blob_state *ret_state,
		       enum varve_blob_kind *ret_kind);

/* --- image: key manifest digest --- */
enum image_role {
	ROLE_MANIFEST = 1, /* itself */
	ROLE_CONFIG = 2,
	ROLE_LAYER = 3, /* base first, repeated ones repeated */
	ROLE_EXTRA = 4, /* kept with it */
	ROLE_PARENT = 5 /* an index that led to it */
};
struct image_record {
	struct varve_platform platform;
	bool docker; /* the manifest is a Docker schema 2 one */
	int64_t fetched_at;
	uint32_t n_layers, n_refs;
	struct span refs; /* encoded: image_next_ref() */
};
struct image_ref {
	enum image_role role;
	struct varve_digest digest;
	uint64_t size; /* VARVE_SIZE_UNKNOWN if the document did not say */
};
void image_record_put(struct buf *b, const struct image_record *r, const struct image_ref *refs);
bool image_record_get(struct span v, struct image_record *r);
/* True while there is one more; *rest begins as r->refs. */
bool image_next_ref(struct span *rest, struct image_ref *ret);

/* --- tag: key tag_key() --- */
struct tag_record {
	struct span name, reference, source, origin, place;
	struct varve_digest target, manifest;
	struct varve_platform platform;
	bool is_default;
	int64_t fetched_at;
};
void tag_record_put(struct buf *b, const struct tag_record *r);
bool tag_record_get(struct span v, struct tag_record *r);
/* "<reference>\0<platform>"; the reference's sha256
 * after a 0xff byte where it would be too long. */
size_t tag_key(char key[RECORD_KEY_MAX], struct span reference, const struct varve_platform *p);
/* The part of the key that all platforms of a reference share. */
size_t tag_key_prefix(char key[RECORD_KEY_MAX], struct span reference);

/* --- install: key id --- */
void install_record_put(struct buf *b, const struct varve_install_record *in);
/* Strings of ret are spans: roots, label, directory, reference, source, origin, settings. */
#define INSTALL_STRINGS 7
bool install_record_get(struct span v, struct varve_install_record *ret,
			struct span s[INSTALL_STRINGS]);

/* --- pin: key manifest digest --- */
struct pin_record {
	struct span reference; /* canonical name under which it was pinned; may be absent */
	int64_t since;
};
void pin_record_put(struct buf *b, const struct pin_record *r);
bool pin_record_get(struct span v, struct pin_record *r);

/* --- used: key manifest digest --- */
void used_record_put(struct buf *b, int64_t when);
bool used_record_get(struct span v, int64_t *ret);
