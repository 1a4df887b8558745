# SPDX-License-Identifier: Apache-2.0
"""TLS and proxies: certs.d, insecure hosts, client certificates, proxy variables (docs/requirements.md 5.13 to 5.17)."""

import base64
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading

from support import Case, Tar, Tokens, need_root, samples
from support.registry_front import front
from support.servers import Server


class Https(Case):
    """A registry with TLS and an authority that signed its certificate."""

    def setUp(self):
        super().setUp()
        self.ca = self.authority("ca")
        self.source = self.registry()
        self.images = self.layout()
        samples.flat(self.images, "a")
        self.source.push(self.images, "a", "team/app", "1")
        self.cert, self.key = self.certificate("server", self.ca)

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={name}", "-keyout",
                     self.dir / f"{name}.key", "-out", self.dir / f"{name}.crt")
        return name

    def certificate(self, name, ca, san="IP:127.0.0.1"):
        cert, key, request, ext = (self.dir / f"{name}.{s}" for s in ("pem", "key.pem", "csr", "ext"))
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        ext.write_text(f"subjectAltName={san}\n")
        self.openssl("x509", "-req", "-in", request, "-CA", self.dir / f"{ca}.crt", "-CAkey", self.dir / f"{ca}.key",
                     "-CAcreateserial", "-days", 2, "-extfile", ext, "-out", cert)
        return cert, key

    def https(self, extra="", blobs=""):
        server, http = front(self.source, blobs=blobs)
        self.front = self.nginx(f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; {extra} {server}", http=http,
                                lua=True, listen=" ssl http2")
        return f"{self.front.address}/team/app:1"

    def certs_d(self, *files, host=None):
        directory = self.varve.home / ".config/containers/certs.d" / (host or self.front.address)
        directory.mkdir(parents=True, exist_ok=True)
        for source, name in files:
            shutil.copy(source, directory / name)
        return directory


class TwoSchemes(Https):
    """One address answers https, with the registry of a user, and http, with a mirror of Docker Hub."""

    def test_login_is_for_https(self):
        private = self.registry(htpasswd={"me": "Zq7secretXw9"})
        private.push(self.images, "a", "team/app", "1")
        self.source.push(self.images, "a", "library/debian", "x")
        both = self.nginx(
            f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; error_page 497 = @plain; access_log {{dir}}/schemes schemes;"
            " location / { proxy_pass http://$place; } location @plain { proxy_pass http://$place; }",
            http=f"""map $request_uri $place {{ ~^/v2/team/ {private.address}; default {self.source.address}; }}
                log_format schemes '$https|$request_uri|$status|$http_authorization';""", listen=" ssl")
        self.front = both
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        auth, config = self.path("auth"), self.path("config")
        auth.write_text(json.dumps({"auths": {both.address: {"auth": base64.b64encode(b"me:Zq7secretXw9").decode()}}}))
        auth.chmod(0o600)
        config.write_text(json.dumps({"registries": {"docker.io": {"fallback": False, "mirrors": [
            {"url": f"http://{both.address}", "capabilities": ["pull", "resolve"]}]}}}))
        app = f"{both.address}/team/app:1"
        for refs in ((app,), ("debian:x", app), (app, "debian:x"), ("debian:x",)):
            with self.subTest(refs=refs):
                varve = self.new_varve(REGISTRY_AUTH_FILE=auth)
                shutil.copytree(self.varve.home / ".config", varve.home / ".config")
                varve.run("--config", config, "pull", "--jobs", "1", *refs)
                asked = [line.split("|") for line in (both.directory / "schemes").read_text().splitlines()]
                os.truncate(both.directory / "schemes", 0)
                plain = [line for line in asked if not line[0]]
                self.assertEqual([line for line in plain if line[3] != "-"], [])
                self.assertEqual([line for line in plain if "/team/" in line[1]], [])
                self.assertEqual(bool(plain), "debian:x" in refs)
                if app in refs:
                    self.assertTrue([line for line in asked if line[0] and "/team/" in line[1] and line[3].startswith("Basic")])


