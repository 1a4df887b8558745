# SPDX-License-Identifier: Apache-2.0
"""Answers to blob requests, row by row: ranges, statuses, redirects, encodings; and how many at once (docs/requirements.md 4)."""

import bz2
import http.client
import json
import subprocess
import time

from support import digest_of
from support.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from support.registry_front import CUT, front, random_layer
from test_fetch_blobs import MIB, Blobs

# What the servers of this file were told to remember, one value a line.
TOLD = """location = /told { content_by_lua_block {
  repeat local v = ngx.shared.state:lpop("told"); if v then ngx.say(v) end until not v } }"""


class Answers(Blobs):
    def config(self, **members):
        path = self.path("config")
        path.write_text(json.dumps(members))
        return ("--config", path)

    def get(self, path):
        connection = http.client.HTTPConnection(self.front.host, self.front.port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        response.text = response.read().decode("utf-8", "replace")
        connection.close()
        return response

    def told(self):
        return self.get("/told").text.split()

    def asked(self, least=0):
        """(status, range) of every request for the layer. What was broken off is logged a little later: at least so many."""
        deadline = time.monotonic() + 10
        while True:
            asked = [(r["status"], r["range"]) for r in self.front.requests(self.digest[7:])]
            if len(asked) >= least or time.monotonic() > deadline:
                return asked
            time.sleep(0.02)


class Ranges(Answers):
    def test_parts_that_are_another(self):
        """Each is a 206 that must not be taken: the host is asked for the whole, without a range (4.9)."""
        whole = len(self.layer)
        first = "local a, b = string.match(ngx.var.http_range or '', '(%d+)-(%d+)'); "
        lies = {
            "two Content-Range": ("", "add_header Content-Range 'bytes 0-9/10';"),
            "several parts": ("ngx.header.content_type = 'multipart/byteranges; boundary=x'", ""),
            "another length": (first + "ngx.header.content_range = 'bytes ' .. a .. '-' .. b .. '/%d'" % (whole + 1), ""),
            "beyond the end": (first + "ngx.header.content_range = 'bytes ' .. a .. '-%d/*'" % whole, ""),
            "another start": (first + "ngx.header.content_range = 'bytes ' .. (a - 1) .. '-' .. b .. '/%d'" % whole, ""),
            "another unit": (first + "ngx.header.content_range = 'blocks ' .. a .. '-' .. b .. '/%d'" % whole, ""),
            "encoded": ("ngx.header.content_encoding = 'gzip'", ""),
        }
        for name, (lua, directives) in lies.items():
            with self.subTest(name):
                self.varve = self.new_varve()
                self.assertPulled(self.behind(directives + self.cut_first(2 * MIB, "if ngx.status == 206 then %s end" % lua)))
                self.assertEqual([status for status, _ in self.asked(3)], [200, 206, 200])
                self.assertEqual(self.asked()[-1][1], "")

    def test_part_although_the_whole_was_asked_for(self):
        lie = "ngx.status = 206; ngx.header.content_range = 'bytes 0-%d/%d'" % (len(self.layer) - 1, len(self.layer))
        ref = self.behind("header_filter_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then %s end }" % lie)
        self.assertPulled(ref)
        self.assertEqual(self.asked(2), [(206, ""), (200, "")])

    def test_parts_shorter_than_asked_for(self):
        """The rest is asked for, as often as it takes."""
        ref = self.behind("""access_by_lua_block {
            local a = string.match(ngx.var.http_range or "", "(%%d+)-")
            if a then ngx.req.set_header("Range", "bytes=" .. a .. "-" .. (a + %d)) end }""" % (2 * MIB - 1) + self.cut_first(2 * MIB))
        self.assertPulled(ref)
        statuses = [status for status, _ in self.asked()]
        self.assertEqual(statuses, [200] + [206] * (len(statuses) - 1))
        self.assertGreaterEqual(len(statuses), 3)

    def test_no_word_of_ranges(self):
        """Six of eight large registries answer 206 and send no Accept-Ranges."""
        ref = self.behind("""header_filter_by_lua_block { ngx.header.accept_ranges = nil
            if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then ngx.ctx.limit = 2 * 1048576 end }""" + CUT)
        self.assertPulled(ref)
        self.assertEqual([status for status, _ in self.asked()], [200, 206])
        self.assertIsNone(self.get(f"/v2/team/app/blobs/{self.digest}").headers["Accept-Ranges"])

    def test_entity_tags_that_change(self):
        """No If-Range: the nodes of a CDN have different tags for the same bytes."""
        ref = self.behind("""access_by_lua_block { if ngx.var.http_if_range then ngx.exit(400) end }
          header_filter_by_lua_block {
            local n = ngx.shared.state:incr(ngx.var.uri, 1, 0)
            ngx.header.etag = 'W/"' .. n .. '"'
            if n == 1 then ngx.ctx.limit = 2 * 1048576 end }""" + CUT)
        self.assertPulled(ref)
        self.assertEqual([status for status, _ in self.asked()], [200, 206])

    def test_range_ignored_for_ever(self):
        """Each such answer costs the whole blob again: two of them, then an end that says why."""
        ref = self.behind("""proxy_set_header Range ''; max_ranges 0; limit_rate 8m;
          header_filter_by_lua_block { ngx.ctx.limit = 5800000 }""" + CUT)
        result = self.varve.run("pull", ref, status=5)
        self.assertIn("begins the blob anew", result.err)
        self.assertEqual([status for status, _ in self.asked(4)], [200] * 4)

    def test_partial_belongs_to_the_digest(self):
        """What came for one image is continued for another, from another repository."""
        ref = self.behind("limit_rate 3m;")
        there = self.killed(ref, 2 * MIB)
        layout = self.layout()
        layout.image("b", [self.layer, random_layer(1000, seed=2)], compression="none")
        self.origin.push(layout, "b", "other/thing", "1")
        self.front.forget_log()
        self.assertPulled(f"{self.front.address}/other/thing:1")
        request, = self.front.requests(self.digest[7:])
        self.assertEqual((request["status"], request["range"]), (206, f"bytes={there}-{len(self.layer) - 1}"))
        self.assertTrue(request["path"].startswith("/v2/other/thing/"))

    def test_disk_is_full_in_the_middle(self):
        """Of a blob whose size nobody said. No second try; what came is kept, and continued when there is room."""
        layout = self.layout()
        layout.image("a", [self.layer], compression="none", docker=True)
        self.origin.push(layout, "a", "team/app", "1")
        point = self.tmpfs(4 * MIB)
        self.varve.store = point / "store"
        ref = self.behind(manifests="proxy_set_header Accept '';")  # schema1
        self.varve.run("pull", ref, status=7)
        self.assertEqual([status for status, _ in self.asked(1)], [200])
        there = self.partial()
        self.assertGreater(there, MIB)
        subprocess.run(["mount", "-o", "remount,size=32m", point], check=True)
        self.assertPulled(ref)
        self.assertEqual(self.asked()[1:], [(206, f"bytes={there}-")])


class Statuses(Answers):
    def test_every_kind_of_redirect(self):
        """Of blobs, of manifests, and of the HEAD that asks whether a tag has moved."""
        for status in (301, 302, 303, 307, 308):
            self.varve = self.new_varve()
            moved = f"return {status} /moved$request_uri;"
            ref = self.behind(moved, manifests=moved, other="location /moved/ { proxy_pass http://%s/; }" % self.origin.address)
            self.assertPulled(ref)
            self.front.forget_log()
            self.varve.run("pull", ref)
            self.assertEqual([(r["method"], r["status"]) for r in self.front.requests()], [("HEAD", status), ("HEAD", 200)])

    def test_403_of_the_registry_is_final(self):
        ref = self.behind("if ($uri ~ %s) { return 403; }" % self.digest[7:])
        self.varve.run("pull", ref, status=5)
        self.assertEqual(self.asked(), [(403, "")])

    def test_redirect_target_that_always_refuses(self):
        """Two more redirects are fetched, and that is all (4.16)."""
        ref = self.behind("if ($uri ~ %s) { return 307 /cdn$uri; }" % self.digest[7:], other="location /cdn/ { return 403; }")
        self.varve.run("pull", ref, status=5)
        self.assertEqual(len(self.front.requests("/cdn/")), 3)

    def test_403_that_means_too_many(self):
        """The code in the body counts, not the status."""
        ref = self.behind("""access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then
            ngx.status = 403; ngx.say('{"errors":[{"code":"TOOMANYREQUESTS"}]}'); return ngx.exit(403) end }""")
        self.assertPulled(ref)
        self.assertEqual([status for status, _ in self.asked()], [403, 200])

    def test_no_answer_at_all(self):
        """A connection that is closed instead of an answer is a bad line, not a refusal."""
        ref = self.behind("access_by_lua_block { if ngx.shared.state:incr(ngx.var.uri, 1, 0) < 3 then return ngx.exit(444) end }")
        self.assertPulled(ref)
        self.assertEqual([status for status, _ in self.asked(3)], [444, 444, 200])

    def test_429_holds_back_the_others(self):
        """One blob is refused: no other of the host is asked for until the time is over."""
        layout = self.layout()
        layout.image("b", [random_layer(1000, seed=i) for i in range(8)], compression="none")
        self.origin.push(layout, "b", "team/app", "1")
        ref = self.behind("""access_by_lua_block {
            local s, now = ngx.shared.state, ngx.now()
            local at = s:get("at")
            if not at then s:set("at", now); ngx.header.retry_after = 2; return ngx.exit(429) end
            if now < at + 2 then s:rpush("told", "early") end }""", other=TOLD)
        self.varve.run("pull", "--jobs", "2", ref)
        self.assertLessEqual(len(self.told()), 1)  # which was on its way

    def test_connection_is_kept_behind_a_small_error(self):
        """It is read to its end; a large one costs the connection, not the time."""
        ref = self.behind(manifests="""access_by_lua_block {
            local s = ngx.shared.state
            s:rpush("told", ngx.var.connection)
            local n = s:incr("n", 1, 0)
            if n < 3 then ngx.status = 503; ngx.print(string.rep("x", n == 1 and 10000 or 16000000)); return ngx.exit(503) end }""",
                          other=TOLD)
        self.assertPulled(ref)
        first, second, third = self.told()
        self.assertEqual(first, second)
        self.assertNotEqual(second, third)
        self.assertLess([r["bytes"] for r in self.front.requests("/manifests/")][1], 16000000)

    def test_no_encoding_is_asked_for(self):
        """A server that compresses what it is not told to leave alone."""
        ref = self.behind("""gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
            access_by_lua_block { if ngx.var.http_accept_encoding ~= "identity" then ngx.exit(400) end }""")
        self.assertPulled(ref)
        self.assertEqual(self.front.requests(self.digest[7:])[0]["bytes"], len(self.layer))


class Line(Answers):
    """How the line is used."""

    def several(self, count=10):
        """An image of so many layers of different sizes; which is the order of their sizes."""
        layers = [random_layer(200_000 + 10_000 * (i * 7 % count), seed=i) for i in range(count)]
        layout = self.layout()
        config = json.loads(layout.read(layout.image("b", layers, compression="none")))["config"]["digest"]
        self.origin.push(layout, "b", "team/app", "1")
        return [config] + [digest_of(layer) for layer in sorted(layers, key=len, reverse=True)]

    def test_the_config_and_then_the_largest_first(self):
        order = self.several()
        self.varve.run("pull", "--jobs", "1", self.behind())
        self.assertEqual([r["path"].rsplit("/", 1)[1] for r in self.front.requests("/blobs/")], order)

    def test_six_at_once(self):
        self.several()
        ref = self.behind("""limit_rate 300k;
          access_by_lua_block { local n = ngx.shared.state:incr("now", 1, 0); ngx.shared.state:rpush("told", n) }
          log_by_lua_block { ngx.shared.state:incr("now", -1) }""", other=TOLD)
        self.varve.run("pull", ref)
        self.assertEqual(max(map(int, self.told())), 6)

    def test_slow_decoder_does_not_slow_the_line(self):
        """Some servers cut off who reads slowly: the layer comes as fast as it can, and is decoded behind that (4.29)."""
        tar = random_layer(16 * MIB)
        layer = bz2.compress(tar)
        layout = self.layout()
        config = layout.blob(json.dumps({"os": "linux", "architecture": "amd64",
                                         "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}).encode(), OCI_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layout.blob(layer, OCI_LAYER + "+bzip2")]}
        layout.tag("b", layout.blob(json.dumps(manifest).encode(), OCI_MANIFEST))
        self.origin.push(layout, "b", "team/app", "1")
        ref = self.behind()
        begin = time.monotonic()
        process = self.varve.popen("pull", ref)
        while not self.front.requests(digest_of(layer)) and process.poll() is None:
            time.sleep(0.01)
        sent = time.monotonic() - begin
        err = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 0, err)
        self.assertLess(sent, (time.monotonic() - begin) / 2)

    def traced(self, ref, *options, before=()):
        out = self.path("strace")
        self.varve.run(*before, "pull", ref, prefix=("strace", "-f", "-o", out, *options))
        return out.read_text()

    def test_keep_alive(self):
        trace = self.traced(self.behind(), "-e", "trace=setsockopt")
        for option in ("SO_KEEPALIVE, [1]", "TCP_KEEPIDLE, [30]", "TCP_KEEPINTVL, [15]"):
            self.assertIn(option, trace)

    def test_own_time_is_not_the_servers(self):
        """The config is synced for three seconds while the layer's answer comes: in time, although it is read late."""
        connection = http.client.HTTPConnection(self.origin.host, self.origin.port, timeout=30)
        connection.request("GET", "/v2/team/app/manifests/1", headers={"Accept": OCI_MANIFEST})
        config = json.loads(connection.getresponse().read())["config"]["digest"]
        connection.close()
        ref = self.behind('access_by_lua_block { ngx.sleep(string.find(ngx.var.uri, "%s") and 0.6 or 1.5) }' % config[7:])
        trace = self.traced(ref, "-P", self.varve.store / "tmp/partial" / config[7:], "-e", "trace=fsync",
                            "-e", "inject=fsync:delay_exit=3000000", before=self.config(header_timeout="2s"))
        self.assertIn("(DELAYED)", trace)
        self.assertEqual(len(self.asked()), 1)
