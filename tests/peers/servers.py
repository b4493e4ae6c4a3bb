"""The four servers of a cluster, as stories find and ask them.

They are those that SIGNET_TEST_CASSANDRA and its like name; without them, those that tests/services/run has up, and if
there are none it starts them for the story.
"""

import http.client
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import urllib.parse

from signet import ROOT

sys.path.append(str(ROOT / "tests/services"))

import answers  # noqa: E402
import kits  # noqa: E402, F401
import recipes  # noqa: E402, F401

RUN = ROOT / "tests/services/run"
# A keyspace is dropped with all its tables, by a server that others keep busy.
CQL_SECONDS = 300.0
NAMES = ("CASSANDRA", "ELASTICSEARCH", "RABBITMQ", "REDIS")
# Queues live on what is written before it is confirmed.
QUORUM = struct.pack(">B", len("x-queue-type")) + b"x-queue-type" + b"S" + struct.pack(">I", len("quorum")) + b"quorum"


class Servers:
    """Where they are, as the variables say it, and what can be asked of the first of each."""

    def __init__(self):
        self.are_ours = False
        self.addresses = {name: os.environ.get(f"SIGNET_TEST_{name}") for name in NAMES}

    def __enter__(self) -> "Servers":
        if not all(self.addresses.values()):
            known = self.run("env", must=False)
            if not known:
                # From the first process on.
                self.are_ours = True
                try:
                    self.run("up", "1")
                    known = self.run("env")
                except BaseException:
                    self.__exit__()
                    raise
            self.addresses = dict(re.findall(r"^export SIGNET_TEST_(\w+)=(\S+)$", known, re.MULTILINE))
        return self

    def __exit__(self, *_) -> None:
        if self.are_ours:
            self.run("down", must=False)

    def run(self, *arguments: str, must: bool = True) -> str:
        """What tests/services/run prints."""
        done = subprocess.run([RUN, *arguments], text=True, capture_output=True, timeout=900, stdin=subprocess.DEVNULL)
        assert done.returncode == 0 or not must, f"tests/services/run {' '.join(arguments)}: {done.stderr}"
        return done.stdout if done.returncode == 0 else ""

    def home(self) -> pathlib.Path:
        """The directory of their files and logs."""
        return pathlib.Path(re.search(r"^logs: (.*)/\*\.log$", self.run("status"), re.MULTILINE)[1])

    def place(self, name: str) -> tuple[str, int]:
        """Host and port of the first one."""
        host, port = self.addresses[name].split(",")[0].rpartition("://")[2].split(":")
        return host, int(port)

    def cql(self, query: str) -> bytes:
        """What it yields, as it is on the wire."""
        return answers.cassandra(*self.place("CASSANDRA"), query, answers.ONE, CQL_SECONDS)

    def elasticsearch(self, method: str, path: str, body=None) -> dict:
        connection = http.client.HTTPConnection(*self.place("ELASTICSEARCH"), timeout=60)
        sent = None if body is None else json.dumps(body).encode()
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read() or b"{}")
        connection.close()
        assert response.status in (200, 201), f"{method} {urllib.parse.urlsplit(path).path} answered {response.status}: {answer}"
        return answer

    def redis(self, *words: str) -> bytes:
        """The first line of the answer to a command."""
        with socket.create_connection(self.place("REDIS"), timeout=30) as connection:
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(parts))
            answer = connection.makefile("rb").readline().strip()
        assert not answer.startswith(b"-"), answer
        return answer

    def queues(self) -> "Queues":
        return Queues(*self.place("RABBITMQ"))

    def forget(self, name: str, queues: list[str]) -> None:
        """Takes away what was made under this name; what is cached goes by itself."""
        self.cql(f"DROP KEYSPACE IF EXISTS {name}")
        for index in self.elasticsearch("GET", f"/_cat/indices/{name}-*?format=json"):
            self.elasticsearch("DELETE", f"/{index['index']}")
        with self.queues() as connection:
            for queue in queues:
                connection.delete(queue)


class Queues:
    """A channel to RabbitMQ, in AMQP 0-9-1."""

    def __init__(self, host: str, port: int):
        self.socket = socket.create_connection((host, port), timeout=30)
        answers.log_in(self.socket)
        self.ask((20, 10), b"\x00", (20, 11))
        # Publishing is answered.
        self.ask((85, 10), b"\x00", (85, 11))

    def __enter__(self) -> "Queues":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, kind: int, payload: bytes) -> None:
        self.socket.sendall(struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce")

    def expect(self, method: tuple[int, int]) -> bytes:
        """The arguments of the next method, which has to be this one."""
        _, _, length = struct.unpack(">BHI", answers.exactly(self.socket, 7))
        body = answers.exactly(self.socket, length + 1)
        got = struct.unpack(">HH", body[:4])
        assert got == method, f"AMQP answered {got}, not {method}: {body!r}"
        return body[4:-1]

    def ask(self, method: tuple[int, int], arguments: bytes, answer: tuple[int, int]) -> bytes:
        self.send(1, struct.pack(">HH", *method) + arguments)
        return self.expect(answer)

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue that is there."""
        return self._declare(queue, 0b1, b"")

    def declare(self, queue: str) -> None:
        """A durable quorum queue."""
        self._declare(queue, 0b10, QUORUM)

    def _declare(self, queue: str, bits: int, arguments: bytes) -> int:
        sent = b"\x00\x00" + answers.short(queue) + bytes([bits]) + struct.pack(">I", len(arguments)) + arguments
        answer = self.ask((50, 10), sent, (50, 11))
        return struct.unpack(">I", answer[1 + answer[0] :][:4])[0]

    def publish(self, queue: str, body: bytes) -> None:
        """Returns when the message is kept."""
        self.send(1, struct.pack(">HH", 60, 40) + b"\x00\x00" + answers.short("") + answers.short(queue) + b"\x00")
        # Its properties say that it is persistent.
        self.send(2, struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2))
        self.send(3, body)
        self.expect((60, 80))

    def delete(self, queue: str) -> None:
        self.ask((50, 40), b"\x00\x00" + answers.short(queue) + b"\x00", (50, 41))
