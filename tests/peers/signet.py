"""Runs the program under test and speaks its REST API. Standard library only.

The program is `target/release/signet` of this repository, or what SIGNET_BIN names.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("SIGNET_BIN", ROOT / "target/release/signet"))
PASSWORD = "correct horse battery staple"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(what: str, condition, seconds: float = 30.0):
    """Calls `condition` until it returns something true, and returns that; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class Workplace:
    """A directory for one story that is gone afterwards (kept after a failure when SIGNET_KEEP is set)."""

    def __init__(self, name: str):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"signet-{name}-", dir=os.environ.get("SIGNET_WORK")))

    def __truediv__(self, name: str) -> pathlib.Path:
        return self.path / name

    def remove(self) -> None:
        if os.environ.get("SIGNET_KEEP"):
            print(f"# kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Signet:
    """One instance on free ports: its data, its key and its log lie under `home`."""

    # What the program is told to be; nothing is the whole of it.
    roles: tuple[str, ...] = ()

    def __init__(self, home: pathlib.Path, log_level: str = "info", **variables: str):
        self.home = home
        self.data = home / "data"
        self.keys = home / "keys"
        self.temporary = home / "tmp"
        self.log = home / "signet.log"
        for directory in (home, self.temporary, self.keys):
            directory.mkdir(parents=True, exist_ok=True)
        self.lmtp_port, self.api_port, self.internal_port = free_ports(3)
        self.process = None
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIGNET_")}
        self.environment = clean | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(self.keys),
            "TMPDIR": str(self.temporary),
            "SIGNET_DATA": str(self.data),
            "SIGNET_LMTP": f"127.0.0.1:{self.lmtp_port}",
            "SIGNET_API": f"127.0.0.1:{self.api_port}",
            "SIGNET_INTERNAL": f"127.0.0.1:{self.internal_port}",
            "SIGNET_LOG": log_level,
        } | variables

    def start(self, seconds: float = 60.0) -> "Signet":
        """Starts the program and waits until /health/ready answers 200."""
        assert PROGRAM.exists(), f"{PROGRAM} is missing: cargo build --release --bin signet"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *self.roles], env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        (self.home / "signet.pid").write_text(str(self.process.pid))

        def ready():
            code = self.process.poll()
            assert code is None, f"signet ended with {code} at its start: {self.log_tail()}"
            return self.health() == 200

        wait_until("/health/ready answers 200", ready, seconds)
        return self

    def health(self, path: str = "/health/ready"):
        """The status of an answer of the internal listener, None when nobody answers."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.internal_port, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None

    def metrics(self) -> bytes:
        """What /metrics says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.internal_port, timeout=10)
        connection.request("GET", "/metrics")
        return connection.getresponse().read()

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM; the program must end by itself, with 0, within `seconds`."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.terminate()
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"signet did not end within {seconds:g} s of SIGTERM") from None
        assert code == 0, f"signet ended with {code} after SIGTERM: {self.log_tail()}"

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGKILL)
        process.wait()

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Runs one of the program's commands against this instance; its output."""
        done = subprocess.run(
            [PROGRAM, *arguments], env=self.environment, cwd=self.home, input=stdin, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, f"signet {' '.join(arguments[:2])} … ended with {done.returncode}: {done.stderr.strip()}"
        return done.stdout

    def add_domain(self, name: str) -> None:
        self.command("domain", "add", name)

    def create_account(self, address: str) -> str:
        """Makes an account with PASSWORD; its id."""
        made = json.loads(self.command("account", "create", address, "--password-stdin", "--json", stdin=PASSWORD + "\n"))
        return made["accountId"]

    def client(self, address: str) -> "Client":
        """A client with an open session of the account that owns `address`."""
        return Client(self.api_port).log_in(address)


class Answer:
    """Status, headers (names in lower case) and bytes of one HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Client:
    """The REST API as one account sees it."""

    def __init__(self, port: int):
        self.port = port
        self.connection = None
        self.token = None

    def connect(self) -> http.client.HTTPConnection:
        """A new connection, opened by its first call."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def try_call(self, method: str, path: str, body=None, headers=None) -> Answer:
        """Any call, whatever it answers; HTTPException or OSError when it is not answered."""
        send = dict(headers or {})
        if self.token:
            send["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            send.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode()
        if self.connection is None:
            self.connection = self.connect()
        try:
            self.connection.request(method, path, body, send)
            return Answer(self.connection.getresponse())
        except (http.client.HTTPException, OSError):
            self.connection.close()
            self.connection = None
            raise

    def call(self, method: str, path: str, body=None, headers=None) -> Answer:
        """Any call, whatever it answers."""
        try:
            return self.try_call(method, path, body, headers)
        except (http.client.HTTPException, OSError):
            # A kept connection may have been closed meanwhile: once more on a new one.
            return self.try_call(method, path, body, headers)

    def ask(self, method: str, path: str, expected: int, body=None, headers=None) -> Answer:
        """A call that must answer `expected`."""
        answer = self.call(method, path, body, headers)
        shown = path.partition("?")[0]
        assert answer.status == expected, f"{method} {shown} answered {answer.status}, not {expected}: {answer.body[:300]!r}"
        return answer

    def get(self, path: str, **query):
        """The JSON of a GET."""
        query = {name: value for name, value in query.items() if value is not None}
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self.ask("GET", path, 200).json()

    def log_in(self, address: str, password: str = PASSWORD) -> "Client":
        made = self.ask("POST", "/v1/session", 201, {"address": address, "password": password}).json()
        self.token = made["token"]
        self.account_id = made["accountId"]
        return self

    def pages(self, path: str, **query):
        """Every item of a listing, page by page."""
        cursor = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            yield from page["items"]
            cursor = page.get("nextCursor")
            if not cursor:
                return

    def heads(self, **query) -> list[dict]:
        """The heads of every message that the listing shows, newest first."""
        return list(self.pages("/v1/messages", limit=200, **query))

    def message(self, message_id: str) -> dict:
        return self.get(f"/v1/messages/{message_id}")

    def raw(self, message_id: str) -> bytes:
        return self.ask("GET", f"/v1/messages/{message_id}/raw", 200).body

    def part(self, message_id: str, part_id: str) -> bytes:
        return self.ask("GET", f"/v1/messages/{message_id}/parts/{urllib.parse.quote(part_id)}", 200).body

    def found(self, query: str) -> list[dict]:
        """Every hit of a search, page by page."""
        return list(self.pages("/v1/search", q=query, limit=200))

    def wait_for_subject(self, subject: str, seconds: float = 60.0) -> dict:
        """The head of the message with this subject, when it is there."""
        return wait_until(
            f"a message with the subject {subject!r}",
            lambda: next((head for head in self.heads() if head["subject"] == subject), None),
            seconds,
        )

    def wait_until_indexed(self, query: str, count: int, seconds: float = 60.0) -> list[dict]:
        """The hits of `query`, when there are `count` of them."""

        def hits():
            found = self.found(query)
            return found if len(found) == count else None

        return wait_until(f"{count} hits", hits, seconds) if count else self.found(query)


class Story:
    """Counts the sentences that held and those that did not; `end` prints the closing line."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, sentence: str, holds, detail="") -> bool:
        """Notes one sentence. `detail` is shown when it does not hold."""
        if holds:
            self.passed += 1
            print(f"ok    {sentence}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {sentence}{f': {detail}' if detail != '' else ''}", flush=True)
        return bool(holds)

    def step(self, sentence: str):
        """`with story.step("…"):` notes the sentence as held unless the block raises."""
        return _Step(self, sentence)

    def tell(self, body, *arguments) -> None:
        """Runs `body(story, …)`; that it raises is a sentence that does not hold."""
        try:
            body(self, *arguments)
        except Exception as error:
            traceback.print_exc()
            self.check("the story came to its end", False, repr(error))

    def end(self) -> None:
        """Prints `N passed, N failed` and ends the process, with 1 unless all held and something was checked."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(0 if self.passed and not self.failed else 1)


def tell(name: str, body, log_level: str = "info", **variables: str) -> None:
    """Runs `body(story, place, signet)` in a place of its own, cleans up whatever happens, and ends the process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    story, place = Story(), Workplace(name)
    signet = Signet(place / "signet", log_level, **variables)
    try:
        story.tell(body, place, signet)
    finally:
        signet.kill()
        if story.failed and signet.log.exists():
            print(f"# the end of Signet's log:\n{signet.log_tail(40)}")
        place.remove()
    story.end()


class _Step:
    def __init__(self, story: Story, sentence: str):
        self.story, self.sentence = story, sentence

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            self.story.check(self.sentence, True)
            return False
        if not isinstance(error, Exception):
            return False
        if not isinstance(error, AssertionError):
            traceback.print_exception(kind, error, trace)
        self.story.check(self.sentence, False, error)
        return True
