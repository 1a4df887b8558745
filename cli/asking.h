/* SPDX-License-Identifier: Apache-2.0 */
/* What tags mean upstream now, for outdated and install --all-outdated. */
#pragma once

#include "cli/cmd_pull.h"

enum answer { ANSWER_CURRENT, ANSWER_OUTDATED, ANSWER_ERROR, ANSWER_NOT_ASKED };

/* One name and what it meant when it was fetched or installed. */
struct question {
	char *reference, *label; /* label NULL: the stored image of that name */
	char *origin;            /* of the official source; NULL: a registry is asked */
	char *settings;          /* of a tree: the options that it was made with */
	uint32_t made;           /* of a tree: VARVE_MADE_* */
	char *directory;         /* of a tree: its name in the roots dir */
	struct varve_platform platform;
	struct varve_digest have, now; /* now is not set for the official source */
	enum answer answer;
	char error[512]; /* also why nothing was asked */
};
struct questions {
	struct question *items;
	size_t n;
};
void questions_done(struct questions *q);

/* Collect the stored tags, or the installed trees,
 * of the named references (all of them if n is 0). */
int ask_images(struct cli *c, struct questions *q, int n, char **names, struct varve_err *e);
int ask_trees(struct cli *c, struct questions *q, int n, char **names, struct varve_err *e);
/*
 * Ask the registries. One that does not answer says nothing about the others: its questions have
 * ANSWER_ERROR, and c->status is set.
 */
int ask_all(struct cli *c, struct questions *q, const struct pulling *p, struct varve_err *e);
