# SPDX-License-Identifier: Apache-2.0
"""The rules by which layers make a tree, each by import and install of an image that was made for it.

Every row is a test of its own: layers as text (support/layertext.py), then the tree as text or the exit status. Where
umoci follows the same rule it unpacks the same image, and both trees are equal in every attribute that is defined.
"""

import collections
import re
import subprocess

from support import Case, layertext, need_root

Row = collections.namedtuple("Row", "name layers expect attributes options umoci")


def row(name, layers, expect, attributes=False, options=(), umoci=True):
    return Row(name, layers, expect, attributes, options, umoci)


UNSAFE = 4
LOOP = 1
B = "d a; f a/f1 1; f a/f2 2; d a/sub; f a/sub/g g; f top t"
TREE = "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"

# umoci=False: it differs. W14: umoci 0.4.7 removes the directory above the root. W16, W17, N13: it makes files with
# names of whiteouts. W25: it keeps
# user.overlay. R11, H07, H09: it fails. N05, N06: it takes what climbs for the root, and fails at no name.
ROWS = [
    # C.1
    row("W01 file", [B, "f a/.wh.f1"], "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"),
    row("W01 time of the parent stays", ["d a t=77; f a/x", "f a/.wh.x t=99"],
        "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=77\n", attributes=True),
    row("W02 directory", [B, "f a/.wh.sub"], "d a\nf a/f1 1\nf a/f2 2\nf top t\n"),
    row("W03 missing name", [B, "f a/.wh.none"], TREE),
    row("W04 missing parent", [B, "f zz/yy/.wh.x"], TREE),
    row("W05 then the file", ["f f1 old", "f .wh.f1; f f1 new"], "f f1 new\n"),
    row("W06 after the file", ["f f1 old", "f f1 new; f .wh.f1"], "f f1 new\n"),
    row("W06 without a lower one", ["f f1 new; f .wh.f1"], "f f1 new\n"),
    row("W07 then the directory", [B, "f .wh.a; d a; f a/n n"], "d a\nf a/n n\nf top t\n"),
    row("W08 after the directory", [B, "d a t=5; f a/n n; f .wh.a"],
        "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=5\nf a/n n m=644 u=0:0 t=1000\nf top t m=644 u=0:0 t=1000\n"
        "", attributes=True),
    row("W09 opaque first", [B, "d a; f a/.wh..wh..opq; f a/n n"], "d a\nf a/n n\nf top t\n"),
    row("W09 opaque last", [B, "d a; f a/n n; f a/.wh..wh..opq"], "d a\nf a/n n\nf top t\n"),
    row("W09 opaque without the directory's entry", [B, "f a/n n; f a/.wh..wh..opq"], "d a\nf a/n n\nf top t\n"),
    row("W09 opaque nested", [B, "f a/sub/.wh..wh..opq; f a/sub/n n"],
        "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/n n\nf top t\n"),
    row("W09 example of the spec", ["d bin; f bin/my-app-binary o; f bin/my-app-tools o; d bin/tools; "
        "f bin/tools/x o", "d bin; f bin/my-app-tools n; f bin/.wh..wh..opq"],
        "d bin\nf bin/my-app-tools n\n"),
    row("W10 deep child, then opaque", [B, "f a/sub/h h; f a/.wh..wh..opq"], "d a\nd a/sub\nf a/sub/h h\nf top t\n"),
    row("W11 opaque in no directory", [B, "f zz/.wh..wh..opq"], TREE),
    row("W12 opaque at the root", [B, "f .wh..wh..opq; f n n"], "f n n\n"),
    row("W13 no name", [B, "f a/.wh."], UNSAFE),
    row("W14 dot", [B, "f a/.wh.."], UNSAFE, umoci=False),
    row("W14 dot dot", [B, "f a/.wh..."], UNSAFE, umoci=False),
    row("W14 dot at the root", [B, "f .wh.."], UNSAFE, umoci=False),
    row("W14 dot dot at the root", [B, "f .wh..."], UNSAFE, umoci=False),
    row("W15 with data", [B, "f a/.wh.f1 data"], "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"),
    row("W15 symlink", [B, "s a/.wh.f1 /etc"], "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"),
    row("W15 hard link", [B, "h a/.wh.f1 top"], "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"),
    row("W15 fifo", [B, "p a/.wh.f1"], "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\nf top t\n"),
    row("W16 directory", [B, "d a/.wh.f1"], UNSAFE, umoci=False),
    row("W16 below a whiteout", [B, "f a/.wh.f1/x"], UNSAFE, umoci=False),
    row("W17 aufs files", ["d .wh..wh.plnk; f .wh..wh.plnk/9.9 body; f .wh..wh.aufs; d .wh..wh.orph; "
        "f .wh..wh.orph/x y; h a .wh..wh.plnk/9.9; h b .wh..wh.plnk/9.9"],
        "f a body\nh b a\n", umoci=False),
    row("W17 the link store is of its layer", ["f .wh..wh.plnk/9.9 body", "h a .wh..wh.plnk/9.9"],
        UNSAFE, umoci=False),
    row("W18 other aufs names", [B, "f a/.wh..wh.foo"], TREE),
    row("W19 through a symlink", [B, "s la a; f la/.wh.f1"],
        "d a\nf a/f2 2\nd a/sub\nf a/sub/g g\ns la a\nf top t\n"),
    row("W20 of the symlink", [B + "; s la a", "f .wh.la"], TREE),
    row("W21 through a link to the root", [B, "s lo /; f lo/.wh.top"],
        "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\ns lo /\n"),
    row("W22 through a dead symlink", ["s dead none", "f dead/.wh.x"], "s dead none\n"),
    row("W23 lexically cleaned", ["d etc; f etc/x", "f dne/../.wh.etc"], ""),
    row("W24 device 0:0 is no whiteout", ["f x 1", "c x 0:0"], "c x 0:0\n"),
    row("W25 overlay attributes", ["d a x=trusted.overlay.opaque:y; d b x=user.overlay.opaque:y; d c x=user.k:v"],
        "d . m=755 u=0:0 t=0\nd a m=755 u=0:0 t=1000\nd b m=755 u=0:0 t=1000\nd c m=755 u=0:0 t=1000 x=user.k:v\n"
        "", attributes=True, umoci=False),
    # W26 is void: it is about an output that consists of overlay directories, one for each layer, and there is none.
    row("W27 of one name of two", ["f x 1; h y x", "f .wh.x"], "f y 1\n"),
    # W28 and W29 are the tables of test_layers_tables.py; these are a few more of their kind.
    row("W28 four layers", ["d d1; f d1/f1 a; f d1/f2 b; d d2; f d2/x x", "f d1/.wh.f1; d d3; f d3/y y",
        "f .wh.d2; f d1/f1 c", "f d3/.wh..wh..opq; f .wh.d1"],
        "d d3\n"),
    row("W29 opaque over a file of the same layer in a lower directory", ["d d; f d/old; d d/e; f d/e/old",
        "f d/e/new n; f d/.wh..wh..opq; f d/.wh.e"],
        "d d\nd d/e\nf d/e/new n\n"),
    row("W29 whiteout of what is both lower and named", ["d d t=7; f d/x", "d d t=8; f .wh.d"],
        "d . m=755 u=0:0 t=0\nd d m=755 u=0:0 t=8\n", attributes=True),
    # C.2
    row("R01 file over directory", [B, "f a n"], "f a n\nf top t\n"),
    row("R02 directory over file", [B, "d top"], "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nd top\n"),
    row("R03 symlink over directory", [B, "s a top"], "s a top\nf top t\n"),
    row("R04 directory over symlink to directory", ["d usr; d usr/bin; f usr/bin/x; s bin usr/bin", "d bin; f bin/y"],
        "d bin\nf bin/y\nd usr\nd usr/bin\nf usr/bin/x\n"),
    row("R04 keep dirlinks", ["d usr; d usr/bin; f usr/bin/x; s bin usr/bin", "d bin; f bin/y"],
        "s bin usr/bin\nd usr\nd usr/bin\nf usr/bin/x\nf usr/bin/y\n", options=("--keep-dirlinks",)),
    row("R04 keep dirlinks, nested relative", ["d d; d d/real; s d/l real; s d/m none", "d d/l; d d/m"],
        "d d\ns d/l real\nd d/m\nd d/real\n", options=("--keep-dirlinks",)),
    row("R05 directory over directory", ["d a m=700 u=1:2 t=5 x=user.k:v; f a/x", "d a m=755 u=3:4 t=6"],
        "d . m=755 u=0:0 t=0\nd a m=755 u=3:4 t=6\nf a/x m=644 u=0:0 t=1000\n", attributes=True),
    row("R06 file over symlink", ["f x 1; s l x", "f l 2"], "f l 2\nf x 1\n"),
    row("R07 file over a hard-linked one", ["f x 1; h y x", "f x 2"], "f x 2\nf y 1\n"),
    row("R08 below a symlinked parent", ["d a; s la a; s lb /a", "f la/n n; f lb/m m"],
        "d a\nf a/m m\nf a/n n\ns la a\ns lb /a\n"),
    row("R09 below a dangling symlink", ["s la /nowhere/x", "f la/n n"],
        "s la /nowhere/x\nd nowhere\nd nowhere/x\nf nowhere/x/n n\n"),
    row("R09 target climbs", ["s la ../../up", "f la/n n"], "s la ../../up\nd up\nf up/n n\n"),
    row("R10 symlink loop", ["s l m; s m l", "f l/x"], LOOP),
    row("R11 below a regular file", [B, "f top/under u"],
        "d a\nf a/f1 1\nf a/f2 2\nd a/sub\nf a/sub/g g\nd top\nf top/under u\n", umoci=False),
    row("R12 implied parents", ["f p/q/x t=1234"],
        "d . m=755 u=0:0 t=0\nd p m=755 u=0:0 t=1234\nd p/q m=755 u=0:0 t=1234\nf p/q/x m=644 u=0:0 t=1234\n"
        "", attributes=True),
    row("R13 twice in one tar", ["f x 1; f x 2"], "f x 2\n"),
    row("R14 directory then file", ["d x; f x/y; f x 2"], "f x 2\n"),
    row("R15 root entry", ["d ./ m=1700 u=5:6 t=42 x=user.k:v"],
        "d . m=1700 u=5:6 t=42 x=user.k:v\n", attributes=True),
    row("R16 root as symlink", ["s . /etc"], UNSAFE),
    row("R16 root as symlink, slash dot", ["s /. /etc"], UNSAFE),
    row("R16 root as file", ["f ./"], UNSAFE),
    row("R16 root as hard link", ["f x 1; h . x"], UNSAFE),
    row("R16 empty name as symlink", ["s %00 /etc"], UNSAFE),
    row("R16 dot dot as symlink", ["s .. /etc"], UNSAFE),
    row("R17 no root entry", [""], "d . m=755 u=0:0 t=0\n", attributes=True),
    row("R18 symlink override", ["d foo; f foo/a 1; s foo /; f foo/b 2; d foo; f foo/c 3"],
        "f b 2\nd foo\nf foo/c 3\n"),
    row("R19 no trailing slash", ["d implied/dir m=700"],
        "d . m=755 u=0:0 t=0\nd implied m=755 u=0:0 t=1000\nd implied/dir m=700 u=0:0 t=1000\n", attributes=True),
    row("R20 directory after its children", ["f d/x 1; f e/x 1; d d m=500; d e m=0"],
        "d . m=755 u=0:0 t=0\nd d m=500 u=0:0 t=1000\nf d/x 1 m=644 u=0:0 t=1000\nd e m=0 u=0:0 t=1000\n"
        "f e/x 1 m=644 u=0:0 t=1000\n", attributes=True),
    row("D16 two layers: link, then through it", ["s l /out", "f l/f x"], "s l /out\nd out\nf out/f x\n"),
    # C.3
    row("N01 dots and slashes", ["f ./a/./b//c x"], "d a\nd a/b\nf a/b/c x\n"),
    row("N02 absolute", ["f /abs/file x"], "d abs\nf abs/file x\n"),
    row("N03 dot dot inside", ["f a/../b x"], "f b x\n"),
    row("N04 climbs", ["f ../../x 1"], "f x 1\n"),
    row("N04 climbs, strict", ["f ../../x 1"], UNSAFE, options=("--strict",), umoci=False),
    row("N04 inside is not climbing", ["f a/../x 1"], "f x 1\n", options=("--strict",)),
    row("N05 bare dot dot", ["d .."], UNSAFE, umoci=False),
    row("N05 bare dot dot, deeper", ["d a/../.."], UNSAFE, umoci=False),
    row("N06 empty name", ["f %00; f x 1"], "f x 1\n", umoci=False),
    row("N09 newline, backslash, dash, escape", ["f a%0ab 1; f -rf 2; f c%5cd 3; f %1b[31m 4"],
        "f \\x1b[31m 4\nf -rf 2\nf a\\x0ab 1\nf c\\x5cd 3\n"),
    row("N13 whiteout in the middle", ["f a/.wh.b/c"], UNSAFE, umoci=False),
    row("N13 only a name that begins so", ["f a/x.wh.b/c"], "d a\nd a/x.wh.b\nf a/x.wh.b/c\n"),
    row("N14 NFC and NFD", ["f %c3%a9 1; f e%cc%81 2"], "f e\u0301 2\nf \u00e9 1\n"),
    row("N07 raw Latin-1", ["f %e9 1"], "f \\xe9 1\n"),
    # C.4
    row("H01 same layer", ["f x 1; h y x"], "f x 1\nh y x\n"),
    row("H02 absolute target", ["d d; f d/x 1; h d/y /d/x"], "d d\nf d/x 1\nh d/y d/x\n"),
    row("H03 to a lower layer", ["f x 1", "h y x"], "f x 1\nh y x\n"),
    row("H04 through a symlinked directory", ["d d; f d/x 1; s l d; h y l/x"], "d d\nf d/x 1\ns l d\nh y d/x\n"),
    row("H05 to a symlink", ["f x 1; s l x; h y l"], "s l x\nf x 1\nh y l\n"),
    row("H06 no target", ["h y none"], UNSAFE),
    row("H07 forward", ["h y x; f x 1"], "f x 1\nh y x\n", umoci=False),
    row("H07 forward chain", ["h c b; h b a; f a 1"], "f a 1\nh b a\nh c a\n", umoci=False),
    row("H07 forward into a directory", ["h y d/x; d d; f d/x 1"], "d d\nf d/x 1\nh y d/x\n", umoci=False),
    row("H07 forward, replaced meanwhile", ["h y x; f y 2; f x 1"], "f x 1\nf y 2\n", umoci=False),
    row("H07 link to a symlink before its target", ["s l t; h m l; f t 1"], "s l t\nh m l\nf t 1\n"),
    row("H07 ring", ["h a b; h b a"], UNSAFE),
    row("H08 to a directory", ["d d; h y d"], UNSAFE),
    row("H08 to a directory that comes later", ["h y d; d d"], UNSAFE),
    row("H08 to the root", ["h y /"], UNSAFE),
    row("H09 to itself", ["f x 1; h x x"], "f x 1\n", umoci=False),
    row("H09 to itself, which is not there", ["h x x"], UNSAFE),
    row("H10 escape", ["h y ../../../etc/shadow"], UNSAFE),
    row("H10 escape resolves inside", ["d etc; f etc/shadow s; h y ../../../etc/shadow"],
        "d etc\nf etc/shadow s\nh y etc/shadow\n"),
    row("H11 its metadata counts for nothing", ["f x 1 m=644 u=1:2 t=9; h y x m=600 u=77:0 t=5"],
        "d . m=755 u=0:0 t=0\nf x 1 m=644 u=1:2 t=9\nh y x\n", attributes=True),
    row("H12 target whited out later", ["f x 1", "h y x; f .wh.x"], "f y 1\n"),
    row("H13 target whited out before", ["f x 1", "f .wh.x; h y x"], UNSAFE),
    row("H16 sibling prefix", ["h y ../dest-evil/secret"], UNSAFE),
    row("H17 three names over layers", ["f x 1; h y x", "h z y", "f .wh.x"], "f y 1\nh z y\n"),
    row("H18 the target's parent becomes a symlink", ["d d; f d/x 1; h y d/x; s d /etc"], "s d /etc\nf y 1\n"),
    row("link over its own directory", ["d d; f d/x 1; h d d/x"], "f d 1\n", umoci=False),
    row("again the same link", ["f x 1; h y x", "h y x"], "f x 1\nh y x\n"),
]


