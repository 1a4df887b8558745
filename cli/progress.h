/* SPDX-License-Identifier: Apache-2.0 */
/* Progress of long work on stderr: a redrawn block on a terminal, plain lines, or NDJSON. */
#pragma once

struct cli;

/* Sets the callback of c->ctx as --progress, -q and the terminal say. */
void progress_setup(struct cli *c);
/* Take the block off the terminal, because something else is printed or the work is done. */
void progress_hide(void);
