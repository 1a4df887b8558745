# SPDX-License-Identifier: Apache-2.0
"""--source official: library files, Dockerfiles, tarballs and OCI layouts with link texts, from a plain file server."""

import gzip
import hashlib
import http.server
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import threading
import unittest

from support import Case, Tar, need_data, oracle

ALPINE = "alpinelinux/docker-alpine/7d63673353bd39d92ba42f6effcc199aeebd45ee"
BUSYBOX = "docker-library/busybox/70ce0fb98bee360bbcce132660d727bf6ce55a99"
COMMIT = "1" * 40


class Files(http.server.SimpleHTTPRequestHandler):
    """A plain file server; single ranges; a transfer can be cut once, after so many bytes."""

    protocol_version = "HTTP/1.1"
    cut = {}

    def do_GET(self):
        path = pathlib.Path(self.directory) / self.path.lstrip("/").partition("?")[0]
        self.server.seen.append((self.path, self.headers.get("Range")))
        if not path.is_file():
            self.send_error(404)
            return
        data, first = path.read_bytes(), 0
        ask = self.headers.get("Range")
        if ask:
            first = int(ask.removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        cut = self.server.cut.pop(path.name, None)
        self.wfile.write(data[first : first + cut if cut else None])
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *args):
        pass


class Official(Case):
    def serve(self, folder):
        handler = type("Handler", (Files,), {})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=os.fspath(folder)))
        server.seen, server.cut, server.daemon_threads = [], {}, True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def stop():
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(stop)
        return server

    def config(self, server, library):
        base = f"http://127.0.0.1:{server.server_address[1]}"
        path = self.path("config.json")
        path.write_text(json.dumps({"official": {
            "library": base + library + "/{image}",
            "hosts": {"github.com": base + "/raw/{repo}/{commit}/{path}", "gitlab.x": base + "/gl/{repo}/-/raw/{commit}/{path}"}}}))
        return path

    def real(self, date):
        data = need_data()
        server = self.serve(data)
        return data, server, self.config(server, f"/official-images/{date}/library")

    def test_alpine(self):
        data, server, config = self.real("2024-09-06")
        out = self.varve.json("--config", config, "pull", "--source", "official", "alpine:3.20.3")
        tarball = data / "raw" / ALPINE / "x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz"
        self.assertTrue(self.varve.blob(hashlib.sha256(tarball.read_bytes()).hexdigest()).exists())
        self.varve.run("--offline", "install", "alpine:3.20.3")
        theirs = self.path("theirs")
        theirs.mkdir()
        subprocess.run(["tar", "-xpf", tarball, "-C", theirs], check=True)
        self.assertSameTree(self.varve.tree("alpine:3.20.3"), theirs)
        # Where it came from: repository, commit and file; the URL of the blob.
        image = self.varve.json("inspect", "alpine:3.20.3")["image"]
        self.assertEqual(image["source"], "official")
        self.assertEqual(image["origin"], "https://github.com/alpinelinux/docker-alpine.git@" + ALPINE.rpartition("/")[2]
                         + ":x86_64/Dockerfile")
        # Again: only the library file is looked at. Under another name of the same commit: no second download.
        server.seen.clear()
        self.varve.run("--config", config, "pull", "--source", "official", "alpine:3.20.3")
        self.assertEqual(len(server.seen), 1)
        self.varve.run("--config", config, "pull", "--source", "official", "alpine:3.20")
        self.assertFalse([p for p, _ in server.seen if p.endswith(".tar.gz")])
        # The same file, imported: the same image, stored once.
        out = self.varve.json("import", tarball, "mine:1")["images"][0]
        self.assertEqual((out["bytes_new"], out["manifest"]), (0, image["manifest"]))
        self.assertCleanStore()
        # gc keeps what is named and takes it when it is not.
        self.varve.run("gc")
        self.varve.run("--offline", "install", "--force", "alpine:3.20.3")

    def test_other_architecture(self):
        data, _, config = self.real("2024-09-06")
        self.varve.run("--config", config, "pull", "--source", "official", "--platform", "linux/arm64", "alpine:3.20.3")
        self.assertIn("linux/arm64", self.varve.json("inspect", "alpine:3.20.3")["image"]["platform"])

    def test_busybox(self):
        data, server, config = self.real("2026-08-21")
        self.varve.run("--config", config, "pull", "--source", "official", "busybox:musl", "busybox:glibc")
        for kind in ("musl", "glibc"):
            folder = data / "raw" / BUSYBOX / f"latest/{kind}/amd64"
            layout = self.path("layout")
            shutil.copytree(folder, layout)
            for blob in (layout / "blobs/sha256").iterdir():  # the link texts, as git has them
                blob.write_bytes((blob.parent / blob.read_text().strip()).resolve().read_bytes())
            name = json.loads((layout / "index.json").read_text())["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
            self.varve.run("install", f"busybox:{kind}")
            self.assertSameTree(self.varve.tree(f"busybox:{kind}"), oracle.umoci_unpack(layout, name, self.path("b")))
            manifest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
            self.assertEqual(self.varve.json("inspect", f"busybox:{kind}")["image"]["manifest"], manifest)
        self.assertCleanStore()

    def test_real_failures(self):
        _, _, config = self.real("2026-08-21")

        def pull(name, status, says, *options):
            self.assertIn(says, self.varve.run("--config", config, "pull", "--source", "official", name, *options, status=status).err)

        pull("notary", 1, "no supported tags")
        pull("alpine:9.99", 3, "not in the library file")
        pull("nosuchimage", 3, "no official image")
        pull("alpine", 3, "not made for", "--platform", "linux/mips64le")
        pull("alpine", 3, "no official images for", "--platform", "linux/loong64")
        pull("example.com/x", 2, "no official image")
        pull("debian", 3, "404")
        self.assertNothingLeft()

    # --- made up, for what the real ones do not show ---

    def source(self, library, files):
        """A server with one library file "img" and the files of one commit of github.com/o/r."""
        top = self.path("www")
        (top / "library").mkdir(parents=True)
        (top / "library/img").write_text(library)
        for name, data in files.items():
            path = top / "raw/o/r" / COMMIT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        server = self.serve(top)
        self.top = top
        return server, self.config(server, "/library")

    LIBRARY = f"Maintainers: A (@a)\nGitRepo: https://github.com/o/r.git\nGitCommit: {COMMIT}\n\nTags: latest\nDirectory: d\n"

    def pull(self, config, status=0, varve=None, ref="img"):
        return (varve or self.varve).run("--config", config, "pull", "--source", "official", ref, status=status)

    def test_old_format(self):
        tar = Tar().file("f", "1").bytes()
        _, config = self.source(f"# maintainer: A\nlatest: git://github.com/o/r@{COMMIT} d\n",
                                {"d/Dockerfile": "FROM scratch\nADD root.tar /\n", "d/root.tar": tar})
        self.pull(config)
        self.assertEqual(self.varve.run("cat", "img", "f").out, "1")

    def test_dockerfiles(self):
        tar = Tar().file("f", "1").bytes()
        cases = (("FROM scratch\nADD root.tar /\nRUN rm /f\nRUN two\n", 0, "2 lines, first: RUN rm /f"),
                 ("FROM scratch\nCOPY root.tar /\n", 1, "varve pull img:latest"),
                 ("FROM debian\nADD root.tar /\n", 1, "builds on the image \"debian\""),
                 ("FROM scratch\nADD https://x/y.tar /\n", 1, "no file of the repository"),
                 ("FROM scratch\nADD ../../../x.tar /\n", 4, "leaves the tree"),
                 ("FROM scratch\nADD missing.tar /\n", 3, "404"),
                 ("FROM scratch\nADD page.html /\n", 4, "neither a tar"),
                 (None, 3, "404"))
        for text, status, says in cases:
            with self.subTest(text):
                files = {"d/root.tar": tar, "d/page.html": "<html>" * 100}
                if text:
                    files["d/Dockerfile"] = text
                _, config = self.source(self.LIBRARY, files)
                varve = self.new_varve()
                self.assertIn(says, self.pull(config, status, varve).err)
                if status:
                    self.assertNothingLeft(varve)

    def test_several_archives(self):
        """Each becomes a layer, in the order of the Dockerfile; a file that is there twice is fetched once."""
        one, two = Tar().file("f", "1").file("g", "old").bytes(), Tar().file("g", "new").bytes()
        for adds, g, asked in (("ADD one.tar /\nADD two.tar /\n", "new", 2), ("ADD two.tar one.tar /\n", "old", 2),
                               ('ADD ["one.tar", "two.tar", "one.tar", "/"]\n', "old", 2), ("ADD one.tar two.tar same.tar .\n", "new", 3)):
            with self.subTest(adds):
                server, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\n" + adds, "d/one.tar": one, "d/two.tar": two,
                                                            "d/same.tar": two})
                varve = self.new_varve()
                for store in (varve, varve):
                    self.assertNotIn("warning", self.pull(config, 0, store).err)
                    self.assertEqual(store.run("cat", "img", "f").out, "1")
                    self.assertEqual(store.run("cat", "img", "g").out, g)
                self.assertEqual(len([p for p, _ in server.seen if p.endswith(".tar")]), asked)
                self.assertCleanStore(varve, "--read-data")
                varve.run("install", "img")

    def test_options_that_change_the_archive(self):
        tar = Tar().file("f", "1").bytes()
        for option in ("--chown=1:2", "--chmod=755", "--exclude=*.x", "--unpack=false"):
            _, config = self.source(self.LIBRARY, {"d/Dockerfile": f"FROM scratch\nADD {option} root.tar /\n", "d/root.tar": tar})
            varve = self.new_varve()
            self.assertIn(option, self.pull(config, 1, varve).err)
            self.assertNothingLeft(varve)

    def test_hosts(self):
        """GitLab's and cgit's forms of an address, as the library files of Arch Linux and Ubuntu need them."""
        folder = self.path("web")
        places = {"gitlab.archlinux.org": ("archlinux/docker", "gl/archlinux/docker/-/raw/" + COMMIT, "/gl/{repo}/-/raw/{commit}/{path}"),
                  "git.launchpad.net": ("cloud/+oci/base", "cg/cloud/+oci/base/plain", "/cg/{repo}/plain/{path}?id={commit}")}
        server = self.serve(folder)
        base = f"http://127.0.0.1:{server.server_address[1]}"
        config = self.path("config.json")
        config.write_text(json.dumps({"official": {"library": base + "/library/{image}",
                                                   "hosts": {host: base + form for host, (_, _, form) in places.items()}}}))
        (folder / "library").mkdir(parents=True)
        for i, (host, (repo, place, _)) in enumerate(places.items()):
            (folder / place / "d").mkdir(parents=True)
            (folder / place / "d/Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
            (folder / place / "d/root.tar").write_bytes(Tar().file("host", host).bytes())
            (folder / f"library/img{i}").write_text(f"Maintainers: A <a@b> (@a)\nGitRepo: https://{host}/{repo}\nGitFetch: refs/heads/x\n\n"
                                                    f"Tags: 1, latest\nArchitectures: amd64\nGitCommit: {COMMIT}\nDirectory: d\n")
            self.varve.run("--config", config, "pull", "--source", "official", f"img{i}:1")
            self.assertEqual(self.varve.run("cat", f"img{i}:1", "host").out, host)
        self.assertIn((f"/cg/cloud/+oci/base/plain/d/root.tar?id={COMMIT}", None), server.seen)
        self.assertCleanStore()

    def test_concatenated(self):
        """Docker's ADD reads every archive of the file, as tar --ignore-zeros does."""
        first, second = Tar().file("f", "1").file("g", "old").bytes(), Tar().file("g", "new").file("h", "3").bytes()
        for name, data in (("plain.tar", first + second), ("two.tar.gz", gzip.compress(first) + gzip.compress(second)),
                           ("two.tar.xz", lzma.compress(first) + lzma.compress(second))):
            with self.subTest(name):
                _, config = self.source(self.LIBRARY, {"d/Dockerfile": f"FROM scratch\nADD {name} /\n", "d/" + name: data})
                varve = self.new_varve()
                self.pull(config, 0, varve)
                for path, text in (("f", "1"), ("g", "new"), ("h", "3")):
                    self.assertEqual(varve.run("cat", "img", path).out, text)
                self.assertCleanStore(varve, "--read-data")
                # What it was made of is not kept for its own sake.
                varve.run("gc")
                self.assertFalse(varve.blob(hashlib.sha256(data).hexdigest()).exists())
                varve.run("install", "img")
        _, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\nADD m.tar /\n",
                                               "d/m.tar": gzip.compress(first) + lzma.compress(second)})
        varve = self.new_varve()
        self.assertIn("another compression", self.pull(config, 4, varve).err)
        self.assertNothingLeft(varve)

    def test_cut_and_resumed(self):
        tar = Tar().file("f", os.urandom(3_000_000)).bytes()
        server, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\nADD root.tar.gz /\n",
                                                    "d/root.tar.gz": gzip.compress(tar)})
        server.cut["root.tar.gz"] = 1_000_000
        self.pull(config)
        ranges = [r for p, r in server.seen if p.endswith("root.tar.gz")]
        self.assertEqual(ranges, [None, ranges[1]])
        self.assertTrue(ranges[1].startswith("bytes=1000000-"))
        self.varve.run("install", "img")
        self.assertCleanStore()

    def test_killed_and_resumed(self):
        """The part that a killed process had is used by the next one."""
        tar = Tar().file("f", os.urandom(3_000_000)).bytes()
        server, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\nADD root.tar /\n", "d/root.tar": tar})
        partial = self.varve.store / "tmp/partial"
        hold = threading.Event()

        class Slow(Files):
            def do_GET(self):
                if not self.path.endswith("root.tar") or hold.is_set():
                    return super().do_GET()
                self.send_response(200)
                self.send_header("Content-Length", str(len(tar)))
                self.end_headers()
                self.wfile.write(tar[:2_000_000])
                self.wfile.flush()
                hold.wait(20)
                self.close_connection = True

        server.RequestHandlerClass = lambda *a: Slow(*a, directory=os.fspath(self.top))
        process = self.varve.popen("--config", config, "pull", "--source", "official", "img")
        for _ in range(400):
            if partial.exists() and any(p.stat().st_size >= 1_500_000 for p in partial.iterdir()):
                break
            process.poll() is None and threading.Event().wait(0.02)
        process.kill()
        process.communicate()
        hold.set()
        server.seen.clear()
        self.pull(config)
        ranges = [r for p, r in server.seen if p.endswith("root.tar")]
        self.assertTrue(ranges[0] and ranges[0].startswith("bytes="), ranges)
        self.assertGreaterEqual(int(ranges[0][6:].partition("-")[0]), 1_500_000)

    def test_link_texts(self):
        layout = self.layout()
        descriptor = layout.image("img", [Tar().file("f", os.urandom(50_000))])
        manifest = json.loads(layout.read(descriptor))
        library = self.LIBRARY + "Builder: oci-import\nFile: index.json\n"
        plain = {"d/oci-layout": '{"imageLayoutVersion":"1.0.0"}', "d/index.json": (layout.path / "index.json").read_text()}
        blobs = {d["digest"][7:]: layout.read(d) for d in (descriptor, manifest["config"], *manifest["layers"])}
        layer = manifest["layers"][0]["digest"][7:]

        def files(links):
            out = dict(plain)
            for name, data in blobs.items():
                if name in links:
                    out[f"d/blobs/sha256/{name}"] = links[name]
                else:
                    out[f"d/blobs/sha256/{name}"] = data
            return out

        good = {name: f"../../x-{name[:8]}" for name in blobs}
        for links, status, says in (({}, 0, ""), (good, 0, ""),
                                    ({layer: "../../../../../etc/passwd"}, 4, "leaves"), ({layer: "/etc/passwd"}, 4, "absolute"),
                                    ({layer: "../../../outside"}, 4, "leaves its directory"), ({layer: "../../none"}, 3, "404"),
                                    ({layer: "../../wrong"}, (4, 5), ""), ({descriptor["digest"][7:]: "../../wrong"}, 4, ""),
                                    ({layer: "a\nb"}, 4, "neither the blob"), ({layer: "../../link2"}, (4, 5), "")):
            with self.subTest(links=links):
                content = files(links)
                content.update({f"d/x-{name[:8]}": data for name, data in blobs.items()})
                content.update({"d/wrong": b"wrong" * 1000, "outside": blobs[layer], "d/link2": f"x-{layer[:8]}"})
                _, config = self.source(library, content)
                varve = self.new_varve()
                self.assertIn(says, self.pull(config, status, varve).err)
                if status == 0:
                    self.assertEqual(varve.json("inspect", "img")["image"]["manifest"], descriptor["digest"])
                    varve.run("install", "img")
                    self.assertCleanStore(varve)
                else:
                    self.assertNothingLeft(varve)

    def test_bad_layouts(self):
        layout = self.layout()
        layout.image("img", [Tar().file("f", "1")])
        library = self.LIBRARY + "Builder: oci-import\nFile: index.json\n"
        index = json.loads((layout.path / "index.json").read_text())
        two = dict(index, manifests=index["manifests"] * 2)
        for version, document, says in (("2.0.0", index, "version"), ("1.0.0", two, "exactly one"),
                                        ("1.0.0", dict(index, schemaVersion=1), ""), ("1.0.0", [], "")):
            _, config = self.source(library, {"d/oci-layout": json.dumps({"imageLayoutVersion": version}),
                                              "d/index.json": json.dumps(document)})
            varve = self.new_varve()
            self.assertIn(says, self.pull(config, (1, 4), varve).err)
            self.assertNothingLeft(varve)

    def layout_source(self, **image):
        """The source of an image that is a layout in the tree. Returns (configuration, descriptor of its manifest)."""
        layout = self.layout()
        descriptor = layout.image("img", [Tar().file("f", os.urandom(5000))], **image)
        manifest = json.loads(layout.read(descriptor))
        files = {f"d/blobs/sha256/{d['digest'][7:]}": layout.read(d)
                 for d in (descriptor, manifest["config"], *manifest["layers"])}
        files["d/oci-layout"] = '{"imageLayoutVersion":"1.0.0"}'
        files["d/index.json"] = (layout.path / "index.json").read_text()
        _, config = self.source(self.LIBRARY + "Builder: oci-import\nFile: index.json\n", files)
        return config, manifest

    def test_ends_like_a_registry(self):
        """What is checked of a config, and what counts as stored, are the same for every source."""
        config, manifest = self.layout_source()
        self.pull(config)
        again = self.varve.json("--config", config, "pull", "--source", "official", "img")["images"][0]
        self.assertEqual((again["unchanged"], again["bytes_fetched"]), (True, 0))
        self.varve.blob(manifest["layers"][0]["digest"][7:]).unlink()  # behind the store's back
        self.pull(config)
        self.assertCleanStore(self.varve, "--read-data")

    def test_platform_of_a_layout(self):
        config, _ = self.layout_source(platform=("linux", "s390x", ""))
        host = self.varve.run("--config", config, "pull", "--source", "official", "img")
        self.assertIn("the image is for linux/s390x", host.err)
        varve = self.new_varve()
        asked = varve.run("--config", config, "pull", "--source", "official", "--platform", "linux/amd64", "img", status=None)
        self.assertEqual(asked.status, 3, asked)
        self.assertIn("no image for linux/amd64; there are: linux/s390x", asked.err)
        self.assertNothingLeft(varve)

    def test_repair(self):
        """A blob that has rotted comes again from its URL."""
        tar = Tar().file("f", os.urandom(100_000)).bytes()
        _, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\nADD root.tar /\n", "d/root.tar": tar})
        self.pull(config)
        blob = self.varve.blob(hashlib.sha256(tar).hexdigest())
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.write(b"rotten")
        self.varve.run("--config", config, "check", "--read-data", "--repair", status=None)
        self.assertEqual(blob.read_bytes(), tar)
        self.assertCleanStore(self.varve, "--read-data")

    def test_install(self):
        """End to end; and what a registry has under the name is not taken for it."""
        tar = Tar().file("f", "source").bytes()
        _, config = self.source(self.LIBRARY, {"d/Dockerfile": "FROM scratch\nADD root.tar /\n", "d/root.tar": tar})
        layout = self.layout()
        layout.image("img", [Tar().file("f", "registry")])
        self.varve.run("import", layout.path, "docker.io/library/img:latest")
        self.varve.run("--offline", "--config", config, "install", "--source", "official", "img", status=5)
        self.varve.run("--config", config, "install", "--source", "official", "--pull", "never", "img", status=5)
        self.varve.run("install", "--name", "other", "img")
        self.assertEqual((self.varve.roots / "rootfs_other/f").read_text(), "registry")
        out = self.varve.json("--config", config, "install", "--source", "official", "img")
        self.assertEqual((self.varve.roots / "rootfs_img_latest/f").read_text(), "source")
        self.assertEqual(out["pull"]["blobs_fetched"], 1)
        self.assertEqual(self.varve.json("inspect", "img")["image"]["source"], "official")
        # Stored from its source now: no server is asked.
        out = self.varve.json("--offline", "--config", config, "install", "--source", "official", "--name", "again", "img")
        self.assertIsNone(out["pull"])
        self.assertEqual((self.varve.roots / "rootfs_again/f").read_text(), "source")
        self.assertCleanStore()

    def test_hint(self):
        registry = self.registry()
        config = self.path("c.json")
        config.write_text(json.dumps({"registries": {"docker.io": {"location": registry.address, "insecure": True}}}))
        self.assertIn("--source official", self.varve.run("--config", config, "pull", "nosuch:1", status=3).err)


if __name__ == "__main__":
    unittest.main()
