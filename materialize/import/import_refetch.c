/* SPDX-License-Identifier: Apache-2.0 */
/* One blob again from the file or directory that it was imported from. */
#include "materialize/import/import_members.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/confine/cage.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"
#include "store/layout.h"

struct refetch {
	struct import *im;
	const struct varve_digest *digest;
	uint64_t size;
	int fd;
	struct varve_err *e;
};

/* 0: it was that, and is in the store; VARVE_E_DIGEST, VARVE_E_SIZE: it was not. */
static int take(struct refetch *f, const struct import_range *range)
{
	struct import_blobs blobs = {0};
	struct varve_digest got;
	int r;

	if (range->size != f->size)
		return varve_fail(f->e, VARVE_E_SIZE, "%s: has another size now",
				  TEXT_SAFE(f->im->path));
	r = import_blob(f->im, &blobs, VARVE_BLOB_OTHER, range, f->digest, &got, NULL, f->e);
	import_blobs_done(&blobs);
	return r;
}

static bool not_that(int r)
{
	return r == -VARVE_E_DIGEST || r == -VARVE_E_SIZE;
}

/* By the names that OCI layouts and the archives of skopeo and podman have for it. */
static int take_member(struct refetch *f, struct members *m)
{
	static const char *const ends[] = {".tar", ".json"};
	struct import_range range;
	char name[LAYOUT_PATH_MAX];
	int r = members_find(m, layout_blob(f->digest, name), &range, f->e);

	for (size_t i = 0; r == 0 && i < VARVE_ARRAY_SIZE(ends); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", DIGEST_HEX(f->digest), ends[i]);
		r = members_find(m, name, &range, f->e);
	}
	if (r == 1)
		return take(f, &range);
	return r < 0 ? r
		     : varve_fail(f->e, VARVE_E_NOTFOUND,
				  "%s: does not hold it any more, or in another form; import it "
				  "again",
				  TEXT_SAFE(f->im->path));
}

static int search(void *arg)
{
	VARVE_CLEANUP(members_cleanup) struct members *m = NULL;
	struct refetch *f = arg;
	struct import_range whole = {.fd = f->fd};
	struct stat st;
	int r;

	if (fstat(f->fd, &st) < 0) {
		f->im->source_failed = true;
		return varve_fail_errno(f->e, "%s", TEXT_SAFE(f->im->path));
	}
	if (S_ISDIR(st.st_mode)) {
		r = members_open_dir(&m, f->fd, f->im->path, f->e);
		return r < 0 ? r : take_member(f, m);
	}
	whole.size = (uint64_t)st.st_size;
	r = take(f, &whole);
	if (!not_that(r))
		return r;
	varve_err_reset(f->e);
	r = members_open_tar(&m, &whole, f->im->path, f->e);
	if (r < 0)
		return varve_wrap(f->e, r,
				  "it was made of what was imported, or that has changed; import "
				  "it again");
	return take_member(f, m);
}

int varve_import_blob(struct varve_store *s, const char *path, const struct varve_digest *d,
		      uint64_t size, struct varve_err *e)
{
	struct varve_import_options options = VARVE_IMPORT_OPTIONS_INIT;
	struct import im = {.s = s, .ctx = store_ctx(s), .opt = &options, .path = path};
	VARVE_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct refetch f = {.im = &im, .digest = d, .size = size, .fd = fd, .e = e};
	int r;

	if (fd < 0)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: %s; import it again from where it is now", TEXT_SAFE(path),
				  strerror(errno));
	r = lease_begin(&im.lease, s, "repair", e);
	if (r == 0)
		r = cage_run(&(struct cage){.ctx = im.ctx, .dirs = {varve_store_path(s)}}, search,
			     &f, e);
	lease_end(im.lease);
	/* A bad disk elsewhere is no failure of the store: there may be other sources. */
	return r < 0 && im.source_failed
		       ? varve_fail(e, VARVE_E_NOTFOUND, "%s: cannot be read", TEXT_SAFE(path))
		       : r;
}
