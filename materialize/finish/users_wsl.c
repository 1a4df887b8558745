/* SPDX-License-Identifier: Apache-2.0 */
/* Settings for where a tree goes to live: /etc/wsl.conf, only what was asked for. */
#include "materialize/finish/users.h"
#include "store/base/options.h"

int varve_wsl_conf(int rootfd, const struct varve_wsl_conf_options *opt, struct varve_err *e)
{
	struct varve_wsl_conf_options own;
	struct etc_file f;
	int x = OPTIONS_COPY(&own, opt, hostname, e);

	if (x < 0)
		return x;
	opt = &own;
	if ((opt->default_user && !etc_name_is_good(opt->default_user)) ||
	    (opt->hostname && !etc_name_is_good(opt->hostname)))
		return varve_fail(e, VARVE_E_USAGE, "wsl.conf: not a name of a user or a host");
	x = etc_open(rootfd, "etc/wsl.conf", &f, e);
	if (x < 0)
		return x;
	if (opt->default_user)
		etc_set_ini(&f, "user", "default", opt->default_user);
	if (opt->hostname)
		etc_set_ini(&f, "network", "hostname", opt->hostname);
	if (opt->systemd >= 0)
		etc_set_ini(&f, "boot", "systemd", opt->systemd ? "true" : "false");
	x = etc_save(&f, 0644, e);
	etc_close(&f);
	return x;
}
