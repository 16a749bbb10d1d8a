"""`rt2data verify`: check a finished mixture from its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rt2data.beam.pool import PoolKind, pool_at_work
from rt2data.cli.console import insist, say_json, table, talk
from rt2data.cli.progress import Progress
from rt2data.errors import DataError
from rt2data.io.words import number, plural, size
from rt2data.look.verify import Findings
from rt2data.look.verify import verify as check
from rt2data.read.text import one_line

SHOWN = 50
"""Maximum faults printed; `--json` gives all."""


class Checking(Progress):
    """Progress over the shards that were checked."""

    def _take(self, result: Any) -> None:
        seen, count = result
        self._begun("verify", count)
        self._count("verify", True, seen.examples, seen.bytes, 0)


def verify(out: Path, workers: int | None, pool_kind: PoolKind, as_json: bool, quiet: bool) -> int:
    """Check everything and print the findings; the exit code is 3 if there are faults, else 0. Raises UsageError if there is no
    such folder.
    """
    progress = Checking(quiet)
    with pool_at_work(pool_kind, workers) as pool:
        found = check(out, pool, lambda seen, count: progress((seen, count)))
    if as_json:
        say_json(as_plain(found))
    else:
        show(found)
    return 0 if found.ok else DataError.code


def as_plain(found: Findings) -> dict[str, Any]:
    """The findings as JSON values, with every fault."""
    values: dict[str, Any] = msgspec.to_builtins(found)
    return {"ok": found.ok} | values


def show(found: Findings) -> None:
    """Print a table of the figures, then the faults."""
    if found.totals:
        _show_figures(found)
    for fault in found.faults[:SHOWN]:
        print(one_line(str(fault), 1000))
    if len(found.faults) > SHOWN:
        print(f"and {len(found.faults) - SHOWN:,} more faults: --json gives all")
    for note in found.notes:
        talk(f"note: {one_line(note)}")
    if found.faults:
        insist(f"rt2data: {_counted(found)} in {one_line(found.out)} -> build it again with --overwrite --restart")


def _show_figures(found: Findings) -> None:
    rows = [
        (
            one_line(name),
            number(total.examples),
            f"{total.examples / max(found.examples, 1):.2%}",
            _epochs(found.epochs[name]),
            number(total.prompt_tokens),
            number(total.target_tokens),
            number(total.longest),
            size(total.image_bytes),
        )
        for name, total in found.totals.items()
    ]
    columns = ("source", "examples", "share", "examples by epoch", "prompt tokens", "target tokens", "longest", "images")
    table(columns, rows, drop=("images", "longest", "examples by epoch", "prompt tokens", "target tokens", "share", "examples"))
    least, most = found.robot_frac_shards
    spread = f"{found.robot_frac:.4%} robot, {least:.2%} to {most:.2%} by shard"
    verdict = "no faults" if found.ok else _counted(found)
    print(f"{plural(found.shards, 'shard')}, {size(found.bytes)}, {plural(found.examples, 'example')}, {spread}: {verdict}")


def _counted(found: Findings) -> str:
    return plural(len(found.faults), "fault")


def _epochs(counts: tuple[int, ...]) -> str:
    """Counts as text: 48 + 48 + 3, or 13 x 23 + 1 if there are many."""
    full = [count for count in counts if counts and count == counts[0]]
    if len(counts) > 3 and len(full) >= len(counts) - 1:
        rest = [f"{count:,}" for count in counts[len(full) :]]
        return " + ".join([f"{counts[0]:,} x {len(full)}", *rest])
    return " + ".join(f"{count:,}" for count in counts) if len(counts) <= 6 else f"{len(counts)} epochs"
