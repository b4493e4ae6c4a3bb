"""What is done step by step under load, and nobody notices: every node and every server restarted, and an upgrade."""

import os
import pathlib
import time

from audit import audit, await_indexed
from calls import Callers
from load import Load
from nodes import Platform
from servers import KINDS
from trial import Logs, Outcome

ROLLING, UPGRADE = "rolling", "upgrade"


class Rolling:
    """Signet's nodes are drained by HAProxy before they get SIGTERM; servers are stopped as they come."""

    name = ROLLING

    def __init__(self, platform: Platform, rate: float):
        self.platform, self.rate = platform, rate
        # One server of a kind cannot be away without being missed.
        self.servers = [name for kind in KINDS for name in platform.servers.some(kind)] if platform.servers.count == 3 else []
        self.what = f"every node{' and every server' if self.servers else ''} restarted, one after the other"

    def steps(self) -> list:
        """What is done, each with its name."""
        nodes = [(name, lambda name=name: self.restart_node(name)) for name in self.platform.nodes]
        return [*nodes, *((name, lambda name=name: self.restart_server(name)) for name in self.servers)]

    def run(self) -> Outcome:
        outcome, proxy = Outcome(self.name, self.what), self.platform.proxy
        self.outcome = outcome
        accounts, logs = self.platform.create_accounts(self.name), Logs(self.platform)
        callers = Callers(proxy, accounts, self.rate)
        load = Load(proxy.lmtp, self.name, accounts, self.rate)
        began = last = time.monotonic()
        try:
            for name, step in self.steps():
                begin = time.monotonic()
                step()
                load.ended.wait(3.0)
                last = time.monotonic()
                self.note(name, load, callers, begin, last)
        finally:
            load.end()
            callers.end()
        outcome.machine_load = round(os.getloadavg()[0], 1)
        outcome.seconds = round(time.monotonic() - began, 1)
        outcome.replies, outcome.words = dict(load.outcomes()), dict(load.words.most_common(10))
        outcome.slowest_reply = round(max(event.seconds for event in load.events), 1)
        outcome.silence = round(load.longest_silence(began, last), 1)
        outcome.calls, outcome.failed_calls = len(callers.calls), dict(callers.failures())
        outcome.problems, outcome.logs = dict(callers.problems().most_common(10)), logs.troubles()
        outcome.deliveries_heal = 0.0
        outcome.index_heal = round(await_indexed(proxy, accounts), 1)
        outcome.findings = audit(proxy, load, callers)
        outcome.wrong += [f"{name}: {number}" for name, number in outcome.findings.wrong().items()]
        if dead := self.platform.dead():
            outcome.wrong.append(f"ended by themselves: {', '.join(dead)}")
        return outcome

    def restart_node(self, name: str) -> None:
        node, proxy = self.platform.nodes[name], self.platform.proxy
        known = name.replace("-", "")
        if node.role == "workers":
            node.stop()
            node.start()
            return
        proxy.drain(known)
        node.stop()
        node.start()
        proxy.set_state(known, "ready")
        proxy.await_up()

    def restart_server(self, name: str) -> None:
        self.platform.servers.run("stop", name)
        self.platform.servers.run("start", name)

    def note(self, name: str, load: Load, callers: Callers, begin: float, end: float) -> None:
        """Whatever was not answered 250, or 2xx, meanwhile."""
        failed = {code: number for code, number in load.outcomes(begin, end).items() if code != "250"}
        failed |= callers.failures(begin, end)
        print(f"   {name}: {end - begin:.0f} s, failed: {failed or 'nothing'}", flush=True)
        if failed:
            self.outcome.wrong.append(f"{name}: {failed}")


class Upgrade(Rolling):
    """The tables of the next version, under nodes of this one; then nodes of the next, one after the other."""

    name = UPGRADE

    def __init__(self, platform: Platform, rate: float, program: pathlib.Path):
        self.platform, self.rate, self.program = platform, rate, program
        self.what = "the schema upgraded under two versions of the program"

    def steps(self) -> list:
        nodes = list(self.platform.nodes)
        # A node of this version also starts on the tables of the next.
        again = (f"{nodes[0]} of this version", lambda: self.restart_node(nodes[0]))
        return [("schema apply", lambda: self.platform.apply_schema(self.program)), again, *((name, lambda name=name: self.replace(name)) for name in nodes)]

    def replace(self, name: str) -> None:
        self.platform.nodes[name].program = self.program
        self.restart_node(name)
