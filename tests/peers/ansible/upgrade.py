"""Newer packages on three hosts: one whose program needs later tables, while mail comes in and is read, and one that is at fault."""

import collections
import json
import os
import pathlib
import re
import shutil
import sys
import threading

import load
from hosts import Host, Hosts, run
from playbooks import SIGNET, Platform
from signet import ROOT, Story, wait_until
from steps import ANNA, SENDER, message

sys.path.insert(0, str(ROOT / "tests/faults"))

import next_version  # noqa: E402

FAULTY = """#!/bin/sh
test "$1" != lmtp && exec /usr/bin/signet.whole "$@"
"""


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    """Under mail and calls that come in all the while, by every host."""
    program = next_program(hosts.home / "newer")
    newer = pack_again(platform.package, "0.1.1", program)
    before = schema_versions(hosts.all[0])
    platform.set(signet_package=str(newer))
    stop = threading.Event()
    senders = [Sender(number, platform, host, stop) for number, host in enumerate(hosts.all)]
    readers = [Reader(number, platform, host, stop) for number, host in enumerate(hosts.all)]
    with story.step("upgrade.yml replaces every node while mail comes in and is read"):
        for each in (*senders, *readers):
            each.start()
        platform.play("upgrade.yml").must_pass()
        stop.set()
        for each in (*senders, *readers):
            each.join(120)
        assert versions(hosts) == ["0.1.1"] * 3, versions(hosts)
        # Its tables are of a later version.
        after = schema_versions(hosts.all[0])
        assert after == (before[0] + 1, before[1] + 1), (before, after)
        nodes = json.loads(hosts.all[0].run(f"{SIGNET} --json node list"))["items"]
        assert len(nodes) == 9 and all(node["state"] == "ready" for node in nodes), nodes
        assert {node["host"] for node in nodes} == {host.name for host in hosts.all}, nodes
    kept = {subject for each in senders for _, subject in each.kept}
    print(f"# upgrade: {len(kept)} messages taken, {sum(each.calls for each in readers)} calls", flush=True)
    with story.step("no message was lost, and none came twice"):
        assert len(kept) > 50 and not any(each.faults for each in senders), [each.faults for each in senders]
        client = platform.client(hosts.all[0]).log_in(ANNA)

        def all_there() -> bool:
            here = collections.Counter(head["subject"] for head in client.heads() if head["subject"].startswith("Load "))
            assert not here.keys() - kept and not [subject for subject, times in here.items() if times > 1], here
            return here.keys() == kept

        wait_until("every message that was taken is there", all_there, 120)
    with story.step("no call failed"):
        failed = [each for reader in readers for each in (*reader.hidden, *reader.seen)]
        assert not failed, failed[:5]
    with story.step("a second one changes nothing"):
        run = platform.play("upgrade.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()
    a_fault_ends_it(story, platform, hosts, program)


def a_fault_ends_it(story: Story, platform: Platform, hosts: Hosts, program: pathlib.Path) -> None:
    with story.step("a package whose program is at fault gets no further than the first host, and mail comes in and is read by all"):
        platform.set(signet_package=str(pack_again(platform.package, "0.1.2", program, faulty=True)))
        assert platform.play("upgrade.yml").code != 0
        assert versions(hosts) == ["0.1.2", "0.1.1", "0.1.1"], versions(hosts)
        for host in hosts.all:
            with platform.smtp(host) as session:
                assert session.sendmail(SENDER, [ANNA], message(f"Faulty {host.name}")) == {}
        for host in hosts.all:
            client = platform.client(host).log_in(ANNA)
            for other in hosts.all:
                client.wait_for_subject(f"Faulty {other.name}")
    with story.step("site.yml brings one that is mended"):
        platform.set(signet_package=str(pack_again(platform.package, "0.1.3", program)))
        platform.play("site.yml", "--tags", "signet").must_pass()
        assert versions(hosts) == ["0.1.3"] * 3, versions(hosts)
        platform.play("status.yml").must_pass()


def versions(hosts: Hosts) -> list[str]:
    """Of the package that each host has."""
    return [host.run("dpkg-query --show --showformat='${Version}' signet") for host in hosts.all]


class Sender(load.Sender):
    """A server of the world that brings mail by one host."""

    KIND = "world"
    # The hosts share a small machine, which has more to do meanwhile.
    PAUSE = 0.7

    def __init__(self, number: int, platform: Platform, host: Host, stop: threading.Event):
        super().__init__(number, None, [ANNA], stop)
        self.platform, self.host = platform, host

    def send(self, subject, recipients, message):
        self.session = self.session or self.platform.smtp(self.host)
        assert self.session.sendmail(load.SENDER, [ANNA], message) == {}
        self.kept[ANNA, subject] = message


class Reader(load.Reader):
    """A client of the API by one host."""

    PAUSE = 0.2

    def __init__(self, number: int, platform: Platform, host: Host, stop: threading.Event):
        threading.Thread.__init__(self, daemon=True)
        self.client = platform.client(host).log_in(ANNA)
        # Each changes a message of its own.
        self.mine, self.flag = self.client.heads()[number]["id"], None
        self.stop, self.calls, self.hidden, self.seen = stop, 0, [], []

    def go_round(self) -> None:
        super().go_round()
        self.flag = None if self.flag else True
        self.call("PATCH", f"/v1/messages/{self.mine}", {"keywords": {"$flagged": self.flag}})


def pack_again(package: pathlib.Path, version: str, program: pathlib.Path, faulty: bool = False) -> pathlib.Path:
    """The package as a later version, with another program; a faulty one takes no mail."""
    target = program.parent / f"signet_{version}_amd64.deb"
    tree = program.parent / version
    run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    installed = tree / "usr/bin/signet"
    shutil.copy(program, installed)
    if faulty:
        installed.rename(installed.with_suffix(".whole"))
        installed.write_text(FAULTY)
        installed.chmod(0o755)
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target)
    shutil.rmtree(tree)
    return target


def next_program(place: pathlib.Path) -> pathlib.Path:
    """One that needs tables of a later version; SIGNET_NEXT names it, else it is built."""
    place.mkdir()
    return pathlib.Path(shutil.copy(os.environ.get("SIGNET_NEXT") or next_version.build_next(place), place / "program"))


def schema_versions(host: Host) -> tuple[int, int]:
    """Of the tables that the servers have, and that the installed program needs."""
    shown = json.loads(host.run("systemd-run --quiet --pipe --wait --collect --unit=signet-command signet --json schema show"))
    return shown["servers"], shown["program"]
