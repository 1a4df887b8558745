/* SPDX-License-Identifier: Apache-2.0 */
/* The rules by which layers make a tree, one table row per rule of the image-spec and of other
 * tools' test suites. */
#include <string.h>
#include <sys/stat.h>

#include "image_build.h"
#include "store/base/compiler.h"
#include "unit.h"

struct row {
	const char *id;
	const char *layers[4];
	const char *expect; /* lines, or "error SLUG" */
	bool attributes, strict, keep_dirlinks;
	unsigned warnings;
};

/* The base of most rows: a/ with f1, f2 and sub/g; top. */
#define B        "d a; f a/f1 1; f a/f2 2; d a/sub; f a/sub/g g; f top t"
#define B_NO_A   "f top t\n"
#define B_TREE   "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"
#define B_NO_F1  "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"
#define UNSAFE   "error unsafe-content"
#define FORMAT   "error bad-format"
#define TOO_MUCH "error over-limit"

static const struct row whiteouts[] = {
	{"W01 file", {B, "f a/.wh.f1"}, B_NO_F1},
	{"W01 time of the parent stays",
	 {"d a t=77; f a/x", "f a/.wh.x t=99"},
	 "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=77\n",
	 .attributes = true},
	{"W02 directory", {B, "f a/.wh.sub"}, "d a\nf a/f1 1\nf a/f2 2\nf top t\n"},
	{"W03 missing name", {B, "f a/.wh.none"}, B_TREE},
	{"W04 missing parent", {B, "f zz/yy/.wh.x"}, B_TREE},
	{"W05 then the file", {"f f1 old", "f .wh.f1; f f1 new"}, "f f1 new\n"},
	{"W06 after the file", {"f f1 old", "f f1 new; f .wh.f1"}, "f f1 new\n"},
	{"W06 without a lower one", {"f f1 new; f .wh.f1"}, "f f1 new\n"},
	{"W07 then the directory", {B, "f .wh.a; d a; f a/n n"}, "d a\nf a/n n\n" B_NO_A},
	{"W08 after the directory",
	 {B, "d a t=5; f a/n n; f .wh.a"},
	 "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=5\nf a/n n m=644 u=0:0 t=1000\n"
	 "f top t m=644 u=0:0 t=1000\n",
	 .attributes = true},
	{"W09 opaque first", {B, "d a; f a/.wh..wh..opq; f a/n n"}, "d a\nf a/n n\n" B_NO_A},
	{"W09 opaque last", {B, "d a; f a/n n; f a/.wh..wh..opq"}, "d a\nf a/n n\n" B_NO_A},
	{"W09 opaque without the directory's entry",
	 {B, "f a/n n; f a/.wh..wh..opq"},
	 "d a\nf a/n n\n" B_NO_A},
	{"W09 opaque nested",
	 {B, "f a/sub/.wh..wh..opq; f a/sub/n n"},
	 "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/n n\nf top t\n"},
	{"W09 example of the spec",
	 {"d bin; f bin/my-app-binary o; f bin/my-app-tools o; d bin/tools; f bin/tools/x o",
	  "d bin; f bin/my-app-tools n; f bin/.wh..wh..opq"},
	 "d bin\nf bin/my-app-tools n\n"},
	{"W10 deep child, then opaque",
	 {B, "f a/sub/h h; f a/.wh..wh..opq"},
	 "d a\nd a/sub\nf a/sub/h h\n" B_NO_A},
	{"W11 opaque in no directory", {B, "f zz/.wh..wh..opq"}, B_TREE},
	{"W12 opaque at the root", {B, "f .wh..wh..opq; f n n"}, "f n n\n"},
	{"W13 no name", {B, "f a/.wh."}, UNSAFE},
	{"W14 dot", {B, "f a/.wh.."}, UNSAFE},
	{"W14 dot dot", {B, "f a/.wh..."}, UNSAFE},
	{"W14 dot at the root", {B, "f .wh.."}, UNSAFE},
	{"W14 dot dot at the root", {B, "f .wh..."}, UNSAFE},
	{"W15 with data", {B, "f a/.wh.f1 data"}, B_NO_F1},
	{"W15 symlink", {B, "s a/.wh.f1 /etc"}, B_NO_F1},
	{"W15 hard link", {B, "h a/.wh.f1 top"}, B_NO_F1},
	{"W15 fifo", {B, "p a/.wh.f1"}, B_NO_F1},
	{"W16 directory", {B, "d a/.wh.f1"}, UNSAFE},
	{"W16 below a whiteout", {B, "f a/.wh.f1/x"}, UNSAFE},
	{"W17 aufs files",
	 {"d .wh..wh.plnk; f .wh..wh.plnk/9.9 body; f .wh..wh.aufs; d .wh..wh.orph; f "
	  ".wh..wh.orph/x y; h a .wh..wh.plnk/9.9; h b .wh..wh.plnk/9.9"},
	 "f a body\nh b a\n"},
	{"W17 the link store is of its layer",
	 {"f .wh..wh.plnk/9.9 body", "h a .wh..wh.plnk/9.9"},
	 UNSAFE},
	{"W18 other aufs names", {B, "f a/.wh..wh.foo"}, B_TREE},
	{"W19 through a symlink",
	 {B, "s la a; f la/.wh.f1"},
	 "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\ns la a\nf top t\n"},
	{"W20 of the symlink", {B "; s la a", "f .wh.la"}, B_TREE},
	{"W21 through a link to the root",
	 {B, "s lo /; f lo/.wh.top"},
	 "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\ns lo /\n"},
	{"W22 through a dead symlink", {"s dead none", "f dead/.wh.x"}, "s dead none\n"},
	{"W23 lexically cleaned", {"d etc; f etc/x", "f dne/../.wh.etc"}, ""},
	{"W24 device 0:0 is no whiteout", {"f x 1", "c x 0:0"}, "c x 0:0\n"},
	{"W25 overlay attributes",
	 {"d a x=trusted.overlay.opaque:y; d b x=user.overlay.opaque:y; d c x=user.k:v"},
	 "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=1000\nd b m=755 u=0:0 t=1000\n"
	 "d c m=755 u=0:0 t=1000 x=user.k:v\n",
	 .attributes = true,
	 .warnings = 1},
	{"W27 of one name of two", {"f x 1; h y x", "f .wh.x"}, "f y 1\n"},
	{"W28 four layers",
	 {"d d1; f d1/f1 a; f d1/f2 b; d d2; f d2/x x", "f d1/.wh.f1; d d3; f d3/y y",
	  "f .wh.d2; f d1/f1 c", "f d3/.wh..wh..opq; f .wh.d1"},
	 "d d3\n"},
	{"W29 opaque over a file of the same layer in a lower directory",
	 {"d d; f d/old; d d/e; f d/e/old", "f d/e/new n; f d/.wh..wh..opq; f d/.wh.e"},
	 "d d\nd d/e\nf d/e/new n\n"},
	{"W29 whiteout of what is both lower and named",
	 {"d d t=7; f d/x", "d d t=8; f .wh.d"},
	 "d . m=755 u=0:0 t=0\nd d m=755 u=0:0 t=8\n",
	 .attributes = true},
};

