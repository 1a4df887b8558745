/* SPDX-License-Identifier: Apache-2.0 */
/* Environments of LMDB: the names of the tables and files, the size of the map, a new one. */

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

const char *const index_table_names[INDEX_N_TABLES] = {
	"meta", "blob", "more", "image", "tag", "install", "pin", "used", "state", "origin",
};

const char *index_file(const char *path, const char *name, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s/" INDEX_DIR "/%s", path, name);
	return buf;
}

size_t index_map_for(uint64_t file_size)
{
	size_t map = INDEX_MAP_SIZE;

	while (map / 2 < file_size)
		map *= 2;
	return map;
}

int index_new_env(MDB_env **ret, const char *file, unsigned flags, size_t map_size)
{
	MDB_env *env;
	int rc = mdb_env_create(&env);

	if (rc)
		return rc;
	rc = mdb_env_set_maxdbs(env, INDEX_N_TABLES);
	if (!rc)
		rc = mdb_env_set_mapsize(env, map_size);
	if (!rc)
		rc = mdb_env_open(env, file, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | flags, 0644);
	if (rc) {
		mdb_env_close(env);
		return rc;
	}
	*ret = env;
	return 0;
}
