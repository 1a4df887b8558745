/* SPDX-License-Identifier: Apache-2.0 */
/* The label that the name of a file stands for (docs/from-wsl-distribution-switcher.md, "Names and
 * labels"). Pure. */
#include "varve-materialize.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

/* Tried in this order: "x.tar.sfs" ends at ".tar". */
static const char *const extensions[] = {".tar",  ".sfs", ".squashfs", ".squash", ".tgz",
					 ".tbz2", ".txz", ".tzst",     ".iso",    ".wsl"};

/* What no reference may hold, such as a space, becomes a dash; none at the end. */
static void tidy(char *name)
{
	char *to = name;

	for (const char *p = name; *p; p++) {
		bool fits = isalnum((unsigned char)*p) || strchr("._-", *p);

		if (fits || (to > name && to[-1] != '-'))
			*to++ = (char)(fits ? *p : '-');
	}
	while (to > name && to[-1] == '-')
		to--;
	*to = '\0';
}

/* The first underscore; that of x86_64 separates nothing. */
static char *separator(char *name)
{
	char *at = strchr(name, '_');

	while (at && at >= name + 3 && !strncmp(at - 3, "x86_64", 6))
		at = strchr(at + 1, '_');
	return at;
}

int varve_import_label(const char *path, struct varve_import_label *ret, struct varve_err *e)
{
	struct varve_import_label l = {0};
	size_t end = strlen(path), i;
	const char *base;
	char *cut, *name = l.label;

	while (end > 1 && path[end - 1] == '/')
		end--;
	base = memrchr(path, '/', end);
	base = base && base + 1 < path + end ? base + 1 : path;
	end -= (size_t)(base - path);
	if (end >= sizeof(l.image))
		return varve_fail(e, VARVE_E_USAGE, "%s: its name is too long for a label",
				  TEXT_SAFE(base));
	for (i = 0; i < end; i++)
		l.label[i] = (char)tolower((unsigned char)base[i]);
	for (i = 0; i < VARVE_ARRAY_SIZE(extensions); i++) {
		cut = strstr(l.label, extensions[i]);
		if (cut) {
			*cut = '\0';
			l.has_extension = true;
			break;
		}
	}
	if (!strncmp(name, "rootfs_", 7))
		memmove(name, name + 7, strlen(name + 7) + 1);
	tidy(name);
	cut = separator(name);
	if (!*name || *name == '_' || *name == '.' || *name == '-' || (cut && !cut[1]))
		return varve_fail(e, VARVE_E_USAGE,
				  "%s: its name gives no label; give a name for the image",
				  TEXT_SAFE(base));
	(void)snprintf(l.image, sizeof(l.image), "%.*s", cut ? (int)(cut - name) : 255, name);
	(void)snprintf(l.tag, sizeof(l.tag), "%s", cut ? cut + 1 : "latest");
	if (!cut)
		strcat(l.label, "_latest");
	*ret = l;
	return 0;
}
