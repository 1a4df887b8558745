/* SPDX-License-Identifier: Apache-2.0 */
/* Between hooks.c (which hooks, in what order, with what result) and hooks_run.c (one script inside
 * a tree). */
#pragma once

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "varve-materialize.h"

/* The bodies of a child process: no allocation, no locks, no library state. */
struct hook_script {
	const char *name; /* for messages: hook_postinstall_all.sh */
	const char *path; /* inside the tree: "/root/hook_postinstall_all.sh" */
	char *const *env;
	unsigned timeout;
	bool network, unconfined; /* as in struct varve_hook_options */
};
struct hook_end {
	int status;          /* exit status, or 128 + signal */
	const char *problem; /* NULL, or what hindered it */
};
/*
 * Run it as the tree's root with its own mounts and processes, which all end with it. <0: could not
 * be run (VARVE_E_UNSUPPORTED: not allowed here), VARVE_E_INTERRUPTED.
 */
int hook_run(int rootfd, const struct hook_script *s, const struct varve_hook_options *o,
	     struct hook_end *ret, struct varve_err *e);

/* --- hooks_confine.c: in process 1 of the namespaces, only system calls; false with errno --- */
/* The tree becomes the root and all that is left of the file system, with a proc and a small /dev
 * of its own. Devices in it cannot be opened. */
bool hook_enter(int rootfd);
/* Keep what the scripts of packages need, and nothing that reaches out of the tree. */
bool hook_drop_capabilities(void);
/* A network of one's own has loopback only, which has to be switched on. */
void hook_loopback_up(void);

/* --- hooks_filter.c: likewise, before the capabilities go --- */
/* No user namespaces, no keyrings, no sockets that belong to no namespace. */
bool hook_filter_calls(bool network);

/* --- hooks_resolver.c --- */
/* The tree's /etc/resolv.conf while a hook runs: a copy of the host's, as a file of its own. */
struct resolver {
	int dirfd;      /* the tree's /etc; -1: nothing was lent */
	ino_t ino;      /* of the copy */
	char aside[32]; /* name of what the image has there; "": it has none */
	struct buf text;
	bool failed; /* the copy is not whole */
};
/* Where it cannot be (a tree without /etc), the hook does without names. */
void resolver_lend(int rootfd, struct resolver *ret);
/* What the image has comes back, unless the hook wrote its own. */
int resolver_take_back(struct resolver *r, struct varve_err *e);
