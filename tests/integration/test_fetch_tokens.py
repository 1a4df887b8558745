# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: challenges of all shapes, token servers that want secrets, that lie, and that are not the registry's (docs/requirements.md 2a, 2b)."""

import json
import subprocess
import urllib.parse

from support import Tar, Tokens
from support.registry_front import front
from test_fetch_auth import SECRET, Auth, basic


class TokenCase(Auth):
    """docker-registry with token authentication, and an nginx that hands tokens out."""

    def setUp(self):
        super().setUp()
        plain = self.registry()
        self.image(plain)
        self.image(plain, "team/other")
        self.tokens = Tokens(self.dir / "tokens")
        self.token_server = self.nginx(self.tokens.server(self.extra()))
        self.realm = f"http://{self.token_server.address}/token"
        self.origin = self.registry(storage=plain.storage, token=self.tokens.options(self.realm))
        self.host = self.origin.address
        self.ref = f"{self.host}/team/app:1"
        self.tokens.publish([("team/app", "pull"), ("team/other", "pull")])

    def extra(self):
        return ""

    def asked(self):
        """The GETs for tokens."""
        return self.token_server.requests("/token?")

    def behind(self, challenge):
        """The registry behind an nginx that gives another challenge."""
        server, http = front(self.origin)
        server = server.replace("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_hide_header WWW-Authenticate; "
                                + challenge)
        return self.nginx(server, http=http, lua=True)

    def header(self, value):
        return "add_header WWW-Authenticate '%s' always;" % value


