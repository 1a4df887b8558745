/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed input: the next bytes of a source, for whichever codec reads. */

#include "materialize/codec/inflate_codec.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include <stdlib.h>
#include <string.h>

static int source_next(struct inflate_input *in, const uint8_t **ret, size_t *ret_n,
		       struct varve_err *e)
{
	const void *p = NULL;
	size_t n = 0;
	int r = in->src.next(in->src.user, &p, &n, e);

	if (r < 0)
		return r;
	in->taken += n;
	*ret = p;
	*ret_n = n;
	return 0;
}

int inflate_refill(struct inflate_input *in, struct varve_err *e)
{
	int r;

	if (in->end)
		return 0;
	if (in->held_n > 0) {
		in->p = in->held;
		in->n = in->held_n;
		in->held_n = 0;
		return 0;
	}
	r = source_next(in, &in->p, &in->n, e);
	if (r == 0 && in->n == 0) {
		in->end = true;
		in->p = (const uint8_t *)""; /* decoders add to it, if only 0 */
	}
	return r;
}
