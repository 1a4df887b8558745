/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing read from a Dockerfile: which archives its last stage unpacks into "/". Pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

#define DOCKERFILE_MAX (1u << 20)

struct dockerfile_add {
	char **sources; /* in their order, relative to the Dockerfile's directory */
	size_t n_sources;
	char *remote;         /* the first that is a URL, which is not unpacked, else NULL */
	char *base;           /* image of the last FROM if it is not "scratch", else NULL */
	unsigned n_lost;      /* RUN, COPY and other ADD lines of the last stage */
	char first_lost[200]; /* the first of them, escaped, cut; "" if none */
};

/*
 * What the ADD lines of the last stage bring whose destination is "/", in any spelling of it.
 * VARVE_E_UNSUPPORTED when there is none, when the stage builds on another image, or when a source
 * has variables or an option that changes it (--chown, --exclude): the message says which.
 * VARVE_E_FORMAT, VARVE_E_LIMIT. Free with dockerfile_add_done.
 */
int dockerfile_parse(struct dockerfile_add *ret, const void *p, size_t n, struct varve_err *e);
void dockerfile_add_done(struct dockerfile_add *d);
