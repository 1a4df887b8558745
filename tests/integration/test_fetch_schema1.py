# SPDX-License-Identifier: Apache-2.0
"""Docker's first manifests from docker-registry: which bytes count, and layers of unknown size (docs/requirements.md 3.20 to 3.28)."""

import http.client
import json

from support import Case, Tar, digest_of
from support.image import SCHEMA1
from test_fetch_blobs import MIB, Blobs


class Schema1(Case):
    """skopeo wrote and pushed it; the registry signs it anew for each answer."""

    def setUp(self):
        super().setUp()
        step = {"created": "2024-01-01T00:00:00Z", "created_by": "ENV"}
        history = [step, dict(step, empty_layer=True), step, dict(step, empty_layer=True)]
        layout = self.layout()
        layout.image("image", [Tar().file("a", "1"), Tar().file("a", "2").file("b", "3")], docker=True, config={"history": history})
        self.origin = self.registry(schema1=True)
        self.origin.push(layout, "image", "team/new", "1")
        self.ref = self.origin.skopeo_push(f"docker://{self.origin.address}/team/new:1", "team/old", "1", "--format", "v2s1",
                                           "--src-tls-verify=false")

    def raw(self):
        """(bytes, digest of the payload by the registry's word) of one answer."""
        connection = http.client.HTTPConnection(self.origin.host, self.origin.port, timeout=30)
        connection.request("GET", "/v2/team/old/manifests/1", headers={"Accept": SCHEMA1, "User-Agent": "seed"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return body, response.headers["Docker-Content-Digest"]

    def test_payload_is_what_is_kept(self):
        """Two answers have other bytes and one digest: the payload is stored under it, and comes once."""
        (one, digest), (two, same) = self.raw(), self.raw()
        self.assertNotEqual(one, two)
        self.assertEqual(digest, same)
        self.assertNotEqual(digest_of(one), digest)
        self.varve.run("pull", self.ref)
        payload = self.varve.blob(digest).read_bytes()
        self.assertEqual(digest_of(payload), digest)
        self.assertNotIn("signatures", json.loads(payload))
        self.origin.forget_log()
        self.varve.run("pull", self.ref)
        self.assertEqual([r["method"] for r in self.origin.requests()], ["HEAD"])

    def test_by_digest(self):
        """The payload's digest names it; another's does not."""
        body, digest = self.raw()
        name = f"{self.origin.address}/team/old@{digest}"
        self.varve.run("pull", name)
        self.assertTrue(self.varve.blob(digest).exists())
        path = self.path("doc")
        path.write_bytes(body)
        server = "location / { proxy_pass http://%s; } location ~ /manifests/ { default_type %s; alias %s; }"
        nginx = self.nginx(server % (self.origin.address, SCHEMA1, path))
        for wanted, status in ((digest, 0), (digest_of(body), 4), ("sha256:" + "1" * 64, 4)):
            self.new_varve().run("pull", f"{nginx.address}/team/old@{wanted}", status=status)

    def test_other_name_and_tag(self):
        """What the payload says of its name and tag is not compared: images are retagged."""
        other = "location /v2/renamed/thing/ { rewrite ^/v2/renamed/thing/(.*)$ /v2/team/old/$1 break; proxy_pass http://%s; }"
        nginx = self.nginx("location = /v2/renamed/thing/manifests/9 { proxy_pass http://%s/v2/team/old/manifests/1; } "
                           % self.origin.address + other % self.origin.address)
        self.varve.run("pull", f"{nginx.address}/renamed/thing:9")

    def test_layers_that_add_nothing(self):
        """Those that the manifest marks are neither fetched nor part of the image."""
        document = json.loads(self.raw()[0])
        marked = [json.loads(h["v1Compatibility"]).get("throwaway", False) for h in document["history"]]
        sums = [l["blobSum"] for l, empty in zip(document["fsLayers"], marked) if not empty]
        self.assertEqual(sorted(marked), [False, False, True, True])
        self.varve.run("pull", self.ref)
        manifest = json.loads(self.varve.run("inspect", "--raw", "manifest", self.ref).out)
        self.assertEqual([l["digest"] for l in manifest["layers"]], sums[::-1])
        self.assertEqual(set(self.origin.downloads()), set(sums))


class Quota(Blobs):
    """Nobody says how long a layer is: the configured size is the limit."""

    def setUp(self):
        super().setUp()
        layout = self.layout()
        layout.image("a", [self.layer], compression="none", docker=True)
        self.origin.push(layout, "a", "team/app", "1")

    def refused(self, blobs=""):
        path = self.path("config")
        path.write_text('{"max_blob_size": "2M"}')
        ref = self.behind(blobs, manifests="proxy_set_header Accept '';")
        result = self.varve.run("--config", path, "pull", ref, status=4)
        self.assertFalse(self.varve.blob(self.digest).exists())
        return result.err

    def test_by_its_content_length(self):
        self.assertIn("at most 2.0 MiB", self.refused())

    def test_while_it_comes(self):
        words = self.refused("header_filter_by_lua_block { ngx.header.content_length = nil }")
        self.assertIn(f"larger than the {2 * MIB} bytes", words)
