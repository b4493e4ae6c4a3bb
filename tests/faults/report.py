"""The outcomes as a table for docs/operations.md, and as JSON."""

import dataclasses
import json
import pathlib

from trial import Outcome

COLUMNS = (
    "fault",
    "attempts by reply",
    "accepted",
    "exactly once",
    "searchable",
    "longest wait for a 250",
    "API calls, failed of them",
    "deliveries well after",
    "all indexed after",
    "load of the machine",
    "",
)


def table(outcomes: list[Outcome]) -> str:
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(row, outcomes)]
    return "\n".join("| " + " | ".join(each) + " |" for each in rows)


def row(outcome: Outcome) -> tuple[str, ...]:
    found = outcome.findings
    replies = ", ".join(f"{code}: {number:,}" for code, number in sorted(outcome.replies.items()))
    failed = ", ".join(f"{what}: {number}" for what, number in sorted(outcome.failed_calls.items()))
    return (
        outcome.what,
        replies or "–",
        f"{found.accepted:,}",
        f"{found.once:,}",
        f"{found.searchable:,}",
        seconds(outcome.silence),
        f"{outcome.calls:,}, {failed or 'none'}",
        seconds(outcome.deliveries_heal),
        seconds(outcome.index_heal),
        f"{outcome.machine_load:g}",
        "; ".join(outcome.wrong) or "held",
    )


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def write(file: pathlib.Path | None, outcomes: list[Outcome]) -> None:
    if file:
        file.write_text(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1, default=str) + "\n")
