"""How each server is set up, run and asked. Its templates lie in the folder of its name.

None of them has TLS or a password: secured.py adds both.
"""

import json
import pathlib
import shutil
import subprocess

import answers
import kits
from node import HERE, Node, clean_environment

LOOPBACK = "127.0.0.1"

# What an instance listens on, counted from its first port. Nodes of one kind differ by their address where they can.
PORTS = (
    "cassandra",
    "cassandra-storage",
    "cassandra-jmx-1",
    "cassandra-jmx-2",
    "cassandra-jmx-3",
    "elasticsearch",
    "elasticsearch-transport",
    "rabbitmq",
    "rabbitmq-peers-1",
    "rabbitmq-peers-2",
    "rabbitmq-peers-3",
    "epmd",
    "redis",
    "haproxy",
)


def address(number: int) -> str:
    return f"127.0.0.{number}"


class Server(Node):
    """Node `number` of `count` of its kind."""

    KIND = ""

    def __init__(self, home: pathlib.Path, first_port: int, number: int, count: int):
        super().__init__(f"{self.KIND}-{number}", home)
        self.address = address(number)
        self.first_port = first_port
        self.number = number
        self.count = count

    def port(self, name: str = "") -> int:
        return self.first_port + PORTS.index(name or self.KIND)

    def settle(self) -> None:
        """Returns when it has found the others of its kind; else any OSError or ValueError."""

    def unsettled(self) -> str:
        """Why it has not found the others yet; nothing when it has."""
        try:
            self.settle()
        except (OSError, ValueError) as error:
            return str(error) or repr(error)
        return ""

    def java(self, heap: str, *arguments) -> list[str]:
        temporary = self.home / "tmp"
        temporary.mkdir(exist_ok=True)
        java = [self.java_home() / "bin/java", f"@{HERE / self.KIND / 'jvm.options'}", f"-Djava.io.tmpdir={temporary}"]
        return [str(part) for part in (*java, f"-Xms{heap}", f"-Xmx{heap}", *arguments)]

    def java_home(self) -> pathlib.Path:
        return kits.java_home()


