/* SPDX-License-Identifier: Apache-2.0 */
/* Where an export's bytes go: a chain of writers that ends in a file descriptor. */
#pragma once

#include "varve-base.h"

struct sink {
	int (*write)(struct sink *s, const void *p, size_t n, struct varve_err *e);
	/* The end of the data; what is below is not finished by it. */
	int (*finish)(struct sink *s, struct varve_err *e);
	void (*free)(struct sink *s);
};

static inline int sink_write(struct sink *s, const void *p, size_t n, struct varve_err *e)
{
	return s->write(s, p, n, e);
}
static inline int sink_finish(struct sink *s, struct varve_err *e)
{
	return s->finish(s, e);
}
static inline void sink_free(struct sink *s)
{
	if (s)
		s->free(s);
}

/* To a borrowed fd, in large writes; counts. name: for messages. */
int sink_fd_new(struct sink **ret, int fd, const char *name, const struct varve_ctx *ctx,
		struct varve_err *e);
uint64_t sink_fd_bytes(const struct sink *s);
int sink_zstd_new(struct sink **ret, struct sink *below, int level, unsigned threads,
		  struct varve_err *e);
