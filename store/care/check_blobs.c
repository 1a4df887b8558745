/* SPDX-License-Identifier: Apache-2.0 */
/* Check blobs: there, of their size, untouched; on request, of the content that their name says. */
#include "store/care/check.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/care/scan.h"
#include "store/layout.h"
#include "store/lease.h"

#include <fcntl.h>
#include <string.h>

/* --- healing --- */

/* What was fetched is a file with the right name: it still needs its record. */
static int record_fetched(struct check *c, const struct varve_digest *d, struct varve_err *e)
{
	struct blob_seen seen;

	if (blob_recorded(c->store, d, &seen) == 1 && seen.present)
		return 1;
	return blob_adopt(c->store, d, e);
}

/* 1: healed; 0: not, and why; < 0: a failure of this machine, after which repair does not go on. */
static int refetch(struct check *c, const struct varve_digest *d, uint64_t size, char *why,
		   size_t why_size, struct varve_err *e)
{
	VARVE_CLEANUP(lease_cleanup) struct lease *lease = NULL;
	struct varve_err err = VARVE_ERR_INIT;
	char *origins[RECORD_MAX_ORIGINS + 1];
	size_t i;
	int r;

	(void)snprintf(why, why_size, "nobody remembers where it came from");
	if (!c->opt->refetch || blob_origins(c->store, d, origins, NULL) < 0) {
		(void)snprintf(why, why_size, "nothing to fetch it with");
		return 0;
	}
	r = lease_begin(&lease, c->store, "repair", e);
	if (r == 0)
		r = lease_add(lease, d, e);
	for (i = 0; origins[i]; i++) {
		if (r == 0 && c->opt->refetch(c->opt->refetch_user, d, size, origins[i], &err) == 0)
			r = record_fetched(c, d, e);
		else if (r == 0 && (check_must_end(err.code) || err.code == EIO)) {
			if (e)
				*e = err;
			r = -err.code;
		} else if (r == 0)
			(void)varve_err_text(&err, why, why_size);
		free(origins[i]);
	}
	return r;
}

static const char *image_name(const struct graph *g, uint32_t image)
{
	size_t i;

	for (i = 0; i < g->n_tags; i++) {
		if (g->tags[i].image == image)
			return g->tags[i].name;
	}
	return NULL;
}

/* "needed by debian:sid and 2 more images" */
static const char *needed_by(const struct check *c, const struct varve_digest *d, char *out,
			     size_t size)
{
	uint32_t blob = graph_find_blob(&c->g, d), i, k;
	const char *name = NULL;

	if (blob == GRAPH_NONE || c->g.blobs[blob].images == 0)
		return "no image needs it";
	for (i = 0; i < c->g.n_images && !name; i++) {
		const struct graph_image *im = &c->g.images[i];

		for (k = 0; k < im->n_edges && !name; k++) {
			if (c->g.edges[im->first_edge + k].blob == blob)
				name = image_name(&c->g, i);
		}
	}
	if (c->g.blobs[blob].images == 1)
		(void)snprintf(out, size, "needed by %s", name ? name : "an image without a name");
	else
		(void)snprintf(out, size, "needed by %s and %u more images",
			       name ? name : "an image without a name",
			       c->g.blobs[blob].images - 1);
	return out;
}

