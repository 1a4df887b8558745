/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every part of libvarve shares in its interface: errors, digests, the caller's context.
 *
 * Thread rule of the library: a handle may be used by one thread at a time; different handles are
 * independent. The library never prints, never exits, and never changes signals, cwd or
 * environment.
 */
#ifndef VARVE_BASE_H
#define VARVE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VARVE_PUBLIC            __attribute__((visibility("default")))
#define VARVE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
/*
 * The last member of each struct that a caller allocates, or has an array of, and that does not
 * begin with its size: members of later versions take its place, so that no struct changes its
 * length. Whoever allocates one fills it with zeros first ("= {0}"), those for results too: 0 is
 * what a library that does not know the member leaves there.
 */
#define VARVE_ROOM uint64_t reserved[8]

/* Exit statuses of the command, kept with the codes so that there is one table. */
enum varve_exit {
	VARVE_EXIT_OK = 0,
	VARVE_EXIT_FAILED = 1,
	VARVE_EXIT_USAGE = 2,
	VARVE_EXIT_NOTFOUND = 3,
	VARVE_EXIT_INTEGRITY = 4,
	VARVE_EXIT_NETWORK = 5,
	VARVE_EXIT_BUSY = 6,
	VARVE_EXIT_NOSPACE = 7,
	VARVE_EXIT_INTERRUPTED = 130,
};

/*
 * X(symbol, number, slug, text, exit status). A code is one of these or an errno value; numbers
 * stay above every errno. The slug is what --json prints and never changes.
 */
#define VARVE_CODES(X)                                                                             \
	X(VARVE_E_USAGE, 2001, "usage", "wrong usage", VARVE_EXIT_USAGE)                           \
	X(VARVE_E_REFERENCE, 2002, "bad-reference", "not a valid image reference",                 \
	  VARVE_EXIT_USAGE)                                                                        \
	X(VARVE_E_NOTFOUND, 2003, "not-found", "not found", VARVE_EXIT_NOTFOUND)                   \
	X(VARVE_E_NOPLATFORM, 2004, "no-platform", "no image for the platform",                    \
	  VARVE_EXIT_NOTFOUND)                                                                     \
	X(VARVE_E_DIGEST, 2005, "digest-mismatch", "content does not match its digest",            \
	  VARVE_EXIT_INTEGRITY)                                                                    \
	X(VARVE_E_SIZE, 2006, "size-mismatch", "content does not have its stated size",            \
	  VARVE_EXIT_INTEGRITY)                                                                    \
	X(VARVE_E_FORMAT, 2007, "bad-format", "malformed content", VARVE_EXIT_INTEGRITY)           \
	X(VARVE_E_UNSAFE, 2008, "unsafe-content", "unsafe content", VARVE_EXIT_INTEGRITY)          \
	X(VARVE_E_LIMIT, 2009, "over-limit", "larger than the limit", VARVE_EXIT_INTEGRITY)        \
	X(VARVE_E_UNSUPPORTED, 2010, "unsupported", "not supported", VARVE_EXIT_FAILED)            \
	X(VARVE_E_NETWORK, 2011, "network", "network failure", VARVE_EXIT_NETWORK)                 \
	X(VARVE_E_AUTH, 2012, "denied", "access denied", VARVE_EXIT_NETWORK)                       \
	X(VARVE_E_TLS, 2013, "tls", "TLS failure", VARVE_EXIT_NETWORK)                             \
	X(VARVE_E_HTTP, 2014, "http", "unexpected answer of the server", VARVE_EXIT_NETWORK)       \
	X(VARVE_E_RATELIMIT, 2015, "rate-limited", "the registry asks to wait",                    \
	  VARVE_EXIT_NETWORK)                                                                      \
	X(VARVE_E_OFFLINE, 2016, "offline", "needs the network", VARVE_EXIT_NETWORK)               \
	X(VARVE_E_BUSY, 2017, "busy", "in use by another process", VARVE_EXIT_BUSY)                \
	X(VARVE_E_NOSPACE, 2018, "no-space", "no space left", VARVE_EXIT_NOSPACE)                  \
	X(VARVE_E_INTERRUPTED, 2019, "interrupted", "interrupted", VARVE_EXIT_INTERRUPTED)         \
	X(VARVE_E_NOSTORE, 2020, "no-store", "not a varve store", VARVE_EXIT_FAILED)               \
	X(VARVE_E_VERSION, 2021, "store-version", "made by a newer varve", VARVE_EXIT_FAILED)      \
	X(VARVE_E_READONLY, 2022, "read-only", "read-only", VARVE_EXIT_FAILED)                     \
	X(VARVE_E_CORRUPT, 2023, "store-damaged", "damaged store", VARVE_EXIT_INTEGRITY)           \
	X(VARVE_E_EXISTS, 2024, "exists", "exists already", VARVE_EXIT_FAILED)                     \
	X(VARVE_E_CONFLICT, 2025, "conflict", "belongs to something else", VARVE_EXIT_FAILED)      \
	X(VARVE_E_INCOMPLETE, 2026, "incomplete", "parts are missing", VARVE_EXIT_FAILED)          \
	X(VARVE_E_HOOK, 2027, "hook-failed", "a hook failed", VARVE_EXIT_FAILED)                   \
	X(VARVE_E_CONFIG, 2028, "bad-config", "wrong configuration", VARVE_EXIT_USAGE)             \
	X(VARVE_E_BUDGET, 2029, "budget", "the budget cannot be met", VARVE_EXIT_NOTFOUND)

#define VARVE_CODE_ENUM(symbol, number, slug, text, status) symbol = number,
enum varve_code { VARVE_CODES(VARVE_CODE_ENUM) };
#undef VARVE_CODE_ENUM

