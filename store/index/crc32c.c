/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C by eight tables, eight bytes a step: fast enough for 100,000 records, the same
 * everywhere. */
#include "store/index/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	unsigned i, k;

	for (i = 0; i < 256; i++) {
		uint32_t c = i;

		for (k = 0; k < 8; k++)
			c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
		table[0][i] = c;
	}
	for (i = 0; i < 256; i++) {
		for (k = 1; k < 8; k++)
			table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
	}
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *at = p;
	uint64_t v;

	(void)pthread_once(&once, make_tables);
	crc = ~crc;
	for (; n >= 8; n -= 8, at += 8) {
		memcpy(&v, at, 8);
		v = le64toh(v) ^ crc;
		crc = table[7][v & 0xff] ^ table[6][(v >> 8) & 0xff] ^ table[5][(v >> 16) & 0xff] ^
		      table[4][(v >> 24) & 0xff] ^ table[3][(v >> 32) & 0xff] ^
		      table[2][(v >> 40) & 0xff] ^ table[1][(v >> 48) & 0xff] ^ table[0][v >> 56];
	}
	for (; n > 0; n--, at++)
		crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
	return ~crc;
}
