# SPDX-License-Identifier: Apache-2.0
"""Blobs from servers that lie, break off, stall and redirect (docs/requirements.md 4 and 8)."""

import base64
import json
import os
import signal
import time

from support import Case, digest_of
from support.registry_front import CUT, front, random_layer

MIB = 1 << 20


class Blobs(Case):
    """One image with a layer of 6 MiB in a registry behind nginx."""

    SIZE = 6 * MIB

    def setUp(self):
        super().setUp()
        self.origin = self.registry()
        layout = self.layout()
        self.layer = random_layer(self.SIZE)
        self.digest = digest_of(self.layer)
        layout.image("a", [self.layer], compression="none")
        self.origin.push(layout, "a", "team/app", "1")

    def behind(self, blobs="", **more):
        """The reference through an nginx with these directives for blobs; self.front is the nginx."""
        server, http = front(self.origin, blobs, **more)
        self.front = self.nginx(server, http=http, lua=True)
        return f"{self.front.address}/team/app:1"

    def cut_first(self, limit, more=""):
        """The first answer ends after limit bytes; the later ones are whole."""
        return ("header_filter_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then ngx.ctx.limit = %d end %s }"
                % (limit, more) + CUT)

    def partial(self, varve=None):
        """Bytes of the layer's partial file."""
        path = (varve or self.varve).store / "tmp/partial" / self.digest[7:]
        return path.stat().st_size if path.exists() else 0

    def killed(self, ref, there):
        """A pull that dies by SIGKILL when `there` bytes of the layer have come. Returns how many are in the partial file."""
        process = self.varve.popen("pull", ref)
        deadline = time.monotonic() + 30
        while self.partial() < there and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        while not self.layer_requests() and time.monotonic() < deadline:
            time.sleep(0.02)  # the server writes its log when it has seen the end, which is now of the past
        self.assertGreaterEqual(self.partial(), there)
        return self.partial()

    def plant(self, content):
        """Other bytes in the partial file of the layer."""
        (self.varve.store / "tmp/partial" / self.digest[7:]).write_bytes(content)

    def layer_requests(self):
        return [r for r in self.front.requests(self.digest[7:]) if r["status"] in (200, 206, 416)]

    def assertPulled(self, ref, pre=(), **kw):
        result = self.varve.run(*pre, "pull", ref, **kw)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)
        return result


class Resume(Blobs):
    def test_cut_is_resumed(self):
        """Also within one run: the second request asks for the rest only."""
        ref = self.behind(self.cut_first(2 * MIB))
        self.assertPulled(ref)
        requests = self.layer_requests()
        self.assertEqual([r["status"] for r in requests], [200, 206])
        first, last = requests[1]["range"].removeprefix("bytes=").split("-")
        self.assertEqual(int(last), len(self.layer) - 1)
        self.assertTrue(MIB < int(first) <= 2 * MIB, first)  # what was on its way when the connection broke is lost
        self.assertLess(sum(r["bytes"] for r in requests), len(self.layer) + MIB)

    def test_killed_is_resumed(self):
        ref = self.behind("limit_rate 3m;")
        there = self.killed(ref, 2 * MIB)
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], f"bytes={there}-{len(self.layer) - 1}")
        self.assertEqual(self.layer_requests()[-1]["status"], 206)

    def test_interrupted_ends_at_once_and_is_resumed(self):
        ref = self.behind("limit_rate 2m;")
        process = self.varve.popen("pull", ref)
        while self.partial() < MIB:
            time.sleep(0.02)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(process.returncode, 130)
        there = self.partial()
        self.assertGreaterEqual(there, MIB)
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], f"bytes={there}-{len(self.layer) - 1}")

    def test_range_ignored(self):
        """200 to a range: what is there is skipped, the digest decides (4.10)."""
        ref = self.behind("proxy_set_header Range ''; proxy_hide_header Accept-Ranges; max_ranges 0;" + self.cut_first(2 * MIB))
        self.assertPulled(ref)
        self.assertEqual([r["status"] for r in self.layer_requests()], [200, 200])

    def test_range_from_zero(self):
        """206 with another part than asked for: no more ranges from there (4.9)."""
        ref = self.behind("proxy_set_header Range ''; max_ranges 0;" + self.cut_first(
            2 * MIB, "if ngx.var.http_range then ngx.status = 206; ngx.header.content_range = 'bytes 0-%d/%d' end"
            % (len(self.layer) - 1, len(self.layer))))
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], "")

    def test_range_without_content_range(self):
        ref = self.behind(self.cut_first(2 * MIB, "ngx.header.content_range = nil"))
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], "")

    def test_range_refused(self):
        """416 without a Content-Range, and a Content-Length that lies (4.11)."""
        ref = self.behind("if ($http_range) { return 416; }" + self.cut_first(2 * MIB))
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], "")

    def test_damaged_partial(self):
        """A wrong byte in what is there: once from zero, without blaming the server (4.5)."""
        ref = self.behind(self.cut_first(2 * MIB) + "limit_rate 4m;")
        self.killed(ref, MIB)
        for path in self.varve.store.glob(f"**/*{self.digest[7:]}*"):
            with open(path, "r+b") as file:
                file.seek(1000)
                file.write(b"X" * 10)
        self.assertPulled(ref)
        self.assertEqual(self.layer_requests()[-1]["range"], "")

    def test_partial_that_is_whole(self):
        """Everything is there but the last step: nothing is asked for."""
        ref = self.behind("limit_rate 2m;")
        self.killed(ref, MIB)
        self.plant(self.layer)
        before = len(self.layer_requests())
        self.assertPulled(ref)
        self.assertEqual(len(self.layer_requests()), before)

    def test_partial_that_is_too_long(self):
        ref = self.behind("limit_rate 2m;")
        self.killed(ref, MIB)
        self.plant(self.layer + b"more")
        self.front.forget_log()
        self.assertPulled(ref)
        self.assertEqual([(r["status"], r["range"]) for r in self.layer_requests()], [(200, "")])


