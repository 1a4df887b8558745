# SPDX-License-Identifier: Apache-2.0
"""Bad input, broken servers, Ctrl-C: one clear message, the right status, nothing lost."""

import gzip
import json
import os
import random
import signal
import subprocess
import time

from support import Case, Tar, binary, digest_of, free_port, need_root, samples
from support.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

SLOW = "location / { proxy_pass http://%s; proxy_set_header Host $http_host; limit_rate %s; }"


class BadInput(Case):
    def refused(self, status, *args, says=(), varve=None, **kw):
        """The command fails with `status`, one message that holds every word of `says`, and a clean store."""
        varve = varve or self.varve
        result = varve.run(*args, status=status, **kw)
        self.assertEqual(result.out, "", "an error is no result")
        errors = [line for line in result.err.splitlines() if line.startswith("varve: ")]
        self.assertEqual(len(errors), 1, result.err)
        for word in says:
            self.assertIn(word, result.err)
        self.assertNotIn("\x1b", result.err)
        as_json = varve.run("--json", *args, status=status, **kw)
        self.assertTrue(as_json.json["error"]["message"], as_json.out)
        self.assertTrue(as_json.json["error"]["code"], as_json.out)
        if (varve.store / "VERSION").exists() and os.access(varve.store, os.W_OK):
            self.assertCleanStore(varve)
        return result

    def test_unknown_host(self):
        self.refused(5, "pull", "registry.invalid/team/app:1", says=["registry.invalid"])

    def test_nobody_listens(self):
        port = free_port()
        self.refused(5, "pull", f"127.0.0.1:{port}/team/app:1", says=[f"127.0.0.1:{port}"])

    def test_no_such_repository_or_tag(self):
        layout = self.layout()
        samples.flat(layout, "image")
        registry = self.registry()
        registry.push(layout, "image", "team/app", "1")
        self.refused(3, "pull", f"{registry.address}/team/other:1", says=["team/other"])
        self.refused(3, "pull", f"{registry.address}/team/app:2", says=["team/app", "2"])
        self.refused(3, "install", f"{registry.address}/team/app:2", says=["team/app"])
        self.refused(3, "pull", f"{registry.address}/team/app@sha256:{'0' * 64}", says=["0000"])

    def test_no_such_platform(self):
        layout = self.layout()
        manifests = [(p, layout.manifest([Tar().file(p[1], "x")], platform=p))
                     for p in (("linux", "s390x", ""), ("linux", "arm", "v7"))]
        layout.index("multi", manifests)
        ref = self.registry().push(layout, "multi", "team/multi", "1")
        self.refused(3, "pull", "--platform", "linux/riscv64", ref, says=["riscv64", "linux/s390x", "linux/arm/v7"])
        self.refused(2, "pull", "--platform", "linux/", ref)

    def test_refused_credentials(self):
        layout = self.layout()
        samples.flat(layout, "image")
        registry = self.registry(htpasswd={"ann": "right"})
        ref = registry.push(layout, "image", "team/app", "1")
        self.refused(5, "pull", ref, says=[registry.address])
        auth = self.varve.home / "auth.json"
        for password, status in (("wrong-secret", 5), ("right", 0)):
            encoded = subprocess.run(["base64", "-w0"], input=f"ann:{password}".encode(), stdout=subprocess.PIPE).stdout
            auth.write_text(json.dumps({"auths": {registry.address: {"auth": encoded.decode()}}}))
            if status:
                result = self.refused(status, "pull", ref, says=[registry.address], env={"REGISTRY_AUTH_FILE": auth})
                self.assertNotIn("wrong-secret", result.err)
                self.assertNotIn(encoded.decode(), result.err)
            else:
                self.varve.run("pull", ref, env={"REGISTRY_AUTH_FILE": auth})

    def damaged(self, damage):
        """An image of two layers whose second blob was damaged in the registry. Returns (ref, digest, registry)."""
        layout = self.layout()
        layout.image("image", [Tar().file("a", os.urandom(50_000)), Tar().file("b", os.urandom(50_000))])
        registry = self.registry()
        ref = registry.push(layout, "image", "team/app", "1")
        digest = json.loads(layout.read(layout.find("image")))["layers"][1]["digest"]
        damage(registry.blob_file(digest))
        return ref, digest, registry, layout

    def test_blob_does_not_match(self):
        def flip(path):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        ref, digest, registry, layout = self.damaged(flip)
        self.refused(4, "pull", ref, says=[digest[7:19]])
        self.refused(4, "install", ref, says=[digest[7:19]])
        self.assertFalse(self.varve.blob(digest).exists())
        self.assertFalse(self.varve.tree(ref).exists())
        # The good neighbour was kept: mended, the pull asks for the bad one alone.
        registry.blob_file(digest).write_bytes(layout.read({"digest": digest}))
        registry.forget_log()
        self.varve.run("pull", ref)
        self.assertEqual(set(registry.downloads()), {digest})

    def test_blob_cut_short_in_the_registry(self):
        ref, digest, *_ = self.damaged(lambda path: os.truncate(path, 1000))
        self.refused((4, 5), "pull", ref, says=[digest[7:19]])
        self.assertFalse(self.varve.blob(digest).exists())

    def test_layer_that_ends_early(self):
        """Digests are right, the layer itself is broken: gzip cut, tar cut."""
        whole = Tar().file("a", os.urandom(100_000)).bytes()
        broken = {"gzip": gzip.compress(whole, mtime=0)[:50_000], "tar": gzip.compress(whole[:60_000], mtime=0),
                  "junk": gzip.compress(b"\xffnot a tar" * 500, mtime=0)}
        registry = self.registry()
        layout = self.layout()
        for name, blob in broken.items():
            config = layout.blob(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {
                "type": "layers", "diff_ids": [digest_of(whole[:60_000])]}}).encode(), OCI_CONFIG)
            manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
                        "layers": [layout.blob(blob, OCI_LAYER + "+gzip")]}
            layout.tag(name, layout.blob(json.dumps(manifest).encode(), OCI_MANIFEST))
            ref = registry.push(layout, name, "team/" + name, "1")
            self.refused(4, "install", ref, says=[manifest["layers"][0]["digest"][7:19]])
            self.assertFalse(self.varve.tree(ref).exists())

    def test_layer_of_another_diff_id(self):
        layout = self.layout()
        layout.image("image", [Tar().file("a", "x")], diff_ids=["sha256:" + "1" * 64])
        ref = self.registry().push(layout, "image", "team/app", "1")
        self.refused(4, "install", ref, says=["111111"])

    def test_manifest_of_5_mib(self):
        big = self.path("big")
        big.mkdir()
        (big / "m").write_bytes(b'{"schemaVersion": 2, "x": "' + b"a" * (5 << 20) + b'"}')
        nginx = self.nginx("location = /v2/ { return 200 '{}'; } location ~ ^/v2/.*/manifests/ { default_type "
                           "application/vnd.oci.image.manifest.v1+json; alias %s/m; }" % big)
        self.refused(4, "pull", f"{nginx.address}/team/app:1", says=["team/app"])

    def test_manifest_that_is_no_manifest(self):
        bodies = {"html": (b"<html>login first</html>", "text/html"), "array": (b"[]", OCI_MANIFEST),
                  "deep": (b"[" * 5000, OCI_MANIFEST), "empty": (b"", OCI_MANIFEST),
                  "traversal": (json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                                            "config": {"mediaType": OCI_CONFIG, "size": 2, "digest": "sha256:../../../x"},
                                            "layers": []}).encode(), OCI_MANIFEST)}
        folder = self.path("bodies")
        folder.mkdir()
        blocks = ""
        for name, (body, media) in bodies.items():
            (folder / name).write_bytes(body)
            blocks += f"location ~ ^/v2/team/{name}/manifests/ {{ default_type {media}; alias {folder}/{name}; }}\n"
        nginx = self.nginx("location = /v2/ { return 200 '{}'; }\n" + blocks)
        for name in bodies:
            with self.subTest(name):
                self.refused((4, 5), "pull", f"{nginx.address}/team/{name}:1", says=[f"team/{name}"])

    def test_bad_references(self):
        for ref in ("Foo//bar", "", "a:b:c", "lower/UPPER", "x@sha256:123", "-dash", "host/../etc", "a" * 300, "tag:" + "t" * 129):
            with self.subTest(ref):
                self.refused(2, "pull", "--", ref)

    def test_wrong_usage(self):
        for args in (["frobnicate"], ["pull"], ["pull", "--nosuch", "x"], ["install", "a", "b"], ["--store"], []):
            with self.subTest(args):
                result = self.varve.run(*args, status=2)
                self.assertEqual(result.out, "")
                self.assertIn("varve", result.err)

    def test_not_a_store(self):
        other = self.path("other")
        other.mkdir()
        (other / "precious").write_text("mine")
        (self.dir / "file").write_text("a file")
        layout = self.layout()
        samples.flat(layout, "image")
        ref = self.registry().push(layout, "image", "team/app", "1")
        for path in (other, self.dir / "file"):
            for command in (["list"], ["pull", ref], ["gc"], ["check"]):
                varve = self.new_varve()
                varve.store = path
                with self.subTest(path=path.name, command=command[0]):
                    result = varve.run(*command, status=1)
                    self.assertIn(str(path), result.err)
        self.assertEqual(os.listdir(other), ["precious"])

    def test_nothing_there_yet(self):
        """Commands that only look do not fail on, or make, a store that is not there."""
        self.assertEqual(self.varve.json("list")["images"], [])
        self.varve.run("install", "--offline", "nothing:1", status=(3, 5, 2))
        self.varve.run("switch", "nothing:1", status=3)
        self.varve.run("remove", "nothing:1", status=3)

    def test_read_only_store(self):
        need_root()
        layout = self.layout()
        samples.flat(layout, "one")
        samples.hardlinks(layout, "two")
        registry = self.registry()
        one, two = (registry.push(layout, n, "team/" + n, "1") for n in ("one", "two"))
        self.varve.run("pull", one)
        subprocess.run(["mount", "--bind", self.varve.store, self.varve.store], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.varve.store], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.varve.store], check=True)
        self.refused(1, "pull", two, says=[str(self.varve.store), "read-only"])
        self.refused(1, "gc", says=["read-only"])
        self.refused(1, "remove", one, says=["read-only"])
        registry.stop()
        self.varve.run("list")
        self.varve.run("--offline", "install", one)
        self.assertTrue((self.varve.tree(one) / "etc/hostname").exists())

    def test_broken_pipe_and_closed_output(self):
        layout = self.layout()
        samples.forty(layout, "image")
        self.varve.run("pull", self.registry().push(layout, "image", "team/app", "1"))
        done = subprocess.run(["sh", "-c", '"$1" list --blobs | head -n 1; "$1" list >&-; echo "status $?"', "sh", binary()],
                              env=self.varve.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertNotIn("status 0", done.stdout, "output that went nowhere is no success")
        full = subprocess.run(["sh", "-c", '"$1" list >/dev/full; echo "status $?"', "sh", binary()], env=self.varve.env(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertNotIn("status 0", full.stdout)


class Interrupted(Case):
    """Ctrl-C at random moments: status 130, a clean store, and a pull that goes on where it was."""

    def served_slowly(self, rate):
        layout = self.layout()
        layout.image("image", [Tar().dir("d").file(f"d/{i}", os.urandom(1 << 20)) for i in range(4)])
        registry = self.registry()
        registry.push(layout, "image", "team/app", "1")
        nginx = self.nginx(SLOW % (registry.address, rate))
        return nginx, f"{nginx.address}/team/app:1"

    def test_pull(self):
        nginx, ref = self.served_slowly("800k")
        seed = random.randrange(1 << 30)
        dice = random.Random(seed)
        for attempt in range(12):
            process = self.varve.popen("pull", ref)
            time.sleep(dice.uniform(0, 0.9))
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.fail(f"seed {seed}: Ctrl-C does not end it")
            self.assertIn(process.returncode, (130, -signal.SIGINT, 0), f"seed {seed}: {err.decode()}")
            if (self.varve.store / "VERSION").exists():
                self.assertCleanStore()
            if process.returncode == 0:
                break
        self.varve.run("pull", ref)
        self.assertCleanStore(self.varve, "--read-data")
        ranges = [r["range"] for r in nginx.requests("/blobs/") if r["range"]]
        self.assertTrue(ranges, f"seed {seed}: no request resumed")

    def test_resumed_pull_is_small(self):
        nginx, ref = self.served_slowly("700k")
        process = self.varve.popen("pull", ref)
        folder, deadline = self.varve.store / "tmp/partial", time.monotonic() + 30
        while not folder.is_dir() or sum(f.stat().st_size for f in folder.iterdir()) < 400_000:
            self.assertLess(time.monotonic(), deadline, "no partial file grows")
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        partial = sum(f.stat().st_size for f in folder.iterdir())
        self.assertGreater(partial, 200_000)
        before = sum(r["bytes"] for r in nginx.requests("/blobs/"))
        self.varve.run("pull", ref)
        after = sum(r["bytes"] for r in nginx.requests("/blobs/")) - before
        self.assertLess(after, (4 << 20) + 20_000 - 200_000)
        self.assertCleanStore(self.varve, "--read-data")

    def test_second_ctrl_c_ends_at_once(self):
        _, ref = self.served_slowly("50k")
        process = self.varve.popen("pull", ref)
        time.sleep(1)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        process.communicate(timeout=5)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertCleanStore()

    def test_install(self):
        layout = self.layout()
        tar = Tar()
        for i in range(2000):
            tar.file(f"f{i}", os.urandom(2000))
        layout.image("image", [tar])
        registry = self.registry()
        ref = registry.push(layout, "image", "team/app", "1")
        self.varve.run("pull", ref)
        registry.stop()
        dice = random.Random()
        for _ in range(10):
            process = self.varve.popen("--offline", "install", "--force", ref)
            time.sleep(dice.uniform(0, 0.5))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
            self.assertIn(process.returncode, (0, 130, -signal.SIGINT), err.decode())
            self.assertCleanStore()
        self.varve.run("--offline", "install", "--force", ref)
        self.assertEqual([n for n in os.listdir(self.varve.roots) if ".new." in n], [], "staging is left behind")
        self.assertEqual(len(os.listdir(self.varve.tree(ref))), 2000)
