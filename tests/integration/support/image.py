# SPDX-License-Identifier: Apache-2.0
"""Builds OCI image layouts from layers given as bytes: image, index, Docker schema2 documents."""

import gzip
import hashlib
import json
import os
import pathlib
import subprocess

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

# The layer that Docker named in nearly every image before schema2: gzip of 1,024 zero bytes.
EMPTY_LAYER = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
EMPTY_LAYER_DIGEST = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compress(tar, how):
    """Compress tar bytes: "gzip", "zstd" or "none"."""
    if how == "gzip":
        return gzip.compress(tar, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
    assert how == "none", how
    return tar


def _diff_id(blob):
    if blob[:2] == b"\x1f\x8b":
        return digest_of(gzip.decompress(blob))
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        return digest_of(subprocess.run(["zstd", "-q", "-d", "-c"], input=blob, stdout=subprocess.PIPE,
                                        check=True).stdout)
    return digest_of(blob)


def _media(blob, docker):
    if docker:
        return DOCKER_LAYER
    if blob[:4] == b"hsqs":
        return "application/vnd.stacker.image.layer.squashfs+zstd"
    if blob[:2] == b"\x1f\x8b":
        return OCI_LAYER + "+gzip"
    return OCI_LAYER + ("+zstd" if blob[:4] == b"\x28\xb5\x2f\xfd" else "")


class Layout:
    """An OCI image layout that grows: blobs, manifests and names in index.json."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._names = []
        self._save()

    def blob(self, data, media="application/octet-stream"):
        """Store bytes; returns the descriptor."""
        digest = digest_of(data)
        (self.path / "blobs/sha256" / digest[7:]).write_bytes(data)
        return {"mediaType": media, "digest": digest, "size": len(data)}

    def read(self, descriptor):
        return (self.path / "blobs/sha256" / descriptor["digest"][7:]).read_bytes()

    def manifest(self, layers, compression="gzip", docker=False, platform=("linux", "amd64", ""), config=None,
                 diff_ids=None, annotations=None, media=None, extra=None):
        """An image of `layers`: Tar objects (compressed here) or blobs as bytes, with the media types `media` instead
        of their own; extra: further members of the manifest. Returns the descriptor."""
        blobs = [l if isinstance(l, bytes) else compress(l.bytes(), compression) for l in layers]
        document = {
            "created": "2024-01-01T00:00:00Z", "architecture": platform[1], "os": platform[0],
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [_diff_id(b) for b in blobs]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in blobs],
        }
        if platform[2]:
            document["variant"] = platform[2]
        document.update(config or {})
        config_blob = self.blob(json.dumps(document).encode(), DOCKER_CONFIG if docker else OCI_CONFIG)
        body = {
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": config_blob,
            "layers": [self.blob(b, media[i] if media else _media(b, docker)) for i, b in enumerate(blobs)],
        }
        body.update(extra or {})
        if annotations:
            body["annotations"] = annotations
        return self.blob(json.dumps(body, indent=1).encode(), body["mediaType"])

    def image(self, name, layers, **kw):
        """manifest() with a name in index.json. Returns the descriptor."""
        descriptor = self.manifest(layers, **kw)
        self.tag(name, descriptor)
        return descriptor

    def index(self, name, manifests, docker=False):
        """An image index of [((os, arch, variant), descriptor)]."""
        media = DOCKER_LIST if docker else OCI_INDEX
        body = {"schemaVersion": 2, "mediaType": media, "manifests": []}
        for (system, arch, variant), descriptor in manifests:
            platform = {"architecture": arch, "os": system}
            if variant:
                platform["variant"] = variant
            body["manifests"].append(dict(descriptor, platform=platform))
        descriptor = self.blob(json.dumps(body, indent=1).encode(), media)
        self.tag(name, descriptor)
        return descriptor

    def tag(self, name, descriptor):
        self._names = [d for d in self._names if d["annotations"]["org.opencontainers.image.ref.name"] != name]
        self._names.append(dict(descriptor, annotations={"org.opencontainers.image.ref.name": name}))
        self._save()

    def names(self):
        """Every name in index.json."""
        return [d["annotations"]["org.opencontainers.image.ref.name"] for d in self._names]

    def find(self, name):
        """The descriptor that index.json gives `name`, read from disk: another tool may have written it."""
        for descriptor in json.loads((self.path / "index.json").read_text())["manifests"]:
            if descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
                return descriptor
        raise KeyError(name)

    def _save(self):
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._names}))

    def reload(self):
        """Read the names again: another tool has changed index.json."""
        self._names = json.loads((self.path / "index.json").read_text())["manifests"]
        for descriptor in self._names:
            descriptor.setdefault("annotations", {}).setdefault("org.opencontainers.image.ref.name", "")

    @classmethod
    def existing(cls, path):
        """A layout that another tool made."""
        self = cls.__new__(cls)
        self.path = pathlib.Path(path)
        self.reload()
        return self


def tar_of_directory(path):
    """A deterministic tar of a directory tree with owners, devices, xattrs and nanoseconds, by bsdtar."""
    return subprocess.run(["bsdtar", "--format=pax", "--numeric-owner", "-C", os.fspath(path), "-cf", "-", "."],
                          stdout=subprocess.PIPE, check=True).stdout
