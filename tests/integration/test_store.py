# SPDX-License-Identifier: Apache-2.0
"""The store over its life: last use, what gc takes by which option, what comes back after a loss."""

import json
import pathlib
import random
import subprocess
import tarfile
import time

from support import Case, Tar, Varve, binary, need_root

HOUR, DAY = 3600, 86400


class StoreCase(Case):
    """Images in a registry, and a tool that moves their last use back."""

    def setUp(self):
        super().setUp()
        self.server = self.registry()

    def push(self, name, size=3000, shared=None):
        """An image with a layer of its own, and perhaps one more; returns its reference."""
        layout = self.layout()
        own = Tar().dir("d").file("d/f", f"{name} " * size)
        layout.image("x", [*([shared] if shared else []), own])
        return self.server.push(layout, "x", name, "1")

    def backdate(self, seconds, store=None):
        tool = pathlib.Path(binary()).resolve().parents[1] / "tests/integration/backdate"
        subprocess.run([tool, store or self.varve.store, str(seconds)], check=True)

    def image(self, ref):
        """The one image of that name in the list; None if it is not there."""
        return next((i for i in self.varve.json("list")["images"] if i["reference"] == ref), None)

    def last_used(self, ref):
        """Seconds since the last use."""
        text = self.image(ref)["last_used"]
        return time.time() - time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) + time.timezone


