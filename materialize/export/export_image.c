/* SPDX-License-Identifier: Apache-2.0 */
/* An image or an installed tree as one tar or squashfs. */

#include "materialize/codec/deflate_gzip.h"
#include "materialize/export/export.h"
#include "materialize/export/export_tree.h"
#include "materialize/export/squashfs_write.h"
#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/catalog.h"
#include "store/lease.h"
#include <string.h>
#include <strings.h>

bool export_is_tree(enum varve_export_format f)
{
	return f != VARVE_EXPORT_OCI_DIR && f != VARVE_EXPORT_OCI_TAR && f != VARVE_EXPORT_DOCKER;
}

static void warn_lost(const struct export *x, const char *what, uint64_t n, const char *of)
{
	if (n)
		log_warn(x->ctx, "export", "%s cannot hold %llu %s%s of this image", what,
			 (unsigned long long)n, of, n == 1 ? "" : "s");
}

static int open_plan(struct export *x, struct varve_plan **ret, struct varve_err *e)
{
	static const struct varve_plan_options defaults = VARVE_PLAN_OPTIONS_INIT;

	return varve_plan_new(ret, x->s, &x->images[0], x->opt->plan ? x->opt->plan : &defaults, e);
}

static int write_tree(struct export *x, struct varve_plan *p, struct sink *out, struct varve_err *e)
{
	struct export_tree_result tree = {0};
	struct wsl_files wsl = {0};
	int r = 0;

	if (x->ret->format == VARVE_EXPORT_WSL)
		r = wsl_files_make(&wsl, p, x->opt->wsl, e);
	if (r == 0)
		r = export_tree(p, out, x->spool_dir, wsl.extras, wsl.n, &tree, e);
	x->ret->entries = tree.entries;
	if (r == 0) {
		warn_lost(x, "a tar", tree.lost_xattrs, "xattr");
		warn_lost(x, "a tar", tree.sockets, "socket");
	}
	wsl_files_done(&wsl);
	return r;
}

int export_image_tar(struct export *x, struct sink *out, struct varve_err *e)
{
	enum varve_export_format f = x->ret->format;
	struct varve_plan *p = NULL;
	struct sink *z = NULL;
	int r = open_plan(x, &p, e);

	if (r == 0 && (f == VARVE_EXPORT_TAR_GZ || f == VARVE_EXPORT_WSL))
		r = sink_gzip_new(&z, out, x->opt->level, x->opt->threads, e);
	else if (r == 0 && f == VARVE_EXPORT_TAR_ZST)
		r = sink_zstd_new(&z, out, x->opt->level, x->opt->threads, e);
	if (r == 0)
		r = write_tree(x, p, z ? z : out, e);
	sink_free(z);
	varve_plan_free(p);
	return r;
}

int export_image_squashfs(struct export *x, int fd, struct varve_err *e)
{
	struct squashfs_write_options opt = {
		.compressor = x->opt->compressor,
		.level = x->opt->level,
		.threads = x->opt->threads,
	};
	struct squashfs_write_result out = {0};
	struct varve_plan *p = NULL;
	int r = open_plan(x, &p, e);

	if (r == 0)
		r = squashfs_write(p, fd, x->name, &opt, &out, e);
	varve_plan_free(p);
	x->ret->entries = out.entries;
	x->ret->bytes = out.size;
	if (r == 0) {
		warn_lost(x, "a squashfs", out.lost_xattrs, "xattr");
		warn_lost(x, "a squashfs", out.lost_times, "time");
	}
	return r;
}
