/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: blobs named by their digest, images and tags over them, installed trees, gc and check.
 *
 * On disk it is a valid OCI image layout with an LMDB index that can always be rebuilt
 * (docs/store-format.md). Any number of processes may use one store at a time.
 */
#ifndef VARVE_STORE_H
#define VARVE_STORE_H

#include "varve-base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VARVE_SIZE_UNKNOWN UINT64_MAX

/*
 * Option structs here and in the other headers begin with their size, which their initialiser sets.
 * The library reads what that covers, and takes 0 for members that it does not: so a program runs
 * with an older and with a newer library than the one that it was compiled for. VARVE_E_USAGE: the
 * size is 0, or less than the struct ever had.
 */

struct varve_store;
struct varve_layer_ops;
struct varve_spool;

/*
 * What a layer or an image may ask of us; the member "limits" of the configuration. Inside another
 * struct its size is not looked at: that of the outer one counts.
 */
struct varve_limits {
	size_t size;
	uint64_t max_layer_bytes;   /* uncompressed; 0: 64 GiB */
	uint64_t max_layer_entries; /* 0: 5,000,000 */
	uint64_t max_entries;       /* per image; 0: 10,000,000 */
	uint32_t max_path;          /* bytes; 0: 32768 */
	uint32_t max_depth;         /* components; 0: 1024 */
	uint32_t max_ratio;         /* output > ratio * input + 1 GiB is refused; 0: 1000 */
	uint64_t max_link_work; /* steps over targets of symlinks; 0: 20,000,000 + 64 an entry */
	uint64_t max_documents; /* bytes of documents that an import reads; 0: 256 MiB */
	VARVE_ROOM;
};

struct varve_store_options {
	size_t size;      /* sizeof(struct), set by the initialiser */
	const char *path; /* the store directory */
	bool create;      /* make it when it is missing */
	bool restore;     /* a backup becomes a store: varve_store_check with rebuild follows */
	bool read_only;   /* never write; a read-only mount is found out without it */
	bool force_fs; /* use it on a network file system or FUSE although locks may not hold there
			*/
	const char *const
		*lower; /* read-only stores consulted before the network, NULL-terminated */
	struct varve_limits limits; /* for layers that are read with this handle */
	/*
	 * User ids whose stores and roots dirs are believed as the caller's own and root's are, as
	 * the lower stores of an administrator. Copied.
	 */
	const uint32_t *trusted;
	size_t n_trusted;
};
#define VARVE_STORE_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(struct varve_store_options)                                         \
	}

/*
 * VARVE_E_NOTFOUND (missing and not create), VARVE_E_NOSTORE (something else is there),
 * VARVE_E_VERSION. A store that the caller may write to, and that belongs to another user
 * (VARVE_E_CONFLICT) or that others may write to (VARVE_E_UNSAFE), is refused unless read_only.
 * Whatever then needs a damaged index gives VARVE_E_CORRUPT: check --rebuild makes it again. ctx is
 * borrowed.
 */
VARVE_PUBLIC int varve_store_open(struct varve_store **ret, const struct varve_ctx *ctx,
				  const struct varve_store_options *opt, struct varve_err *e);
VARVE_PUBLIC void varve_store_close(struct varve_store *s);
VARVE_PUBLIC const char *varve_store_path(const struct varve_store *s);
VARVE_PUBLIC bool varve_store_is_read_only(const struct varve_store *s);

/* --- platform --- */
struct varve_platform {
	char os[32];
	char arch[32];
	char variant[16]; /* empty: none */
};
/* "linux/arm64/v8", "arm64", "linux/x86_64": normalised by docs/requirements.md 3.15. */
VARVE_PUBLIC int varve_platform_parse(struct varve_platform *ret, const char *text,
				      struct varve_err *e);
VARVE_PUBLIC void varve_platform_host(struct varve_platform *ret);
/* "os/arch" or "os/arch/variant". */
VARVE_PUBLIC const char *varve_platform_str(const struct varve_platform *p, char buf[84]);

