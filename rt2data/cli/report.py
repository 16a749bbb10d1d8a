"""`rt2data report`: one page for eyes of everything worth knowing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from rt2data.beam.pool import Pool
from rt2data.cli.console import say_json, size, talk
from rt2data.cli.stats import Asked, Passing, find_subject
from rt2data.errors import UsageError
from rt2data.inspection import recognise
from rt2data.publish import write_whole
from rt2data.report.gather import ROOM, mixture_report, stores_report
from rt2data.report.markdown import summary
from rt2data.report.page import Report, page
from rt2data.report.views import counted
from rt2data.stats.run import take_stats
from rt2data.stats.subject import Subject
from rt2data.store import Store


@dataclass(frozen=True)
class Wanted:
    """What to write of it, and where."""

    out: Path
    markdown: Path | None = None
    tiles: int = 12


def report(paths: Sequence[Path], asked: Asked, wanted: Wanted) -> None:
    """Look at each path, write the page and say where it is. `asked.path` is each of the paths in turn."""
    for file in filter(None, (wanted.out, wanted.markdown)):
        if not file.absolute().parent.is_dir():
            raise UsageError("there is no such folder for the report", str(file), "make it first")
    reports = make_reports(paths, asked, wanted.tiles)
    write_whole(wanted.out, made := page(reports))
    if wanted.markdown:
        write_whole(wanted.markdown, summary([each.stats for each in reports]).encode())
    _tell(reports, asked, wanted, len(made))


def make_reports(paths: Sequence[Path], asked: Asked, tiles: int) -> list[Report]:
    """One of each path; they share the room that a page has for pictures."""
    progress, room = Passing(asked.quiet), ROOM // len(paths)
    with asked.workers_at_work() as pool:
        return [_make(replace(asked, path=path), pool, progress, tiles, room) for path in paths]


def _make(asked: Asked, pool: Pool, progress: Passing, tiles: int, room: int) -> Report:
    with TemporaryDirectory(prefix="rt2data-report-") as scratch:
        subject = find_subject(asked, recognise(asked.path), Path(scratch), pool, progress)
        found = take_stats(subject, pool, progress)
    if subject.manifest:
        return mixture_report(found, Path(subject.path), asked.store, tiles, room)
    return stores_report(found, _stores(subject), tiles, room)


def _stores(subject: Subject) -> list[Store]:
    """Those that the statistics were taken of, each once."""
    return [Store(Path(folder)) for folder in dict.fromkeys(rows.folder for rows in subject.rows)]


def _tell(reports: Sequence[Report], asked: Asked, wanted: Wanted, weight: int) -> None:
    if asked.as_json:
        stats = json.loads(msgspec.json.encode([each.stats for each in reports]))
        say_json({"out": str(wanted.out), "stats": stats})
        return
    warnings = [warn for each in reports for warn in each.stats.warnings]
    talk(f"{size(weight)}; {f'warnings: {counted(warnings)}' if warnings else 'nothing to warn of'}")
    print(wanted.out)
