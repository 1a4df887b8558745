/* SPDX-License-Identifier: Apache-2.0 */
/* Turn stored layers into trees: plan, look inside, install, switch, roll back. */
#ifndef VARVE_MATERIALIZE_H
#define VARVE_MATERIALIZE_H

#include "varve-base.h"
#include "varve-store.h"

#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The layer reader, for varve_pull_options.layers and varve_check_options.layers. */
VARVE_PUBLIC const struct varve_layer_ops *varve_layer_ops(void);

/* --- plan: the final tree of an image, from the tocs alone --- */
struct varve_plan_options {
	size_t size;
	bool strict;        /* names that climb with ".." are an error */
	bool keep_dirlinks; /* a directory entry over a symlink to a directory keeps the link */
	struct varve_limits limits; /* 0: those of the store's handle */
};
#define VARVE_PLAN_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_plan_options)                                          \
	}
struct varve_plan;
struct varve_plan_layer {
	struct varve_digest digest, diff_id;
	uint64_t size, unpacked; /* compressed and uncompressed bytes */
	uint64_t entries;        /* in the layer's toc */
	uint64_t used_entries;   /* supply something of the final tree */
	uint64_t used_bytes;
	VARVE_ROOM;
};
struct varve_plan_summary {
	uint64_t entries, files, directories, symlinks, hardlinks, devices, others;
	uint64_t bytes;  /* of file content */
	uint64_t inodes; /* new inodes that the tree needs */
	uint64_t disk;   /* bytes on disk with 4 KiB blocks */
	uint64_t warnings;
	const struct varve_plan_layer *layers; /* base first; owned by the plan */
	size_t n_layers;
	VARVE_ROOM;
};
/* image: from varve_store_find. Missing tocs are made by reading the layer once. The plan keeps a
 * lease. */
VARVE_PUBLIC int varve_plan_new(struct varve_plan **ret, struct varve_store *s,
				const struct varve_image *image,
				const struct varve_plan_options *opt, struct varve_err *e);
VARVE_PUBLIC void varve_plan_free(struct varve_plan *p);
VARVE_PUBLIC void varve_plan_summary(const struct varve_plan *p, struct varve_plan_summary *ret);
/* The first 1000 of them; NULL behind the last. */
VARVE_PUBLIC const char *varve_plan_warning(const struct varve_plan *p, uint64_t i);

struct varve_entry {
	const char *path; /* without leading slash; "." is the root; raw bytes */
	uint32_t mode;    /* type and permission bits */
	uint32_t uid, gid;
	uint64_t size;
	int64_t mtime;
	uint32_t mtime_ns;
	const char *link; /* symlink target, or the path of the first name of a hard link; NULL */
	bool is_hardlink; /* a further name of link */
	uint32_t dev_major, dev_minor;
	uint32_t layer; /* index into layers */
	uint32_t n_xattrs;
	const struct varve_xattr {
		const char *name;
		const void *value;
		size_t size;
	} * xattrs;
};
/* Depth first, names sorted by bytes, below path ("" or NULL: all). fn non-zero ends with that
 * value. */
VARVE_PUBLIC int varve_plan_each(const struct varve_plan *p, const char *path,
				 int (*fn)(void *user, const struct varve_entry *entry), void *user,
				 struct varve_err *e);
/* Content of one file of the image; symlinks are followed inside it. */
VARVE_PUBLIC int varve_plan_cat(struct varve_plan *p, const char *path,
				int (*write)(void *user, const void *data, size_t n), void *user,
				struct varve_err *e);

/*
 * Bodies of the layers of a cold install, written where they belong while they are downloaded, so
 * that no layer is inflated twice: for one install, below roots. Give its ops to varve_pull and the
 * spool itself to varve_install; free it afterwards, which removes what was not used. threads 0: as
 * many as cores. no_sync as for varve_install: nothing is written out to disk meanwhile.
 */