static const struct row replacing[] = {
	{"R01 file over directory", {B, "f a n"}, "f a n\n" B_NO_A},
	{"R02 directory over file",
	 {B, "d top"},
	 "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nd top\n"},
	{"R03 symlink over directory", {B, "s a top"}, "s a top\n" B_NO_A},
	{"R04 directory over symlink to directory",
	 {"d usr; d usr/bin; f usr/bin/x; s bin usr/bin", "d bin; f bin/y"},
	 "d bin\nf bin/y\nd usr\nd usr/bin\nf usr/bin/x\n"},
	{"R04 keep dirlinks",
	 {"d usr; d usr/bin; f usr/bin/x; s bin usr/bin", "d bin; f bin/y"},
	 "s bin usr/bin\nd usr\nd usr/bin\nf usr/bin/x\nf usr/bin/y\n",
	 .keep_dirlinks = true},
	{"R04 keep dirlinks, nested relative",
	 {"d d; d d/real; s d/l real; s d/m none", "d d/l; d d/m"},
	 "d d\ns d/l real\nd d/m\nd d/real\n",
	 .keep_dirlinks = true},
	{"R05 directory over directory",
	 {"d a m=700 u=1:2 t=5 x=user.k:v; f a/x", "d a m=755 u=3:4 t=6"},
	 "d . m=755 u=0:0 t=0\nd a m=755 u=3:4 t=6\nf a/x m=644 u=0:0 t=1000\n",
	 .attributes = true},
	{"R06 file over symlink", {"f x 1; s l x", "f l 2"}, "f l 2\nf x 1\n"},
	{"R07 file over a hard-linked one", {"f x 1; h y x", "f x 2"}, "f x 2\nf y 1\n"},
	{"R08 below a symlinked parent",
	 {"d a; s la a; s lb /a", "f la/n n; f lb/m m"},
	 "d a\nf a/m m\nf a/n n\ns la a\ns lb /a\n"},
	{"R09 below a dangling symlink",
	 {"s la /nowhere/x", "f la/n n"},
	 "s la /nowhere/x\nd nowhere\nd nowhere/x\nf nowhere/x/n n\n"},
	{"R09 target climbs", {"s la ../../up", "f la/n n"}, "s la ../../up\nd up\nf up/n n\n"},
	{"R09 target with the name of a whiteout", {"s l .wh.x; f l/f"}, UNSAFE},
	{"R10 symlink loop", {"s l m; s m l", "f l/x"}, "error loop"},
	{"R11 below a regular file",
	 {B, "f top/under u"},
	 "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nd top\nf top/under u\n",
	 .warnings = 1},
	{"R12 implied parents",
	 {"f p/q/x t=1234"},
	 "d . m=755 u=0:0 t=0\nd p m=755 u=0:0 t=1234\nd p/q m=755 u=0:0 t=1234\n"
	 "f p/q/x m=644 u=0:0 t=1234\n",
	 .attributes = true},
	{"R13 twice in one tar", {"f x 1; f x 2"}, "f x 2\n"},
	{"R14 directory then file", {"d x; f x/y; f x 2"}, "f x 2\n"},
	{"R15 root entry",
	 {"d ./ m=1700 u=5:6 t=42 x=user.k:v"},
	 "d . m=1700 u=5:6 t=42 x=user.k:v\n",
	 .attributes = true},
	{"R16 root as symlink", {"s . /etc"}, UNSAFE},
	{"R16 root as symlink, slash dot", {"s /. /etc"}, UNSAFE},
	{"R16 root as file", {"f ./"}, UNSAFE},
	{"R16 root as hard link", {"f x 1; h . x"}, UNSAFE},
	{"R16 empty name as symlink", {"s %00 /etc"}, UNSAFE},
	{"R16 dot dot as symlink", {"s .. /etc"}, UNSAFE},
	{"R17 no root entry", {""}, "d . m=755 u=0:0 t=0\n", .attributes = true},
	{"R18 symlink override",
	 {"d foo; f foo/a 1; s foo /; f foo/b 2; d foo; f foo/c 3"},
	 "f b 2\nd foo\nf foo/c 3\n"},
	{"R19 no trailing slash",
	 {"d implied/dir m=700"},
	 "d . m=755 u=0:0 t=0\nd implied m=755 u=0:0 t=1000\nd implied/dir m=700 u=0:0 t=1000\n",
	 .attributes = true},
	{"R20 directory after its children",
	 {"f d/x 1; f e/x 1; d d m=500; d e m=0"},
	 "d . m=755 u=0:0 t=0\nd d m=500 u=0:0 t=1000\nf d/x 1 m=644 u=0:0 t=1000\n"
	 "d e m=0 u=0:0 t=1000\nf e/x 1 m=644 u=0:0 t=1000\n",
	 .attributes = true},
	{"D16 two layers: link, then through it",
	 {"s l /out", "f l/f x"},
	 "s l /out\nd out\nf out/f x\n"},
};