/* --- blobs --- */
enum varve_blob_kind {
	VARVE_BLOB_OTHER,
	VARVE_BLOB_INDEX,
	VARVE_BLOB_MANIFEST,
	VARVE_BLOB_CONFIG,
	VARVE_BLOB_LAYER,
};
enum varve_compression {
	VARVE_COMP_UNKNOWN,
	VARVE_COMP_NONE,
	VARVE_COMP_GZIP,
	VARVE_COMP_ZSTD,
	VARVE_COMP_XZ,
	VARVE_COMP_BZIP2,
	VARVE_COMP_SQUASHFS, /* not a tar: a whole tree */
};
VARVE_PUBLIC const char *varve_compression_str(enum varve_compression c);

/* What the first full read of a layer found out. */
struct varve_layer_facts {
	struct varve_digest diff_id; /* of the uncompressed tar (image-spec config.md) */
	uint64_t size;               /* uncompressed bytes */
	uint64_t entries;
	enum varve_compression compression;
	/* Not recorded: behind the end of the archive follows a further one, in the same
	 * compression or in another. */
	bool concatenated, mixed;
	VARVE_ROOM;
};
struct varve_blob_info {
	struct varve_digest digest;
	uint64_t size;
	enum varve_blob_kind kind;
	bool present;   /* false: recorded, but its bytes are missing */
	bool has_facts; /* facts are valid (layers that were read once) */
	struct varve_layer_facts facts;
	int64_t verified_at; /* seconds since the epoch of the last full verification */
	uint64_t references; /* complete or partial images that name it */
	VARVE_ROOM;
};

/* --- images and tags --- */

/* One stored image under one name. Strings live as long as the list they came in. */
struct varve_image {
	const char
		*name; /* familiar: "debian:sid", "127.0.0.1:5000/team/app:1"; NULL if untagged */
	const char *reference; /* canonical: "docker.io/library/debian:sid"; NULL if untagged */
	const char *source;    /* "registry", "official", "import"; where it came from */
	const char *origin;    /* URL, path or repository that it is of; may be NULL */
	const char *place;     /* host that resolved the tag, a mirror perhaps; may be NULL */
	struct varve_digest target; /* what the name resolved to: an image index or the manifest */
	struct varve_digest manifest; /* of the platform */
	struct varve_digest config;
	struct varve_platform platform;
	uint64_t n_layers;
	uint64_t size;          /* manifest, config and distinct layers, compressed bytes */
	uint64_t own_size;      /* freed if only this image went */
	uint64_t shared_size;   /* stored here, and needed by other images as well */
	uint64_t unpacked_size; /* sum over layers of uncompressed bytes, 0 if not all were read */
	int64_t fetched_at, last_used;
	bool pinned;
	bool complete;     /* all blobs present */
	bool is_default;   /* the platform a plain name means when several are stored */
	const char *lower; /* path of the lower store that holds it; NULL: this store */
	VARVE_ROOM;
};
struct varve_image_list {
	struct varve_image *items;
	size_t n;
	void *priv;
	VARVE_ROOM;
};
/* Sorted by name, those of lower stores among them. Free with varve_image_list_free. */
VARVE_PUBLIC int varve_store_images(struct varve_store *s, struct varve_image_list *ret,
				    struct varve_err *e);
VARVE_PUBLIC void varve_image_list_free(struct varve_image_list *l);
/*
 * One image by canonical reference, familiar name, "name@digest" or manifest digest (full or a
 * unique prefix of at least 12 hex characters). platform NULL: the default one. The list then has
 * exactly one item. VARVE_E_NOTFOUND names the nearest stored names.
 */
VARVE_PUBLIC int varve_store_find(struct varve_store *s, const char *what,
				  const struct varve_platform *platform,
				  struct varve_image_list *ret, struct varve_err *e);

