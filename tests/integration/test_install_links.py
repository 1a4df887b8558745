# SPDX-License-Identifier: Apache-2.0
"""H15: where hard links have a limit or do not exist, further names are copies of our own file."""

import os
import pathlib
import subprocess

from support import Case, Tar, binary, need_root, tree

NOBODY = 65534


class Copies(Case):
    def setUp(self):
        super().setUp()
        need_root()
        tar = Tar().file("f", "body", mode=0o4750, mtime=7, xattrs={"user.k": "v"}).hardlink("d/g", "f")
        tar.file("closed", "secret", mode=0, mtime=8).hardlink("d/closed", "closed")
        tar.sparse("s", 1 << 20, [(512 << 10, b"x" * 4096)], mtime=9).hardlink("d/s", "s")
        tar.symlink("l", "f", mtime=10).hardlink("d/l", "l").fifo("p", mode=0o640, mtime=11).hardlink("d/p", "p")
        image = self.layout()
        image.image("i", [tar])
        subprocess.run(["chmod", "-R", "a+rX", image.path], check=True)
        self.image = image.path
        self.command = self.dir / "varve"
        self.command.write_bytes(pathlib.Path(binary()).read_bytes())
        self.command.chmod(0o755)

    def check(self, error, user):
        home = self.path("home")
        home.mkdir()
        os.chown(home, user, user)
        varve = self.new_varve()
        varve.home, varve.store, varve.roots = home, home / "store", home / "roots"

        def run(*args, prefix=()):
            env = varve.env()
            env["ASAN_OPTIONS"] += ":detect_leaks=0"
            done = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *prefix, self.command, *args],
                                  cwd="/", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done

        run("import", self.image, "local/i:1")
        done = run("install", "local/i:1", "--name", "t",
                   prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=linkat:error={error}"])
        self.assertIn("5 other things", done.stderr)
        found = tree.scan(varve.roots / "rootfs_t")
        for one, other in ((b"f", b"d/g"), (b"closed", b"d/closed"), (b"s", b"d/s"), (b"l", b"d/l"), (b"p", b"d/p")):
            names = [{k: v for k, v in found[n].items() if k not in ("inode", "ino", "links", "link", "nlink")} for n in (one, other)]
            self.assertEqual(*names)
        self.assertEqual(found[b"closed"]["mode"], "0o0")
        self.assertLess((varve.roots / "rootfs_t/d/s").stat().st_blocks * 512, 512 << 10)
        run("check", "--installed", "t")

    def test_other_device(self):
        self.check("EXDEV", 0)

    def test_where_there_are_none(self):
        """Android, FUSE, vfat."""
        for error in ("EACCES", "ENOSYS", "EPERM"):
            with self.subTest(error):
                self.check(error, 0)

    def test_limit_as_ordinary_user(self):
        self.check("EMLINK", NOBODY)

    def test_forbidden(self):
        self.check("EPERM", NOBODY)


class Places(Case):
    def test_an_attribute_that_does_not_fit(self):
        """ext4 says "no space" of a value larger than its block."""
        layout = self.layout()
        layout.image("i", [Tar().file("f", "x", xattrs={"user.large": "v" * 5000, "user.k": "v"})])
        self.varve.roots = self.loop(32 << 20)
        self.varve.run("import", layout.path, "x:1")
        self.assertIn("1 xattr", self.varve.run("install", "x:1", "-n", "t").err)
        self.assertEqual(os.listxattr(self.varve.roots / "rootfs_t/f"), ["user.k"])
        self.varve.run("check", "-i", "t")

    def test_an_owner_that_is_not_mapped(self):
        """As root of a container with 65,536 ids: what can be kept is kept."""
        need_root()
        layout = self.layout()
        layout.image("i", [Tar().file("www", "x", uid=33, gid=33).file("npm", "y", uid=718322462, gid=454177323)
                           .file("half", "z", uid=33, gid=454177323).symlink("link", "x", uid=718322462)])
        self.varve.run("import", layout.path, "x:1")
        script = ("import os,subprocess,sys; r,w=os.pipe(); a,b=os.pipe(); p=os.fork()\n"
                  "if not p: os.close(b); os.unshare(os.CLONE_NEWUSER) if hasattr(os,'unshare') else __import__('ctypes').CDLL(None).unshare(0x10000000); "
                  "os.write(w,b'x'); os.read(a,1); os.execvp(sys.argv[1],sys.argv[1:])\n"
                  "os.read(r,1)\nfor f in 'uid','gid': open(f'/proc/{p}/{f}_map','w').write('0 0 65536')\n"
                  "os.write(b,b'x'); sys.exit(os.waitstatus_to_exitcode(os.waitpid(p,0)[1]))")
        prefix = ["python3", "-c", script]
        done = self.varve.run("install", "x:1", "-n", "t", prefix=prefix)
        self.assertIn("3 owners", done.err)
        owners = [os.lstat(self.varve.roots / "rootfs_t" / n) for n in ("www", "npm", "half", "link")]
        self.assertEqual([(s.st_uid, s.st_gid) for s in owners], [(33, 33), (0, 0), (33, 0), (0, 0)])
        self.varve.run("check", "-i", "t", prefix=prefix)
