/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are no archive but well known: disk
 * images and file systems are called what they are. */
#include "materialize/import/import.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/codec/inflate.h"
#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define HEAD ((64u << 10) + 4096u) /* btrfs has its superblock at 64 KiB */

enum known_kind { FILE_SYSTEM, DISK, CONTAINER };
struct known {
	enum known_kind kind;
	const char *name;
	uint32_t at, n;
	const char *magic;
};

/* Offsets and magic numbers: the headers of Linux, UEFI 2.10 5.3, and of QEMU's block drivers. */
static const struct known all_known[] = {
	{CONTAINER, "a qcow2 disk image", 0, 4, "QFI\xfb"},
	{CONTAINER, "a VHDX disk image", 0, 8, "vhdxfile"},
	{CONTAINER, "a VHD disk image", 0, 8, "conectix"},
	{CONTAINER, "a VMDK disk image", 0, 4, "KDMV"},
	{CONTAINER, "a VDI disk image", 0x40, 4, "\x7f\x10\xda\xbe"},
	{FILE_SYSTEM, "an XFS file system", 0, 4, "XFSB"},
	{FILE_SYSTEM, "a LUKS volume", 0, 6, "LUKS\xba\xbe"},
	{FILE_SYSTEM, "an EROFS file system", 1024, 4, "\xe2\xe1\xf5\xe0"},
	{FILE_SYSTEM, "an F2FS file system", 1024, 4, "\x10\x20\xf5\xf2"},
	{FILE_SYSTEM, "a Btrfs file system", 0x10040, 8, "_BHRfS_M"},
	{FILE_SYSTEM, "an ext2, ext3 or ext4 file system", 0x438, 2, "\x53\xef"},
	{DISK, "a disk with a GPT", 512, 8, "EFI PART"},
	{DISK, "a disk with a GPT", 4096, 8, "EFI PART"},
	{FILE_SYSTEM, "an NTFS file system", 3, 8, "NTFS    "},
	{FILE_SYSTEM, "a FAT file system", 0x36, 3, "FAT"},
	{FILE_SYSTEM, "a FAT file system", 0x52, 5, "FAT32"},
	{DISK, "a disk with a boot sector", 510, 2, "\x55\xaa"},
};

static const char *what_to_do(enum known_kind k)
{
	switch (k) {
	case FILE_SYSTEM:
		return "mount it (mount -o loop,ro FILE DIR), then: tar --numeric-owner --xattrs "
		       "-C DIR -cf - . | varve import - NAME";
	case DISK:
		return "attach it (losetup -P --show -f FILE), mount the partition of the root "
		       "file system at DIR, then: tar --numeric-owner --xattrs -C DIR -cf - . | "
		       "varve import - NAME";
	default:
		return "make a plain one of it (qemu-img convert -O raw FILE DISK), attach that "
		       "(losetup -P --show -f DISK), mount the root file system at DIR, then: tar "
		       "--numeric-owner --xattrs -C DIR -cf - . | varve import - NAME";
	}
}

struct source {
	int fd;
	uint64_t at;
	char window[16u << 10];
};

static int source_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct source *in = user;
	ssize_t n = fsx_pread_full(in->fd, in->window, sizeof(in->window), in->at);

	if (n < 0)
		return varve_fail_errno(e, "read");
	in->at += (uint64_t)n;
	*ret = in->window;
	*ret_n = (size_t)n;
	return 0;
}

/* The first bytes, inflated where that is possible.
 * What is wrong is said by who reads all of it. */
static size_t read_head(int fd, uint8_t head[HEAD])
{
	struct source in = {.fd = fd};
	struct inflate_source src = {source_next, &in, -1};
	struct inflate *z = NULL;
	size_t have = 0;
	ssize_t n;

	if (inflate_new(&z, &src, 0, 0, NULL) == 0 && inflate_kind(z) != VARVE_COMP_SQUASHFS) {
		const void *p;
		size_t k;

		while (have < HEAD && inflate_next(z, HEAD - have, &p, &k, NULL) == 0 && k > 0) {
			memcpy(head + have, p, k);
			have += k;
		}
		inflate_free(z);
		return have;
	}
	inflate_free(z);
	n = fsx_pread_full(fd, head, HEAD, 0);
	return n > 0 ? (size_t)n : 0;
}

/* Two bytes of magic alone would meet junk too often. */
static bool is_ext(const uint8_t *head)
{
	return head[0x418] <= 6 && !head[0x419] && !head[0x41a] && !head[0x41b];
}

static bool matches(const struct known *k, const uint8_t *head, size_t n)
{
	return k->at + k->n <= n && !memcmp(head + k->at, k->magic, k->n) &&
	       (k->at != 0x438 || is_ext(head));
}

int import_refuse_known(const struct import *im, int fd, struct varve_err *e)
{
	VARVE_FREE uint8_t *head = malloc(HEAD);
	size_t n, i;

	if (!head)
		return varve_fail_oom(e);
	n = read_head(fd, head);
	if (n < 4 || !memcmp(head, "hsqs", 4) || (head[0] && tar_looks_like(head, n)))
		return 0;
	for (i = 0; i < VARVE_ARRAY_SIZE(all_known); i++) {
		const struct known *k = &all_known[i];

		if (matches(k, head, n))
			return varve_fail(e, VARVE_E_FORMAT, "%s: is %s, no archive: %s",
					  TEXT_SAFE(im->path), k->name, what_to_do(k->kind));
	}
	return 0;
}
