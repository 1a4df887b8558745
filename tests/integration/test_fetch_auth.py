# SPDX-License-Identifier: Apache-2.0
"""Logging in: Basic, Bearer, challenges of all shapes, token servers that want secrets, helpers (PROTOCOL 2)."""

import base64
import json
import os
import signal
import subprocess
import time
import urllib.parse

from support import Case, Tokens, need_root, samples
from support.registry_front import front

SECRET = "s3cret-of-the-test"


def basic(text):
    return base64.b64encode(text.encode()).decode()


class Auth(Case):
    def image(self, registry, repo="team/app"):
        layout = self.layout()
        samples.flat(layout, "a")
        return registry.push(layout, "a", repo, "1")

    def auth_file(self, auths, varve=None, **more):
        path = (varve or self.varve).home / ".docker/config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict({"auths": auths}, **more)))
        return path

    def helper(self, name, body, varve=None):
        """A credential helper in a directory that comes first in PATH."""
        directory = self.dir / "bin"
        directory.mkdir(exist_ok=True)
        path = directory / f"docker-credential-{name}"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(0o755)
        (varve or self.varve).extra["PATH"] = f"{directory}:{os.environ['PATH']}"
        return path

    def assertNoSecret(self, result, *secrets):
        for secret in secrets or (SECRET,):
            self.assertNotIn(secret, result.err + result.out)
            self.assertNotIn(basic("user:" + secret), result.err + result.out)


