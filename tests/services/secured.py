"""The servers with TLS and a login each, as the operations page asks for them: what recipes.py says, and what is added here.

A client in clear, or without the password, gets nowhere, and the login that Signet has may do no more than it needs to.
What Maven Central has of Elasticsearch is its core, without the module that would give it TLS and logins: HAProxy stands
before it and does both, answering as that module does. Elasticsearch itself still listens on the loopback behind it.
"""

import recipes
from access import LOGIN, OPERATOR, Access
from recipes import Elasticsearch, Server, answers, kits  # noqa: F401

# What is Signet's on the servers, as its settings have it unless they say otherwise.
KEYSPACE, PREFIX, KEYS = "signet", "signet", "signet:"


class Secured(Server):
    """What is added to a recipe."""

    def access(self) -> Access:
        return Access(self.home.parent)

    def login(self) -> tuple[str, str]:
        return LOGIN, self.access().password(self.KIND)

    def add(self, template: str, target: str, **values) -> None:
        """To a file of its own, or to one that the recipe has written."""
        access = self.access()
        files = {"authority": access.authority, "certificate": access.certificate}
        path = self.home / target
        path.touch(0o600)
        with open(path, "a") as file:
            file.write(self.filled(template, login=LOGIN, password=self.login()[1], **files, **values))


class Cassandra(Secured, recipes.Cassandra):
    def prepare(self):
        super().prepare()
        self.add("cassandra/secured.yaml", "conf/cassandra.yaml")

    def query(self, text, consistency):
        return self.query_as(self.login(), text, consistency)

    def query_as(self, login: tuple[str, str], text: str, consistency: int = answers.ONE) -> bytes:
        return answers.cassandra(self.address, self.port(), text, consistency, tls=self.access().tls(), login=login)

    def answer(self):
        try:
            super().answer()
        except ValueError:
            self.set_up()
            super().answer()

    def settle(self):
        """It is alone."""

    def set_up(self) -> None:
        """Takes the password that everybody knows from the role that may do everything, and makes one that has a keyspace."""
        operator = ("cassandra", self.access().password(OPERATOR))
        try:
            self.query_as(operator, "LIST ROLES")
        except ValueError:
            self.query_as(("cassandra", "cassandra"), f"ALTER ROLE cassandra WITH PASSWORD = '{operator[1]}'")
        name, password = self.login()
        for statement in (
            f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} "
            "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            f"CREATE ROLE IF NOT EXISTS {name} WITH PASSWORD = '{password}' AND LOGIN = true",
            f"GRANT ALL PERMISSIONS ON KEYSPACE {KEYSPACE} TO {name}",
        ):
            self.query_as(operator, statement)


class Haproxy(Secured):
    """The entrance to Elasticsearch."""

    KIND = "haproxy"

    def listens(self):
        return [(self.address, self.port())]

    def login(self):
        return LOGIN, self.access().password("elasticsearch")

    def prepare(self):
        place = f"{self.address}:{self.port()}"
        (self.home / "haproxy.cfg").unlink(missing_ok=True)
        self.add("haproxy/haproxy.cfg", "haproxy.cfg", place=place, behind=f"{self.address}:{self.port('elasticsearch')}")

    def command(self):
        return [kits.program("haproxy"), "-db", "-f", str(self.home / "haproxy.cfg")]

    def answer(self):
        answers.elasticsearch(self.address, self.port(), "/_cluster/health", tls=self.access().tls(), login=self.login())


class Rabbitmq(Secured, recipes.Rabbitmq):
    def prepare(self):
        super().prepare()
        definitions = self.home / "definitions.json"
        definitions.unlink(missing_ok=True)
        self.add("rabbitmq/definitions.json", definitions.name, prefix=PREFIX)
        place = f"{self.address}:{self.port()}"
        self.add("rabbitmq/secured.conf", "rabbitmq.conf", place=place, definitions=definitions)

    def answer(self):
        answers.rabbitmq(self.address, self.port(), tls=self.access().tls(), login=self.login())


class Redis(Secured, recipes.Redis):
    def prepare(self):
        super().prepare()
        self.add("redis/secured.conf", "redis.conf", port=self.port(), keys=KEYS)

    def answer(self):
        answers.redis(self.address, self.port(), tls=self.access().tls(), login=self.login())
