/* SPDX-License-Identifier: Apache-2.0 */
/* How overlayfs marks what a layer removes (Linux, Documentation/filesystems/overlayfs.rst). */
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/tree_internal.h"

void tree_read_overlay(struct tree *t, bool yes)
{
	t->overlay = yes;
}

/* The value of an attribute of overlayfs, as root writes it or with the mount option userxattr. */
static bool get_xattr(const struct toc_entry *x, const char *name, struct varve_xattr *ret)
{
	static const char *const spaces[] = {"trusted.overlay.", "user.overlay."};
	const char *p = x->xattrs;

	for (uint32_t i = 0; i < x->n_xattrs; i++) {
		p = toc_xattr(p, ret);
		for (size_t k = 0; k < VARVE_ARRAY_SIZE(spaces); k++) {
			size_t n = strlen(spaces[k]);

			if (!strncmp(ret->name, spaces[k], n) && !strcmp(ret->name + n, name))
				return true;
		}
	}
	return false;
}

enum overlay_mark tree_overlay_mark(const struct toc_entry *x)
{
	struct varve_xattr v;

	if (x->flags & TAR_HARDLINK)
		return OVERLAY_NONE;
	if (S_ISCHR(x->mode) && !x->rdev_major && !x->rdev_minor)
		return OVERLAY_WHITEOUT;
	/* Since Linux 6.7: an empty file in a directory whose opaque is "x". */
	if (S_ISREG(x->mode) && !x->size && get_xattr(x, "whiteout", &v))
		return OVERLAY_WHITEOUT;
	if (get_xattr(x, "redirect", &v) || (S_ISREG(x->mode) && get_xattr(x, "metacopy", &v)))
		return OVERLAY_NOT_WHOLE;
	if (S_ISDIR(x->mode) && get_xattr(x, "opaque", &v) && v.size == 1 &&
	    *(const char *)v.value == 'y')
		return OVERLAY_OPAQUE;
	return OVERLAY_NONE;
}
