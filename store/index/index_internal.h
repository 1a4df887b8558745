/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the database share. The only one that includes lmdb.h. */
#pragma once

#include "store/index/index.h"

#include <lmdb.h>
#include <pthread.h>
#include <sys/stat.h>

#define INDEX_DATA "data.mdb"
/* The map that a small database starts with, in bytes. */
#define INDEX_MAP_SIZE ((size_t)1 << 30)

struct index {
	pthread_mutex_t mutex;
	const struct varve_ctx *ctx;
	char *path; /* of the store, for messages and for LMDB */
	int db;     /* the directory */
	int lock;   /* db/lock; -1: in memory */
	int memory; /* memfd or -1 */
	bool read_only;
	MDB_env *env;
	MDB_dbi dbi[INDEX_N_TABLES];
	uint64_t data_ino;
};

struct index_txn {
	struct index *ix;
	MDB_txn *txn;
	bool map_full;
};

extern const char *const index_table_names[INDEX_N_TABLES];

/* index_fail.c */
int index_fail_corrupt(const struct index *ix, struct varve_err *e, const char *why);
int index_fail_mdb(const struct index *ix, int rc, const char *doing, struct varve_err *e);
/* The reason behind a code of LMDB: a commit that finds no room is called EIO there. */
int index_true_reason(int rc, int db);

/* index_env.c */
int index_new_env(MDB_env **ret, const char *file, unsigned flags, size_t map_size);
/* A map for a file of this size, with room. */
size_t index_map_for(uint64_t file_size);
/* "<path>/db/<name>" */
const char *index_file(const char *path, const char *name, char *buf, size_t size);

/* index_record.c: the value behind its checksum; false if that is wrong. */
bool index_value_open(enum index_table table, const MDB_val *key, const MDB_val *v,
		      struct span *ret);

/* index_seal.c */
bool index_data_stat(const struct index *ix, struct stat *st);
/* The database is as our last commit left it. */
bool index_seal_fits(const struct index *ix, const struct stat *st);
/* It is as it should be now: say so. Under flock. Failures only cost a verification at the next
 * open. */
void index_seal_data(const struct index *ix, uint64_t generation);
/* Before another file takes its place. */
void index_seal_break(const struct index *ix);

/*
 * index_verify.c, under flock: 0 whole, -VARVE_E_CORRUPT with the reason, or what kept us from
 * knowing. Pages: what LMDB needs so as not to crash. Verify: every value as well, in a child
 * process.
 */
int index_check_pages(const struct index *ix, const char *name, struct varve_err *e);
int index_verify(struct index *ix, const char *name, struct varve_err *e);