VARVE_PUBLIC int varve_spool_new(struct varve_spool **ret, const struct varve_ctx *ctx,
				 const char *roots, unsigned threads, bool no_sync,
				 struct varve_err *e);
VARVE_PUBLIC const struct varve_layer_ops *varve_spool_ops(struct varve_spool *sp);
VARVE_PUBLIC void varve_spool_free(struct varve_spool *sp); /* accepts NULL */

/* --- install --- */
struct varve_losses { /* what could not be kept: without root, or by this file system */
	uint64_t owners, devices, xattrs, others;
	VARVE_ROOM;
};
#define VARVE_KEEP_NONE UINT32_MAX
struct varve_install_options {
	size_t size;
	const char *roots;     /* absolute path of the roots dir; made if missing */
	const char *label;     /* no leading "." or "-", at most 200 bytes */
	const char *reference; /* canonical; recorded */
	/* Recorded, as in struct varve_install_record; may be NULL. */
	const char *source, *origin, *settings;
	const struct varve_digest *target;
	bool force; /* replace an existing tree of the label; the old one is kept as previous */
	bool no_sync;
	struct varve_spool *spool; /* bodies written during the download; may be NULL */
	bool chown;                /* set owners (default: only as root) */
	bool no_chown;
	unsigned threads; /* 0: as many as cores */
	unsigned keep;    /* previous generations that stay; 0: 1; VARVE_KEEP_NONE */
	/* Each loss, for --json. Comes as log and progress of struct varve_ctx do: not while one of
	 * them runs, and from a confined thread. */
	void (*loss)(void *user, const char *path, const char *what);
	void *user;
	/*
	 * Called with the finished tree before it becomes visible (users, hooks). rootfd is its
	 * directory. Non-zero: the install is given up and that value returned.
	 */
	int (*finish)(void *user, int rootfd, const char *staging_path, struct varve_err *e);
};
#define VARVE_INSTALL_OPTIONS_INIT                                                                 \
	{                                                                                          \
		.size = sizeof(struct varve_install_options)                                       \
	}
struct varve_install_result {
	char path[4096];
	bool replaced; /* the old tree is now the previous generation */
	bool active;   /* the tree is the active rootfs (an active label was replaced) */
	uint64_t entries, bytes;
	struct varve_losses losses;
	VARVE_ROOM;
};
/*
 * VARVE_E_EXISTS (same image, no force), VARVE_E_CONFLICT (label of another reference, or a tree
 * that is not ours), VARVE_E_NOSPACE (checked before writing), VARVE_E_DIGEST (a layer has rotted;
 * nothing became visible).
 */
VARVE_PUBLIC int varve_install(struct varve_store *s, struct varve_plan *p,
			       const struct varve_install_options *opt,
			       struct varve_install_result *ret, struct varve_err *e);

/* --- users and hooks: what the finish callback of an install is for --- */
enum varve_root_password {
	VARVE_ROOT_ORIGINAL, /* root's hash is carried unless it is locked ("*", "!...") */
	VARVE_ROOT_USER,     /* a locked root gets the user's hash */
	VARVE_ROOT_KEEP,     /* as the image has it */
};
struct varve_user_options {
	size_t size;
	const char *name; /* the user to carry; "root": only the password */
	const char *from; /* absolute path of the tree that has the user; "/": this system */
	const char *const
		*groups; /* further groups to be a member of, if the image has them; may be NULL */
	enum varve_root_password root_password;
	bool no_home; /* do not make a home directory that is missing */
	void (*note)(void *user, const char *message); /* what was decided: ids changed, ... */
	void *user;
};
#define VARVE_USER_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_user_options)                                          \
	}
struct varve_user_result {
	uint32_t uid, gid; /* in the new tree */
	bool renumbered;   /* uid or gid differ from the old tree's */
	VARVE_ROOM;
};
/* What can be known before there is a tree: VARVE_E_USAGE (a name that cannot be one),
 * VARVE_E_NOTFOUND (from has no such user). */