class Bearer(TokenCase):
    def test_anonymous(self):
        """One token for all requests of a repository; the challenge's scope and service are asked for."""
        self.varve.run("pull", self.ref)
        asked = self.asked()
        self.assertEqual(len(asked), 1)
        self.assertIn("scope=repository%3Ateam%2Fapp%3Apull", asked[0]["path"])
        self.assertIn("service=test%20service", asked[0]["path"])
        self.assertEqual(asked[0]["authorization"], "")

    def test_several_repositories(self):
        self.varve.run("pull", self.ref, f"{self.host}/team/other:1")
        self.assertEqual(len(self.asked()), 2)

    def test_credential_goes_to_the_token_server(self):
        """Same host: with Basic; the registry itself sees only the token."""
        self.auth_file({self.host: {"auth": basic("user:" + SECRET)}})
        result = self.varve.run("-v", "-v", "pull", self.ref)
        self.assertEqual(self.token_server.requests("/token")[0]["authorization"], "Basic " + basic("user:" + SECRET))
        self.assertIn("account=user", self.token_server.requests("/token")[0]["path"])
        self.assertEqual([(r["method"], "offline_token" in r["path"]) for r in self.token_server.requests("/token")], [("GET", False)])
        self.assertNoSecret(result)

    def test_expired_token(self):
        """invalid_token: once a new one, then denied; never a loop."""
        self.tokens.publish([("team/app", "pull")], lifetime=-300, expires_in=300)
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn(self.host, result.err)
        self.assertLessEqual(len(self.asked()), 2)

    def test_less_than_was_asked_for(self):
        """A token for another repository: insufficient_scope, once more, then denied."""
        self.tokens.publish([("team/other", "pull")])
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn("may not", result.err)
        self.assertLessEqual(len(self.asked()), 2)

    def test_answers_that_are_no_token(self):
        for text in ("<html>", "{}", '{"token":"a\\r\\nX-Evil: 1"}', '{"token":"' + "a" * 200000 + '"}'):
            (self.tokens.directory / "token").write_text(text)
            self.varve.run("pull", self.ref, status=(4, 5))

    def test_access_token_and_no_lifetime(self):
        token = self.tokens.issue([("team/app", "pull")])
        (self.tokens.directory / "token").write_text(json.dumps({"access_token": token}))
        self.varve.run("pull", self.ref)

    def test_challenges(self):
        scope = 'service="test service",scope="repository:team/app:pull"'
        for challenge in (
                self.header(f'Basic realm="a, b", Bearer realm="{self.realm}",{scope}'),
                self.header(f'Negotiate') + self.header(f'Bearer {scope} , realm="{self.realm}"'),
                self.header(f'bearer REALM="{self.realm}" , {scope}'),
                self.header(f'Bearer realm="{self.realm}",service="test service"')):
            nginx = self.behind(challenge)
            self.new_varve().run("pull", f"{nginx.address}/team/app:1")

    def test_scopes_in_the_order_of_the_challenge(self):
        """Docker Hub looks at the first only: the challenged ones come first, each a parameter (ggcr#1312)."""
        nginx = self.behind(self.header(f'Bearer realm="{self.realm}",service="test service",scope="repository:team/other:pull '
                                        f'registry:catalog:* repository:host:5000/x:pull,push repository:host:5000/x:push,pull '
                                        f'two:parts two:more https://a/.default https://b/.default"'))
        self.varve.run("pull", f"{nginx.address}/team/app:1")
        [asked] = self.asked()
        scopes = [v for k, v in urllib.parse.parse_qsl(urllib.parse.urlsplit(asked["path"]).query) if k == "scope"]
        self.assertEqual(scopes, ["repository:team/other:pull", "registry:catalog:*", "repository:host:5000/x:pull,push",
                                  "two:parts", "two:more", "https://a/.default", "https://b/.default", "repository:team/app:pull"])

    def test_no_challenge_but_at_the_ping(self):
        """GCR: 401 without a challenge; /v2/ has it (c/image#211)."""
        server, http = front(self.origin, blobs="proxy_hide_header WWW-Authenticate;", manifests="proxy_hide_header WWW-Authenticate;")
        nginx = self.nginx(server, http=http, lua=True)
        self.varve.run("pull", f"{nginx.address}/team/app:1")
        self.assertEqual(len(nginx.requests("/v2/")[1:2]), 1)
        self.assertEqual(nginx.requests("/v2/")[1]["path"], "/v2/")

    def test_no_challenge_at_all(self):
        nginx = self.behind("")
        self.varve.run("pull", f"{nginx.address}/team/app:1", status=5)
        self.assertLessEqual(len(nginx.requests()), 4)

    def refused_realm(self, realm, *words):
        nginx = self.behind(self.header(f'Bearer realm="{realm}",service="s",scope="repository:team/app:pull"'))
        self.auth_file({nginx.address: {"auth": basic("user:" + SECRET)}})
        result = self.varve.run("pull", f"{nginx.address}/team/app:1", status=4)
        for word in words:
            self.assertIn(word, result.err)
        self.assertNoSecret(result)

    def test_realms_that_are_refused(self):
        self.refused_realm("http://169.254.169.254/latest/meta-data/", "169.254.169.254")
        self.refused_realm("file:///etc/passwd", "not an http")
        self.refused_realm("http://user:pw@127.0.0.1/token", "a user name or a fragment")
        self.refused_realm("http://2852039166/token", "refused")
        self.refused_realm("gopher://127.0.0.1/", "not an http")

    def test_redirected_token_request(self):
        """With credentials, not to another host (CVE-2026-48978)."""
        other = self.nginx("location / { return 200 '{}'; }")
        sender = self.nginx("location /token { return 307 http://localhost:%d/steal; }" % other.port)
        self.refused_realm(f"http://{sender.address}/token", "refused")
        self.assertEqual(other.requests(), [])


