"""Runs the postfix of the script beside this file, in front of Signet."""

import json
import pathlib
import smtplib
import subprocess

from signet import free_ports, wait_until

HERE = pathlib.Path(__file__).resolve().parent
DOMAINS = ("one.example", "two.example")


class Postfix:
    """A private postfix; behind a proxy, whose header it asks for, when it is told on which port."""

    def __init__(self, home: pathlib.Path, lmtp_port: int, proxied_port: int | None = None):
        self.home = home
        self.port = proxied_port or free_ports(1)[0]
        self.run("start-proxied" if proxied_port else "start", str(self.port), str(lmtp_port), *DOMAINS)

    def run(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            [HERE / "postfix", command, self.home, *arguments], text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"postfix {command}: {done.stderr}"
        return done.stdout

    def send(self, recipients, message: bytes, sender: str = "anna@one.example") -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as session:
            refused = session.sendmail(sender, recipients, message, ["BODY=8BITMIME"])
            assert not refused, refused

    def queue(self) -> list[dict]:
        return [json.loads(line) for line in self.run("queue").splitlines()]

    def wait_until_empty(self, seconds: float = 90.0) -> None:
        wait_until("postfix's queue is empty", lambda: not self.queue(), seconds)

    def log(self) -> str:
        return (self.home / "maillog").read_text(errors="replace")
