# SPDX-License-Identifier: Apache-2.0
"""Where a registry may lead us: redirects and layer URLs to internal addresses (R-4, 3.29), secrets and trust on the way."""

import base64
import json

from support import Case, Tar, digest_of, need_root
from support.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from support.registry_front import front


class Leads(Case):
    """registry.example is an nginx that is asked as an HTTP proxy: a name, not known to be inside."""

    def setUp(self):
        super().setUp()
        self.source = self.registry()
        self.layer = Tar().file("a", "text" * 1000).bytes()
        layout = self.layout()
        layout.image("a", [self.layer], compression="none")
        self.source.push(layout, "a", "team/app", "1")
        # What nobody outside may reach; it has the blob, so that success would show.
        server, http = front(self.source)
        self.victim = self.nginx(server, http=http, lua=True)

    def config(self, **members):
        path = self.path("config")
        path.write_text(json.dumps(members))
        return path

    def outside(self, blobs="", manifests=""):
        """The environment in which registry.example answers like this."""
        server, http = front(self.source, blobs=blobs, manifests=manifests)
        self.proxy = self.nginx(server, http=http, lua=True)
        return {"HTTP_PROXY": f"http://{self.proxy.address}"}

    def pull(self, env, status=0, ref="registry.example/team/app:1", **kw):
        config = self.config(insecure=["registry.example", "redirect.example"])
        return self.new_varve().run("--config", config, "pull", ref, env=env, status=status, **kw)

    def hosts(self, text):
        """A prefix for commands: names resolve as `text` says, in a mount namespace."""
        need_root()
        path = self.path("hosts")
        path.write_text(text)
        return ["unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/hosts && exec "$@"', "sh"]

    def test_redirect_to_the_inside(self):
        port = self.victim.port
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"x.localhost:{port}", f"[::1]:{port}", f"[::ffff:127.0.0.1]:{port}",
                     f"[64:ff9b::7f00:1]:{port}", f"2130706433:{port}", f"127.1:{port}", f"0x7f000001:{port}", f"0.0.0.0:{port}",
                     "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]",
                     "[fd12::1]"):
            result = self.pull(self.outside(f'return 302 "http://{host}$request_uri";'), status=4)
            self.assertIn("which is refused", result.err, host)
        self.assertEqual(self.victim.requests(), [])

    def test_redirect_to_a_name_that_leads_inside(self):
        """The name looks harmless; what it resolves to counts (DNS rebinding)."""
        prefix = self.hosts("127.0.0.1 redirect.example\n")
        env = dict(self.outside('return 302 "http://redirect.example:%d$request_uri";' % self.victim.port),
                   NO_PROXY="redirect.example")
        result = self.pull(env, status=4, prefix=prefix)
        self.assertIn("internal address", result.err)
        # Also behind a second hop of one host.
        env = dict(self.outside(
            'if ($arg_hop = "") { return 302 "http://redirect.example:%d$uri?hop=1"; }' % self.victim.port),
            NO_PROXY="redirect.example")
        self.pull(env, status=4, prefix=prefix)
        self.assertEqual(self.victim.requests(), [])

    def test_inside_may_lead_inside(self):
        """A registry on loopback, by its address or by a name, may redirect to loopback."""
        server, http = front(self.source, blobs='return 302 "http://localhost:%d$request_uri";' % self.victim.port)
        inside = self.nginx(server, http=http, lua=True)
        self.pull({}, ref=f"{inside.address}/team/app:1")
        config = self.config(insecure=[f"registry.example:{inside.port}"])
        self.new_varve().run("--config", config, "pull", f"registry.example:{inside.port}/team/app:1",
                             prefix=self.hosts("127.0.0.1 registry.example localhost\n"))
        self.assertEqual(len(self.victim.requests("/blobs/")), 4)

    def test_layer_url_to_the_inside(self):
        name = "redirect.example"
        for host, prefix in ((f"localhost:{self.victim.port}", ()), (f"127.0.0.1:{self.victim.port}", ()),
                             (f"{name}:{self.victim.port}", self.hosts(f"127.0.0.1 {name}\n"))):
            manifest, blobs = self.foreign_image(f"http://{host}/v2/team/app/blobs/{digest_of(self.layer)}")
            server = "".join(f"location ~ {digest}$ {{ alias {path}; }} " for digest, path in blobs.items())
            self.proxy = self.nginx(f"{server} location ~ manifests {{ default_type {OCI_MANIFEST}; alias {manifest}; }}")
            self.pull({"HTTP_PROXY": f"http://{self.proxy.address}", "NO_PROXY": name}, status=(3, 4), prefix=prefix)
            self.assertTrue(self.proxy.requests(digest_of(self.layer)))  # the registry itself is asked first
        self.assertEqual(self.victim.requests(), [])

    def foreign_image(self, url):
        """Paths of a manifest whose layer is only at a URL, and of its other blobs by digest."""
        config = json.dumps({"os": "linux", "architecture": "amd64",
                             "rootfs": {"type": "layers", "diff_ids": [digest_of(self.layer)]}}).encode()
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                    "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
                    "layers": [{"mediaType": OCI_LAYER.replace("layer.v1", "layer.nondistributable.v1"),
                                "digest": digest_of(self.layer), "size": len(self.layer), "urls": [url]}]}
        manifest, blob = self.path("manifest"), self.path("blob")
        manifest.write_text(json.dumps(document))
        blob.write_bytes(config)
        return manifest, {digest_of(config): blob}

    def test_token_server_inside(self):
        """A realm whose name leads to loopback is not asked when the registry is not there."""
        prefix = self.hosts("127.0.0.1 redirect.example\n")
        env = dict(self.outside(manifests="add_header WWW-Authenticate 'Bearer realm=\"http://redirect.example:%d/token\"' always; return 401;"
                                % self.victim.port), NO_PROXY="redirect.example")
        self.pull(env, status=4, prefix=prefix)
        self.assertEqual(self.victim.requests(), [])


