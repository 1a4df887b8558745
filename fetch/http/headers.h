/* SPDX-License-Identifier: Apache-2.0 */
/* The header block of one HTTP answer and the fields that a registry client reads; pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

#define HEADERS_MAX (100u << 10)

/* One response block: "Name: value\n" lines, without the status line. */
struct headers {
	struct buf text;
};

void headers_init(struct headers *h);
void headers_done(struct headers *h);
/* A raw line as it came. A status line begins a new block (100-continue, 1xx, proxies).
 * -VARVE_E_LIMIT past the maximum. */
int headers_line(struct headers *h, const char *line, size_t n);
/* The i-th field of a name (any case), trimmed. False if there are fewer. */
bool headers_get(const struct headers *h, const char *name, unsigned i, struct span *ret);
/* Lower-cased media type without parameters; "" if none. Returns out. */
const char *headers_media_type(const struct headers *h, char *out, size_t size);
bool headers_u64(const struct headers *h, const char *name, uint64_t *ret);
/* Docker-Content-Digest, if it is a digest at all. */
bool headers_digest(const struct headers *h, struct varve_digest *ret);

/* Content-Range (RFC 9110 14.4). */
struct content_range {
	bool unsatisfied; /* "bytes * / N" */
	uint64_t first, last;
	uint64_t complete; /* UINT64_MAX: "*" */
};
bool content_range_parse(struct span value, struct content_range *ret);