class Basic(Auth):
    def setUp(self):
        super().setUp()
        self.origin = self.registry(htpasswd={"user": SECRET})
        self.ref = self.image(self.origin)
        self.host = self.origin.address

    def test_without_login(self):
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn(f"varve login {self.host}", result.err)

    def test_docker_config(self):
        self.auth_file({self.host: {"auth": basic("user:" + SECRET)}})
        self.varve.run("pull", self.ref)

    def test_containers_auth_file(self):
        path = self.varve.home / ".config/containers/auth.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {self.host: {"auth": basic("user:" + SECRET)}}}))
        self.varve.run("pull", self.ref)

    def test_named_by_the_environment(self):
        path = self.dir / "a.json"
        path.write_text(json.dumps({"auths": {self.host + "/team": {"auth": basic("user:" + SECRET)}}}))
        self.varve.run("pull", self.ref, env={"REGISTRY_AUTH_FILE": path})

    def test_wrong_password(self):
        path = self.auth_file({self.host: {"auth": basic("user:not the password")}})
        result = self.varve.run("-v", "-v", "pull", self.ref, status=5)
        self.assertIn(os.fspath(path), result.err)
        self.assertNoSecret(result, "not the password")

    def test_malformed_file_is_named(self):
        path = self.auth_file({})
        path.write_text("{")
        result = self.varve.run("pull", self.ref, status=(4, 5))
        self.assertIn(os.fspath(path), result.err)

    def test_helper_of_the_host(self):
        self.helper("one", f"""read host
            [ "$1 $host" = "get {self.host}" ] || exit 9
            echo '{{"ServerURL":"x","Username":"user","Secret":"{SECRET}"}}'""")
        self.auth_file({}, credHelpers={self.host: "one"})
        result = self.varve.run("-v", "-v", "pull", self.ref)
        self.assertNoSecret(result)

    def test_store_of_credentials(self):
        self.helper("two", f"""cat >/dev/null; echo '{{"Username":"user","Secret":"{SECRET}"}}'""")
        self.auth_file({self.host: {}}, credsStore="two")
        self.varve.run("pull", self.ref)

    def test_helper_that_knows_nothing(self):
        self.helper("one", "cat >/dev/null; echo credentials not found in native keychain; exit 1")
        self.auth_file({}, credHelpers={self.host: "one"})
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn("varve login", result.err)

    def test_helper_that_fails(self):
        """For its own host it is an error that names it; as a general store it is passed over."""
        self.helper("one", "cat >/dev/null; echo boom; exit 1")
        self.auth_file({}, credHelpers={self.host: "one"})
        self.assertIn("docker-credential-one", self.varve.run("pull", self.ref, status=5).err)
        self.auth_file({}, credsStore="one")
        self.assertIn("varve login", self.varve.run("pull", self.ref, status=5).err)

    def test_helper_that_is_missing_or_no_name(self):
        self.auth_file({}, credHelpers={self.host: "none-such"})
        self.assertIn("docker-credential-none-such", self.varve.run("pull", self.ref, status=5).err)
        self.auth_file({}, credHelpers={self.host: "../../bin/sh"})
        self.varve.run("pull", self.ref, status=(4, 5))

    def test_helper_without_end_is_interrupted(self):
        self.helper("one", "cat >/dev/null; exec sleep 100")
        self.auth_file({}, credHelpers={self.host: "one"})
        process = self.varve.popen("pull", self.ref)
        time.sleep(1)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertEqual(process.returncode, 130)
        self.assertLess(time.monotonic() - begin, 2)

    def test_short_lived_password_is_asked_for_again(self):
        """The helper's first answer is stale (ECR after 12 hours)."""
        self.helper("one", f"""cat >/dev/null
            if [ -e {self.dir}/asked ]; then echo '{{"Username":"user","Secret":"{SECRET}"}}'
            else touch {self.dir}/asked; echo '{{"Username":"user","Secret":"stale"}}'; fi""")
        self.auth_file({}, credHelpers={self.host: "one"})
        self.varve.run("pull", self.ref)

    def test_short_lived_password_with_403(self):
        """ECR says 403 for an expired one: the helper is asked again, once."""
        server, http = front(self.origin)
        server = server.replace("proxy_http_version", 'access_by_lua_block { if ngx.var.http_authorization == "Basic %s" then '
                                "ngx.exit(403) end } proxy_http_version" % basic("user:stale"))
        ecr = self.nginx(server, http=http, lua=True)
        count = self.dir / "count"
        for second, status in ((SECRET, 0), ("stale", 5)):
            count.write_text("")
            self.helper("one", f"""cat >/dev/null; echo x >> {count}
                if [ "$(wc -l < {count})" = 1 ]; then s=stale; else s={second}; fi
                echo "{{\\"Username\\":\\"user\\",\\"Secret\\":\\"$s\\"}}\"""")
            self.auth_file({}, credHelpers={ecr.address: "one"})
            self.varve.run("pull", f"{ecr.address}/team/app:1", status=status)
            self.assertEqual(count.read_text(), "x\nx\n")

    def test_nothing_of_a_secret_in_proc(self):
        """While a helper runs, neither our argv nor its argv has the secret."""
        seen = self.dir / "seen"
        self.helper("one", f"""cat >/dev/null; cat /proc/$PPID/cmdline /proc/$$/cmdline /proc/$$/environ > {seen}
            ls -l /proc/$$/fd > {seen}.fd
            echo '{{"Username":"user","Secret":"{SECRET}"}}'""")
        self.auth_file({"other.example": {"auth": basic("u:another")}}, credHelpers={self.host: "one"})
        self.varve.run("pull", self.ref)
        self.assertNotIn(SECRET.encode(), seen.read_bytes())
        self.assertNotIn("socket:", (self.dir / "seen.fd").read_text())