class LastUse(StoreCase):
    def test_every_use_counts(self):
        ref = self.push("used")
        self.varve.run("pull", ref)
        self.varve.run("install", "--name", "there", ref)
        uses = [["pull", ref], ["--offline", "pull", ref], ["cat", ref, "d/f"], ["files", ref], ["install", "--name", "new", ref],
                ["install", "--force", "--name", "there", ref], ["--offline", "install", "--pull", "never", "--name", "off", ref],
                ["export", "--format", "tar", "-o", self.path("out.tar"), ref]]
        for use in uses:
            with self.subTest(use=use):
                self.backdate(2 * HOUR)
                self.assertGreater(self.last_used(ref), HOUR)
                self.varve.run(*use)
                self.assertLess(self.last_used(ref), 60)
        for look in (["list"], ["inspect", ref], ["df"], ["check"], ["gc", "--dry-run"]):
            with self.subTest(look=look):
                self.backdate(2 * HOUR)
                self.varve.run(*look)
                self.assertGreater(self.last_used(ref), HOUR)

    def test_once_an_hour(self):
        ref = self.push("used")
        self.varve.run("pull", ref)
        self.backdate(HOUR // 2)
        self.varve.run("cat", ref, "d/f")
        self.assertGreater(self.last_used(ref), HOUR // 4)

    def test_older_than(self):
        old, new = self.push("old"), self.push("new")
        self.varve.run("pull", old, new)
        self.backdate(40 * DAY)
        self.varve.run("gc", "--older-than", "60d")
        self.assertTrue(self.image(old) and self.image(new))
        self.varve.run("cat", new, "d/f")
        self.varve.run("gc", "--older-than", "30d")
        self.assertIsNone(self.image(old))
        self.assertTrue(self.image(new))


class Installed(StoreCase):
    def test_its_image_stays(self):
        ref = self.push("tree")
        digest = self.varve.json("pull", ref)["images"][0]["manifest"]
        self.varve.run("install", "--name", "tree", ref)
        self.varve.run("remove", ref)
        said = self.varve.run("remove", digest, status=1).err
        self.assertIn("varve remove --installed tree", said)
        self.varve.run("gc")
        self.server.stop()
        self.varve.run("tag", digest, "again:1")
        self.varve.run("--offline", "install", "again:1")
        self.assertCleanStore()


class Gc(StoreCase):
    """Each option of gc by the command."""

    def three(self, varve=None, size=700):
        """Three pulled images, the first one used the longest ago; layers of about a megabyte."""
        varve = varve or self.varve
        refs = []
        for i in range(3):
            layout = self.layout()
            layout.image("x", [Tar().file("f", random.Random(i).randbytes(size << 10))], compression="none")
            refs.append(self.server.push(layout, "x", f"team/i{i}", "1"))
            varve.run("pull", refs[i])
            self.backdate(DAY, varve.store)
        return refs

    def names(self, varve=None):
        return sorted(i["reference"] for i in (varve or self.varve).json("list")["images"])

    def test_max_size(self):
        refs = self.three()
        self.varve.run("cat", refs[0], "f")
        said = self.varve.json("gc", "--max-size", "1700K")
        self.assertEqual(self.names(), sorted([refs[0], refs[2]]))
        tag = next(i for i in said["items"] if i["what"] == "tag")
        self.assertEqual(tag["name"], refs[1])
        self.assertGreater(tag["own_size"], 700 << 10)
        self.assertEqual(tag["size"], tag["own_size"] + tag["shared_size"])
        out = self.varve.run("gc", "--max-size", "900K", "--dry-run").out
        self.assertIn("of its own, 0 B shared", out)
        self.varve.run("pin", refs[2])
        self.varve.run("gc", "--max-size", "0", status=3)
        self.assertEqual(self.names(), [refs[2]])
        self.varve.run("unpin", refs[2])
        self.varve.run("gc", "--max-size", "0")
        self.assertEqual(self.varve.json("df")["blobs"], 0)

    def test_keep(self):
        refs = self.three()
        self.varve.run("gc", "--older-than", "1h", "--keep", "*i0:1", "--keep", refs[2])
        self.assertEqual(self.names(), sorted([refs[0], refs[2]]))
        self.varve.run("gc", "--older-than", "0s")
        self.assertEqual(self.names(), [])

    def test_grace(self):
        refs = self.three()
        self.varve.run("remove", refs[0])
        before = self.varve.json("df")["blobs"]
        self.varve.run("gc", "--grace", "1h")
        self.assertEqual(self.varve.json("df")["blobs"], before)
        self.varve.run("gc")
        self.assertEqual(self.varve.json("df")["blobs"], before - 3)

    def test_min_free(self):
        varve = Varve(self.path("v"), store=self.tmpfs("32M") / "store")
        refs = self.three(varve, 8 << 10)
        varve.run("gc", "--min-free", "1M")
        self.assertEqual(self.names(varve), sorted(refs))
        varve.run("gc", "--min-free", "10M")
        self.assertEqual(self.names(varve), sorted(refs[1:]))
        varve.run("gc", "--min-free", "60%")
        self.assertEqual(self.names(varve), [refs[2]])
        varve.run("gc", "--min-free", "99%", status=3)
        self.assertEqual(self.names(varve), [])

    def test_without_nameless_temporaries(self):
        """A file system without O_TMPFILE: documents take a name in tmp/ for a moment."""
        ref = self.push("plain")
        self.varve.run("pull", ref, prefix=["strace", "-f", "-qq", "-o", self.path("log"), "-P", "tmp", "-e", "trace=openat",
                                            "-e", "inject=openat:error=EOPNOTSUPP"])
        self.assertCleanStore()
        self.assertEqual([p.name for p in (self.varve.store / "tmp").iterdir()], ["partial"])


class Lost(StoreCase):
    """What was lost comes back from what is left."""

    def test_database_and_installs(self):
        """The files beside the trees are enough, in the roots dir that is asked for."""
        ref, other = self.push("team/tree"), self.push("team/other")
        self.varve.run("install", "--name", "tree", ref)
        self.varve.run("pull", other)
        self.varve.run("remove", ref)
        (self.varve.store / "db/data.mdb").unlink()
        (self.varve.store / "installs.json").unlink()
        said = self.varve.run("check", "--rebuild")
        self.assertIn("1 tree was recorded again", said.out)
        self.assertNotRegex(said.err + said.out, "(?m)^error|warning")
        (tree,) = self.varve.json("list", "--installed")["trees"]
        self.assertEqual((tree["label"], tree["reference"]), ("tree", ref))
        self.assertIn('"tree"', (self.varve.store / "installs.json").read_text())
        self.varve.run("gc")
        self.server.stop()
        self.varve.run("cat", tree["manifest"], "d/f")
        self.assertCleanStore()

    def test_switch_records_again(self):
        ref = self.push("team/tree")
        self.varve.run("install", "--name", "tree", ref)
        (self.varve.store / "db/data.mdb").unlink()
        (self.varve.store / "installs.json").unlink()
        roots = self.path("elsewhere")
        roots.mkdir()
        self.varve.run("--roots", roots, "check", "--rebuild")
        self.varve.run("switch", "tree")
        self.varve.run("remove", ref)
        self.varve.run("gc")
        (tree,) = self.varve.json("list", "--installed")["trees"]
        self.varve.run("cat", tree["manifest"], "d/f")
        self.assertCleanStore()

    def test_backup(self):
        ref = self.push("team/tree")
        self.varve.run("install", "--name", "tree", ref)
        backup = Varve(self.path("b"), roots=self.varve.roots)
        backup.store.mkdir(parents=True)
        for name in ("blobs", "index.json", "installs.json"):
            subprocess.run(["cp", "-a", self.varve.store / name, backup.store], check=True)
        said = backup.run("pull", ref, status=1).err
        self.assertIn("is the backup of a store", said)
        backup.run("check", "--rebuild")
        self.server.stop()
        backup.run("--offline", "install", "--name", "again", ref)
        self.assertEqual(sorted(t["label"] for t in backup.json("list", "--installed")["trees"]), ["again", "tree"])
        self.assertCleanStore(backup)
        # A layout of another tool is none.
        layout = self.layout()
        layout.image("x", [Tar().file("f", "x")])
        self.assertIn("of another tool", self.varve.run("--store", layout.path, "check", "--rebuild", status=None).err)

    def test_no_store_yet(self):
        """gc and check have nothing to do where there is none, and make none."""
        for command in (["gc"], ["gc", "--dry-run"], ["check"], ["check", "--repair"], ["check", "--rebuild"]):
            said = self.varve.run(*command)
            self.assertIn("there is no store yet", said.err)
            self.assertTrue(self.varve.json(*command))
            self.assertFalse(self.varve.store.exists())


class AtOnce(StoreCase):
    def test_imports_of_one_content(self):
        """They wait for each other instead of failing."""
        archive = self.path("in.tar")
        archive.write_bytes(Tar().file("big", random.Random(1).randbytes(8 << 20)).file("small", "x").bytes())
        running = [self.varve.popen("import", archive, f"same{i}:1") for i in range(6)]
        for process in running:
            _, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err.decode())
        self.assertEqual(len(self.varve.json("list")["images"]), 6)
        self.varve.run("check", "--read-data")


class LowerStores(StoreCase):
    """A store of the site, mounted read-only: what it holds is listed, installed and never changed."""

    def setUp(self):
        super().setUp()
        need_root()
        self.shared = Tar().file("shared", "s" * 40_000)
        self.one, self.two = self.push("one", shared=self.shared), self.push("two", shared=self.shared)
        site = Varve(self.path("site"))
        site.run("pull", self.one)
        self.point = self.path("mounted")
        self.point.mkdir()
        subprocess.run(["mount", "--bind", site.store, self.point], check=True)
        self.addCleanup(subprocess.run, ["umount", self.point], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.point], check=True)
        config = self.path("config.json")
        config.write_text(json.dumps({"lower": [str(self.point)]}))
        self.config = {"VARVE_CONFIG": str(config)}
        self.varve.run("pull", self.two, env=self.config)

    def listed(self, ref):
        return next(i for i in self.varve.json("list", env=self.config)["images"] if i["reference"] == ref)

    def test_list_and_inspect(self):
        one, two = self.listed(self.one), self.listed(self.two)
        self.assertEqual((one["lower"], one["own_size"], one["shared_size"]), (str(self.point), 0, 0))
        self.assertIsNone(two["lower"])
        self.assertTrue(two["complete"])
        here = sum(b["size"] for b in self.varve.json("list", "--blobs", env=self.config)["blobs"] if b["present"])
        self.assertEqual(two["own_size"] + two["shared_size"], here, "what the site holds is not counted")
        self.assertLess(here, two["size"])
        self.assertIn("lower", self.varve.run("list", env=self.config).out)
        self.assertEqual(self.varve.json("inspect", self.one, env=self.config)["image"]["lower"], str(self.point))

    def test_install_without_the_network(self):
        self.server.stop()
        for ref in (self.one, self.two):
            self.varve.run("--offline", "install", ref, env=self.config)
            self.assertEqual((self.varve.tree(ref) / "shared").read_text(), "s" * 40_000)
        self.varve.run("check", env=self.config)

    def test_names(self):
        """A name or a pin copies the record; the blobs stay where they are."""
        self.varve.run("tag", self.one, "mine:1", env=self.config)
        self.varve.run("pin", self.one, env=self.config)
        one = self.listed(self.one)
        self.assertEqual((one["lower"], one["pinned"], one["complete"], one["own_size"]), (None, True, True, 0))
        self.assertIn("docker.io/library/mine:1", [i["reference"] for i in self.varve.json("list", env=self.config)["images"]])
        self.varve.run("gc", env=self.config)
        self.varve.run("check", env=self.config)
        self.varve.run("--offline", "install", self.one, env=self.config)


