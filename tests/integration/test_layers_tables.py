# SPDX-License-Identifier: Apache-2.0
"""Tables of other projects' tests, as data: docker's (moby/go-archive), umoci's."""

import os
import re
import stat

from support import Tar, layertext
from support.applied import Applied

# diff_test.go, TestApplyLayerWhiteouts: (entries, tree), four layers one over the other.
BASE = ".baz bar/ bar/bax bar/bay/ baz foo/ foo/.abc foo/.bcd/ foo/.bcd/a foo/cde/ foo/cde/def foo/cde/efg foo/fgh foobar"
DOCKER_WHITEOUTS = [
    (BASE, BASE),
    (".bay .wh.baz foo/ foo/.bce foo/.wh..wh..opq foo/cde/ foo/cde/efg",
     ".bay .baz bar/ bar/bax bar/bay/ foo/ foo/.bce foo/cde/ foo/cde/efg foobar"),
    (".bay .wh..baz .wh.foobar foo/ foo/.abc foo/.wh.cde bar/", ".bay bar/ bar/bax bar/bay/ foo/ foo/.abc foo/.bce"),
    (".abc .wh..wh..opq foobar", ".abc foobar"),
]

# tar_extract_test.go, TestUnpackEntryWhiteout: (name, path, is a directory, is refused).
UMOCI_WHITEOUTS = [
    ("empty name at the root", "", False, True),
    ("empty name", "some/path/", False, True),
    ("file in the root", "rootpath", False, False),
    ("hidden file in the root", ".hiddenroot", False, False),
    ("file in a directory", "some/path/file", False, False),
    ("hidden file in a directory", "another/path/.hiddenfile", False, False),
    ("directory in the root", "rootpath", True, False),
    ("hidden directory in the root", ".hiddenroot", True, False),
    ("directory in a directory", "some/path/dir", True, False),
    ("hidden directory in a directory", "another/path/.hiddendir", True, False),
]

# The same file, TestUnpackOpaqueWhiteout. A line: + in the upper layer, - in the lower; ! survives; kind; path; target.
# All are below one directory, and an opaque marker for it ends the upper layer.
UP = "../../../../../../../../../../../../etc/shadow"
TWO_LEVEL = f"f file\ns link ..\ns badlink ./nothing\nd dir\nf dir/file\ns dir/link ../badlink\ns dir/verybadlink {UP}\ns dir/verybadlink2 /{UP}"
MULTI = """f level1_file\ns level1_link ..\nd level1a\nf level1a/level2_file\ns level1a/level2_link ../../../\nd level1a/level2a
f level1a/level2a/level3_fileA\nf level1a/level2a/level3_fileB\nd level1a/level2b\nf level1a/level2b/level3_fileA
f level1a/level2b/level3_fileB\nd level1a/level2b/level3\nd level1a/level2b/level3/level4\nd level1a/level2b/level3/level4
f level1a/level2b/level3_fileA\nd level1b\nf level1b/level2_fileA\nf level1b/level2_fileB\nd level1b/level2
f level1b/level2/level3_file"""


def marked(lines, marks):
    """Each line with its mark: "+!" or "- "."""
    lines = lines.split("\n")
    assert len(lines) == len(marks)
    return "\n".join(("+! " if m == "+" else "-  ") + l for l, m in zip(lines, marks))


