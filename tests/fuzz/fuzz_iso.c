/* SPDX-License-Identifier: Apache-2.0 */
/* An ISO image of small sectors: each 128 bytes of the input begin one, the rest of it is zeros.
 * The first holds the record of the root, as the volume descriptor has it. */
#include <stdint.h>

#include "place.h"
#include "store/base/compiler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define SECTOR 2048u
#define PIECE  128u
#define FIRST  16u
#define MOST   64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t image[(FIRST + 1 + MOST) * SECTOR];
	size_t sectors = VARVE_MIN((n + PIECE - 1) / PIECE, (size_t)MOST);

	if (!n)
		return 0;
	place_make();
	memset(image, 0, sizeof(image));
	for (size_t i = 0; i < sectors; i++) {
		size_t room = VARVE_MIN(n - i * PIECE, (size_t)PIECE);
		size_t at = i ? (FIRST + i) * SECTOR : FIRST * SECTOR + 156;

		memcpy(image + at, data + i * PIECE, room);
	}
	memcpy(image + (size_t)FIRST * SECTOR, "\1CD001\1", 8);
	place_write(place_fd, "input", image, (FIRST + sectors) * SECTOR);
	place_import();
	return 0;
}
