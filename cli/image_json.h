/* SPDX-License-Identifier: Apache-2.0 */
/* Images and blobs as members of an open JSON object. */
#pragma once

#include "cli/cli.h"

void image_json(struct varve_json *j, const struct varve_image *m);
void blob_json(struct varve_json *j, const struct varve_blob_info *b);
/* null for 0 */
void time_json(struct varve_json *j, const char *key, int64_t seconds);
