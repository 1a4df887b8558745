/* SPDX-License-Identifier: Apache-2.0 */
/* The way into a roots dir: locked, and what was cut in two finished or undone. */

#include "materialize/trees/trees.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/blob.h"
#include "store/catalog.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

int tree_scan_open(struct roots *r, struct tree_scan *ret, struct varve_store *s, const char *path,
		   struct varve_err *e)
{
	int x = roots_open(r, s, path, false, e);

	if (x < 0)
		return x;
	x = roots_lock(r, e);
	if (x >= 0)
		x = tree_scan(r, ret, e);
	if (x < 0)
		roots_close(r);
	return x;
}

void tree_scan_close(struct roots *r, struct tree_scan *s)
{
	tree_scan_done(s);
	roots_close(r);
}

int roots_lock(struct roots *r, struct varve_err *e)
{
	int ret;

	if (!r->writable)
		return varve_fail(e, VARVE_E_READONLY, "%s: cannot write to this roots dir",
				  TEXT_SAFE(r->path));
	if (!r->journalled)
		return varve_fail(
			e, VARVE_E_READONLY,
			"%s: trees are exchanged and removed under a journal in the store, "
			"and the store %s is read-only",
			TEXT_SAFE(r->path), TEXT_SAFE(varve_store_path(r->store)));
	ret = roots_lock_new(r, e);
	if (ret < 0)
		return ret;
	ret = swap_recover(r, e);
	if (ret < 0)
		roots_unlock(r);
	return ret;
}
