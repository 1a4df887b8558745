/* SPDX-License-Identifier: Apache-2.0 */
/* Export: choose the form, see that the options go with it, make the trees. */
#include "materialize/export/export.h"

#include <string.h>
#include <strings.h>

#include "materialize/export/export_tree.h"
#include "materialize/export/squashfs_write.h"
#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/catalog.h"
#include "store/handle.h"
#include "store/lease.h"

static const struct {
	const char *name;
	enum varve_export_format format;
} formats[] = {
	{"tar", VARVE_EXPORT_TAR},
	{"tar.gz", VARVE_EXPORT_TAR_GZ},
	{"tar.zst", VARVE_EXPORT_TAR_ZST},
	{"squashfs", VARVE_EXPORT_SQUASHFS},
	{"oci", VARVE_EXPORT_OCI_DIR},
	{"oci-tar", VARVE_EXPORT_OCI_TAR},
	{"docker-archive", VARVE_EXPORT_DOCKER},
	{"wsl", VARVE_EXPORT_WSL},
};
static const struct {
	const char *suffix;
	enum varve_export_format format;
} suffixes[] = {
	{".oci.tar", VARVE_EXPORT_OCI_TAR},   {".tar", VARVE_EXPORT_TAR},
	{".tar.gz", VARVE_EXPORT_TAR_GZ},     {".tgz", VARVE_EXPORT_TAR_GZ},
	{".tar.zst", VARVE_EXPORT_TAR_ZST},   {".tzst", VARVE_EXPORT_TAR_ZST},
	{".squashfs", VARVE_EXPORT_SQUASHFS}, {".sfs", VARVE_EXPORT_SQUASHFS},
	{".sqfs", VARVE_EXPORT_SQUASHFS},     {".wsl", VARVE_EXPORT_WSL},
	{".oci", VARVE_EXPORT_OCI_DIR},
};

const char *varve_export_format_name(enum varve_export_format f)
{
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(formats); i++)
		if (formats[i].format == f)
			return formats[i].name;
	return "auto";
}

int varve_export_format_parse(enum varve_export_format *ret, const char *text, struct varve_err *e)
{
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(formats); i++)
		if (!strcmp(text, formats[i].name)) {
			*ret = formats[i].format;
			return 0;
		}
	return varve_fail(e, VARVE_E_USAGE,
			  "format \"%s\": not one of tar, tar.gz, tar.zst, squashfs, oci, oci-tar, "
			  "docker-archive, wsl",
			  TEXT_SAFE(text));
}

/* "x.oci.tar.gz": whoever says so wants no root filesystem, and OCI archives have compressed
 * layers. */
static bool is_packed_oci(const char *name, const char *suffix)
{
	static const char oci[] = ".oci";
	size_t n = strlen(name) - strlen(suffix), k = sizeof(oci) - 1;

	return n > k && !strncasecmp(name + n - k, oci, k);
}

/* By the name of the output. A bundle (several images, or only what is lacking) is no tree. */
static int guess_format(const struct export *x, enum varve_export_format *ret, struct varve_err *e)
{
	bool bundle = x->n > 1 || x->opt->have;
	size_t n = strlen(x->name), i;
	const char *base;

	for (i = 0; i < VARVE_ARRAY_SIZE(suffixes); i++) {
		size_t k = strlen(suffixes[i].suffix);

		if (x->file && n > k && !strcasecmp(x->name + n - k, suffixes[i].suffix)) {
			if (is_packed_oci(x->name, suffixes[i].suffix) &&
			    suffixes[i].format != VARVE_EXPORT_OCI_TAR)
				break;
			*ret = bundle && suffixes[i].format == VARVE_EXPORT_TAR
				       ? VARVE_EXPORT_OCI_TAR
				       : suffixes[i].format;
			return 0;
		}
	}
	base = strrchr(x->name, '/') ? strrchr(x->name, '/') + 1 : x->name;
	if (x->file && !strchr(base, '.')) {
		*ret = VARVE_EXPORT_OCI_DIR;
		return 0;
	}
	return varve_fail(e, VARVE_E_USAGE, "%s: say which form it shall have with --format",
			  TEXT_SAFE(x->name));
}

/* The highest level of compression; 0: it has none. -1: mainline kernels mount no such squashfs. */
static int level_max(enum varve_export_format f, const char *compressor)
{
	static const struct {
		const char *name;
		int max;
	} of[] = {{"gzip", 9}, {"xz", 9}, {"zstd", 22}, {"lz4", 0}};

	if (f == VARVE_EXPORT_TAR_GZ || f == VARVE_EXPORT_WSL)
		compressor = "gzip";
	else if (f == VARVE_EXPORT_TAR_ZST || !compressor)
		compressor = "zstd";
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(of); i++)
		if (!strcmp(compressor, of[i].name))
			return of[i].max;
	return -1;
}