class TokenRedirects(Case):
    """A token server that redirects on its own host must not get secrets to another port of it (2.17)."""

    def test_to_another_port(self):
        thief = self.nginx('location / { default_type application/json; return 200 \'{"token":"t"}\'; }')
        sender = self.nginx("location /token { return 307 http://127.0.0.1:%d/steal; }" % thief.port)
        registry = self.nginx("location / { add_header WWW-Authenticate 'Bearer realm=\"http://%s/token\",service=\"s\"' always; return 401; }"
                              % sender.address)
        path = self.varve.home / ".docker/config.json"
        path.parent.mkdir()
        for entry in ({"auth": base64.b64encode(b"user:secret").decode()}, {"identitytoken": "secret"}):
            path.write_text(json.dumps({"auths": {registry.address: entry}}))
            result = self.varve.run("pull", f"{registry.address}/team/app:1", status=4)
            self.assertIn("refused", result.err)
            self.assertNotIn("secret", result.err)
            self.assertTrue(sender.requests("/token"))
            self.assertEqual(thief.requests(), [])
        # Without a secret there is nothing to lose.
        path.write_text("{}")
        self.varve.run("pull", f"{registry.address}/team/app:1", status=5)
        self.assertEqual(len(thief.requests("/steal")), 1)


class Logins(Case):
    """A registry that wants a password, behind an nginx that redirects."""

    def setUp(self):
        super().setUp()
        layout = self.layout()
        layout.image("a", [Tar().file("a", "a")])
        plain = self.registry()
        plain.push(layout, "a", "team/app", "1")
        self.origin = self.registry(storage=plain.storage, htpasswd={"user": "secret"})

    def behind(self, blobs, other=""):
        """The reference through an nginx, self.front; the password of the registry is known."""
        server, http = front(self.origin, blobs, other=other)
        self.front = self.nginx(server, http=http, lua=True)
        self.login(self.front.address)
        return f"{self.front.address}/team/app:1"

    def login(self, *hosts):
        path = self.varve.home / ".docker/config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"user:secret").decode()} for host in hosts}}))

    def test_stays_where_it_is(self):
        """A redirect within the registry keeps the login."""
        ref = self.behind("return 307 /moved$request_uri;", "location /moved/ { proxy_pass http://%s/; }" % self.origin.address)
        self.varve.run("pull", ref)
        self.assertEqual([(r["status"], r["authorization"][:6]) for r in self.front.requests("/moved/")], [(200, "Basic ")] * 2)

    def test_challenge_elsewhere(self):
        """Where a redirect leads to nobody gets a login, also if he asks for one and it is known."""
        thief = self.nginx("location / { add_header WWW-Authenticate 'Basic realm=x' always; return 401; }")
        ref = self.behind(f"return 307 http://{thief.address}$request_uri;")
        self.login(self.front.address, thief.address)
        self.varve.run("pull", ref, status=5)
        self.assertEqual({r["authorization"] for r in thief.requests()}, {""})

    def test_ten_hops(self):
        for hops, status in ((10, 0), (11, 5)):
            ref = self.behind("return 307 /hop/1$request_uri;", """location ~ ^/hop/(?<n>1+)(?<rest>/v2/.*)$ {
                if ($n != %s) { return 307 /hop/${n}1$rest; } proxy_pass http://%s$rest; }""" % ("1" * hops, self.origin.address))
            self.new_varve(HOME=self.varve.home).run("pull", ref, status=status)
            self.assertEqual(max(len(r["path"].split("/")[2]) for r in self.front.requests("/hop/")), 10)
