/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.json and installs.json: what the database knows of tags, pins and installed trees, in
 * files. Other tools read the first; both are what a rebuild begins from. Entries that other tools
 * put into index.json are kept.
 */
#pragma once

#include "store/base/json.h"
#include "store/store.h"

#define MIRROR_MAX (256u << 20)

/* Annotations of our entries. */
#define MIRROR_REFERENCE "dev.varve.reference"
#define MIRROR_NAME      "dev.varve.name" /* in place of the plain name, for other platforms of it */
#define MIRROR_SOURCE    "dev.varve.source"
#define MIRROR_ORIGIN    "dev.varve.origin"
#define MIRROR_TARGET    "dev.varve.target"
#define MIRROR_FETCHED   "dev.varve.fetched"
#define MIRROR_PINNED    "dev.varve.pinned"

/* Always: also a file that should be right, because it is not or was touched by others. */
enum mirror_when { MIRROR_IF_BEHIND, MIRROR_ALWAYS };

/* After a transaction that called index_bump(). Durable on return. */
int mirror_update(struct varve_store *s, enum mirror_when when, struct varve_err *e);
/* Only if a writer was cut between the two. Errors are warnings: the next writer tries again. */
void mirror_catch_up(struct varve_store *s);
bool mirror_is_behind(struct varve_store *s);

/* index.json is as we wrote it, and nothing in it is of other tools: no need to read it. */
bool mirror_all_ours(struct varve_store *s);

/* For those who read it back. */
int mirror_read_index(struct varve_store *s, json **ret, struct varve_err *e);
bool mirror_entry_is_ours(const json *entry);
bool mirror_install_state(const char *name, enum varve_install_state *ret);
