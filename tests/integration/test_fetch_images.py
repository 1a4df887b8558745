# SPDX-License-Identifier: Apache-2.0
"""Manifests: platforms, nesting, inline data, foreign layers, documents that are wrong (docs/requirements.md 3)."""

import base64
import gzip
import hashlib
import json

from support import Case, Tar, digest_of, samples
from support.image import DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, SCHEMA1
from support.registry_front import front


class Images(Case):
    def setUp(self):
        super().setUp()
        self.origin = self.registry()

    def one(self, layout, text="x", platform=("linux", "amd64", ""), **kw):
        return layout.manifest([Tar().file("file", text).bytes()], platform=platform, **kw)

    def push(self, layout, name, **kw):
        return self.origin.push(layout, name, "team/app", name)

    def pull(self, ref, *options, status=0, varve=None):
        return (varve or self.varve).run("pull", *options, ref, status=status)

    def manifest_of(self, ref):
        return self.varve.json("inspect", ref)

    def index(self, layout, name, entries):
        """An index of [descriptor with or without platform], as given."""
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        descriptor = layout.blob(json.dumps(body).encode(), OCI_INDEX)
        layout.tag(name, descriptor)
        return descriptor

    def stored(self, digest, varve=None):
        return (varve or self.varve).blob(digest).exists()


class Platforms(Images):
    def chosen(self, entries, platform):
        """Which of the entries a pull for a platform takes, by the manifest that is stored afterwards."""
        layout = self.layout()
        manifests = []
        for i, p in enumerate(entries):
            d = dict(self.one(layout, f"{i}{p}", p or ("linux", "amd64", "")))
            if p:
                d["platform"] = {"os": p[0], "architecture": p[1], **({"variant": p[2]} if p[2] else {})}
            manifests.append(d)
        self.index(layout, "a", manifests)
        ref = self.push(layout, "a")
        varve = self.new_varve()
        result = varve.run("pull", "--platform", platform, ref, status=(0, 3))
        taken = [i for i, d in enumerate(manifests) if self.stored(d["digest"], varve)]
        if result.status == 3:
            for p in entries:
                self.assertIn(f"{p[0]}/{p[1]}", result.err)
            self.assertEqual(taken, [])
            return None
        self.assertEqual(len(taken), 1)
        return taken[0]

    def test_choice(self):
        arm = [("linux", "arm", "v5"), ("linux", "arm", "v6"), ("linux", "arm", "v7"), ("linux", "arm64", "v8"), ("linux", "amd64", "")]
        self.assertEqual(self.chosen(arm, "linux/arm/v7"), 2)
        self.assertEqual(self.chosen(arm, "linux/arm/v6"), 1)
        self.assertEqual(self.chosen(arm[:1] + arm[2:], "linux/arm/v6"), 0)
        self.assertIsNone(self.chosen(arm[2:], "linux/arm/v6"))
        self.assertEqual(self.chosen(arm, "linux/arm64"), 3)
        self.assertEqual(self.chosen([("linux", "arm64", "")], "linux/aarch64"), 0)
        self.assertEqual(self.chosen(arm, "x86_64"), 4)
        self.assertIsNone(self.chosen(arm, "linux/s390x"))
        self.assertEqual(self.chosen([("windows", "amd64", ""), ("linux", "amd64", "")], "linux/amd64"), 1)

    def test_attestations_are_no_candidates(self):
        layout = self.layout()
        image = self.one(layout)
        proof = self.one(layout, "proof", ("unknown", "unknown", ""))
        self.index(layout, "a", [
            dict(proof, platform={"os": "unknown", "architecture": "unknown"},
                 annotations={"vnd.docker.reference.type": "attestation-manifest"}),
            dict(image, platform={"os": "linux", "architecture": "amd64"})])
        ref = self.push(layout, "a")
        self.pull(ref, "--platform", "linux/amd64")
        self.assertTrue(self.stored(image["digest"]))
        self.assertNotIn("unknown", self.new_varve().run("pull", "--platform", "linux/s390x", ref, status=3).err)

    def test_nested_index(self):
        layout = self.layout()
        image = self.one(layout)
        inner = self.index(layout, "inner", [dict(image, platform={"os": "linux", "architecture": "amd64"})])
        self.index(layout, "outer", [inner])
        self.pull(self.push(layout, "outer"), "--platform", "linux/amd64")
        self.assertTrue(self.stored(image["digest"]))

    def test_nested_without_end(self):
        layout = self.layout()
        inner = self.one(layout)
        for i in range(6):
            inner = self.index(layout, f"i{i}", [inner])
        self.assertIn("nested", self.pull(self.push(layout, "i5"), status=4).err)
        self.pull(self.push(layout, "i4"))

    def test_size_of_the_entry(self):
        """What the index says of the size counts, too, although the digest is right."""
        layout = self.layout()
        image = self.one(layout)
        self.index(layout, "a", [dict(image, size=image["size"] + 1, platform={"os": "linux", "architecture": "amd64"})])
        self.assertIn(f"{image['size']} bytes", self.pull(self.push(layout, "a"), "--platform", "linux/amd64", status=4).err)

    def test_bare_manifest_of_another_platform(self):
        """A warning; an error if the platform was asked for."""
        layout = self.layout()
        layout.tag("a", self.one(layout, platform=("linux", "s390x", "")))
        ref = self.push(layout, "a")
        self.assertIn("s390x", self.pull(ref, "--platform", "linux/amd64", status=3).err)
        self.assertIn("s390x", self.pull(ref).err)

    def test_unknown_types_beside_it(self):
        layout = self.layout()
        image = self.one(layout)
        other = layout.blob(b'{"a":1}', "application/vnd.example.thing+json")
        self.index(layout, "a", [dict(other), dict(image, platform={"os": "linux", "architecture": "amd64"})])
        body = layout.read(layout.find("a"))
        for d in (image,):
            self.origin._push(layout, d, "team/app", d["digest"])
        server, http = front(self.origin, other="location = /v2/team/app/manifests/a { default_type %s; return 200 '%s'; }"
                             % (OCI_INDEX, body.decode()))
        nginx = self.nginx(server, http=http, lua=True)
        self.pull(f"{nginx.address}/team/app:a", "--platform", "linux/amd64")