class Requests(TokenCase):
    """What the token server is asked, how often, and who hears of the token."""

    def turns(self, *answers, blobs="", manifests="", repo="team/app"):
        """The reference of a registry whose token server gives these answers in turn; the last one stays. self.front is the registry's
        nginx; REALM in blobs is the token server."""
        folder = self.path("answers")
        folder.mkdir()
        for i, answer in enumerate(answers, 1):
            (folder / f"answer{i}").write_text(json.dumps(answer))
        self.token_server = self.nginx("""location = /token { default_type application/json; content_by_lua_block {
              local n = ngx.shared.state:incr("n", 1, 0)
              ngx.sleep(0.3)
              local file = io.open("%s/answer" .. math.min(n, %d))
              ngx.print((file:read("*a"):gsub("57 SECONDS AGO", os.date("!%%Y-%%m-%%dT%%H:%%M:%%SZ", ngx.time() - 57))))
              file:close() } }""" % (folder, len(answers)), http="lua_shared_dict state 1m;", lua=True)
        realm = f"http://{self.token_server.address}/token"
        registry = self.registry(storage=self.origin.storage, token=self.tokens.options(realm))
        server, http = front(registry, blobs.replace("REALM", realm), manifests)
        self.front = self.nginx(server, http=http, lua=True)
        return f"{self.front.address}/{repo}:1"

    def token(self, repo="team/app", lifetime=300):
        return {"token": self.tokens.issue([(repo, "pull")], lifetime), "expires_in": 300}

    def test_another_one_for_invalid_token(self):
        self.varve.run("pull", self.turns(self.token(lifetime=-300), self.token()))
        self.assertEqual(len(self.asked()), 2)

    def test_another_one_for_insufficient_scope(self):
        self.varve.run("pull", self.turns(self.token("team/other"), self.token()))
        self.assertEqual(len(self.asked()), 2)

    def test_another_one_before_it_ends(self):
        """One of three seconds: what is asked for after four gets a new one, although the registry would take the old."""
        ref = self.turns(dict(self.token(), expires_in=60, issued_at="57 SECONDS AGO"), self.token(), blobs="""access_by_lua_block {
            if ngx.shared.state:incr(ngx.var.uri, 1, 0) == 1 then ngx.header.retry_after = 4; ngx.exit(503) end }""")
        self.varve.run("pull", ref)
        self.assertEqual(len(self.asked()), 2)
        self.assertEqual({r["status"] for r in self.front.requests("/blobs/")}, {503, 200})

    def test_one_for_all_that_wait(self):
        """Six blobs at once hear that their token is no good: one new token is asked for."""
        layout = self.layout()
        layout.image("many", [Tar().file("f", str(i)) for i in range(8)])
        self.registry(storage=self.origin.storage).push(layout, "many", "team/many", "1")
        ref = self.turns(*[{"token": self.tokens.issue([("team/many", "pull")])} for _ in range(2)], repo="team/many",
                         manifests='access_by_lua_block { ngx.shared.state:set("old", ngx.var.http_authorization or "") }',
                         blobs="""access_by_lua_block { if ngx.var.http_authorization == ngx.shared.state:get("old") then
                             ngx.header.www_authenticate = 'Bearer realm="REALM",service="test service",error="invalid_token"'
                             ngx.exit(401) end }""")
        self.varve.run("pull", ref)
        self.assertGreater(len([r for r in self.front.requests("/blobs/") if r["status"] == 401]), 2)
        self.assertEqual(len(self.asked()), 2)

    def test_never_on_the_disk(self):
        answer = self.token()
        self.varve.run("pull", self.turns(answer))
        files = [p for p in self.varve.home.rglob("*") if p.is_file()]
        self.assertGreater(len(files), 5)
        self.assertEqual([p for p in files if answer["token"].encode() in p.read_bytes()], [])

    def test_query_of_the_realm_is_kept(self):
        ref = self.behind(self.header(f'Bearer realm="{self.realm}?tenant=a%20b&x",service="test service"')).address
        self.varve.run("pull", f"{ref}/team/app:1")
        [asked] = self.asked()
        self.assertEqual(asked["path"], "/token?tenant=a%20b&x&service=test%20service&scope=repository%3Ateam%2Fapp%3Apull")

    def test_answer_that_is_too_long(self):
        """A good token in 200 KB is not taken."""
        ref = self.turns(dict(self.token(), padding="x" * 200000))
        result = self.varve.run("pull", ref, status=4)
        self.assertIn("larger than allowed", result.err)
        self.assertEqual({r["authorization"] for r in self.front.requests()}, {""})

    def test_token_of_the_file(self):
        """registrytoken is shown as it is; nobody is asked for another."""
        self.auth_file({self.host: {"registrytoken": self.tokens.issue([("team/app", "pull")])}})
        self.varve.run("pull", self.ref)
        self.assertEqual(self.token_server.requests(), [])

    def test_bearer_before_basic(self):
        """Offered both, a password goes to the token server and never to the registry."""
        nginx = self.behind(self.header(f'Basic realm="a", Bearer realm="{self.realm}",service="test service"'))
        self.auth_file({nginx.address: {"auth": basic("user:" + SECRET)}})
        self.varve.run("pull", f"{nginx.address}/team/app:1")
        self.assertEqual({r["authorization"] for r in self.asked()}, {"Basic " + basic("user:" + SECRET)})
        self.assertEqual({r["authorization"].split(" ")[0] for r in nginx.requests()}, {"", "Bearer"})

    def test_never_for_the_cdn(self):
        cdn = self.nginx(f"root {self.origin.storage};")
        registry = self.registry(storage=self.origin.storage, token=self.tokens.options(self.realm), redirect=f"http://{cdn.address}")
        self.varve.run("pull", f"{registry.address}/team/app:1")
        self.assertEqual({r["authorization"] for r in cdn.requests()}, {""})
        self.assertEqual({r["status"] for r in cdn.requests()}, {200})

    def test_who_asks(self):
        """Name and version for the registry and for the token server."""
        ref = self.turns(self.token())
        self.varve.run("pull", ref)
        version = self.varve.json("version")["version"]
        self.assertEqual({r["agent"] for r in self.front.requests() + self.token_server.requests()}, {"varve/" + version})

    def test_long_page_of_a_refusal(self):
        """401 with 5 MB of words at 300 KB a second: read for what is wrong, not to its end."""
        nginx = self.nginx("""location / { limit_rate 300k; content_by_lua_block { ngx.status = 401
            ngx.header.www_authenticate = 'Basic realm="a"'
            for i = 1, 5000 do ngx.print(string.rep("x", 1000)) end } }""", lua=True)
        self.assertIn("varve login", self.varve.run("pull", f"{nginx.address}/team/app:1", status=5).err)
        self.assertLess(max(r["bytes"] for r in nginx.requests()), 2500000)


