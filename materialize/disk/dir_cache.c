/* SPDX-License-Identifier: Apache-2.0 */
/* Each directory has one slot where it may be. */
#include "materialize/disk/dir_cache.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/invariant.h"

int dir_cache_init(struct dir_cache *c, unsigned slots, const struct dir_names *names,
		   struct varve_err *e)
{
	c->slots = calloc(slots, sizeof(*c->slots));
	if (!c->slots)
		return varve_fail_oom(e);
	c->n = slots;
	c->names = names;
	for (unsigned i = 0; i < slots; i++)
		c->slots[i].fd = -1;
	return 0;
}

void dir_cache_done(struct dir_cache *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->slots[i].fd >= 0)
			(void)close(c->slots[i].fd);
	free(c->slots);
	*c = (struct dir_cache){0};
}

int dir_cache_get(struct dir_cache *c, uint32_t id)
{
	unsigned slot = id % c->n;
	const char *name;
	uint32_t parent;
	int above, fd;

	if (id == 0)
		return c->names->root;
	if (c->slots[slot].fd >= 0 && c->slots[slot].id == id)
		return c->slots[slot].fd;
	name = c->names->name(c->names->user, id, &parent);
	assert(parent != id && !strchr(name, '/'));
	/* As deep as a path may be; a frame is small. */
	above = dir_cache_get(c, parent);
	if (above < 0)
		return -1;
	fd = fsx_open_dir(above, name);
	if (fd < 0)
		return -1;
	if (c->slots[slot].fd >= 0)
		(void)close(c->slots[slot].fd);
	c->slots[slot].id = id;
	c->slots[slot].fd = fd;
	return fd;
}
