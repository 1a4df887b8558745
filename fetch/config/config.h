/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as the rest of fetch/ reads it (docs/varve-config.5). */
#pragma once

#include "fetch/config/official_path.h"
#include "fetch/http/url.h"
#include "varve-fetch.h"

#define CONFIG_MIRRORS_MAX 32

struct config_mirror {
	char *url;        /* scheme://host[:port][/path], no slash at the end */
	char *repository; /* replaces the matched prefix; NULL: the path stays as it is */
	char **headers;   /* "Name: value", NULL-terminated; may be NULL */
	bool resolve, pull;
	bool insecure;
	bool ns;            /* add ?ns= */
	bool override_path; /* url has the /v2 itself */
	unsigned connect_ms, header_ms;
};
struct config_registry {
	char *prefix;   /* "docker.io", "docker.io/library", "*.example.com" */
	char *location; /* "host[:port][/path]" instead of the prefix; NULL: none */
	bool insecure, blocked, fallback;
	char **token_hosts; /* also get this registry's credentials for tokens; may be NULL */
	struct config_mirror *mirrors;
	size_t n_mirrors;
};
struct varve_config {
	char *path; /* the file it came from; NULL: defaults */
	struct config_registry *registries;
	size_t n_registries;
	char **insecure; /* hosts; may be NULL */
	char **lower;
	uint32_t *trusted; /* user ids of trusted_owners */
	size_t n_trusted;
	char *hooks; /* absolute path; NULL: not set */
	unsigned jobs;
	unsigned connect_ms, header_ms, stall_ms, retries;
	uint64_t max_blob;
	struct varve_limits limits; /* 0: the default */
	bool has_platform;
	struct varve_platform platform;
	char *official_library;               /* URL with {image}; NULL: the built-in one */
	struct official_host *official_hosts; /* strings are owned */
	size_t n_official_hosts;
};

void config_defaults(struct varve_config *c);
/* The entry with the longest prefix of domain/path on a component boundary, or NULL. */
const struct config_registry *config_registry_for(const struct varve_config *c, const char *domain,
						  const char *path);
/* Is host[:port] in the list of insecure hosts? */
bool config_host_insecure(const struct varve_config *c, const char *host);
