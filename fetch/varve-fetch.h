/* SPDX-License-Identifier: Apache-2.0 */
/* Bring images into a store: references, configuration, credentials, pull. */
#ifndef VARVE_FETCH_H
#define VARVE_FETCH_H

#include "varve-base.h"
#include "varve-store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- references (docs/requirements.md 1; pure) --- */
struct varve_reference {
	char domain[256];           /* "docker.io", "127.0.0.1:5000" */
	char path[256];             /* "library/debian" */
	char tag[129];              /* empty only if a digest is given */
	struct varve_digest digest; /* wins over the tag for requests */
	VARVE_ROOM;
};
/* VARVE_E_REFERENCE: the message says what is wrong and shows the right form. */
VARVE_PUBLIC int varve_reference_parse(struct varve_reference *ret, const char *text,
				       struct varve_err *e);
/* "docker.io/library/debian:sid[@digest]". */
VARVE_PUBLIC const char *varve_reference_canonical(const struct varve_reference *r, char buf[800]);
/* What a user would type: without docker.io and library/. */
VARVE_PUBLIC const char *varve_reference_familiar(const struct varve_reference *r, char buf[800]);
/* "debian_sid" (docs/from-wsl-distribution-switcher.md, "Names and labels"). A reference with only
 * a digest gets <image>_<first 12 hex>. */
VARVE_PUBLIC const char *varve_reference_label(const struct varve_reference *r, char buf[512]);

/* --- configuration --- */
struct varve_config;
/* path NULL: the user's file, then the system's, then defaults (docs/varve-config.5).
 * VARVE_E_CONFIG names file and member. */
VARVE_PUBLIC int varve_config_load(struct varve_config **ret, const char *path,
				   const struct varve_ctx *ctx, struct varve_err *e);
VARVE_PUBLIC void varve_config_free(struct varve_config *c);
/* The member "lower": NULL-terminated, may be NULL. Borrowed. */
VARVE_PUBLIC const char *const *varve_config_lower(const struct varve_config *c);
/* The member "trusted_owners" as user ids, for varve_store_options. Borrowed. */
VARVE_PUBLIC const uint32_t *varve_config_trusted_owners(const struct varve_config *c,
							 size_t *ret_n);
/* The member "limits", for varve_store_options. 0: the default. */
VARVE_PUBLIC void varve_config_limits(const struct varve_config *c, struct varve_limits *ret);
/* The directory of hooks; NULL if the configuration names none. */
VARVE_PUBLIC const char *varve_config_hooks(const struct varve_config *c);

/* What "varve config check" does: unknown members are errors, too. */
struct varve_config_check_options {
	size_t size;
	void (*finding)(void *user, const char *member, const char *message);
	void *user;
};
#define VARVE_CONFIG_CHECK_OPTIONS_INIT                                                            \
	{                                                                                          \
		.size = sizeof(struct varve_config_check_options)                                  \
	}
struct varve_config_check_result {
	char path[4096]; /* the file that was read; "": there is none */
	unsigned errors;
	VARVE_ROOM;
};
/* 0 also with errors found: see the result. VARVE_E_CONFIG: no such file, or no JSON. */
VARVE_PUBLIC int varve_config_check(const char *path, const struct varve_config_check_options *opt,
				    struct varve_config_check_result *ret, struct varve_err *e);

/* --- credentials --- */
struct varve_login_options {
	size_t size;
	const struct varve_config *config; /* NULL: defaults */
	const char *user, *password;       /* the password is not kept in memory for longer */
	bool no_check;                     /* store it without asking the registry */
	const char *auth_file;             /* NULL: the first one that is searched */
};
#define VARVE_LOGIN_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(struct varve_login_options)                                         \
	}
/*
 * Try the credential at the registry ("docker.io", "127.0.0.1:5000"), then keep it: in the helper
 * that the auth file names for it, else in the file. *ret_where (4096 bytes) says where.
 * VARVE_E_AUTH: refused.
 */
VARVE_PUBLIC int varve_login(const struct varve_ctx *ctx, const char *registry,
			     const struct varve_login_options *opt, char ret_where[4096],
			     struct varve_err *e);
/* Forget what varve_login() keeps. VARVE_E_NOTFOUND: there is nothing in the file that it would be
 * in. */
VARVE_PUBLIC int varve_logout(const struct varve_ctx *ctx, const char *registry,
			      const char *auth_file, char ret_where[4096], struct varve_err *e);

