"""Two nodes of each role of Signet, on the servers, behind HAProxy."""

import pathlib
import random
import secrets
import socket
import subprocess
import time

from entrance import Entrance
from servers import Servers
from signet import PROGRAM, Signet, wait_until

DOMAIN = "faults.example"
APPLY_SECONDS = 600.0
CREATE_SECONDS = 120.0
ROLES = ("lmtp", "workers", "api")


# Below those that the system gives to outgoing connections: a node that is started again must find its own still free.
PORTS = iter(random.sample(range(12000, 20000), 1000))


def lasting_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now, and none is given twice."""
    found = []
    while len(found) < count:
        port = next(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


class Node(Signet):
    """One process with one role. Its log goes on when it is started again."""

    def __init__(self, home: pathlib.Path, role: str, **variables: str):
        super().__init__(home, **variables)
        self.role, self.program = role, PROGRAM
        self.lmtp_port, self.api_port, self.internal_port = lasting_ports(3)
        for name, port in (("LMTP", self.lmtp_port), ("API", self.api_port), ("INTERNAL", self.internal_port)):
            self.environment[f"SIGNET_{name}"] = f"127.0.0.1:{port}"

    def start(self, seconds: float = 180.0) -> "Node":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, self.role], env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        (self.home / "signet.pid").write_text(str(self.process.pid))

        def ready():
            assert self.lives(), f"{self.home.name} ended with {self.process.returncode} at its start: {self.log_tail()}"
            return self.health() == 200

        wait_until(f"{self.home.name} is ready", ready, seconds)
        return self

    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def measure(self, name: str) -> float:
        """A value that /metrics shows, named with its labels; 0 while it shows none."""
        for line in self.metrics().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


class Platform:
    """What is under test, and the servers that it stands on."""

    def __init__(self, place: pathlib.Path, servers: Servers):
        self.servers = servers
        at, copies = servers.addresses(), str(servers.count)
        variables = {
            "BACKEND": "cluster",
            "START_SECONDS": "150",
            # Everything shares one small machine: with a lower priority than all servers they would hardly get a turn.
            "WORKERS_NICE": "0",
            "MASTER_KEY_FILE": str(place / "keys/master.key"),
            "CASSANDRA_NODES": at["CASSANDRA"],
            "CASSANDRA_KEYSPACE": place.name.replace("-", "_").lower(),
            "CASSANDRA_COPIES": copies,
            "ELASTICSEARCH_URLS": at["ELASTICSEARCH"],
            "ELASTICSEARCH_ALIAS": place.name.lower(),
            "ELASTICSEARCH_SHARDS": "1",
            "ELASTICSEARCH_REPLICAS": "1" if servers.count > 1 else "0",
            "RABBITMQ_URLS": at["RABBITMQ"],
            "RABBITMQ_PREFIX": place.name,
            "RABBITMQ_COPIES": copies,
            "REDIS_URL": at["REDIS"],
            "REDIS_PREFIX": f"{place.name}:",
            "DELIVERY_PROXY_PROTOCOL": "required",
            "DELIVERY_PROXIES": "127.0.0.1/32",
            "REST_PROXY_PROTOCOL": "required",
            "REST_PROXIES": "127.0.0.1/32",
        }
        variables = {f"SIGNET_{name}": value for name, value in variables.items()}
        names = [(role, number) for role in ROLES for number in (1, 2)]
        self.nodes = {f"{role}-{number}": Node(place / f"{role}-{number}", role, **variables) for role, number in names}
        self.api = self.nodes["api-1"]
        self.place, self.proxy = place, None

    def start(self) -> None:
        self.apply_schema()
        for node in self.nodes.values():
            node.start()
        self.proxy = Entrance(self.place / "haproxy", *([self.nodes[f"{role}-{number}"] for number in (1, 2)] for role in ("lmtp", "api")))
        self.proxy.await_up()
        self.api.add_domain(DOMAIN)

    def apply_schema(self, program=PROGRAM) -> None:
        """Three Cassandras that agree on each table take their time on a small machine; it may be run again."""
        environment, home = self.api.environment, self.api.home
        deadline = time.monotonic() + APPLY_SECONDS
        while True:
            done = subprocess.run([program, "schema", "apply"], env=environment, cwd=home, capture_output=True, text=True, timeout=APPLY_SECONDS)
            if done.returncode == 0:
                return
            reason = (done.stderr.strip().splitlines() or [""])[-1]
            assert time.monotonic() < deadline, f"schema apply ended with {done.returncode}: {reason}"
            print(f"# once more: schema apply ended with {done.returncode}: {reason}", flush=True)

    def create_accounts(self, label: str, count: int = 4) -> list[str]:
        """Their addresses. What the trial before has done to the store may not be over yet."""
        return [self.create_some_account(f"{label}-{number}") for number in range(count)]

    def create_some_account(self, name: str) -> str:
        deadline = time.monotonic() + CREATE_SECONDS
        while True:
            # Of one that failed nobody knows whether it is there: the next has another name.
            address = f"{name}-{secrets.token_hex(2)}@{DOMAIN}"
            try:
                self.api.create_account(address)
                return address
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def dead(self) -> list[str]:
        """The nodes that ended though nobody ended them."""
        return [name for name, node in self.nodes.items() if not node.lives()]

    def stop(self) -> None:
        if self.proxy:
            self.proxy.stop()
        for node in self.nodes.values():
            node.kill()
