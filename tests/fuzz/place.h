/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory in memory for targets that need files, and a store in it. To make one costs a hundred
 * times as much as to import what is soon refused, so the imports of PLACE_KEEP inputs share one.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/fsx.h"
#include "varve-materialize.h"

#ifndef CHECK
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)
#endif

static char place[] = "/dev/shm/varve-fuzz-XXXXXX";
static int place_fd = -1;
static struct varve_store *place_kept;
static unsigned place_uses;
#define PLACE_KEEP 64u

static inline void place_drop(void)
{
	int parent = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	varve_store_close(place_kept);
	(void)close(place_fd);
	CHECK(parent >= 0 && close(parent) == 0);
	parent = open(strncmp(place, "/dev/shm", 8) ? "/var/tmp" : "/dev/shm",
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fsx_remove_tree(parent, strrchr(place, '/') + 1, NULL, NULL, NULL) == 0);
	(void)close(parent);
}

static inline void place_make(void)
{
	if (place_fd >= 0)
		return;
	if (access("/dev/shm", W_OK))
		memcpy(place, "/var/tmp", 8);
	CHECK(mkdtemp(place));
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(place_fd >= 0);
	(void)atexit(place_drop);
}

static inline void place_write(int dir, const char *name, const void *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && fsx_pwrite_all(fd, p, n, 0) == 0);
	(void)close(fd);
}

static inline const char *place_path(char out[64], const char *name)
{
	(void)snprintf(out, 64, "%s/%s", place, name);
	return out;
}

static inline struct varve_store *place_store(bool create)
{
	static const struct varve_ctx ctx;
	struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;
	struct varve_store *s = NULL;
	char path[64];

	o.path = place_path(path, "store");
	o.create = create;
	o.limits.max_layer_bytes = 16u << 20;
	o.limits.max_layer_entries = 10000;
	o.limits.max_documents = 1u << 20;
	return varve_store_open(&s, &ctx, &o, NULL) == 0 ? s : NULL;
}

static inline void place_drop_store(struct varve_store *s)
{
	varve_store_close(s);
	CHECK(fsx_remove_tree(place_fd, "store", NULL, NULL, NULL) == 0);
}

/* What is in the file "input" becomes images, or is refused; what became one can be planned. */
static inline int place_name(void *user, const char *text, struct varve_import_name *ret,
			     struct varve_err *e)
{
	(void)user, (void)e;
	(void)snprintf(ret->name, sizeof(ret->name), "%.700s", text);
	(void)snprintf(ret->reference, sizeof(ret->reference), "localhost/%.700s", text);
	return 0;
}

static inline void place_import(void)
{
	struct varve_import_options o = VARVE_IMPORT_OPTIONS_INIT;
	struct varve_store *s = place_kept ? place_kept : place_store(true);
	struct varve_image_list list = {0};
	char path[64];

	CHECK(s);
	place_kept = s;
	o.normalise = place_name;
	(void)varve_import(s, place_path(path, "input"), -1, &o, NULL);
	CHECK(varve_store_images(s, &list, NULL) == 0);
	for (size_t i = 0; i < list.n && i < 3; i++) {
		struct varve_plan *p = NULL;

		if (varve_plan_new(&p, s, &list.items[i], NULL, NULL) == 0)
			varve_plan_free(p);
	}
	varve_image_list_free(&list);
	if (++place_uses % PLACE_KEEP == 0) {
		place_drop_store(s);
		place_kept = NULL;
	}
}