# What a row says on stderr, once; a row that is not here says nothing.
WARNINGS = {
    "R11 below a regular file": "top",
    "N04 climbs": "../../x",
    "N06 empty name": "name",
    "H09 to itself": "x",
    "W25 overlay attributes": "2 extended attributes of SELinux, NFSv4 or overlayfs left out",
}


class Rules(Case):
    """Whiteouts, replacements, names and links: docs/layers.md."""

    def setUp(self):
        super().setUp()
        need_root()
        self.canary = self.dir / "canary"
        self.canary.write_text("untouched")

    def check(self, rule):
        layout = self.layout()
        layout.image("i", [layertext.layer(text) for text in rule.layers])
        self.varve.run("import", layout.path, "test:1")
        if isinstance(rule.expect, int):
            result = self.varve.run("install", *rule.options, "test:1", status=rule.expect)
            self.assertFalse(self.varve.tree("test:1").exists())
            self.assertEqual([p.name for p in self.varve.roots.glob("*")] if self.varve.roots.exists() else [], [],
                             result)
        else:
            done = self.varve.run("install", *rule.options, "test:1")
            self.assertEqual(layertext.read(self.varve.tree("test:1"), rule.attributes), rule.expect)
            said = [line for line in done.err.splitlines() if "warning" in line]
            self.assertEqual(len(said), rule.name in WARNINGS, done)
            if said:
                self.assertIn(WARNINGS[rule.name], said[0])
        self.assertEqual(self.canary.read_text(), "untouched")
        if rule.umoci:
            self.compare_with_umoci(layout, rule)

    def compare_with_umoci(self, layout, rule):
        # Below two directories: a mistake of the oracle must not reach ours.
        place = self.path("oracle")
        (place / "in").mkdir(parents=True)
        options = [o for o in rule.options if o == "--keep-dirlinks"]
        command = ["umoci", "raw", "unpack", *options, "--image", f"{layout.path}:i", place / "in/rootfs"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if isinstance(rule.expect, int):
            self.assertNotEqual(done.returncode, 0, done.stdout)
            return
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertSameTree(self.varve.tree("test:1"), place / "in/rootfs", ignore=[self.undefined])

    @staticmethod
    def undefined(path, attribute, ours, theirs):
        """umoci dates what no entry dates with the present time."""
        return attribute == "mtime" and theirs > 1_600_000_000 * 10 ** 9


def _method(rule):
    def test(self):
        self.check(rule)
    test.__doc__ = rule.name
    return test


for _rule in ROWS:
    _name = "test_" + re.sub("[^a-z0-9]+", "_", _rule.name.lower()).strip("_")
    assert not hasattr(Rules, _name), _name
    setattr(Rules, _name, _method(_rule))
del _rule, _name
