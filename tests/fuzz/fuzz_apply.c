/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans of random stacks (program.h) written to a directory: it holds what the plan says, and
 * nothing beside it has changed. The layers' bytes come from here, not from a store.
 */
#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_stream.h"
#include "program.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "materialize/apply/apply.h"
#include "store/base/fsx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* --- the bytes of a layer: each is its own position --- */

struct layer_stream {
	uint64_t pos, end;
	unsigned char window[1000];
};
static const struct varve_plan *planned;

static unsigned char byte_at(uint64_t pos)
{
	return (unsigned char)(pos ^ pos >> 8 ^ pos >> 16);
}

int layer_stream_open(struct layer_stream **ret, struct varve_store *s,
		      const struct varve_digest *d, struct varve_err *e)
{
	(void)s, (void)e;
	*ret = calloc(1, sizeof(**ret));
	CHECK(*ret);
	(*ret)->end = planned->summary.layers[d->bytes[0]].unpacked;
	return 0;
}

int layer_stream_next(struct layer_stream *ls, size_t max, const void **ret, size_t *ret_n,
		      struct varve_err *e)
{
	size_t n =
		(size_t)VARVE_MIN(VARVE_MIN((uint64_t)max, sizeof(ls->window)), ls->end - ls->pos);

	(void)e;
	for (size_t i = 0; i < n; i++)
		ls->window[i] = byte_at(ls->pos + i);
	ls->pos += n;
	*ret = ls->window;
	*ret_n = n;
	return 0;
}

int layer_stream_end(struct layer_stream *ls, struct varve_err *e)
{
	(void)ls, (void)e;
	return 0;
}

void layer_stream_free(struct layer_stream *ls)
{
	free(ls);
}

int layer_points(struct varve_store *s, const struct varve_digest *blob,
		 const struct varve_digest *diff_id, uint64_t **ret, size_t *ret_n,
		 struct varve_err *e)
{
	(void)s, (void)blob, (void)diff_id, (void)e;
	*ret = calloc(1, sizeof(**ret));
	CHECK(*ret);
	*ret_n = 1;
	return 0;
}

int layer_stream_open_near(struct layer_stream **ret, struct varve_store *s,
			   const struct varve_digest *blob, const struct varve_digest *diff_id,
			   uint64_t off, uint64_t *ret_off, struct varve_err *e)
{
	(void)diff_id;
	CHECK(layer_stream_open(ret, s, blob, e) == 0);
	(*ret)->pos = *ret_off = off;
	return 0;
}

int layer_stream_drain(struct layer_stream *ls, struct varve_err *e)
{
	(void)ls, (void)e;
	return 0;
}

int layer_verify(struct varve_store *s, const struct varve_digest *blob, struct varve_err *e)
{
	(void)s, (void)blob, (void)e;
	return 0;
}

/* --- what is on the disk --- */

static char place[] = "/dev/shm/varve-fuzz-XXXXXX";
static int top = -1;

static void make_place(void)
{
	if (access("/dev/shm", W_OK))
		memcpy(place, "/var/tmp", 8);
	CHECK(mkdtemp(place));
	top = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(top >= 0 && mkdirat(top, "canary", 0700) == 0);
	CHECK(symlinkat("canary", top, "c") == 0);
}

static void drop_place(void)
{
	struct stat st;

	/* It was empty when it was made, and is still. */
	CHECK(fstatat(top, "canary", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	      st.st_mode == (S_IFDIR | 0700));
	CHECK(unlinkat(top, "canary", AT_REMOVEDIR) == 0 && unlinkat(top, "c", 0) == 0);
	CHECK(rmdir(place) == 0);
}

static void check_body(int root, const char *path, const struct plan_inode *in)
{
	unsigned char buf[4096];
	uint64_t at = 0;
	int fd = openat(root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) { /* not root, and nobody may read it */
		CHECK(geteuid() != 0);
		return;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			CHECK(buf[i] == byte_at(in->body_off + at));
	CHECK(n == 0 && at == in->size);
	(void)close(fd);
}

static void check_name(const struct varve_plan *p, int root, uint32_t name, struct buf *path,
		       const struct varve_losses *lost)
{
	const struct plan_inode *in = &p->inodes[p->names[name].inode];
	bool device = S_ISCHR(in->mode) || S_ISBLK(in->mode);
	char target[4096];
	struct stat st;
	ssize_t n;

	CHECK(plan_path(p, name, path) == 0);
	if (fstatat(root, path->p, &st, AT_SYMLINK_NOFOLLOW)) {
		CHECK((device && lost->devices) || (errno == EACCES && geteuid() != 0));
		return;
	}
	CHECK((st.st_mode & S_IFMT) == (in->mode & S_IFMT));
	CHECK(S_ISLNK(in->mode) || st.st_mode == in->mode);
	CHECK(st.st_mtim.tv_sec == in->mtime && st.st_mtim.tv_nsec == (long)in->mtime_ns);
	CHECK(S_ISDIR(in->mode) || st.st_nlink == in->n_names);
	if (S_ISREG(in->mode)) {
		CHECK((uint64_t)st.st_size == in->size);
		check_body(root, path->p, in);
	}
	if (S_ISLNK(in->mode)) {
		n = readlinkat(root, path->p, target, sizeof(target));
		CHECK(n == (ssize_t)strlen(in->target) && !memcmp(target, in->target, (size_t)n));
	}
}

static void write_and_check(struct varve_plan *p)
{
	struct apply_options o = {.threads = 1 + p->n_names % 2, .chown = geteuid() == 0};
	struct varve_losses lost = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct buf path = {0};
	uint64_t entries = 0;

	planned = p;
	CHECK(mkdirat(top, "t", 0700) == 0);
	o.rootfd = openat(top, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(o.rootfd >= 0);
	CHECK(apply_plan(p, &o, &lost, &e) == 0 && apply_finish_root(p, &o, &lost, &e) == 0);
	buf_init(&path, 1u << 20);
	for (uint32_t i = 0; i < p->n_names; i++)
		check_name(p, o.rootfd, i, &path, &lost);
	buf_done(&path);
	(void)close(o.rootfd);
	/* And no more than that: what is removed is counted. */
	CHECK(fsx_remove_tree(top, "t", NULL, &entries, NULL) == 0);
	CHECK(lost.devices || entries == p->n_names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (top < 0) {
		make_place();
		(void)atexit(drop_place);
	}
	if (n <= 4096)
		program_run(data, n, write_and_check);
	return 0;
}
