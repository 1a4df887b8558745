# SPDX-License-Identifier: Apache-2.0
"""Logging in with names and passwords: files, helpers, netrc, and what varve login keeps (docs/requirements.md 2)."""

import base64
import json
import os
import signal
import subprocess
import time

from support import Case, need_root, samples
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

    def test_password_with_every_request(self):
        """One 401 tells that it is wanted; then nothing is asked for without it."""
        self.auth_file({self.host: {"auth": basic("user:" + SECRET)}})
        self.origin.forget_log()
        self.varve.run("pull", self.ref)
        statuses = [r["status"] for r in self.origin.requests()]
        self.assertEqual((statuses.count(401), statuses.count(200)), (1, 3))

    def test_files_in_their_order(self):
        """The first one with a login counts, whatever the later ones have."""
        files = [self.dir / name for name in ("a.json", "run/containers/auth.json", "config/containers/auth.json", "docker/config.json")]
        env = {"REGISTRY_AUTH_FILE": files[0], "XDG_RUNTIME_DIR": self.dir / "run", "XDG_CONFIG_HOME": self.dir / "config",
               "DOCKER_CONFIG": self.dir / "docker"}
        files.append(self.varve.home / ".dockercfg")

        def write(path, password):
            path.parent.mkdir(parents=True, exist_ok=True)
            auths = {self.host: {"auth": basic("user:" + password)}}
            path.write_text(json.dumps(auths if path.name == ".dockercfg" else {"auths": auths}))

        for path in files:
            write(path, "wrong")
        for path in files:
            self.assertIn(os.fspath(path), self.varve.run("pull", self.ref, env=env, status=5).err)
            write(path, SECRET)
            self.varve.run("pull", self.ref, env=env)
            path.write_text("{}")

    def test_file_of_the_machine_without_a_session(self):
        """/run/containers/UID where there is no XDG_RUNTIME_DIR."""
        need_root()
        path = self.auth_file({self.host: {"auth": basic("user:" + SECRET)}}).rename(self.dir / "auth.json")
        there = f"mount -t tmpfs tmpfs /run && mkdir -p /run/containers/0 && cp {path} /run/containers/0/"
        self.varve.run("pull", self.ref, status=5)
        self.varve.run("pull", self.ref, prefix=["unshare", "-m", "sh", "-c", there + ' && exec "$@"', "sh"])

    def test_file_that_may_not_be_read(self):
        """Of somebody else: passed over."""
        need_root()
        home = self.dir / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        closed, file = self.dir / "closed.json", self.auth_file({self.host: {"auth": basic("user:" + SECRET)}})
        closed.write_text("{")
        closed.chmod(0o600)
        self.varve.run("pull", self.ref, env={"HOME": home, "VARVE_STORE": home / "store", "REGISTRY_AUTH_FILE": closed,
                                              "DOCKER_CONFIG": file.parent},
                       prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])

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
        err = self.varve.run("pull", self.ref, status=5).err
        self.assertIn("docker-credential-one failed (exit status 1)", err)
        self.assertNotIn("varve login", err)
        self.auth_file({}, credsStore="one")
        self.assertIn("varve login", self.varve.run("pull", self.ref, status=5).err)

    def test_helper_that_is_missing_or_no_name(self):
        self.auth_file({}, credHelpers={self.host: "none-such"})
        self.assertIn("docker-credential-none-such", self.varve.run("pull", self.ref, status=5).err)
        # A path would be run where it leads to.
        (self.dir / "docker-credential-x").mkdir()
        self.helper("evil", f"touch {self.dir}/ran").rename(self.dir / "evil")
        self.auth_file({}, credHelpers={self.host: "x/../evil"})
        self.varve.run("pull", self.ref, status=4, cwd=self.dir)
        self.assertFalse((self.dir / "ran").exists())

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

    def test_helper_that_says_nothing(self):
        """Half a minute, then an error that names it; and it is gone."""
        self.helper("one", f"cat >/dev/null; echo $$ > {self.dir}/pid; exec sleep 100")
        self.auth_file({}, credHelpers={self.host: "one"})
        begin = time.monotonic()
        result = self.varve.run("pull", self.ref, status=5)
        self.assertIn("docker-credential-one: no answer within 30 s", result.err)
        self.assertTrue(30 <= time.monotonic() - begin < 60)
        self.assertFalse(os.path.exists("/proc/" + (self.dir / "pid").read_text().strip()))

    def test_helper_that_says_too_much(self):
        """More than 64 KiB are no answer, even if it is a good one."""
        self.helper("one", f"""cat >/dev/null; printf '{{"Username":"user","Secret":"{SECRET}","More":"'
            head -c 70000 /dev/zero | tr '\\0' x; echo '"}}'""")
        self.auth_file({}, credHelpers={self.host: "one"})
        self.assertIn("docker-credential-one", self.varve.run("pull", self.ref, status=5).err)

    def test_helper_is_asked_for_docker_hub_by_its_old_name(self):
        asked = self.dir / "asked"
        self.helper("one", f"""echo "$1 $(cat)" >> {asked}; echo '{{"Username":"user","Secret":"{SECRET}"}}'""")
        path = self.dir / "auth.json"
        path.write_text('{"credHelpers":{"docker.io":"one"}}')
        for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            self.varve.run("logout", name, env={"REGISTRY_AUTH_FILE": path})
            self.assertEqual(asked.read_text(), "get https://index.docker.io/v1/\nerase https://index.docker.io/v1/\n")
            asked.unlink()

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

    def test_helper_gets_no_socket(self):
        """It is asked while connections are open."""
        seen = self.dir / "seen"
        self.helper("one", f"""cat >/dev/null; ls -l /proc/$PPID/fd > {seen}.ours; ls -l /proc/$$/fd > {seen}
            echo '{{"Username":"user","Secret":"{SECRET}"}}'""")
        self.auth_file({}, credHelpers={self.host: "one"})
        self.varve.run("pull", self.ref)
        self.assertIn("socket:", (self.dir / "seen.ours").read_text())
        self.assertNotIn("socket:", seen.read_text())


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

    def test_file_of_another_shape(self):
        """Lists in the place of objects: an error that names the file, which stays as it is."""
        path = self.dir / "auth.json"
        for text in ('{"auths":["x"]}', '{"auths":"x"}', '{"credHelpers":["x"]}', '{"credHelpers":1,"auths":{}}'):
            path.write_text(text)
            for command in (["login", "--no-check", "-u", "user", "--password-stdin"], ["logout"]):
                with self.subTest(text=text, command=command[0]):
                    result = self.varve.run(*command, "--auth-file", path, "127.0.0.1:1", input=b"pw\n", status=4)
                    self.assertIn(str(path), result.err)
                    self.assertIn("is not an object", result.err)
                    self.assertEqual(path.read_text(), text)

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
        self.helper("keep", f"""cat /proc/$PPID/cmdline /proc/$PPID/environ /proc/$$/cmdline /proc/$$/environ >> {self.dir}/public
            case $1 in store|erase) cat > {self.dir}/$1;; *) cat >/dev/null;; esac""")
        self.login(SECRET, env={"REGISTRY_AUTH_FILE": path})
        self.assertEqual(json.loads((self.dir / "store").read_text()),
                         {"ServerURL": self.host, "Username": "user", "Secret": SECRET})
        self.assertNotIn(SECRET, path.read_text())
        public = (self.dir / "public").read_text()
        self.assertIn("docker-credential-keep\0store", public)
        self.assertNotIn(SECRET, public)  # in nobody's arguments or environment
        self.varve.run("logout", self.host, env={"REGISTRY_AUTH_FILE": path})
        self.assertEqual((self.dir / "erase").read_text(), self.host)
