# SPDX-License-Identifier: Apache-2.0
"""The main job: pull from Debian's docker-registry, keep every layer once, build the tree that umoci builds."""

import json
import os
import subprocess

from support import Case, EMPTY_LAYER_DIGEST, Layout, Tar, compress, need_data, need_root, oracle, samples, tree
from support.image import DOCKER_MANIFEST

# nginx in front of the registry that hides what the client accepts: the registry then answers schema1, as to a
# client of 2015.
OLD_CLIENT = "location / { proxy_pass http://%s; proxy_set_header Host $http_host; proxy_set_header Accept ''; }"


class Trees(Case):
    """`install` makes the tree that `umoci unpack` makes, in every path and attribute."""

    def setUp(self):
        super().setUp()
        need_root()

    def served(self, make, *args, name="image", **options):
        """Make a sample, push it; returns the registry and the reference."""
        layout = self.layout()
        make(layout, name, *args)
        registry = self.registry(**options)
        return registry, registry.push(layout, name, "team/" + make.__name__, "1")

    def compare(self, ref, theirs=None, ignore=(), options=()):
        """Install, compare with umoci; then again offline over the first, from the stored tocs."""
        theirs = theirs or oracle.pull(ref, self.path("oracle"))
        theirs = tree.scan(theirs)
        self.varve.run("install", *options, ref)
        self.assertSameTree(self.varve.tree(ref), theirs, ignore)
        self.varve.run("--offline", "install", "--force", *options, ref)
        self.assertSameTree(self.varve.tree(ref), theirs, ignore)
        self.assertCleanStore(self.varve, "--read-data")

    def test_zstd(self):
        layout = self.layout()
        samples.flat(layout, "gzip")
        config = json.loads(layout.read(layout.find("gzip")))
        tar = subprocess.run(["gzip", "-dc"], input=layout.read(config["layers"][0]), stdout=subprocess.PIPE,
                             check=True).stdout
        upper = Tar().file("etc/upper", "u", mtime=5).dir("etc", mtime=6).bytes()
        for name, how in (("zstd", "zstd"), ("same", "gzip")):
            layout.image(name, [compress(tar, how), compress(upper, how)])
        ref = self.registry().push(layout, "zstd", "team/zstd", "1")
        # umoci 0.4.7 cannot read zstd: it unpacks the same layers as gzip.
        self.compare(ref, oracle.umoci_unpack(layout.path, "same", self.path("bundle")))

    def test_plain_tar_layers(self):
        layout = self.layout()
        samples.flat(layout, "plain", compression="none")
        self.compare(self.registry().push(layout, "plain", "team/plain", "1"))

    def test_docker_schema2(self):
        layout = self.layout()
        samples.flat(layout, "docker", docker=True)
        self.compare(self.registry().push(layout, "docker", "library/docker", "1"))

    def test_two_platforms(self):
        layout = self.layout()
        amd = layout.manifest([Tar().dir(".", mtime=1).file("arch", "amd64", mtime=2)])
        arm = layout.manifest([Tar().dir(".", mtime=1).file("arch", "arm64", mtime=2)], platform=("linux", "arm64", "v8"))
        layout.index("multi", [(("linux", "arm64", "v8"), arm), (("linux", "amd64", ""), amd)])
        layout.tag("amd", amd)
        layout.tag("arm", arm)
        ref = self.registry().push(layout, "multi", "team/multi", "1")
        for name, platform in (("amd", "linux/amd64"), ("arm", "linux/arm64")):
            self.varve.run("install", "--name", name, "--platform", platform, ref)
            self.assertSameTree(self.varve.roots / f"rootfs_{name}",
                                oracle.umoci_unpack(layout.path, name, self.path("bundle")))

    def test_schema1_from_the_registry(self):
        """A real schema1 manifest: docker-registry signs one for a client that accepts no other kind."""
        registry, ref = self.served(samples.empty_layers)
        old = self.nginx(OLD_CLIENT % registry.address)
        kind = json.loads(oracle.skopeo_inspect(f"docker://{old.address}/team/empty_layers:1", "--raw"))
        self.assertEqual(kind["schemaVersion"], 1)
        self.compare(ref.replace(registry.address, old.address), oracle.pull(ref, self.path("oracle")))

    def test_schema1_pushed(self):
        """Schema1 that skopeo wrote and pushed."""
        layout = self.layout()
        samples.empty_layers(layout, "image")
        registry = self.registry(schema1=True)
        registry.push(layout, "image", "team/new", "1")
        old = registry.skopeo_push(f"docker://{registry.address}/team/new:1", "team/old", "1", "--format", "v2s1",
                                   "--src-tls-verify=false")
        self.compare(old, oracle.pull(f"{registry.address}/team/new:1", self.path("oracle")))

    def test_alpine(self):
        self.compare(self.served(samples.alpine, need_data())[1])

    def test_busybox(self):
        self.compare(self.served(samples.busybox, need_data())[1])

    def test_debian_minbase(self):
        layout = self.layout()
        samples.minbase(layout, "minbase")
        registry = self.registry()
        ref = registry.skopeo_push(f"oci:{layout.path}:minbase", "library/minbase", "1")
        self.compare(ref)

    def test_implied_parents(self):
        """Directories that no entry names: 0755 root, with the time of the entry that made them (umoci: now)."""
        layout = self.layout()
        layout.image("image", [Tar().dir(".", mtime=1).file("a/b/c", "x", mtime="77.5", uid=5, gid=6)])
        ref = self.registry().push(layout, "image", "team/implied", "1")
        times = {b".": 1_000_000_000, b"a": 77_500_000_000, b"a/b": 77_500_000_000}
        implied = (lambda path, key, mine, theirs: key == "mtime" and times.get(path) == mine,)
        self.compare(ref, ignore=implied)

    def test_time_beyond_the_file_system(self):
        """Clamped to what the file system keeps (umoci: wraps around)."""
        layout = self.layout()
        layout.image("image", [Tar().dir(".", mtime=1).file("f", "x", mtime=99999999999999)])
        ref = self.registry().push(layout, "image", "team/late", "1")
        self.varve.run("install", ref)
        self.assertGreater(os.stat(self.varve.tree(ref) / "f").st_mtime, 2 ** 31)


