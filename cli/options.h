/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that describe the options of a command: they feed the parser, --help and "help --dump". */
#pragma once

#include "varve-base.h"

enum opt_kind {
	OPT_FLAG,     /* bool */
	OPT_COUNT,    /* unsigned, one more each time */
	OPT_TEXT,     /* const char *, borrowed from argv */
	OPT_LIST,     /* struct opt_list, may be given again */
	OPT_NUMBER,   /* unsigned, 1 or more */
	OPT_SIZE,     /* struct opt_amount, bytes: "500M", "1.5GiB" */
	OPT_DURATION, /* struct opt_amount, seconds: "30s", "7d" */
	OPT_CHOICE,   /* unsigned: the index in arg, which is "auto|always|never" */
	OPT_PLATFORM, /* struct varve_platform; os is empty when not given */
	OPT_ROWS,     /* no option: all rows of a list, whose struct is a member of this one */
};

struct opt_row;
/* Rows that several commands have. */
struct opt_rows {
	const struct opt_row *rows;
	size_t n;
};
#define OPT_ROWS_OF(array)                                                                         \
	{                                                                                          \
		(array), sizeof(array) / sizeof((array)[0])                                        \
	}
/* As a row of a command: the rows of a list fill the member at an offset. */
#define OPT_ALL_OF(list_, offset_)                                                                 \
	{                                                                                          \
		.kind = OPT_ROWS, .list = &(list_), .offset = (offset_)                            \
	}

struct opt_row {
	const char *name; /* without the dashes */
	char letter;      /* 0: none */
	const char *arg;  /* what --help calls its argument; NULL for FLAG and COUNT */
	const char *help;
	enum opt_kind kind;
	size_t offset;               /* of the member in the struct that is filled */
	const struct opt_rows *list; /* of OPT_ROWS only */
};

/* 0 can be asked for, and is not the same as nothing. */
struct opt_amount {
	bool given;
	uint64_t n;
};

/* NULL-terminated when n > 0. */
struct opt_list {
	const char **items;
	size_t n;
};

struct opt_set {
	const struct opt_row *rows;
	size_t n;
	void *dst; /* zeroed by the caller; LIST members are freed with opt_done */
};

/*
 * Fill the sets from argv[1..]. Options may stand anywhere; "--" ends them. With stop_early the
 * first argument ends the run and *ret_used is its index; otherwise the arguments are moved to args
 * (room for argc pointers) and counted in *ret_n. VARVE_E_USAGE with one line that says what is
 * wrong.
 */
int opt_parse(const struct opt_set *sets, size_t n_sets, int argc, char **argv, bool stop_early,
	      char **args, int *ret_n, struct varve_err *e);
void opt_done(const struct opt_set *set);

/* Goes through rows and those of their lists, which may have lists themselves. */
struct opt_walk {
	struct {
		const struct opt_row *next, *end;
		size_t offset;
	} level[4];
	size_t depth;
};
struct opt_walk opt_walk(const struct opt_row *rows, size_t n);
/* The next option; its offset is that in the struct of the first rows. False: there is none. */
bool opt_next(struct opt_walk *w, struct opt_row *ret);
/* Is there an option of that name? */
bool opt_has(const struct opt_row *rows, size_t n, const char *name);
/* The name that is most like text among n names (stride bytes apart), or NULL if none is near. */
const char *opt_nearest(const char *text, const void *first_name, size_t n, size_t stride);