class Login(Auth):
    def setUp(self):
        super().setUp()
        self.origin = self.registry(htpasswd={"user": SECRET})
        self.ref = self.image(self.origin)
        self.host = self.origin.address

    def login(self, password, **kw):
        return self.varve.run("login", "--user", "user", "--password-stdin", self.host, input=password.encode(), **kw)

    def test_login_pull_logout(self):
        env = {"REGISTRY_AUTH_FILE": self.dir / "c/auth.json"}
        self.assertNoSecret(self.login(SECRET, env=env))
        path = self.dir / "c/auth.json"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(json.loads(path.read_text()), {"auths": {self.host: {"auth": basic("user:" + SECRET)}}})
        self.varve.run("pull", self.ref, env=env)
        self.varve.run("logout", self.host, env=env)
        self.assertEqual(json.loads(path.read_text()), {"auths": {}})
        self.assertIn("login", self.new_varve(REGISTRY_AUTH_FILE=path).run("pull", self.ref, status=5).err)
        self.varve.run("logout", self.host, env=env, status=3)

    def test_wrong_password_is_not_kept(self):
        path = self.dir / "auth.json"
        result = self.login("wrong", env={"REGISTRY_AUTH_FILE": path}, status=5)
        self.assertNoSecret(result, "wrong-password")
        self.assertFalse(path.exists())

    def test_other_members_are_kept(self):
        path = self.dir / "auth.json"
        path.write_text('{"auths":{"a.io":{"auth":"%s"}},"HttpHeaders":{"a":"b"}}' % basic("x:y"))
        self.login(SECRET, env={"REGISTRY_AUTH_FILE": path})
        document = json.loads(path.read_text())
        self.assertEqual(set(document["auths"]), {"a.io", self.host})
        self.assertEqual(document["HttpHeaders"], {"a": "b"})

    def test_many_at_once(self):
        """No login of another process gets lost."""
        path = self.dir / "auth.json"
        processes = [self.varve.popen("login", "--no-check", "-u", "u", "--password-stdin", f"h{i}.example",
                                      env={"REGISTRY_AUTH_FILE": path}, stdin=subprocess.PIPE) for i in range(20)]
        for process in processes:
            process.stdin.write(b"p")
            process.stdin.close()
            process.stdin = None
        for process in processes:
            self.assertEqual((process.communicate()[1], process.returncode), (b"", 0))
        self.assertEqual(set(json.loads(path.read_text())["auths"]), {f"h{i}.example" for i in range(20)})

    def test_symlinks_stay(self):
        """Written through, also when what they name is not there yet."""
        real = self.dir / "dotfiles/auth.json"
        link, second = self.dir / "auth.json", self.dir / "second.json"
        link.symlink_to("dotfiles/auth.json")
        second.symlink_to(link)
        for i, path in enumerate((link, second)):
            self.varve.run("login", "--no-check", "-u", "u", "--password-stdin", f"h{i}.example", input=b"p",
                           env={"REGISTRY_AUTH_FILE": path})
            self.assertTrue(path.is_symlink())
        self.assertEqual(set(json.loads(real.read_text())["auths"]), {"h0.example", "h1.example"})
        self.varve.run("logout", "h0.example", env={"REGISTRY_AUTH_FILE": second})
        self.assertEqual(set(json.loads(real.read_text())["auths"]), {"h1.example"})
        link.unlink()
        link.symlink_to(link.name)
        self.varve.run("login", "--no-check", "-u", "u", "--password-stdin", "h.example", input=b"p", status=(2, 5),
                       env={"REGISTRY_AUTH_FILE": link})

    def test_of_a_user_without_a_session(self):
        """No XDG_RUNTIME_DIR, no right to make /run/containers: the file in the home, which pull reads."""
        need_root()
        home = self.dir / "home"
        for directory in (home, home / "session"):
            directory.mkdir()
            os.chown(directory, 65534, 65534)
        env = {"HOME": home, "VARVE_STORE": home / "store"}
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        login = "login", "-u", "user", "--password-stdin", self.host
        self.varve.run(*login, input=SECRET.encode(), env=env, prefix=prefix)
        self.assertEqual(set(json.loads((home / ".config/containers/auth.json").read_text())["auths"]), {self.host})
        self.varve.run("pull", self.ref, env=env, prefix=prefix)
        for session, where in ((home / "session", home / "session/containers/auth.json"), (home / "gone", home / ".config/containers/auth.json")):
            result = self.varve.run(*login, input=SECRET.encode(), env=dict(env, XDG_RUNTIME_DIR=session), prefix=prefix)
            self.assertIn(os.fspath(where), result.out)

    def test_logout_of_every_spelling_and_place(self):
        """Keys that mean the same, in each of the containers files; docker's own file is named, not changed."""
        keys = {"https://url.example/v2/": {"auth": basic("a:b")}, "url.example": {"auth": basic("c:d")},
                "http://url.example": {"auth": basic("e:f")}, "other.example": {"auth": basic("g:h")}}
        session = self.dir / "session"
        env = {"XDG_RUNTIME_DIR": session}
        paths = [session / "containers/auth.json", self.varve.home / ".config/containers/auth.json"]
        for path in paths:
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"auths": keys}))
        docker = self.auth_file(keys)
        result = self.varve.run("logout", "url.example", env=env)
        for path in paths:
            self.assertEqual(set(json.loads(path.read_text())["auths"]), {"other.example"})
        self.assertEqual(json.loads(docker.read_text())["auths"], keys)
        self.assertIn("docker logout url.example", result.err)
        result = self.varve.run("logout", "url.example", env=env, status=3)
        self.assertIn("docker logout url.example", result.err)

    def config(self, **members):
        path = self.path("config")
        path.write_text(json.dumps(members))
        return path

    def test_settings_of_the_registry_count(self):
        """insecure and location of its entry: tried there, and kept under the name that pull looks for."""
        server, http = front(self.origin)
        proxy = self.nginx(server, http=http, lua=True)
        path = self.dir / "auth.json"
        env = {"HTTP_PROXY": f"http://{proxy.address}", "REGISTRY_AUTH_FILE": path}
        login = "login", "-u", "user", "--password-stdin", "registry.example"
        config = self.config(registries={"registry.example": {"insecure": True}})
        self.varve.run("--config", config, *login, input=SECRET.encode(), env=env)
        self.assertTrue(proxy.requests("/v2/"))
        config = self.config(registries={"registry.example": {"location": self.host}})
        self.varve.run("--config", config, *login, input=b"wrong", env=env, status=5)
        result = self.varve.run("--config", config, *login, input=SECRET.encode(), env=env)
        self.assertIn(self.host, result.err)
        self.assertEqual(set(json.loads(path.read_text())["auths"]), {"registry.example", self.host})
        self.varve.run("--config", config, "pull", "registry.example/team/app:1", env=env)

    def test_registry_without_login(self):
        open_ = self.registry()
        result = self.varve.run("login", "-u", "user", "--password-stdin", open_.address, input=b"x",
                                env={"REGISTRY_AUTH_FILE": self.dir / "auth.json"})
        self.assertIn("untried", result.err)

    def test_into_a_helper(self):
        path = self.dir / "auth.json"
        path.write_text('{"credHelpers":{"%s":"keep"}}' % self.host)
        self.helper("keep", f"""case $1 in store|erase) cat > {self.dir}/$1;; *) cat >/dev/null;; esac""")
        self.login(SECRET, env={"REGISTRY_AUTH_FILE": path})
        self.assertEqual(json.loads((self.dir / "store").read_text()),
                         {"ServerURL": self.host, "Username": "user", "Secret": SECRET})
        self.assertNotIn(SECRET, path.read_text())
        self.varve.run("logout", self.host, env={"REGISTRY_AUTH_FILE": path})
        self.assertEqual((self.dir / "erase").read_text(), self.host)


