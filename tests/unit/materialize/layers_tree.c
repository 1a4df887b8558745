/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests/integration/test_layers_random.py: stacks of layers in, trees out, thousands in one
 * process. Input: the number of layers, then length and bytes of each (32 bits, little endian).
 * Output: image_dump(), then a line "%".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image_build.h"

static int read_u32(uint32_t *ret)
{
	uint8_t b[4];

	if (fread(b, 1, 4, stdin) != 4)
		return 0;
	*ret = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	return 1;
}

int main(void)
{
	struct varve_plan_options o = VARVE_PLAN_OPTIONS_INIT;
	uint32_t n, len;

	while (read_u32(&n)) {
		struct image m;
		struct buf out;

		if (n > IMAGE_LAYERS_MAX)
			return 1;
		image_init(&m);
		buf_init(&out, (size_t)1 << 28);
		while (n-- > 0) {
			char *p;

			if (!read_u32(&len) || !(p = malloc(len + 1)) ||
			    fread(p, 1, len, stdin) != len)
				return 1;
			image_layer_raw(&m, p, len);
			free(p);
		}
		image_dump(&m, &o, true, &out);
		if (strncmp(out.p, "error", 5) == 0)
			buf_addc(&out, '\n');
		(void)fwrite(out.p, 1, out.n, stdout);
		(void)puts("%");
		(void)fflush(stdout);
		buf_done(&out);
		image_done(&m);
	}
	return 0;
}
