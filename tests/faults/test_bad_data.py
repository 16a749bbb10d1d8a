"""Faulty rows are left out, counted and told; files that cannot be trusted stop the build. Nothing is lost silently."""

from __future__ import annotations

import json
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rt2data.io.tfrecord.example import encode_example
from rt2data.io.tfrecord.framing import frame, masked_crc, scan
from rt2data.seal.manifest import read_manifest
from tests.bench.generate import pictures
from tests.faults import dirty as bad
from tests.faults.command import Warm
from tests.faults.conftest import EPISODES, INLINE, LOG, STEPS, WEB, Place, make_place
from tests.faults.dirty import ROBOT, ROBOT_LOST, WEB_LOST, Case, episode, flip, write_files

pytestmark = pytest.mark.long

# Rows


@pytest.fixture(scope="module")
def dirty(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A mixture of data with one fault of each kind."""
    data = tmp_path_factory.mktemp("dirty")
    bad.write_dirty_log(data / LOG)
    bad.write_dirty_corpus(data / WEB)
    place = make_place(tmp_path_factory.mktemp("from_dirty") / "here", data)
    warm(place.folder, *INLINE, "--set", "max_bad=20%").succeeded()
    return place


@pytest.mark.parametrize("case", [*ROBOT, *bad.WEB], ids=lambda case: case.name)
def test_a_faulty_row(dirty: Place, case: Case) -> None:
    told = _told(dirty, case.source)
    assert [row for row in told if row["reason"] == case.reason and case.where in row["where"]], told
    expected = sum(other.count for other in (*ROBOT, *bad.WEB) if (other.source, other.reason) == (case.source, case.reason))
    lost = {entry.reason: entry.count for entry in read_manifest(dirty.out).rejects[case.source]}
    assert lost[case.reason] == expected


def _told(place: Place, source: str) -> list[dict[str, Any]]:
    rejects = next((place.folder / "store").glob(f"{source}-*/rejects.parquet"))
    found: list[dict[str, Any]] = pq.read_table(rejects).to_pylist()
    return found


def test_all_else_is_kept(dirty: Place, warm: Warm) -> None:
    manifest = read_manifest(dirty.out)
    rows = {source.name: source.rows for source in manifest.plan.sources}
    lost = {name: sum(entry.count for entry in entries) for name, entries in manifest.rejects.items()}
    assert lost == {"log": ROBOT_LOST, "qa": WEB_LOST}
    whole = {"a flipped bit in a record", "a record that is no protobuf", "an episode without steps"}
    unknown = sum(bad.STEPS - case.count for case in ROBOT if case.name in whole)  # steps of episodes nobody can count
    assert rows["log"] == 2 * bad.EPISODES * bad.STEPS - ROBOT_LOST - unknown
    beside = {"annotation_without_question", "duplicate_annotation"}  # no question is lost with these
    assert rows["qa"] == 2 * bad.PICTURES - sum(case.count for case in bad.WEB if case.reason not in beside)
    assert manifest.conversions["qa"] == {}  # the PNG among them keeps its bytes
    warm(dirty.folder, "verify", "--workers", "0").succeeded()


def test_nothing_faulty_is_tokenized(dirty: Place) -> None:
    statistics = read_manifest(dirty.out).statistics["log"]["action"]
    assert all(np.isfinite(value).all() for value in _numbers(statistics))


def _numbers(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [number for value in tree.values() for number in _numbers(value)]
    return [np.asarray(tree, float)] if isinstance(tree, list | int | float) and not isinstance(tree, bool) else []


def test_a_whole_episode_goes_with_its_bad_step(dirty: Place, warm: Warm, tmp_path: Path) -> None:
    place = make_place(tmp_path / "here", dirty.data)
    warm(place.folder, *INLINE, "--set", "max_bad=30%", "--set", "robot.log.bad_step=episode").succeeded()
    lost = {entry.reason: entry.count for entry in read_manifest(place.out).rejects["log"]}
    assert lost["nan_action"] == 3 * bad.STEPS


def test_too_many(dirty: Place, warm: Warm, tmp_path: Path) -> None:
    place = make_place(tmp_path / "here", dirty.data)
    shutil.copytree(dirty.folder / "store", place.folder / "store")
    warm(place.folder, *INLINE).failed(4, "of source log are faulty", "max_bad 0.02", "10 ragged_episode", "--allow-bad")
    assert not place.out.exists()
    assert not place.litter()
    warm(place.folder, *INLINE, "--allow-bad").succeeded()
    assert sum(entry.count for entry in read_manifest(place.out).rejects["qa"]) == WEB_LOST


# Files of records


def cut_inside(path: Path) -> list[str]:
    at = scan(str(path)).spans[1].offset
    _truncate(path, at + 1000)
    return ["the file is cut inside a record", path.name, f"byte {at}"]


def cut_between(path: Path) -> list[str]:
    _truncate(path, scan(str(path)).spans[1].offset)
    return ["expected 2 records, found 1", path.name]


def cut_in_a_header(path: Path) -> list[str]:
    at = scan(str(path)).spans[1].offset
    _truncate(path, at + 5)
    return ["the file is cut inside the header", path.name, f"byte {at}"]


def cut_to_nothing(path: Path) -> list[str]:
    _truncate(path, 0)
    return ["expected 2 records, found 0", path.name]


def huge_length(path: Path) -> list[str]:
    """A length of 2^40 bytes, with a checksum that is right."""
    at = scan(str(path)).spans[1].offset
    length = struct.pack("<Q", 1 << 40)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(length + struct.pack("<I", masked_crc(length)))
    return ["the file is cut inside a record of 1099511627776 bytes", path.name, f"byte {at}"]


def one_too_many(path: Path) -> list[str]:
    with path.open("ab") as file:
        file.write(frame(b""))
    return ["expected 2 records, found 3", path.name]


def gone(path: Path) -> list[str]:
    path.unlink()
    return ["a shard is missing", path.name]


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("break_it", [cut_inside, cut_between, cut_in_a_header, cut_to_nothing, huge_length, one_too_many, gone])
def test_a_file_of_records_that_is_not_whole(own: Place, warm: Warm, break_it: Callable[[Path], list[str]]) -> None:
    words = break_it(own.shards[1])
    ended = warm(own.folder, *INLINE)
    ended.failed(3, *words)
    assert ended.rss_bytes < 400 << 20
    assert not own.out.exists()


def test_a_flipped_bit_in_a_length(own: Place, warm: Warm) -> None:
    """The record it announces is lost, the next is found again; nothing huge is allocated."""
    path = own.shards[1]
    flip(path, scan(str(path)).spans[0].offset + 6)
    ended = warm(own.folder, *INLINE, "--set", "max_bad=20%")
    ended.succeeded()
    assert ended.rss_bytes < 400 << 20
    manifest = read_manifest(own.out)
    assert [(lost.reason, lost.count) for lost in manifest.rejects["log"]] == [("bad_length", 1)]
    assert manifest.plan.sources[0].rows == (EPISODES - 1) * STEPS


def test_a_wrong_number_of_dimensions(own: Place, warm: Warm) -> None:
    base = pictures(4000, distinct=2)
    wrong: Any = episode(1, base)
    wrong["steps/action"] = wrong["steps/action"][:-1]
    shutil.rmtree(own.data / LOG)
    write_files(own.data / LOG, [[encode_example(episode(0, base)), encode_example(wrong)]])
    warm(own.folder, *INLINE).failed(4, "10 of 20 rows of source log are faulty", "10 ragged_episode")
    assert not own.out.exists()


def test_another_action_space(own: Place, warm: Warm) -> None:
    warm(own.folder, *INLINE, "--set", "robot.log.action_space=metaworld").failed(
        2, "robot.log.action_space: metaworld has 4 numbers, and the action 7"
    )


# Annotations


def without_annotations(web: Path) -> list[str]:
    (web / "annotations.json").unlink()
    return ["web.qa.annotations: there is no such file", "annotations.json"]


def without_pictures(web: Path) -> list[str]:
    shutil.rmtree(web / "images")
    return ["web.qa.image_dirs: there is no such folder", "images"]


@pytest.mark.parametrize("break_it", [without_annotations, without_pictures])
def test_a_corpus_that_is_not_there(own: Place, warm: Warm, break_it: Callable[[Path], list[str]]) -> None:
    words = break_it(own.data / WEB)
    warm(own.folder, *INLINE).failed(2, *words)


def cut_json(web: Path) -> list[str]:
    _truncate(web / "annotations.json", 5000)
    return ["the file is cut", "annotations.json: byte 5000"]


def cut_questions(web: Path) -> list[str]:
    _truncate(web / "questions.json", 5000)
    return ["the file is cut", "questions.json: byte 5000"]


def nan_in_json(web: Path) -> list[str]:
    text = (web / "questions.json").read_text()
    (web / "questions.json").write_text(text.replace('"image_id": 9', '"image_id": NaN', 1))
    return ["NaN", "questions.json: byte"]


def question_twice(web: Path) -> list[str]:
    tree = json.loads((web / "questions.json").read_text())
    tree["questions"].append(tree["questions"][3])
    (web / "questions.json").write_text(json.dumps(tree))
    return ["question_id 3 is given twice", "questions.json"]


def too_deep(web: Path) -> list[str]:
    deep = '{"question_id": 1, "image_id": 1, "question": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (web / "questions.json").write_text('{"questions": [' + deep + "]}")
    return ["nested too deeply", "questions.json: byte"]


@pytest.mark.parametrize("break_it", [cut_json, cut_questions, nan_in_json, question_twice, too_deep])
def test_annotations_that_cannot_be_trusted(own: Place, warm: Warm, break_it: Callable[[Path], list[str]]) -> None:
    words = break_it(own.data / WEB)
    warm(own.folder, *INLINE).failed(3, *words)
    assert not own.out.exists()


def test_a_question_of_100_megabytes(own: Place, warm: Warm) -> None:
    path = own.data / WEB / "questions.json"
    usual = warm(own.folder, *INLINE, "--out", "usual").rss_bytes
    text = path.read_text()
    path.write_text(text.replace("How many things of kind 9 ", "How many " + "things " * 15_000_000, 1))
    ended = warm(own.folder, *INLINE)
    ended.succeeded()
    assert ended.rss_bytes - usual < 300 << 20
    assert Counter({lost.reason: lost.count for lost in read_manifest(own.out).rejects["qa"]})["too_long_text"] == 1


# Sides


@pytest.mark.parametrize(
    ("setting", "side"),
    [
        ("robot.log.filters.instruction=no such words", "robot"),
        pytest.param("robot.log.filters.min_steps=1000", "robot", marks=pytest.mark.slow),
    ],
)
def test_an_empty_side(place: Place, warm: Warm, setting: str, side: str) -> None:
    warm(place.folder, *INLINE, "--set", setting).failed(3, f"the {side} side", "without rows")
    assert not place.out.exists()


# The prepared store


@pytest.mark.slow
def test_a_damaged_store(prepared: Place, built: Place, warm: Warm) -> None:
    """A flipped bit in rows is noticed before a shard is made of it; a list of files that is cut is made anew."""
    rows, files = (next((prepared.folder / "store").glob(f"log-*/{name}.parquet")) for name in ("rows-train-00000", "files"))
    _truncate(files, files.stat().st_size // 2)
    flip(rows, rows.stat().st_size // 3)
    warm(prepared.folder, *INLINE).succeeded()  # prepared anew, as the files cannot be compared
    assert prepared.bytes_built == built.bytes_built
    shutil.rmtree(prepared.out)
    flip(rows, rows.stat().st_size // 3)
    warm(prepared.folder, *INLINE).failed(3, "damaged", rows.name, "build again")
    assert not prepared.out.exists()
    shutil.rmtree(rows.parent)
    warm(prepared.folder, *INLINE).succeeded()
    assert prepared.bytes_built == built.bytes_built
