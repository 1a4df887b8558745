/* SPDX-License-Identifier: Apache-2.0 */
/* Files as images: what import and install share. */
#pragma once

#include "cli.h"

/* Whether a user who types this means a file: a path, or a name of an existing file that looks like
 * an archive. */
bool importing_is_file(const char *text);
/* "rootfs_debian_sid.tar.xz" -> localhost/debian:sid; debian, sid and debian_sid. VARVE_E_USAGE: it
 * makes no name. */
int importing_name(const char *path, struct varve_import_name *ret,
		   struct varve_import_label *ret_label, struct varve_err *e);
/* For varve_import_options.normalise. */
int importing_normalise(void *user, const char *text, struct varve_import_name *ret,
			struct varve_err *e);
