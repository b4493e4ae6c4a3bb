"""What a client of the secured servers must have: certificates that openssl makes, and passwords, in a folder of their own."""

import pathlib
import secrets
import ssl
import subprocess

import kits
from node import Trouble

LOGIN = "signet"
# The certificate of the servers names this address and nothing else.
ADDRESS = "127.0.0.1"
DAYS = "30"
SERVERS = ("cassandra", "elasticsearch", "rabbitmq", "redis")
# Who may do everything on Cassandra; no test is this one.
OPERATOR = "operator"


class Access:
    """Files in `home`: ca.crt signed server.pem (certificate and key); other.crt is an authority that signed nothing."""

    def __init__(self, home: pathlib.Path):
        self.home = home / "access"
        self.authority = self.home / "ca.crt"
        self.certificate = self.home / "server.pem"

    def make(self) -> None:
        """Certificates, and a password for each server in `<server>.password`."""
        self.home.mkdir(mode=0o700)
        for name in ("ca", "other"):
            self.certify(name, "-subj", f"/CN=signet tests, {name}", "-addext", "keyUsage=critical,keyCertSign")
        names = ("-subj", "/CN=signet tests, server", "-addext", f"subjectAltName=IP:{ADDRESS}")
        signed = ("-CA", self.authority, "-CAkey", self.home / "ca.key", "-addext", "extendedKeyUsage=serverAuth")
        self.certify("server", *names, *signed, "-addext", "basicConstraints=critical,CA:FALSE")
        self.write("server.pem", "".join((self.home / f"server.{kind}").read_text() for kind in ("crt", "key")))
        for name in (*SERVERS, OPERATOR):
            self.write(f"{name}.password", secrets.token_hex(16) + "\n")

    def certify(self, name: str, *options) -> None:
        files = ("-keyout", self.home / f"{name}.key", "-out", self.home / f"{name}.crt")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", DAYS)
        done = subprocess.run(
            [kits.program("openssl"), "req", "-x509", *curve, *files, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60.0,
        )
        if done.returncode != 0:
            raise Trouble(f"openssl made no {name}.crt: {done.stderr.strip()}")

    def write(self, name: str, text: str) -> None:
        path = self.home / name
        path.touch(0o600)
        path.write_text(text)

    def password(self, name: str) -> str:
        return (self.home / f"{name}.password").read_text().strip()

    def tls(self) -> ssl.SSLContext:
        """What a client that trusts the authority, and nobody else, speaks."""
        return ssl.create_default_context(cafile=self.authority)
