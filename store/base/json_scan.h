/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of JSON, without building anything. */
#pragma once

#include "store/base/buf.h"

/* NULL: text is one document that cJSON would take, given memory, and refuses nothing of. Else the
 * reason, and where. */
const char *json_scan(struct span text, size_t *ret_at);