struct varve_blob_list {
	struct varve_blob_info *items;
	size_t n;
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_store_blobs(struct varve_store *s, struct varve_blob_list *ret,
				   struct varve_err *e);
/* The layers of an image, base first, repeated ones repeated. */
VARVE_PUBLIC int varve_store_layers(struct varve_store *s, const struct varve_digest *manifest,
				    struct varve_blob_list *ret, struct varve_err *e);
VARVE_PUBLIC void varve_blob_list_free(struct varve_blob_list *l);
/* Bytes of a small blob (manifest, index, config);
 * verified. *ret is malloc'ed and NUL-terminated. */
VARVE_PUBLIC int varve_store_read_blob(struct varve_store *s, const struct varve_digest *d,
				       char **ret, size_t *ret_size, struct varve_err *e);

/* Names. tag: newname is a familiar or canonical reference. untag ("remove") leaves blobs to gc. */
VARVE_PUBLIC int varve_store_tag(struct varve_store *s, const char *what, const char *new_reference,
				 struct varve_err *e);
VARVE_PUBLIC int varve_store_untag(struct varve_store *s, const char *what,
				   const struct varve_platform *platform, struct varve_err *e);
VARVE_PUBLIC int varve_store_pin(struct varve_store *s, const char *what, bool pin,
				 struct varve_err *e);

/* --- installed trees (records; the trees are made by varve-materialize.h) --- */
enum varve_install_state {
	VARVE_INSTALL_STAGING,   /* being built */
	VARVE_INSTALL_SWITCHING, /* a rename is under way */
	VARVE_INSTALL_READY,     /* whole */
	VARVE_INSTALL_PREVIOUS,  /* the previous generation of a label */
};
struct varve_install_record {
	const char *id;    /* 16 hex characters */
	const char *roots; /* absolute path of the roots dir */
	const char *label; /* "debian_sid" */
	const char
		*directory; /* name below roots now: "rootfs", "rootfs_debian_sid", ".rootfs_…" */
	const char *reference; /* canonical; may be NULL */
	struct varve_digest manifest;
	struct varve_platform platform;
	enum varve_install_state state;
	uint64_t dev, ino; /* of the tree's root */
	int64_t installed_at;
	uint64_t generation;
	uint32_t made; /* VARVE_MADE_*; 0: by a version that did not record it */
	/* What it takes to ask for a newer one and to build that like this one. NULL: not known. */
	const char *source;         /* "registry", "official", "import" */
	const char *origin;         /* of the official source: repository, commit and file */
	struct varve_digest target; /* what the reference meant: an index, or the manifest */
	const char *settings; /* options of the command that made it, one a line; see install */
	VARVE_ROOM;
};
/* How a tree was made, and what of its image it could therefore not keep. */
#define VARVE_MADE_RECORDED      1u
#define VARVE_MADE_NO_OWNERS     2u  /* every file is its maker's */
#define VARVE_MADE_UNPRIVILEGED  4u  /* without root: no privileged xattrs */
#define VARVE_MADE_USERNS        8u  /* owners are as a user namespace maps them */
#define VARVE_MADE_NO_DEVICES    16u /* some could not be made */
#define VARVE_MADE_NO_LINKS      32u /* some hard links had to be copies */
#define VARVE_MADE_KEEP_DIRLINKS 64u /* with varve_plan_options.keep_dirlinks */
struct varve_install_list {
	struct varve_install_record *items;
	size_t n;
	void *priv;
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_store_installs(struct varve_store *s, const char *roots /* NULL: all */,
				      struct varve_install_list *ret, struct varve_err *e);
VARVE_PUBLIC void varve_install_list_free(struct varve_install_list *l);

/* --- gc --- */
enum varve_gc_verdict { VARVE_GC_KEEP, VARVE_GC_REMOVE };
struct varve_gc_item {
	enum varve_gc_verdict verdict;
	const char *what; /* "blob", "partial", "toc", "tag", "trash", "lease", "scratch" */
	const char *name; /* digest or reference */
	uint64_t size;
	const char *reason; /* "tag debian:sid", "no image needs it", … */
	/* Of a tag: what only its image needs, and what others need too. */
	uint64_t own_size, shared_size;
	bool orphan; /* a blob without a record */
};
struct varve_gc_options {
	size_t size;
	bool dry_run;
	uint64_t max_size;   /* bytes; VARVE_SIZE_UNKNOWN: none */
	uint64_t older_than; /* seconds since last use; VARVE_SIZE_UNKNOWN: none */
	uint64_t min_free;   /* bytes to be free on the file system, 0: none */
	unsigned min_free_percent;
	const char *const *keep; /* globs of names that budget mode leaves alone */
	uint64_t grace;          /* seconds that an unreferenced blob must be old; default 0 */
	void (*item)(void *user, const struct varve_gc_item *item);
	void *user;
};
#define VARVE_GC_OPTIONS_INIT                                                                      \
	{                                                                                          \
		.size = sizeof(struct varve_gc_options), .max_size = VARVE_SIZE_UNKNOWN,           \
		.older_than = VARVE_SIZE_UNKNOWN                                                   \
	}
struct varve_gc_result {
	uint64_t kept_blobs, kept_bytes;
	uint64_t removed_blobs, removed_bytes;
	uint64_t removed_tags, removed_partials;
	VARVE_ROOM;
};
/*
 * VARVE_E_BUDGET: everything removable is gone and the budget is still not met. The result is valid
 * then, and after any other failure it counts what was removed before.
 */
VARVE_PUBLIC int varve_store_gc(struct varve_store *s, const struct varve_gc_options *opt,
				struct varve_gc_result *ret, struct varve_err *e);

/* --- check --- */
struct varve_check_finding {
	bool error; /* false: worth knowing, not damage */
	bool repaired;
	const char *what; /* "blob", "image", "tag", "install", "index.json", "database", … */
	const char *name;
	const char *message; /* what is wrong and what to do */
};
struct varve_check_options {
	size_t size;
	bool read_data; /* hash every blob, inflate every layer */
	bool repair;
	bool rebuild;
	/* With repair: fetch one blob again from a remembered source. NULL: only set aside. */
	int (*refetch)(void *user, const struct varve_digest *d, uint64_t blob_size,
		       const char *origin, struct varve_err *e);
	void *refetch_user;
	const struct varve_layer_ops *layers; /* for read_data; may be NULL */
	void (*finding)(void *user, const struct varve_check_finding *f);
	void *user;
};
#define VARVE_CHECK_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(struct varve_check_options)                                         \
	}
struct varve_check_result {
	uint64_t blobs, bytes, images, tags, installs;
	uint64_t errors; /* found, also those that were repaired */
	uint64_t repaired;
	VARVE_ROOM;
};
/* 0 also with errors found: see the result. */
VARVE_PUBLIC int varve_store_check(struct varve_store *s, const struct varve_check_options *opt,
				   struct varve_check_result *ret, struct varve_err *e);

/* --- df --- */
struct varve_df {
	uint64_t blobs, blob_bytes;
	uint64_t shared_bytes; /* needed by more than one image */
	uint64_t own_bytes;    /* needed by exactly one */
	uint64_t partials, partial_bytes;
	uint64_t derived_bytes;              /* tocs and other data that can be made again */
	uint64_t index_bytes;                /* the database */
	uint64_t reclaimable_bytes;          /* what gc would free now; of it or beside it: */
	uint64_t unneeded_bytes;             /* recorded blobs that nothing needs */
	uint64_t orphan_bytes;               /* blobs without a record */
	uint64_t trash_bytes, scratch_bytes; /* left by commands that were cut */
	uint64_t images, tags, installs;
	uint64_t fs_free, fs_size;
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_store_df(struct varve_store *s, struct varve_df *ret, struct varve_err *e);

/*
 * How the part that reads layers (varve-materialize.h: varve_layer_ops()) serves the part that
 * brings blobs in, so that neither includes the other.
 */
struct layer_tee;
struct varve_layer_ops {
	/*
	 * Follow a blob that is being written. fd is borrowed until finish; pread only. The job
	 * reads in a thread of its own what advance() says is there, makes the toc and the facts.
	 * ops: this struct.
	 */
	int (*follow)(const struct varve_layer_ops *ops, void **ret_job, struct varve_store *s,
		      const struct varve_digest *blob, int fd, struct varve_err *e);
	/* Bytes [0, available) are written. Never blocks. end: no more will come. */
	void (*advance)(void *job, uint64_t available, bool end);
	/* What was written before is void: begin again at 0. Never blocks. */
	void (*restart)(void *job);
	/* Has it read all that there is? Then finish() does not wait. */
	bool (*idle)(void *job);
	/* Wait and free. discard: the blob failed; do not wait, ret may be NULL. */
	int (*finish)(void *job, bool discard, struct varve_layer_facts *ret, struct varve_err *e);
	/* Read a stored layer once: makes its toc, returns its facts. */
	int (*read)(struct varve_store *s, const struct varve_digest *blob,
		    struct varve_layer_facts *ret, struct varve_err *e);
	/* A stored blob that is several archives, as the one (gzip) that they mean. */
	int (*join)(struct varve_store *s, const struct varve_digest *blob,
		    int (*put)(void *user, const void *p, size_t n, struct varve_err *e),
		    void *user, struct varve_err *e);
	const struct layer_tee *tee; /* of varve_spool_ops(), else NULL */
};

#ifdef __cplusplus
}
#endif
#endif