class UnknownSize(Blobs):
    """Layers of a schema1 manifest: nobody says how long they are, so ranges are open and 416 means something (4.7, 4.11)."""

    OLD = "proxy_set_header Accept '';"

    def setUp(self):
        super().setUp()
        layout = self.layout()
        layout.image("a", [self.layer], compression="none", docker=True)
        self.origin.push(layout, "a", "team/app", "1")

    def again(self, content, **more):
        """What is asked for the layer when its partial file has this content."""
        ref = self.behind("limit_rate 3m;", manifests=self.OLD, **more)
        self.killed(ref, MIB)
        self.plant(content)
        self.front.forget_log()
        self.assertPulled(ref)
        return [(r["status"], r["range"]) for r in self.layer_requests()]

    def test_rest(self):
        self.assertEqual(self.again(self.layer[:2 * MIB]), [(206, f"bytes={2 * MIB}-")])

    def test_416_of_the_registry_when_all_is_there(self):
        """docker-registry's 416 has the blob's Content-Length and 33 bytes: the status counts, not the length."""
        self.assertEqual(self.again(self.layer), [(416, f"bytes={len(self.layer)}-")])

    def test_416_of_the_registry_when_more_is_there(self):
        asked = self.again(self.layer + b"more")
        self.assertEqual(asked, [(416, f"bytes={len(self.layer) + 4}-"), (200, "")])

    def test_whole_but_wrong(self):
        """As long as it should be, by the registry's word; the digest says no."""
        asked = self.again(b"X" + self.layer[1:])
        self.assertEqual((asked[0][0], asked[-1]), (416, (200, "")))

    def lying(self, value):
        """A 416 that says something else about the length."""
        ref = self.behind("limit_rate 3m;" + """header_filter_by_lua_block {
            if ngx.status == 416 then ngx.header.content_range = %s end }""" % value, manifests=self.OLD)
        self.killed(ref, MIB)
        for content in (self.layer, self.layer + b"more"):
            varve = self.varve
            self.plant(content)
            self.front.forget_log()
            self.assertPulled(ref)
            self.assertEqual((self.layer_requests()[-1]["status"], self.layer_requests()[-1]["range"]), (200, ""))
            varve.blob(self.digest).unlink()
            varve.run("check", status=4)
            self.killed(ref, MIB)

    def test_416_that_lies(self):
        self.lying("'bytes */17'")

    def test_416_without_a_length(self):
        self.lying("nil")

    def test_416_that_is_no_range(self):
        self.lying("'bytes 0-16/17'")


