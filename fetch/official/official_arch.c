/* SPDX-License-Identifier: Apache-2.0 */
/* The architectures of official-images and the platforms they mean (bashbrew:
 * architecture/oci-platform.go). */
#include "fetch/official/official_arch.h"
#include "fetch/official/official_library.h"

#include <string.h>

#include "store/base/compiler.h"

static const struct {
	const char *arch;
	struct varve_platform platform;
} arches[] = {
	{"amd64", {"linux", "amd64", ""}},           {"i386", {"linux", "386", ""}},
	{"arm32v5", {"linux", "arm", "v5"}},         {"arm32v6", {"linux", "arm", "v6"}},
	{"arm32v7", {"linux", "arm", "v7"}},         {"arm64v8", {"linux", "arm64", "v8"}},
	{"mips64le", {"linux", "mips64le", ""}},     {"ppc64le", {"linux", "ppc64le", ""}},
	{"riscv64", {"linux", "riscv64", ""}},       {"s390x", {"linux", "s390x", ""}},
	{"windows-amd64", {"windows", "amd64", ""}},
};

const char *official_arch(const struct varve_platform *p)
{
	const char *variant = p->variant;
	size_t i;

	/* A bare "arm" is v7 and a bare "arm64" v8, as in containerd's platform matching. */
	if (!*variant && !strcmp(p->arch, "arm"))
		variant = "v7";
	if (!*variant && !strcmp(p->arch, "arm64"))
		variant = "v8";
	for (i = 0; i < VARVE_ARRAY_SIZE(arches); i++) {
		const struct varve_platform *q = &arches[i].platform;

		if (!strcmp(p->os, q->os) && !strcmp(p->arch, q->arch) &&
		    !strcmp(variant, q->variant))
			return arches[i].arch;
	}
	return NULL;
}

bool official_arch_platform(const char *arch, struct varve_platform *ret)
{
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(arches); i++)
		if (!strcmp(arches[i].arch, arch)) {
			*ret = arches[i].platform;
			return true;
		}
	return false;
}
