"""Mail as postfix would bring it: over sessions that are used again for a while, at a pace, and again until it is kept."""

import collections
import random
import re
import secrets
import threading
import time
from typing import NamedTuple

from lmtp import Lmtp, Reply

SENDER = "boris@two.example"
WORDS = "river stone letter morning garden window paper bridge harvest silver winter market harbour lantern orchard".split()
# After so many messages, or so long, a session is ended and another one begun.
SESSION_MESSAGES = 20
SESSION_SECONDS = 10.0
REPLY_SECONDS = 150.0
# Deliveries are well again when for so long nothing but 250 was answered.
WELL_SECONDS = 2.0


class Event(NamedTuple):
    """What became of one attempt for one recipient: a code, or `lost` (no reply), or `closed` (no session)."""

    at: float
    outcome: str
    seconds: float


class Message:
    """One message, the same bytes at each attempt."""

    def __init__(self, label: str, number: int, recipients: list[str]):
        self.token = f"t{secrets.token_hex(8)}"
        self.subject = f"{label} {number} {self.token}"
        self.pending = list(recipients)
        self.kept = {}
        self.refused = {}
        text = " ".join(random.choices(WORDS, k=random.choice((40, 150, 600))))
        lines = "\r\n".join(re.findall(r".{1,70}(?:\s|$)", text))
        self.bytes = (
            f"Message-ID: <{self.token}@two.example>\r\nFrom: Boris <{SENDER}>\r\nTo: {', '.join(recipients)}\r\n"
            f"Subject: {self.subject}\r\n\r\n{self.token}\r\n{lines}\r\n"
        ).encode()


class Session(Lmtp):
    """Remembers the last reply: of a session that is closed with 421 that is the outcome."""

    last: Reply | None = None

    def reply(self) -> Reply:
        self.last = super().reply()
        return self.last


class Load:
    """`sessions` threads that deliver to `accounts`, at most `rate` messages a second in all."""

    def __init__(self, port: int, label: str, accounts: list[str], rate: float, sessions: int = 16):
        self.port, self.label, self.accounts, self.rate = port, label, accounts, rate
        self.messages: list[Message] = []
        self.events: list[Event] = []
        # What a reply that is not 250 said, how often.
        self.words = collections.Counter()
        self.lock, self.ended, self.abandoned = threading.Lock(), threading.Event(), threading.Event()
        self.next_turn = time.monotonic()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(sessions)]
        for thread in self.threads:
            thread.start()

    def turn(self) -> None:
        """Returns when it is this thread's turn to send."""
        with self.lock:
            mine = max(time.monotonic(), self.next_turn)
            self.next_turn = mine + 1 / self.rate
        self.abandoned.wait(max(0.0, mine - time.monotonic()))

    def compose(self) -> Message:
        """Every fifth message is for two."""
        with self.lock:
            number = len(self.messages)
            count = len(self.accounts)
            recipients = [self.accounts[number % count]]
            if number % 5 == 0 and count > 1:
                recipients.append(self.accounts[(number + 1) % count])
            message = Message(self.label, number, recipients)
            self.messages.append(message)
        return message

    def work(self) -> None:
        session, used, began = None, 0, 0.0
        while not self.ended.is_set():
            message, failures = self.compose(), 0
            while message.pending and not self.abandoned.is_set():
                self.turn()
                if session and (used >= SESSION_MESSAGES or time.monotonic() > began + SESSION_SECONDS):
                    self.quit(session)
                    session = None
                if session is None:
                    used, began = 0, time.monotonic()
                    session = self.connect(message)
                if session and not self.attempt(session, message):
                    session = None
                used += 1
                if message.pending:
                    failures += 1
                    # Sooner than postfix, lest the faults take hours.
                    self.abandoned.wait(min(2.0, 0.25 * failures))
        if session:
            self.quit(session)

    def connect(self, message: Message) -> Session | None:
        began = time.monotonic()
        try:
            return Session(self.port, timeout=REPLY_SECONDS)
        except (OSError, ValueError):
            self.note(message.pending, "closed", began)
            return None

    def attempt(self, session: Session, message: Message) -> bool:
        """Delivers to those that still wait for it; whether the session is still of use."""
        began, recipients = time.monotonic(), list(message.pending)
        try:
            replies = session.deliver(SENDER, recipients, message.bytes)
        except (OSError, ValueError):
            is_told = session.last is not None and session.last.code == 421
            if is_told:
                self.words[session.last.text] += len(recipients)
            self.note(recipients, "421" if is_told else "lost", began)
            session.socket.close()
            return False
        for recipient, reply in replies.items():
            self.note([recipient], str(reply.code), began)
            if reply.code == 250:
                message.kept[recipient] = time.time()
            elif reply.code >= 500:
                message.refused[recipient] = reply.code
            if reply.code == 250 or reply.code >= 500:
                message.pending.remove(recipient)
            if reply.code != 250:
                self.words[f"{reply.code} {reply.text}"] += 1
        return all(reply.code != 421 for reply in replies.values())

    def note(self, recipients: list[str], outcome: str, began: float) -> None:
        now = time.monotonic()
        self.events.extend(Event(now, outcome, now - began) for _ in recipients)

    @staticmethod
    def quit(session: Session) -> None:
        try:
            session.quit()
        except (OSError, ValueError):
            pass

    def end(self, seconds: float = 180.0) -> None:
        """Begins no new message, and returns when each one is kept or refused, or `seconds` are over."""
        self.ended.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.abandoned.set()

    def outcomes(self, since: float = 0.0, until: float = float("inf")) -> collections.Counter:
        return collections.Counter(event.outcome for event in list(self.events) if since <= event.at < until)

    def well_since(self, since: float) -> float | None:
        """When, at `since` or later, deliveries began to be answered by 250 alone; None while they are not."""
        begin, last = None, since
        for event in list(self.events):
            if event.at < since:
                continue
            if event.outcome != "250":
                begin = None
            elif begin is None or event.at > last + WELL_SECONDS:
                begin = event.at
            elif event.at >= begin + WELL_SECONDS:
                return begin
            last = event.at
        return None

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time in which nothing was kept."""
        times = [since, *sorted(event.at for event in list(self.events) if event.outcome == "250" and since < event.at < until), until]
        return max(later - earlier for earlier, later in zip(times, times[1:]))
