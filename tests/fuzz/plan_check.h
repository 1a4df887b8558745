/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every plan, whatever the layers were: aborts otherwise. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/plan.h"

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

static inline void plan_check_name(const struct varve_plan *p, uint32_t k)
{
	const struct plan_name *n = &p->names[k];

	CHECK(n->inode < p->n_inodes);
	if (k == PLAN_ROOT) {
		CHECK(n->name[0] == 0 && S_ISDIR(p->inodes[n->inode].mode));
		return;
	}
	CHECK(n->parent < k && S_ISDIR(p->inodes[p->names[n->parent].inode].mode));
	/* One component, never a whiteout: nothing a writer would have to look at twice. */
	CHECK(n->name[0] && strlen(n->name) <= 255 && !strchr(n->name, '/'));
	CHECK(strcmp(n->name, ".") != 0 && strcmp(n->name, "..") != 0);
	CHECK(strncmp(n->name, ".wh.", 4) != 0);
	if (n->next_sibling != PLAN_NONE) {
		CHECK(n->next_sibling > k && p->names[n->next_sibling].parent == n->parent);
		CHECK(strcmp(n->name, p->names[n->next_sibling].name) < 0);
	}
}

static inline void plan_check_inode(const struct varve_plan *p, uint32_t i)
{
	const struct plan_inode *x = &p->inodes[i];
	uint32_t count = 0;
	uint64_t sum = 0, end = 0;

	for (uint32_t k = x->first_name; k != PLAN_NONE; k = p->names[k].next_link) {
		CHECK(p->names[k].inode == i);
		count++;
	}
	CHECK(count == x->n_names && count > 0);
	CHECK(!S_ISDIR(x->mode) || count == 1);
	CHECK(!S_ISLNK(x->mode) || (x->target && x->target[0] && strlen(x->target) <= 4095));
	CHECK(x->layer == PLAN_NONE || x->layer < p->summary.n_layers);
	CHECK(x->mtime_ns < 1000000000);
	for (uint32_t k = 0; k < x->n_extents; k++) {
		CHECK(x->extents[k].off >= end && x->extents[k].off + x->extents[k].n <= x->size);
		end = x->extents[k].off + x->extents[k].n;
		sum += x->extents[k].n;
	}
	CHECK(x->n_extents == 0 ? x->body_len == x->size : sum == x->body_len);
	for (uint32_t k = 0; k < x->n_xattrs; k++) {
		CHECK(x->xattrs[k].name[0] && x->xattrs[k].size <= 65536);
		CHECK(strncmp(x->xattrs[k].name, "trusted.overlay.", 16) != 0);
	}
}

static inline void plan_check(const struct varve_plan *p)
{
	struct buf path;

	buf_init(&path, 1u << 20);
	CHECK(p->n_names > 0 && p->n_inodes > 0);
	for (uint32_t k = 0; k < p->n_names; k++) {
		plan_check_name(p, k);
		CHECK(plan_path(p, k, &path) == 0);
		CHECK(plan_lookup(p, k == PLAN_ROOT ? "" : path.p, false) == k);
	}
	for (uint32_t i = 0; i < p->n_inodes; i++)
		plan_check_inode(p, i);
	for (size_t l = 0; l < p->summary.n_layers; l++)
		for (uint32_t k = 0; k < p->bodies[l].n; k++) {
			const struct plan_inode *x = &p->inodes[p->bodies[l].inodes[k]];

			CHECK(S_ISREG(x->mode) && x->layer == l && x->body_len > 0);
			CHECK(x->body_off + x->body_len <= p->summary.layers[l].unpacked);
			if (k > 0) {
				const struct plan_inode *y = &p->inodes[p->bodies[l].inodes[k - 1]];

				CHECK(y->body_off + y->body_len <= x->body_off);
			}
		}
	buf_done(&path);
}