class Tls(Https):
    def test_unknown_authority(self):
        ref = self.https()
        result = self.varve.run("pull", ref, status=5)
        self.assertIn("certs.d", result.err)
        self.assertEqual(self.front.requests(), [])

    def test_certs_d(self):
        ref = self.https()
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        self.varve.run("pull", ref)
        protocols = {("blobs" in r["path"], r["protocol"]) for r in self.front.requests()}
        self.assertEqual(protocols, {(False, "HTTP/2.0"), (True, "HTTP/1.1")})

    def test_wrong_host(self):
        self.cert, self.key = self.certificate("other", self.ca, "DNS:other.example")
        ref = self.https()
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        self.varve.run("pull", ref, status=5)

    def test_insecure(self):
        ref = self.https()
        path = self.path("config")
        path.write_text(json.dumps({"insecure": [self.front.address]}))
        self.varve.run("--config", path, "pull", ref)

    def test_client_certificate(self):
        ref = self.https(f"ssl_client_certificate {self.dir}/ca.crt; ssl_verify_client on;")
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        self.varve.run("pull", ref, status=5)
        cert, key = self.certificate("client", self.ca)
        self.certs_d((cert, "c.cert"), (key, "c.key"))
        # No connection is used twice: libcurl may take one that was made with another certificate (CVE-2026-8932).
        self.source.push(self.images, "a", "team/other", "1")
        self.front.forget_log()
        self.varve.run("pull", ref, ref.replace("app", "other"))
        self.assertEqual({(r["status"], r["nth"]) for r in self.front.requests()}, {(200, 1)})

    def test_half_a_pair(self):
        ref = self.https()
        cert, key = self.certificate("client", self.ca)
        self.certs_d((cert, "c.cert"))
        self.assertIn("c.key", self.varve.run("pull", ref, status=5).err)
        directory = self.certs_d((key, "c.key"))
        (directory / "c.cert").unlink()
        self.assertIn("c.cert", self.varve.run("pull", ref, status=5).err)

    def test_redirect_to_http(self):
        ref = self.https(blobs="return 302 http://%s$request_uri;" % self.source.address)
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        result = self.varve.run("pull", ref, status=5)
        self.assertIn("https to http", result.err)
        self.assertEqual(self.source.requests("GET", "/blobs/"), [])

    def test_broken_handshake_on_loopback(self):
        """Once TLS is known to be spoken there, a handshake that breaks off does not make it plain http."""
        self.https()
        line = Connect(("127.0.0.1", self.front.port), (2,), transparent=True)
        self.addCleanup(line.server_close)
        self.addCleanup(line.shutdown)
        host = "127.0.0.1:%d" % line.server_address[1]
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host=host)
        self.varve.run("pull", f"{host}/team/app:1")
        self.assertGreater(len(line.asked), 2)

    def mounted(self, *pairs):
        """A prefix for commands: each (ours, theirs), ours is found there."""
        need_root()
        return ["unshare", "-m", "sh", "-c", "".join(f"mount --bind {a} {b} && " for a, b in pairs) + 'exec "$@"', "sh"]

    def test_certs_d_of_the_machine(self):
        """The user's own, /etc/containers, /etc/docker: the first directory of the host counts, alone."""
        ref = self.https()
        self.authority("other")
        for *cas, status in ((None, None, "ca", 0), (None, "ca", "other", 0), (None, "other", "ca", 5), ("ca", "other", "other", 0),
                             ("other", "ca", "ca", 5)):
            varve, etc = self.new_varve(), self.path("etc")
            tops = varve.home / ".config/containers", etc / "containers", etc / "docker"
            for ca, top in zip(cas, tops):
                top.mkdir(parents=True)
                if ca:
                    (top / "certs.d" / self.front.address).mkdir(parents=True)
                    shutil.copy(self.dir / f"{ca}.crt", top / "certs.d" / self.front.address)
            varve.run("pull", ref, status=status, prefix=self.mounted((tops[1], "/etc/containers"), (tops[2], "/etc/docker")))

    def test_authorities_of_the_system_stay(self):
        """One in certs.d is trusted beside them, not in their place."""
        ref = self.https()
        self.authority("other")
        self.certs_d((self.dir / "other.crt", "other.crt"))
        self.varve.run("pull", ref, status=5)
        self.varve.run("pull", ref, prefix=self.mounted((self.dir / "ca.crt", "/etc/ssl/certs/ca-certificates.crt")))

    def hashed(self, name, *authorities, bundle=()):
        """A directory of roots as update-ca-certificates makes it."""
        directory = self.path(name)
        directory.mkdir()
        for ca in authorities:
            shutil.copy(self.dir / f"{ca}.crt", directory / f"{ca}.pem")
        self.openssl("rehash", directory)
        (directory / "ca-certificates.crt").write_text("".join((self.dir / f"{ca}.crt").read_text() for ca in bundle))
        return directory

    def test_roots_by_hash(self):
        """The one that signed is read, not all of them; those that are in the bundle only are found as well."""
        ref = self.https()
        self.authority("other")
        trace = self.path("trace")

        def pull(directory, status=0, certs_d=()):
            varve = self.new_varve()
            if certs_d:
                (varve.home / ".config/containers/certs.d" / self.front.address).mkdir(parents=True)
                shutil.copy(self.dir / f"{certs_d}.crt", varve.home / ".config/containers/certs.d" / self.front.address)
            varve.run("pull", ref, status=status,
                      prefix=self.mounted((directory, "/etc/ssl/certs")) + ["strace", "-f", "-o", trace, "-e", "trace=openat"])
            return "ca-certificates.crt" in trace.read_text()

        self.assertFalse(pull(self.hashed("1", "ca", "other", bundle=["ca", "other"])))
        self.assertFalse(pull(self.hashed("2", "ca", bundle=["other"]), certs_d="other"))
        self.assertFalse(pull(self.hashed("3", "other", bundle=["other"]), certs_d="ca"))
        self.assertTrue(pull(self.hashed("4", "other", bundle=["ca"])))
        self.assertTrue(pull(self.hashed("5", bundle=["ca"])))
        self.assertTrue(pull(self.hashed("6", "other", bundle=["ca"]), certs_d="other"))
        self.assertTrue(pull(self.hashed("7", "other", bundle=["other"]), status=5))

    def test_netrc(self):
        """For https only, and only when no file and no helper has a login."""
        registry, plain = (self.registry(storage=self.source.storage, htpasswd={"user": "secret"}, **tls)
                           for tls in ({"tls": (self.cert, self.key)}, {}))
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host=registry.address)
        netrc, auth = self.varve.home / ".netrc", self.varve.home / ".docker/config.json"
        auth.parent.mkdir()
        netrc.write_text("machine 127.0.0.1 login user password secret\n")
        self.varve.run("pull", f"{registry.address}/team/app:1")
        result = self.varve.run("pull", f"{plain.address}/team/app:1", status=5)
        self.assertIn("needs a login", result.err)
        self.assertNotIn(".netrc", result.err)
        netrc.write_text("machine other.example login user password wrong\ndefault login user password secret\n")
        result = self.varve.run("pull", f"{registry.address}/team/app:1", status=5)
        self.assertIn("needs a login", result.err)
        auth.write_text(json.dumps({"auths": {registry.address: {"auth": base64.b64encode(b"user:wrong").decode()}}}))
        result = self.varve.run("pull", f"{registry.address}/team/app:1", status=5)
        self.assertIn(str(auth), result.err)

    def test_never_back_to_http(self):
        """TLS is gone when the password is to be shown: it is not shown in the clear, however insecure the host is listed."""
        plain = self.nginx("location / { return 401; }")
        self.source = self.registry(storage=self.source.storage, htpasswd={"user": "secret"})
        self.https("keepalive_timeout 0;")
        line = Connect([("127.0.0.1", self.front.port), ("127.0.0.1", plain.port)], transparent=True)
        self.addCleanup(line.server_close)
        self.addCleanup(line.shutdown)
        host = "127.0.0.1:%d" % line.server_address[1]
        config, auth = self.path("config"), self.varve.home / ".docker/config.json"
        config.write_text(json.dumps({"insecure": [host]}))
        auth.parent.mkdir()
        auth.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"user:secret").decode()}}}))
        self.varve.run("--config", config, "pull", f"{host}/team/app:1", status=5)
        self.assertEqual([r["status"] for r in self.front.requests()], [401])
        self.assertGreaterEqual(len(line.asked), 2)
        self.assertEqual(plain.requests(), [])

    def test_goaway(self):
        """HTTP/2 connections that end after two requests, while seven manifests are asked for."""
        refs = [self.https("keepalive_requests 2;")]
        layout = self.layout()
        for i in range(2, 8):
            layout.image("b", [Tar().file("f", str(i))])
            self.source.push(layout, "b", "team/app", str(i))
            refs.append(f"{self.front.address}/team/app:{i}")
        self.certs_d((self.dir / "ca.crt", "ca.crt"))
        self.varve.run("pull", *refs)
        asked = self.front.requests("/manifests/")
        self.assertEqual({(r["status"], r["protocol"]) for r in asked}, {(200, "HTTP/2.0")})
        self.assertEqual(len(asked), 7)