class RepairFromFiles(Case):
    """Blobs of imported images come again from the file that they were imported from, without any network."""

    def damage_each(self, ref, how, only):
        """Every blob of the image in turn (or those of `only`); what a repair says to each."""
        manifest = self.varve.json("inspect", ref)["image"]["manifest"]
        document = json.loads(self.varve.run("inspect", "--raw", "manifest", ref).out)
        for digest in only or (manifest, document["config"]["digest"], *(layer["digest"] for layer in document["layers"])):
            how(self.varve.blob(digest))
            yield self.varve.run("--offline", "check", "--read-data", "--repair", status=None)

    @staticmethod
    def flip(path):
        path.chmod(0o644)
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    def assertHealed(self, ref, only=()):
        for how in (self.flip, pathlib.Path.unlink):
            for result in self.damage_each(ref, how, only):
                self.assertEqual(result.status, 0, str(result))
                self.assertIn("fetched again", result.out + result.err)
        self.varve.run("check", "--read-data")

    def layout_of(self, *names):
        layout = self.layout()
        for name in names:
            layout.image(name, [Tar().dir("d").file("d/f", name * 3000), Tar().file("g", name)])
        return layout

    def test_layout(self):
        layout = self.layout_of("a")
        self.varve.run("import", layout.path, "local/a:1")
        self.assertHealed("local/a:1")

    def test_archives(self):
        layout = self.layout_of("a")
        tar = self.dir / "layout.tar"
        subprocess.run(["tar", "-cf", tar, "-C", layout.path, "."], check=True)
        self.varve.run("import", tar, "local/oci:1")
        self.assertHealed("local/oci:1")
        docker = self.dir / "docker.tar"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout.path}:a", f"docker-archive:{docker}:x/y:1"], check=True)
        self.varve.run("import", docker, "local/docker:1")
        document = json.loads(self.varve.run("inspect", "--raw", "manifest", "local/docker:1").out)
        self.assertHealed("local/docker:1", [layer["digest"] for layer in document["layers"]])

    def test_rootfs(self):
        """The layer is the file itself. Changed or gone, that is said, and nothing else is taken for it."""
        tar = self.dir / "rootfs_a_b.tar.gz"
        subprocess.run(["gzip", "-n"], input=Tar().file("f", "x" * 9000).bytes(), stdout=open(tar, "wb"), check=True)
        self.varve.run("import", tar)
        layer = json.loads(self.varve.run("inspect", "--raw", "manifest", "localhost/a:b").out)["layers"][0]["digest"]
        for how in (self.flip, pathlib.Path.unlink):
            how(self.varve.blob(layer))
            self.varve.run("--offline", "check", "--read-data", "--repair")
        self.varve.run("check", "--read-data")
        was = tar.read_bytes()
        for content in (was[:-1] + b"X", b"", b"short", None):
            self.flip(self.varve.blob(layer)) if self.varve.blob(layer).exists() else None
            tar.unlink() if content is None else tar.write_bytes(content)
            result = self.varve.run("--offline", "check", "--read-data", "--repair", status=4)
            self.assertIn(str(tar), result.out + result.err)
            self.assertFalse(self.varve.blob(layer).exists())
        tar.write_bytes(was)
        healed = self.varve.json("check", "--repair")
        self.assertEqual((healed["repaired"], healed["bytes"]), (1, self.varve.json("check")["bytes"]))
        self.varve.run("--offline", "install", "localhost/a:b")


