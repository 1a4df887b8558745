/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a configuration file into a struct; pure. */
#pragma once

#include "fetch/config/config.h"

/* error false: worth a warning (an unknown member).
 * member: "registries.docker.io.mirrors[0].url". */
typedef void (*config_finding)(void *user, bool error, const char *member, const char *message);

/*
 * Findings are told one by one and reading goes on; what was wrong keeps its default. <0 only for
 * text that is no JSON object (VARVE_E_CONFIG) and lack of memory.
 */
int config_read(struct varve_config *c, const void *p, size_t n, config_finding finding, void *user,
		struct varve_err *e);