static const struct row names[] = {
	{"N01 dots and slashes", {"f ./a/./b//c x"}, "d a\nd a/b\nf a/b/c x\n"},
	{"N02 absolute", {"f /abs/file x"}, "d abs\nf abs/file x\n"},
	{"N03 dot dot inside", {"f a/../b x"}, "f b x\n"},
	{"N04 climbs", {"f ../../x 1"}, "f x 1\n", .warnings = 1},
	{"N04 climbs, strict", {"f ../../x 1"}, UNSAFE, .strict = true},
	{"N04 inside is not climbing", {"f a/../x 1"}, "f x 1\n", .strict = true},
	{"N05 bare dot dot", {"d .."}, UNSAFE},
	{"N05 bare dot dot, deeper", {"d a/../.."}, UNSAFE},
	{"N06 empty name", {"f %00; f x 1"}, "f x 1\n", .warnings = 1},
	{"N09 newline, backslash, dash, escape",
	 {"f a%0ab 1; f -rf 2; f c%5cd 3; f %1b[31m 4"},
	 "f \\x1b[31m 4\nf -rf 2\nf a\\x0ab 1\nf c\\x5cd 3\n"},
	{"N13 whiteout in the middle", {"f a/.wh.b/c"}, UNSAFE},
	{"N13 only a name that begins so", {"f a/x.wh.b/c"}, "d a\nd a/x.wh.b\nf a/x.wh.b/c\n"},
	{"N14 NFC and NFD", {"f %c3%a9 1; f e%cc%81 2"}, "f e\xcc\x81 2\nf \xc3\xa9 1\n"},
	{"N07 raw Latin-1", {"f %e9 1"}, "f \\xe9 1\n"},
};

