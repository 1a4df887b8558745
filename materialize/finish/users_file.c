/* SPDX-License-Identifier: Apache-2.0 */
/* Read and replace text files of a tree without ever leaving it, whatever its symlinks say. */
#include "materialize/finish/users.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define LINKS_MAX 40
#define PATH_ROOM 4096

/* --- where a file really is --- */

static int open_parent(int rootfd, const char *path, char name[256])
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_ROOM];

	if (snprintf(name, 256, "%s", slash ? slash + 1 : path) >= 256 || !name[0] ||
	    !strcmp(name, ".") || !strcmp(name, "..")) {
		errno = EINVAL;
		return -1;
	}
	if (snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path) >=
	    (int)sizeof(dir)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return fsx_open_in_root(rootfd, dir[0] ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

/* The next path of a symlink: absolute ones begin at the tree's root, others in the link's
 * directory. */
static bool follow(char path[PATH_ROOM], int dirfd, const char *name)
{
	char target[PATH_ROOM], next[2 * PATH_ROOM];
	const char *slash = strrchr(path, '/');
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	if (target[0] == '/')
		(void)snprintf(next, sizeof(next), "%s", target);
	else
		(void)snprintf(next, sizeof(next), "%.*s/%s", slash ? (int)(slash - path) : 0, path,
			       target);
	return snprintf(path, PATH_ROOM, "%s", next) < PATH_ROOM;
}

static int locate(int rootfd, const char *wanted, struct etc_file *f)
{
	char path[PATH_ROOM];

	(void)snprintf(path, sizeof(path), "%s", wanted);
	for (int i = 0; i < LINKS_MAX; i++) {
		VARVE_CLOSE int dir = open_parent(rootfd, path, f->name);

		if (dir < 0)
			return -1;
		if (fstatat(dir, f->name, &f->st, AT_SYMLINK_NOFOLLOW)) {
			if (errno != ENOENT)
				return -1;
			f->dirfd = VARVE_TAKE_FD(dir);
			return 0;
		}
		if (!S_ISLNK(f->st.st_mode)) {
			f->exists = true;
			f->dirfd = VARVE_TAKE_FD(dir);
			return 0;
		}
		if (!follow(path, dir, f->name))
			return -1;
	}
	errno = ELOOP;
	return -1;
}

static int read_text(struct etc_file *f, const char *path, struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(f->dirfd, f->name,
				    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int x;

	if (fd < 0 && errno == EACCES) { /* shadow of mode 000, and we are not root but its owner */
		VARVE_CLOSE int at = openat(f->dirfd, f->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		char proc[32];

		(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", at);
		if (at >= 0 && !chmod(proc, f->st.st_mode | S_IRUSR)) {
			fd = open(proc, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
			(void)chmod(proc, f->st.st_mode & 07777);
		}
	}
	if (fd < 0)
		return varve_fail_errno(e, "/%s of the tree", path);
	x = fsx_read_file(fd, NULL, &f->text, e);
	return x < 0 ? varve_wrap(e, x, "/%s of the tree", path) : 0;
}

int etc_open(int rootfd, const char *path, struct etc_file *ret, struct varve_err *e)
{
	struct etc_file f = {.dirfd = -1};
	int x = 0;

	buf_init(&f.text, ETC_FILE_MAX);
	if (locate(rootfd, path, &f))
		x = varve_fail_errno(e, "/%s of the tree", path);
	else if (f.exists && !S_ISREG(f.st.st_mode))
		x = varve_fail(e, VARVE_E_UNSAFE, "/%s of the tree: is no regular file", path);
	else if (f.exists)
		x = read_text(&f, path, e);
	if (x < 0) {
		etc_close(&f);
		return x;
	}
	*ret = f;
	return 0;
}

int etc_save(struct etc_file *f, mode_t mode, struct varve_err *e)
{
	/* An image may have made it for all to read, or somebody's. */
	bool secret = !(mode & 0007);
	bool odd = secret && f->exists && (f->st.st_uid != 0 || (f->st.st_mode & 0137));
	mode_t final = !f->exists ? mode : odd ? 0600 : f->st.st_mode & 07777;
	uid_t uid = odd ? 0 : f->st.st_uid;
	gid_t gid = odd ? 0 : f->st.st_gid;
	int x;

	if (buf_error(&f->text))
		return varve_fail(e, VARVE_E_LIMIT, "%s of the tree: larger than %u bytes", f->name,
				  ETC_FILE_MAX);
	if (!f->changed)
		return 0;
	x = fsx_replace_file(f->dirfd, f->name, f->text.p, f->text.n, final, e);
	if (x < 0)
		return x;
	if (f->exists && !(odd && geteuid()) && (uid != geteuid() || gid != getegid()) &&
	    fchownat(f->dirfd, f->name, uid, gid, AT_SYMLINK_NOFOLLOW))
		return varve_fail_errno(e, "%s of the tree: set the owner", f->name);
	f->changed = false;
	f->exists = true;
	return 0;
}

void etc_close(struct etc_file *f)
{
	if (f->dirfd >= 0)
		(void)close(f->dirfd);
	f->dirfd = -1;
	buf_done(&f->text);
}

/* --- lines --- */

struct span etc_field(struct span line, unsigned i)
{
	struct span field = {"", 0};

	for (;; i--) {
		bool more = span_cut(&line, ':', &field);

		if (i == 0)
			return field;
		if (!more)
			return (struct span){"", 0};
	}
}

static struct span next_line(struct span *text)
{
	struct span line;

	if (!span_cut(text, '\n', &line))
		*text = (struct span){line.p + line.n, 0};
	return line;
}

static bool same(struct span a, struct span b)
{
	return a.n == b.n && !memcmp(a.p, b.p, a.n);
}

bool etc_find(const struct etc_file *f, const char *key, struct span *ret, size_t *ret_at)
{
	struct span text = span_of(f->text.p, f->text.n);
	bool found = false;

	while (text.n) {
		struct span line = next_line(&text);

		if (!span_eq(etc_field(line, 0), key) || line.n == strlen(key))
			continue;
		*ret = line;
		if (ret_at)
			*ret_at = (size_t)(line.p - f->text.p);
		found = true;
	}
	return found;
}

bool etc_find_by(const struct etc_file *f, unsigned i, struct span value, struct span *ret)
{
	struct span text = span_of(f->text.p, f->text.n);

	while (text.n) {
		struct span line = next_line(&text);

		if (line.n && same(etc_field(line, i), value)) {
			*ret = line;
			return true;
		}
	}
	return false;
}

void etc_ids(const struct etc_file *f, unsigned i, uint32_t first, uint32_t end, bool *taken)
{
	struct span text = span_of(f->text.p, f->text.n);
	uint64_t id;

	while (text.n) {
		struct span line = next_line(&text);

		if (span_u64(etc_field(line, i), end - 1, &id) && id >= first)
			taken[id - first] = true;
	}
}

static void take_text(struct etc_file *f, struct buf *b)
{
	if (buf_error(b)) {
		f->text.error = b->error;
		buf_done(b);
		return;
	}
	buf_done(&f->text);
	f->text = *b;
	f->changed = true;
}

void etc_put(struct etc_file *f, const char *key, const char *line)
{
	struct span text = span_of(f->text.p, f->text.n);
	bool done = false;
	struct buf b;

	buf_init(&b, ETC_FILE_MAX);
	while (text.n) {
		struct span l = next_line(&text);

		if (span_eq(etc_field(l, 0), key)) {
			if (!done)
				buf_printf(&b, "%s\n", line);
			done = true;
			continue;
		}
		buf_add(&b, l.p, l.n);
		buf_addc(&b, '\n'); /* also where the file had no final one */
	}
	if (!done)
		buf_printf(&b, "%s\n", line);
	take_text(f, &b);
}

bool etc_set_field(struct etc_file *f, const char *key, unsigned i, struct span value)
{
	struct span text = span_of(f->text.p, f->text.n);
	bool found = false;
	struct buf b;

	buf_init(&b, ETC_FILE_MAX);
	while (text.n) {
		struct span line = next_line(&text);

		if (span_eq(etc_field(line, 0), key) && memchr(line.p, ':', line.n)) {
			unsigned n = 0;
			struct span part;
			bool more;

			found = true;
			do {
				more = span_cut(&line, ':', &part);
				if (n)
					buf_addc(&b, ':');
				buf_add(&b, n == i ? value.p : part.p, n == i ? value.n : part.n);
				n++;
			} while (more);
		} else {
			buf_add(&b, line.p, line.n);
		}
		buf_addc(&b, '\n');
	}
	if (found)
		take_text(f, &b);
	else
		buf_done(&b);
	return found;
}

bool etc_name_is_good(const char *name)
{
	size_t n = strlen(name);

	if (!n || n > ETC_NAME_MAX || name[0] == '-' || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
		      (name[i] >= '0' && name[i] <= '9') || strchr("_-.$", name[i]) ||
		      (unsigned char)name[i] >= 0x80))
			return false;
	return true;
}

/* --- sections --- */

static bool is_section(struct span line, const char *section)
{
	line = span_trim(line);
	return line.n == strlen(section) + 2 && line.p[0] == '[' && line.p[line.n - 1] == ']' &&
	       !memcmp(line.p + 1, section, line.n - 2);
}

static bool is_key(struct span line, const char *key)
{
	struct span k;

	return span_cut(&line, '=', &k) && span_eq_nocase(span_trim(k), key);
}

void etc_set_ini(struct etc_file *f, const char *section, const char *key, const char *value)
{
	struct span text = span_of(f->text.p, f->text.n);
	bool in = false, done = false;
	struct buf b;

	buf_init(&b, ETC_FILE_MAX);
	while (text.n) {
		struct span line = next_line(&text);

		if (span_trim(line).n && span_trim(line).p[0] == '[') {
			in = is_section(line, section);
			buf_add(&b, line.p, line.n);
			buf_addc(&b, '\n');
			if (in && !done)
				buf_printf(&b, "%s=%s\n", key, value);
			done |= in;
			continue;
		}
		if (in && is_key(line, key))
			continue;
		buf_add(&b, line.p, line.n);
		buf_addc(&b, '\n');
	}
	if (!done)
		buf_printf(&b, "%s[%s]\n%s=%s\n", b.n ? "\n" : "", section, key, value);
	take_text(f, &b);
}
