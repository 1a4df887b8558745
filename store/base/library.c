/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/library.h"

#include <dlfcn.h>
#include <string.h>

int library_load(const char *soname, const struct library_function *f, size_t n,
		 struct varve_err *e)
{
	void *lib = dlopen(soname, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

	if (!lib)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "%s; install it", dlerror());
	for (size_t i = 0; i < n; i++) {
		void *address = dlsym(lib, f[i].name);

		if (!address)
			return varve_fail(e, VARVE_E_UNSUPPORTED, "%s has no %s", soname,
					  f[i].name);
		memcpy(f[i].at, &address, sizeof(address));
	}
	return 0;
}