class Documents(Images):
    """Documents that nginx serves in place of the registry's."""

    def serve(self, body, media=OCI_MANIFEST, headers="", blobs=()):
        directory = self.path("www")
        directory.mkdir()
        (directory / "doc").write_bytes(body)
        where = ""
        for data in blobs:
            (directory / digest_of(data)[7:]).write_bytes(data)
            where += "location ~ ^/v2/team/app/(blobs|manifests)/%s$ { default_type ''; alias %s/%s; }" % (
                digest_of(data), directory, digest_of(data)[7:])
        self.web = self.nginx("location = /v2/team/app/manifests/1 { default_type '%s'; alias %s/doc; %s } %s"
                              % (media, directory, headers, where))
        return f"{self.web.address}/team/app:1"

    def image(self, **changes):
        layer = Tar().file("a", "a").bytes()
        config = json.dumps({"os": "linux", "architecture": "amd64",
                             "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}).encode()
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
                "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}]}
        for key, value in changes.items():
            if value is None:
                body.pop(key)
            else:
                body[key] = value
        return body, [layer, config]

    def refused(self, body, status=4, media=OCI_MANIFEST, word="", **kw):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        result = self.pull(self.serve(data, media, **kw), status=status)
        self.assertIn(word, result.err)
        self.assertEqual(list((self.varve.store / "blobs/sha256").glob("*")), [])

    def test_content_types(self):
        body, blobs = self.image()
        for media in ("text/plain; charset=utf-8", "application/json", "application/octet-stream", "", OCI_MANIFEST.upper()):
            self.pull(self.serve(json.dumps(body).encode(), media, blobs=blobs), varve=self.new_varve())

    def test_accept_is_one_header_with_all_types(self):
        body, blobs = self.image()
        self.pull(self.serve(json.dumps(body).encode(), blobs=blobs))
        self.assertEqual(self.web.requests("/manifests/")[0]["accept"], ", ".join((
            OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, SCHEMA1, SCHEMA1.replace("prettyjws", "json"))))
        self.assertEqual(self.web.requests()[0]["agent"][:6], "varve/")

    def test_too_large(self):
        body, _ = self.image(annotations={"a": "b" * (5 << 20)})
        self.refused(body, word="MiB")

    def test_without_end(self):
        """No Content-Length, and bytes that never end: left after 4 MiB."""
        web = self.nginx("location / { default_type %s; content_by_lua_block { for i = 1, 100000 do "
                         "if not ngx.print(string.rep('[', 65536)) or not ngx.flush(true) then return end end } }" % OCI_MANIFEST, lua=True)
        self.assertIn("larger than allowed", self.pull(f"{web.address}/team/app:1", status=4).err)
        self.assertLess(max(r["bytes"] for r in web.requests()), 30 << 20)

    def test_config_too_large(self):
        """Told by its descriptor: nothing of it is asked for."""
        body, _ = self.image(config={"mediaType": OCI_CONFIG, "digest": "sha256:" + "a" * 64, "size": (4 << 20) + 1})
        self.refused(body, word="a config of 4.0 MiB")
        self.assertEqual(self.web.requests("/blobs/"), [])

    def test_empty_blob_is_not_asked_for(self):
        """No byte has to come, and the digest of nothing is known."""
        layer, nothing = Tar().file("a", "a").bytes(), digest_of(b"")
        config = json.dumps({"os": "linux", "architecture": "amd64",
                             "rootfs": {"type": "layers", "diff_ids": [digest_of(layer), nothing]}}).encode()
        body, _ = self.image(config={"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)})
        body["layers"].append({"mediaType": OCI_LAYER, "digest": nothing, "size": 0})
        self.pull(self.serve(json.dumps(body).encode(), blobs=[layer, config]))
        self.assertTrue(self.stored(nothing))
        self.assertEqual(len(self.web.requests("/blobs/")), 2)

    def test_ambiguous(self):
        body, _ = self.image(manifests=[])
        self.refused(body)
        self.refused(json.dumps(body).replace('"manifests"', '"Manifests"').encode())
        self.refused(b'{"schemaVersion":2,"schemaVersion":1}')

    def test_type_against_header(self):
        body, _ = self.image()
        self.refused(body, media=OCI_INDEX)

    def test_depth(self):
        self.refused(b'{"a":' * 10000 + b"1" + b"}" * 10000)

    def test_digests_that_climb(self):
        for digest in ("sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "x", ""):
            body, _ = self.image(config={"mediaType": OCI_CONFIG, "digest": digest, "size": 3})
            self.refused(body)
            self.assertEqual([r["path"] for r in self.web.requests()], ["/v2/team/app/manifests/1"])

    def test_sizes_that_are_none(self):
        for size in (-1, 1.5, 1e300, "3", None):
            body, _ = self.image(config={"mediaType": OCI_CONFIG, "digest": "sha256:" + "a" * 64, "size": size})
            self.refused(body)

    def test_not_a_manifest(self):
        self.refused(b"<html>log in</html>", media="text/html")
        self.refused(b"")
        self.refused(b"[]")

    def test_header_of_a_mebibyte(self):
        self.web = self.nginx("location / { content_by_lua_block { for i = 1, 1100 do ngx.header['X' .. i] = string.rep('a', 1000) end "
                              "ngx.say('{}') } }", lua=True)
        result = self.pull(f"{self.web.address}/team/app:1", status=4)
        self.assertIn(f"{self.web.address}: the answer is larger than allowed", result.err)

    def test_artifact(self):
        body, blobs = self.image()
        body["artifactType"] = "application/vnd.example.sbom"
        body["config"] = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
        body["layers"][0]["mediaType"] = "text/spdx"
        self.refused(body, status=1, word="application/vnd.example.sbom", blobs=blobs + [b"{}"])

    def test_wrong_content_digest_header(self):
        """A hint only: a warning (distribution#2395)."""
        body, blobs = self.image()
        ref = self.serve(json.dumps(body).encode(), blobs=blobs, headers="add_header Docker-Content-Digest sha256:%s;" % ("0" * 64))
        self.assertIn("sha256:" + "0" * 64, self.pull(ref).err)
        self.assertTrue(self.stored(digest_of(json.dumps(body).encode())))
        self.pull(self.serve(json.dumps(body).encode(), blobs=blobs, headers="add_header Docker-Content-Digest nonsense;"),
                  varve=self.new_varve())

    def test_compressed_manifest(self):
        body, blobs = self.image()
        self.pull(self.serve(gzip.compress(json.dumps(body).encode()), headers="add_header Content-Encoding gzip;", blobs=blobs))

    def test_warning_is_shown_once(self):
        body, blobs = self.image()
        self.serve(json.dumps(body).encode(), blobs=blobs)
        says = self.nginx("add_header Warning '299 - \"this registry moves\"'; location / { proxy_pass http://%s; }" % self.web.address)
        self.assertEqual(self.pull(f"{says.address}/team/app:1").err.count("this registry moves"), 1)
        self.assertEqual(len(says.requests()), 3)

    def test_inline_data(self):
        """data is used instead of the network; wrong data is not."""
        body, (layer, config) = self.image()
        body["config"]["data"] = base64.b64encode(config).decode()
        body["layers"][0]["data"] = base64.b64encode(layer).decode()
        self.pull(self.serve(json.dumps(body).encode()))
        self.assertEqual(self.web.requests("/blobs/"), [])
        body["layers"][0]["data"] = base64.b64encode(layer[:-1] + b"X").decode()
        self.pull(self.serve(json.dumps(body).encode(), blobs=[layer]), varve=self.new_varve())
        self.assertEqual(len(self.web.requests("/blobs/")), 1)

    def test_wrong_diff_id(self):
        """Each blob is right, the config does not fit: the image is broken at its source."""
        layer = Tar().file("a", "a").bytes()
        config = json.dumps({"os": "linux", "architecture": "amd64",
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}).encode()
        body, _ = self.image(config={"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)})
        result = self.pull(self.serve(json.dumps(body).encode(), blobs=[layer, config]), status=4)
        self.assertIn("diffID", result.err)

    def test_more_layers_than_diff_ids(self):
        body, blobs = self.image()
        body["layers"].append(body["layers"][0])
        self.assertIn("layers", self.pull(self.serve(json.dumps(body).encode(), blobs=blobs), status=4).err)

    def test_sha512_reference(self):
        body, blobs = self.image()
        data = json.dumps(body).encode()
        self.serve(data, blobs=blobs)
        digest = "sha512:" + hashlib.sha512(data).hexdigest()
        directory = self.path("by512")
        directory.mkdir()
        (directory / "doc").write_bytes(data)
        server = self.nginx("location = /v2/team/app/manifests/%s { default_type %s; alias %s/doc; } location / { proxy_pass http://%s; }"
                            % (digest, OCI_MANIFEST, directory, self.web.address))
        self.pull(f"{server.address}/team/app@{digest}")
        self.assertTrue(self.stored(digest_of(data)))
        (directory / "doc").write_bytes(data + b" ")
        self.pull(f"{server.address}/team/app@{digest}", varve=self.new_varve(), status=4)

    def test_manifest_by_digest_is_verified(self):
        body, blobs = self.image()
        data = json.dumps(body).encode()
        self.serve(data)
        directory = self.path("wrong")
        directory.mkdir()
        (directory / "doc").write_bytes(data + b" ")
        server = self.nginx("location ~ manifests { default_type %s; rewrite ^ /doc break; root %s; }" % (OCI_MANIFEST, directory))
        result = self.pull(f"{server.address}/team/app@{digest_of(data)}", status=4)
        self.assertIn(server.address, result.err)


class Foreign(Images):
    def setUp(self):
        super().setUp()
        self.layer = gzip.compress(Tar().file("foreign", "f").bytes())
        self.digest = digest_of(self.layer)
        (self.dir / "foreign").write_bytes(self.layer)
        self.elsewhere = self.nginx(f"location = /layer {{ alias {self.dir}/foreign; }}")

    def ref(self, *urls, held=False, **options):
        layer = self.layer
        config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {
            "type": "layers", "diff_ids": [digest_of(gzip.decompress(layer))]}}).encode()
        body = json.dumps({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": self.digest,
                        "size": len(layer), "urls": list(urls)}]}).encode()
        directory = self.path("www")
        directory.mkdir()
        (directory / "doc").write_bytes(body)
        (directory / "config").write_bytes(config)
        (directory / "layer").write_bytes(layer)
        self.web = self.nginx("auth_basic x; auth_basic_user_file %s; location ~ manifests/1$ { default_type %s; rewrite ^ /doc break; root %s; }"
                              "location ~ %s$ { rewrite ^ /config break; root %s; } %s" % (
                                  self.users(), DOCKER_MANIFEST, directory, digest_of(config), directory,
                                  "location ~ %s$ { rewrite ^ /layer break; root %s; }" % (self.digest, directory) if held else ""))
        home = self.varve.home / ".docker"
        home.mkdir(exist_ok=True)
        (home / "config.json").write_text(json.dumps({"auths": {
            self.web.address: {"auth": base64.b64encode(b"u:p").decode()},
            self.elsewhere.address: {"auth": base64.b64encode(b"u:other").decode()}}}))
        return f"{self.web.address}/team/app:1"

    def users(self):
        path = self.dir / "users"
        path.write_text("u:{PLAIN}p\n")
        return path

    def test_without_any_credential(self):
        """The registry is asked first; at the URL no Authorization ever (CVE-2020-15157)."""
        self.pull(self.ref(f"http://{self.elsewhere.address}/layer"))
        self.assertEqual({r["authorization"] for r in self.elsewhere.requests()}, {""})
        self.assertEqual([r["status"] for r in self.web.requests(self.digest)], [404])
        self.assertTrue(self.stored(self.digest))

    def test_registry_that_holds_it(self):
        self.pull(self.ref(f"http://{self.elsewhere.address}/layer", held=True))
        self.assertEqual(self.elsewhere.requests(), [])

    def test_challenge_of_a_foreign_host_is_not_answered(self):
        thief = self.nginx("location / { add_header WWW-Authenticate 'Basic realm=x' always; return 401; }")
        self.pull(self.ref(f"http://{thief.address}/layer"), status=5)
        self.assertEqual({r["authorization"] for r in thief.requests()}, {""})

    def test_urls_that_are_refused(self):
        for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/x", "http://u:p@127.0.0.1/x"):
            self.assertIn("is not allowed", self.pull(self.ref(url), status=3).err)


class Encrypted(Images):
    def test_encrypted_layer(self):
        """Told by its type before anything of it is fetched (7.9)."""
        layer = Tar().file("a", "a").bytes()
        layout = self.layout()
        config = layout.blob(json.dumps({"os": "linux", "architecture": "amd64",
                                         "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}).encode(), OCI_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
                    "layers": [layout.blob(layer, OCI_LAYER + "+gzip+encrypted")]}
        layout.tag("e", layout.blob(json.dumps(manifest).encode(), OCI_MANIFEST))
        ref = self.push(layout, "e")
        self.origin.forget_log()
        result = self.varve.run("pull", ref, status=1)
        self.assertIn("layer 1 of 1 is encrypted", result.err)
        self.assertEqual(self.origin.downloads(), {})


class Tags(Images):
    def test_unchanged_costs_one_head(self):
        layout = self.layout()
        samples.flat(layout, "a")
        ref = self.push(layout, "a")
        self.pull(ref)
        self.assertEqual(self.origin.requests("HEAD"), [])  # the first time it would save nothing
        self.origin.forget_log()
        self.pull(ref)
        self.assertEqual([(r["method"], r["status"]) for r in self.origin.requests()], [("HEAD", 200)])

    def test_digest_costs_nothing(self):
        layout = self.layout()
        image = samples.flat(layout, "a") or layout.find("a")
        ref = self.push(layout, "a").rsplit(":", 1)[0] + "@" + layout.find("a")["digest"]
        self.pull(ref)
        self.origin.forget_log()
        self.pull(ref)
        self.assertEqual(self.origin.requests(), [])
        self.assertTrue(image)

    def test_tag_with_a_digest(self):
        """The digest says what is asked for; what the tag means is not asked: it names the tree, for people."""
        layout = self.layout()
        layout.tag("old", self.one(layout, "1"))
        layout.tag("new", self.one(layout, "2"))
        for name in ("old", "new"):
            ref = self.origin.push(layout, name, "team/app", "1")
        digest = layout.find("old")["digest"]
        self.origin.forget_log()
        self.pull(f"{ref}@{digest}")
        self.assertTrue(self.stored(digest))
        self.assertFalse(self.stored(layout.find("new")["digest"]))
        self.assertEqual([r["path"] for r in self.origin.requests(contains="/manifests/")], [f"/v2/team/app/manifests/{digest}"])
        self.assertEqual([i["name"] for i in self.varve.json("list")["images"]], [f"{self.origin.address}/team/app@{digest}"])
        label = self.varve.json("install", f"{ref}@{digest}")["label"]
        self.assertEqual(label, f"{self.origin.address}/team/app:1".replace("/", "_").replace(":", "_"))

    def test_moved_tag(self):
        layout = self.layout()
        layout.tag("a", self.one(layout, "1"))
        ref = self.push(layout, "a")
        self.pull(ref)
        self.assertEqual(self.varve.run("outdated", status=None).status, 0)
        layout.tag("a", self.one(layout, "2"))
        self.push(layout, "a")
        self.origin.forget_log()
        self.varve.run("outdated", status=None)
        self.assertEqual({r["method"] for r in self.origin.requests()}, {"HEAD"})
        self.pull(ref)
        self.assertTrue(self.stored(layout.find("a")["digest"]))

    def test_head_that_is_not_served(self):
        layout = self.layout()
        layout.tag("a", self.one(layout))
        self.push(layout, "a")
        server, http = front(self.origin, manifests="if ($request_method = HEAD) { return 405; }")
        ref = f"{self.nginx(server, http=http, lua=True).address}/team/app:a"
        self.pull(ref)
        self.origin.forget_log()
        self.pull(ref)
        self.assertEqual([r["path"] for r in self.origin.requests()], ["/v2/team/app/manifests/a"])

    def test_damaged_blob_is_fetched_again(self):
        layout = self.layout()
        layout.tag("a", self.one(layout))
        ref = self.push(layout, "a")
        self.pull(ref)
        digest = json.loads(layout.read(layout.find("a")))["layers"][0]["digest"]
        self.varve.blob(digest).unlink()
        self.pull(ref)
        self.assertTrue(self.stored(digest))

    def test_repair_fetches_one_blob_again(self):
        """check --repair knows where a blob came from."""
        layout = self.layout()
        layout.tag("a", self.one(layout))
        self.pull(self.push(layout, "a"))
        layer = json.loads(layout.read(layout.find("a")))["layers"][0]
        path = self.varve.blob(layer["digest"])
        path.chmod(0o600)
        path.write_bytes(b"X" * layer["size"])
        self.origin.forget_log()
        self.varve.run("check", "--read-data", "--repair")
        self.assertEqual(path.read_bytes(), layout.read(layer))
        self.assertEqual(self.origin.downloads(), {layer["digest"]: 1})
        self.assertCleanStore(self.varve, "--read-data")

    def test_rate_limit_is_remembered(self):
        layout = self.layout()
        layout.tag("a", self.one(layout))
        self.push(layout, "a")
        server, http = front(self.origin, manifests="add_header RateLimit-Limit '100;w=21600'; add_header RateLimit-Remaining '76;w=21600';"
                             "add_header Docker-RateLimit-Source 192.0.2.7;")
        nginx = self.nginx(server, http=http, lua=True)
        self.pull(f"{nginx.address}/team/app:a")
        result = self.varve.run("registry", "status")
        for word in (nginx.address, "76", "100"):
            self.assertIn(word, result.out)
        self.assertEqual(self.varve.json("registry", "status")["registries"][0]["source"], "192.0.2.7")

    def test_offline(self):
        layout = self.layout()
        layout.tag("a", self.one(layout))
        ref = self.push(layout, "a")
        self.varve.run("--offline", "pull", ref, status=5)
        self.assertEqual(self.origin.requests(), [])
        self.pull(ref)
        self.origin.stop()
        self.varve.run("--offline", "pull", ref)

    def test_several_at_once_share(self):
        """One run, two references, one of them unknown: what could be kept is kept."""
        layout = self.layout()
        common = Tar().file("common", "c" * 10000).bytes()
        layout.image("a", [common, Tar().file("a", "a").bytes()])
        layout.image("b", [common, Tar().file("b", "b").bytes()])
        one, two = self.push(layout, "a"), self.push(layout, "b")
        self.varve.run("pull", one, two)
        self.assertEqual(set(self.origin.downloads().values()), {1})