class Lies(Blobs):
    def fails(self, ref, status, *words):
        result = self.varve.run("pull", ref, status=status)
        for word in words:
            self.assertIn(word, result.err + result.out)
        self.assertFalse(self.varve.blob(self.digest).exists())
        return result

    def test_corrupt_byte(self):
        """Wrong bytes after a whole download: the host is named, one more attempt, then exit 4 (4.4)."""
        ref = self.behind("""body_filter_by_lua_block {
          if ngx.arg[1] and #ngx.arg[1] > 100 and string.find(ngx.var.uri, "%s") then
            ngx.arg[1] = "XXXX" .. string.sub(ngx.arg[1], 5) end }""" % self.digest[7:])
        self.fails(ref, 4, self.front.address, self.digest)
        self.assertEqual([r["range"] for r in self.layer_requests()], ["", ""])

    def test_wrong_length(self):
        """Content-Length is not the size of the descriptor: nothing of the body is taken (4.2)."""
        ref = self.behind("if ($uri ~ %s) { return 200 'short'; }" % self.digest[7:])
        self.fails(ref, 4, self.front.address, "5 bytes", str(len(self.layer)))

    def test_empty_body(self):
        """200, the right Content-Length, no byte (distribution#4191): not a success."""
        ref = self.behind("header_filter_by_lua_block { if string.find(ngx.var.uri, '%s') then ngx.ctx.limit = 0 end }"
                          % self.digest[7:] + CUT)
        self.fails(ref, 5, self.front.address)

    def test_truncated_without_length(self):
        """Chunked and short, ended in good order (harbor#23373): only size and digest count; the rest is fetched."""
        ref = self.behind("""header_filter_by_lua_block {
            if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then ngx.header.content_length = nil; ngx.ctx.max = 1000000 end }
          body_filter_by_lua_block {
            if not ngx.ctx.max then return end
            local left = ngx.ctx.max - (ngx.ctx.sent or 0)
            ngx.ctx.sent = (ngx.ctx.sent or 0) + #ngx.arg[1]
            if left < #ngx.arg[1] then ngx.arg[1] = string.sub(ngx.arg[1], 1, math.max(left, 0)) end }""")
        self.assertPulled(ref)

    def test_html_page_as_blob(self):
        """200 and another page (harbor#23911)."""
        ref = self.behind("if ($uri ~ %s) { add_header Content-Type text/html; return 200 '<html>login</html>'; }" % self.digest[7:])
        self.fails(ref, 4, self.front.address)

    def test_error_page_is_never_part_of_the_layer(self):
        """An error body in the middle of a download (moby#31327)."""
        ref = self.behind("""access_by_lua_block {
            if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 2 then
              ngx.status = 503; ngx.say(string.rep("<Error>", 1000)); return ngx.exit(503) end }
          header_filter_by_lua_block { if ngx.shared.state:get(ngx.var.uri) == 1 then ngx.ctx.limit = 2000000 end }""" + CUT)
        self.assertPulled(ref)
        self.assertEqual([r["status"] for r in self.front.requests(self.digest[7:])], [200, 503, 206])

    def test_too_long(self):
        """More bytes than the descriptor says, without a Content-Length: stopped behind the last one."""
        ref = self.behind("""header_filter_by_lua_block { ngx.header.content_length = nil }
          body_filter_by_lua_block { if ngx.arg[2] and string.find(ngx.var.uri, "%s") then
            ngx.arg[1] = ngx.arg[1] .. string.rep("x", 64 * 1048576) end }""" % self.digest[7:])
        self.fails(ref, 4, self.front.address)
        self.assertLess(max(r["bytes"] for r in self.layer_requests()), self.SIZE + 16 * MIB)

    def test_content_encoding(self):
        """gzip that nobody asked for (quay#1310): undone, and never mixed with ranges."""
        ref = self.behind("""gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
            proxy_set_header Accept-Encoding gzip; access_by_lua_block { ngx.req.set_header("Accept-Encoding", "gzip") }""")
        self.assertPulled(ref)

    def test_content_encoding_as_a_false_label(self):
        """A label on bytes that are as they should be (moby#17595)."""
        ref = self.behind("add_header Content-Encoding x-gzip;")
        self.assertPulled(ref)


