/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive of images made of parts, which byte 0xff ends: a kind (f, h, s, d), a name and a
 * newline, then the body, or the target of a link. "@0" to "@9" in names and bodies stand for the
 * digest of an earlier part's body, "^0" to "^9" for its size, so that documents of a layout hold.
 */
#include <stdint.h>

#include "place.h"
#include "store/base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define PARTS_MAX 10u

struct part {
	char hex[65];
	size_t size;
};

/* Put the digests and sizes of the parts in. */
static void fill_in(struct buf *to, const uint8_t *p, size_t n, const struct part *parts,
		    unsigned n_parts)
{
	for (size_t i = 0; i < n; i++) {
		unsigned k = i + 1 < n ? (unsigned)p[i + 1] - '0' : PARTS_MAX;

		if ((p[i] != '@' && p[i] != '^') || k >= n_parts) {
			buf_addc(to, (char)p[i]);
			continue;
		}
		if (p[i] == '@')
			buf_adds(to, parts[k].hex);
		else
			buf_printf(to, "%zu", parts[k].size);
		i++;
	}
}

static void add_header(struct buf *tar, char kind, const struct buf *name, const struct buf *body)
{
	char h[512] = {0};
	unsigned sum = 0;
	bool link = kind == 'h' || kind == 's';

	(void)snprintf(h, 100, "%.*s", (int)name->n, name->p);
	(void)snprintf(h + 100, 8, "0000644");
	(void)snprintf(h + 124, 12, "%011zo", link || kind == 'd' ? (size_t)0 : body->n);
	(void)snprintf(h + 136, 12, "00000000001");
	h[156] = kind == 'h' ? '1' : kind == 's' ? '2' : kind == 'd' ? '5' : '0';
	if (link)
		(void)snprintf(h + 157, 100, "%.*s", (int)body->n, body->p);
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (unsigned char)h[i];
	(void)snprintf(h + 148, 8, "%06o", sum & 0777777);
	buf_add(tar, h, sizeof(h));
	if (h[156] == '0') {
		static const char zeros[512];

		buf_add(tar, body->p, body->n);
		buf_add(tar, zeros, -body->n % 512);
	}
}

static void add_part(struct buf *tar, const uint8_t *p, size_t n, struct part *parts,
		     unsigned *n_parts)
{
	const uint8_t *line = n > 1 ? memchr(p + 1, '\n', n - 1) : NULL;
	struct buf name, body;

	if (!line)
		return;
	buf_init(&name, 1000);
	buf_init(&body, 100000);
	fill_in(&body, line + 1, n - (size_t)(line + 1 - p), parts, *n_parts);
	if (*n_parts < PARTS_MAX) {
		struct varve_digest d;

		CHECK(hash_bytes(VARVE_SHA256, body.p, body.n, &d, NULL) == 0);
		(void)snprintf(parts[*n_parts].hex, 65, "%s", DIGEST_HEX(&d));
		parts[*n_parts].size = body.n;
		++*n_parts;
	}
	fill_in(&name, p + 1, (size_t)(line - p - 1), parts, *n_parts);
	add_header(tar, (char)p[0], &name, &body);
	buf_done(&name);
	buf_done(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char end[1024];
	struct part parts[PARTS_MAX];
	unsigned n_parts = 0;
	struct buf tar;

	place_make();
	buf_init(&tar, 4u << 20);
	while (n) {
		const uint8_t *stop = memchr(data, 0xff, n);
		size_t k = stop ? (size_t)(stop - data) : n;

		add_part(&tar, data, k, parts, &n_parts);
		k += stop ? 1 : 0;
		data += k;
		n -= k;
	}
	buf_add(&tar, end, sizeof(end));
	place_write(place_fd, "input", tar.p, tar.n);
	buf_done(&tar);
	place_import();
	return 0;
}
