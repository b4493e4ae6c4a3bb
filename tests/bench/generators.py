"""The load generators, and runs of them on a machine that is quiet."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEARCHED = "search@bench.example"
QUIET_SHARE, QUIET_SECONDS, DISTURBED_SHARE = 0.12, 60, 0.35


def say(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)


def build(*arguments: str) -> None:
    subprocess.run(["cargo", "build", "--quiet", "--release", *arguments], cwd=ROOT, check=True)


class OwnLoad:
    """The load of this folder."""

    def __init__(self, _: pathlib.Path):
        build("--example", "load")
        self.program = ROOT / "target/release/examples/load"
        self.is_given = False
        self.reads_imap = False

    def lmtp(self) -> list:
        return [self.program, "lmtp"]

    def http(self) -> list:
        return [self.program, "http"]


class GivenLoad:
    """The load generators of the folder that SIGNET_BENCH names."""

    def __init__(self, place: pathlib.Path):
        self.folder = place / "bench"
        shutil.copytree(os.environ["SIGNET_BENCH"], self.folder)
        subprocess.run(["go", "build", "-o", "bin/", "./cmd/..."], cwd=self.folder, check=True)
        self.is_given = True
        self.reads_imap = True

    def lmtp(self) -> list:
        return [self.folder / "bin/lmtp-load", "--max-time", "590s"]

    def http(self) -> list:
        return [self.folder / "bin/mail-query", "--mode", "http", "--login", ""]

    def imap(self, port: int) -> list:
        return [self.folder / "bin/mail-query", "--mode", "imap", "--op", "fetch50", "--addr", f"127.0.0.1:{port}", "--login", SEARCHED]


def make_load(place: pathlib.Path):
    return GivenLoad(place) if os.environ.get("SIGNET_BENCH") else OwnLoad(place)


def machine() -> tuple[float, float]:
    """Busy and all CPU seconds of the machine since it started, in ticks."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def wait_for_quiet() -> float:
    """Waits until the machine does little; how busy it was at last, 0 to 1."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        busy, all_of_it = machine()
        time.sleep(0.5)
        busy_now, all_now = machine()
        share = (busy_now - busy) / max(1, all_now - all_of_it)
        if share < QUIET_SHARE or time.monotonic() > deadline:
            return share


def run_case(arguments: list, options: dict, patient: bool = True) -> dict:
    """Runs one load, when the machine is quiet; what it printed, and whether the run was disturbed."""
    for name, value in options.items():
        arguments = [*arguments, f"--{name}", str(value)]
    busy = wait_for_quiet() if patient else 0.0
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    result = json.loads(lines[-1]) if lines else {}
    result["busy_before"] = round(busy, 2)
    result["complete"] = done.returncode == 0
    other = result.get("cost", {}).get("other_cpu_s", 0) / max(0.2, result.get("wall_s", 1))
    result["disturbed"] = other > DISTURBED_SHARE
    return result