def _sample_test(make):
    def test(self):
        self.compare(self.served(make)[1])
    test.__doc__ = make.__doc__
    return test


for _make in samples.SAMPLES:
    setattr(Trees, "test_" + _make.__name__, _sample_test(_make))


class Once(Case):
    """The access log of the registry: every blob is downloaded once."""

    def assertOnce(self, registry, digests):
        counts = registry.downloads()
        self.assertEqual({d: counts.get(d, 0) for d in digests}, {d: 1 for d in digests}, registry.log()[-3000:])
        self.assertEqual([d for d, n in counts.items() if n > 1], [])

    def test_named_twice_in_one_manifest(self):
        layout = self.layout()
        samples.empty_layers(layout, "image")
        registry = self.registry()
        ref = registry.push(layout, "image", "team/empty", "1")
        document = json.loads(layout.read(layout.find("image")))
        self.assertEqual([l["digest"] for l in document["layers"]].count(EMPTY_LAYER_DIGEST), 3)
        self.varve.run("pull", ref)
        self.assertOnce(registry, {l["digest"] for l in document["layers"]} | {document["config"]["digest"]})

    def test_shared_by_two_images(self):
        layout = self.layout()
        base = Tar().dir("d").file("d/f", os.urandom(100_000))
        registry = self.registry()
        refs = []
        for name in ("one", "two"):
            layout.image(name, [base, Tar().file(name, name)])
            refs.append(registry.push(layout, name, "team/" + name, "1"))
        shared = json.loads(layout.read(layout.find("one")))["layers"][0]["digest"]
        self.varve.run("pull", *refs)
        self.assertOnce(registry, [shared])
        # The same in two commands.
        later = self.new_varve()
        registry.forget_log()
        for ref in refs:
            later.run("pull", ref)
        self.assertOnce(registry, [shared])

    def test_two_processes_at_once(self):
        layout = self.layout()
        data = os.urandom(6 << 20)
        descriptor = layout.image("image", [Tar().file("f", data), Tar().file("g", data[::-1])])
        document = json.loads(layout.read(descriptor))
        registry = self.registry()
        registry.push(layout, "image", "team/slow", "1")
        # A slow line between, so that the second comes while the first is at work.
        slow = self.nginx("location / { proxy_pass http://%s; proxy_set_header Host $http_host; limit_rate 3m; }"
                          % registry.address)
        ref = f"{slow.address}/team/slow:1"
        pulls = [self.varve.popen("pull", ref) for _ in range(4)]
        for process in pulls:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err.decode())
        self.assertOnce(registry, [l["digest"] for l in document["layers"]] + [document["config"]["digest"]])
        self.assertCleanStore(self.varve, "--read-data")

    def test_unchanged_image_costs_one_request(self):
        layout = self.layout()
        samples.flat(layout, "image")
        registry = self.registry()
        ref = registry.push(layout, "image", "team/flat", "1")
        self.varve.run("pull", ref)
        registry.forget_log()
        self.varve.run("pull", ref)
        requests = [r for r in registry.requests() if r["path"] not in ("/v2/", "/v2")]
        self.assertEqual([(r["method"], r["status"]) for r in requests], [("HEAD", 200)], requests)

    def test_second_platform_shares(self):
        """Two platforms of one index: what both name is there once and comes once."""
        layout = self.layout()
        shared = Tar().file("data", os.urandom(50_000))
        amd = layout.manifest([shared, Tar().file("amd", "1")])
        arm = layout.manifest([shared, Tar().file("arm", "1")], platform=("linux", "arm64", "v8"))
        layout.index("multi", [(("linux", "amd64", ""), amd), (("linux", "arm64", "v8"), arm)])
        registry = self.registry()
        ref = registry.push(layout, "multi", "team/multi", "1")
        self.varve.run("pull", "--platform", "linux/amd64", ref)
        self.varve.run("pull", "--platform", "linux/arm64", ref)
        self.assertOnce(registry, [json.loads(layout.read(amd))["layers"][0]["digest"]])


