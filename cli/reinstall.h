/* SPDX-License-Identifier: Apache-2.0 */
/* install: its options, and the trees that it makes anew. */
#pragma once

#include "cli/asking.h"
#include "cli/settings.h"

struct install_options {
	struct pulling pulling;
	struct finishing finishing;
	struct making making;
	unsigned pull; /* when to ask the registry */
	unsigned type; /* of a file: enum varve_import_type */
	const char *name, *path, *label_active;
	bool all_outdated, switch_to, force, no_keep, no_sync;
	unsigned keep, threads;
};

/*
 * True: there is a tree of the label, made of the same image under the same reference with the same
 * settings; t->active and path say where. What is wrong with the roots dir is told by the install.
 */
bool install_is_there(struct cli *c, const char *roots, struct varve_tree *t, char *path,
		      size_t size);

/*
 * The tag of an installed tree is pulled again, and the tree built anew under its label: for its
 * platform, from its source, with the users, hooks and settings of the command that made it.
 */
typedef int install_again_fn(struct cli *c, const struct install_options *o,
			     const struct question *q, struct varve_err *e);
/* All trees whose tags have moved. One that cannot be made anew is told, and the others go on. */
int reinstall_outdated(struct cli *c, const struct install_options *o, install_again_fn *again,
		       struct varve_err *e);