class TokenPasswords(Bearer):
    """The token server asks for a password."""

    def extra(self):
        path = self.dir / "users"
        path.write_text(subprocess.run(["htpasswd", "-nbB", "-C", "4", "user", SECRET], stdout=subprocess.PIPE, text=True,
                                       check=True).stdout)
        return f'auth_basic "tokens"; auth_basic_user_file {path};'

    def setUp(self):
        super().setUp()
        self.auth_file({self.host: {"auth": basic("user:" + SECRET)}})

    test_anonymous = None
    test_challenges = test_scopes_in_the_order_of_the_challenge = None
    test_no_challenge_but_at_the_ping = None
    test_answers_that_are_no_token = None

    def test_without_login(self):
        self.auth_file({})
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn("varve login", result.err)

    def test_login(self):
        self.varve.run("login", "--user", "user", "--password-stdin", self.host, input=SECRET.encode(),
                       env={"REGISTRY_AUTH_FILE": self.dir / "new.json"})
        self.varve.run("login", "--user", "user", "--password-stdin", self.host, input=b"wrong", status=5,
                       env={"REGISTRY_AUTH_FILE": self.dir / "new.json"})


class ForeignTokens(Auth):
    """A token server that does not look like the registry's own gets no credential (2.9), but for token_hosts."""

    def setUp(self):
        super().setUp()
        plain = self.registry()
        self.image(plain)
        self.tokens = Tokens(self.dir / "tokens")
        users = self.dir / "users"
        users.write_text(subprocess.run(["htpasswd", "-nbB", "-C", "4", "user", SECRET], stdout=subprocess.PIPE, text=True,
                                        check=True).stdout)
        origin = self.registry(storage=plain.storage, token=self.tokens.options("http://sso.other.test/token"))
        self.tokens.publish([("team/app", "pull")])
        self.users = users
        # One proxy for both names: who is not let in gets a token for nothing.
        (self.dir / "tokens/nothing").write_text(json.dumps({"token": self.tokens.issue([])}))
        server, http = front(origin, other="""location = /token { default_type application/json; auth_basic "t"; auth_basic_user_file %s;
            alias %s/token; if ($http_authorization = "") { rewrite ^ /nothing; } }
            location = /nothing { default_type application/json; alias %s/nothing; }""" % (users, self.tokens.directory, self.tokens.directory))
        self.proxy = self.nginx(server, http=http, lua=True)
        self.env = {"HTTP_PROXY": f"http://{self.proxy.address}", "REGISTRY_AUTH_FILE": self.dir / "auth.json"}

    def config(self, **entry):
        path = self.path("config")
        path.write_text(json.dumps({"registries": {"registry.example": dict(entry, insecure=True)}}))
        return path

    def login(self, password, config, status):
        return self.varve.run("--config", config, "login", "-u", "user", "--password-stdin", "registry.example",
                              input=password.encode(), env=self.env, status=status)

    def sent(self):
        return {r["authorization"] for r in self.proxy.requests("/token")}

    def test_not_without_leave(self):
        """A wrong password is not taken for right because nobody looked at it."""
        result = self.login("wrong", self.config(), 5)
        self.assertIn("token_hosts", result.err)
        self.assertFalse((self.dir / "auth.json").exists())
        self.assertEqual(self.sent(), {""})
        self.auth_file({"registry.example": {"auth": basic("user:" + SECRET)}})
        del self.env["REGISTRY_AUTH_FILE"]
        result = self.varve.run("--config", self.config(), "pull", "registry.example/team/app:1", env=self.env, status=5)
        self.assertIn("token_hosts", result.err)
        self.assertEqual(self.sent(), {""})

    def test_token_hosts(self):
        config = self.config(token_hosts=["sso.other.test"])
        self.login("wrong", config, 5)
        self.assertFalse((self.dir / "auth.json").exists())
        self.login(SECRET, config, 0)
        self.varve.run("--config", config, "pull", "registry.example/team/app:1", env=self.env)
        self.assertEqual(self.sent(), {"Basic " + basic("user:wrong"), "Basic " + basic("user:" + SECRET)})


