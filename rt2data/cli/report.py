"""`rt2data report`: one HTML page about a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool, PoolKind, pool_at_work
from rt2data.cli.console import say_json, talk
from rt2data.cli.stats import PassProgress, prepared
from rt2data.errors import UsageError
from rt2data.io.location import path_of, write_whole
from rt2data.io.location.folders import real_path, temporary_folder
from rt2data.io.publish import require_writable
from rt2data.io.words import size
from rt2data.look.report import markdown, page
from rt2data.look.report.gather import mixture_report, stores_report
from rt2data.look.report.page import Report
from rt2data.look.report.views import counted
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import Question, Subject, find_subject
from rt2data.prepare.store import Store


@dataclass(frozen=True)
class ReportOptions:
    """What to write, and where."""

    out: Path
    markdown: Path | None = None
    tiles: int = 12
    workers: int | None = None
    pool: PoolKind = "processes"
    as_json: bool = False
    quiet: bool = False
    force: bool = False


def report(questions: Sequence[Question], wanted: ReportOptions) -> None:
    """Compute statistics of each path, write the page and print its path."""
    for file, mark in ((wanted.out, page.MARK), (wanted.markdown, markdown.MARK)):
        if file is not None:
            require_writable(file, *(question.path for question in questions), mark=mark, force=wanted.force)
    if wanted.markdown and real_path(wanted.markdown) == real_path(wanted.out):
        raise UsageError("page and summary would be one file", str(wanted.out), "give them two names")
    progress = PassProgress(wanted.quiet)
    with pool_at_work(wanted.pool, wanted.workers) as pool:
        reports = [_make(question, wanted.tiles, pool, progress) for question in questions]
    write_whole(wanted.out, made := page.page_within(reports))
    if wanted.markdown:
        write_whole(wanted.markdown, markdown.summary([each.stats for each in reports]).encode())
    _report(reports, wanted, len(made))


def _make(question: Question, tiles: int, pool: Pool, progress: PassProgress) -> Report:
    with temporary_folder("rt2data-report-") as scratch:
        subject = find_subject(question, scratch, lambda recipe: prepared(recipe, pool, progress))
        found = take_stats(subject, pool, progress)
    if subject.manifest:
        return mixture_report(found, path_of(subject.path), question.store, tiles)
    return stores_report(found, _stores(subject), tiles)


def _stores(subject: Subject) -> list[Store]:
    """The distinct stores behind the statistics."""
    return [Store(path_of(folder)) for folder in dict.fromkeys(rows.folder for rows in subject.rows)]


def _report(reports: Sequence[Report], wanted: ReportOptions, weight: int) -> None:
    if wanted.as_json:
        stats = json.loads(msgspec.json.encode([each.stats for each in reports]))
        say_json({"out": str(wanted.out), "stats": stats})
        return
    warnings = [warn for each in reports for warn in each.stats.warnings]
    talk(f"{size(weight)}; {f'warnings: {counted(warnings)}' if warnings else 'nothing to warn of'}")
    print(wanted.out)