class Time(Blobs):
    def config(self, text):
        path = self.path("config")
        path.write_text(text)
        return ["--config", path]

    def test_stall_is_noticed_by_rate(self):
        """A trickle is a stall (containerd#11650): the connection is given up and the rest fetched."""
        ref = self.behind("""limit_rate_after 1m; header_filter_by_lua_block {
            if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 and string.find(ngx.var.uri, "%s") then ngx.var.limit_rate = 100 end }"""
                          % self.digest[7:])
        begin = time.monotonic()
        self.varve.run("pull", *self.config('{"stall_timeout":"2s"}'), ref)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)
        self.assertEqual(sorted(r["status"] for r in self.layer_requests()), [200, 206])

    def test_silent_server(self):
        """Accepts and says nothing: an end with the host's name."""
        ref = self.behind()
        self.front.signal(signal.SIGSTOP)
        for pid in self.front.workers():
            os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        result = self.varve.run("pull", *self.config('{"header_timeout":"1s","connect_timeout":"1s","retries":0}'), ref, status=5)
        for pid in self.front.workers():
            os.kill(pid, signal.SIGCONT)
        self.assertLess(time.monotonic() - begin, 15)
        self.assertIn(self.front.address, result.err + result.out)

    def test_5xx_passes(self):
        ref = self.behind("access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) < 3 then ngx.exit(502) end }")
        self.assertPulled(ref)

    def test_5xx_stays(self):
        ref = self.behind("return 503;")
        result = self.varve.run("pull", *self.config('{"retries":2}'), ref, status=5)
        self.assertIn("503", result.err + result.out)

    def test_501_is_final(self):
        ref = self.behind("return 501;")
        self.varve.run("pull", ref, status=5)
        paths = [r["path"] for r in self.front.requests("/blobs/")]
        self.assertEqual(len(paths), len(set(paths)))

    def test_429_is_shared_by_the_host(self):
        """Retry-After of one second holds back all blobs of the host, then all come."""
        ref = self.behind("""access_by_lua_block {
            local now = ngx.now()
            local until_ = ngx.shared.state:get("until")
            if not until_ then ngx.shared.state:set("until", now + 1); until_ = now + 1 end
            if now < until_ then ngx.header.retry_after = 1; ngx.exit(429) end }""")
        begin = time.monotonic()
        self.assertPulled(ref)
        self.assertGreater(time.monotonic() - begin, 1)
        refused = [r for r in self.front.requests("/blobs/") if r["status"] == 429]
        self.assertLessEqual(len(refused), 2)

    def test_429_for_an_hour(self):
        """Longer than a minute is not waited for; the words and the quota of the registry are shown."""
        ref = self.behind(manifests="""access_by_lua_block {
            ngx.header.retry_after = 3600; ngx.header.ratelimit_limit = "100;w=21600"; ngx.header.ratelimit_remaining = "0;w=21600"
            ngx.status = 429
            ngx.say('{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}')
            return ngx.exit(429) }""")
        result = self.varve.run("pull", ref, status=5)
        self.assertEqual(len(self.front.requests()), 1)
        for word in ("3600", "You have reached your pull rate limit.", "0 of 100", "--wait"):
            self.assertIn(word, result.err + result.out)

    def test_retry_after_as_a_date(self):
        """HTTP-date: as many seconds from now."""
        ref = self.behind(manifests="""access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then
            ngx.header.retry_after = ngx.http_time(ngx.time() + 3); ngx.exit(429) end }""")
        begin = time.monotonic()
        self.assertPulled(ref)
        self.assertGreater(time.monotonic() - begin, 1.9)  # a date has whole seconds
        self.assertEqual([r["status"] for r in self.front.requests("/manifests/")][:2], [429, 200])

    def test_wait(self):
        """--wait waits for longer than a minute, and Ctrl-C ends that at once."""
        ref = self.behind(manifests="""access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then
            ngx.header.retry_after = 62; ngx.exit(429) end }""")
        begin = time.monotonic()
        result = self.varve.run("pull", "--wait", ref, timeout=120)
        self.assertGreater(time.monotonic() - begin, 61)
        self.assertIn("62 s", result.err)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)

    def test_wait_is_interrupted(self):
        ref = self.behind(manifests="""access_by_lua_block { ngx.header.retry_after = ngx.http_time(ngx.time() + 3600); ngx.exit(429) }""")
        self.varve.run("pull", ref, status=5)
        process = self.varve.popen("pull", "--wait", ref)
        time.sleep(1)
        self.assertIsNone(process.poll())
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(len(self.front.requests("/manifests/")), 2)

    def test_retry_after_that_is_no_number(self):
        """985.86us is not 985 seconds (terrifi#50)."""
        ref = self.behind("""access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then
            ngx.header.retry_after = "985.86us"; ngx.exit(429) end }""")
        begin = time.monotonic()
        self.assertPulled(ref)
        self.assertLess(time.monotonic() - begin, 5)


