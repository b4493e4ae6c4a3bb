"""Folders of real messages, with what is expected of them."""

import hashlib
import json
import os
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
MESSAGE_SUFFIXES = {".eml", ".msg", ".raw", ".golden", ".mbox"}


def find() -> "list[Set]":
    """Those of the folder that SIGNET_MESSAGES names, else the repository's own samples."""
    given = os.environ.get("SIGNET_MESSAGES")
    directory = pathlib.Path(given) if given else HERE / "samples"
    if not given:
        print("# SIGNET_MESSAGES is not set: these are the repository's own samples only", flush=True)
    sets = [Set(path) for path in sorted(directory.iterdir()) if path.is_dir()]
    sets = [each for each in sets if each.messages]
    assert sets, f"no messages under {directory}"
    return sets


class Set:
    """One folder: its messages by name, and what is expected of them."""

    def __init__(self, directory: pathlib.Path):
        self.directory, self.name = directory, directory.name
        self.oracle = {}
        path = directory / "oracle-cpython.jsonl"
        if path.exists():
            self.oracle = {row["file"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        self.messages = dict(self.read())

    def read(self):
        for path in sorted(self.directory.rglob("*")):
            name = str(path.relative_to(self.directory))
            if not path.is_file() or not (name in self.oracle or path.suffix in MESSAGE_SUFFIXES):
                continue
            content = path.read_bytes()
            if path.suffix == ".mbox":
                found = re.split(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\n]*\n", content)
                assert not found[0].strip(), f"{name} does not begin with a From line"
                yield from ((f"{name}#{number}", message) for number, message in enumerate(found[1:], 1))
            else:
                # The line that an mbox puts before a message is not a part of it.
                yield name, re.sub(rb"\AFrom [^\n]*\n", b"", content)

    def attachments(self, name: str) -> list[str]:
        """The SHA-256 of every attachment that something beside the message expects it to have."""
        expected = [a["sha256"] for a in self.oracle.get(name, {}).get("attachments", []) if a["sha256"]]
        path = self.directory / name
        reading = path.with_suffix(".json")
        if path.suffix == ".eml" and reading.exists():
            found = json.loads(reading.read_text(encoding="utf-8"))
            for body in (found["parts"][number]["body"] for number in found["attachments"]):
                octets = body.get("Binary", body.get("InlineBinary"))
                expected += [hashlib.sha256(bytes(octets)).hexdigest()] if octets else []
        if path.suffix == ".msg":
            for content in sorted(path.parent.glob(f"{path.stem}_decoded_*.bin")):
                expected.append(hashlib.sha256(content.read_bytes()).hexdigest())
        return expected

    def expected(self, name: str):
        """The file beside the messages that holds an expectation, None when there is none."""
        path = self.directory / name
        return path if path.exists() else None