class Connect(socketserver.ThreadingTCPServer):
    """A CONNECT proxy that leads everything to one address, each host to its own, or one connection after the other; nginx has no such thing.
    transparent: it is no proxy, but passes bytes on. The connections with the numbers in `cut` (from 1) are reset when the client has begun its handshake."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, target, cut=(), transparent=False):
        self.target, self.asked, self.cut, self.transparent = target, [], cut, transparent
        super().__init__(("127.0.0.1", 0), _Tunnel)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self):
        head = []
        while not self.server.transparent and (line := self.rfile.readline().strip()):
            head.append(line.decode())
        self.server.asked.append(head)
        said = b"" if self.server.transparent else b"HTTP/1.1 200 OK\r\n\r\n"
        if not self.server.transparent and (not head[0].startswith("CONNECT ") or self.server.target is None):
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        target = self.server.target
        if isinstance(target, list):
            target = target[min(len(self.server.asked), len(target)) - 1]
        if isinstance(target, dict):
            target = target[head[0].split()[1].split(":")[0]]
        if len(self.server.asked) in self.server.cut:
            self.wfile.write(said)
            self.connection.recv(100)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            return
        with socket.create_connection(target) as there:
            self.wfile.write(said)
            back = threading.Thread(target=self._copy, args=(there, self.connection), daemon=True)
            back.start()
            self._copy(self.connection, there)
            back.join()

    @staticmethod
    def _copy(a, b):
        try:
            while (data := a.recv(65536)):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Tinyproxy(Server):
    """Debian's CONNECT proxy; it wants a password, and finds registry.example on this machine."""

    def __init__(self, directory, user, password):
        directory.mkdir()
        self.directory = directory
        super().__init__(directory / "log")
        self.login = f"{user} {password}"

    def command(self):
        (self.directory / "hosts").write_text("127.0.0.1 localhost registry.example\n")
        (self.directory / "conf").write_text(f"Port {self.port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 50\n"
                                             f"BasicAuth {self.login}\nLogLevel Connect\n")
        return ["unshare", "-m", "sh", "-c", "mount --bind hosts /etc/hosts && exec tinyproxy -d -c conf".replace(
            "hosts /", f"{self.directory}/hosts /").replace("conf", f"{self.directory}/conf")]


