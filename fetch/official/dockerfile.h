/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing read from a Dockerfile: which tarball its last stage unpacks into "/". Pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

#define DOCKERFILE_MAX (1u << 20)

struct dockerfile_add {
	char *source;         /* as written, relative to the Dockerfile's directory */
	char *base;           /* image of the last FROM if it is not "scratch", else NULL */
	unsigned n_adds;      /* lines that add to "/" in the last stage; the last one is source */
	unsigned n_lost;      /* RUN, COPY and other ADD lines of the last stage */
	char first_lost[200]; /* the first of them, escaped, cut; "" if none */
};

/*
 * The last ADD line of the last stage whose destination is exactly "/". VARVE_E_UNSUPPORTED when
 * there is none, when the stage builds on another image, or when the source is a URL or has
 * variables: the message says which. VARVE_E_FORMAT, VARVE_E_LIMIT. Free with dockerfile_add_done.
 */
int dockerfile_parse(struct dockerfile_add *ret, const void *p, size_t n, struct varve_err *e);
void dockerfile_add_done(struct dockerfile_add *d);
