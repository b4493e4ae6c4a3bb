"""docker-compose.yml and the Dockerfile, as Compose and the engine read them, as far as ours go."""

import pathlib
import re
import shlex

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Compose:
    """The file, with its merges made."""

    def __init__(self, text: str):
        self.document = yaml.safe_load(text)
        self.services = {name: Service(name, body) for name, body in self.document["services"].items()}

    @staticmethod
    def read() -> "Compose":
        return Compose((ROOT / "docker-compose.yml").read_text())

    def above(self, name: str) -> set[str]:
        """All that it waits for, and that those wait for."""
        direct = self.services[name].waits_for.keys()
        return set(direct).union(*(self.above(other) for other in direct))

    def in_order(self) -> "list[Service]":
        """Each after those that it waits for."""
        done = {}

        def add(name: str, above: tuple) -> None:
            assert name not in above, f"{name} waits for itself"
            for other in self.services[name].waits_for:
                add(other, (*above, name))
            done[name] = self.services[name]

        for name in self.services:
            add(name, ())
        return list(done.values())


class Service:
    """One service."""

    def __init__(self, name: str, body: dict):
        self.name = name
        self.body = body
        self.environment = {key: value for key, value in plain(body.get("environment", {})).items()}
        self.waits_for = {name: how["condition"] for name, how in body.get("depends_on", {}).items()}
        networks = body.get("networks", {})
        self.networks = networks if isinstance(networks, dict) else dict.fromkeys(networks)
        self.mounts = [Mount(text) for text in body.get("volumes", [])]

    def health(self) -> list[str] | None:
        """The command that tells whether it serves."""
        check = self.body.get("healthcheck", {})
        if check.get("disable") or "test" not in check:
            return None
        kind, *command = plain(check["test"])
        return ["/bin/sh", "-c", *command] if kind == "CMD-SHELL" else command

    def address(self, network: str) -> str | None:
        return (self.networks.get(network) or {}).get("ipv4_address")

    def memory(self) -> int:
        """Its limit in octets."""
        number, unit = re.fullmatch(r"(\d+)([kmg])", self.body["mem_limit"]).groups()
        return int(number) << {"k": 10, "m": 20, "g": 30}[unit]


class Mount:
    """`source:target` or `source:target:ro`; a source that is a path is one of this repository, any other a volume."""

    def __init__(self, text: str):
        self.source, self.target, *mode = text.split(":")
        assert mode in ([], ["ro"]), text
        self.read_only = mode == ["ro"]
        self.is_volume = not self.source.startswith(".")


def plain(value):
    """With `$$` as Compose hands it on; nothing else is filled in, because nothing may be."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, str):
        return value
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", value), f"a variable of the caller's: {value!r}"
    return value.replace("$$", "$")


class Dockerfile:
    """Its stages by name; each is a list of (instruction, arguments)."""

    def __init__(self, text: str):
        self.stages = {}
        self.bases = {}
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        for line in "\n".join(lines).replace("\\\n", " ").splitlines():
            instruction, _, rest = line.strip().partition(" ")
            if instruction == "FROM":
                base, _, name = rest.split()
                self.bases[name] = base
                self.stages[name] = []
            elif instruction:
                self.stages[name].append((instruction, rest.strip()))

    @staticmethod
    def read() -> "Dockerfile":
        return Dockerfile((ROOT / "Dockerfile").read_text())

    def copies(self, stage: str):
        """(options, sources, target) of each COPY."""
        for instruction, rest in self.stages[stage]:
            if instruction == "COPY":
                words = shlex.split(rest)
                options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
                *sources, target = [word for word in words if not word.startswith("--")]
                yield options, sources, target

    def last(self, stage: str, wanted: str) -> str | None:
        return next((rest for instruction, rest in reversed(self.stages[stage]) if instruction == wanted), None)
