# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry: start, fill, read its access log, reach its storage."""

import base64
import http.client
import json
import os
import pathlib
import re
import subprocess

from .image import OCI_INDEX, DOCKER_LIST
from .servers import Server

_LOG = re.compile(r'^(?P<peer>\S+) - (?P<user>\S*) \[[^]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) [^"]*" '
                  r'(?P<status>\d+) (?P<bytes>\d+)')


class Registry(Server):
    """docker-registry on a free port, files under `directory`.

    options: htpasswd={"user": "password"}; token={"realm":…, "service":…, "issuer":…, "rootcertbundle":…} (see Tokens;
    bearer="…" is the token that push() shows);
    redirect="http://host:port" (blobs answer 307 to there); proxy="http://host:port" (pull-through cache);
    delete=True; schema1=True (accepts schema1 pushes); readonly=True; tls=(certificate, key); extra={}
    """

    def __init__(self, directory, **options):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(self.directory / "log")
        self.options = options
        self.storage = pathlib.Path(options.get("storage", self.directory / "storage"))

    def command(self):
        path = self.directory / "config.json"
        path.write_text(json.dumps(self._config(), indent=1))  # JSON is YAML
        return ["docker-registry", "serve", os.fspath(path)]

    def _config(self):
        o = self.options
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": os.fspath(self.storage)},
                        "delete": {"enabled": bool(o.get("delete"))}, "redirect": {"disable": not o.get("redirect")},
                        "maintenance": {"uploadpurging": {"enabled": False},
                                        "readonly": {"enabled": bool(o.get("readonly"))}}},
            "http": {"addr": self.address, "secret": "test"},
            "compatibility": {"schema1": {"enabled": bool(o.get("schema1"))}},
        }
        if o.get("tls"):
            config["http"]["tls"] = {"certificate": os.fspath(o["tls"][0]), "key": os.fspath(o["tls"][1])}
        if o.get("htpasswd"):
            path = self.directory / "htpasswd"
            path.write_text("".join(
                subprocess.run(["htpasswd", "-Bbn", "-C", "4", user, password], stdout=subprocess.PIPE, check=True,
                               text=True).stdout for user, password in o["htpasswd"].items()))
            config["auth"] = {"htpasswd": {"realm": "test realm", "path": os.fspath(path)}}
        if o.get("token"):
            config["auth"] = {"token": o["token"]}
        if o.get("redirect"):
            config["middleware"] = {"storage": [{"name": "redirect", "options": {"baseurl": o["redirect"]}}]}
        if o.get("proxy"):
            config["proxy"] = {"remoteurl": o["proxy"]}
        config.update(o.get("extra", {}))
        return config

    # --- filling it -------------------------------------------------------------------------------

    def _request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = dict(headers or {})
        if self.options.get("htpasswd"):
            user, password = next(iter(self.options["htpasswd"].items()))
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        if self.options.get("bearer"):
            headers["Authorization"] = "Bearer " + self.options["bearer"]
        connection.request(method, path, body, dict(headers, **{"User-Agent": "seed"}))
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response, answer

    def put_blob(self, repo, data, digest):
        response, _ = self._request("HEAD", f"/v2/{repo}/blobs/{digest}")
        if response.status == 200:
            return
        response, answer = self._request("POST", f"/v2/{repo}/blobs/uploads/")
        assert response.status == 202, (response.status, answer)
        location = response.headers["Location"].split("//", 1)[1].split("/", 1)[1]
        joiner = "&" if "?" in location else "?"
        response, answer = self._request("PUT", f"/{location}{joiner}digest={digest}", data,
                                         {"Content-Type": "application/octet-stream"})
        assert response.status == 201, (response.status, answer)

    def put_manifest(self, repo, tag, data, media):
        response, answer = self._request("PUT", f"/v2/{repo}/manifests/{tag}", data, {"Content-Type": media})
        assert response.status == 201, (response.status, answer)
        return response.headers["Docker-Content-Digest"]

    def push(self, layout, name, repo, tag="latest"):
        """Push what `name` of the layout names, bytes unchanged. Returns the reference to pull."""
        self._push(layout, layout.find(name), repo, tag)
        return f"{self.address}/{repo}:{tag}"

    def _push(self, layout, descriptor, repo, tag):
        data = layout.read(descriptor)
        document = json.loads(data)
        if descriptor["mediaType"] in (OCI_INDEX, DOCKER_LIST):
            for child in document["manifests"]:
                self._push(layout, child, repo, child["digest"])
        else:
            for child in [document["config"]] + document["layers"]:
                if "urls" not in child:
                    self.put_blob(repo, layout.read(child), child["digest"])
        self.put_manifest(repo, tag, data, descriptor["mediaType"])

    def skopeo_push(self, source, repo, tag="latest", *options):
        """Push `source` (a skopeo transport name) with skopeo. Returns the reference to pull."""
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *options, source,
                        f"docker://{self.address}/{repo}:{tag}"], check=True, stdout=subprocess.DEVNULL)
        return f"{self.address}/{repo}:{tag}"

    # --- looking at it ----------------------------------------------------------------------------

    def blob_file(self, digest):
        """The file that holds a blob in the registry's storage: a test may damage or delete it."""
        return self.storage / f"docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"

    def requests(self, method=None, contains="", status=None):
        """The access log as [{"method", "path", "status", "bytes"}] in order, without the seeding requests."""
        out = []
        for line in self.log().splitlines():
            match = _LOG.match(line)
            if not match or '"seed"' in line or "skopeo/" in line:
                continue
            entry = {"method": match["method"], "path": match["path"], "status": int(match["status"]),
                     "bytes": int(match["bytes"]), "line": line}
            if (method is None or entry["method"] == method) and contains in entry["path"] \
                    and (status is None or entry["status"] == status):
                out.append(entry)
        return out

    def downloads(self, digest=None):
        """Successful GETs of blobs: {digest: count}, or the count of one."""
        counts = {}
        for entry in self.requests("GET", "/blobs/"):
            if entry["status"] in (200, 206, 307):
                name = entry["path"].rsplit("/", 1)[1].split("?")[0]
                counts[name] = counts.get(name, 0) + 1
        return counts if digest is None else counts.get(digest, 0)

    def forget_log(self):
        """Start the access log anew."""
        os.truncate(self.logfile, 0)
