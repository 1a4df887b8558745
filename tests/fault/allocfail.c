/* SPDX-License-Identifier: Apache-2.0 */
/* A library to preload: the N-th allocation of the process fails, as it does when memory is short.
 *
 *   ALLOCFAIL_AT=N   the N-th allocation after the start of main() fails, once; 0: none does
 *   ALLOCFAIL_STICKY=1   every later one fails too
 *   ALLOCFAIL_COUNT=FILE   how many there were, and whether one failed: two numbers of 64 bits, in
 *                          the byte order of the machine, true also after a crash
 *
 * The environment is cleaned: what the process executes is not watched. Where memory is asked for
 * without these functions (a stack, mmap) nothing fails.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* glibc's own names: to look them up with dlsym() would allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

struct report {
	_Atomic uint64_t calls, failed;
};

static struct report unwatched;
static struct report *report = &unwatched;
static uint64_t at;
static bool started, sticky;

static bool fails(void)
{
	uint64_t n;

	if (!started)
		return false;
	n = atomic_fetch_add(&report->calls, 1) + 1;
	if (at == 0 || n < at || (n > at && !sticky))
		return false;
	atomic_store(&report->failed, 1);
	errno = ENOMEM;
	return true;
}

EXPORT void *malloc(size_t size);
EXPORT void *calloc(size_t n, size_t size);
EXPORT void *realloc(void *p, size_t size);
EXPORT void *memalign(size_t alignment, size_t size);
EXPORT void *aligned_alloc(size_t alignment, size_t size);
EXPORT int posix_memalign(void **ret, size_t alignment, size_t size);
EXPORT int __libc_start_main(int (*program)(int, char **, char **), int argc, char **argv,
			     int (*init)(int, char **, char **), void (*fini)(void),
			     void (*rtld_fini)(void), void *stack_end);

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	int saved = errno;
	void *p = memalign(alignment, size);

	errno = saved;
	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

static uint64_t number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : 0;
}

static void open_report(void)
{
	const char *path = getenv("ALLOCFAIL_COUNT");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
	void *map;

	if (fd < 0)
		return;
	if (ftruncate(fd, sizeof(struct report)) == 0) {
		map = mmap(NULL, sizeof(struct report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED)
			report = map;
	}
	(void)close(fd);
}

static int (*real_program)(int, char **, char **);

/* All libraries are loaded and have run their constructors. */
static int watched_program(int argc, char **argv, char **env)
{
	at = number("ALLOCFAIL_AT");
	sticky = number("ALLOCFAIL_STICKY") != 0;
	open_report();
	(void)unsetenv("LD_PRELOAD");
	started = true;
	return real_program(argc, argv, env);
}

int __libc_start_main(int (*program)(int, char **, char **), int argc, char **argv,
		      int (*init)(int, char **, char **), void (*fini)(void),
		      void (*rtld_fini)(void), void *stack_end)
{
	int (*real)(int (*)(int, char **, char **), int, char **, int (*)(int, char **, char **),
		    void (*)(void), void (*)(void), void *);
	void *address = dlsym(RTLD_NEXT, "__libc_start_main");

	if (!address)
		abort();
	memcpy(&real, &address, sizeof(real));
	real_program = program;
	return real(watched_program, argc, argv, init, fini, rtld_fini, stack_end);
}