class Redirects(Blobs):
    def cdn(self, extra=""):
        """nginx that serves the registry's files, and a registry that redirects there."""
        self.cdn_server = self.nginx(f"root {self.origin.storage}; {extra}")
        registry = self.registry(storage=self.origin.storage, redirect=f"http://{self.cdn_server.address}", htpasswd={"u": "secret"})
        self.login(registry)
        return f"{registry.address}/team/app:1"

    def login(self, registry):
        auth = self.varve.home / ".docker"
        auth.mkdir(exist_ok=True)
        (auth / "config.json").write_text(json.dumps(
            {"auths": {registry.address: {"auth": base64.b64encode(b"u:secret").decode()}}}))

    def test_authorization_never_reaches_the_cdn(self):
        ref = self.cdn()
        self.assertPulled(ref)
        requests = self.cdn_server.requests("/blobs/")
        self.assertEqual(len(requests), 2)
        self.assertEqual({r["authorization"] for r in requests}, {""})

    def test_resume_goes_through_the_registry(self):
        """Signed URLs expire: a resume asks the registry for a new one (4.15)."""
        server, http = front(self.origin, other="""
          location /cdn/ { access_by_lua_block {
              if ngx.shared.state:incr(ngx.var.request_uri, 1, 0) > 1 then return ngx.exit(403) end }
            rewrite ^/cdn/[0-9]*/(.*)$ /$1 break; proxy_pass http://%s;
            header_filter_by_lua_block { if ngx.shared.state:incr("answers" .. ngx.var.uri, 1, 0) < 3 then ngx.ctx.limit = 1500000 end } %s
          }""" % (self.origin.address, CUT), blobs="""access_by_lua_block {
            return ngx.redirect("/cdn/" .. ngx.shared.state:incr("n", 1, 0) .. ngx.var.uri, 307) }""")
        self.front = self.nginx(server, http=http, lua=True)
        self.assertPulled(f"{self.front.address}/team/app:1")
        cdn = [r for r in self.front.requests("/cdn/") if self.digest[7:] in r["path"]]
        self.assertEqual(len({r["path"] for r in cdn}), len(cdn), "a URL was used twice")
        self.assertEqual([r["status"] for r in cdn], [200, 206, 206])

    def refusing_cdn(self, turn, status, limit=0):
        """The CDN refuses the n-th request of each blob, with a page as S3 has it; its first answer may be cut."""
        server, http = front(self.origin, other="""
          location /cdn/ { access_by_lua_block {
              local n = ngx.shared.state:incr(string.gsub(ngx.var.uri, "^/cdn/[0-9]*", ""), 1, 0)
              if n == 1 and %d > 0 then ngx.ctx.limit = %d end
              if n == %d then ngx.status = %d; ngx.header.content_type = "application/xml"
                ngx.say("<Error><Code>InvalidArgument</Code></Error>"); return ngx.exit(ngx.status) end }
            rewrite ^/cdn/[0-9]*/(.*)$ /$1 break; proxy_pass http://%s; %s }""" % (limit, limit, turn, status, self.origin.address, CUT),
            blobs="""access_by_lua_block {
            return ngx.redirect("/cdn/" .. ngx.shared.state:incr("n", 1, 0) .. ngx.var.uri, 307) }""")
        self.front = self.nginx(server, http=http, lua=True)
        return f"{self.front.address}/team/app:1"

    def test_expired_url_is_fetched_anew(self):
        """403 of the CDN right after the redirect is not a denial (4.16)."""
        self.assertPulled(self.refusing_cdn(1, 403))

    def test_xml_on_resume(self):
        """400 and XML for the rest of a blob (registry.k8s.io#333): asked for anew, and no part of the layer."""
        for status in (400, 401, 403):
            self.varve = self.new_varve()
            self.assertPulled(self.refusing_cdn(2, status, 2000000))
            cdn = [r for r in self.front.requests("/cdn/") if self.digest[7:] in r["path"]]
            self.assertEqual([r["status"] for r in cdn], [200, status, 206])

    def refused(self, location, status, word):
        ref = self.behind(f"return 302 {location};")
        result = self.varve.run("pull", ref, status=status)
        self.assertIn(word, result.err + result.out)

    def test_to_a_file(self):
        self.refused("file:///etc/passwd", (4, 5), "not an http")

    def test_to_link_local(self):
        self.refused("http://169.254.169.254/latest/meta-data/", (4, 5), "169.254.169.254")

    def test_to_link_local_in_disguise(self):
        self.refused("http://2852039166/latest/", (4, 5), "refused")

    def test_loop(self):
        self.refused("$request_uri", 5, "redirects")

    def test_relative(self):
        server, http = front(self.origin, blobs="return 302 /moved$request_uri;",
                             other="location /moved/ { proxy_pass http://%s/; }" % self.origin.address)
        self.front = self.nginx(server, http=http, lua=True)
        self.assertPulled(f"{self.front.address}/team/app:1")

    def test_userinfo_in_location_is_dropped(self):
        server, http = front(self.origin, blobs="return 302 http://user:pw@$http_host/moved$request_uri;",
                             other="location /moved/ { proxy_pass http://%s/; }" % self.origin.address)
        self.front = self.nginx(server, http=http, lua=True)
        self.assertPulled(f"{self.front.address}/team/app:1")
        self.assertEqual({r["authorization"] for r in self.front.requests("/moved/")}, {""})


