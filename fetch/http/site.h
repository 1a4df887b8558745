/* SPDX-License-Identifier: Apache-2.0 */
/* Sites: hosts of one registrable domain. */
#pragma once

#include "varve-base.h"

struct url;

/*
 * Run by the same owner: equal, one a sub-domain of the other, or (with libpsl) of one registrable
 * domain. IP literals only when equal. Hosts as in struct url. In site.c.
 */
bool url_same_site(const char *a, const char *b);
