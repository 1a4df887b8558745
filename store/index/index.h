/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database: a few tables of checksummed records over LMDB (docs/store-format.md, "The index").
 * It is an index: everything in it can be made again from the blobs, index.json and installs.json.
 *
 * LMDB's own locking is not used: its reader table goes by process ids, which repeat across PID
 * namespaces, and its mutexes tie every user to one libc. Instead each transaction holds
 * flock(db/lock), shared to read and exclusive to write. So a transaction must be short: copy out,
 * end it, then work. Within a process transactions on one store follow one another; a callback must
 * not begin another one.
 */
#pragma once

/* The directory of the database, in the store. */
#define INDEX_DIR "db"

#include "store/base/buf.h"
#include "varve-base.h"

struct index;
struct index_txn;

enum index_table {
	INDEX_META,
	INDEX_BLOB,
	INDEX_MORE, /* the larger part of a blob's record */
	INDEX_IMAGE,
	INDEX_TAG,
	INDEX_INSTALL,
	INDEX_PIN,
	INDEX_USED,
	INDEX_STATE,
	INDEX_ORIGIN, /* texts that many blobs share */
	INDEX_N_TABLES,
};
#define INDEX_KEY_MAX 511

/* Make db/lock and an empty db/data.mdb where missing. */
int index_create(int root, struct varve_err *e);
/*
 * root is borrowed. Cheap: the database is opened by its first use, which gives VARVE_E_CORRUPT if
 * it is damaged. A change that we did not make (the seal does not fit) is met in a child process
 * first.
 */
int index_open(struct index **ret, int root, const char *path, bool read_only,
	       const struct varve_ctx *ctx, struct varve_err *e);
/* An empty one in memory, writable, of this process only. */
int index_open_memory(struct index **ret, struct varve_err *e);
void index_close(struct index *ix);

/* fn sees one state of all tables. Returns what fn returns. */
int index_view(struct index *ix, int (*fn)(struct index_txn *t, void *user, struct varve_err *e),
	       void *user, struct varve_err *e);
/*
 * One write transaction: all of fn's changes, durable on return, or none (fn < 0, or a failure). fn
 * may be called again from the start when the map had to grow. VARVE_E_NOSPACE when the disk is
 * full.
 */
int index_update(struct index *ix, int (*fn)(struct index_txn *t, void *user, struct varve_err *e),
		 void *user, struct varve_err *e);

/* 1 found, 0 not; the value lives until the transaction ends or changes something. */
int index_get(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      struct span *ret, struct varve_err *e);
int index_put(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      const void *value, size_t value_n, struct varve_err *e);
/* Missing is success. */
int index_del(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      struct varve_err *e);
/* Records whose key begins with prefix, in order of keys. fn non-zero ends with that value; it must
 * not change the table. */
int index_each(struct index_txn *t, enum index_table table, const void *prefix, size_t n,
	       int (*fn)(void *user, struct span key, struct span value, struct varve_err *e),
	       void *user, struct varve_err *e);
uint64_t index_count(struct index_txn *t, enum index_table table);
/* Changes with every committed write of any process. */
uint64_t index_txn_id(struct index_txn *t);

/*
 * The seal, in db/lock: what index.json and installs.json were made from. generation is raised by
 * index_bump() in a transaction that changes what they show.
 */
struct index_mirror {
	uint64_t generation; /* of the records that the files show */
	uint64_t ino, size;  /* of index.json as we wrote it */
	int64_t mtime_ns;
	bool foreign; /* it holds something of other tools */
};
int index_bump(struct index_txn *t, struct varve_err *e);
int index_generation(struct index_txn *t, uint64_t *ret, struct varve_err *e);
/* False if there is no seal that fits the database. ret_generation: of the database at its last
 * commit. */
bool index_get_seal(struct index *ix, struct index_mirror *ret, uint64_t *ret_generation);
/* What the seal says of index.json alone; right under the mirror's lock. False: not known. */
bool index_get_mirror(const struct index *ix, struct index_mirror *ret);
int index_put_mirror(struct index *ix, const struct index_mirror *m, struct varve_err *e);

/* Walk the whole database in a child process, while no writer is at work: 0 whole, -VARVE_E_CORRUPT
 * with the reason. */
int index_check(struct index *ix, struct varve_err *e);
/*
 * Make db/<name> from scratch by fn, then put it in the place of data.mdb in one step, while nobody
 * reads or writes. old: the database so far, or NULL if it is damaged; it is kept as data.mdb.bad.
 */
int index_replace(struct index *ix, const char *name,
		  int (*fn)(struct index_txn *t, struct index_txn *old, void *user,
			    struct varve_err *e),
		  void *user, struct varve_err *e);
/* Bytes of the database file. */
uint64_t index_size(const struct index *ix);
