/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the users files of two trees, which byte 0xff parts: a user is carried from one to
 * the other, and again, which changes nothing. */
#include <stdint.h>

#include "place.h"
#include "store/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const names[] = {"passwd", "group", "shadow", "gshadow"};

static void put_tree(const char *tree, const uint8_t **data, size_t *n)
{
	int top, etc;

	CHECK(mkdirat(place_fd, tree, 0755) == 0);
	top = openat(place_fd, tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(top >= 0 && mkdirat(top, "etc", 0755) == 0 && mkdirat(top, "home", 0755) == 0);
	etc = openat(top, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(etc >= 0);
	for (size_t i = 0; i < 4; i++) {
		const uint8_t *stop = *n ? memchr(*data, 0xff, *n) : NULL;
		size_t k = stop ? (size_t)(stop - *data) : *n;

		if (k)
			place_write(etc, names[i], *data, k);
		k += stop ? 1 : 0;
		*data += k;
		*n -= k;
	}
	(void)close(etc);
	(void)close(top);
}

static void carry(int rootfd)
{
	static const char *const groups[] = {"wheel", "a", NULL};
	struct varve_user_options o = VARVE_USER_OPTIONS_INIT;
	struct varve_user_result first, second;
	char path[64];

	o.name = "a";
	o.from = place_path(path, "from");
	o.groups = groups;
	if (varve_user_carry(rootfd, &o, &first, NULL) < 0)
		return;
	CHECK(varve_user_find(rootfd, "a", NULL) == 0);
	CHECK(varve_user_carry(rootfd, &o, &second, NULL) == 0);
	CHECK(first.uid == second.uid && first.gid == second.gid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int fd;

	place_make();
	put_tree("from", &data, &n);
	put_tree("to", &data, &n);
	fd = openat(place_fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	carry(fd);
	(void)close(fd);
	CHECK(fsx_remove_tree(place_fd, "from", NULL, NULL, NULL) == 0);
	CHECK(fsx_remove_tree(place_fd, "to", NULL, NULL, NULL) == 0);
	return 0;
}