int check_heal(struct check *c, const struct varve_digest *d, uint64_t size, uint64_t ino,
	       const char *why, struct varve_err *e)
{
	char by[300], failed[600];
	int r;

	if (!check_repairs(c)) {
		check_report(c, CHECK_ERROR, "blob", DIGEST_STR(d),
			     "%s (%s); heal it with: varve check "
			     "--repair, or pull the image again",
			     why, needed_by(c, d, by, sizeof(by)));
		return 0;
	}
	r = blob_quarantine(c->store, d, ino, e);
	if (r < 0)
		return r;
	r = blob_stat(c->store, d, NULL, NULL);
	if (r != 1)
		r = refetch(c, d, size, failed, sizeof(failed), e);
	if (r < 0)
		return varve_wrap(e, r, "fetch the damaged blob %s again", DIGEST_STR(d));
	if (r == 1) {
		uint32_t blob = graph_find_blob(&c->g, d);

		if (blob != GRAPH_NONE && !c->g.blobs[blob].present)
			c->done_bytes += size; /* it counts now */
		check_report(c, CHECK_REPAIRED, "blob", DIGEST_STR(d), "%s; it was fetched again",
			     why);
	} else
		check_report(c, CHECK_ERROR, "blob", DIGEST_STR(d),
			     "%s (%s) and could not be fetched again: %s", why,
			     needed_by(c, d, by, sizeof(by)), failed);
	return 0;
}

/* --- one blob --- */

/* Meanwhile gc may have removed it, or another command healed it. */
static bool still_recorded(struct check *c, const struct varve_digest *d, uint64_t size)
{
	struct blob_seen seen;

	return blob_recorded(c->store, d, &seen) == 1 && seen.present && seen.size == size;
}

/* The file is as it was when it was last known to be right. */
static bool untouched(struct check *c, const struct varve_digest *d, const struct stat *st)
{
	struct blob_seen seen;

	return blob_recorded(c->store, d, &seen) == 1 && seen.mtime_ns == stat_mtime_ns(st);
}

static int note_verified(struct check *c, const struct varve_digest *d, const struct stat *st,
			 struct varve_err *e)
{
	struct check_verified *more;

	if (c->n_verified == c->cap_verified) {
		c->cap_verified = c->cap_verified ? c->cap_verified * 2 : 256;
		more = realloc(c->verified, c->cap_verified * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		c->verified = more;
	}
	c->verified[c->n_verified++] = (struct check_verified){*d, stat_mtime_ns(st)};
	return 0;
}

static void progress(struct check *c, const struct varve_digest *d, bool finished)
{
	struct varve_progress p = {.stage = VARVE_STAGE_CHECK,
				   .object = d ? DIGEST_STR(d) : NULL,
				   .done = c->done_bytes,
				   .total = c->total_bytes,
				   .finished = finished};

	progress_emit(c->store->ctx, &p);
}

/* 1: right, 0: wrong (why says how). A blob that cannot be read (EIO) is as good as damaged. */
static int read_blob(struct check *c, int fd, const struct varve_digest *d, char *why, size_t size,
		     struct varve_err *e)
{
	struct varve_err err = VARVE_ERR_INIT;
	struct varve_digest got;
	int r = hash_fd(d->algo, fd, c->store->ctx, &got, NULL, &err);

	if (err_is_passing(r)) {
		if (e)
			*e = err;
		return r;
	}
	if (r < 0) {
		(void)snprintf(why, size, "cannot be read: %s", varve_code_text(-r));
		return 0;
	}
	if (!varve_digest_equal(&got, d)) {
		(void)snprintf(why, size, "is damaged: its content has the digest %s",
			       DIGEST_STR(&got));
		return 0;
	}
	return 1;
}

static int check_file(struct check *c, const struct graph_blob *b, struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX], why[300];
	struct stat st;
	VARVE_CLOSE int fd =
		fsx_open_plain(c->store->root, layout_blob(&b->digest, path), O_RDONLY, 0, &st);
	const char *fault = errno == ENOENT ? "is missing" : varve_code_text(errno);
	int r;

