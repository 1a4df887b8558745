/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration; what is taken of it is looked up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/config/config_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_finding(void *user, bool error, const char *member, const char *message)
{
	(void)error;
	*(size_t *)user += strlen(member) + strlen(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const hosts[] = {"docker.io", "a.b.c", "127.0.0.1:5000", "q"};
	struct varve_config *c = calloc(1, sizeof(*c));
	size_t said = 0;

	if (!c)
		abort();
	config_defaults(c);
	(void)config_read(c, data, n, on_finding, &said, NULL);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		(void)config_registry_for(c, hosts[i], "library/x");
		(void)config_host_insecure(c, hosts[i]);
	}
	varve_config_free(c);
	return 0;
}