UMOCI_OPAQUE = [
    ("empty directory", ""),
    ("one level", "-  f file\n+! s link ..\n+! s badlink ./nothing\n-  p fifo"),
    ("one level, no upper", "-  f file\n-  s link ..\n-  s badlink ./nothing\n-  p fifo"),
    ("two levels", marked(TWO_LEVEL, "+--++-+-")),
    ("two levels, no upper", marked(TWO_LEVEL, "-" * 8)),
    ("many levels", marked(MULTI, "+-+-+---++----+-----")),
    ("many levels, no upper", marked(MULTI, "-" * 20)),
    ("missing upper ancestor", "-! d some\n-! d some/dir\n+! f some/dir/somewhere\n-  d another\n-  d another/dir\n-  f another/dir/somewhere"),
    ("upper whiteout", "+! f .wh.fileB\n+! f fileA\n+! f fileB\n-  f fileC\n+! f .wh.fileA\n+! f .wh.fileC"),
    ("upper directory whiteout", f"+! f .wh.dir2\n-  f file\n+! d dir1\n+! f dir1/file\n-  s dir1/link ../badlink\n+! s dir1/verybadlink {UP}\n"
     f"-  s dir1/verybadlink2 /{UP}\n+! f .wh.dir1\n+! d dir2\n+! f dir2/file\n-  s dir2/link ../badlink"),
]

# diff_test.go, TestApplyLayerInvalidFilenames, -Hardlink, -Symlink: (entries, tree); None: refused. A victim lies at ../victim.
BREAKOUTS = [
    ("N04 file name 1", "f ../victim/dotdot x", "d victim\nf victim/dotdot x\n"),
    ("N04 file name 2", "f /../victim/slash-dotdot x", "d victim\nf victim/slash-dotdot x\n"),
    ("H10 hard link 1", "h dotdot ../victim/hello", None),
    ("H10 hard link 2", "h slash-dotdot /../victim/hello", None),
    # A link that waits for its target is no directory: what comes below it replaces it (R11).
    ("H10 hard link 3", "h loophole-victim ../victim; f loophole-victim/file x", "d loophole-victim\nf loophole-victim/file x\n"),
    ("H10 hard link 4", "h loophole-victim ../victim; s symlink loophole-victim/hello", None),
    ("H10 hard link 5", "h loophole-victim ../victim; h hardlink loophole-victim/hello", None),
    ("H10 hard link 6", "h loophole-victim ../victim; f loophole-victim x", "f loophole-victim x\n"),
    ("R08 symlink 1", "s dotdot ../victim/hello", "s dotdot ../victim/hello\n"),
    ("R08 symlink 2", "s slash-dotdot /../victim/hello", "s slash-dotdot /../victim/hello\n"),
    ("R08 symlink 3", "s loophole-victim ../victim; f loophole-victim/file x",
     "s loophole-victim ../victim\nd victim\nf victim/file x\n"),
    ("R08 symlink 4", "s loophole-victim ../victim; s symlink loophole-victim/hello",
     "s loophole-victim ../victim\ns symlink loophole-victim/hello\n"),
    ("R08 symlink 5", "s loophole-victim ../victim; h hardlink loophole-victim/hello", None),
    ("R08 symlink 6", "s loophole-victim ../victim; f loophole-victim x", "f loophole-victim x\n"),
]


def added(cls, prefix, rows, check):
    """A test of the class for each row; the first member is its name."""
    for row in rows:
        name = "test_" + re.sub("[^a-z0-9]+", "_", f"{prefix} {row[0]}".lower()).strip("_")
        assert not hasattr(cls, name), name
        setattr(cls, name, lambda self, row=row: check(self, *row[1:]))


