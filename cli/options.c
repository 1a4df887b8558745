/* SPDX-License-Identifier: Apache-2.0 */
/* Option rows -> getopt_long -> members of a struct. */
#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "varve-store.h"
#include "varve-text.h"

enum { FIRST_VAL = 0x100, NO_OPTION = 1 };

/* A row and the struct that it fills. */
struct bound {
	struct opt_row row;
	void *dst;
};

/* val of a long option is FIRST_VAL + its index in all. */
struct parser {
	struct bound *all;
	struct option *longs;
	char *shorts;
	size_t n;
};

struct opt_walk opt_walk(const struct opt_row *rows, size_t n)
{
	struct opt_walk w = {.depth = 1};

	w.level[0].next = rows;
	w.level[0].end = rows ? rows + n : NULL;
	return w;
}

bool opt_next(struct opt_walk *w, struct opt_row *ret)
{
	while (w->depth) {
		size_t top = w->depth - 1, offset = w->level[top].offset;
		const struct opt_row *row = w->level[top].next;

		if (row == w->level[top].end) {
			w->depth--;
			continue;
		}
		w->level[top].next++;
		if (row->kind != OPT_ROWS) {
			*ret = *row;
			ret->offset += offset;
			return true;
		}
		assert(w->depth < sizeof(w->level) / sizeof(w->level[0]));
		w->level[w->depth].next = row->list->rows;
		w->level[w->depth].end = row->list->rows + row->list->n;
		w->level[w->depth++].offset = offset + row->offset;
	}
	return false;
}

/* Own messages are made (':' and opterr), arguments come in order ('-') or end the run ('+'). */
static int build(struct parser *p, const struct opt_set *sets, size_t n_sets, bool stop_early,
		 struct varve_err *e)
{
	size_t max = 0, s = 0;
	struct opt_row row;

	for (size_t i = 0; i < n_sets; i++) {
		struct opt_walk w = opt_walk(sets[i].rows, sets[i].n);

		while (opt_next(&w, &row))
			max++;
	}
	p->all = calloc(max + 1, sizeof(*p->all));
	p->longs = calloc(max + 1, sizeof(*p->longs));
	p->shorts = calloc(2 * max + 3, 1);
	if (!p->all || !p->longs || !p->shorts)
		return varve_fail(e, ENOMEM, "out of memory");
	p->shorts[s++] = stop_early ? '+' : '-';
	p->shorts[s++] = ':';
	for (size_t i = 0; i < n_sets; i++) {
		struct opt_walk w = opt_walk(sets[i].rows, sets[i].n);

		while (opt_next(&w, &row)) {
			p->all[p->n] = (struct bound){row, sets[i].dst};
			p->longs[p->n] = (struct option){
				.name = row.name,
				.has_arg = row.arg ? required_argument : no_argument,
				.val = FIRST_VAL + (int)p->n,
			};
			p->n++;
			if (row.letter) {
				p->shorts[s++] = row.letter;
				if (row.arg)
					p->shorts[s++] = ':';
			}
		}
	}
	return 0;
}

/* The option that getopt_long means by val, which it took from what build() made. */
static const struct bound *bound_of(const struct parser *p, int val)
{
	size_t i = 0;

	if (val >= FIRST_VAL)
		return &p->all[val - FIRST_VAL];
	while (i + 1 < p->n && p->all[i].row.letter != val)
		i++;
	return &p->all[i];
}

static int parse_amount(const struct opt_row *row, const char *value, struct opt_amount *dst,
			struct varve_err *e)
{
	dst->given = true;
	if (row->kind == OPT_SIZE && !varve_text_parse_size(value, &dst->n))
		return varve_fail(e, VARVE_E_USAGE,
				  "--%s %s: must be a size like 500M, 20G or 1.5TiB", row->name,
				  VARVE_TEXT_SAFE(value));
	if (row->kind == OPT_DURATION && !varve_text_parse_duration(value, &dst->n))
		return varve_fail(e, VARVE_E_USAGE, "--%s %s: must be a time like 12h, 30d or 8w",
				  row->name, VARVE_TEXT_SAFE(value));
	return 0;
}

static int parse_choice(const struct opt_row *row, const char *value, unsigned *ret,
			struct varve_err *e)
{
	const char *p = row->arg;
	size_t n = strlen(value);

	for (unsigned i = 0; p; i++) {
		const char *end = strchrnul(p, '|');

		if ((size_t)(end - p) == n && memcmp(p, value, n) == 0) {
			*ret = i;
			return 0;
		}
		p = *end ? end + 1 : NULL;
	}
	return varve_fail(e, VARVE_E_USAGE, "--%s %s: must be one of %s", row->name,
			  VARVE_TEXT_SAFE(value), row->arg);
}

static int add_to_list(struct opt_list *list, const char *value, struct varve_err *e)
{
	const char **items = realloc(list->items, (list->n + 2) * sizeof(*items));

	if (!items)
		return varve_fail(e, ENOMEM, "out of memory");
	items[list->n] = value;
	items[list->n + 1] = NULL;
	list->items = items;
	list->n++;
	return 0;
}

static int parse_number(const struct opt_row *row, const char *value, unsigned *ret,
			struct varve_err *e)
{
	char *end;
	unsigned long v = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end || v < 1 || v > 1000000)
		return varve_fail(e, VARVE_E_USAGE, "--%s %s: must be a whole number, 1 or more",
				  row->name, VARVE_TEXT_SAFE(value));
	*ret = (unsigned)v;
	return 0;
}