class Sharing(Blobs):
    def test_two_processes_share_one_download(self):
        ref = self.behind("limit_rate 3m;")
        first = self.varve.popen("pull", ref)
        while self.partial() < MIB:
            time.sleep(0.02)
        second = self.varve.popen("pull", ref)
        for process in (first, second):
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, err)
        self.assertEqual(len(self.layer_requests()), 1)

    def test_who_waits_shows_the_progress_of_the_other(self):
        """As much as the first has got, on the second's terminal and as events."""
        ref = self.behind("limit_rate 1500k;")
        first = self.varve.popen("pull", ref)
        while self.partial() < MIB:
            time.sleep(0.02)
        second = self.varve.popen("--progress=json", "pull", ref)
        err = second.communicate(timeout=60)[1].decode()
        self.assertEqual((second.returncode, first.communicate()[0] and first.returncode), (0, 0))
        seen = [e for e in map(json.loads, filter(lambda line: line.startswith("{"), err.splitlines()))
                if e.get("stage") == "wait" and e["object"] == self.digest]
        done = [e["done"] for e in seen]
        self.assertGreater(len(done), 3)
        self.assertEqual(done, sorted(done))
        self.assertGreaterEqual(done[0], MIB // 2)
        self.assertEqual({e["total"] for e in seen}, {len(self.layer)})

    def test_who_waits_lists_a_blob_once(self):
        """The lease of a second process does not grow with the time that it waits."""
        ref = self.behind("limit_rate 1500k;")
        first = self.varve.popen("pull", ref)
        while self.partial() < MIB // 2:
            time.sleep(0.02)
        second = self.varve.popen("pull", ref)
        longest = 0
        while first.poll() is None:
            for lease in (self.varve.store / "leases").iterdir():
                try:
                    lines = [line for line in lease.read_text().splitlines() if line.startswith("sha256:")]
                except FileNotFoundError:
                    continue
                self.assertEqual(len(lines), len(set(lines)))
                longest = max(longest, len(lines))
            time.sleep(0.1)
        for process in (first, second):
            err = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 0, err)
        self.assertGreaterEqual(longest, 3)

    def test_the_second_goes_on_when_the_first_dies(self):
        ref = self.behind("limit_rate 2m;")
        first = self.varve.popen("pull", ref)
        while self.partial() < MIB:
            time.sleep(0.02)
        second = self.varve.popen("pull", ref)
        time.sleep(0.5)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        out, err = second.communicate(timeout=60)
        self.assertEqual(second.returncode, 0, err)
        requests = self.layer_requests()
        self.assertEqual([r["status"] for r in requests][-1], 206)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)