class Cassandra(Server):
    KIND = "cassandra"
    # It writes what it holds in memory before it ends.
    STOP_SECONDS = 60.0

    def listens(self):
        jmx = self.port(f"cassandra-jmx-{self.number}")
        return [(self.address, self.port()), (self.address, self.port("cassandra-storage")), (LOOPBACK, jmx)]

    def prepare(self):
        conf = self.home / "conf"
        # Twelve points at even distances, dealt out in turn.
        tokens = [2**64 * (2 * (3 * turn + self.number) - 1) // 24 - 2**63 for turn in range(4)]
        self.fill(
            "cassandra/cassandra.yaml",
            conf / "cassandra.yaml",
            address=self.address,
            port=self.port(),
            storage_port=self.port("cassandra-storage"),
            seeds=",".join(address(number) for number in range(1, self.count + 1)),
            tokens=",".join(map(str, tokens)),
            home=self.home,
        )
        shutil.copy(HERE / "cassandra/logback.xml", conf)

    def command(self):
        conf = self.home / "conf"
        return self.java(
            "768m" if self.count == 1 else "512m",
            f"-Dcassandra.config={(conf / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={self.home}",
            f"-Dcassandra.jmx.local.port={self.port(f'cassandra-jmx-{self.number}')}",
            "-cp",
            f"{conf}:{kits.cassandra()}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        )

    def query(self, text: str, consistency: int) -> bytes:
        return answers.cassandra(self.address, self.port(), text, consistency)

    def answer(self):
        self.query("SELECT key FROM system.local", answers.ONE)

    def settle(self):
        # A table that has three copies by itself: read from all, it shows that this node reaches every other one.
        query = "SELECT status FROM system_distributed.view_build_status WHERE keyspace_name = 'a' AND view_name = 'b'"
        self.query(query, answers.ALL if self.count == 3 else answers.ONE)
        version = "SELECT schema_version FROM system.local"
        numbers = range(1, self.count + 1)
        if len({answers.cassandra(address(number), self.port(), version, answers.ONE) for number in numbers}) > 1:
            raise ValueError("not one schema")


class Elasticsearch(Server):
    KIND = "elasticsearch"
    # As kits.ELASTICSEARCH names it.
    major = "8"

    def listens(self):
        return [(self.address, self.port()), (self.address, self.port("elasticsearch-transport"))]

    def prepare(self):
        transport = self.port("elasticsearch-transport")
        numbers = range(1, self.count + 1)
        seeds = ", ".join(f'"{address(number)}:{transport}"' for number in numbers)
        masters = ", ".join(f"{self.KIND}-{number}" for number in numbers)
        self.fill(
            "elasticsearch/elasticsearch.yml",
            self.home / "config/elasticsearch.yml",
            name=self.name,
            address=self.address,
            port=self.port(),
            transport_port=transport,
            home=self.home,
            discovery="discovery.type: single-node"
            if self.count == 1
            else f"discovery.seed_hosts: [{seeds}]\ncluster.initial_master_nodes: [{masters}]",
        )
        shutil.copy(HERE / "elasticsearch/log4j2.properties", self.home / "config")
        for name in ("plugins", "modules"):
            (self.home / name).mkdir(exist_ok=True)
        module = self.home / "modules/transport-netty4"
        module.unlink(missing_ok=True)
        module.symlink_to(kits.elasticsearch(self.major) / "transport-netty4")

    def java_home(self):
        return kits.java_home_for(kits.ELASTICSEARCH[self.major])

    def command(self):
        kit = kits.elasticsearch(self.major)
        if not kits.ELASTICSEARCH[self.major].is_modular():
            return self.java("512m", "-cp", f"{kit / 'classes'}:{kit / 'lib'}/*", "Launch", self.home)
        modules = ("--add-modules=org.elasticsearch.server,ALL-MODULE-PATH", "--module-path", kit / "lib")
        exports = ("--add-exports", "org.elasticsearch.server/org.elasticsearch.node=ALL-UNNAMED")
        # Its own library for vectors is in Elastic's packages alone.
        native = (f"-Des.nativelibs.path={kit / 'native'}", "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false")
        return self.java("512m", *native, *modules, *exports, "-cp", kit / "classes", "Launch", self.home)

    def answer(self):
        answers.elasticsearch(self.address, self.port(), "/_nodes/_local/http")

    def settle(self):
        health = answers.elasticsearch(self.address, self.port(), "/_cluster/health?timeout=1s")
        if health["number_of_nodes"] != self.count or health["status"] == "red":
            raise ValueError(f"{health['number_of_nodes']} nodes, {health['status']}")


class Epmd(Server):
    """Erlang's directory of nodes: RabbitMQ would start one for the whole machine, and leave it behind."""

    KIND = "epmd"

    def listens(self):
        return [(LOOPBACK, self.port())]

    def command(self):
        return [kits.program("epmd"), "-address", LOOPBACK, "-port", str(self.port())]

    def answer(self):
        answers.epmd(LOOPBACK, self.port())


class Rabbitmq(Server):
    KIND = "rabbitmq"

    def listens(self):
        return [(self.address, self.port()), (LOOPBACK, self.port(f"rabbitmq-peers-{self.number}"))]

    def erlang_name(self, number: int) -> str:
        return f"rabbitmq-{number}@{LOOPBACK}"

    def prepare(self):
        self.fill(
            "rabbitmq/rabbitmq.conf",
            self.home / "rabbitmq.conf",
            address=self.address,
            port=self.port(),
            first=self.erlang_name(1),
        )
        # What makes nodes one cluster is that they know the same secret.
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(0o600)
            cookie.write_text(f"signet-tests-{self.first_port}")
            cookie.chmod(0o400)

    def command(self):
        return [str(kits.RABBITMQ / "rabbitmq-server")]

    def environment(self):
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODENAME": self.erlang_name(self.number),
            "RABBITMQ_DIST_PORT": str(self.port(f"rabbitmq-peers-{self.number}")),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.port("epmd")),
            # The start script becomes the server, instead of waiting for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def joined(self) -> bool:
        """Whether it was a member before: then it waits for the others at its start, instead of asking the first."""
        return (self.home / "mnesia").exists()

    def answer(self):
        answers.rabbitmq(self.address, self.port())

    def settle(self):
        if self.count == 1 or self.number != 1:
            return
        try:
            asked = subprocess.run(
                [kits.RABBITMQ / "rabbitmqctl", "cluster_status", "--formatter", "json"],
                env=clean_environment() | self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60.0,
            )
        except subprocess.TimeoutExpired:
            raise ValueError("rabbitmqctl hangs") from None
        if asked.returncode != 0:
            raise ValueError(asked.stderr.decode(errors="replace").strip())
        running = json.loads(asked.stdout)["running_nodes"]
        if len(running) != self.count:
            raise ValueError(f"only {', '.join(running)}")


class Redis(Server):
    KIND = "redis"

    def listens(self):
        return [(self.address, self.port())]

    def prepare(self):
        self.fill("redis/redis.conf", self.home / "redis.conf", address=self.address, port=self.port(), home=self.home)

    def command(self):
        return [kits.program("redis-server"), str(self.home / "redis.conf")]

    def answer(self):
        answers.redis(self.address, self.port())
