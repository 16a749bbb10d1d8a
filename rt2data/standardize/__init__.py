"""Step two: source data becomes rt2data's own form. Steps and Examples in; Rows, Facts and Rejects out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rt2data.order import key64
from rt2data.read.source import HELD_OUT, RobotSource, Source, WebSource
from rt2data.records import Example, Fact, Reject, Row, SourceRecord, Step
from rt2data.standardize.answers import question_rows
from rt2data.standardize.conversation import conversation_fault, region_fault, tidy
from rt2data.standardize.episode import EpisodeStandard


def standardize(source: Source, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    """Rows, facts and rejects from a stream of one source's raw records. Steps of an episode are consecutive."""
    for found in _rows(source, records):
        yield held_out(found, source) if isinstance(found, Row) else found


def _rows(source: Source, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    if isinstance(source, RobotSource):
        yield from _robot_rows(EpisodeStandard(source), records)
    elif isinstance(source, WebSource):
        for record in records:
            yield from _example(record, source) if isinstance(record, Example) else _passed_on(record)


def _robot_rows(standard: EpisodeStandard, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    """Rows, episode by episode; each episode is finished at its last step, before the next is read, as images may be views."""
    episode: list[Step] = []
    for record in records:
        if not isinstance(record, Step):
            yield from _passed_on(record)
            continue
        if episode and episode[-1].episode != record.episode:
            yield from standard.rows(episode)
            episode = []
        episode.append(record)
        if record.step + 1 == record.steps:
            yield from standard.rows(episode)
            episode = []
    if episode:
        yield from standard.rows(episode)


def _passed_on(record: SourceRecord) -> Iterator[Fact | Reject]:
    if not isinstance(record, Fact | Reject):
        raise TypeError(f"{type(record).__name__} from a source of the other side")
    yield record


def held_out(row: Row, source: Source) -> Row:
    """Move a fraction of the groups to split `val`, by hash of the group: stable when data grows; groups stay whole."""
    if source.holdout and key64("holdout", row.group) < source.holdout * 2**64:
        return replace(row, split=HELD_OUT)
    return row


def _example(example: Example, source: WebSource) -> Iterator[Row | Fact | Reject]:
    if fault := conversation_fault(example) or region_fault(example):
        yield Reject(*fault)
        return
    text = example.question or next((turn.text for turn in example.turns if turn.role == "user"), "")
    row = Row(
        example.key,
        example.group,
        example.split,
        text,
        example.images,
        answers=example.answers,
        turns=example.turns,
        regions=tuple(map(tidy, example.regions)),
        frame=example.frame,
    )
    if example.turns:
        yield row
    else:
        yield from question_rows(row, source)