VARVE_PUBLIC int varve_user_check(const struct varve_user_options *opt, struct varve_err *e);
/* VARVE_E_NOTFOUND: /etc/passwd of the tree has no such user. */
VARVE_PUBLIC int varve_user_find(int rootfd, const char *name, struct varve_err *e);
/*
 * Carry the entries of passwd, shadow, group and gshadow into a tree. Everything is opened as seen
 * from inside the trees. VARVE_E_NOTFOUND: from has no such user.
 */
VARVE_PUBLIC int varve_user_carry(int rootfd, const struct varve_user_options *opt,
				  struct varve_user_result *ret, struct varve_err *e);

struct varve_hook_options {
	size_t size;
	const struct varve_ctx *ctx;
	/* Holds hook_postinstall_{all,<image>,<image>_<tag>}.sh; NULL: no hooks. It, the scripts
	 * and the directories above belong to the caller or to root, and nobody else may write
	 * there. */
	const char *directory;
	const char *image, *tag; /* "debian", "sid"; may be NULL: only "all" and the label's */
	const char *label, *roots, *reference;
	const char *regular_user; /* REGULARUSER; NULL: empty */
	const char *const *env;   /* further NAME=VALUE, NULL-terminated; may be NULL */
	unsigned timeout;         /* seconds for each hook; 0: 1800 */
	bool keep_going;          /* a failing hook is told, not an end (the old behaviour) */
	void (*start)(void *user, const char *hook);
	void (*output)(void *user, const char *hook, const void *data, size_t n);
	/* status: exit status, or 128 + signal; problem:
	 * NULL, or what hindered it (timeout, ...) */
	void (*end)(void *user, const char *hook, int status, const char *problem);
	void *user;
	bool network;    /* of the host; otherwise hooks have loopback only */
	bool unconfined; /* where namespaces are not to be had: chroot, which confines nothing */
};
#define VARVE_HOOK_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_hook_options)                                          \
	}
struct varve_hook_result {
	unsigned found, failed;
	VARVE_ROOM;
};
/*
 * Run the hooks inside the tree as its root, in namespaces of their own (a user namespace when we
 * are not root) with the tree as all that they have of the file system, and without the
 * capabilities that reach out of it. Nothing is left: no file, no process, no mount. VARVE_E_HOOK:
 * one failed. VARVE_E_UNSAFE: others may change what would be run. VARVE_E_UNSUPPORTED: the kernel
 * has no namespaces for us.
 */
VARVE_PUBLIC int varve_hooks_run(int rootfd, const struct varve_hook_options *opt,
				 struct varve_hook_result *ret, struct varve_err *e);

/*
 * Become root of a user namespace with the caller's subordinate ids (newuidmap): trees then keep
 * the owners of their image. For the whole process, before any thread and any handle. Nothing to do
 * for root. VARVE_E_UNSUPPORTED.
 */
VARVE_PUBLIC int varve_userns_enter(struct varve_err *e);

struct varve_wsl_conf_options {
	size_t size;
	const char *default_user; /* NULL: leave */
	int systemd;              /* 1 on, 0 off, -1 leave */
	const char *hostname;     /* NULL: leave */
};
#define VARVE_WSL_CONF_OPTIONS_INIT                                                                \
	{                                                                                          \
		.size = sizeof(struct varve_wsl_conf_options), .systemd = -1                       \
	}
/* Set keys of the tree's /etc/wsl.conf; what else is in it stays. */
VARVE_PUBLIC int varve_wsl_conf(int rootfd, const struct varve_wsl_conf_options *opt,
				struct varve_err *e);

