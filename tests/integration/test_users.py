# SPDX-License-Identifier: Apache-2.0
"""Users and hooks on real trees: Debian, Alpine and BusyBox, carried in both directions."""

import gzip
import json
import os
import pathlib
import subprocess

from support import Case, Tar, binary, need_data, need_root, samples

def debian():
    return samples.minbase_tar()


def one(pattern):
    found = sorted(need_data().glob(pattern))
    assert found, pattern
    return gzip.decompress(found[0].read_bytes())


def alpine():
    return one("raw/alpinelinux/*/*/x86_64/*.tar.gz")


def busybox():
    return one("raw/docker-library/busybox/*/latest/glibc/amd64/rootfs.tar.gz")


class Users(Case):
    def setUp(self):
        super().setUp()
        need_root()
        (self.dir / "hooks").mkdir()

    def have(self, name, tar):
        image = self.layout()
        image.image(name, [tar])
        self.varve.run("import", image.path, f"local/{name}:1")
        return f"local/{name}:1"

    def install(self, ref, *more, **kw):
        hooks = () if "--no-hooks" in more else ("--hooks", self.dir / "hooks")
        return self.varve.run("install", ref, "--name", ref.split("/")[1].replace(":", "_"), *hooks, *more, **kw)

    def lines(self, tree, name):
        path = self.varve.roots / tree / "etc" / name
        return path.read_text().splitlines() if path.exists() else None

    def entry(self, tree, name, key):
        found = [line for line in self.lines(tree, name) or [] if line.startswith(key + ":")]
        self.assertLessEqual(len(found), 1, f"{name} of {tree} has {key} twice")
        return found[0].split(":") if found else None

    def runs_in(self, tree, *command):
        return subprocess.run(["chroot", self.varve.roots / tree, *command], stdout=subprocess.PIPE, text=True, check=True).stdout

    def both_ways(self, first, second):
        """A user made in `first` goes into `second`, and from there back into a fresh `first`."""
        a, b = self.have(first.__name__, first()), self.have(second.__name__, second())
        self.install(a, "--switch", "--no-hooks")
        for name, line in (("passwd", "me:x:1234:1234:Me:/home/me:/bin/sh"), ("shadow", "me:$6$hash:19000:0:99999:7:::"),
                           ("group", "me:x:1234:")):
            path = self.varve.roots / "rootfs/etc" / name
            if path.exists():
                path.write_text(path.read_text().rstrip("\n") + "\n" + line)  # and no final newline
        has_shadow = self.lines("rootfs", "shadow") is not None
        tree = f"rootfs_{second.__name__}_1"
        self.install(b, "--user", "me")
        self.assertEqual(self.entry(tree, "passwd", "me")[2:6], ["1234", "1234", "Me", "/home/me"])
        self.assertEqual(self.entry(tree, "group", "me")[2], "1234")
        if has_shadow:
            self.assertEqual(self.entry(tree, "shadow", "me")[1], "$6$hash")
            mode = (self.varve.roots / tree / "etc/shadow").stat().st_mode & 0o7777
            self.assertIn(mode, (0o600, 0o640, 0))
        home = (self.varve.roots / tree / "home/me").stat()
        self.assertEqual((home.st_uid, home.st_gid, home.st_mode & 0o777), (1234, 1234, 0o700))
        self.assertIn("uid=1234", self.runs_in(tree, "/usr/bin/id" if second is debian else "/bin/busybox", *(["id"] if second is not debian else []), "me"))
        self.varve.run("switch", f"{second.__name__}_1")
        self.varve.run("install", a, "--name", "back", "--user", "me", "--no-hooks")
        self.assertEqual(self.entry("rootfs_back", "passwd", "me")[2:4], ["1234", "1234"])

    def test_debian_and_alpine(self):
        self.both_ways(debian, alpine)

    def test_alpine_and_debian(self):
        self.both_ways(alpine, debian)

    def test_busybox_and_alpine(self):
        self.both_ways(busybox, alpine)

    def test_debian_and_busybox(self):
        self.both_ways(debian, busybox)

    def test_groups_and_conflicts(self):
        """sudo in Debian, wheel in Alpine; a user of the image that has the uid already."""
        source = self.path("old")
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/bash\n")
        (source / "etc/shadow").write_text("root:$6$r:::::::\nme:$6$me:::::::\n")
        (source / "etc/shadow").chmod(0)
        (source / "etc/group").write_text("me:x:1000:\n")
        taken = Tar().file("etc/passwd", "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n")
        taken.file("etc/group", "root:x:0:\nsudo:x:27:\nubuntu:x:1000:\n").file("etc/shadow", "root:*:::::::\n", mode=0)
        taken.dir("home").file("bin/sh", "", mode=0o755)
        ref = self.have("taken", taken)
        result = self.install(ref, "--user", "me", "--user-from", source, "--groups", "sudo,wheel", "--groups", "ubuntu")
        self.assertEqual(self.entry("rootfs_taken_1", "group", "ubuntu")[3], "me")
        self.assertIn("1001", result.err)
        self.assertIn("wheel", result.err)
        self.assertEqual(self.entry("rootfs_taken_1", "passwd", "me")[2:4], ["1001", "1001"])
        self.assertEqual(self.entry("rootfs_taken_1", "group", "sudo")[3], "me")
        self.assertEqual(self.entry("rootfs_taken_1", "shadow", "root")[1], "$6$r")
        self.assertEqual((self.varve.roots / "rootfs_taken_1/etc/shadow").stat().st_mode & 0o7777, 0)
        self.install(ref, "--force", "--user", "nobody-knows", "--user-from", source, status=3)
        self.assertEqual(self.entry("rootfs_taken_1", "passwd", "me")[2], "1001")  # the old tree stays

    def test_bad_names(self):
        """Said before anything is looked up or written: the image of these commands is nowhere."""
        source = self.path("old")
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/bash\n")
        for status, words, args in (
                (2, "a:b", ["--user", "a:b"]), (2, "name of a group", ["--user", "me", "--groups", "sudo,"]),
                (2, "x y", ["--user", "me", "--groups", "sudo,x y"]), (3, "/etc/passwd of", ["--user", "you"])):
            result = self.varve.run("--offline", "install", "local/none:1", *args, "--user-from", source, status=status)
            self.assertIn(words, result.err)

    def test_wsl_conf(self):
        """--wsl-*: the file is as asked, keys of the image stay, and the default user is there or nothing is."""
        image = Tar().dir("etc").dir("home").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("etc/group", "root:x:0:\n")
        image.file("etc/wsl.conf", "[automount]\nenabled = false\n[boot]\ncommand = x\n")
        image.file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755)
        ref = self.have("plain", image)
        source = self.path("old")
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
        tree = self.varve.roots / "rootfs_plain_1"
        result = self.install(ref, "--wsl-user", "me", status=3)
        self.assertIn("--wsl-user", result.err)
        self.assertFalse(tree.exists())
        self.install(ref, "--user", "me", "--user-from", source, "--wsl-user", "me", "--wsl-hostname", "box", "--wsl-systemd", "on")
        text = (tree / "etc/wsl.conf").read_text()
        self.assertEqual([line.replace(" ", "") for line in text.splitlines() if line.strip()],
                         ["[automount]", "enabled=false", "[boot]", "systemd=true", "command=x", "[user]", "default=me", "[network]", "hostname=box"])
        (self.dir / "hooks/hook_postinstall_all.sh").write_text("#!/bin/sh\necho you:x:7:7::/:/bin/sh >> /etc/passwd\n")
        self.install(ref, "--force", "--wsl-user", "you")
        self.assertRegex((tree / "etc/wsl.conf").read_text(), "default *= *you")

    def test_d10_d11_hostile_image(self):
        """/etc, /etc/passwd, /root, /proc and /dev of the image lead to the host: nothing there is touched (D10, D11)."""
        host = self.path("host")
        host.mkdir()
        for name in ("passwd", "shadow", "group", "gshadow"):
            (host / name).write_text("host\n")
        before = {p.name: (p.read_text(), p.stat().st_mtime_ns) for p in host.iterdir()}
        stamp = host.stat().st_mtime_ns
        (self.dir / "hooks/hook_postinstall_all.sh").write_text("#!/bin/sh\necho hook ran\n")
        links = Tar().symlink("etc", os.fspath(host))
        single = Tar().dir("etc")
        for name in ("passwd", "shadow", "group", "gshadow"):
            single.symlink(f"etc/{name}", os.path.relpath(host / name, "/etc"))
        for i, image in enumerate((links, single)):
            for name in ("root", "proc", "dev", "home"):
                image.symlink(name, os.fspath(host))
            ref = self.have(f"evil{i}", image)
            self.install(ref, "--user", "root", "--user-from", "host", status=None)
            self.install(ref, "--force", "--user", "daemon", "--user-from", "host", status=None)
            self.install(ref, "--force", "--wsl-systemd", "on", status=None)
        self.assertEqual({p.name: (p.read_text(), p.stat().st_mtime_ns) for p in host.iterdir()}, before)
        self.assertEqual(host.stat().st_mtime_ns, stamp)

    def test_m10_owners_through_subordinate_ids(self):
        """--userns: an ordinary user's tree keeps the owners of its image, mapped; it can be replaced and removed."""
        home = self.path("home")
        home.mkdir()
        os.chown(home, 65533, 65533)
        tables = self.path("tables")
        tables.mkdir()
        for name in ("subuid", "subgid"):
            (tables / name).write_text("65533:300000:65536\n")
        (tables / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + "tester:x:65533:65533::/:/bin/sh\n")
        tar = Tar().dir(".").file("a", "x", uid=33, gid=34).dir("closed", mode=0o700, uid=5).file("closed/f", "y", uid=5)
        tar.chardev("null", 1, 3).file("far", "z", uid=70000)
        near = Tar().dir(".").file("a", "x", uid=33, gid=34).dir("closed", mode=0o700, uid=5).file("closed/f", "y", uid=5)
        image = self.layout()
        image.image("far", [tar])
        image.image("near", [near.chardev("null", 1, 3)])
        self.varve.home, self.varve.store, self.varve.roots = home, home / "store", home / "roots"
        command = self.dir / "varve"
        command.write_bytes(pathlib.Path(binary()).read_bytes())
        command.chmod(0o755)

        def run(*args, status=0):
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c", f"for i in subuid subgid passwd; do mount --bind {tables}/$i /etc/$i; done;"
                 ' exec setpriv --reuid=65533 --regid=65533 --clear-groups "$@"', "sh", command, *args],
                cwd="/", env=self.varve.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, status, done.stderr)
            return done

        subprocess.run(["chmod", "-R", "a+rX", image.path], check=True)
        for name in ("near", "far"):
            run("import", image.path, f"local/{name}:1", "--path", name)
        done = run("install", "local/near:1", "--name", "n", "--userns")
        self.assertIn("1 device", done.stderr)
        tree = self.varve.roots / "rootfs_n"
        self.assertEqual((tree.stat().st_uid, (tree / "a").stat().st_uid, (tree / "a").stat().st_gid), (65533, 300032, 300033))
        self.assertEqual((tree / "closed/f").stat().st_uid, 300004)
        # The record says how it was made: nobody has to.
        for options in ([], ["--userns"]):
            self.assertEqual(run("diff", *options, "n").stdout, "")
            run("check", "--installed", "n", *options, "--read-data")
        os.chown(tree / "a", 300000, 300033)
        for options in ([], ["--userns"]):
            self.assertEqual(run("check", "--installed", "n", *options, status=4).stdout, "~ a  (owner)\n")
        run("install", "local/near:1", "--name", "n", "--userns", "--force")
        done = run("install", "local/far:1", "--name", "f", "--userns")  # 70000 is not among the ids
        self.assertIn("none that this user namespace maps", done.stderr)
        self.assertIn("1 owner", done.stderr)
        tree = self.varve.roots / "rootfs_f"
        self.assertEqual(((tree / "a").stat().st_uid, (tree / "a").stat().st_gid), (300032, 300033))
        self.assertEqual(((tree / "far").stat().st_uid, (tree / "far").stat().st_gid), (65533, 65533))
        self.assertEqual(run("diff", "f").stdout, "")
        # A kept generation of it, too.
        run("install", "local/far:1", "--name", "f", "--userns", "--force", "--keep", "1")
        run("remove", "--installed", "--previous", "f")
        run("remove", "--installed", "f", "n")
        self.assertEqual([p for p in self.varve.roots.iterdir()], [])
        # Made anew, the owners stay mapped: they need the same ids.
        registry = self.registry()
        ref = registry.push(image, "near", "team/app", "1")
        run("install", ref, "--name", "r", "--userns")
        image.image("newer", [near, Tar().file("b", "new", uid=7)])
        registry.push(image, "newer", "team/app", "1")
        run("install", "--force", "--all-outdated")
        tree = self.varve.roots / "rootfs_r"
        self.assertEqual(((tree / "a").stat().st_uid, (tree / "b").stat().st_uid), (300032, 300006))
        run("install", ref, "--name", "plain")
        registry.push(image, "near", "team/app", "1")
        self.assertIn("give --userns, too", run("install", "--force", "--all-outdated", status=2).stderr)
        registry.push(image, "newer", "team/app", "1")
        self.assertIn("without it", run("install", "--force", "--all-outdated", "--userns", status=2).stderr)

    def test_hooks(self):
        ref = self.have("busybox", busybox())
        hooks = self.dir / "hooks"
        (hooks / "hook_postinstall_all.sh").write_bytes(b"#!/bin/sh\r\necho all $REGULARUSER $VARVE_LABEL\r\n")
        (hooks / "hook_postinstall_busybox_1.sh").write_text("#!/bin/sh\necho label; echo x > /made\n")
        before = set(os.listdir("/proc/self/fd"))
        result = self.install(ref, "--user", "root", "--user-from", "host")
        self.assertRegex(result.err, r"all \S* ?busybox_1")
        self.assertTrue((self.varve.roots / "rootfs_busybox_1/made").exists())
        self.assertEqual(os.listdir(self.varve.roots / "rootfs_busybox_1/root"), [])
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)
        (hooks / "hook_postinstall_all.sh").write_text("#!/bin/sh\nexit 7\n")
        result = self.install(ref, "--force", status=1)
        self.assertIn("status 7", result.err)
        self.install(ref, "--force", "--hook-errors", "warn")
        self.install(ref, "--force", "--no-hooks")
        self.assertFalse((self.varve.roots / "rootfs_busybox_1/made").exists())
        (hooks / "hook_postinstall_all.sh").write_text("#!/bin/sh\nsleep 100\n")
        result = self.install(ref, "--force", "--hook-timeout", "1s", status=1, timeout=30)
        self.assertIn("too long", result.err)
        left = [p.name for p in self.varve.roots.iterdir() if ".new." in p.name]
        self.assertEqual(left, [])

    def test_resolver(self):
        """A hook has the host's names, as a copy: what it writes there stays in the tree, and the host's file is as it was."""
        image = Tar().dir("etc").symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf").dir("root").dir("bin")
        image.file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755)
        plain = Tar().dir("etc").file("etc/resolv.conf", "image\n").dir("root").dir("bin")
        plain.file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755)
        linked, plain = self.have("linked", image), self.have("plain", plain)
        host = self.path("resolv.conf")
        host.write_text("nameserver 127.0.0.9\n")
        hook = self.dir / "hooks/hook_postinstall_all.sh"

        def install(text, ref=linked):
            hook.write_text("#!/bin/sh\n" + text)
            args = [os.fspath(binary()), "--store", self.varve.store, "--roots", self.varve.roots, "install", "--force", ref,
                    "--name", "t" if ref == linked else "p", "--hooks", self.dir / "hooks"]
            done = subprocess.run(["unshare", "-m", "sh", "-c", f'mount --bind {host} /etc/resolv.conf; exec "$@"', "sh", *args],
                                  env=self.varve.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(host.read_text(), "nameserver 127.0.0.9\n")
            self.assertEqual([n for n in os.listdir(self.varve.roots / "rootfs_t/etc") if n != "resolv.conf"], [])
            return done.stderr

        etc = self.varve.roots / "rootfs_t/etc"
        self.assertIn("nameserver 127.0.0.9", install("while read -r line; do echo $line; done < /etc/resolv.conf\n"))
        self.assertEqual(os.readlink(etc / "resolv.conf"), "../run/systemd/resolve/stub-resolv.conf")
        install("echo nameserver 127.0.0.7 > /etc/resolv.conf\n")
        self.assertEqual((etc / "resolv.conf").read_text(), "nameserver 127.0.0.7\n")
        self.assertFalse((etc / "resolv.conf").is_symlink())
        install("echo nameserver 127.0.0.7 >> /etc/resolv.conf\n", plain)
        self.assertEqual((self.varve.roots / "rootfs_p/etc/resolv.conf").read_text(), "nameserver 127.0.0.9\nnameserver 127.0.0.7\n")
        install(":\n", plain)
        self.assertEqual((self.varve.roots / "rootfs_p/etc/resolv.conf").read_text(), "image\n")

    def test_hooks_of_a_file(self):
        """A file's name says which hooks are meant, as a reference does."""
        tar = self.dir / "rootfs_debian_sid.tar"
        tar.write_bytes(Tar().dir("root").file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755).bytes())
        for name in ("all", "debian", "debian_sid", "localhost_debian"):
            (self.dir / f"hook_postinstall_{name}.sh").write_text(f"#!/bin/sh\necho {name}=$VARVE_IMAGE=$VARVE_TAG\n")
        result = self.varve.run("install", "./rootfs_debian_sid.tar", "--hooks", ".", cwd=self.dir)
        self.assertEqual([line for line in result.err.splitlines() if "=" in line],
                         ["all=debian=sid", "debian=debian=sid", "debian_sid=debian=sid"])

    def test_hooks_directory(self):
        """--hooks, VARVE_HOOKS and the configuration, in this order; never what happens to lie here."""
        image = Tar().dir("root").file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755)
        ref = self.have("plain", image)
        places = {}
        for name in ("said", "variable", "configured", "here"):
            places[name] = self.path(name)
            places[name].mkdir()
            (places[name] / "hook_postinstall_all.sh").write_text(f"#!/bin/sh\necho from=${{0##*/}}={name}\n")
        config = self.path("config.json")
        config.write_text(json.dumps({"hooks": os.fspath(places["configured"])}))
        said, variable, configured = ["--hooks", places["said"]], {"VARVE_HOOKS": places["variable"]}, ["--config", config]
        for wanted, before, after, env in (("said", configured, said, variable), ("variable", configured, [], variable),
                                           ("configured", configured, [], {}), (None, [], [], {})):
            result = self.varve.run(*before, "install", "--force", ref, *after, env=env, cwd=places["here"])
            self.assertEqual([line.rpartition("=")[2] for line in result.err.splitlines() if line.startswith("from=")],
                             [wanted] if wanted else [])
        self.assertIn("hook_postinstall_all.sh is here and was not run", result.err)
        config.write_text('{"hooks": "."}')
        self.assertIn("=here", self.varve.run(*configured, "install", "--force", ref, cwd=places["here"]).err)
        self.varve.run("--config", config, "config", "check")
        config.write_text('{"hooks": "relative"}')
        self.assertIn("absolute", str(self.varve.run("--config", config, "config", "check", status=2)))
