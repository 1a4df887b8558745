/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup attributes and small macros; the only place that spells compiler extensions. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VARVE_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define VARVE_MIN(a, b)     ((a) < (b) ? (a) : (b))
#define VARVE_MAX(a, b)     ((a) > (b) ? (a) : (b))
#define VARVE_UNUSED        __attribute__((unused))
#define VARVE_MUST_CHECK    __attribute__((warn_unused_result))

static inline void varve_cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void varve_cleanup_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
static inline void varve_cleanup_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}
static inline void varve_cleanup_file(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}
static inline int varve_take_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

/* Declare and initialise on the same line. For error
 * paths: where close() can lose data, check it. */
#define VARVE_FREE     __attribute__((cleanup(varve_cleanup_free)))
#define VARVE_CLOSE    __attribute__((cleanup(varve_cleanup_fd)))
#define VARVE_CLOSEDIR __attribute__((cleanup(varve_cleanup_dir)))
#define VARVE_FCLOSE   __attribute__((cleanup(varve_cleanup_file)))
/* For a type with "void fn(T *)": VARVE_CLEANUP(fn) struct t x = {0}; */
#define VARVE_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Hand ownership on; the variable is emptied. */
#define VARVE_TAKE_FD(fd) varve_take_fd(&(fd))
#define VARVE_TAKE(p)                                                                              \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})
