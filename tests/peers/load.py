"""Sessions that deliver and clients that read, all the while, and what became of each."""

import collections
import http.client
import smtplib
import threading

from lmtp import Lmtp
from proxy import Haproxy, TlsClient

SENDER = "load@client.example"
WORD = "wolkenbruch"
# How long a session rests between two messages, and a client between two calls: the load is even, not the most there can be.
PAUSE = 0.2
CALL_PAUSE = 0.03
ANSWER_SECONDS = 60.0


def compose(subject: str) -> bytes:
    lines = (
        f"From: Load <{SENDER}>",
        "To: all of you:;",
        f"Subject: {subject}",
        f"Message-ID: <{subject.replace(' ', '.')}@client.example>",
        "Date: Sat, 21 Nov 2026 08:00:00 +0100",
        "",
        f"The word of {subject} is {WORD}.",
        *(f"Line {number} of {subject}." for number in range(40)),
        "",
    )
    return "\r\n".join(lines).encode()


class Sender(threading.Thread):
    """One session that sends message after message, each to one account or two, until each was taken."""

    KIND = ""
    PAUSE = PAUSE

    def __init__(self, number: int, proxy: Haproxy, accounts: list[str], stop: threading.Event):
        super().__init__(daemon=True)
        self.number, self.proxy, self.accounts, self.stop = number, proxy, accounts, stop
        self.session = None
        # By account and subject, what was taken for it.
        self.kept: dict[tuple[str, str], bytes] = {}
        self.answers = collections.Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        turn = 0
        while not self.stop.wait(self.PAUSE):
            subject = f"Load {self.KIND} {self.number} {turn}"
            first = (self.number + turn) % len(self.accounts)
            recipients = self.accounts[first : first + 1 + turn % 2]
            try:
                self.send(subject, recipients, compose(subject))
            except Exception as error:
                self.faults.append(f"{subject}: {error!r}")
                self.session = None
            turn += 1

    def send(self, subject: str, recipients: list[str], message: bytes) -> None:
        raise NotImplementedError


class LmtpSender(Sender):
    """As postfix does: what was not answered 250 is sent again, the same bytes, on another connection if need be."""

    KIND = "lmtp"

    def send(self, subject, recipients, message):
        pending = set(recipients)
        while pending:
            try:
                self.session = self.session or Lmtp(self.proxy.lmtp, ANSWER_SECONDS)
                replies = self.session.deliver(SENDER, sorted(pending), message)
            except OSError:
                self.answers["none"] += 1
                self.session = None
                # A machine that is being replaced does not answer faster for being asked more.
                threading.Event().wait(PAUSE)
                continue
            for recipient, reply in replies.items():
                self.answers[reply.code] += 1
                if reply.code == 250:
                    self.kept[recipient, subject] = message
                assert reply.code < 500, f"{reply.code} {reply.text}"
            pending -= {recipient for recipient, reply in replies.items() if reply.kept}
            if any(reply.code == 421 for reply in replies.values()):
                self.session = None


class SmtpSender(Sender):
    """A client of postfix: it has done its part with the first 250."""

    KIND = "smtp"

    def send(self, subject, recipients, message):
        if self.session is None:
            source = (f"127.0.0.{60 + self.number}", 0)
            self.session = smtplib.SMTP("127.0.0.1", self.proxy.smtp, timeout=ANSWER_SECONDS, source_address=source)
        refused = self.session.sendmail(SENDER, recipients, message)
        assert not refused, refused
        self.answers[250] += len(recipients)
        for recipient in recipients:
            self.kept[recipient, subject] = message


class Reader(threading.Thread):
    """A client that makes one idempotent call after another, and each that fails once more."""

    PAUSE = CALL_PAUSE

    def __init__(self, number: int, proxy: Haproxy, account: str, stop: threading.Event):
        super().__init__(daemon=True)
        self.client = TlsClient(proxy, f"127.0.0.{70 + number}").log_in(account)
        self.stop = stop
        self.calls = 0
        # What one retry hid, and what it did not.
        self.hidden: list[str] = []
        self.seen: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            self.go_round()

    def go_round(self) -> None:
        heads = self.call("GET", "/v1/messages?limit=10")
        for path in ("/v1/mailboxes", "/v1/account", f"/v1/search?q={WORD}&limit=10", "/v1/changes?limit=10"):
            self.call("GET", path)
        for head in (heads or {"items": []})["items"][:2]:
            self.call("GET", f"/v1/messages/{head['id']}")

    def call(self, method: str, path: str, body=None):
        """The answer's JSON, None when there is none."""
        self.stop.wait(self.PAUSE)
        self.calls += 1
        for failures in (self.hidden, self.seen):
            try:
                answer = self.client.try_call(method, path, body)
            except (http.client.HTTPException, OSError) as error:
                failures.append(f"{method} {path.partition('?')[0]}: {error!r}")
                continue
            if answer.status == 200:
                return answer.json()
            failures.append(f"{method} {path.partition('?')[0]}: {answer.status} {answer.body[:200]!r}")
        return None


class Load:
    """Eight sessions and two clients."""

    def __init__(self, proxy: Haproxy, accounts: list[str]):
        self.stop_asked = threading.Event()
        self.senders = [kind(number, proxy, accounts, self.stop_asked) for kind in (LmtpSender, SmtpSender) for number in range(4)]
        self.readers = [Reader(number, proxy, accounts[number], self.stop_asked) for number in range(2)]

    def start(self) -> "Load":
        for thread in (*self.senders, *self.readers):
            thread.start()
        return self

    def stop(self) -> None:
        """Returns when every session has had its last answer."""
        self.stop_asked.set()
        for thread in (*self.senders, *self.readers):
            thread.join(ANSWER_SECONDS)
            assert not thread.is_alive(), f"{thread} did not end"

    def kept(self) -> dict[tuple[str, str], bytes]:
        """By account and subject, what was taken for it."""
        return {key: message for sender in self.senders for key, message in list(sender.kept.items())}

    def calls(self) -> int:
        return sum(reader.calls for reader in self.readers)