static int store_value(const struct opt_row *row, void *dst, const char *value, struct varve_err *e)
{
	void *member = (char *)dst + row->offset;

	if (row->arg && value[0] == '\0')
		return varve_fail(e, VARVE_E_USAGE, "--%s: its argument %s is empty", row->name,
				  row->arg);
	switch (row->kind) {
	case OPT_FLAG:
		*(bool *)member = true;
		return 0;
	case OPT_COUNT:
		++*(unsigned *)member;
		return 0;
	case OPT_TEXT:
		*(const char **)member = value;
		return 0;
	case OPT_LIST:
		return add_to_list(member, value, e);
	case OPT_NUMBER:
		return parse_number(row, value, member, e);
	case OPT_SIZE:
	case OPT_DURATION:
		return parse_amount(row, value, member, e);
	case OPT_CHOICE:
		return parse_choice(row, value, member, e);
	case OPT_PLATFORM:
		return varve_platform_parse(member, value, e) < 0
			       ? varve_wrap(e, -VARVE_E_USAGE, "--%s", row->name)
			       : 0;
	case OPT_ROWS: /* opt_next() gives none */
		break;
	}
	return 0;
}

const char *opt_nearest(const char *text, const void *first_name, size_t n, size_t stride)
{
	const char *best = NULL;
	unsigned best_distance = strlen(text) >= 4 ? 3 : 2; /* must be below */

	for (size_t i = 0; i < n; i++) {
		const char *name = *(const char *const *)((const char *)first_name + i * stride);
		unsigned d = varve_text_distance(text, name);

		if (d < best_distance) {
			best = name;
			best_distance = d;
		}
	}
	return best;
}

bool opt_has(const struct opt_row *rows, size_t n, const char *name)
{
	struct opt_walk w = opt_walk(rows, n);
	struct opt_row row;

	while (opt_next(&w, &row))
		if (strcmp(row.name, name) == 0)
			return true;
	return false;
}

/* "--platfrom=x" -> platfrom */
static int fail_unknown(const struct parser *p, const char *arg, struct varve_err *e)
{
	char name[64];
	const char *near;

	if (strncmp(arg, "--", 2) != 0) /* one letter of a group like -qx */
		return varve_fail(e, VARVE_E_USAGE, "no option -%c", optopt);
	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
	near = opt_nearest(name, &p->longs[0].name, p->n, sizeof(p->longs[0]));
	if (near)
		return varve_fail(e, VARVE_E_USAGE, "no option --%s; did you mean --%s?",
				  VARVE_TEXT_SAFE(name), near);
	return varve_fail(e, VARVE_E_USAGE, "no option --%s", VARVE_TEXT_SAFE(name));
}

/* What getopt_long refused with '?'. */
static int fail_option(const struct parser *p, char **argv, struct varve_err *e)
{
	const char *arg = argv[optind - 1];
	char both[200] = "";
	size_t n = 0, len;

	if (strncmp(arg, "--", 2) != 0)
		return fail_unknown(p, arg, e);
	if (optopt >= FIRST_VAL)
		return varve_fail(e, VARVE_E_USAGE, "--%s takes no argument",
				  bound_of(p, optopt)->row.name);
	len = strcspn(arg + 2, "=");
	for (size_t i = 0; i < p->n; i++)
		if (len && strncmp(p->longs[i].name, arg + 2, len) == 0)
			n += (size_t)snprintf(both + n, n < sizeof(both) ? sizeof(both) - n : 0,
					      "%s--%s", n ? ", " : "", p->longs[i].name);
	if (n)
		return varve_fail(e, VARVE_E_USAGE, "%.*s could be any of %s", (int)len + 2, arg,
				  both);
	return fail_unknown(p, arg, e);
}

static int parse_all(const struct parser *p, int argc, char **argv, char **args, int *ret_n,
		     struct varve_err *e)
{
	int c, r, n = 0;

	optind = 0; /* glibc: begin again */
	opterr = 0;
	while ((c = getopt_long(argc, argv, p->shorts, p->longs, NULL)) != -1) {
		const struct bound *b;

		if (c == NO_OPTION) {
			args[n++] = optarg;
			continue;
		}
		if (c == '?')
			return fail_option(p, argv, e);
		b = bound_of(p, c == ':' ? optopt : c);
		if (c == ':')
			return varve_fail(e, VARVE_E_USAGE, "--%s needs an argument: --%s %s",
					  b->row.name, b->row.name, b->row.arg);
		r = store_value(&b->row, b->dst, optarg, e);
		if (r < 0)
			return r;
	}
	if (p->shorts[0] == '+') {
		*ret_n = optind;
		return 0;
	}
	while (optind < argc)
		args[n++] = argv[optind++];
	*ret_n = n;
	return 0;
}

int opt_parse(const struct opt_set *sets, size_t n_sets, int argc, char **argv, bool stop_early,
	      char **args, int *ret_n, struct varve_err *e)
{
	struct parser p = {0};
	int r = build(&p, sets, n_sets, stop_early, e);

	if (r == 0)
		r = parse_all(&p, argc, argv, args, ret_n, e);
	free(p.all);
	free(p.longs);
	free(p.shorts);
	return r;
}

void opt_done(const struct opt_set *set)
{
	struct opt_walk w = opt_walk(set->rows, set->n);
	struct opt_row row;

	while (opt_next(&w, &row)) {
		if (row.kind == OPT_LIST) {
			struct opt_list *list = (struct opt_list *)((char *)set->dst + row.offset);

			free(list->items);
			*list = (struct opt_list){0};
		}
	}
}
