/* SPDX-License-Identifier: Apache-2.0 */
/* Judge by owner and mode who may have written a store. */
#include "store/trust.h"

#include "store/base/err.h"
#include "store/base/text.h"
#include "store/layout.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool trust_owner(const struct varve_store *s, uid_t uid)
{
	size_t i;

	if (uid == geteuid() || uid == 0)
		return true;
	for (i = 0; i < s->n_trusted; i++) {
		if (s->trusted[i] == uid)
			return true;
	}
	return false;
}

bool trust_stat(const struct varve_store *s, const struct stat *st)
{
	/* With an ACL the bits of the group are its
	 * mask: what they forbid no entry of it allows. */
	return trust_owner(s, st->st_uid) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int distrust(struct varve_store *s, const char *name, const struct stat *st,
		    struct varve_err *e)
{
	int n = trust_owner(s, st->st_uid)
			? asprintf(&s->foreign, "others may write to %s",
				   strcmp(name, "it") == 0 ? "its directory" : name)
			: asprintf(&s->foreign, "%s belongs to user %u", name,
				   (unsigned)st->st_uid);

	if (n < 0) {
		s->foreign = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

int trust_find(struct varve_store *s, struct varve_err *e)
{
	static const char *const names[] = {
		INDEX_DIR,
		INDEX_DIR "/data.mdb",
		INDEX_DIR "/lock",
		LAYOUT_BLOBS,
		LAYOUT_BLOBS "/sha256",
		LAYOUT_BLOBS "/sha512",
		LAYOUT_AUX,
		LAYOUT_TMP,
		LAYOUT_PARTIAL,
		LAYOUT_LEASES,
		LAYOUT_TRASH,
	};
	struct stat st;
	size_t i;

	if (fstat(s->root, &st) < 0)
		return varve_fail_errno(e, "%s", s->path);
	if (!trust_stat(s, &st))
		return distrust(s, "it", &st, e);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (fstatat(s->root, names[i], &st, 0) == 0 && !trust_stat(s, &st))
			return distrust(s, names[i], &st, e);
	}
	return 0;
}