/* --- trees in a roots dir --- */
struct varve_tree {
	const char *label;     /* "debian_sid"; may be "" if it could not be found out */
	const char *directory; /* "rootfs" for the active one */
	const char *reference; /* NULL if unknown (adopted trees) */
	struct varve_digest manifest;
	bool active;
	bool ours;     /* made by varve and recorded */
	bool previous; /* a kept previous generation */
	int64_t installed_at;
	uint32_t made;       /* VARVE_MADE_* */
	uint64_t generation; /* of a previous one: higher ones are newer */
	struct varve_platform platform;
	const char *source, *origin, *settings; /* as in struct varve_install_record */
	struct varve_digest target;
	VARVE_ROOM;
};
struct varve_tree_list {
	struct varve_tree *items;
	size_t n;
	void *priv;
	VARVE_ROOM;
};
/* Records joined with what is on disk. Unfinished switches are finished or undone first (if
 * writable). */
VARVE_PUBLIC int varve_trees(struct varve_store *s, const char *roots, struct varve_tree_list *ret,
			     struct varve_err *e);
VARVE_PUBLIC void varve_tree_list_free(struct varve_tree_list *l);
/*
 * Records of trees that only the files beside them know of are made again, and those of trees that
 * are gone are dropped. *ret: how many were made. VARVE_E_NOTFOUND: no such roots dir.
 */
VARVE_PUBLIC int varve_trees_remember(struct varve_store *s, const char *roots, uint64_t *ret,
				      struct varve_err *e);

struct varve_switch_options {
	size_t size;
	const char *roots;
	bool force;                 /* although processes live in the tree */
	bool previous_only;         /* remove: leave the tree itself */
	const char *fallback_label; /* for an active tree whose label cannot be found out */
	void (*in_use)(void *user, long pid, const char *command, const char *how);
	void *user;
};
#define VARVE_SWITCH_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(struct varve_switch_options)                                        \
	}
struct varve_switch_result {
	bool already;            /* it was the active one */
	char from[256], to[256]; /* labels; from is "" if there was no active tree */
	VARVE_ROOM;
};
/* VARVE_E_NOTFOUND names the nearest labels; VARVE_E_BUSY: in use, or something is mounted below
 * it. */
VARVE_PUBLIC int varve_switch(struct varve_store *s, const char *label,
			      const struct varve_switch_options *opt,
			      struct varve_switch_result *ret, struct varve_err *e);
/* Undo the last switch or replacing install of this roots dir. */
VARVE_PUBLIC int varve_rollback(struct varve_store *s, const struct varve_switch_options *opt,
				struct varve_switch_result *ret, struct varve_err *e);
/*
 * Bring back a previous generation of a label, which takes the place of the present tree; that
 * becomes the newest previous one. label NULL: as varve_rollback; generation 0: the newest.
 * VARVE_E_NOTFOUND names those there are.
 */
VARVE_PUBLIC int varve_rollback_to(struct varve_store *s, const char *label, uint64_t generation,
				   const struct varve_switch_options *opt,
				   struct varve_switch_result *ret, struct varve_err *e);
/* Delete the tree of a label (and its previous generations). Refuses the active one and what is not
 * ours without force. */
VARVE_PUBLIC int varve_remove_tree(struct varve_store *s, const char *label,
				   const struct varve_switch_options *opt, struct varve_err *e);

