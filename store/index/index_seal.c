/* SPDX-License-Identifier: Apache-2.0 */
/* The seal in db/lock: what the database and index.json looked like when we last wrote them. */
#include "store/index/index_internal.h"

#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/index/crc32c.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

/* At offset 0 of db/lock, little-endian. Data: the file after our last commit. */
struct seal {
	char magic[8];
	uint64_t data_ino, data_size, data_mtime_ns;
	uint64_t generation;
	uint64_t mirror_generation, mirror_ino, mirror_size, mirror_mtime_ns;
	uint32_t foreign, crc;
};
static const char seal_magic[8] = {'v', 'a', 'r', 'v', 'e', 's', 'l', '1'};

static bool seal_read(const struct index *ix, struct seal *s)
{
	return ix->lock >= 0 && fsx_pread_full(ix->lock, s, sizeof(*s), 0) == sizeof(*s) &&
	       memcmp(s->magic, seal_magic, sizeof(seal_magic)) == 0 &&
	       s->crc == htole32(crc32c(0, s, offsetof(struct seal, crc)));
}

/* Failures only cost a verification at the next open. */
static void seal_write(const struct index *ix, struct seal *s)
{
	if (ix->lock < 0 || ix->read_only)
		return;
	memcpy(s->magic, seal_magic, sizeof(seal_magic));
	s->crc = htole32(crc32c(0, s, offsetof(struct seal, crc)));
	(void)fsx_pwrite_all(ix->lock, s, sizeof(*s), 0);
}

bool index_data_stat(const struct index *ix, struct stat *st)
{
	return fstatat(ix->db, INDEX_DATA, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

static uint64_t mtime_of(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

static bool fits(const struct seal *s, const struct stat *st)
{
	return le64toh(s->data_ino) == st->st_ino &&
	       le64toh(s->data_size) == (uint64_t)st->st_size &&
	       le64toh(s->data_mtime_ns) == mtime_of(st);
}

bool index_seal_fits(const struct index *ix, const struct stat *st)
{
	struct seal s;

	return seal_read(ix, &s) && fits(&s, st);
}

void index_seal_data(const struct index *ix, uint64_t generation)
{
	struct seal s, old;
	struct stat st;

	if (ix->lock < 0 || !index_data_stat(ix, &st))
		return;
	if (!seal_read(ix, &old))
		old = (struct seal){.foreign = 0};
	s = old;
	s.data_ino = htole64(st.st_ino);
	s.data_size = htole64((uint64_t)st.st_size);
	s.data_mtime_ns = htole64(mtime_of(&st));
	s.generation = htole64(generation);
	if (memcmp(&s, &old, sizeof(s)) != 0)
		seal_write(ix, &s);
}

void index_seal_break(const struct index *ix)
{
	struct seal none = {.foreign = 0};

	seal_write(ix, &none);
}

static struct index_mirror mirror_of(const struct seal *s)
{
	return (struct index_mirror){
		.generation = le64toh(s->mirror_generation),
		.ino = le64toh(s->mirror_ino),
		.size = le64toh(s->mirror_size),
		.mtime_ns = (int64_t)le64toh(s->mirror_mtime_ns),
		.foreign = s->foreign != 0,
	};
}

bool index_get_seal(struct index *ix, struct index_mirror *ret, uint64_t *ret_generation)
{
	struct seal s;
	struct stat st;

	if (!seal_read(ix, &s) || !index_data_stat(ix, &st) || !fits(&s, &st))
		return false;
	*ret = mirror_of(&s);
	*ret_generation = le64toh(s.generation);
	return true;
}

bool index_get_mirror(const struct index *ix, struct index_mirror *ret)
{
	struct seal s;

	if (!seal_read(ix, &s))
		return false;
	*ret = mirror_of(&s);
	return true;
}

int index_put_mirror(struct index *ix, const struct index_mirror *m, struct varve_err *e)
{
	struct seal s;

	if (ix->lock < 0)
		return 0;
	(void)pthread_mutex_lock(&ix->mutex);
	if (fsx_flock_wait(ix->lock, LOCK_EX, ix->ctx) < 0) {
		(void)pthread_mutex_unlock(&ix->mutex);
		return varve_fail_errno(e, "lock the database of the store %s", ix->path);
	}
	if (seal_read(ix, &s)) {
		s.mirror_generation = htole64(m->generation);
		s.mirror_ino = htole64(m->ino);
		s.mirror_size = htole64(m->size);
		s.mirror_mtime_ns = htole64((uint64_t)m->mtime_ns);
		s.foreign = htole32(m->foreign);
		seal_write(ix, &s);
	}
	(void)flock(ix->lock, LOCK_UN);
	(void)pthread_mutex_unlock(&ix->mutex);
	return 0;
}
