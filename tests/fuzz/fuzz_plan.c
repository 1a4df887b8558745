/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks of layers as plans (program.h): what holds for every plan holds for these. */
#include "program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(struct varve_plan *p)
{
	plan_check(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	program_run(data, n, check);
	return 0;
}
