"""Clients of the API at work: each lists, searches, reads, changes keywords and follows the feed in turn."""

import collections
import http.client
import random
import re
import threading
import time
from typing import NamedTuple

from load import WORDS
from entrance import Caller, Entrance

KINDS = ("list", "search", "read", "patch", "changes")
# After so long a client that was refused tries its one time more.
RETRY_SECONDS = 1.0


class Call(NamedTuple):
    """What a call was answered, at first and in the end: a status, or `none`. Only a failed one is tried again; `problem`
    is what the last failure said."""

    at: float
    kind: str
    first: str
    last: str
    problem: str

    @property
    def failed(self) -> bool:
        return not self.last.startswith("2")


def without_numbers(problem: str) -> str:
    """The same for all problems of a kind."""
    return re.sub(r"[0-9a-f]{16,}", "#", problem)


class Callers:
    """A thread for each account; `rate` calls a second in all."""

    def __init__(self, proxy: Entrance, accounts: list[str], rate: float):
        self.pause, self.ended = len(accounts) / rate, threading.Event()
        self.calls: list[Call] = []
        # Keywords that a PATCH was answered 200 for: (account, message id) → keyword.
        self.keywords = {}
        # How far each account's feed was followed, and the ids of messages that it told of.
        self.cursors = {account: "start" for account in accounts}
        self.told = {account: set() for account in accounts}
        self.threads = []
        for number, account in enumerate(accounts):
            client = Caller(proxy, f"127.0.1.{number + 1}").log_in(account)
            self.threads.append(threading.Thread(target=self.work, args=(client, account), daemon=True))
        for thread in self.threads:
            thread.start()

    def work(self, client: Caller, account: str) -> None:
        known, turn = [], 0
        while not self.ended.is_set():
            kind = KINDS[turn % len(KINDS)]
            turn += 1
            path, body = "/v1/messages?limit=50", None
            if kind == "search":
                path = f"/v1/search?q={random.choice(WORDS)}&limit=10"
            elif kind == "changes":
                path = f"/v1/changes?since={self.cursors[account]}"
            elif kind in ("read", "patch") and known:
                message = random.choice(known)
                path = f"/v1/messages/{message}"
                if kind == "patch":
                    keyword = f"k{turn}"
                    body = {"keywords": {keyword: True}}
            elif kind in ("read", "patch"):
                continue
            answer = self.call(client, kind, path, body)
            if answer is None:
                pass
            elif kind == "list":
                known = [head["id"] for head in answer["items"]] or known
            elif kind == "patch":
                self.keywords[account, message] = keyword
            elif kind == "changes":
                self.note(account, answer)
            self.ended.wait(self.pause)

    def call(self, client: Caller, kind: str, path: str, body) -> dict | None:
        """The JSON of an answer with 2xx, of the second try if need be."""
        seen, problem = [], ""
        for turn in (0, 1):
            if turn:
                self.ended.wait(RETRY_SECONDS)
            try:
                answer = client.call("PATCH" if body else "GET", path, body)
                seen.append(str(answer.status))
                if answer.status < 300:
                    break
                problem = f"{answer.status}: {answer.body.decode(errors='replace')[:200]}"
            except (OSError, http.client.HTTPException) as error:
                answer = None
                seen.append("none")
                problem = f"none: {error!r:.200}"
        self.calls.append(Call(time.monotonic(), kind, seen[0], seen[-1], problem))
        return answer.json() if answer and answer.status < 300 else None

    def note(self, account: str, page: dict) -> None:
        """Goes on in the feed by one page."""
        self.cursors[account] = page["cursor"]
        self.told[account].update(change["id"] for change in page["changes"] if change["type"] == "message")

    def end(self, seconds: float = 120.0) -> None:
        self.ended.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self.threads), "an API call hangs"

    def failures(self, since: float = 0.0, until: float = float("inf")) -> collections.Counter:
        """Calls that failed, the second try too, as `kind status`."""
        calls = list(self.calls)
        return collections.Counter(f"{call.kind} {call.last}" for call in calls if call.failed and since <= call.at < until)

    def problems(self) -> collections.Counter:
        return collections.Counter(f"{call.kind} {without_numbers(call.problem)}" for call in list(self.calls) if call.problem)
