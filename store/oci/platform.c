/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms: normalise, compare, rank (docs/requirements.md 3.14-3.18). */
#include "store/oci/platform.h"

#include <ctype.h>
#include <string.h>
#include <sys/utsname.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

/* Lower case into a fixed buffer; only what platform names are made of. */
static bool copy_word(char *out, size_t size, const char *s)
{
	size_t i;

	for (i = 0; s && s[i]; i++) {
		unsigned char c = (unsigned char)s[i];

		if (i + 1 >= size || !(isalnum(c) || c == '_' || c == '-' || c == '.'))
			return false;
		out[i] = (char)tolower(c);
	}
	out[i] = '\0';
	return true;
}

static const struct {
	const char *from, *arch, *variant;
} arch_names[] = {
	{"x86_64", "amd64", ""},      {"x86-64", "amd64", ""}, {"aarch64", "arm64", ""},
	{"armhf", "arm", "v7"},       {"armel", "arm", "v6"},  {"armv8l", "arm", "v8"},
	{"armv7l", "arm", "v7"},      {"armv6l", "arm", "v6"}, {"armv5tel", "arm", "v5"},
	{"i386", "386", ""},          {"i486", "386", ""},     {"i586", "386", ""},
	{"i686", "386", ""},          {"x86", "386", ""},      {"ppc64el", "ppc64le", ""},
	{"mips64el", "mips64le", ""},
};

bool platform_set(struct varve_platform *ret, const char *os, const char *arch, const char *variant)
{
	struct varve_platform p = {0};
	size_t i;

	if (!copy_word(p.os, sizeof(p.os), os) || !copy_word(p.arch, sizeof(p.arch), arch) ||
	    !copy_word(p.variant, sizeof(p.variant), variant))
		return false;
	if (strcmp(p.os, "macos") == 0)
		strcpy(p.os, "darwin");
	for (i = 0; i < VARVE_ARRAY_SIZE(arch_names); i++) {
		if (strcmp(p.arch, arch_names[i].from) != 0)
			continue;
		strcpy(p.arch, arch_names[i].arch);
		if (arch_names[i].variant[0])
			strcpy(p.variant, arch_names[i].variant);
		break;
	}
	/* "8" for "v8" is seen in the wild. */
	if (strcmp(p.arch, "arm") == 0 && p.variant[0] >= '5' && p.variant[0] <= '8' &&
	    p.variant[1] == '\0') {
		p.variant[1] = p.variant[0];
		p.variant[0] = 'v';
		p.variant[2] = '\0';
	}
	if (strcmp(p.arch, "amd64") == 0 && strcmp(p.variant, "v1") == 0)
		p.variant[0] = '\0';
	if (strcmp(p.arch, "arm64") == 0 &&
	    (strcmp(p.variant, "v8") == 0 || strcmp(p.variant, "8") == 0 ||
	     strcmp(p.variant, "v8.0") == 0))
		p.variant[0] = '\0';
	*ret = p;
	return true;
}

static bool known_os(const char *s)
{
	static const char *const names[] = {"linux",   "windows", "darwin",  "macos",
					    "freebsd", "netbsd",  "openbsd", "solaris",
					    "illumos", "aix",     "android", "plan9"};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(names); i++) {
		if (strcasecmp(s, names[i]) == 0)
			return true;
	}
	return false;
}

int varve_platform_parse(struct varve_platform *ret, const char *text, struct varve_err *e)
{
	char copy[96];
	char *part[3] = {NULL, NULL, NULL};
	char *save = NULL, *word;
	size_t n = 0;
	bool ok;

	if (!text || !*text || strlen(text) >= sizeof(copy) || text[0] == '/' ||
	    text[strlen(text) - 1] == '/' || strstr(text, "//"))
		goto bad;
	strcpy(copy, text);
	for (word = strtok_r(copy, "/", &save); word; word = strtok_r(NULL, "/", &save)) {
		if (n == 3)
			goto bad;
		part[n++] = word;
	}
	if (n == 1 && known_os(part[0])) {
		struct varve_platform host;

		varve_platform_host(&host);
		ok = platform_set(ret, part[0], host.arch, host.variant);
	} else if (n == 1 || (n == 2 && !known_os(part[0]))) {
		ok = platform_set(ret, "linux", part[0], part[1]);
	} else {
		ok = platform_set(ret, part[0], part[1], part[2]);
	}
	if (!ok)
		goto bad;
	if (strcmp(ret->arch, "arm") == 0 && !ret->variant[0])
		strcpy(ret->variant, "v7");
	return 0;
bad:
	return varve_fail(e, VARVE_E_USAGE,
			  "platform \"%s\": write os/arch or os/arch/variant, for example "
			  "linux/amd64 or linux/arm/v7",
			  TEXT_SAFE(text ? text : ""));
}

void varve_platform_host(struct varve_platform *ret)
{
	struct utsname u;

	if (uname(&u) < 0 || !platform_set(ret, "linux", u.machine, NULL))
		(void)platform_set(ret, "linux", "unknown", NULL);
	if (strcmp(ret->arch, "arm") == 0 && !ret->variant[0])
		strcpy(ret->variant, "v7");
}

const char *varve_platform_str(const struct varve_platform *p, char buf[84])
{
	(void)snprintf(buf, 84, "%s/%s%s%s", p->os, p->arch, p->variant[0] ? "/" : "", p->variant);
	return buf;
}

bool platform_equal(const struct varve_platform *a, const struct varve_platform *b)
{
	return strcmp(a->os, b->os) == 0 && strcmp(a->arch, b->arch) == 0 &&
	       strcmp(a->variant, b->variant) == 0;
}

/* "v8.2" is 802, "v7" is 700, none is none. -1 for anything else. */
static int variant_level(const char *v, int none)
{
	char *end;
	unsigned long major, minor = 0;

	if (!v[0])
		return none;
	if (v[0] != 'v' || !isdigit((unsigned char)v[1]))
		return -1;
	major = strtoul(v + 1, &end, 10);
	if (*end == '.' && isdigit((unsigned char)end[1]))
		minor = strtoul(end + 1, &end, 10);
	if (*end || major > 99 || minor > 99)
		return -1;
	return (int)(major * 100 + minor);
}

int platform_rank(const struct varve_platform *want, const struct varve_platform *have)
{
	int none, w, h;

	if (strcmp(want->os, have->os) != 0 || strcmp(want->arch, have->arch) != 0)
		return -1;
	if (strcmp(want->variant, have->variant) == 0)
		return 0;
	/* What an absent variant means: the baseline; for arm nobody knows, so it comes last. */
	if (strcmp(want->arch, "amd64") == 0)
		none = 100;
	else if (strcmp(want->arch, "arm64") == 0)
		none = 800;
	else
		none = 0;
	w = variant_level(want->variant, none);
	h = variant_level(have->variant, none);
	if (w < 0 || h < 0)
		return have->variant[0] ? -1 : 10000;
	return h > w ? -1 : w - h;
}
