/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as index.json and installs.json of a store that is made again from them, and as the
 * file beside a tree. */
#include <stdint.h>

#include "materialize/trees/trees.h"
#include "place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void as_store(const uint8_t *data, size_t n)
{
	struct varve_check_options check = VARVE_CHECK_OPTIONS_INIT;
	struct varve_gc_options gc = VARVE_GC_OPTIONS_INIT;
	struct varve_check_result result;
	struct varve_gc_result removed;
	struct varve_install_list list = {0};
	struct varve_store *s = place_store(true);
	int fd;

	CHECK(s);
	fd = openat(place_fd, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	place_write(fd, "index.json", data, n);
	place_write(fd, "installs.json", data, n);
	(void)close(fd);
	(void)varve_store_gc(s, &gc, &removed, NULL);
	check.rebuild = true;
	(void)varve_store_check(s, &check, &result, NULL);
	if (varve_store_installs(s, NULL, &list, NULL) == 0)
		varve_install_list_free(&list);
	place_drop_store(s);
}

static void as_sidecar(const uint8_t *data, size_t n)
{
	static const char name[] = ".rootfs_a.0123456789abcdef.varve.json";
	static const struct varve_ctx ctx;
	struct roots r = {.fd = place_fd, .path = place, .ctx = &ctx};
	struct varve_install_list l = {0};

	place_write(place_fd, name, data, n);
	CHECK(sidecar_list(&r, &l, NULL) == 0 && l.n <= 1);
	for (size_t i = 0; i < l.n; i++)
		CHECK(l.items[i].label && l.items[i].id && !strchr(l.items[i].label, '/'));
	sidecar_list_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	place_make();
	as_store(data, n);
	as_sidecar(data, n);
	return 0;
}