class OtherTools(Case):
    """The store is an OCI image layout: skopeo and umoci read it where it is."""

    def test_skopeo_and_umoci_read_the_store(self):
        need_root()
        layout = self.layout()
        registry = self.registry()
        refs = {}
        for make in (samples.hardlinks, samples.flat):
            make(layout, make.__name__)
            refs[make.__name__] = registry.push(layout, make.__name__, "team/" + make.__name__, "1")
        self.varve.run("pull", *refs.values())
        registry.stop()
        self.assertEqual(json.loads((self.varve.store / "oci-layout").read_text())["imageLayoutVersion"], "1.0.0")
        store = Layout.existing(self.varve.store)
        for name, ref in refs.items():
            known = [d["annotations"]["org.opencontainers.image.ref.name"] for d in store._names]
            self.assertIn(ref, known)
            self.assertEqual(store.find(ref)["digest"], layout.find(name)["digest"])
            theirs = oracle.umoci_unpack(layout.path, name, self.path("bundle"))
            copied = self.path("copied")
            oracle.skopeo_copy(f"oci:{self.varve.store}:{ref}", f"oci:{copied}:x")
            self.assertSameTree(oracle.umoci_unpack(copied, "x", self.path("bundle")), theirs)
            self.assertSameTree(oracle.umoci_unpack(self.varve.store, ref, self.path("bundle")), theirs)
            inspected = json.loads(oracle.skopeo_inspect(f"oci:{self.varve.store}:{ref}"))
            self.assertEqual(inspected["Digest"], layout.find(name)["digest"])
        listed = subprocess.run(["umoci", "ls", "--layout", self.varve.store], stdout=subprocess.PIPE, text=True, check=True)
        for ref in refs.values():
            self.assertIn(ref, listed.stdout.splitlines())
        # They have only read.
        self.varve.run("check", "--read-data")

    def test_manifest_bytes_are_kept(self):
        """What skopeo copies out of the store has the digest it had in the registry."""
        layout = self.layout()
        samples.empty_layers(layout, "image")  # schema2
        registry = self.registry()
        ref = registry.push(layout, "image", "team/kept", "1")
        self.varve.run("pull", ref)
        descriptor = layout.find("image")
        self.assertEqual(descriptor["mediaType"], DOCKER_MANIFEST)
        self.assertEqual(self.varve.blob(descriptor["digest"]).read_bytes(), layout.read(descriptor))


