"""A program of the next version of the tables: this one, and what a later version could add to what it reads and writes."""

import os
import pathlib
import re
import shutil
import subprocess

from signet import PROGRAM, ROOT

NAME = "signet-next"
VERSIONS = "backends/cluster/src/cassandra/tables.rs"
CHANGES = """ALTER TABLE messages ADD later blob;
ALTER TABLE messages_by_mailbox ADD later blob;
ALTER TABLE states ADD later blob;
CREATE TABLE IF NOT EXISTS messages_by_later (
    partition blob,
    bucket blob,
    clustering blob,
    value blob,
    PRIMARY KEY ((partition, bucket), clustering)
);
"""
BUILD_SECONDS = 3600


def build_next(place: pathlib.Path) -> pathlib.Path:
    """Builds it from a copy of this checkout in `place`, beside ours in the same target directory, under a name of its own."""
    copy, target = place / "next", pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    number = len(list((copy / "schema/cassandra").glob("*.cql"))) + 1
    (copy / f"schema/cassandra/{number:04}.cql").write_text(CHANGES)
    entry = f'    Version {{ statements: include_str!("../../../../schema/cassandra/{number:04}.cql"), serves: {number - 1} }},'
    tables, manifest = copy / VERSIONS, copy / "Cargo.toml"
    text, found = re.subn(rf"(const VERSIONS: \[Version; ){number - 1}(\] = \[\n.*?)\];", rf"\g<1>{number}\g<2>{entry}\n];", tables.read_text(), count=1, flags=re.S)
    assert found == 1, f"{VERSIONS} is not as it was when this was written"
    tables.write_text(text)
    named = manifest.read_text().replace('default-run = "signet"', f'default-run = "{NAME}"')
    # Else cargo takes what it built of this one for ours, where they share a target directory.
    named, found = re.subn(r'(?m)^(\[workspace\.package\]\nversion = "[^"]*)"', r'\1-next"', named)
    assert found == 1, f"{manifest} is not as it was when this was written"
    manifest.write_text(f'{named}\n[[bin]]\nname = "{NAME}"\npath = "src/main.rs"\n')
    # As ours was built.
    profile = "debug" if PROGRAM.parent.name == "debug" else "release"
    build = ["cargo", "build", "--quiet", "--offline", "--profile", {"debug": "dev"}.get(profile, profile), "--bin", NAME]
    subprocess.run(build, cwd=copy, env=os.environ | {"CARGO_TARGET_DIR": str(target)}, check=True, timeout=BUILD_SECONDS)
    shutil.copy(target / profile / NAME, place / NAME)
    return place / NAME

