/* SPDX-License-Identifier: Apache-2.0 */
/* Files as images: what import and install share. */
#pragma once

#include "cli/cli.h"

/*
 * 1: a user who types this means a file: a path, or the name of one that is there and looks like an
 * archive. 0: a reference. VARVE_E_NOTFOUND: only an archive would have this name, and there is
 * none.
 */
int importing_is_file(const char *text, struct varve_err *e);
/* "rootfs_debian_sid.tar.xz" -> localhost/debian:sid; debian, sid and debian_sid. VARVE_E_USAGE: it
 * makes no name. */
int importing_name(const char *path, struct varve_import_name *ret,
		   struct varve_import_label *ret_label, struct varve_err *e);
/* For varve_import_options.normalise. */
int importing_normalise(void *user, const char *text, struct varve_import_name *ret,
			struct varve_err *e);