class Identity(Bearer):
    """An identity token: POST first, GET where that is not served."""

    def setUp(self):
        super().setUp()
        self.auth_file({self.host: {"auth": basic("user:x"), "identitytoken": SECRET}})

    test_anonymous = None
    test_credential_goes_to_the_token_server = None

    def test_post(self):
        nginx = self.nginx("location = /token { client_body_in_single_buffer on; client_body_buffer_size 64k; proxy_pass http://%s/copy; }"
                           "location = /copy { default_type application/json; alias %s/token; error_page 405 =200 $uri; }"
                           % ("{address}", self.tokens.directory))
        front_ = self.behind(self.header('Bearer realm="http://%s/token",service="test service",scope="repository:team/app:pull"'
                                         % nginx.address))
        self.auth_file({front_.address: {"identitytoken": SECRET}})
        self.varve.run("pull", f"{front_.address}/team/app:1")
        asked = [r for r in nginx.requests("/token")]
        self.assertEqual(asked[0]["method"], "POST")
        for part in ("grant_type=refresh_token", f"refresh_token={SECRET}", "service=test%20service", "client_id=varve",
                     "scope=repository%3Ateam%2Fapp%3Apull"):
            self.assertIn(part, asked[0]["body"])

    def test_get_instead(self):
        """400, 401, 404, 405: not every server speaks OAuth2."""
        for status in (400, 401, 404, 405):
            tokens = self.nginx("location = /token { if ($request_method = POST) { return %d; } default_type application/json; alias %s/token; }"
                                % (status, self.tokens.directory))
            front_ = self.behind(self.header(f'Bearer realm="http://{tokens.address}/token",service="test service"'))
            varve = self.new_varve()
            self.auth_file({front_.address: {"auth": basic("user:x"), "identitytoken": SECRET}}, varve)
            varve.run("pull", f"{front_.address}/team/app:1")
            self.assertEqual([(r["method"], r["status"]) for r in tokens.requests("/token")], [("POST", status), ("GET", 200)])
