"""The real servers that tests/services starts, as the faults see them: killed, paused, stopped and started by name."""

import os
import pathlib
import subprocess

from signet import ROOT

RUN = ROOT / "tests/services/run"
KINDS = ("cassandra", "elasticsearch", "rabbitmq")


class Servers:
    """`count` nodes of each kind, and one Redis. Those of $SIGNET_SERVICES are used, and left running; else own ones."""

    def __init__(self, place: pathlib.Path, count: int):
        self.count = count
        named = os.environ.get("SIGNET_SERVICES")
        self.is_ours = named is None
        self.home = pathlib.Path(named) if named else place / "services"

    def run(self, *words: str, seconds: float = 400.0) -> str:
        done = subprocess.run(
            [RUN, *words],
            env=os.environ | {"SIGNET_SERVICES": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"tests/services/run {' '.join(words)}: {done.stderr.strip()[-2000:]}"
        return done.stdout

    def up(self) -> None:
        self.run("up", str(self.count), seconds=900)

    def down(self) -> None:
        if self.is_ours and self.home.exists():
            self.run("down")

    def addresses(self) -> dict[str, str]:
        """CASSANDRA, ELASTICSEARCH, RABBITMQ and REDIS: where they are, separated by commas."""
        lines = (line.removeprefix("export SIGNET_TEST_").partition("=") for line in self.run("env").splitlines())
        return {name: value for name, _, value in lines}

    def some(self, kind: str, numbers=(1, 2, 3)) -> list[str]:
        """The names of those of a kind that there are."""
        return [f"{kind}-{number}" for number in numbers if number <= self.count]
