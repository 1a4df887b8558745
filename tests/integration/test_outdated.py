# SPDX-License-Identifier: Apache-2.0
"""outdated and install --all-outdated: each tree is asked about where it came from, and made anew as it was made."""

import json
import pathlib

import test_sources_official
from support import Case, Tar, need_root

AMD, ARM = ("linux", "amd64", ""), ("linux", "arm64", "v8")


class Reinstall(Case):
    def setUp(self):
        super().setUp()
        self.layout_ = self.layout()
        self.server = self.registry()

    def push(self, name, text, base=()):
        """An index of two platforms under team/NAME:1."""
        images = [(p, self.layout_.manifest([*base, Tar().file("which", f"{text} {p[1]}")], platform=p)) for p in (AMD, ARM)]
        self.layout_.index(name, images)
        return self.server.push(self.layout_, name, "team/" + name, "1")

    def items(self, *args, **kw):
        return {i["label"]: i for i in self.varve.json("outdated", "--installed", *args, **kw)["items"]}

    def which(self, label):
        return (self.varve.roots / f"rootfs_{label}" / "which").read_text()

    def test_platform(self):
        """A tree of another platform stays one; its tag in the store may be gone."""
        ref = self.push("app", "old")
        self.varve.run("install", "--name", "amd", ref)
        self.varve.run("install", "--platform", "linux/arm64", "--name", "arm", ref)
        self.varve.run("remove", "--platform", "linux/arm64", ref)
        self.varve.run("remove", ref)
        self.assertEqual({k: i["state"] for k, i in self.items().items()}, {"arm": "current", "amd": "current"})
        self.push("app", "new")
        self.varve.run("install", "--force", "--all-outdated")
        self.assertEqual((self.which("arm"), self.which("amd")), ("new arm64", "new amd64"))

    def test_goes_on(self):
        """One that cannot be made anew is told, and the others are made."""
        refs = [self.push(name, "old") for name in ("a", "b", "c")]
        for name, ref in zip("abc", refs):
            self.varve.run("install", "--name", name, ref)
        for name in "abc":
            self.push(name, "new " + name)
        lost = json.loads(self.layout_.read(self.layout_.find("b")))["manifests"][0]["digest"]
        layer = json.loads((self.layout_.path / "blobs/sha256" / lost[7:]).read_text())["layers"][0]["digest"]
        self.server.blob_file(layer).unlink()
        done = self.varve.json("install", "--force", "--all-outdated", status=(3, 4))
        self.assertEqual([i["label"] for i in done["installs"]], ["a", "c"])
        self.assertEqual((done["failed"], done["unknown"], done["current"]), (1, 0, 0))
        self.assertEqual((self.which("a"), self.which("b"), self.which("c")), ("new a amd64", "old amd64", "new c amd64"))

    def test_settings(self):
        """Users, groups and wsl.conf of the first install; a password that was changed since then."""
        need_root()
        base = Tar().dir("home").dir("bin").file("bin/sh", "", mode=0o755).file("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        base.file("etc/group", "root:x:0:\nsudo:x:27:\nwheel:x:10:\n").file("etc/shadow", "root:*:::::::\n", mode=0o600)
        source = self.path("old")
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
        (source / "etc/shadow").write_text("root:*:::::::\nme:$6$old:::::::\n")
        ref = self.push("app", "old", [base])
        self.varve.run("install", "--name", "t", ref, "--user", "me", "--user-from", source, "--groups", "sudo,wheel", "--wsl-user", "me",
                       "--wsl-systemd", "on")
        etc = self.varve.roots / "rootfs_t/etc"
        (etc / "shadow").write_text((etc / "shadow").read_text().replace("$6$old", "$6$new"))
        conf = (etc / "wsl.conf").read_text()
        self.push("app", "new", [base])
        for text in ("new", "newer"):
            if text == "newer":  # from installs.json alone
                (self.varve.store / "db/data.mdb").unlink()
                self.varve.run("check", "--rebuild")
                self.push("app", text, [base])
            done = self.varve.json("install", "--force", "--all-outdated")
            self.assertEqual(done["installs"][0]["user"]["name"], "me")
            self.assertIn("me:x:1000:1000:", (etc / "passwd").read_text())
            self.assertIn("me:$6$new:", (etc / "shadow").read_text())
            self.assertIn("sudo:x:27:me\nwheel:x:10:me\n", (etc / "group").read_text())
            self.assertEqual((etc / "wsl.conf").read_text(), conf)
        self.assertEqual(self.which("t"), "newer amd64")

    def test_making(self):
        """Hooks, --no-chown and --keep-dirlinks of the first install, from wherever the command runs."""
        need_root()
        shell = Tar().dir("bin").file("bin/busybox", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755).symlink("bin/sh", "busybox")
        base = [shell.dir("real").symlink("d", "real").file("mine", "", uid=7), Tar().dir("d").file("d/f", "through")]
        ref = self.push("app", "old", base)
        hooks = self.path("hooks")
        hooks.mkdir()
        (hooks / "hook_postinstall_all.sh").write_text("#!/bin/sh\necho $VARVE_LABEL >> /made\n")
        self.varve.run("install", "--name", "t", "--hooks", hooks.name, "--no-chown", "--keep-dirlinks", ref, cwd=self.dir)
        self.varve.run("install", "--name", "none", "--no-hooks", ref, cwd=hooks)
        self.push("app", "new", base)
        self.varve.run("install", "--force", "--all-outdated", cwd=hooks)
        for label, owner, made, through in (("t", 0, True, True), ("none", 7, False, False)):
            tree = self.varve.roots / ("rootfs_" + label)
            self.assertEqual(self.which(label), "new amd64")
            self.assertEqual((tree / "mine").stat().st_uid, owner)
            self.assertEqual((tree / "made").exists(), made)
            self.assertEqual((tree / "d").is_symlink(), through)
        # The directory of the hooks has gone: that tree is told, and stays.
        hooks.rename(self.dir / "moved")
        self.push("app", "newer", base)
        self.assertIn(str(hooks), self.varve.run("install", "--force", "--all-outdated", status=(1, 3, 7)).err)
        self.assertEqual((self.which("t"), self.which("none")), ("new amd64", "newer amd64"))

    def test_not_asked(self):
        """Trees of files and of digests: said, and no registry hears of them, whatever became of their names in the store."""
        tar = self.dir / "rootfs_debian_sid.tar"
        tar.write_bytes(Tar().file("f", "x").bytes())
        self.varve.run("install", tar)
        self.varve.run("import", tar, f"{self.server.address}/team/mine:1")
        self.varve.run("install", "--name", "named", f"{self.server.address}/team/mine:1")
        ref = self.push("app", "old")
        self.varve.run("install", "--name", "app", ref)
        for name in [i["name"] for i in self.varve.json("list")["images"]]:
            self.varve.run("remove", name)
        self.server.forget_log()
        items = self.items()
        self.assertEqual({k: i["state"] for k, i in items.items()}, {"debian_sid": "not-asked", "named": "not-asked", "app": "current"})
        self.assertIn("file", items["named"]["error"])
        self.assertEqual(self.server.requests(contains="team/mine"), [])
        result = self.varve.run("outdated", "--installed")
        self.assertIn("was not asked", result.err)
        self.assertEqual(self.varve.json("install", "--force", "--all-outdated")["not_asked"], 2)


class FromOfficial(test_sources_official.Official):
    """Not its tests again: only what it serves."""

    def test_moves(self):
        top = self.path("top")
        (top / "library").mkdir(parents=True)

        def publish(commit, text):
            folder = top / "raw/x/y" / commit
            folder.mkdir(parents=True)
            (folder / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
            (folder / "rootfs.tar").write_bytes(Tar().file("which", text).bytes())
            (top / "library/thing").write_text("Maintainers: x\nGitRepo: https://github.com/x/y.git\n\n"
                                               f"Tags: 1\nArchitectures: amd64\nGitCommit: {commit}\n")

        server = self.serve(top)
        config = self.config(server, "/library")
        publish("1" * 40, "old")
        self.varve.run("--config", config, "install", "--source", "official", "thing:1")
        self.varve.run("remove", "thing:1")

        def state():
            return self.varve.json("--config", config, "outdated", "--installed")["items"][0]["state"]

        self.assertEqual(state(), "current")
        publish("2" * 40, "new")
        server.seen.clear()
        self.assertEqual(state(), "outdated")
        self.assertEqual([path for path, _ in server.seen], ["/library/thing"])
        self.varve.run("--config", config, "install", "--force", "--all-outdated")
        self.assertEqual((self.varve.roots / "rootfs_thing_1/which").read_text(), "new")
        self.assertEqual(state(), "current")


for name in [n for n in dir(test_sources_official.Official) if n.startswith("test_")]:
    setattr(FromOfficial, name, None)  # those run where they are
del test_sources_official
