"""One server: a process in a session of its own, known by its pid and by when it began."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import string
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent


class Trouble(Exception):
    """What the caller is told in one sentence."""


@dataclasses.dataclass
class Process:
    """What /proc says about one: state is its letter, began in ticks since the machine started."""

    pid: int
    state: str
    session: int
    threads: int
    began: int

    @staticmethod
    def read(pid: int) -> "Process | None":
        try:
            # The name, in parentheses, may hold anything.
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return Process(pid, fields[0], int(fields[3]), int(fields[17]), int(fields[19]))

    @staticmethod
    def of_session(session: int) -> "list[Process]":
        """Those that live."""
        each = (Process.read(int(name)) for name in os.listdir("/proc") if name.isdecimal())
        return [process for process in each if process and process.session == session and process.lives()]

    def lives(self) -> bool:
        """A process whose first thread has ended holds its files and ports until the others have."""
        return self.state not in "ZX" or self.threads > 1

    def memory(self) -> int:
        """What it holds in memory, in bytes; 0 when it is gone."""
        try:
            pages = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Node:
    """A server that is started, watched and stopped. Its files lie under `home`, its log and its pid beside that.

    A recipe says how: what it listens on, what has to be written first, what is run, and when it answers.
    """

    START_SECONDS = 300.0
    STOP_SECONDS = 30.0

    def __init__(self, name: str, home: pathlib.Path):
        self.name = name
        self.home = home / name
        self.log = home / f"{name}.log"
        self.pid_file = home / f"{name}.pid"
        self.child = None
        self.launched = time.monotonic()

    # What a recipe says.

    def listens(self) -> list[tuple[str, int]]:
        """Its addresses; the first is the one that clients use."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Writes what it reads at its start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def answer(self) -> None:
        """Returns when it answers as a client expects it to; else any OSError or ValueError."""
        raise NotImplementedError

    # What every node does.

    def fill(self, template: str, target: pathlib.Path, **values) -> None:
        """Writes `target` from a file beside this one."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.filled(template, **values))

    def filled(self, template: str, **values) -> str:
        """A file beside this one with its values."""
        return string.Template((HERE / template).read_text()).substitute(values)

    def processes(self) -> list[Process]:
        """All that belong to it; a pid that another process has got since is not among them."""
        try:
            pid, began = map(int, self.pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return []
        leader = Process.read(pid)
        if leader and leader.began != began:
            return []
        return Process.of_session(pid)

    def state(self) -> str:
        states = {process.state for process in self.processes()}
        if not states:
            return "dead"
        return "paused" if states == {"T"} else "alive"

    def launch(self) -> None:
        """Starts it, and writes down its pid."""
        for host, port in self.listens():
            if taken(host, port):
                raise Trouble(f"{self.name}: {host}:{port} is taken by another process. `down` and `up` choose other ports.")
        self.home.mkdir(parents=True, exist_ok=True)
        self.prepare()
        self.launched = time.monotonic()
        with open(self.log, "ab") as log, undisturbed() as mask:
            self.child = subprocess.Popen(
                self.command(),
                env=clean_environment() | self.environment(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
            )
            partial = self.pid_file.with_suffix(".pid.part")
            partial.write_text(f"{self.child.pid} {Process.read(self.child.pid).began}\n")
            partial.rename(self.pid_file)

    def answers(self) -> bool:
        """Whether it answers yet; Trouble when it never will."""
        if self.child:
            self.child.poll()
        if not self.processes():
            raise Trouble(f"{self.name} ended at its start. {self.log} ends with\n{self.log_tail()}")
        try:
            self.answer()
        except (OSError, ValueError) as error:
            if time.monotonic() > self.launched + self.START_SECONDS:
                late = f"{self.name} does not answer after {self.START_SECONDS:g} s ({error})"
                raise Trouble(f"{late}. {self.log} ends with\n{self.log_tail()}") from None
            return False
        return True

    def signal(self, number: int) -> None:
        for process in self.processes():
            send(process.pid, number)

    def ask_to_stop(self) -> None:
        """SIGTERM to the server itself, which ends its helpers; a paused one has to wake up for it."""
        processes = self.processes()
        leaders = [process for process in processes if process.pid == process.session]
        for process in leaders or processes:
            send(process.pid, signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def await_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.processes():
            if self.child:
                self.child.poll()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        self.pid_file.unlink(missing_ok=True)
        return True

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that was not enough. Returns when nothing of it is left."""
        self.ask_to_stop()
        if not self.await_end(self.STOP_SECONDS):
            self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if not self.await_end(15.0):
            raise Trouble(f"{self.name} outlives SIGKILL: {self.processes()}")

    def log_tail(self, lines: int = 20) -> str:
        try:
            return "\n".join(f"  {line[:300]}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "  nothing"


def await_answers(nodes: list[Node]) -> None:
    """Returns when all of them answer."""
    while nodes := [node for node in nodes if not node.answers()]:
        time.sleep(0.1)


@contextlib.contextmanager
def undisturbed():
    """Signals wait meanwhile, lest a process is started and then forgotten. Yields those that waited before."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def taken(host: str, port: int) -> bool:
    """Whether somebody listens there; a connection that has just ended is no obstacle."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def clean_environment() -> dict[str, str]:
    """Ours, without what would configure a server behind our back."""
    ours = ("RABBITMQ_", "ERL_", "JAVA_", "JDK_JAVA_", "_JAVA_", "CLASSPATH", "NOTIFY_", "SIGNET_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
