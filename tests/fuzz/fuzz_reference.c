/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as an image reference: refused, or its
 * canonical and familiar forms mean the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "varve-fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_again(const struct varve_reference *r, const char *text)
{
	struct varve_reference again;

	if (varve_reference_parse(&again, text, NULL) < 0 || memcmp(r, &again, sizeof(again)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 1), buf[800], label[512];
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_reference r;

	if (!text)
		abort();
	if (n)
		memcpy(text, data, n);
	text[n] = 0;
	if (varve_reference_parse(&r, text, &e) == 0) {
		check_again(&r, varve_reference_canonical(&r, buf));
		check_again(&r, varve_reference_familiar(&r, buf));
		(void)varve_reference_label(&r, label);
		if (strchr(label, '/') || strlen(label) > 200 || label[0] == '.' || !*label)
			abort();
	}
	free(text);
	return 0;
}
