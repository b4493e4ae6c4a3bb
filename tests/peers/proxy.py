"""Runs HAProxy with the configuration of haproxy/, and calls the API through it."""

import http.client
import os
import pathlib
import socket
import ssl
import subprocess

from signet import ROOT, Client, Signet, free_ports, wait_until


class Haproxy:
    """One process in the foreground, before up to two nodes of each role; its log is a file."""

    def __init__(self, home: pathlib.Path, lmtp: list[Signet], api: list[Signet], postfix_port: int | None = None):
        home.mkdir()
        self.log = home / "haproxy.log"
        self.socket = home / "admin.sock"
        self.smtp, self.lmtp, self.api, self.admin, nobody = free_ports(5)
        self.certificate = home / "certificate.pem"
        key, certificate = home / "key.pem", home / "only.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        self.certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
        self.trust = ssl.create_default_context(cafile=str(certificate))
        environment = os.environ | {
            "SIGNET_HAPROXY_SOCKET": str(self.socket),
            "SIGNET_SMTP_BIND": f"127.0.0.1:{self.smtp}",
            "SIGNET_LMTP_BIND": f"127.0.0.1:{self.lmtp}",
            "SIGNET_API_BIND": f"127.0.0.1:{self.api}",
            "SIGNET_ADMIN_BIND": f"127.0.0.1:{self.admin}",
            "SIGNET_API_CERTIFICATE": str(self.certificate),
            "SIGNET_POSTFIX_1": f"127.0.0.1:{postfix_port or nobody}",
        }
        for number in (1, 2):
            lmtp_node, api_node = (nodes[number - 1] if len(nodes) >= number else None for nodes in (lmtp, api))
            environment[f"SIGNET_LMTP_{number}"] = f"127.0.0.1:{lmtp_node.lmtp_port if lmtp_node else nobody}"
            environment[f"SIGNET_API_{number}"] = f"127.0.0.1:{api_node.api_port if api_node else nobody}"
            environment[f"SIGNET_HEALTH_API_{number}_PORT"] = str(api_node.internal_port if api_node else nobody)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["haproxy", "-db", "-f", ROOT / "haproxy/haproxy.cfg"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def servers(self) -> dict[str, dict[str, str]]:
        """The statistics of each server, by their names; none while HAProxy starts."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
            connection.request("GET", "/;csv")
            lines = connection.getresponse().read().decode().splitlines()
        except OSError:
            assert self.process.poll() is None, f"haproxy ended: {self.log.read_text()}"
            return {}
        names = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines[1:] if line]
        return {row["svname"]: row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}

    def states(self) -> dict[str, str]:
        """What HAProxy thinks of each server: UP, DOWN, DRAIN."""
        return {name: row["status"].split()[0] for name, row in self.servers().items()}

    def wait_for_state(self, server: str, state: str, seconds: float = 30.0) -> None:
        wait_until(f"HAProxy says that {server} is {state}", lambda: self.states().get(server) == state, seconds)

    def set_state(self, server: str, state: str) -> None:
        """`ready`, `drain` or `maint`, over HAProxy's socket; `server` is backend/server."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(str(self.socket))
            connection.sendall(f"set server {server} state {state}\n".encode())
            answer = connection.makefile("rb").read().strip()
        assert not answer, f"HAProxy answered {answer!r}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class TlsClient(Client):
    """The API through HAProxy, called from `source`."""

    def __init__(self, proxy: Haproxy, source: str = "127.0.0.1"):
        super().__init__(proxy.api)
        self.trust, self.source = proxy.trust, source

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=self.trust, source_address=(self.source, 0)
        )


class PassedOn(http.client.HTTPConnection):
    """A connection that begins as HAProxy begins it."""

    def connect(self) -> None:
        super().connect()
        self.sock.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 %d\r\n" % self.port)


class NodeClient(Client):
    """The API of one node, whichever HAProxy would choose."""

    def connect(self) -> http.client.HTTPConnection:
        return PassedOn("127.0.0.1", self.port, timeout=60)