class RealProxy(Https):
    """CONNECT with Basic authentication, by tinyproxy (5.14)."""

    def setUp(self):
        need_root()
        super().setUp()
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https()
        self.host = f"registry.example:{self.front.port}"
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host=self.host)
        self.proxy = Tinyproxy(self.path("proxy"), "user", "proxy-secret").start()
        self.addCleanup(self.proxy.stop)

    def pull(self, login, status=0):
        return self.varve.run("-v", "-v", "pull", f"{self.host}/team/app:1", status=status,
                              env={"HTTPS_PROXY": f"http://{login}{self.proxy.address}"})

    def test_password(self):
        result = self.pull("user:proxy-secret@")
        self.assertNotIn("proxy-secret", result.err)
        self.assertTrue(self.front.requests("/blobs/"))
        self.assertIn(f"CONNECT {self.host}", self.proxy.log())

    def test_plain_http(self):
        """Without CONNECT: a 407 is final there, too, and said to be the proxy's."""
        server, http = front(self.source)
        plain = self.nginx(server, http=http, lua=True)
        host = f"registry.example:{plain.port}"
        config = self.path("config")
        config.write_text(json.dumps({"insecure": [host]}))
        for login, status in (("", 5), ("user:proxy-secret@", 0)):
            result = self.varve.run("--config", config, "pull", f"{host}/team/app:1", status=status,
                                    env={"HTTP_PROXY": f"http://{login}{self.proxy.address}"})
            self.assertEqual("the proxy refuses" in result.err, status == 5)
            self.assertEqual(len(plain.requests("/manifests/")), status == 0)
        self.assertEqual({(r["proxy_authorization"], r["authorization"]) for r in plain.requests()}, {("", "")})

    def test_password_stays_at_the_proxy(self):
        """Neither who is behind it nor who is asked without it hears of the password."""
        server, http = front(self.source)
        direct = self.nginx(server, http=http, lua=True)
        env = {"HTTPS_PROXY": f"http://user:proxy-secret@{self.proxy.address}"}
        self.varve.run("pull", f"{self.host}/team/app:1", f"{direct.address}/team/app:1", env=env)
        for nginx in (self.front, direct):
            self.assertEqual({(r["proxy_authorization"], r["authorization"]) for r in nginx.requests("/manifests/")}, {("", "")})
            self.assertEqual({r["proxy_authorization"] for r in nginx.requests()}, {""})

    def test_wrong_or_no_password(self):
        for login in ("user:proxy-wrong@", ""):
            result = self.pull(login, status=5)
            self.assertIn("proxy", result.err)
            self.assertRegex(result.err, "response 40[17]")
            self.assertNotIn("proxy-wrong", result.err)
        self.assertEqual(self.front.requests(), [])