static int check_level(const struct export *x, struct varve_err *e)
{
	const struct varve_export_options *o = x->opt;
	const char *form = varve_export_format_name(x->ret->format);
	int max = level_max(x->ret->format, o->compressor);

	if (max < 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "compressor \"%s\": not one of gzip, xz, zstd, lz4",
				  TEXT_SAFE(o->compressor));
	if (o->level && !max)
		return varve_fail(e, VARVE_E_USAGE, "lz4 has no levels; leave the option out");
	if (o->level < 0 || o->level > max)
		return varve_fail(e, VARVE_E_USAGE, "level %d: of a %s%s%s it is from 1 to %d",
				  o->level, form, o->compressor ? " with " : "",
				  o->compressor ? TEXT_SAFE(o->compressor) : "", max);
	return 0;
}

/* An option that would change nothing is a mistake of who gave it. */
static int check_options(const struct export *x, struct varve_err *e)
{
	enum varve_export_format f = x->ret->format;
	const struct varve_export_options *o = x->opt;
	bool levels = f == VARVE_EXPORT_TAR_GZ || f == VARVE_EXPORT_TAR_ZST ||
		      f == VARVE_EXPORT_WSL || f == VARVE_EXPORT_SQUASHFS;
	const char *what = NULL;

	if (o->wsl && f != VARVE_EXPORT_WSL)
		what = "the settings of WSL are for a .wsl";
	else if (o->compressor && f != VARVE_EXPORT_SQUASHFS)
		what = "a compressor can be chosen for a squashfs";
	else if (o->level && !levels)
		what = "nothing is compressed, so there is no level";
	else if (o->plan && (o->plan->strict || o->plan->keep_dirlinks) && !export_is_tree(f))
		what = "layers are written as they are, so that no rule for a tree goes with it";
	if (what)
		return varve_fail(e, VARVE_E_USAGE, "the form %s: %s; leave the option out",
				  varve_export_format_name(f), what);
	return levels ? check_level(x, e) : 0;
}

static int check(struct export *x, struct varve_err *e)
{
	enum varve_export_format f = x->ret->format;
	size_t i;
	int r = check_options(x, e);

	if (r < 0)
		return r;
	if (!x->n)
		return varve_fail(e, VARVE_E_USAGE, "no image to export");
	if (export_is_tree(f) && x->n > 1)
		return varve_fail(e, VARVE_E_USAGE,
				  "this form holds one tree; export several images as oci, oci-tar "
				  "or docker-archive");
	if (x->opt->have && f != VARVE_EXPORT_OCI_DIR && f != VARVE_EXPORT_OCI_TAR)
		return varve_fail(e, VARVE_E_USAGE,
				  "only the forms oci and oci-tar can leave blobs out, not %s",
				  varve_export_format_name(f));
	for (i = 0; i < x->n; i++)
		if (!x->images[i].complete)
			return varve_fail(e, VARVE_E_INCOMPLETE,
					  "%s: parts of it are missing in the store; pull it again",
					  TEXT_SAFE(x->images[i].name
							    ? x->images[i].name
							    : DIGEST_STR(&x->images[i].manifest)));
	return 0;
}

/* --- trees --- */

static int run(struct export *x, struct varve_err *e)
{
	int r = 0;

	if (x->ret->format == VARVE_EXPORT_AUTO)
		r = guess_format(x, &x->ret->format, e);
	if (r == 0)
		r = check(x, e);
	return r == 0 ? export_write(x, e) : r;
}

/* gc must not take what is being read. */
static int hold_image(struct export *x, struct lease *lease, const struct varve_image *image,
		      struct varve_err *e)
{
	struct varve_blob_list layers = {0};
	size_t i;
	int r = lease_add(lease, &image->manifest, e);

	if (r == 0)
		r = lease_add(lease, &image->config, e);
	if (r == 0)
		r = varve_store_layers(x->s, &image->manifest, &layers, e);
	for (i = 0; r == 0 && i < layers.n; i++)
		r = lease_add(lease, &layers.items[i].digest, e);
	varve_blob_list_free(&layers);
	if (r == 0)
		catalog_touch(x->s, &image->manifest);
	return r;
}

int varve_export(struct varve_store *s, const struct varve_image *images, size_t n,
		 const struct varve_export_options *opt, struct varve_export_result *ret,
		 struct varve_err *e)
{
	struct varve_export_options own;
	struct export x = {
		.s = s,
		.ctx = store_ctx(s),
		.opt = &own,
		.ret = ret,
		.images = images,
		.n = n,
	};
	VARVE_CLEANUP(lease_cleanup) struct lease *lease = NULL;
	size_t i;
	int r = OPTIONS_COPY(&own, opt, plan, e);

	if (r < 0)
		return r;
	x.name = own.fd >= 0 || !own.path ? "standard output" : own.path;
	*ret = (struct varve_export_result){.format = own.format};
	r = export_target(&x, e);
	if (r == 0)
		r = lease_begin(&lease, s, "export", e);
	for (i = 0; r == 0 && i < n; i++)
		r = hold_image(&x, lease, &images[i], e);
	if (r == 0)
		r = run(&x, e);
	export_target_done(&x);
	return r;
}
