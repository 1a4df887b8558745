/* SPDX-License-Identifier: Apache-2.0 */
/* A parsed library file, between its parser and the look-up. */
#pragma once

#include "fetch/official/official_library.h"

struct official_field {
	struct span key, value; /* the value with its continuation lines, trimmed */
};
struct official_paragraph {
	size_t first, n; /* fields */
};
struct official_library {
	char *text; /* without comment lines; fields point into it */
	struct official_field *fields;
	size_t n_fields, cap_fields;
	struct official_paragraph *entries;
	size_t n_entries, cap_entries;
	struct official_paragraph global;
	bool lines; /* the old format */
};

/* The last field "[prefix-]key" of a paragraph, or NULL. */
const struct official_field *official_find_field(const struct official_library *l,
						 struct official_paragraph p, const char *prefix,
						 const char *key);
