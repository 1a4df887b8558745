/* SPDX-License-Identifier: Apache-2.0 */
/* User namespaces: is this process in one? */
#pragma once

#include <stdbool.h>

/* True if this process is in a user namespace that has ids of its own. */
bool userns_is_mapped(void);