class Proxies(Https):
    def proxy(self, target, cut=()):
        proxy = Connect(target, cut)
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        return proxy

    def test_https_through_connect(self):
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https()
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host="registry.example:443")
        proxy = self.proxy(("127.0.0.1", self.front.port))
        env = {"HTTPS_PROXY": "http://user:proxy-secret@127.0.0.1:%d" % proxy.server_address[1]}
        result = self.varve.run("-v", "-v", "pull", "registry.example/team/app:1", env=env)
        self.assertEqual({head[0] for head in proxy.asked}, {"CONNECT registry.example:443 HTTP/1.1"})
        self.assertNotIn("proxy-secret", result.err)
        self.assertTrue(self.front.requests("/blobs/"))

    def test_password_in_what_is_no_url(self):
        """No parser's words are passed on with it, whatever is wrong with the variable."""
        for proxy in ("htp://bob:S3CRET@127.0.0.1:1", "http://bob:S3CRET@127.0.0.1:99999", "http://bob:S3CRET/x@127.0.0.1:1",
                      "http://bob:S3CRET x@127.0.0.1:1", "http://bob:S3CRET#x@127.0.0.1:1", "http://bob:S3CRET?x@127.0.0.1:1",
                      "bob:S3CRET/x@127.0.0.1:1", "http://bob:S3CRET%zz@127.0.0.1:1", "http://bob:S3CRET@127.0.0.1:1"):
            for options in ((), ("-v", "-v"), ("--json",)):
                with self.subTest(proxy=proxy, options=options):
                    result = self.varve.run(*options, "pull", "registry.example/team/app:1", status=5, env={"HTTPS_PROXY": proxy})
                    self.assertNotIn("S3CRET", result.err + result.out)

    def test_broken_handshake_is_tried_again(self):
        """A connection that breaks while TLS is set up is a bad line, not a registry without TLS."""
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https()
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host="registry.example")
        config = self.path("config")
        config.write_text('{"insecure": ["registry.example"]}')
        for cut, options in (((1,), ()), ((3,), ()), ((1, 2), ()), ((1,), ("--config", config))):
            proxy = self.proxy(("127.0.0.1", self.front.port), cut)
            varve = self.new_varve(HOME=self.varve.home, HTTPS_PROXY="http://127.0.0.1:%d" % proxy.server_address[1])
            varve.run(*options, "pull", "registry.example/team/app:1")
            self.assertGreaterEqual(len(proxy.asked), max(cut))
        proxy = self.proxy(("127.0.0.1", self.front.port), range(100))
        config.write_text('{"retries": 1}')
        result = self.varve.run("--config", config, "pull", "registry.example/team/app:1", status=5,
                                env={"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        self.assertNotIn("insecure", result.err)
        self.assertIn("while TLS was being set up", result.err)

    def test_certificate_of_nobody_is_final(self):
        """It will not be another one the next time: a connection for the roots by hash, one for all of them, and the advice."""
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https()
        proxy = self.proxy(("127.0.0.1", self.front.port))
        result = self.varve.run("pull", "registry.example/team/app:1", status=5,
                                env={"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        self.assertIn("certs.d", result.err)
        self.assertEqual(len(proxy.asked), 2)

    def test_no_tls_there(self):
        """The advice to list a registry as insecure is for one that speaks plain http."""
        proxy = self.proxy(("127.0.0.1", self.source.port))
        result = self.varve.run("pull", "registry.example/team/app:1", status=5,
                                env={"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        self.assertIn("list it as insecure", result.err)

    def test_refused_tls_version(self):
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https("ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;")
        proxy = self.proxy(("127.0.0.1", self.front.port))
        result = self.varve.run("pull", "registry.example/team/app:1", status=5,
                                env={"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        self.assertNotIn("insecure", result.err)
        self.assertLess(len(proxy.asked), 3)

    def test_insecure_is_for_the_listed_host_only(self):
        """A redirect target with a bad certificate is refused although the registry is listed (R-3, 5.16)."""
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        self.https()
        cdn = self.front
        self.https(blobs="return 307 https://cdn.example$request_uri;")
        proxy = self.proxy({"registry.example": ("127.0.0.1", self.front.port), "cdn.example": ("127.0.0.1", cdn.port)})
        env = {"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]}
        config = self.path("config")
        config.write_text('{"insecure": ["registry.example"]}')
        result = self.varve.run("--config", config, "pull", "registry.example/team/app:1", env=env, status=5)
        self.assertIn("cdn.example", result.err)
        self.assertEqual(cdn.requests(), [])
        for entry in ("cdn.example", "cdn.example:443"):
            config.write_text(json.dumps({"insecure": ["registry.example", entry]}))
            self.new_varve().run("--config", config, "pull", "registry.example/team/app:1", env=env)

    def test_docker_hub_by_its_name(self):
        """docker.io is the key of certs.d and of the list of insecure hosts, registry-1.docker.io works, too."""
        self.cert, self.key = self.certificate("hub", self.ca, "DNS:registry-1.docker.io")
        self.https()
        proxy = self.proxy({"registry-1.docker.io": ("127.0.0.1", self.front.port)})
        env = {"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]}
        self.varve.run("pull", "docker.io/team/app:1", env=env, status=5)
        for key in ("docker.io", "docker.io:443", "registry-1.docker.io"):
            varve = self.new_varve()
            directory = varve.home / ".config/containers/certs.d" / key
            directory.mkdir(parents=True)
            shutil.copy(self.dir / "ca.crt", directory)
            varve.run("pull", "docker.io/team/app:1", env=env)
            config = self.path("config")
            config.write_text(json.dumps({"insecure": [key.removesuffix(":443")]}))
            self.new_varve().run("--config", config, "pull", "team/app:1", env=env)
        # Also when it is written as a mirror, it is asked for what is its own.
        config.write_text(json.dumps({"registries": {"docker.io": {"fallback": False, "mirrors": [
            {"url": "https://registry-1.docker.io", "insecure": True, "capabilities": ["pull", "resolve"]}]}}}))
        self.new_varve().run("--config", config, "pull", "team/app:1", env=env)
        self.assertEqual([r for r in self.front.requests() if "ns=" in r["path"]], [])

    def test_http_realm_behind_tls(self):
        """Harbor behind a TLS proxy names its token server by http: it is asked by https, with the credential (dockhand#1428)."""
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        tokens = Tokens(self.dir / "tokens")
        tokens.publish([("team/app", "pull")])
        origin = self.registry(storage=self.source.storage, token=tokens.options("http://registry.example/token"))
        server, http = front(origin, other=tokens.server())
        harbor = self.nginx(f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; {server}", http=http, lua=True, listen=" ssl")
        self.certs_d((self.dir / "ca.crt", "ca.crt"), host="registry.example")
        auth = self.varve.home / ".docker/config.json"
        auth.parent.mkdir()
        auth.write_text(json.dumps({"auths": {"registry.example": {"auth": "dXNlcjpwdw=="}}}))
        proxy = self.proxy(("127.0.0.1", harbor.port))
        self.varve.run("pull", "registry.example/team/app:1", env={"HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        self.assertEqual({r["authorization"] for r in harbor.requests("/token")}, {"Basic dXNlcjpwdw=="})
        self.assertEqual({head[0] for head in proxy.asked}, {"CONNECT registry.example:443 HTTP/1.1"})

    def test_token_server_that_moves_to_https(self):
        """A redirect from http to https of its own host is followed, with the credential."""
        self.cert, self.key = self.certificate("named", self.ca, "DNS:registry.example")
        tokens = Tokens(self.dir / "tokens")
        tokens.publish([("team/app", "pull")])
        origin = self.registry(storage=self.source.storage, token=tokens.options("http://registry.example/token"))
        secure = self.nginx(f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; {tokens.server()}", listen=" ssl")
        server, http = front(origin, other="location = /token { return 307 https://registry.example$request_uri; }")
        plain = self.nginx(server, http=http, lua=True)
        config, auth = self.path("config"), self.varve.home / ".docker/config.json"
        config.write_text('{"insecure": ["registry.example"]}')
        auth.parent.mkdir()
        auth.write_text(json.dumps({"auths": {"registry.example": {"auth": "dXNlcjpwdw=="}}}))
        proxy = self.proxy(("127.0.0.1", secure.port), cut=(1, 2))  # the registry itself has no TLS
        self.varve.run("--config", config, "pull", "registry.example/team/app:1",
                       env={"HTTP_PROXY": f"http://{plain.address}", "HTTPS_PROXY": "http://127.0.0.1:%d" % proxy.server_address[1]})
        for nginx, status in ((plain, 307), (secure, 200)):
            self.assertEqual([(r["authorization"], r["status"]) for r in nginx.requests("/token")], [("Basic dXNlcjpwdw==", status)])

    def test_proxy_that_refuses(self):
        proxy = self.proxy(None)
        env = {"https_proxy": "http://127.0.0.1:%d" % proxy.server_address[1]}
        result = self.varve.run("pull", "registry.example/team/app:1", env=env, status=5)
        self.assertIn("proxy", result.err)
        self.assertEqual(len(proxy.asked), 1)

    def test_http_through_nginx(self):
        """HTTP_PROXY in upper case counts, too; the proxy's access log has the whole URL's host."""
        server, http = front(self.source)
        proxy = self.nginx(server, http=http, lua=True)
        path = self.path("config")
        path.write_text(json.dumps({"insecure": ["registry.example"]}))
        self.varve.run("--config", path, "pull", "registry.example/team/app:1", env={"HTTP_PROXY": f"http://{proxy.address}"})
        self.assertEqual({r["host"] for r in proxy.requests()}, {"registry.example"})
        # A web server that runs varve would take it from a request's header "Proxy".
        proxy.forget_log()
        self.varve.run("--config", path, "pull", "registry.example/team/app:1", status=5,
                       env={"HTTP_PROXY": f"http://{proxy.address}", "REQUEST_METHOD": "GET"})
        self.assertEqual(proxy.requests(), [])

    def test_loopback_is_never_proxied(self):
        proxy = self.proxy(None)
        address = "http://127.0.0.1:%d" % proxy.server_address[1]
        self.varve.run("pull", f"{self.source.address}/team/app:1",
                       env={"http_proxy": address, "https_proxy": address, "all_proxy": address})
        self.assertEqual(proxy.asked, [])

    def test_no_proxy(self):
        proxy = self.proxy(None)
        self.varve.run("pull", "registry.invalid/team/app:1", status=5,
                       env={"https_proxy": "http://127.0.0.1:%d" % proxy.server_address[1], "no_proxy": ".invalid"})
        self.assertEqual(proxy.asked, [])
