"""One fault under load, from the first message to the verdict."""

import collections
import dataclasses
import os
import re
import time

from audit import Findings, audit, await_indexed, progress, Reader
from calls import Callers
from faults import Fault
from load import Load
from nodes import Platform
from signet import wait_until

# The longest that deliveries, and the index, may take to be well again.
HEAL_SECONDS = 30.0
INDEX_SECONDS = 60.0
# The longest that nothing is kept while mail has to go on.
SILENCE_SECONDS = 15.0
# After that a trial does not wait any longer for what does not heal.
PATIENCE = 90.0


@dataclasses.dataclass
class Outcome:
    """What a trial found; it held if nothing is `wrong`."""

    name: str
    what: str
    seconds: float = 0.0
    # How many wait for a processor of this machine, on the average of a minute.
    machine_load: float = 0.0
    replies: dict = dataclasses.field(default_factory=dict)
    # Those from the strike until all was well again.
    replies_meanwhile: dict = dataclasses.field(default_factory=dict)
    words: dict = dataclasses.field(default_factory=dict)
    slowest_reply: float = 0.0
    silence: float = 0.0
    calls: int = 0
    failed_calls: dict = dataclasses.field(default_factory=dict)
    problems: dict = dataclasses.field(default_factory=dict)
    mend_seconds: float = 0.0
    deliveries_heal: float | None = None
    index_heal: float | None = None
    findings: Findings = dataclasses.field(default_factory=Findings)
    logs: dict = dataclasses.field(default_factory=dict)
    wrong: list = dataclasses.field(default_factory=list)


class Trial:
    """A fault is struck when mail has been coming in for a sixth of the time, and mended a third of it later."""

    def __init__(self, platform: Platform, fault: Fault, seconds: float, rate: float):
        self.platform, self.fault, self.seconds = platform, fault, seconds
        self.label = fault.name.replace("-", "")
        self.outcome = Outcome(fault.name, fault.what)
        self.accounts = platform.create_accounts(self.label)
        self.logs = Logs(platform)
        self.rate = rate

    def run(self) -> Outcome:
        self.fault.prepare(self.platform)
        try:
            self.platform.proxy.await_up()
            self.endure()
        finally:
            self.fault.restore(self.platform)
        return self.outcome

    def endure(self) -> None:
        outcome, proxy = self.outcome, self.platform.proxy
        callers = Callers(proxy, self.accounts, self.rate)
        load = Load(proxy.lmtp, self.label, self.accounts, self.rate)
        began = time.monotonic()
        try:
            wait_until("mail is kept", lambda: load.outcomes()["250"] >= 20, 60)
            load.ended.wait(self.seconds / 6)
            struck = time.monotonic()
            self.fault.strike(self.platform)
            load.ended.wait(self.seconds / 3)
            mending = time.monotonic()
            self.fault.mend(self.platform)
            mended = time.monotonic()
            outcome.mend_seconds = round(mended - mending, 1)
            base = struck if self.fault.mail_goes_on else mended
            index_base, mended_clock = mended, time.time()
            outcome.deliveries_heal = since(base, self.await_well(load, max(base, began)))
            outcome.index_heal = since(index_base, self.await_through(mended_clock))
            load.ended.wait(max(0.0, began + self.seconds - time.monotonic()))
        finally:
            load.end()
            callers.end()
        outcome.seconds = round(time.monotonic() - began, 1)
        well = base + outcome.deliveries_heal if outcome.deliveries_heal is not None else time.monotonic()
        self.count(load, callers, struck, max(well, mended))
        self.judge(load, callers)

    def await_well(self, load: Load, base: float) -> float | None:
        try:
            wait_until("deliveries are well", lambda: load.well_since(base), PATIENCE)
        except AssertionError:
            return None
        return load.well_since(base)

    def await_through(self, clock: float) -> float | None:
        """When all that was received until `clock` can be found, for every account; None if it never can."""
        wanted = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(clock))
        try:
            for number, account in enumerate(self.accounts):
                reader = Reader(self.platform.proxy, f"127.0.3.{number + 1}").log_in(account)

                def through():
                    is_complete, indexed = progress(reader)
                    return is_complete or indexed >= wanted

                wait_until("the index is well", through, PATIENCE)
        except AssertionError:
            return None
        return time.monotonic()

    def count(self, load: Load, callers: Callers, struck: float, well: float) -> None:
        outcome = self.outcome
        outcome.machine_load = round(os.getloadavg()[0], 1)
        outcome.replies = dict(load.outcomes())
        outcome.replies_meanwhile = dict(load.outcomes(struck, well))
        outcome.words = dict(load.words.most_common(10))
        outcome.slowest_reply = round(max((event.seconds for event in load.events), default=0.0), 1)
        outcome.silence = round(load.longest_silence(struck, well), 1)
        outcome.calls = len(callers.calls)
        outcome.failed_calls = dict(callers.failures())
        outcome.problems = dict(callers.problems().most_common(10))
        outcome.logs = self.logs.troubles()

    def audit(self, load: Load, callers: Callers) -> None:
        self.outcome.findings = audit(self.platform.proxy, load, callers)

    def judge(self, load: Load, callers: Callers) -> None:
        outcome, fault, wrong = self.outcome, self.fault, self.outcome.wrong
        if dead := self.platform.dead():
            wrong.append(f"ended by themselves: {', '.join(dead)}")
        # What is kept is looked at even if the nodes, or the index, did not come round.
        for step in (self.platform.proxy.await_up, lambda: await_indexed(self.platform.proxy, self.accounts), lambda: self.audit(load, callers)):
            try:
                step()
            except AssertionError as error:
                wrong.append(str(error))
        wrong += [f"{name}: {number}" for name, number in outcome.findings.wrong().items()]
        if not outcome.findings.accepted:
            wrong.append("nothing was accepted")
        wrong += [f"LMTP answered {code}" for code in outcome.replies if code.startswith("5")]
        if fault.mail_goes_on and outcome.silence > SILENCE_SECONDS:
            wrong.append(f"nothing was kept for {outcome.silence:g} s")
        for name, healed, limit in (("deliveries", outcome.deliveries_heal, HEAL_SECONDS), ("index", outcome.index_heal, INDEX_SECONDS)):
            if healed is None or healed > limit:
                wrong.append(f"the {name} healed {'never' if healed is None else f'after {healed:g} s'}")
        for failed, number in outcome.failed_calls.items():
            kind, status = failed.split()
            if kind in fault.calls_go_on or status not in ("503", "none"):
                wrong.append(f"{number} calls failed: {failed}")


def since(base: float, then: float | None) -> float | None:
    return None if then is None else round(max(0.0, then - base), 1)


class Logs:
    """What the nodes write from now on."""

    def __init__(self, platform: Platform):
        self.begins = {node: node.log.stat().st_size for node in platform.nodes.values()}

    def troubles(self, most: int = 12) -> dict[str, int]:
        """Lines that warn or worse, without what differs from one to the next, and how many of each."""
        counts = collections.Counter()
        for node, begin in self.begins.items():
            with open(node.log, errors="replace") as log:
                log.seek(begin)
                for line in log:
                    if " WARN " in line or " ERROR " in line or "panicked" in line:
                        text = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
                        text = re.sub(r"^\S+Z\s+", "", text)
                        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}|\d+(\.\d+)?", "#", text)
                        counts[f"{node.role}: {text[:300]}"] += 1
        return dict(counts.most_common(most))
