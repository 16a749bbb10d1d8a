"""A source that changes is noticed: before the plan it is prepared anew, later the build stops and names the file. Never mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.seal.manifest import read_manifest
from tests.faults.command import Warm
from tests.faults.conftest import INLINE, WEB, Place
from tests.faults.warm import MISCHIEF

pytestmark = pytest.mark.long

slow = pytest.mark.slow


def picture(place: Place) -> Path:
    return place.data / WEB / "images" / "000000000007.jpg"


def questions(place: Place) -> Path:
    return place.data / WEB / "questions.json"


def answers(place: Place) -> Path:
    return place.data / WEB / "annotations.json"


def records(place: Place) -> Path:
    """The third of four files of the log."""
    return place.shards[2]


def edit_comment(place: Place) -> None:
    """A picture's comment: it stays a picture of the same size."""
    content = bytearray(picture(place).read_bytes())
    content[10] ^= 1
    with picture(place).open("r+b") as file:
        file.write(content)


def edit_question(place: Place) -> None:
    with questions(place).open("r+b") as file:
        content = file.read().replace(b"How many things of kind 7 ", b"How many beasts of kind 7 ", 1)
        file.seek(0)
        file.write(content)


def add_question(place: Place) -> None:
    for path, key in ((questions(place), "questions"), (answers(place), "annotations")):
        tree = json.loads(path.read_text())
        tree[key].append({**tree[key][0], "question_id": 4711})
        path.write_text(json.dumps(tree))


def swap_records(place: Place) -> None:
    one, other = place.shards[:2]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def delete_picture(place: Place) -> None:
    picture(place).unlink()


def touch_all(place: Place) -> None:
    for path in (picture(place), questions(place), records(place)):
        path.touch()


def replace_by_the_same(place: Place) -> None:
    for path in (picture(place), records(place)):
        MISCHIEF["replace"](path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [edit_comment, *[pytest.param(each, marks=slow) for each in (add_question, edit_question, swap_records, delete_picture)]],
)
def test_before_the_plan(own: Place, warm: Warm, change: Callable[[Place], None]) -> None:
    warm(own.folder, *INLINE, "--out", "first").succeeded()
    change(own)
    again = warm(own.folder, *INLINE)
    again.succeeded()
    assert "prepare  " in again.err
    assert read_manifest(own.out).plan.fingerprint != read_manifest(own.folder / "first").plan.fingerprint
    warm(own.folder, "verify", "--workers", "0").succeeded()


@slow
@pytest.mark.parametrize("change", [touch_all, replace_by_the_same])
def test_the_same_bytes_are_the_same_source(own: Place, warm: Warm, built: Place, change: Callable[[Place], None]) -> None:
    warm(own.folder, *INLINE, "--out", "first").succeeded()
    change(own)
    warm(own.folder, *INLINE).succeeded()
    assert own.bytes_built == built.bytes_built


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("edit", records),
        ("append", questions),
        pytest.param("edit", picture, marks=slow),
        pytest.param("delete", picture, marks=slow),
        *[pytest.param(what, records, marks=slow) for what in ("append", "replace", "delete", "touch")],
        *[pytest.param(what, picture, marks=slow) for what in ("append", "replace", "touch")],
        *[pytest.param(what, answers, marks=slow) for what in ("edit", "delete")],
    ],
)
def test_while_shards_are_written(own: Place, warm: Warm, what: str, where: Callable[[Place], Path]) -> None:
    path = where(own)
    stopped = warm(own.folder, *INLINE, before={"name": "shard-000004", "what": what, "path": str(path)})
    stopped.failed(7, path.name, "run")
    assert not own.out.exists()
    assert not [name for name in own.litter() if name.endswith(".tmp")]


@pytest.mark.parametrize("change", [edit_question, pytest.param(add_question, marks=slow), pytest.param(edit_comment, marks=slow)])
def test_on_going_on(own: Place, warm: Warm, change: Callable[[Place], None]) -> None:
    """A begun build rests on the earlier state; it is not gone on with, and not thrown away unasked."""
    assert warm(own.folder, *INLINE, before={"name": "shard-000004", "what": "die"}).code < 0
    change(own)
    changed = picture(own) if change is edit_comment else questions(own)
    for _ in range(2):
        warm(own.folder, *INLINE).failed(7, "changed since this build started", "qa", "--restart")
        assert not own.out.exists()
    warm(own.folder, *INLINE, "--restart").succeeded()
    warm(own.folder, "verify", "--workers", "0").succeeded()
    assert changed.exists()


@slow
def test_on_going_on_after_a_touch(own: Place, warm: Warm, built: Place) -> None:
    """Only the bytes decide: the shards that were written stay."""
    assert warm(own.folder, *INLINE, before={"name": "shard-000009", "what": "die"}).code < 0
    touch_all(own)
    again = warm(own.folder, *INLINE)
    again.succeeded()
    assert "9 from an earlier run" in again.err
    assert own.bytes_built == built.bytes_built


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("delete", records),
        ("edit", answers),
        pytest.param("edit", records, marks=slow),
        *[pytest.param(what, records, marks=slow) for what in ("append", "replace", "touch")],
        *[pytest.param(what, picture, marks=slow) for what in ("edit", "delete")],
        *[pytest.param(what, questions, marks=slow) for what in ("edit", "append")],
        pytest.param("delete", answers, marks=slow),
    ],
)
def test_while_it_is_prepared(own: Place, warm: Warm, what: str, where: Callable[[Place], Path]) -> None:
    path = where(own)
    stopped = warm(own.folder, *INLINE, before={"name": "fragment-", "nth": 2, "what": what, "path": str(path)})
    stopped.failed(7, path.name, "run the build again")
    assert not own.out.exists()
    assert not list((own.folder / "store").glob("[a-z]*/source.json")) or what != "edit"


@slow
def test_pictures_of_the_store_are_made_again(own: Place, warm: Warm, built: Place) -> None:
    """Where their bytes are others; a file that is only touched is read, and stays."""
    resized = ("--set", "web.qa.images.resize=32")
    warm(own.folder, *INLINE, *resized).succeeded()
    before = own.bytes_built
    (blob,) = (own.folder / "store" / "units").glob("qa-*/blobs-*")
    for what, again in (("edit", False), ("touch", True)):
        MISCHIEF[what](blob)
        shutil.rmtree(own.out)
        ended = warm(own.folder, *INLINE, *resized)
        ended.succeeded()
        assert ("prepare  1/1  1 from an earlier run" in ended.err) == again
        assert own.bytes_built == before


@slow
def test_a_picture_appears_while_it_is_prepared(own: Place, warm: Warm) -> None:
    picture(own).rename(picture(own).with_suffix(".away"))
    back = {"name": "fragment-", "nth": 2, "what": "come back", "path": str(picture(own))}
    warm(own.folder, *INLINE, before=back).failed(7, picture(own).name, "run the build again")
    warm(own.folder, *INLINE).succeeded()


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("unit-", marks=slow), "shard-000004"])
def test_a_source_cannot_be_read(own: Place, warm: Warm, name: str) -> None:
    """A disk that fails under the source is not called a full output."""
    broken = warm(own.folder, *INLINE, before={"name": name, "what": "fail to read"})
    broken.failed(3, "cannot be read: Input/output error", str(own.data))
    assert not own.out.exists()
