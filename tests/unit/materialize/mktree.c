/* SPDX-License-Identifier: Apache-2.0 */
/* See mktree.h. */
#include "unit.h"

#include "mktree.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

void mktree_begin(struct mktree *t)
{
	strcpy(t->dir, "/tmp/varve-tree-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
}

void mktree_end(struct mktree *t)
{
	VARVE_CLOSE int tmp = fsx_open_dir(AT_FDCWD, "/tmp");

	close(t->fd);
	assert_int_equal(fsx_remove_tree(tmp, t->dir + strlen("/tmp/"), NULL, NULL, NULL), 0);
}

void mktree_dir(const struct mktree *t, const char *path, mode_t mode)
{
	char part[512];

	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		const char *end = strchr(p + 1, '/');

		(void)snprintf(part, sizeof(part), "%.*s",
			       end ? (int)(end - path) : (int)strlen(path), path);
		if (mkdirat(t->fd, part, end ? 0755 : mode))
			assert_int_equal(errno, EEXIST);
		if (!end)
			assert_int_equal(fchmodat(t->fd, part, mode, 0), 0);
	}
}

void mktree_put(const struct mktree *t, const char *path, const char *content, mode_t mode)
{
	const char *slash = strrchr(path, '/');
	VARVE_FREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	VARVE_CLOSE int fd = -1;

	if (dir && faccessat(t->fd, dir, F_OK, 0))
		mktree_dir(t, dir, 0755);
	fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fsx_write_all(fd, content, strlen(content)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

void mktree_copy(const struct mktree *t, const char *from, const char *path, mode_t mode)
{
	VARVE_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
	VARVE_CLOSE int out = -1;
	char block[65536];
	uint64_t off = 0;
	ssize_t n;

	assert_true(in >= 0);
	mktree_put(t, path, "", mode);
	out = openat(t->fd, path, O_WRONLY | O_CLOEXEC);
	while ((n = fsx_pread_full(in, block, sizeof(block), off)) > 0) {
		assert_int_equal(fsx_write_all(out, block, (size_t)n), 0);
		off += (uint64_t)n;
	}
}

char *mktree_get(const struct mktree *t, const char *path)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	if (fsx_read_file(t->fd, path, &b, NULL) < 0) {
		buf_done(&b);
		return NULL;
	}
	return buf_take(&b);
}
