"""rosbag2's SQLite databases: tables of topics and of messages; since Iron one of message definitions too."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.inflate import InflateError
from rt2data.io.sqlite import read_database
from rt2data.read.ros.container import FETCH, Container, Lost, Message, Ref, Topic, merged
from rt2data.records import Place

MAGIC = b"SQLite format 3\0"
FAULTS = (sqlite3.Error, ValueError)
"""What a damaged database raises; ValueError if SQLite's error message cannot be decoded."""
_ROW = -2
"""In place of a block: `start` is a row number."""


class Db3(Container):
    """One database of a rosbag2 recording."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._stack = ExitStack()
        try:
            self._database = self._stack.enter_context(read_database(path))
            self._tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except FAULTS as error:
            self._stack.close()
            raise DataError(f"SQLite cannot read it: {error}", path, FETCH) from None

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.is_open = False

    def check(self) -> None:
        if not {"topics", "messages"} <= self._tables:
            raise DataError("it is no recording of rosbag2: it has no tables of topics and messages", self.path, FETCH)

    def find_topics(self) -> Mapping[str, Topic]:
        self.check()
        try:
            return merged(self._topics())
        except FAULTS as error:
            raise DataError(f"SQLite cannot read its topics: {error}", self.path, FETCH) from None

    def _topics(self) -> Iterator[Topic]:
        try:
            counts = dict(self._database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        except FAULTS:
            counts = None
        definitions = self._definitions()
        for number, name, kind, form in self._database.execute(
            "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
        ):
            if all(isinstance(each, str) for each in (name, kind, form)):
                yield Topic(name, kind, form, *definitions.get(kind, (b"", "")), None if counts is None else counts.get(number, 0))

    def _definitions(self) -> dict[str, tuple[bytes, str]]:
        if "message_definitions" not in self._tables:
            return {}
        rows = self._database.execute("SELECT topic_type, encoded_message_definition, encoding FROM message_definitions")
        return {kind: (str(text).encode(), str(language)) for kind, text, language in rows}

    def messages(self, topics: Collection[str], by_index: bool = False) -> Iterator[Message | Lost]:
        if self._has_journal() and not by_index:
            yield Lost("unmerged_journal", 0, "messages in its -wal file are not read: open it once with sqlite3", 0)
        last = 0
        try:
            numbers = dict(self._database.execute("SELECT id, name FROM topics"))
            for row, number, time, data in self._first_rows(numbers, topics) if by_index else self._rows():
                name, last = numbers.get(number), row
                if name in topics and isinstance(data, bytes) and isinstance(time, int):
                    yield Message(str(name), time, time, memoryview(data), Ref(_ROW, row, len(data)))
        except FAULTS as error:
            yield Lost("truncated_log", 0, f"{error}, behind message {last}", 0)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        yield from self._database.execute("SELECT id, topic_id, timestamp, data FROM messages ORDER BY id")

    def _first_rows(self, numbers: Mapping[int, str], topics: Collection[str]) -> Iterator[tuple[Any, ...]]:
        query = "SELECT id, topic_id, timestamp, data FROM messages WHERE topic_id = ? ORDER BY id LIMIT 1"
        for number, name in numbers.items():
            if name in topics:
                yield from self._database.execute(query, (number,))

    def _has_journal(self) -> bool:
        journal = f"{self.path}-wal"
        return location.is_file(journal) and location.stat(journal).size > 0

    def data(self, ref: Ref) -> memoryview:
        if not self.is_open:
            with Db3(self.path) as again:
                return again.data(ref)
        try:
            ((found,),) = self._database.execute("SELECT data FROM messages WHERE id = ?", (ref.start,))
        except FAULTS as error:
            raise InflateError(f"message {ref.start} is gone: {error}") from None
        return memoryview(found)

    def place(self, ref: Ref, start: int, length: int) -> Place | None:
        return None