/*
 * What failed, as a chain of frames, the root cause first. Owned by the caller, no allocation, may
 * be copied with "=". Every function that takes one accepts NULL. A success path never touches it.
 */
struct varve_err {
	int code; /* positive code of the root cause, 0 if none */
	uint16_t n_frames, used;
	bool truncated;  /* outer frames were dropped, never the cause */
	char text[2030]; /* NUL-separated frames */
};
#define VARVE_ERR_INIT                                                                             \
	{                                                                                          \
		0                                                                                  \
	}

/* Start a chain. Returns -code. Keeps errno. Text: the object, then the reason, then what to do. */
VARVE_PUBLIC int varve_fail(struct varve_err *e, int code, const char *fmt, ...) VARVE_PRINTF(3, 4);
/* Add a frame that names the object that was worked on. Returns r. Keeps errno. */
VARVE_PUBLIC int varve_wrap(struct varve_err *e, int r, const char *fmt, ...) VARVE_PRINTF(3, 4);
/* Frame i (0 is the root cause), or NULL. */
VARVE_PUBLIC const char *varve_err_frame(const struct varve_err *e, unsigned i);
/* "outer: inner: cause" into buf, always terminated. Returns buf. */
VARVE_PUBLIC const char *varve_err_text(const struct varve_err *e, char *buf, size_t size);
/* For a code (or its negative): slug, sentence, exit status. */
VARVE_PUBLIC const char *varve_code_slug(int code);
VARVE_PUBLIC const char *varve_code_text(int code);
VARVE_PUBLIC enum varve_exit varve_code_exit(int code);

/* --- digests (image-spec descriptor.md#digests) --- */
enum varve_algo { VARVE_ALGO_NONE = 0, VARVE_SHA256 = 1, VARVE_SHA512 = 2 };

/* The all-zero value is "no digest". Bytes beyond the algorithm's length are zero. */
struct varve_digest {
	uint8_t algo;
	uint8_t bytes[64];
};
#define VARVE_DIGEST_STR_MAX 136 /* "sha512:" + 128 hex + NUL */

/* "sha256:<64 lower-case hex>" or "sha512:<128>". 0, or -VARVE_E_FORMAT and nothing written. */
VARVE_PUBLIC int varve_digest_parse(struct varve_digest *ret, const char *text);
VARVE_PUBLIC const char *varve_digest_str(const struct varve_digest *d,
					  char buf[VARVE_DIGEST_STR_MAX]);
VARVE_PUBLIC bool varve_digest_equal(const struct varve_digest *a, const struct varve_digest *b);
VARVE_PUBLIC bool varve_digest_is_set(const struct varve_digest *d);

/* --- context: how the library talks to its caller --- */
enum varve_log_level { VARVE_LOG_ERROR, VARVE_LOG_WARN, VARVE_LOG_INFO, VARVE_LOG_DEBUG };

enum varve_stage {
	VARVE_STAGE_RESOLVE,
	VARVE_STAGE_DOWNLOAD, /* bytes of one blob */
	VARVE_STAGE_READ,     /* bytes of one stored layer being inflated and verified */
	VARVE_STAGE_WAIT,     /* another process downloads this blob; done/total are its bytes */
	VARVE_STAGE_PLAN,
	VARVE_STAGE_WRITE, /* bytes of a rootfs */
	VARVE_STAGE_SYNC,
	VARVE_STAGE_HOOK,
	VARVE_STAGE_DELETE, /* entries */
	VARVE_STAGE_CHECK,  /* bytes or items */
	VARVE_STAGE_GC,
	VARVE_STAGE_UPLOAD,
};

struct varve_progress {
	enum varve_stage stage;
	const char *object;   /* digest, path or reference; valid during the call; may be NULL */
	uint64_t done, total; /* total 0: unknown */
	uint64_t resumed;     /* bytes of done that were there before */
	bool finished;        /* last event of this (stage, object) */
};

/*
 * Set up by the caller, read only for the library; must outlive every handle made with it. All
 * members may be zero.
 *
 * log and progress come one at a time for one context, from whichever thread has something to say:
 * the one that called the library, or one that the library started. Most of what reads content from
 * outside is in threads that are confined for good, and so is a callback that comes from there,
 * with every thread that it starts: it can change no file outside the store and the new tree, make
 * or connect no socket, run no program and signal no other process. Writing to a descriptor that
 * was open before is allowed. A callback that needs more puts a copy of the event into a queue that
 * a thread of the caller's own, started before, takes it from.
 *
 * While a callback runs, others of the context wait for it, and with them, in time, the work. It
 * may use varve_cancel(), the functions for errors, digests and codes, and those of varve-text.h;
 * of anything else of the library it may get no answer, because the thread that called it holds
 * locks.
 */
struct varve_ctx {
	void (*log)(void *user, enum varve_log_level level, const char *module,
		    const char *message);
	void *log_user;
	enum varve_log_level log_level; /* messages above it are not made */
	void (*progress)(void *user, const struct varve_progress *p);
	void *progress_user;
	/*
	 * Non-zero: end soon with VARVE_E_INTERRUPTED. The library only reads it, atomically and
	 * from any of its threads, so whoever sets it while a call runs does it with
	 * varve_cancel(). May be NULL.
	 */
	const volatile int *cancel;
	VARVE_ROOM;
};

/*
 * Set the flag that ctx.cancel points to: from any thread and from a signal handler. Returns what
 * it was before, so that the second call can be told from the first. To use it again, once all
 * calls have come back: set it to 0.
 */
static inline int varve_cancel(volatile int *flag)
{
	return __atomic_exchange_n(flag, 1, __ATOMIC_SEQ_CST);
}

VARVE_PUBLIC const char *varve_version(void);

#ifdef __cplusplus
}
#endif
#endif
