"""The faults: what is done to whom, what has to go on meanwhile, and how it is mended."""

import signal

from calls import KINDS
from disk import SmallDisk
from nodes import Node, Platform
from signet import wait_until

ALL = (1, 2, 3)
# What does not ask Elasticsearch.
ROW_CALLS = tuple(kind for kind in KINDS if kind != "search")


class Fault:
    """What goes on has no failed call, and mail no silence that a sender would notice. The rest may be refused for now,
    with 4xx and 503, and has to heal by itself once the fault is mended."""

    needs_three = False

    def __init__(self, name: str, what: str, mail_goes_on: bool = True, calls_go_on: tuple[str, ...] = KINDS):
        self.name, self.what = name, what
        self.mail_goes_on, self.calls_go_on = mail_goes_on, calls_go_on

    def prepare(self, platform: Platform) -> None:
        """Before anything is delivered."""

    def strike(self, platform: Platform) -> None:
        raise NotImplementedError

    def mend(self, platform: Platform) -> None:
        """Returns when what was struck serves again."""
        raise NotImplementedError

    def restore(self, platform: Platform) -> None:
        """Undoes `prepare`."""


class Calm(Fault):
    """Nothing happens: what the numbers of the others are compared with."""

    def strike(self, platform):
        pass

    def mend(self, platform):
        pass


class ServersKilled(Fault):
    """kill -9; they stay dead until they are started."""

    def __init__(self, name: str, what: str, kind: str, numbers: tuple[int, ...], **goes_on):
        super().__init__(name, what, **goes_on)
        self.kind, self.numbers = kind, numbers
        self.needs_three = numbers[0] > 1

    def strike(self, platform):
        platform.servers.run("kill", *platform.servers.some(self.kind, self.numbers))

    def mend(self, platform):
        platform.servers.run("start", *platform.servers.some(self.kind, self.numbers))


class ServerPaused(Fault):
    """SIGSTOP: its connections stay open, and nothing is answered."""

    needs_three = True

    def __init__(self, name: str, what: str, server: str):
        super().__init__(name, what)
        self.server = server

    def strike(self, platform):
        platform.servers.run("pause", self.server)

    def mend(self, platform):
        platform.servers.run("resume", self.server)


class NodeKilled(Fault):
    """kill -9 of one of Signet's own, as soon as it is at work."""

    def __init__(self, name: str, what: str, node: str):
        super().__init__(name, what)
        self.node = node

    def strike(self, platform):
        node = platform.nodes[self.node]
        if node.role == "workers":
            await_lease(node)
        node.kill()

    def mend(self, platform):
        platform.nodes[self.node].start()


class NodePaused(NodeKilled):
    """SIGSTOP of one of Signet's own."""

    def strike(self, platform):
        platform.nodes[self.node].process.send_signal(signal.SIGSTOP)

    def mend(self, platform):
        platform.nodes[self.node].process.send_signal(signal.SIGCONT)


class DiskFull(Fault):
    """Not a page is free. Then there is room again, and the servers are started again: Cassandra stops by itself."""

    def __init__(self, name: str, what: str, kind: str, numbers: tuple[int, ...], **goes_on):
        super().__init__(name, what, **goes_on)
        self.kind, self.numbers = kind, numbers
        self.needs_three = numbers[0] > 1

    def disks(self, platform: Platform) -> list[SmallDisk]:
        return [SmallDisk(platform.servers, name) for name in platform.servers.some(self.kind, self.numbers)]

    def prepare(self, platform):
        for disk in self.disks(platform):
            disk.put()

    def strike(self, platform):
        for disk in self.disks(platform):
            disk.fill()

    def mend(self, platform):
        disks = self.disks(platform)
        for disk in disks:
            disk.free()
        names = [disk.name for disk in disks]
        platform.servers.run("stop", *names)
        platform.servers.run("start", *names)

    def restore(self, platform):
        for disk in self.disks(platform):
            disk.remove()


def await_lease(node: Node) -> None:
    wait_until("the node has jobs in hand", lambda: node.measure('signet_queue_jobs{state="leased"}') > 0, 30)


NOTHING = {"mail_goes_on": False, "calls_go_on": ()}

FAULTS = [
    Calm("calm", "none, for comparison"),
    ServersKilled("cassandra-one", "one Cassandra node killed", "cassandra", (2,)),
    ServersKilled("cassandra-two", "two Cassandra nodes killed", "cassandra", (2, 3), **NOTHING),
    ServersKilled("cassandra-all", "all Cassandra nodes killed", "cassandra", ALL, **NOTHING),
    ServersKilled("rabbitmq-one", "one RabbitMQ node killed", "rabbitmq", (2,)),
    ServersKilled("rabbitmq-all", "all RabbitMQ nodes killed", "rabbitmq", ALL, mail_goes_on=False),
    ServersKilled("redis", "Redis killed", "redis", (1,)),
    ServersKilled("elasticsearch-one", "one Elasticsearch node killed", "elasticsearch", (2,)),
    ServersKilled("elasticsearch-all", "all Elasticsearch nodes killed", "elasticsearch", ALL, calls_go_on=ROW_CALLS),
    NodeKilled("lmtp-killed", "an lmtp node killed", "lmtp-1"),
    NodeKilled("workers-killed", "a workers node killed in mid-job", "workers-1"),
    NodeKilled("api-killed", "an api node killed", "api-1"),
    ServerPaused("cassandra-paused", "a Cassandra node paused", "cassandra-1"),
    NodePaused("lmtp-paused", "an lmtp node paused", "lmtp-1"),
    DiskFull("cassandra-disk-one", "the disk of one Cassandra node full", "cassandra", (2,)),
    DiskFull("cassandra-disk-all", "the disks of all Cassandra nodes full", "cassandra", ALL, **NOTHING),
]