/* --- import: files and directories become images of the store --- */
struct varve_import_name {
	char reference[800]; /* canonical */
	char name[800];      /* familiar */
	VARVE_ROOM;
};
struct varve_imported {
	const char *kind;      /* "tar", "squashfs", "iso", "oci-layout", "docker-archive" */
	const char *reference; /* NULL: untagged */
	const char
		*member; /* of an ISO: path of the squashfs; of an archive: its own name; or NULL */
	struct varve_digest manifest;
	uint64_t n_blobs;   /* manifest, config, layers */
	uint64_t bytes_new; /* of blobs that were not in the store before */
	VARVE_ROOM;
};
enum varve_import_type {
	VARVE_IMPORT_AUTO, /* the content decides */
	VARVE_IMPORT_ROOTFS,
	VARVE_IMPORT_DOCKER_ARCHIVE,
	VARVE_IMPORT_OCI,
	VARVE_IMPORT_SQUASHFS,
	VARVE_IMPORT_ISO,
};
struct varve_import_options {
	size_t size;
	/*
	 * The name for the image; NULL: the names in the archive, and none for what has none.
	 * Several images in one archive and a name need select.
	 */
	const struct varve_import_name *name;
	const char *select; /* squashfs of an ISO (path), image of a layout or archive (its name) */
	const struct varve_platform
		*platform;                 /* of what does not say its own; NULL: this machine's */
	const struct varve_limits *limits; /* NULL: those of the store's handle */
	/*
	 * Both come from a thread that is confined as struct varve_ctx says. Normalise a name found
	 * in an archive; <0: the image gets no name, and a warning says so.
	 */
	int (*normalise)(void *user, const char *text, struct varve_import_name *ret,
			 struct varve_err *e);
	void (*imported)(void *user, const struct varve_imported *i);
	void *user;
	enum varve_import_type type; /* what it is taken for, and nothing else */
};
#define VARVE_IMPORT_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(struct varve_import_options)                                        \
	}
/*
 * What path is decides its content, never its name. "-" with fd >= 0: read from fd, which may be a
 * pipe; else fd is -1. VARVE_E_FORMAT (nothing known, or damaged), VARVE_E_NOTFOUND (no such file;
 * an ISO without a squashfs; select names nothing: says what there is), VARVE_E_USAGE (several and
 * no select).
 */
VARVE_PUBLIC int varve_import(struct varve_store *s, const char *path, int fd,
			      const struct varve_import_options *opt, struct varve_err *e);
/*
 * One blob of a size again, from the path that it was imported from: the file itself, or a member
 * of an OCI layout or an uncompressed archive. For varve_check_options.refetch. VARVE_E_NOTFOUND:
 * it does not hold it any more.
 */
VARVE_PUBLIC int varve_import_blob(struct varve_store *s, const char *path,
				   const struct varve_digest *d, uint64_t size,
				   struct varve_err *e);
/*
 * "dir/ROOTFS_debian_sid.tar.xz" -> image "debian", tag "sid", label "debian_sid": lower-cased
 * basename up to the first of .tar, .sfs, .squashfs (or .iso, .tgz, .txz, .tzst, .wsl), "rootfs_"
 * cut off, tag "latest" if it has no "_". VARVE_E_USAGE if nothing is left.
 */
struct varve_import_label {
	char image[256], tag[256], label[512];
	bool has_extension; /* one of those was there */
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_import_label(const char *path, struct varve_import_label *ret,
				    struct varve_err *e);

/* --- export: images in the forms of other tools --- */
enum varve_export_format {
	VARVE_EXPORT_AUTO, /* by the name of the output */
	VARVE_EXPORT_TAR,
	VARVE_EXPORT_TAR_GZ,
	VARVE_EXPORT_TAR_ZST,
	VARVE_EXPORT_SQUASHFS,
	VARVE_EXPORT_OCI_DIR, /* OCI image layout */
	VARVE_EXPORT_OCI_TAR,
	VARVE_EXPORT_DOCKER, /* docker-archive */
	VARVE_EXPORT_WSL,
};
/* The word that varve_export_format_parse() knows; "auto" for a form not chosen yet. */
VARVE_PUBLIC const char *varve_export_format_name(enum varve_export_format f);
/* "tar", "tar.gz", "tar.zst", "squashfs", "oci", "oci-tar", "docker-archive", "wsl"; -VARVE_E_USAGE
 * names them. */
VARVE_PUBLIC int varve_export_format_parse(enum varve_export_format *ret, const char *text,
					   struct varve_err *e);
struct varve_wsl_options {
	const char *user; /* default user, must be in the image; NULL: as the image says */
	const char *name; /* default name of the distribution; NULL: none */
	const void *icon; /* .ico; NULL: none */
	size_t icon_size;
	int systemd; /* 1 on, 0 off, -1 as the image says */
	VARVE_ROOM;
};
struct varve_export_options {
	size_t size;
	enum varve_export_format format;
	const char *path;       /* "-" with fd >= 0 */
	int fd;                 /* a stream to write to instead of path; -1: path */
	unsigned threads;       /* 0: as many as cores */
	int level;              /* of compression; 0: default */
	const char *compressor; /* of squashfs: "gzip", "xz", "zstd", "lz4"; NULL: zstd */
	/* Blobs that the other side has (OCI forms
	 * only). Not NULL: a bundle, also with n_have 0. */
	const struct varve_digest *have;
	size_t n_have;
	const struct varve_wsl_options *wsl;
	const struct varve_plan_options *plan; /* NULL: defaults */
};
#define VARVE_EXPORT_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(struct varve_export_options), .fd = -1                              \
	}
