/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the chain (a file descriptor), and zstd, whose library has threads of its own. */
#include "materialize/codec/sink.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define FD_BUFFER  (1u << 20)
#define ZSTD_LEVEL 3

struct sink_fd {
	struct sink sink;
	int fd;
	const struct varve_ctx *ctx;
	char *name;
	uint64_t total;
	size_t n;
	char buffer[FD_BUFFER];
};

static int fd_flush(struct sink_fd *s, struct varve_err *e)
{
	if (s->n && fsx_write_stream(s->fd, s->buffer, s->n, s->ctx) < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(s->name));
	s->n = 0;
	return 0;
}

static int fd_write(struct sink *sink, const void *p, size_t n, struct varve_err *e)
{
	struct sink_fd *s = (struct sink_fd *)sink;
	int r;

	s->total += n;
	if (s->n + n > FD_BUFFER) {
		r = fd_flush(s, e);
		if (r < 0)
			return r;
	}
	if (n > FD_BUFFER) {
		if (fsx_write_stream(s->fd, p, n, s->ctx) < 0)
			return varve_fail_errno(e, "%s", TEXT_SAFE(s->name));
		return 0;
	}
	memcpy(s->buffer + s->n, p, n);
	s->n += n;
	return 0;
}

static int fd_finish(struct sink *sink, struct varve_err *e)
{
	return fd_flush((struct sink_fd *)sink, e);
}

static void fd_free(struct sink *sink)
{
	struct sink_fd *s = (struct sink_fd *)sink;

	free(s->name);
	free(s);
}

int sink_fd_new(struct sink **ret, int fd, const char *name, const struct varve_ctx *ctx,
		struct varve_err *e)
{
	struct sink_fd *s = malloc(sizeof(*s));

	if (!s)
		return varve_fail_oom(e);
	s->sink = (struct sink){fd_write, fd_finish, fd_free};
	s->fd = fd;
	s->ctx = ctx;
	s->total = 0;
	s->n = 0;
	s->name = strdup(name);
	if (!s->name) {
		free(s);
		return varve_fail_oom(e);
	}
	*ret = &s->sink;
	return 0;
}

uint64_t sink_fd_bytes(const struct sink *s)
{
	return ((const struct sink_fd *)s)->total;
}

struct sink_zstd {
	struct sink sink;
	struct sink *below;
	ZSTD_CCtx *z;
	size_t size;
	char *out;
};

static int zstd_push(struct sink_zstd *s, const void *p, size_t n, ZSTD_EndDirective end,
		     struct varve_err *e)
{
	ZSTD_inBuffer in = {p, n, 0};
	size_t left;
	int r;

	do {
		ZSTD_outBuffer out = {s->out, s->size, 0};

		left = ZSTD_compressStream2(s->z, &out, &in, end);
		if (ZSTD_isError(left))
			return varve_fail(e, ENOMEM, "zstd: %s", ZSTD_getErrorName(left));
		r = out.pos ? sink_write(s->below, s->out, out.pos, e) : 0;
		if (r < 0)
			return r;
	} while (end == ZSTD_e_end ? left > 0 : in.pos < in.size);
	return 0;
}

static int zstd_write(struct sink *sink, const void *p, size_t n, struct varve_err *e)
{
	return zstd_push((struct sink_zstd *)sink, p, n, ZSTD_e_continue, e);
}

static int zstd_finish(struct sink *sink, struct varve_err *e)
{
	return zstd_push((struct sink_zstd *)sink, "", 0, ZSTD_e_end, e);
}

static void zstd_free(struct sink *sink)
{
	struct sink_zstd *s = (struct sink_zstd *)sink;

	ZSTD_freeCCtx(s->z);
	free(s->out);
	free(s);
}

int sink_zstd_new(struct sink **ret, struct sink *below, int level, unsigned threads,
		  struct varve_err *e)
{
	struct sink_zstd *s = calloc(1, sizeof(*s));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (!s)
		return varve_fail_oom(e);
	s->sink = (struct sink){zstd_write, zstd_finish, zstd_free};
	s->below = below;
	s->size = ZSTD_CStreamOutSize();
	s->out = malloc(s->size);
	s->z = ZSTD_createCCtx();
	if (!s->out || !s->z) {
		zstd_free(&s->sink);
		return varve_fail_oom(e);
	}
	if (!threads)
		threads = cores > 0 ? (unsigned)cores : 1;
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_compressionLevel, level ? level : ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_checksumFlag, 1);
	/* One worker gives the same bytes as many; none at all does not. A library without threads
	 * refuses, which is fine. */
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_nbWorkers, (int)VARVE_MIN(threads, 64u));
	*ret = &s->sink;
	return 0;
}
