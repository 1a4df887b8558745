/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the entries of an OCI layout are imported. */
#pragma once

#include "materialize/import/import_layout.h"

/*
 * Which entries are imported: what is no image is left out, of one name that of the platform is
 * taken. Sets wanted, next and later; an error names what there is.
 */
int layout_choose(struct layout *l, struct varve_err *e);
