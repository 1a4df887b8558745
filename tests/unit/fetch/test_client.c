/* SPDX-License-Identifier: Apache-2.0 */
/* Places of repositories: what they share, and what they must not. */
#include "unit.h"

#include <string.h>

#include "fetch/config/config_read.h"
#include "fetch/registry/client.h"
#include "fetch/registry/exchange_auth.h"
#include "store/base/compiler.h"

static void on_finding(void *user, bool error, const char *member, const char *message)
{
	(void)user;
	fail_msg("%s: %s (%d)", member, message, error);
}

static struct client *make(struct varve_config **ret, const char *text)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct client *c = NULL;

	*ret = calloc(1, sizeof(**ret));
	config_defaults(*ret);
	assert_ok(config_read(*ret, text, strlen(text), on_finding, NULL, &e), &e);
	assert_ok(client_new(&c, NULL, *ret, &registry_exchange, 1, &e), &e);
	return c;
}

static const struct endpoint *place(struct client *c, const char *domain, const char *path,
				    size_t i)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct repo *repo = NULL;

	assert_ok(client_repo(c, domain, path, &repo, &e), &e);
	assert_true(i < repo->n_targets);
	return repo->targets[i].endpoint;
}

/* The registry h:5000 is as it was configured, in whatever order it and the mirrors are met. */
static void test_mirrors_do_not_change_a_registry(void **state)
{
	static const char text[] =
		"{\"registries\":{"
		"\"plain.io\":{\"fallback\":false,\"mirrors\":[{\"url\":\"http://h:5000\"}]},"
		"\"trusting.io\":{\"fallback\":false,\"mirrors\":["
		"{\"url\":\"https://h:5000\",\"insecure\":true}]},"
		"\"same.io\":{\"fallback\":false,\"mirrors\":[{\"url\":\"https://h:5000\"}]},"
		"\"local.io\":{\"fallback\":false,\"mirrors\":[{\"url\":\"https://localhost:1\"}]},"
		"\"h:5000/open\":{\"insecure\":true}}}";
	static const char *const domains[] = {"plain.io", "trusting.io", "same.io",
					      "h:5000",   "local.io",    "localhost:1"};

	(void)state;
	for (size_t first = 0; first < VARVE_ARRAY_SIZE(domains); first++) {
		struct varve_config *config;
		struct client *c = make(&config, text);
		const struct endpoint *p;

		(void)place(c, domains[first], "x", 0);
		p = place(c, "plain.io", "x", 0);
		assert_false(p->key.https || p->key.may_http || p->key.insecure);
		p = place(c, "trusting.io", "x", 0);
		assert_true(p->key.https && p->key.insecure && !p->key.may_http);
		p = place(c, "h:5000", "x", 0);
		assert_true(p->key.https && !p->key.may_http && !p->key.insecure);
		assert_ptr_equal(p, place(c, "same.io", "x", 0));
		p = place(c, "h:5000", "open/x", 0);
		assert_true(p->key.https && p->key.may_http && p->key.insecure);
		/* A mirror's scheme is meant; a registry on this machine may lack TLS. */
		p = place(c, "local.io", "x", 0);
		assert_true(p->key.https && !p->key.may_http);
		p = place(c, "localhost:1", "x", 0);
		assert_true(p->key.https && p->key.may_http);
		client_free(c);
		varve_config_free(config);
	}
}

/* Who trusts any certificate of a host does not make another do so. */
static void test_hosts(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_config *config;
	struct client *c = make(&config, "{}");
	struct host *strict = NULL, *loose = NULL, *again = NULL;
	struct url u;

	(void)state;
	assert_ok(url_parse(&u, "https://h/v2/", &e), &e);
	assert_ok(client_host(c, &u, false, &strict, &e), &e);
	assert_ok(client_host(c, &u, true, &loose, &e), &e);
	assert_false(strict->tls.skip_verify);
	assert_true(loose->tls.skip_verify);
	assert_ok(client_host(c, &u, false, &again, &e), &e);
	assert_ptr_equal(strict, again);
	client_free(c);
	varve_config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirrors_do_not_change_a_registry),
		cmocka_unit_test(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
