# SPDX-License-Identifier: Apache-2.0
"""A secret goes where it is for and nowhere else: not into messages, JSON, the store, or a command line."""

import base64
import json
import os
import signal
import socket
import subprocess

from support import Case, Tar

# Each is its own, so that a failure names the place it came from.
NAMES = ["proxy", "unparsed", "argument", "bare", "auths", "identity", "helper", "config", "realm", "location", "cookie", "signed"]
SECRET = {name: f"Zq7{name}Xw9" for name in NAMES}


class Secrets(Case):
    def setUp(self):
        super().setUp()
        layout = self.layout()
        layout.image("i", [Tar().file("f", "x")])
        self.varve.run("import", layout.path, "x:1")
        self.varve.run("install", "x:1")

    def looked(self, *args, env=None, **kw):
        """Run it with -vv, and once more with --json; no secret is in what it says. Returns all that it said."""
        said = ""
        for options in (["-vv"], ["-vv", "--json"]):
            result = self.varve.run(*options, *args, status=None, env=env, timeout=60, **kw)
            said += result.out + result.err
            self.assertIn(result.status, range(0, 9), result)
        for name, secret in SECRET.items():
            self.assertNotIn(secret, said, f"{name}: varve {args}\n{said}")
        return said

    def tearDown(self):
        for top in (self.varve.store, self.varve.roots):
            for folder, _, files in os.walk(top):
                for file in files:
                    path = os.path.join(folder, file)
                    if os.path.isfile(path) and not os.path.islink(path):
                        with open(path, "rb") as f:
                            data = f.read()
                        for name, secret in SECRET.items():
                            self.assertNotIn(secret.encode(), data, f"{name} in {path}")
        super().tearDown()

    def test_proxy(self):
        for variable in ("http_proxy", "https_proxy", "all_proxy"):
            for proxy in ("http://u:%s@127.0.0.1:1", "htp://u:%s@127.0.0.1:1", "http://u:%s@127.0.0.1:99999", "http://u:%s/x@127.0.0.1:1",
                          "http://u:%s x@127.0.0.1:1", "u:%s@127.0.0.1:1", "socks5h://u:%s@127.0.0.1:1"):
                with self.subTest(variable=variable, proxy=proxy):
                    self.looked("pull", "example.invalid/a/b:1", env={variable: proxy % SECRET["proxy"]})

    def test_arguments(self):
        for form in ("https://u:%s@127.0.0.1:1/x", "u:%s@127.0.0.1:1/x", "u:%s@127.0.0.1:1/x:1@sha256:" + "0" * 64, "https://127.0.0.1:1/x?sig=%s"):
            text = form % SECRET["argument"]
            for args in (["import", text, "y:1"], ["import", text], ["pull", text], ["install", text], ["push", "x:1", text], ["push", text],
                         ["login", "--username", "u", "--password-stdin", text], ["logout", text], ["tag", "x:1", text], ["tag", text, "y:1"],
                         ["inspect", text], ["plan", text], ["files", text], ["cat", text, "f"], ["diff", text], ["switch", text],
                         ["remove", text], ["remove", "--installed", text], ["pin", text], ["unpin", text], ["rollback", text],
                         ["export", "-o", self.dir / "out", text], ["outdated", text], ["outdated", "--installed", text], ["check", "--installed", text],
                         ["list", text], ["registry", text], ["config", text], ["gc", text], ["help", text], [text],
                         ["install", "--source", "official", text], ["--store", text, "list"], ["--roots", text, "list", "--installed"], ["--roots", text, "switch", "x"], ["--config", text, "pull", "x"]):
                with self.subTest(args=args):
                    self.looked(*args, input=b"p\n", cwd=self.dir)

    def test_config(self):
        secret = SECRET["config"]
        for document in ({"registries": {f"u:{secret}@127.0.0.1:1": {}}}, {"registries": {f"https://u:{secret}@127.0.0.1:1": {}}},
                         {"registries": {"a.invalid": {"mirrors": [{"url": f"https://u:{secret}@127.0.0.1:1"}]}}},
                         {"registries": {"a.invalid": {"location": f"u:{secret}@127.0.0.1:1"}}},
                         {"lower": [f"https://u:{secret}@h/x"]}, {"lower": [f"u:{secret}@h/x"]}, {"insecure": [f"u:{secret}@h"]},
                         {"platform": f"u:{secret}@h"}, {f"u:{secret}@h": 1}, {"official": {"library": f"https://u:{secret}@h/{{image}}"}}):
            with self.subTest(document=document):
                path = self.path("config")
                path.write_text(json.dumps(document))
                self.looked("config", "check", path)
                self.looked("--config", path, "pull", "a.invalid/b:1")

    def test_auth(self):
        """What the auth file and a helper hold is sent to the registry alone."""
        registry = self.nginx("""location / { add_header WWW-Authenticate 'Basic realm="http://u:%s@h/"' always;
            add_header Set-Cookie 's=%s' always; return 401; }""" % (SECRET["realm"], SECRET["cookie"]))
        tools = self.path("tools")
        tools.mkdir()
        helper = tools / "docker-credential-test"
        path = self.path("auth")
        env = {"REGISTRY_AUTH_FILE": path, "PATH": f"{tools}:{os.environ['PATH']}"}
        given = json.dumps({"ServerURL": "h", "Username": "u", "Secret": SECRET["helper"]})
        pair = base64.b64encode(f"u:{SECRET['auths']}".encode()).decode()
        for auth, script in (({"auths": {registry.address: {"auth": pair}}}, ""),
                             ({"auths": {registry.address: {"auth": pair, "identitytoken": SECRET["identity"]}}}, ""),
                             ({"auths": {registry.address: {"registrytoken": SECRET["identity"]}}}, ""),
                             ({"auths": {registry.address: {"auth": SECRET["auths"]}}}, ""),
                             ({"credHelpers": {registry.address: "test"}}, f"echo '{given}'"),
                             ({"credHelpers": {registry.address: "test"}}, f"echo '{given}x'"),
                             ({"credHelpers": {registry.address: "test"}}, f"echo {SECRET['helper']}; exit 1")):
            with self.subTest(auth=auth, script=script):
                path.write_text(json.dumps(auth))
                path.chmod(0o600)
                helper.write_text("#!/bin/sh\n" + script + "\n")
                helper.chmod(0o755)
                said = self.looked("pull", f"{registry.address}/a/b:1", env=env)
                self.assertNotIn(pair, said)

    def test_bearer_and_redirects(self):
        for location in ("return 307 http://u:%s@127.0.0.1:1/x;" % SECRET["location"], "return 307 http://127.0.0.1:1/x?X-Amz-Signature=%s;" % SECRET["signed"],
                         "return 307 ftp://u:%s@127.0.0.1:1/x;" % SECRET["location"], "return 307 //u:%s@127.0.0.1:1/x;" % SECRET["location"],
                         """add_header WWW-Authenticate 'Bearer realm="http://u:%s@127.0.0.1:1/token",service="s"' always; return 401;""" % SECRET["realm"],
                         """add_header WWW-Authenticate 'Bearer realm="http://127.0.0.1:1/token?k=%s",service="s"' always; return 401;""" % SECRET["realm"],
                         """add_header WWW-Authenticate 'Bearer realm="u:%s@h",service="s"' always; return 401;""" % SECRET["realm"]):
            with self.subTest(location=location):
                server = self.nginx("location / { add_header Set-Cookie 's=%s' always; %s }" % (SECRET["cookie"], location))
                self.looked("pull", f"{server.address}/a/b:1")

    def test_places(self):
        """A directory for the store or the trees is no URL; it was made, and its name shown."""
        for option in ("--store", "--roots"):
            for text in (f"http://u:{SECRET['argument']}@h/x", f"u:{SECRET['argument']}@h/x", "https://h/x"):
                result = self.varve.run(option, text, "install", "x:1", "--name", "y", status=2, cwd=self.dir)
                self.assertNotIn(SECRET["argument"], result.out + result.err)
                self.assertIn("wants a directory", result.err)
        self.varve.run("--roots", "./u:v@h", "install", "x:1", "--name", "y", cwd=self.dir)
        self.assertTrue((self.dir / "u:v@h/rootfs_y").is_dir())

    def silent(self):
        """Whoever asks there waits."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        return server, "127.0.0.1:%d" % server.getsockname()[1]

    def test_no_core(self):
        """While a password is in memory nothing makes varve write its memory to a file."""
        server, host = self.silent()
        auth = self.path("auth")
        auth.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(f"u:{SECRET['auths']}".encode()).decode()}}}))
        auth.chmod(0o600)
        for args in (("pull", f"{host}/a/b:1"), ("install", f"{host}/a/b:1"), ("push", "x:1", f"{host}/a/b:1"),
                     ("login", "-u", "u", "--password-stdin", host)):
            with self.subTest(args=args):
                process = self.varve.popen(*args, prefix=("prlimit", "--core=unlimited"), stdin=subprocess.PIPE, cwd=self.dir,
                                           env={"REGISTRY_AUTH_FILE": auth})
                process.stdin.write(SECRET["auths"].encode() + b"\n")
                process.stdin.close()
                connection, _ = server.accept()
                os.kill(process.pid, signal.SIGABRT)
                ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                self.assertEqual((ended.si_code, ended.si_status), (os.CLD_KILLED, signal.SIGABRT))
                process.wait()
                connection.close()

    def test_login(self):
        """The password is in no command line and in no core file."""
        server = self.nginx("""location / { add_header WWW-Authenticate 'Basic realm="r"' always; return 401; }""")
        self.looked("login", "--username", "u", "--password-stdin", server.address, input=SECRET["auths"].encode() + b"\n")