class OlderStore(Case):
    """A store of an earlier version, whose records have fewer members: it is used as it is, and brought forward as it is written."""

    FROZEN = pathlib.Path(__file__).parent / "data/store-records-1.tar.xz"
    ONE, TWO = "127.0.0.1:5123/team/one:1", "127.0.0.1:5123/team/two:1"

    def setUp(self):
        super().setUp()
        place = self.path("old")
        with tarfile.open(self.FROZEN) as archive:
            archive.extractall(place)
        self.varve.store = place / "store"

    def names(self):
        return {i["name"]: i for i in self.varve.json("list")["images"]}

    def test_read_and_written(self):
        names = self.names()
        self.assertEqual(sorted(names), [self.ONE, self.TWO, "local/file:1", "mine:2"])
        self.assertEqual([n for n, i in names.items() if i["pinned"]], [self.TWO])
        self.assertTrue(all(i["complete"] for i in names.values()))
        self.varve.run("check", "--read-data")
        self.varve.run("list", "--installed")
        self.varve.run("--offline", "install", "mine:2")
        self.assertEqual((self.varve.tree("mine:2") / "one").read_text(), "1")
        self.varve.run("tag", self.TWO, "new:1")
        self.varve.run("remove", self.TWO, "local/file:1")
        self.varve.run("gc")
        self.assertEqual(sorted(self.names()), [self.ONE, "mine:2", "new:1"])
        self.varve.run("check", "--read-data")
        self.varve.run("--offline", "install", "new:1")
        self.assertFalse((self.varve.tree("new:1") / "etc/name").exists())

    def test_read_only(self):
        """Nothing is brought forward where nothing can be written."""
        need_root()
        subprocess.run(["mount", "--bind", self.varve.store, self.varve.store], check=True)
        self.addCleanup(subprocess.run, ["umount", self.varve.store], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", self.varve.store], check=True)
        self.assertEqual(len(self.names()), 4)
        self.varve.run("--offline", "install", "mine:2")
        self.assertEqual((self.varve.tree("mine:2") / "one").read_text(), "1")

    def test_rebuild(self):
        """Its index is lost: what index.json and installs.json of that version say is enough."""
        (self.varve.store / "db/data.mdb").unlink()
        self.varve.run("check", "--rebuild", status=(0, 4))
        names = self.names()
        self.assertEqual(sorted(names), [self.ONE, self.TWO, "local/file:1", "mine:2"])
        self.assertTrue(names[self.TWO]["pinned"])
        self.varve.run("check", "--read-data")

    def test_newer(self):
        """A feature that this version does not know, and a higher number: refused, and nothing is touched."""
        version = self.varve.store / "VERSION"
        was = version.read_text()
        for text in (was.replace("incompat:", "incompat: sharded-blobs"), was.replace("varve 1", "varve 2")):
            version.write_text(text)
            before = (self.varve.store / "db/data.mdb").read_bytes()
            for command in (["list"], ["gc"], ["check", "--rebuild"], ["pull", self.ONE]):
                result = self.varve.run(*command, status=(1, 2, 3, 4, 5, 6, 7))
                self.assertIn("newer varve", result.err)
            self.assertEqual((self.varve.store / "db/data.mdb").read_bytes(), before)
