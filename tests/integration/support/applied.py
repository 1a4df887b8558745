# SPDX-License-Identifier: Apache-2.0
"""The base of the tests of layers: apply an image, compare the tree, ask umoci and podman, watch a victim beside it."""

import os
import subprocess

from . import layertext, oracle, tree
from .case import Case, need_root

UNSAFE = 4
# What umoci and podman date with the present time has no entry of its own.
_MADE_NOW = 1_700_000_000 * 10 ** 9


def undefined(path, attribute, ours, theirs):
    """For tree.diff: a time that the image leaves open, which others take from the clock."""
    return attribute == "mtime" and theirs > _MADE_NOW


class Applied(Case):
    """self.apply(layers, expect) makes an image of layers (Tar, bytes or text), installs it and compares the tree."""

    def setUp(self):
        super().setUp()
        need_root()
        self.n_applied = 0
        # Where "../victim" leads from the tree, from the directory that it is built in, and from the layout.
        self.victims = [self.varve.roots / "victim", self.varve.home / "victim", self.dir / "victim"]
        for victim in self.victims:
            victim.mkdir(parents=True)
            os.chmod(victim, 0o751)
            (victim / "hello").write_text("untouched")
            os.setxattr(victim / "hello", "user.mark", b"1")
            (victim / "dir").mkdir()
            os.symlink("hello", victim / "link")
            os.utime(victim, (7, 7))
        self.before = [tree.scan(v) for v in self.victims]

    def tearDown(self):
        for victim, before in zip(self.victims, self.before):
            self.assertEqual(tree.diff(before, victim), [], "nothing outside of the tree was touched")
        super().tearDown()

    def image(self, layers, **image):
        """An image of these layers in a layout of its own, imported. Returns (layout, reference, result of import)."""
        self.n_applied += 1
        layout = self.layout()
        layout.image("i", [layertext.layer(l) if isinstance(l, str) else l for l in layers], **image)
        reference = f"test:{self.n_applied}"
        return layout, reference, self.varve.run("import", layout.path, reference, status=(0, UNSAFE))

    def apply(self, layers, expect=None, *options, attributes=True, umoci=True, podman=False, prefix=(), popen=None, **image):
        """Install the image; the tree is `expect` (layertext.read), and what the tools named true make of it. Returns its path."""
        layout, reference, result = self.image(layers, **image)
        self.assertEqual(result.status, 0, result)
        self.last = self.varve.run("--json", "install", *options, reference, prefix=prefix, **(popen or {}))
        made = self.varve.tree(reference)
        if expect is not None:
            self.assertEqual(layertext.read(made, attributes), expect)
        if umoci:
            self.assertSameTree(made, oracle.umoci_raw_unpack(layout.path, "i", self.inner("umoci")), ignore=[undefined])
        if podman:
            self.assertSameTree(made, oracle.podman_mount(layout.path, "i", self.path("podman")), ignore=[undefined])
        return made

    def inner(self, name):
        """A path two directories below: a mistake of another tool must not reach ours."""
        place = self.path(name) / "in"
        place.mkdir(parents=True)
        return place / "rootfs"

    def refuse(self, layers, words, *options, umoci=True, **image):
        """The image is refused as unsafe or malformed, for the reason named (a pattern), and nothing is left; by umoci too, if true."""
        before = sorted(os.listdir(self.varve.roots))
        layout, reference, result = self.image(layers, **image)
        if result.status == 0:
            result = self.varve.run("install", *options, reference, status=UNSAFE)
        self.assertRegex(result.err, words)
        self.assertEqual(sorted(os.listdir(self.varve.roots)), before)
        if umoci:
            done = subprocess.run(["umoci", "raw", "unpack", "--image", f"{layout.path}:i", self.inner("umoci")],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertNotEqual(done.returncode, 0, done.stdout)
        return result

    def losses(self):
        """[(path, what)] of the last install's --json."""
        return sorted((l["path"], l["what"]) for l in self.last.json["lost"])


def descend(root, names):
    """A descriptor of the directory that names lead to, without a path: those of deep trees are longer than PATH_MAX."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = inner
    return fd


__all__ = ["Applied", "UNSAFE", "descend", "undefined"]