class Docker(Applied):
    @staticmethod
    def layer(entries):
        tar = Tar().dir(".", mtime=1)
        for name in entries.split():
            (tar.dir if name.endswith("/") else tar.file)(name, mode=0o700 if name.endswith("/") else 0o600, mtime=2)
        return tar

    @staticmethod
    def listed(root):
        paths = []
        for folder, folders, files in os.walk(root):
            inside = os.path.relpath(folder, root) + "/" if os.path.abspath(folder) != os.path.abspath(root) else ""
            paths += [inside + d + "/" for d in folders] + [inside + f for f in files]
        return sorted(paths)

    def test_w28_four_layers(self):
        """Every stack of the first layers means the tree that the table gives."""
        for n in range(1, len(DOCKER_WHITEOUTS) + 1):
            made = self.apply([self.layer(entries) for entries, _ in DOCKER_WHITEOUTS[:n]], podman=True)
            self.assertEqual(self.listed(made), sorted(DOCKER_WHITEOUTS[n - 1][1].split()))

    def implied(self, mask):
        """archive_unix_test.go, TestImpliedDirectoryPermissions."""
        tar = Tar().dir(".", mtime=1).file("deeply/nested/and/implied", mtime=2).dir("explicit/", mode=0o644, mtime=2)
        tar.dir("explicit/permissions/", mode=0o600, mtime=2).dir("explicit/permissions/specified/", mode=0o400, mtime=2)
        tar.dir("explicit/permissions/umask/", mode=0o777, mtime=2).file("explicit/permissions/umask/file", mode=0o666, mtime=2)
        tar.entry(b"implied/dir-without-trailing-slash", b"5", mode=0o700, mtime=2)
        made = self.apply([tar], popen={"umask": mask})
        for path, mode in (("deeply", 0o755), ("deeply/nested", 0o755), ("deeply/nested/and", 0o755), ("explicit", 0o644),
                           ("explicit/permissions", 0o600), ("explicit/permissions/specified", 0o400),
                           ("explicit/permissions/umask", 0o777), ("explicit/permissions/umask/file", 0o666), ("implied", 0o755),
                           ("implied/dir-without-trailing-slash", 0o700)):
            self.assertEqual(oct(stat.S_IMODE(os.stat(made / path).st_mode)), oct(mode), path)

    def test_r12_r19_umask_022(self):
        self.implied(0o022)

    def test_r12_r19_umask_027(self):
        self.implied(0o027)

    def breakout(self, entries, expect):
        if expect is None:
            self.refuse([entries], "link")
        else:
            # H10 3 and 6: umoci fails at the link before something replaces it.
            self.apply([entries], expect, attributes=False, umoci=not entries.startswith("h"))


added(Docker, "", BREAKOUTS, Docker.breakout)


class Umoci(Applied):
    def whiteout(self, path, directory, refused):
        parent, _, name = path.rpartition("/")
        lower, at = Tar().dir(".", mtime="123.000000456"), ""
        for part in parent.split("/") if parent else []:
            at += ("/" if at else "") + part
            lower.dir(at, mtime="123.000000456")
        if directory:
            lower.dir(path, mtime=5).dir(path + "/.subdir", mtime=5)
            for inner in ("file1", "file2", ".subdir/file3"):
                lower.file(f"{path}/{inner}", "some value", mtime=5)
        elif name:
            lower.file(path, "some value", mtime=5)
        upper = Tar().file((parent + "/" if parent else "") + ".wh." + name)
        if refused:
            self.refuse([lower, upper], "whiteout")
            return
        made = self.apply([lower, upper])
        self.assertFalse(os.path.lexists(made / path))
        # The times of the directory are untouched by what left it.
        st = os.stat(made / parent)
        self.assertEqual((st.st_mtime_ns, st.st_mode & 0o7777), (123000000456, 0o755))

    def opaque(self, lines):
        lower, upper, survive, gone = ["d test-subdir"], [], set(), set()
        for line in lines.splitlines():
            mark, kind, path, *target = line.split()
            entry = " ".join([kind, "test-subdir/" + path, *target] + (["content"] if kind == "f" else []))
            (upper if mark[0] == "+" else lower).append(entry)
            if ".wh." not in path:
                (survive if "!" in mark else gone).add("test-subdir/" + path)
        made = self.apply(["\n".join(lower), "\n".join(upper + ["f test-subdir/.wh..wh..opq"])])
        there = {line.split()[1] for line in layertext.read(made).splitlines()}
        self.assertEqual(there - {"test-subdir"}, survive)
        self.assertFalse(there & (gone - survive))
        self.assertIn("test-subdir", there)


added(Umoci, "w29 whiteout", UMOCI_WHITEOUTS, Umoci.whiteout)
added(Umoci, "w29 opaque", UMOCI_OPAQUE, Umoci.opaque)
