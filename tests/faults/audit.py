"""What became of each message that was answered 250: asked of the API, account by account."""

import dataclasses
import hashlib
import http.client
import random
import threading
import time

from calls import Callers
from load import Load, Message
from entrance import Caller, Entrance
from signet import wait_until

# Messages of an account that are also searched for by the word that only they have.
SAMPLE = 10
INDEX_SECONDS = 120.0
# The feed may be behind by the time that a late entry has, and the clocks' skew.
FEED_SECONDS = 30.0


class Reader(Caller):
    """Asks again what was not answered; an answer that is no answer to the question fails the audit."""

    def ask(self, method, path, expected, body=None, headers=None):
        answer = None

        def answered():
            nonlocal answer
            try:
                answer = self.call(method, path, body, headers)
            except (OSError, http.client.HTTPException):
                return False
            return answer.status not in (429, 503)

        wait_until(f"{method} {path.partition('?')[0]} is answered", answered, 60)
        assert answer.status == expected, f"{method} {path.partition('?')[0]} answered {answer.status}: {answer.body[:300]!r}"
        return answer


@dataclasses.dataclass
class Findings:
    """Numbers of messages by account; all but `accepted`, `once` and `searchable` have to be 0."""

    accepted: int = 0
    once: int = 0
    searchable: int = 0
    missing: int = 0
    double: int = 0
    foreign: int = 0
    changed: int = 0
    not_found: int = 0
    never_kept: int = 0
    refused: int = 0
    untold: int = 0
    keywords_lost: int = 0
    details: list = dataclasses.field(default_factory=list)

    def wrong(self) -> dict[str, int]:
        good = ("accepted", "once", "searchable", "details")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in good and value}


def progress(reader: Reader) -> tuple[bool, str]:
    """Whether all can be found, and up to when all can."""
    answer = reader.get("/v1/search", q="anything", limit=1)
    return answer["complete"], answer["indexedThrough"]


def await_indexed(proxy: Entrance, accounts: list[str], seconds: float = INDEX_SECONDS) -> float:
    """Waits until everything can be found; how long that took."""
    began = time.monotonic()
    for account in accounts:
        reader = Reader(proxy).log_in(account)
        wait_until("all can be found", lambda: progress(reader)[0], max(1.0, began + seconds - time.monotonic()))
    return time.monotonic() - began


def audit(proxy: Entrance, load: Load, callers: Callers | None = None) -> Findings:
    """Holds what the load knows against what the API has."""
    found = Findings()
    found.never_kept = sum(len(message.pending) for message in load.messages)
    found.refused = sum(len(message.refused) for message in load.messages)
    errors = []

    def examine(number, account):
        try:
            mine = [message for message in load.messages if account in message.kept]
            uncertain = {message.subject for message in load.messages if account in message.pending}
            examine_account(found, Reader(proxy, f"127.0.2.{number + 1}").log_in(account), account, mine, uncertain, load.label, callers)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=examine, args=each) for each in enumerate(load.accounts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def await_told(reader: Reader, callers: Callers, account: str, ids: set) -> set:
    """Follows the feed on from where the client was in it; what it has not told of in the end."""
    deadline = time.monotonic() + FEED_SECONDS
    while True:
        page = reader.get("/v1/changes", since=callers.cursors[account])
        callers.note(account, page)
        untold = ids - callers.told[account]
        if not page["hasMore"] and (not untold or time.monotonic() > deadline):
            return untold


# The threads of an audit add to one Findings.
ADDING = threading.Lock()


def examine_account(found: Findings, reader: Reader, account: str, mine: list[Message], uncertain: set, label: str, callers) -> None:
    by_subject = {}
    for head in reader.heads():
        by_subject.setdefault(head["subject"], []).append(head["id"])
    known = {message.subject for message in mine}
    changed = 0
    once, missing, double = [], [], []
    for message in mine:
        ids = by_subject.get(message.subject, [])
        (missing if not ids else once if len(ids) == 1 else double).append(message)
        wanted = hashlib.sha256(message.bytes).digest()
        changed += sum(hashlib.sha256(reader.raw(each)).digest() != wanted for each in ids)
    foreign = [subject for subject in by_subject if subject not in known and subject not in uncertain]
    ids = {by_subject[message.subject][0] for message in once + double}
    hits = [hit["id"] for hit in reader.found(label)]
    sample = random.sample(mine, min(SAMPLE, len(mine)))
    alone = sum([hit["id"] for hit in reader.found(message.token)] != by_subject.get(message.subject) for message in sample)
    untold, lost = set(), 0
    if callers:
        untold = await_told(reader, callers, account, ids)
        for (owner, message), keyword in callers.keywords.items():
            lost += owner == account and not reader.message(message)["keywords"].get(keyword)
    with ADDING:
        found.accepted += len(mine)
        found.once += len(once)
        found.searchable += len(ids & set(hits))
        found.missing += len(missing)
        found.double += len(double) + len(hits) - len(set(hits))
        found.foreign += len(foreign)
        found.changed += changed
        found.not_found += len(ids - set(hits)) + alone
        found.untold += len(untold)
        found.keywords_lost += lost
        for kind, messages in (("missing", missing), ("double", double)):
            found.details += [f"{kind}: {message.subject} kept at {message.kept[account]:.3f}" for message in messages[:5]]
        found.details += [f"not in the feed: {each}" for each in sorted(untold)[:5]]
        found.details += [f"not found by its label: {each}" for each in sorted(ids - set(hits))[:5]]
