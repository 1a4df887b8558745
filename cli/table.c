/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: columns as wide as their widest cell. */
#include "cli/table.h"
#include "cli/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
	const char *const *columns;
	size_t n_columns;
	char **cells; /* row by row */
	size_t n, cap;
};

struct table *table_new(const char *const *columns)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t) {
		out_no_memory();
		return NULL;
	}
	t->columns = columns;
	while (columns[t->n_columns])
		t->n_columns++;
	return t;
}

/* Takes text; NULL when memory ran out, which out_finish() tells. */
static void add_cell(struct table *t, char *text)
{
	char **cells = t->cells;

	if (text && t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;

		cells = realloc(t->cells, cap * sizeof(*cells));
		if (cells) {
			t->cells = cells;
			t->cap = cap;
		}
	}
	if (!text || !cells) {
		free(text);
		out_no_memory();
		return;
	}
	t->cells[t->n++] = text;
}

void table_add(struct table *t, const char *text)
{
	const char *shown = text && text[0] ? text : "-";
	size_t size = 4 * strlen(shown) + 1;
	char *safe;

	if (!t)
		return;
	safe = malloc(size);
	if (safe)
		varve_text_escape_str(shown, safe, size);
	add_cell(t, safe);
}

void table_addf(struct table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	if (!t)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	add_cell(t, text);
}

void table_size(struct table *t, uint64_t bytes)
{
	table_addf(t, "%s", VARVE_TEXT_SIZE(bytes));
}

void table_digest(struct table *t, const struct varve_digest *d, bool whole)
{
	table_add(t, varve_digest_is_set(d) ? DIGEST_TEXT(d, whole) : NULL);
}

void table_age(struct table *t, int64_t seconds)
{
	char text[32];

	table_add(t, age_text(seconds, text));
}

/* Columns on a terminal, near enough: bytes that start a character. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* owed: blanks that are only printed when something follows, so that no line ends in one. */
static void print_cell(const char *text, size_t column_width, bool right, int *owed)
{
	int pad = (int)(column_width - width(text));

	if (text[0]) {
		out_printf("%*s", *owed + (right ? pad : 0), "");
		out_write(text, strlen(text));
		*owed = 0;
	} else {
		*owed += right ? pad : 0;
	}
	*owed += (right ? 0 : pad) + 2;
}

static void print_rows(const struct table *t, size_t *widths)
{
	int owed = 0;

	for (size_t i = 0; i < t->n_columns; i++)
		widths[i] = strlen(t->columns[i]) - (t->columns[i][0] == '>');
	for (size_t i = 0; i < t->n; i++) {
		size_t w = width(t->cells[i]);

		if (w > widths[i % t->n_columns])
			widths[i % t->n_columns] = w;
	}
	out_printf("%s", out_bold());
	for (size_t i = 0; i < t->n_columns; i++) {
		bool right = t->columns[i][0] == '>';

		print_cell(t->columns[i] + right, widths[i], right, &owed);
	}
	out_printf("%s\n", out_plain());
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->n_columns;

		if (c == 0)
			owed = 0;
		print_cell(t->cells[i], widths[c], t->columns[c][0] == '>', &owed);
		if (c + 1 == t->n_columns)
			out_printf("\n");
	}
}

void table_print(struct table *t)
{
	size_t *widths = t ? calloc(t->n_columns, sizeof(*widths)) : NULL;

	if (!t)
		return;
	if (!widths)
		out_no_memory();
	else if (t->n && !out_failed())
		print_rows(t, widths);
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(widths);
	free(t->cells);
	free(t);
}
