# SPDX-License-Identifier: Apache-2.0
"""Large blobs: a line that breaks all the time and a client that is killed all the time; memory."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time

from support import Case, digest_of
from support.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from support.registry_front import CUT, front, random_layer
from support.tarball import header

MIB = 1 << 20


class BadLine(Case):
    SIZE = 300 * MIB

    def test_killed_every_second_through_a_line_that_breaks(self):
        """Every connection ends after 1 to 20 MB, varve is killed every second: still done, with less than 1.3 times the bytes."""
        origin = self.registry()
        layout = self.layout()
        layer = random_layer(self.SIZE)
        digest = digest_of(layer)
        layout.image("a", [layer], compression="none")
        origin.push(layout, "a", "team/app", "1")
        server, http = front(origin, "limit_rate 40m; header_filter_by_lua_block { ngx.ctx.limit = math.random(1000000, 20000000) }" + CUT)
        nginx = self.nginx(server, http=http, lua=True)
        ref = f"{nginx.address}/team/app:1"
        kills, deadline = 0, time.monotonic() + 240
        while time.monotonic() < deadline:
            process = self.varve.popen("pull", ref)
            try:
                out, err = process.communicate(timeout=random.uniform(0.8, 1.2))
                self.assertEqual(process.returncode, 0, err)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        else:
            self.fail(f"not done after {kills} kills")
        self.assertEqual(digest_of(self.varve.blob(digest).read_bytes()), digest)
        sent = sum(r["bytes"] for r in nginx.requests(digest[7:]))
        print(f"\n{kills} kills, {len(nginx.requests(digest[7:]))} requests, {sent / len(layer):.3f} times the size over the wire")
        self.assertGreater(kills, 2)
        self.assertLess(sent, 1.3 * len(layer))
        self.varve.run("check")


class Memory(Case):
    LAYERS, SIZE = 6, 500 * MIB

    def test_six_large_layers_at_once(self):
        """6 layers of 500 MB at once: varve stays under 64 MiB. The bytes are made by nginx, sparse files on disk."""
        files = []
        directory = self.path("blobs")
        directory.mkdir()
        for i in range(self.LAYERS):
            files.append(self.sparse_layer(directory, i))
        server = "".join(f"location ~ {digest}$ {{ rewrite ^ /{i} break; root {directory}; }} "
                         for i, (digest, _) in enumerate(files))
        config = ('{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%s]}}'
                  % ",".join(f'"{digest}"' for digest, _ in files)).encode()
        (directory / "config").write_bytes(config)
        manifest = ('{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[%s]}'
                    % (digest_of(config), len(config), ",".join(
                        '{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}' % f for f in files)))
        (directory / "manifest").write_text(manifest)
        server += (f"location ~ {digest_of(config)}$ {{ rewrite ^ /config break; root {directory}; }}"
                   f"location ~ manifests/1$ {{ default_type application/vnd.oci.image.manifest.v1+json; rewrite ^ /manifest break; root {directory}; }}")
        self.pull_and_measure(self.nginx(server), files)

    def test_six_compressed_layers_at_once(self):
        """Decoders with windows of 8 MiB, six at once: those that would be too many wait for their turn."""
        for how in (["gzip", "-1"], ["zstd", "-q", "-1", "--zstd=wlog=23"]):
            layers = []
            for i in range(self.LAYERS):
                raw = random_layer(12 * MIB, seed=i)
                data = subprocess.run(how, input=raw, stdout=subprocess.PIPE, check=True).stdout
                layers.append((digest_of(raw), data))
            layout = self.layout()
            config = layout.blob(json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {
                "type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]}}).encode(), OCI_CONFIG)
            manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
                        "layers": [layout.blob(data, OCI_LAYER) for _, data in layers]}
            layout.tag("a", layout.blob(json.dumps(manifest).encode(), OCI_MANIFEST))
            origin = self.registry()
            origin.push(layout, "a", "team/app", "1")
            server, http = front(origin, blobs="limit_rate 6m;")
            self.varve = self.new_varve()
            print(f"\n{how[0]}:", end="")
            self.pull_and_measure(self.nginx(server, http=http, lua=True),
                                  [(digest_of(data), len(data)) for _, data in layers])

    def pull_and_measure(self, nginx, files):
        process = self.varve.popen("pull", f"{nginx.address}/team/app:1")
        peak, at_once = 0, 0
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status") as file:
                    status = dict(line.split(":", 1) for line in file)
                peak = max(peak, int(status.get("VmHWM", "0 kB").split()[0]))
                names = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
                at_once = max(at_once, sum(any(digest[7:] in name for name in names) for digest, _ in files))
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        err = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        self.assertEqual(process.returncode, 0, err)
        print(f"\npeak {peak / 1024:.1f} MiB, {at_once} layers at once")
        self.assertEqual(at_once, self.LAYERS)
        if "asan" not in os.environ.get("VARVE", "") and not os.environ.get("VARVE_NO_MEMORY_LIMIT"):
            self.assertLess(peak, 64 * 1024)

    def sparse_layer(self, directory, i):
        """A tar with one file of zero bytes but for its start, without holding it in memory."""
        path = directory / str(i)
        size = self.SIZE
        head = header(b"file%d" % i, b"0", size)
        tail = b"\0" * 1024
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(512 + size + len(tail))
        sha = hashlib.sha256(head)
        zeros = bytes(MIB)
        for _ in range(size // MIB):
            sha.update(zeros)
        sha.update(tail)
        return "sha256:" + sha.hexdigest(), 512 + size + len(tail)
