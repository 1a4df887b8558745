# SPDX-License-Identifier: Apache-2.0
"""push: against docker-registry; other tools find the same digests."""

import base64
import json
import os
import subprocess
import unittest

from support import Case, Tar, Tokens, digest_of, oracle
from support.registry_front import front


class Push(Case):
    def setUp(self):
        super().setUp()
        self.layout_ = self.layout()
        base = Tar().dir("etc", mtime=1).file("etc/a", os.urandom(200_000), mtime=2)
        upper = Tar().whiteout("etc/a").file("etc/b", "b" * 1000, mtime=3)
        self.image = self.layout_.image("one", [base, upper])
        self.manifest = json.loads(self.layout_.read(self.image))
        self.varve.run("import", self.layout_.path, "example.com/team/one:1")

    def blobs(self):
        return [self.manifest["config"]["digest"]] + [l["digest"] for l in self.manifest["layers"]]

    def test_same_digests(self):
        registry = self.registry()
        ref = f"{registry.address}/copy/one:2"
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual(out["digest"], self.image["digest"])
        self.assertEqual((out["blobs"], out["blobs_uploaded"], out["blobs_present"]), (3, 3, 0))
        self.assertEqual(out["bytes_uploaded"], self.manifest["config"]["size"]
                         + sum(l["size"] for l in self.manifest["layers"]))
        raw = oracle.skopeo_inspect(f"docker://{ref}", "--raw")
        self.assertEqual(digest_of(raw.encode()), self.image["digest"])
        theirs = oracle.pull(ref, self.path("theirs"))
        self.varve.run("install", "example.com/team/one:1")
        self.assertSameTree(self.varve.tree("example.com/team/one:1"), theirs)

    def test_only_what_is_lacking(self):
        registry = self.registry()
        ref = f"{registry.address}/copy/one:2"
        self.varve.run("push", "example.com/team/one:1", ref)
        registry.forget_log()
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual((out["blobs_uploaded"], out["blobs_present"], out["bytes_uploaded"]), (0, 3, 0))
        self.assertEqual(len(registry.requests("POST")), 0)
        # The manifest goes last, after every blob was asked for.
        lines = registry.requests()
        puts = [i for i, l in enumerate(lines) if "PUT" in str(l) and "manifests" in str(l)]
        self.assertEqual(len(puts), 1)
        self.assertTrue(all(i < puts[0] for i, l in enumerate(lines) if "/blobs/" in str(l)))

    def test_mount(self):
        """Pulled from one repository, pushed to another of the same registry: nothing is sent."""
        registry = self.registry()
        ref = registry.push(self.layout_, "one", "team/app", "1")
        self.varve.run("pull", ref)
        out = self.varve.json("push", ref, f"{registry.address}/team/other:1")
        self.assertEqual((out["blobs_mounted"], out["blobs_uploaded"], out["bytes_uploaded"]), (3, 0, 0))
        oracle.skopeo_inspect(f"docker://{registry.address}/team/other:1")

    def test_to_a_digest_and_pull_back(self):
        registry = self.registry()
        self.varve.run("push", "example.com/team/one:1", f"{registry.address}/x/y:latest")
        other = self.new_varve()
        other.run("pull", f"{registry.address}/x/y@{self.image['digest']}")
        self.assertCleanStore(other)

    def test_index(self):
        registry = self.registry()
        layout = self.layout()
        arm = layout.manifest([Tar().file("arm", "1")], platform=("linux", "arm64", "v8"))
        amd = layout.manifest([Tar().file("amd", "1")])
        index = layout.index("both", [(("linux", "amd64", ""), amd), (("linux", "arm64", "v8"), arm)])
        ref = registry.push(layout, "both", "team/both", "1")
        self.varve.run("pull", ref)
        to = f"{registry.address}/copy/both:1"
        # Without the other platform the index cannot be sent.
        self.assertIn("pull that platform", self.varve.run("push", "--all", ref, to, status=1).err)
        self.varve.run("pull", "--platform", "linux/arm64", ref)
        out = self.varve.json("push", "--all", ref, to)
        self.assertEqual(out["digest"], index["digest"])
        raw = oracle.skopeo_inspect(f"docker://{to}", "--raw")
        self.assertEqual(digest_of(raw.encode()), index["digest"])
        out = self.varve.json("push", ref, f"{registry.address}/copy/one:1")
        self.assertEqual(out["digest"], amd["digest"])

    def test_index_with_another_algorithm(self):
        """An entry that cannot be verified is passed over by pull, and cannot be sent."""
        registry = self.registry()
        layout = self.layout()
        amd = layout.manifest([Tar().file("amd", "1")])
        body = json.loads(layout.read(layout.index("both", [(("linux", "amd64", ""), amd)])))
        body["manifests"].append(dict(amd, digest="blake3:" + "a" * 64, platform={"os": "linux", "architecture": "arm"}))
        data = json.dumps(body).encode()
        layout.tag("odd", layout.blob(data, body["mediaType"]))
        archive = self.dir / "odd.tar"
        subprocess.run(["tar", "-cf", archive, "-C", layout.path, "oci-layout", "index.json", "blobs"], check=True)
        self.varve.run("import", archive, "example.com/team/odd:1", "--path", "odd")
        self.assertIn("algorithm", self.varve.run("push", "--all", "example.com/team/odd:1", f"{registry.address}/copy/odd:1",
                                                  status=1).err)
        self.varve.run("check", "--rebuild")
        self.assertCleanStore()

    def test_rotten_blob(self):
        """A blob that has changed on disk: the registry refuses it, the tag does not appear."""
        registry = self.registry()
        blob = self.varve.blob(self.blobs()[1])
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.seek(100)
            file.write(b"rotten")
        result = self.varve.run("push", "example.com/team/one:1", f"{registry.address}/copy/one:2", status=(4, 5))
        self.assertIn(self.blobs()[1], result.err)
        self.varve.run("pull", f"{registry.address}/copy/one:2", status=3)

    # --- servers that fail in the middle, and those that send elsewhere ---

    def behind(self, uploads, registry=None):
        """A reference through an nginx with these directives for upload sessions."""
        self.origin = registry or self.registry()
        server, http = front(self.origin, uploads=uploads)
        self.front = self.nginx(server, http=http, lua=True)
        return f"{self.front.address}/copy/one:2"

    FIRST_PUT = "access_by_lua_block { if ngx.req.get_method() == 'PUT' and ngx.shared.state:incr('n', 1, 0) <= %d then %s end }"

    def assertPushed(self, ref, uploaded=3):
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual((out["digest"], out["blobs_uploaded"]), (self.image["digest"], uploaded))
        self.assertEqual(out["bytes_uploaded"], self.manifest["config"]["size"] + sum(l["size"] for l in self.manifest["layers"]))
        other = self.new_varve()
        # What arrived is whole: pulled from behind the front, and verified.
        other.run("pull", ref)
        self.assertCleanStore(other, "--read-data")

    def test_cut_upload(self):
        """The connection breaks in the middle of a blob."""
        ref = self.behind(self.FIRST_PUT % (1, "local s = ngx.req.socket(); s:receive(300); return ngx.exit(444)"))
        self.assertPushed(ref)

    def test_server_errors(self):
        for status in (500, 502, 503):
            with self.subTest(status):
                self.assertPushed(self.behind(self.FIRST_PUT % (2, f"return ngx.exit({status})")))
        ref = self.behind("return 500;")
        config = self.path("config")
        config.write_text('{"retries": 1}')
        self.assertIn("500", self.varve.run("--config", config, "push", "example.com/team/one:1", ref, status=5).err)
        self.assertEqual(self.origin.requests("PUT", "/manifests/"), [])

    def test_dead_session(self):
        """A session that the server has forgotten: a new one is begun."""
        gone = """ngx.status = 404; ngx.header.content_type = 'application/json';
          ngx.say('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}'); return ngx.exit(404)"""
        ref = self.behind(self.FIRST_PUT % (1, gone))
        self.assertPushed(ref)
        self.assertEqual(len(self.front.requests("/blobs/uploads/")), 8)  # 4 sessions, 4 times sent
        # For ever: it ends, and no tag appears.
        ref = self.behind(self.FIRST_PUT % (1000, gone))
        self.assertIn("upload unknown", self.varve.run("push", "example.com/team/one:1", ref, status=(3, 5)).err)
        self.assertEqual(self.origin.requests("PUT", "/manifests/"), [])

    def test_refused_mount(self):
        """The registry does not lend: it answers with a session, which is used, or with an error."""
        for refuse in ("rewrite_by_lua_block { if ngx.var.arg_mount then ngx.req.set_uri_args({}) end }",
                       "access_by_lua_block { if ngx.var.arg_mount then return ngx.exit(%d) end }"):
            for status in (400, 404, 405, 500) if "%d" in refuse else (202,):
                with self.subTest(status):
                    ref = self.behind(refuse % status if "%d" in refuse else refuse)
                    self.varve.run("tag", "example.com/team/one:1", f"{self.front.address}/other/place:1")
                    out = self.varve.json("push", f"{self.front.address}/other/place:1", ref)
                    self.assertEqual((out["blobs_mounted"], out["blobs_uploaded"]), (0, 3))
                    begun = [r for r in self.front.requests("/blobs/uploads/") if r["method"] == "POST" and r["status"] == 202]
                    self.assertEqual(len(begun), 3)  # the session of a refused mount is used, not left behind

    RELATIVE = "header_filter_by_lua_block { local l = ngx.header.Location; if l then ngx.header.Location = l:gsub('^https?://[^/]+', '') end }"

    def test_relative_location(self):
        self.assertPushed(self.behind(self.RELATIVE))

    AUTHS = {"user": "s3cret-of-the-test"}

    def login(self, address):
        path = self.varve.home / ".docker/config.json"
        path.parent.mkdir(exist_ok=True)
        user, password = next(iter(self.AUTHS.items()))
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {address: {"auth": auth}}}))
        return "Basic " + auth

    def test_location_elsewhere(self):
        """Uploads go to another host, or another port of this one: it is not told our credentials."""
        registry = self.registry(htpasswd=self.AUTHS)
        for host in ("localhost", "127.0.0.1"):
            with self.subTest(host):
                # The other place knows the registry's password itself, as a storage with signed URLs would.
                auth = self.login("x")
                proxy = f"proxy_pass http://{registry.address}; proxy_set_header Authorization '{auth}';"
                elsewhere = self.nginx(f"location / {{ {proxy} }}")
                there = f"{host}:{elsewhere.port}"
                ref = self.behind(f"header_filter_by_lua_block {{ local l = ngx.header.Location; if l and ngx.status == 202 then "
                                  f"ngx.header.Location = l:gsub('^https?://[^/]+', 'http://{there}') end }}", registry)
                ref = ref.replace("/copy/", f"/{host.replace('.', '-')}/")
                self.login(self.front.address)
                out = self.varve.json("push", "example.com/team/one:1", ref)
                self.assertEqual((out["digest"], out["blobs_uploaded"]), (self.image["digest"], 3))
                sent = elsewhere.requests("/blobs/uploads/")
                self.assertEqual([(r["method"], r["status"], r["authorization"]) for r in sent], [("PUT", 201, "")] * 3)
                self.assertEqual([r for r in self.front.requests("/blobs/uploads/") if r["method"] == "PUT"], [])

    def test_with_credentials(self):
        """Basic: also when the answer comes only after the blob was sent."""
        registry = self.registry(htpasswd=self.AUTHS)
        ref = f"{registry.address}/copy/one:2"
        self.assertIn("varve login", self.varve.run("push", "example.com/team/one:1", ref, status=5).err)
        self.login(registry.address)
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual((out["digest"], out["blobs_uploaded"]), (self.image["digest"], 3))
        ref = self.behind(self.FIRST_PUT % (1, "local s = ngx.req.socket(); s:receive(300); return ngx.exit(444)"), registry)
        self.login(self.front.address)
        out = self.varve.json("push", "example.com/team/one:1", ref.replace("/copy/", "/cut/"))
        self.assertEqual(out["blobs_uploaded"], 3)

    def test_with_a_token(self):
        tokens = Tokens(self.path("tokens"))
        # A token server as they are: what was not asked for is not granted.
        server = self.nginx(tokens.server("if ($args ~ push) { rewrite ^ /writing last; }")
                            + "location = /writing { default_type application/json; alias %s/writing; }" % tokens.directory)
        grant = [("copy/one", "pull,push"), ("copy/two", "pull"), ("copy/three", "pull,push")]
        (tokens.directory / "writing").write_text(json.dumps({"token": tokens.issue(grant)}))
        registry = self.registry(token=tokens.options(f"http://{server.address}/token"))
        tokens.publish([("copy/one", "pull"), ("copy/two", "pull"), ("copy/three", "pull")])
        out = self.varve.json("push", "example.com/team/one:1", f"{registry.address}/copy/one:2")
        self.assertEqual((out["digest"], out["blobs_uploaded"]), (self.image["digest"], 3))
        asked = server.requests("/token")
        self.assertTrue([r for r in asked if "copy%2Fone%3Apull%2Cpush" in r["path"]], asked)
        self.assertLessEqual(len(asked), 2)  # one to look, one to write: the registry names the actions in any order
        self.assertEqual([r["path"].count("scope=repository") for r in asked], [1] * len(asked))
        # One that may only read: refused, and said so.
        self.assertIn("may not write", self.varve.run("push", "example.com/team/one:1", f"{registry.address}/copy/two:1", status=5).err)
        # One that is over already.
        (tokens.directory / "writing").write_text(json.dumps({"token": tokens.issue(grant, -100)}))
        self.varve.run("push", "example.com/team/one:1", f"{registry.address}/copy/three:1", status=5)

    def test_bad(self):
        self.varve.run("push", "nothing/here", "127.0.0.1:1/x", status=3)
        self.varve.run("push", "example.com/team/one:1", "127.0.0.1:1/x:1", status=5)
        self.varve.run("push", "example.com/team/one:1", "UPPER/x", status=(2, 5))
        self.varve.run("--offline", "push", "example.com/team/one:1", "127.0.0.1:1/x:1", status=5)


if __name__ == "__main__":
    unittest.main()
