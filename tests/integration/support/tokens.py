# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens for docker-registry: a key, signed tokens, and an nginx that hands them out at /token."""

import base64
import json
import os
import pathlib
import secrets
import subprocess
import time


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """An issuer. Use: tokens = Tokens(dir); nginx = case.nginx(tokens.server()); registry = case.registry(
    token=tokens.options(f"http://{nginx.address}/token")); tokens.publish([("team/app", "pull")])."""

    service, issuer = "test service", "test issuer"

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.key, self.cert = self.directory / "key.pem", self.directory / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test issuer",
                        "-keyout", self.key, "-out", self.cert], check=True, stderr=subprocess.DEVNULL)

    def options(self, realm):
        """For Registry(token=...)."""
        return {"realm": realm, "service": self.service, "issuer": self.issuer, "rootcertbundle": os.fspath(self.cert)}

    def issue(self, access, lifetime=300, now=None):
        """A token for [(repository, "pull,push")]; a negative lifetime makes an expired one."""
        der = subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout
        now = int(now or time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": self.issuer, "sub": "", "aud": self.service, "exp": now + lifetime, "nbf": now - 400, "iat": now - 400,
                  "jti": secrets.token_hex(8),
                  "access": [{"type": "repository", "name": n, "actions": a.split(",")} for n, a in access]}
        text = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), stdout=subprocess.PIPE,
                                   check=True).stdout
        return f"{text}.{_b64(signature)}"

    def publish(self, access, lifetime=300, **members):
        """What /token answers from now on. members replace or add JSON members of the answer."""
        answer = {"token": self.issue(access, lifetime), "expires_in": lifetime}
        answer.update(members)
        part = self.directory / "token.part"
        part.write_text(json.dumps(answer))
        part.rename(self.directory / "token")

    def server(self, extra=""):
        """The server block of an nginx with /token; extra goes into the location (auth_basic, limit_except ...)."""
        return ("location = /token { default_type application/json; alias %s/token; error_page 405 =404 /no; %s }"
                % (self.directory, extra))