class Job(Case):
    """pull, install, switch, list, remove, gc in the order a person uses them."""

    def test_the_whole_way(self):
        layout = self.layout()
        registry = self.registry()
        base = Tar().dir(".", mtime=1).dir("etc", mtime=2).file("etc/name", "base", mtime=3)
        refs = {}
        for name in ("one", "two"):
            layout.image(name, [base, Tar().file("etc/name", name, mtime=4).dir("etc", mtime=5)])
            refs[name] = registry.push(layout, name, "team/" + name, "1")
        self.varve.run("pull", refs["one"])
        self.varve.run("install", refs["one"])
        self.varve.run("install", "--switch", refs["two"])
        active = self.varve.roots / "rootfs"
        self.assertEqual((active / "etc/name").read_text(), "two")
        self.assertFalse(active.is_symlink())
        self.varve.run("switch", refs["one"])
        self.assertEqual((active / "etc/name").read_text(), "one")
        self.assertTrue(self.varve.tree(refs["two"]).is_dir())
        self.assertFalse(self.varve.tree(refs["one"]).exists())
        out = self.varve.run("list").out
        for ref in refs.values():
            self.assertIn(ref, out)
        registry.stop()
        self.varve.run("--offline", "install", "--force", refs["two"])
        self.assertEqual((self.varve.tree(refs["two"]) / "etc/name").read_text(), "two")
        for command in (["inspect", refs["one"]], ["plan", refs["one"]], ["df"], ["gc", "--dry-run"], ["gc"], ["check"],
                        ["list", "--installed"], ["list", "--blobs"]):
            document = self.varve.json(*command)
            self.assertIn("schema", document, command)
        self.varve.run("switch", refs["two"])
        before = self.blobs()
        self.varve.run("remove", refs["one"])
        self.varve.run("gc")
        self.assertEqual(self.blobs(), before, "an installed tree keeps its image")
        self.varve.run("remove", "--installed", self.varve.tree(refs["one"]).name.removeprefix("rootfs_"))
        self.varve.run("gc")
        self.varve.run("--offline", "install", refs["one"], status=(3, 5))
        self.varve.run("--offline", "install", "--force", refs["two"])
        self.assertCleanStore(self.varve, "--read-data")

    def blobs(self):
        return sorted(os.listdir(self.varve.store / "blobs/sha256"))


class Threads(Case):
    """Everything that runs in parallel, once: tests/run tsan runs this class under ThreadSanitizer."""

    def test_pull_and_install(self):
        layout = self.layout()
        layers = []
        for i in range(12):
            tar = Tar().dir(f"d{i}", mtime=1)
            for j in range(60):
                tar.file(f"d{i}/f{j}", os.urandom(3000) * 3, mtime=2)
            layers.append(tar.file(f"d{i}/big", os.urandom(1 << 20), mtime=3))
        layout.image("image", layers)
        layout.image("plain", layers[:6], compression="none")
        registry = self.registry()
        refs = [registry.push(layout, n, "team/" + n, "1") for n in ("image", "plain")]
        self.varve.run("pull", *refs)
        for ref in refs:
            self.varve.run("install", ref)
        self.varve.run("install", "--force", refs[0])
        self.assertCleanStore(self.varve, "--read-data")
        self.assertEqual(len(list(self.varve.tree(refs[0]).glob("d*/f*"))), 12 * 60)