static const struct row hardlinks[] = {
	{"H01 same layer", {"f x 1; h y x"}, "f x 1\nh y x\n"},
	{"H02 absolute target", {"d d; f d/x 1; h d/y /d/x"}, "d d\nf d/x 1\nh d/y d/x\n"},
	{"H03 to a lower layer", {"f x 1", "h y x"}, "f x 1\nh y x\n"},
	{"H04 through a symlinked directory",
	 {"d d; f d/x 1; s l d; h y l/x"},
	 "d d\nf d/x 1\ns l d\nh y d/x\n"},
	{"H05 to a symlink", {"f x 1; s l x; h y l"}, "s l x\nf x 1\nh y l\n"},
	{"H06 no target", {"h y none"}, UNSAFE},
	{"H07 forward", {"h y x; f x 1"}, "f x 1\nh y x\n"},
	{"H07 forward chain", {"h c b; h b a; f a 1"}, "f a 1\nh b a\nh c a\n"},
	{"H07 forward into a directory", {"h y d/x; d d; f d/x 1"}, "d d\nf d/x 1\nh y d/x\n"},
	{"H07 forward, replaced meanwhile", {"h y x; f y 2; f x 1"}, "f x 1\nf y 2\n"},
	{"H07 link to a symlink before its target",
	 {"s l t; h m l; f t 1"},
	 "s l t\nh m l\nf t 1\n"},
	{"H07 a link to a waiting link waits for the same file",
	 {"h b x; h y b; f b 2; f x 1"},
	 "f b 2\nf x 1\nh y x\n"},
	{"H07 ring", {"h a b; h b a"}, UNSAFE},
	{"H08 to a directory", {"d d; h y d"}, UNSAFE},
	{"H08 to a directory that comes later", {"h y d; d d"}, UNSAFE},
	{"H08 to the root", {"h y /"}, UNSAFE},
	{"H09 to itself", {"f x 1; h x x"}, "f x 1\n", .warnings = 1},
	{"H09 to itself, which is not there", {"h x x"}, UNSAFE},
	{"H10 escape", {"h y ../../../etc/shadow"}, UNSAFE},
	{"H10 escape resolves inside",
	 {"d etc; f etc/shadow s; h y ../../../etc/shadow"},
	 "d etc\nf etc/shadow s\nh y etc/shadow\n"},
	{"H11 its metadata counts for nothing",
	 {"f x 1 m=644 u=1:2 t=9; h y x m=600 u=77:0 t=5"},
	 "d . m=755 u=0:0 t=0\nf x 1 m=644 u=1:2 t=9\nh y x\n",
	 .attributes = true},
	{"H12 target whited out later", {"f x 1", "h y x; f .wh.x"}, "f y 1\n"},
	{"H13 target whited out before", {"f x 1", "f .wh.x; h y x"}, UNSAFE},
	{"H16 sibling prefix", {"h y ../dest-evil/secret"}, UNSAFE},
	{"H17 three names over layers", {"f x 1; h y x", "h z y", "f .wh.x"}, "f y 1\nh z y\n"},
	{"H18 the target's parent becomes a symlink",
	 {"d d; f d/x 1; h y d/x; s d /etc"},
	 "s d /etc\nf y 1\n"},
	{"link over its own directory", {"d d; f d/x 1; h d d/x"}, "f d 1\n"},
	{"again the same link", {"f x 1; h y x", "h y x"}, "f x 1\nh y x\n"},
};

static void run(const struct row *rows, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		const struct row *row = &rows[k];
		struct varve_plan_options o = VARVE_PLAN_OPTIONS_INIT;
		struct image m;
		struct buf out;

		o.strict = row->strict;
		o.keep_dirlinks = row->keep_dirlinks;
		image_init(&m);
		buf_init(&out, 1 << 20);
		for (size_t i = 0; i < VARVE_ARRAY_SIZE(row->layers) && row->layers[i]; i++)
			image_layer(&m, row->layers[i]);
		image_dump(&m, &o, row->attributes, &out);
		if (strcmp(out.p, row->expect) != 0)
			fail_msg("%s: got\n%s\nexpected\n%s", row->id, out.p, row->expect);
		if (m.plan.summary.warnings != row->warnings)
			fail_msg("%s: %llu warnings, expected %u", row->id,
				 (unsigned long long)m.plan.summary.warnings, row->warnings);
		buf_done(&out);
		image_done(&m);
	}
}

static void test_whiteouts(void **state)
{
	(void)state;
	run(whiteouts, VARVE_ARRAY_SIZE(whiteouts));
}

static void test_replacing(void **state)
{
	(void)state;
	run(replacing, VARVE_ARRAY_SIZE(replacing));
}

static void test_names(void **state)
{
	(void)state;
	run(names, VARVE_ARRAY_SIZE(names));
}

static void test_hardlinks(void **state)
{
	(void)state;
	run(hardlinks, VARVE_ARRAY_SIZE(hardlinks));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whiteouts),
		cmocka_unit_test(test_replacing),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_hardlinks),
	};

	return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
