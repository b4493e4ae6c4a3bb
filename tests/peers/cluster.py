"""A platform of several nodes, a process a role, on the four servers of a cluster: its settings, its nodes, its end."""

import json
import os
import pathlib
import signal
import sys
import time

from servers import Servers
from signet import ROOT, Client, Signet, Story, Workplace


class Node(Signet):
    """A process with one role."""

    def __init__(self, home: pathlib.Path, role: str, log_level: str, **variables: str):
        super().__init__(home, log_level, **variables)
        self.name = home.name
        self.roles = (role,)


class Platform:
    """Any number of nodes, which share names on the servers and the directory of the keys."""

    def __init__(self, home: pathlib.Path, servers: Servers, log_level: str = "info", **variables: str):
        self.home, self.servers, self.log_level = home, servers, log_level
        self.name = f"story_{os.getpid()}_{time.time_ns():x}"
        self.nodes: dict[str, Node] = {}
        (home / "keys").mkdir(parents=True)
        self.variables = {
            "SIGNET_BACKEND": "cluster",
            "SIGNET_MASTER_KEY_FILE": str(home / "keys/master.key"),
            "SIGNET_CASSANDRA_NODES": servers.addresses["CASSANDRA"],
            "SIGNET_CASSANDRA_KEYSPACE": self.name,
            "SIGNET_ELASTICSEARCH_URLS": servers.addresses["ELASTICSEARCH"],
            "SIGNET_ELASTICSEARCH_ALIAS": self.name,
            "SIGNET_ELASTICSEARCH_SHARDS": "1",
            "SIGNET_RABBITMQ_URLS": servers.addresses["RABBITMQ"],
            "SIGNET_RABBITMQ_PREFIX": self.name,
            "SIGNET_REDIS_URL": servers.addresses["REDIS"],
            "SIGNET_REDIS_PREFIX": f"{self.name}:",
        } | variables
        # As many copies as there are nodes to keep them.
        for setting, server, beside in (
            ("CASSANDRA_COPIES", "CASSANDRA", 0),
            ("ELASTICSEARCH_REPLICAS", "ELASTICSEARCH", 1),
            ("RABBITMQ_COPIES", "RABBITMQ", 0),
        ):
            self.variables[f"SIGNET_{setting}"] = str(len(servers.addresses[server].split(",")) - beside)

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *_) -> None:
        for node in self.nodes.values():
            node.kill()
        topology = json.loads((ROOT / "schema/rabbitmq/topology-1.json").read_text())
        self.servers.forget(self.name, [queue["name"].replace("{prefix}", self.name) for queue in topology["queues"]])

    def add(self, name: str, **variables: str) -> Node:
        """A node that is not started yet; what stands before the dash of its name is its role."""
        role = name.partition("-")[0]
        node = Node(self.home / name, role, self.log_level, **self.variables, **variables)
        self.nodes[name] = node
        return node

    def of(self, role: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.roles == (role,)]

    def apply_schema(self) -> None:
        """Makes what the servers need, the instance and its keys; a table takes a busy Cassandra longer than a row."""
        patience = {f"SIGNET_CASSANDRA_{what}_MILLISECONDS": "60000" for what in ("REQUEST", "CHANGE")}
        self.add("schema-1", **patience).command("schema", "apply")
        del self.nodes["schema-1"]

    def start(self) -> None:
        """Starts those that do not run."""
        for node in self.nodes.values():
            if node.process is None:
                node.start()

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Runs one of the program's commands against an api node."""
        return self.of("api")[0].command(*arguments, stdin=stdin)

    def add_domain(self, name: str) -> None:
        self.of("api")[0].add_domain(name)

    def create_account(self, address: str) -> str:
        return self.of("api")[0].create_account(address)

    @property
    def lmtp_port(self) -> int:
        return self.of("lmtp")[0].lmtp_port

    def client(self, address: str) -> Client:
        """A client of the first api node."""
        return self.of("api")[0].client(address)

    def metrics(self) -> bytes:
        """Those of all nodes."""
        return b"".join(node.metrics() for node in self.nodes.values())

    def logs(self) -> str:
        """The end of each node's log."""
        return "\n".join(f"# {node.name}\n{node.log_tail(15)}" for node in self.nodes.values() if node.log.exists())


def tell(name: str, body, log_level: str = "info", **variables: str) -> None:
    """Runs `body(story, place, platform)` in a place of its own, cleans up whatever happens, and ends the process."""

    def on_servers(story: Story, place: Workplace) -> None:
        with Servers() as servers, Platform(place / "signet", servers, log_level, **variables) as platform:
            story.tell(body, place, platform)
            if story.failed:
                print(f"# the ends of the nodes' logs:\n{platform.logs()}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    story, place = Story(), Workplace(name)
    # postfix's processes must be able to enter their queue in it.
    place.path.chmod(0o711)
    try:
        story.tell(on_servers, place)
    finally:
        place.remove()
    story.end()
