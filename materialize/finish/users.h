/* SPDX-License-Identifier: Apache-2.0 */
/* Editing the small text files of a tree (/etc/passwd and the like) as seen from inside it. */
#pragma once

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "varve-materialize.h"

#define ETC_NAME_MAX 64
#define ETC_FILE_MAX (8u << 20) /* a hostile /etc/group must not eat the memory */

/* A text file of a tree in memory. */
struct etc_file {
	int dirfd;      /* the directory that really holds it, inside the tree */
	char name[256]; /* in that directory */
	bool exists, changed;
	struct stat st;
	struct buf text;
};
/*
 * Read path of the tree at rootfd; symlinks are followed inside it, so an image whose /etc leads to
 * the host's gets its own. A missing file is an empty one (exists false) if its directory is there;
 * VARVE_E_UNSAFE: no regular file.
 */
int etc_open(int rootfd, const char *path, struct etc_file *ret, struct varve_err *e);
/* Replace it if changed: mode and owner stay; a new one gets mode, root:root. Where mode gives
 * others nothing, a file that is not root's, or that more than a group can read, becomes root's
 * with 0600. */
int etc_save(struct etc_file *f, mode_t mode, struct varve_err *e);
void etc_close(struct etc_file *f);

/* The last line whose first field is key; false if none. *ret_at: where it starts. */
bool etc_find(const struct etc_file *f, const char *key, struct span *ret, size_t *ret_at);
/* Field i of a line of fields with ":" between; empty if there is none. */
struct span etc_field(struct span line, unsigned i);
/* The first line whose field i is value; false if none. */
bool etc_find_by(const struct etc_file *f, unsigned i, struct span value, struct span *ret);
/* Of the numbers in field i of all lines those from first to before end: taken[number - first]. */
void etc_ids(const struct etc_file *f, unsigned i, uint32_t first, uint32_t end, bool *taken);
/* Replace the lines with key by one line, or append it. */
void etc_put(struct etc_file *f, const char *key, const char *line);
/* Every line with key: field i becomes value. False if there was none. */
bool etc_set_field(struct etc_file *f, const char *key, unsigned i, struct span value);
/* Set one key of one [section]; all else stays byte for byte. */
void etc_set_ini(struct etc_file *f, const char *section, const char *key, const char *value);
/* Can be the name of a user, a group or a host: no ":", "/", blanks or control characters. */
bool etc_name_is_good(const char *name);