	if (fd < 0) {
		if (err_is_passing(errno))
			return varve_fail_errno(e, "open blob %s", DIGEST_STR(&b->digest));
		if (fstatat(c->store->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			st.st_ino = 0;
		if (!still_recorded(c, &b->digest, b->size))
			return 0;
		return check_heal(c, &b->digest, b->size, st.st_ino, fault, e);
	}
	if ((uint64_t)st.st_size != b->size) {
		(void)snprintf(why, sizeof(why), "has %llu bytes, not %llu",
			       (unsigned long long)st.st_size, (unsigned long long)b->size);
		return still_recorded(c, &b->digest, b->size)
			       ? check_heal(c, &b->digest, b->size, st.st_ino, why, e)
			       : 0;
	}
	if (st.st_nlink != 1)
		check_report(c, CHECK_NOTE, "blob", DIGEST_STR(&b->digest),
			     "has %lu names; changing another one would change it",
			     (unsigned long)st.st_nlink);
	if (!c->opt->read_data && untouched(c, &b->digest, &st))
		return 0;
	/* Somebody touched the file, or all are to be read. */
	r = read_blob(c, fd, &b->digest, why, sizeof(why), e);
	if (r < 0)
		return r;
	if (r == 0)
		return check_heal(c, &b->digest, b->size, st.st_ino, why, e);
	return note_verified(c, &b->digest, &st, e);
}

static int check_missing(struct check *c, const struct graph_blob *b, struct varve_err *e)
{
	/* Nobody needs it, a lower store has it, or it came while we looked. */
	if (b->images == 0 || blob_stat(c->store, &b->digest, NULL, NULL) == 1)
		return 0;
	return check_heal(c, &b->digest, b->size, 0, "is missing", e);
}

int check_blobs(struct check *c, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; i < c->g.n_blobs; i++)
		c->total_bytes += c->g.blobs[i].present ? c->g.blobs[i].size : 0;
	for (i = 0; r == 0 && i < c->g.n_blobs; i++) {
		const struct graph_blob *b = &c->g.blobs[i];

		r = ctx_check(c->store->ctx, e);
		if (r < 0)
			break;
		r = b->present ? check_file(c, b, e) : check_missing(c, b, e);
		c->done_bytes += b->present ? b->size : 0;
		if (c->opt->read_data)
			progress(c, &b->digest, false);
	}
	c->result->bytes = c->done_bytes;
	progress(c, NULL, true);
	return r;
}

/* --- files without a record --- */

static int check_orphan(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct check *c = user;
	VARVE_CLOSE int fd = -1;
	struct varve_digest d;
	char why[300];
	uint32_t i;
	struct blob_seen seen;
	int r;

	if (!layout_digest_of(entry->name, &d)) {
		check_report(c, CHECK_NOTE, "file", entry->path, "is no blob; gc removes it");
		return 0;
	}
	i = graph_find_blob(&c->g, &d);
	if ((i != GRAPH_NONE && c->g.blobs[i].recorded) || blob_recorded(c->store, &d, &seen) == 1)
		return 0;
	if (check_repairs(c)) {
		r = blob_adopt(c->store, &d, e);
		if (r < 0)
			return r;
		check_report(c, r ? CHECK_NOTE : CHECK_REPAIRED, "blob", DIGEST_STR(&d),
			     r ? "had no record: it is right and recorded now"
			       : "had no record and was damaged: set aside");
		return 0;
	}
	if (c->opt->read_data) {
		fd = fsx_open_plain(c->store->root, entry->path, O_RDONLY, 0, NULL);
		r = fd < 0 ? 1 : read_blob(c, fd, &d, why, sizeof(why), e);
		if (r <= 0) {
			if (r == 0)
				check_report(c, CHECK_ERROR, "blob", DIGEST_STR(&d), "%s", why);
			return r;
		}
	}
	check_report(c, CHECK_NOTE, "blob", DIGEST_STR(&d),
		     "has no record; the next pull that needs it takes it, or gc removes it");
	return 0;
}

int check_orphans(struct check *c, struct varve_err *e)
{
	int r = scan_dir(c->store, LAYOUT_BLOBS "/sha256", check_orphan, c, e);

	return r == 0 ? scan_dir(c->store, LAYOUT_BLOBS "/sha512", check_orphan, c, e) : r;
}
