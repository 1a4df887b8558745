# SPDX-License-Identifier: Apache-2.0
"""Mirrors: order, capabilities, ?ns=, failover, circuit breaker, never the registry itself (docs/requirements.md 5)."""

import base64
import json
import os
import signal
import socket
import time

from support import Case, Tar, digest_of, free_port
from support.registry_front import CUT, front, random_layer

MIB = 1 << 20


class Mirrors(Case):
    def setUp(self):
        super().setUp()
        layout = self.layout()
        self.layer = random_layer(4 * MIB)
        self.small = Tar().file("small", "small").bytes()
        self.digest = digest_of(self.layer)
        layout.image("a", [self.layer, self.small], compression="none")
        self.source = self.registry()
        self.source.push(layout, "a", "team/app", "1")
        # the registry itself, behind a log
        server, http = front(self.source)
        self.origin = self.nginx(server, http=http, lua=True)
        self.domain = self.origin.address
        self.ref = f"{self.domain}/team/app:1"

    def mirror(self, blobs="", **more):
        server, http = front(self.source, blobs, **more)
        return self.nginx(server, http=http, lua=True)

    def pull(self, mirrors, status=0, varve=None, **registry):
        path = self.path("config")
        path.write_text(json.dumps({"registries": {self.domain: dict(registry, mirrors=mirrors)}}))
        self.varve.run("--config", path, "config", "check")
        result = (varve or self.varve).run("-v", "--config", path, "pull", self.ref, status=status)
        if not status:
            self.assertEqual((varve or self.varve).blob(self.digest).read_bytes(), self.layer)
        return result

    def test_pull_only(self):
        """A mirror that may not resolve gets blobs and digests, never the tag; ?ns= says whose they are."""
        mirror = self.mirror()
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertEqual([r["path"] for r in self.origin.requests()], ["/v2/team/app/manifests/1"])
        blobs = mirror.requests("/blobs/")
        self.assertEqual(len(blobs), 3)
        for request in mirror.requests():
            self.assertTrue(request["path"].endswith("?ns=" + self.domain.replace(":", "%3A")), request)

    def test_resolve(self):
        mirror = self.mirror()
        result = self.pull([{"url": f"http://{mirror.address}", "capabilities": ["pull", "resolve"], "ns": False}])
        self.assertEqual(self.origin.requests(), [])
        # Whose word the tag was is recorded (5.4).
        self.assertEqual(self.varve.json("inspect", self.ref)["image"]["resolved_at"], mirror.address)
        self.assertRegex(self.varve.run("inspect", self.ref).out, f"resolved at +{mirror.address}")
        self.assertFalse([r for r in mirror.requests() if "ns=" in r["path"]])
        self.assertTrue(result)

    def test_order_and_own_headers(self):
        log = "access_by_lua_block { if ngx.var.http_x_team ~= 'a b' then ngx.exit(500) end }"
        first, second = self.mirror(blobs=log), self.mirror()
        self.pull([{"url": f"http://{first.address}", "headers": {"X-Team": "a b"}}, {"url": f"http://{second.address}"}])
        self.assertEqual(len(first.requests("/blobs/")), 3)
        self.assertEqual({r["status"] for r in first.requests("/blobs/")}, {200})
        self.assertEqual(second.requests(), [])

    def test_every_failure_moves_on(self):
        for status in (401, 403, 404, 429, 500, 503):
            mirror = self.mirror(blobs=f"return {status};")
            varve = self.new_varve()
            self.pull([{"url": f"http://{mirror.address}"}], varve=varve)
            self.assertEqual(len(mirror.requests("/blobs/")), 3, status)  # once for each

    def test_refused_connection_and_no_tls(self):
        gone, plain = free_port(), self.mirror()
        err = self.pull([{"url": f"http://127.0.0.1:{gone}"}, {"url": f"https://{plain.address}"}]).err
        self.assertIn(f"127.0.0.1:{gone}: cannot connect", err)
        self.assertIn(f"{plain.address}: no TLS there", err)
        self.assertEqual(plain.requests(), [])

    def test_what_failed_is_told(self):
        """The word of the last place, the registry itself, and those of the others behind it."""
        mirrors = [self.mirror(blobs="return 503;"), self.mirror(blobs="return 404;")]
        server, http = front(self.source, "return 403;")
        self.origin.stop()
        self.origin = self.nginx(server, http=http, lua=True)
        self.domain, self.ref = self.origin.address, f"{self.origin.address}/team/app:1"
        err = self.pull([{"url": f"http://{m.address}"} for m in mirrors], status=5).err
        last = err.splitlines()[-1]
        self.assertRegex(last, rf"after other places failed .*{mirrors[0].address}: [^;]*503.*{mirrors[1].address}: [^;]*404")
        self.assertRegex(last, rf"\): {self.domain}: refuses access.*\(403\)$")

    def test_silent_mirror_costs_its_time_once(self):
        """3 blobs, one timeout: the mirror is not asked again (bottlerocket#4564)."""
        mirror = self.mirror()
        mirror.signal(signal.SIGSTOP)
        for pid in mirror.workers():
            os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        self.pull([{"url": f"http://{mirror.address}", "header_timeout": "2s", "capabilities": ["resolve", "pull"]}])
        self.assertLess(time.monotonic() - begin, 10)
        for pid in mirror.workers():
            os.kill(pid, signal.SIGCONT)
        # Three requests that each wait would take six seconds; what arrived meanwhile is logged now.
        deadline = time.monotonic() + 5
        while not mirror.requests() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        self.assertEqual(len(mirror.requests()), 1)

    def test_silent_mirror_is_asked_again_after_a_minute(self):
        """The large blob takes 64 s from the registry; the one behind it comes from the mirror, which is awake by then."""
        server, http = front(self.source, "limit_rate 64k;")
        self.origin.stop()
        self.origin = self.nginx(server, http=http, lua=True)
        self.domain, self.ref = self.origin.address, f"{self.origin.address}/team/app:1"
        mirror = self.mirror()
        stopped = [mirror.process.pid, *mirror.workers()]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        path = self.path("config")
        path.write_text(json.dumps({"registries": {self.domain: {"mirrors": [{"url": f"http://{mirror.address}", "header_timeout": "1s"}]}}}))
        process = self.varve.popen("--config", path, "pull", "--jobs", "1", self.ref)
        partial = self.varve.store / "tmp/partial" / self.digest[7:]
        while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        err = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)
        self.assertEqual(mirror.requests(self.digest[7:]), [])
        self.assertEqual(len(mirror.requests(digest_of(self.small)[7:])), 1)
        self.assertEqual(self.origin.requests(digest_of(self.small)[7:]), [])

    def silent(self, host="127.0.0.1"):
        """A mirror entry that takes connections and says nothing; and how many there were."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(listener.close)
        listener.setblocking(False)

        def count():
            n = 0
            while True:
                try:
                    listener.accept()[0].close()
                    n += 1
                except BlockingIOError:
                    return n
        return {"url": f"http://{host}:{listener.getsockname()[1]}", "header_timeout": "2s",
                "capabilities": ["resolve", "pull"]}, count

    def test_circuit_breaker_knows_a_host_in_any_spelling(self):
        mirror, count = self.silent("LOCALHOST")
        self.pull([mirror])
        self.assertEqual(count(), 1)

    def test_outdated_learns_from_one_tag_for_the_next(self):
        """One client for all questions: a mirror that is down costs its time once, limits are kept."""
        layout = self.layout()
        layout.image("a", [self.small], compression="none")
        refs = []
        for i in range(5):
            self.source.push(layout, "a", "team/app", f"t{i}")
            refs.append(f"{self.domain}/team/app:t{i}")
        self.varve.run("pull", *refs)
        mirror, count = self.silent()
        path = self.path("config")
        path.write_text(json.dumps({"registries": {self.domain: {"mirrors": [mirror]}}}))
        states = [i["state"] for i in self.varve.json("--config", path, "outdated")["items"]]
        self.assertEqual(states, ["current"] * 5)
        self.assertEqual(count(), 1)

    def test_limits_are_those_of_who_told_them(self):
        say = "add_header RateLimit-Limit '7;w=60' always; add_header RateLimit-Remaining '3;w=60' always;"
        mirror = self.mirror(manifests=say, blobs=say)
        self.pull([{"url": f"http://{mirror.address}"}])
        known = self.varve.json("registry", "status")["registries"]
        self.assertEqual([(r["registry"], r["remaining"]) for r in known], [(mirror.address, 3)])

    def test_wait_is_offered_where_it_can_be_given(self):
        self.pull([])
        server, http = front(self.source)
        busy = "location / { add_header Retry-After 3600 always; return 429; }"
        mirror = self.nginx(busy)
        config = self.path("config")
        config.write_text(json.dumps({"registries": {self.domain: {"fallback": False, "mirrors": [
            {"url": f"http://{mirror.address}", "capabilities": ["pull", "resolve"]}]}}}))
        for command, offered in ((("pull", self.ref), True), (("outdated",), True),
                                 (("login", "-u", "u", "--password-stdin", mirror.address), False)):
            result = self.varve.run("--config", config, *command, input=b"x", status=5)
            self.assertEqual("--wait" in result.err, offered, result)
            self.assertIn("3600 s", result.err)
        # HEAD was refused by the limit: no GET, which counts.
        self.assertEqual([r["method"] for r in mirror.requests("/manifests/")], ["HEAD", "HEAD"])

    def test_failover_in_the_middle_of_a_blob(self):
        """What came from the mirror is continued from the registry."""
        mirror = self.mirror(blobs="""access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) > 1 then ngx.exit(503) end }
            header_filter_by_lua_block { if ngx.status == 200 then ngx.ctx.limit = 2 * 1048576 end }""" + CUT)
        self.pull([{"url": f"http://{mirror.address}"}])
        ranges = [r["range"] for r in self.origin.requests(self.digest[7:])]
        self.assertEqual(len(ranges), 1)
        first, last = ranges[0].removeprefix("bytes=").split("-")
        self.assertEqual(int(last), len(self.layer) - 1)
        self.assertTrue(MIB < int(first) <= 2 * MIB, first)

    def test_wrong_bytes(self):
        mirror = self.mirror(blobs="""body_filter_by_lua_block {
          if ngx.arg[1] and #ngx.arg[1] > 1000 then ngx.arg[1] = "XXXX" .. string.sub(ngx.arg[1], 5) end }""")
        result = self.pull([{"url": f"http://{mirror.address}"}])
        self.assertIn(mirror.address, result.err)
        self.assertEqual([len(s.requests(self.digest[7:])) for s in (mirror, self.origin)], [1, 1])

    def test_wrong_length(self):
        """Its Content-Length is not the size of the blob: nothing of the body is taken, the next place is asked."""
        mirror = self.mirror(blobs="if ($uri ~ %s) { return 200 'short'; }" % self.digest[7:])
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertEqual([r["range"] for r in self.origin.requests("/blobs/")], [""])
        self.assertEqual(len(mirror.requests(self.digest[7:])), 1)

    def killed(self):
        """The partial file of a pull from a slow mirror that was killed after a MiB."""
        partial = self.varve.store / "tmp/partial" / self.digest[7:]
        path = self.path("config")
        path.write_text(json.dumps({"registries": {self.domain: {"mirrors": [{"url": f"http://{self.mirror(blobs='limit_rate 2m;').address}"}]}}}))
        process = self.varve.popen("--config", path, "pull", self.ref)
        while not (partial.exists() and partial.stat().st_size > MIB) and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        return partial

    def test_damaged_partial(self):
        """What was on the disk was wrong, not the mirror: it is asked once more, from zero, and nobody else (4.5)."""
        with open(self.killed(), "r+b") as file:
            file.write(b"X" * 10)
        mirror = self.mirror()
        self.origin.forget_log()
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertEqual([r["status"] for r in mirror.requests(self.digest[7:])], [206, 200])
        self.assertEqual(self.origin.requests("/blobs/"), [])

    def test_never_the_registry_itself(self):
        mirror = self.mirror(blobs="return 503;")
        path = self.path("config")
        path.write_text(json.dumps({"retries": 1, "registries": {self.domain: {"fallback": False, "mirrors": [
            {"url": f"http://{mirror.address}", "capabilities": ["pull", "resolve"]}]}}}))
        result = self.varve.run("--config", path, "pull", self.ref, status=5)
        self.assertIn(mirror.address, result.err)
        self.assertEqual(self.origin.requests(), [])

    def test_no_mirror_may_resolve_and_no_fallback(self):
        mirror = self.mirror()
        result = self.pull([{"url": f"http://{mirror.address}"}], fallback=False, status=2)
        self.assertIn("resolve", result.err)

    def test_credentials_of_the_registry_stay_there(self):
        mirror = self.mirror(blobs="""access_by_lua_block { if not ngx.var.http_authorization then
            ngx.header.www_authenticate = 'Basic realm="x"'; ngx.exit(401) end }""")
        home = self.varve.home / ".docker"
        home.mkdir()
        (home / "config.json").write_text(json.dumps({"auths": {self.domain: {"auth": base64.b64encode(b"u:p").decode()}}}))
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertEqual({r["authorization"] for r in mirror.requests()}, {""})

    def test_credentials_of_the_mirror(self):
        """Looked up by its own host, and shown nowhere else."""
        server, http = front(self.registry(storage=self.source.storage, htpasswd={"m": "secret"}))
        mirror = self.nginx(server, http=http, lua=True)
        home = self.varve.home / ".docker"
        home.mkdir()
        auth = {host: base64.b64encode(text).decode() for host, text in ((mirror.address, b"m:secret"), (self.domain, b"u:p"))}
        (home / "config.json").write_text(json.dumps({"auths": {host: {"auth": value} for host, value in auth.items()}}))
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertEqual({(r["authorization"], r["status"]) for r in mirror.requests("/blobs/")},
                         {("", 401), ("Basic " + auth[mirror.address], 200)})
        self.assertEqual({r["authorization"] for r in self.origin.requests()}, {""})
        self.assertEqual(self.origin.requests("/blobs/"), [])

    def test_ns_is_for_the_mirror_alone(self):
        """With each request to it, HEAD and GET; not with those for a token, and not where it redirects to: nor are its headers."""
        cdn = self.mirror(blobs="if ($http_x_team) { return 403; }")
        want = """access_by_lua_block { if not ngx.var.http_authorization then ngx.header.www_authenticate =
            'Bearer realm="http://{address}/token",service="s"' ngx.exit(401) end }"""
        mirror = self.mirror(blobs=want + ' rewrite_by_lua_block { if ngx.var.http_authorization then ngx.redirect("http://%s" .. ngx.var.uri, 307) end }'
                             % cdn.address, manifests=want,
                             other='location = /token { default_type application/json; return 200 \'{"token":"t"}\'; }')
        config = [{"url": f"http://{mirror.address}", "capabilities": ["pull", "resolve"], "headers": {"X-Team": "secret"}}]
        self.pull(config)
        self.pull(config)
        asked = mirror.requests("/v2/")
        self.assertEqual({(r["method"], r["path"].split("?")[1:] == ["ns=" + self.domain.replace(":", "%3A")]) for r in asked},
                         {("GET", True), ("HEAD", True)})
        self.assertEqual([r for r in mirror.requests("/token") + cdn.requests() if "ns=" in r["path"]], [])
        self.assertEqual((len(mirror.requests("/token")), [r["status"] for r in cdn.requests()]), (2, [200] * 3))

    def test_other_repository_and_path(self):
        server, http = front(self.source)
        mirror = self.nginx("location /proxy/api/hub/ { rewrite ^/proxy/api/hub/(.*)$ /v2/$1 break; proxy_pass http://%s; }"
                            % self.source.address)
        path = self.path("config")
        path.write_text(json.dumps({"registries": {self.domain + "/team": {"mirrors": [
            {"url": f"http://{mirror.address}/proxy/api/", "override_path": True, "repository": "hub/team",
             "capabilities": ["resolve", "pull"], "ns": False}]}}}))
        self.varve.run("--config", path, "pull", self.ref)
        self.assertEqual(self.origin.requests(), [])
        self.assertTrue(mirror.requests("/proxy/api/hub/team/app/blobs/"))

    def test_blocked(self):
        result = self.pull([], blocked=True, status=2)
        self.assertIn("blocked", result.err)
        self.assertEqual(self.origin.requests(), [])

    def test_location(self):
        path = self.path("config")
        path.write_text(json.dumps({"registries": {"registry.example": {"location": f"{self.domain}/team"}}}))
        self.varve.run("--config", path, "pull", "registry.example/app:1")
        self.assertTrue(self.origin.requests("/v2/team/app/"))

    def kept(self, cache):
        """The cache's own file of the layer, as soon as it has one."""
        path = cache.blob_file(self.digest)
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return path

    def test_pull_through_cache(self):
        """docker-registry as a cache: cold it answers a range with the whole blob, whose beginning is skipped; warm it serves ranges."""
        registry = self.registry(proxy=f"http://{self.source.address}")
        server, http = front(registry)
        cache = self.nginx(server, http=http, lua=True)
        for status in (200, 206):
            self.varve = self.new_varve()
            self.killed()
            self.origin.forget_log()
            cache.forget_log()
            self.pull([{"url": f"http://{cache.address}"}])
            [asked] = cache.requests(self.digest[7:])
            self.assertEqual((asked["status"], asked["range"].split("-")[-1]), (status, str(len(self.layer) - 1)))
            self.assertEqual(self.origin.requests("/blobs/"), [])
            self.kept(registry)

    def test_damaged_cache(self):
        """docker-registry as a cache whose copy is gone, empty, short or wrong: the registry itself is asked (distribution#4191)."""
        cache = self.registry(proxy=f"http://{self.source.address}")
        mirror = {"url": f"http://{cache.address}"}
        self.pull([mirror])
        path = self.kept(cache)
        whole = path.read_bytes()
        for content in (None, b"", whole[:MIB], b"X" * len(whole)):
            self.origin.forget_log()
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            self.pull([mirror], varve=self.new_varve())
            if content is not None:
                self.assertTrue(self.origin.requests(self.digest[7:]), content and content[:10])

    def test_nothing_with_200(self):
        """The right Content-Length and no byte: not a success; each blob is asked for elsewhere, soon."""
        mirror = self.mirror(blobs="header_filter_by_lua_block { ngx.ctx.limit = 0; ngx.ctx.over = true }" + CUT)
        begin = time.monotonic()
        self.pull([{"url": f"http://{mirror.address}"}])
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(len(self.origin.requests(self.digest[7:])), 1)
        self.assertEqual(self.origin.requests(self.digest[7:])[0]["range"], "")

    def test_unknown_member(self):
        path = self.path("config")
        path.write_text('{"registires": {}}')
        result = self.varve.run("--config", path, "pull", self.ref)
        self.assertIn("registires", result.err)
        self.assertIn("registires", str(self.varve.run("--config", path, "config", "check", status=None)))
        self.assertNotEqual(self.varve.run("--config", path, "config", "check", status=None).status, 0)
