/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's schema 1 manifests as manifests of today. */
#pragma once

#include "varve-base.h"

struct image_job;
struct pull;

/* schema1.c: make an OCI manifest and config of it, from the facts of its layers. */
int pull_convert_schema1(struct pull *p, struct image_job *im, struct varve_err *e);