struct varve_export_result {
	enum varve_export_format format;
	uint64_t entries;             /* of trees */
	uint64_t n_blobs, n_left_out; /* of OCI forms */
	uint64_t bytes;               /* written */
	VARVE_ROOM;
};
/*
 * Trees (tar, squashfs, wsl) take exactly one image. A file appears under its name only when it is
 * whole; same image and options, same bytes. VARVE_E_USAGE, VARVE_E_DIGEST (a layer has rotted),
 * VARVE_E_INCOMPLETE.
 */
VARVE_PUBLIC int varve_export(struct varve_store *s, const struct varve_image *images, size_t n,
			      const struct varve_export_options *opt,
			      struct varve_export_result *ret, struct varve_err *e);

/* --- how an installed tree differs from its image --- */
enum varve_diff_kind {
	VARVE_DIFF_ADDED,
	VARVE_DIFF_CHANGED,
	VARVE_DIFF_REMOVED,
	VARVE_DIFF_UNREADABLE, /* its content (a directory's entries) was not compared: no
				  permission */
};
#define VARVE_DIFF_TYPE    1u
#define VARVE_DIFF_MODE    2u
#define VARVE_DIFF_OWNER   4u
#define VARVE_DIFF_SIZE    8u
#define VARVE_DIFF_MTIME   16u
#define VARVE_DIFF_CONTENT 32u
#define VARVE_DIFF_TARGET  64u /* of a symlink */
#define VARVE_DIFF_DEVICE  128u
#define VARVE_DIFF_XATTRS  256u
#define VARVE_DIFF_LINKS   512u /* names that should be one file are not, or the other way round */
struct varve_diff_item {
	enum varve_diff_kind kind;
	const char *path; /* without leading slash; "." is the root */
	unsigned changes; /* VARVE_DIFF_*, 0 unless changed */
	uint32_t mode;    /* type and bits in the tree; in the image if removed */
};
struct varve_diff_options {
	size_t size;
	bool read_data; /* compare the content of every file */
	/*
	 * When the tree was finished; 0: unknown. A file that kept size and mtime is read only if
	 * its ctime is not older.
	 */
	int64_t installed_at;
	bool unprivileged; /* made without root: owners, devices and privileged xattrs are not
			      compared */
	uint32_t made;     /* of the tree's record: what it could not keep is not told */
	/* Everything below an added or removed directory is told too. Non-zero ends with that
	 * value. */
	int (*item)(void *user, const struct varve_diff_item *item);
	void *user;
};
#define VARVE_DIFF_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_diff_options)                                          \
	}
struct varve_diff_result {
	uint64_t entries; /* names compared */
	uint64_t added, changed, removed;
	uint64_t unreadable; /* no differences, but nobody looked */
	uint64_t files_read;
	VARVE_ROOM;
};
/* tree: its directory. Mounts below it are not entered. 0 also when there are differences: see the
 * result. */
VARVE_PUBLIC int varve_diff(struct varve_plan *p, const char *tree,
			    const struct varve_diff_options *opt, struct varve_diff_result *ret,
			    struct varve_err *e);

#ifdef __cplusplus
}
#endif
#endif