class Bearer(Auth):
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

    def behind(self, challenge):
        """The registry behind an nginx that gives another challenge."""
        server, http = front(self.origin)
        server = server.replace("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_hide_header WWW-Authenticate; "
                                + challenge)
        return self.nginx(server, http=http, lua=True)

    def header(self, value):
        return "add_header WWW-Authenticate '%s' always;" % value

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
        result = self.varve.run("pull", f"{nginx.address}/team/app:1", status=(4, 5))
        for word in words:
            self.assertIn(word, result.err)
        self.assertNoSecret(result)

    def test_realms_that_are_refused(self):
        self.refused_realm("http://169.254.169.254/latest/meta-data/", "169.254.169.254")
        self.refused_realm("file:///etc/passwd")
        self.refused_realm("http://user:pw@127.0.0.1/token")
        self.refused_realm("http://2852039166/token")
        self.refused_realm("gopher://127.0.0.1/")

    def test_redirected_token_request(self):
        """With credentials, not to another host (CVE-2026-48978)."""
        other = self.nginx("location / { return 200 '{}'; }")
        sender = self.nginx("location /token { return 307 http://localhost:%d/steal; }" % other.port)
        self.refused_realm(f"http://{sender.address}/token", "refused")
        self.assertEqual(other.requests(), [])


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
        """404, 405: not every server speaks OAuth2."""
        self.varve.run("pull", self.ref)
        # nginx logs the method of its inner redirect to the 404; a GET has a query
        self.assertEqual([(r["path"] == "/token", r["status"]) for r in self.token_server.requests("/token")],
                         [(True, 404), (False, 200)])
