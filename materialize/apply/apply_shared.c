/* SPDX-License-Identifier: Apache-2.0 */
/* What the threads of an apply share: who we are here, losses, names for messages. */
#include "materialize/apply/apply.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include "materialize/disk/sync_ahead.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/text.h"
#include <string.h>
#include <sys/sysmacros.h>

struct body_file *apply_big_new(struct apply_shared *a, uint64_t body_len)
{
	struct body_file *f = body_file_new(body_len);

	if (!f)
		return NULL;
	pthread_mutex_lock(&a->big_lock);
	f->next = a->bigs;
	a->bigs = f;
	pthread_mutex_unlock(&a->big_lock);
	return f;
}

static const char *plan_dir_name(const void *user, uint32_t id, uint32_t *ret_parent)
{
	const struct plan_name *n = &((const struct varve_plan *)user)->names[id];

	*ret_parent = n->parent;
	return n->name;
}

void apply_shared_init(struct apply_shared *a, const struct varve_plan *p,
		       const struct apply_options *o)
{
	*a = (struct apply_shared){.plan = p, .opt = o, .dirs = {o->rootfd, plan_dir_name, p}};
	a->root = geteuid() == 0;
	for (int i = 0; i < APPLY_LOSS_KINDS; i++)
		atomic_init(&a->losses[i], 0);
	atomic_init(&a->warned_xattr, false);
	atomic_init(&a->warned_owner, false);
	pthread_mutex_init(&a->store, NULL);
	pthread_mutex_init(&a->big_lock, NULL);
}

void apply_shared_done(struct apply_shared *a)
{
	while (a->bigs) {
		struct body_file *next = a->bigs->next;

		body_file_free(a->bigs);
		a->bigs = next;
	}
	spool_placed_done(&a->placed);
	pthread_mutex_destroy(&a->big_lock);
	pthread_mutex_destroy(&a->store);
}

int apply_probe(struct apply_shared *a, struct varve_err *e)
{
	char probe[17]; /* a spool's tree may have any other */
	int root = a->opt->rootfd;
	struct stat st;
	int r = fsx_plain_directory(root, e);

	if (r < 0)
		return r;
	fsx_random_name(probe);
	if (mkdirat(root, probe, 0777))
		return varve_fail_errno(e, "staging directory: cannot make a directory in it");
	if (fstatat(root, probe, &st, AT_SYMLINK_NOFOLLOW) || unlinkat(root, probe, AT_REMOVEDIR))
		return varve_fail_errno(e, "staging directory");
	a->uid = st.st_uid;
	a->gid = st.st_gid;
	a->umask = 0777 & ~st.st_mode;
	return 0;
}

const char *apply_path(const struct apply_shared *a, uint32_t name, char out[512])
{
	struct buf b;

	buf_init(&b, 1u << 17);
	if (plan_path(a->plan, name, &b) < 0)
		buf_adds(&b, "?");
	text_escape_str(b.p, out, 512);
	buf_done(&b);
	return out;
}

void apply_lose(struct apply_shared *a, uint32_t name, enum apply_loss kind, const char *what)
{
	struct buf b;
	bool taken;

	atomic_fetch_add(&a->losses[kind], 1);
	if (!a->opt->loss)
		return;
	buf_init(&b, 1u << 17);
	if (!plan_path(a->plan, name, &b)) {
		taken = callback_begin(a->ctx);
		a->opt->loss(a->opt->user, b.p, what);
		callback_end(a->ctx, taken);
	}
	buf_done(&b);
}