/* What a registry last said about its limits. Strings live as long as the list. */
struct varve_registry_status {
	const char *registry;
	uint64_t limit, remaining, window_s; /* window 0: not said */
	const char *source;                  /* whom it counts for; may be NULL */
	int64_t seen_at;
	VARVE_ROOM;
};
struct varve_registry_status_list {
	struct varve_registry_status *items;
	size_t n;
	void *priv;
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_registry_status(struct varve_store *s,
				       struct varve_registry_status_list *ret, struct varve_err *e);
VARVE_PUBLIC void varve_registry_status_free(struct varve_registry_status_list *l);

/* --- pull --- */
struct varve_pull_options {
	size_t size;
	const struct varve_config *config;     /* NULL: defaults */
	const struct varve_platform *platform; /* NULL: this machine's */
	unsigned jobs;                         /* blobs at once; 0: 6 */
	bool offline;                          /* only what is stored */
	bool wait;                             /* wait as long as Retry-After says */
	const struct varve_layer_ops *layers;  /* required */
	const char *source;                    /* "registry" (NULL) or "official" */
};
#define VARVE_PULL_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_pull_options)                                          \
	}
struct varve_pull_result {
	struct varve_digest target, manifest;
	bool unchanged;               /* everything was there already */
	uint64_t n_layers, n_fetched; /* blobs in the manifest, blobs downloaded by us */
	uint64_t bytes_fetched;       /* of blobs, over the wire */
	uint64_t bytes_reused;        /* of blobs that were there */
	char resolved_at[256];        /* host that resolved the tag */
	VARVE_ROOM;
};
/*
 * Several references in one run share connections, tokens and downloads. results has n items; an
 * error ends the run after what can still be kept was kept, and names the reference.
 */
VARVE_PUBLIC int varve_pull(struct varve_store *s, const struct varve_reference *refs, size_t n,
			    const struct varve_pull_options *opt, struct varve_pull_result *results,
			    struct varve_err *e);
/* Fetch one damaged blob again from where it came; for varve_check_options.refetch (user: struct
 * varve_refetch). */
struct varve_refetch {
	struct varve_store *store;
	const struct varve_pull_options *options;
	VARVE_ROOM;
};
VARVE_PUBLIC int varve_refetch_blob(void *user, const struct varve_digest *d, uint64_t size,
				    const char *origin, struct varve_err *e);

#define VARVE_ORIGIN_MAX 3200
/* A tag and what it meant when it was fetched; then what it means now. */
struct varve_outdated {
	struct varve_reference ref;
	struct varve_digest target;
	/* Of the official source: where it came from (see struct varve_image), for which platform.
	 * Its library file is asked, and now is not set. NULL: the registry. */
	const char *origin;
	struct varve_platform platform;
	/* --- results --- */
	int result; /* 0, or -code: error says why nothing is known */
	bool changed;
	struct varve_digest now;
	char error[512];
	VARVE_ROOM;
};
/*
 * HEAD only: do the tags still mean their targets? All questions share connections, tokens and what
 * was learned of places that are down. 0 also if some could not be answered.
 */
VARVE_PUBLIC int varve_outdated(struct varve_store *s, struct varve_outdated *items, size_t n,
				const struct varve_pull_options *opt, struct varve_err *e);

/* --- push --- */
struct varve_push_options {
	size_t size;
	const struct varve_config *config; /* NULL: defaults */
	unsigned jobs;                     /* blobs at once; 0: 3 */
	bool wait;
	bool all; /* the whole image index with all its platforms, which must be stored */
};
#define VARVE_PUSH_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct varve_push_options)                                          \
	}
struct varve_push_result {
	struct varve_digest digest; /* what the tag means now */
	uint64_t n_blobs, n_present, n_mounted, n_uploaded;
	uint64_t bytes_uploaded;
	VARVE_ROOM;
};
/*
 * Only what the registry lacks; the manifest last. The tag may be empty in dest (by digest only).
 * VARVE_E_AUTH, VARVE_E_INCOMPLETE (a blob of the image is missing here).
 */
VARVE_PUBLIC int varve_push(struct varve_store *s, const struct varve_image *image,
			    const struct varve_reference *dest,
			    const struct varve_push_options *opt, struct varve_push_result *ret,
			    struct varve_err *e);

#ifdef __cplusplus
}
#endif
#endif
