/* SPDX-License-Identifier: Apache-2.0 */
/* What LMDB says in our words: what is damage, what is a full map, what is the disk. */

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/index/index_internal.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

static bool is_corruption(int rc)
{
	switch (rc) {
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
	case MDB_BAD_DBI:
	case MDB_NOTFOUND: /* a table that must be there */
	case MDB_CURSOR_FULL:
		return true;
	default:
		return false;
	}
}

int index_fail_corrupt(const struct index *ix, struct varve_err *e, const char *why)
{
	return varve_fail(e, VARVE_E_CORRUPT,
			  "the database of the store %s is damaged (%s); make it again with: varve "
			  "check --rebuild",
			  ix->path, why);
}

/*
 * A commit that finds no room is a short write, which LMDB calls EIO. A quota leaves room on the
 * disk, so ask by writing: what a commit of some size would meet, a file without a name meets too.
 */
int index_true_reason(int rc, int db)
{
	static const char block[1 << 16];
	VARVE_CLOSE int fd = -1;
	struct statvfs v;
	int i;

	if (rc != EIO)
		return rc;
	if (fstatvfs(db, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < (1u << 20))
		return ENOSPC;
	fd = openat(db, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	for (i = 0; fd >= 0 && i < 32; i++) {
		if (fsx_pwrite_all(fd, block, sizeof(block), (uint64_t)i * sizeof(block)) < 0)
			return errno == EDQUOT || errno == EFBIG || errno == ENOSPC ? errno : EIO;
	}
	return rc;
}

int index_fail_mdb(const struct index *ix, int rc, const char *doing, struct varve_err *e)
{
	if (is_corruption(rc))
		return index_fail_corrupt(ix, e, mdb_strerror(rc));
	if (ix->memory < 0)
		rc = index_true_reason(rc, ix->db);
	if (rc == ENOSPC || rc == EDQUOT || rc == EFBIG || rc == MDB_MAP_FULL)
		return varve_fail(e, VARVE_E_NOSPACE,
				  "%s the database of the store %s: no space left %s; "
				  "make room, for example with: varve gc",
				  doing, ix->path,
				  rc == EDQUOT  ? "within the quota"
				  : rc == EFBIG ? "within the limit on the size of files"
						: "on its disk");
	return varve_fail(e, rc > 0 ? rc : EIO, "%s the database of the store %s: %s%s", doing,
			  ix->path, mdb_strerror(rc),
			  rc == ENOMEM ? " (it needs 1 GiB of address space: see ulimit -v)" : "");
}
