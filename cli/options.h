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
};

struct opt_row {
	const char *name; /* without the dashes */
	char letter;      /* 0: none */
	const char *arg;  /* what --help calls its argument; NULL for FLAG and COUNT */
	const char *help;
	enum opt_kind kind;
	size_t offset; /* of the member in the struct that is filled */
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

/* The row of that name, or NULL. */
const struct opt_row *opt_find(const struct opt_row *rows, size_t n, const char *name);
/* The name that is most like text among n names (stride bytes apart), or NULL if none is near. */
const char *opt_nearest(const char *text, const void *first_name, size_t n, size_t stride);
