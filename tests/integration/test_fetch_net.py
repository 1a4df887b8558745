# SPDX-License-Identifier: Apache-2.0
"""Lines that lose packets and connections that go dead, in a network namespace of the test (docs/requirements.md 4.25)."""

import ctypes
import socket
import subprocess
import threading
import time

from support import Case, need_root
from test_fetch_blobs import MIB, Blobs

CLONE_NEWNET = 0x40000000


def run(*command):
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def own_network():
    need_root()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    run("ip", "link", "set", "lo", "up")


class Network(Blobs):
    """Servers and varve have a loopback of their own; the class has a process of its own."""

    @classmethod
    def setUpClass(cls):
        own_network()

    def setUp(self):
        super().setUp()
        self.config = self.path("config")
        self.config.write_text('{"stall_timeout": "2s", "connect_timeout": "1s", "retries": 2}')
        self.addCleanup(run, "iptables", "-F")

    def from_server(self, *rule):
        """Packets of the server's side go by this rule from now on."""
        run("iptables", "-A", "OUTPUT", "-p", "tcp", "--sport", self.front.port, *rule)

    def test_half_open(self):
        """After each 2 MB a connection is dead and nobody says so: the watchdog, then the rest by another connection."""
        ref = self.behind()
        self.from_server("-m", "connbytes", "--connbytes", "2000000:", "--connbytes-dir", "reply", "--connbytes-mode", "bytes",
                         "-j", "DROP")
        begin = time.monotonic()
        self.assertPulled(ref, pre=("--config", self.config))
        self.assertLess(time.monotonic() - begin, 60)
        asked = self.layer_requests()
        self.assertGreaterEqual(len(asked), 3)
        self.assertTrue(all(r["range"].startswith("bytes=") for r in asked[1:]), asked)

    def test_lost_packets(self):
        ref = self.behind()
        self.from_server("-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP")
        self.assertPulled(ref, timeout=120)
        self.assertLess(sum(r["bytes"] for r in self.layer_requests()), 1.3 * len(self.layer))

    def test_blackhole(self):
        """Nothing comes back: an end within the time that was set, which names the host; no time-out for each blob."""
        ref = self.behind()
        self.from_server("-j", "DROP")
        begin = time.monotonic()
        result = self.varve.run("--config", self.config, "pull", ref, status=5)
        self.assertLess(time.monotonic() - begin, 15)
        self.assertIn(self.front.address, result.err)

    def test_refused_in_the_middle(self):
        """The line is down for three seconds in the middle of a blob, and comes back."""
        ref = self.behind("limit_rate 2m;")
        process = self.varve.popen("--config", self.config, "pull", ref)
        while self.partial() < MIB:
            time.sleep(0.02)
        self.from_server("-j", "REJECT", "--reject-with", "tcp-reset")
        time.sleep(3)
        run("iptables", "-F")
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(self.varve.blob(self.digest).read_bytes(), self.layer)


class Trailers(Case):
    """Headers may come behind a body of chunks, too: without end they took eleven times their size of memory."""

    def endless(self, server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    if b"\r\n\r\n" not in connection.recv(65536):
                        continue  # https is tried first
                    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
                    for _ in range(200):  # 10 MB
                        connection.sendall(b"A: b\r\n" * 8000)
                        self.sent += 48000
                except OSError:
                    pass

    def test_without_end(self):
        self.sent = 0
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        threading.Thread(target=self.endless, args=(server,), daemon=True).start()
        self.varve.run("pull", "127.0.0.1:%d/a/b:1" % server.getsockname()[1], status=(4, 5), timeout=60)
        self.assertLess(self.sent, 9_000_000)


class Private(Case):
    """10.1.1.1 and 169.254.169.254 are on the loopback interface of the test's own network."""

    INSIDE, METADATA = "10.1.1.1:8080", "169.254.169.254:8080"

    @classmethod
    def setUpClass(cls):
        own_network()
        for address in (cls.INSIDE, cls.METADATA):
            run("ip", "address", "add", address.split(":")[0], "dev", "lo")

    def setUp(self):
        super().setUp()
        self.tokens = self.nginx("location / { default_type application/json; return 200 '{\"token\":\"t\"}'; }",
                                 listen=f"; listen {self.INSIDE}; listen {self.METADATA}")
        self.config = self.path("config")
        self.config.write_text('{"insecure": ["registry.example"], "retries": 0}')

    def pull(self, realm, status, hosts=""):
        """By registry.example, which is asked through a proxy, so that it is not known where it is."""
        proxy = self.nginx(f"location / {{ add_header WWW-Authenticate 'Bearer realm=\"http://{realm}/token\"' always; return 401; }}")
        path = self.path("hosts")
        path.write_text(hosts)
        return self.varve.run("--config", self.config, "pull", "registry.example/team/app:1", status=status,
                              env={"HTTP_PROXY": f"http://{proxy.address}", "NO_PROXY": "10.1.1.1,169.254.169.254,sso.example"},
                              prefix=["unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/hosts && exec "$@"', "sh"])

    def test_token_server_on_a_private_network(self):
        """Common inside of companies (2.8); by a name, too."""
        self.pull(self.INSIDE, 5)
        self.pull("sso.example:8080", 5, "10.1.1.1 sso.example\n")
        self.assertEqual([r["host"] for r in self.tokens.requests("/token")], [self.INSIDE, "sso.example:8080"])

    def test_token_server_that_is_link_local(self):
        """Where clouds keep their secrets: never, by whatever name."""
        self.assertIn("refused", self.pull(self.METADATA, 4).err)
        self.assertIn("refused", self.pull("sso.example:8080", 4, "169.254.169.254 sso.example\n").err)
        self.assertEqual(self.tokens.requests(), [])
