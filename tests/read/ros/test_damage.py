"""Logs that were cut, flipped or made to attack: whole chunks are read, the rest is counted, and nothing else is raised."""

from __future__ import annotations

import bz2
import random
import shutil
import sqlite3
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from rt2data.errors import DataError, RtError, UsageError
from rt2data.images.headers import ImageFault
from rt2data.io.inflate import InflateError, inflate
from rt2data.read.ros.recordings import open_container
from rt2data.records import Step
from tests.read.ros.test_episodes import actions, read, rejects, skewed, steps_of
from tests.read.ros.writing import START, Robot, Sent, floats, text, write, write_mcap

pytestmark = pytest.mark.long

LOGS: dict[str, Callable[[Path], Path]] = {
    **{
        f"mcap {packed} {size}": lambda path, packed=packed, size=size: write_mcap(
            path / "x.mcap", Robot(steps=30).sent(), packed, size
        )
        for packed, size in (("", 4000), ("zstd", 4000), ("lz4", 4000))
    },
    "mcap without chunks": lambda path: write_mcap(path / "x.mcap", Robot(steps=30).sent(), "", use_chunking=False),
    "bag": lambda path: write(path / "x.bag", Robot(steps=30).sent(1), "bag"),
    "bag lz4": lambda path: write(path / "x.bag", Robot(steps=30).sent(1), "bag", "lz4"),
    "db3": lambda path: write(path / "x", Robot(steps=30).sent(), "db3") / "x.db3",
}  # type: ignore[misc]


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return LOGS[request.param](tmp_path)


def fully(path: Path) -> tuple[list[Step], dict[str, int]]:
    """Steps and rejects, with every image made."""
    found = read(path, cameras="all")
    for step in steps_of(found):
        for image in step.images:
            with suppress(ImageFault):
                image.content()
    return steps_of(found), rejects(found)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.8, 0.95, 0.99, 0.9999])
def test_a_log_cut_anywhere(log: Path, share: float) -> None:
    """What is there is a beginning of what was; what is not is counted; without a whole chunk it is refused."""
    whole, _ = fully(log)
    content = log.read_bytes()
    log.write_bytes(content[: int(len(content) * share)])
    try:
        found, lost = fully(log)
    except DataError as error:
        assert str(log) in error.where and (share < 0.5 or log.suffix == ".db3" or b"#ROSBAG" in content[:10])
        return
    assert found or lost
    assert len(found) <= len(whole) and all(
        mine.action.tolist() == other.action.tolist() for mine, other in zip(found, whole, strict=False)
    )
    if len(found) < len(whole):
        assert {"truncated_log", "damaged_chunk"} & lost.keys(), lost


def test_most_of_a_cut_log_is_read(tmp_path: Path) -> None:
    for number, (packed, steps) in enumerate((("", 27), ("zstd", 27), ("lz4", 27))):
        path = write_mcap(tmp_path / f"{number}.mcap", Robot(steps=30).sent(), packed, 2000)
        index = path.read_bytes().rindex(b"\x0f" + struct.pack("<Q", 4))  # the end of the data
        path.write_bytes(path.read_bytes()[: index - 3000])
        found, lost = fully(path)
        assert steps <= len(found) < 30 and lost["truncated_log"] >= 1


def test_a_bag_whose_recorder_died(tmp_path: Path) -> None:
    """Its header has no place of an index, and there is none."""
    path = write(tmp_path / "x.bag", Robot(steps=5).sent(1), "bag")
    whole, _ = fully(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"index_pos=") + len("index_pos=")
    (index,) = struct.unpack_from("<Q", content, at)
    content[at : at + 8] = bytes(8)
    active = tmp_path / "y.bag.active"
    active.write_bytes(content[:index])
    path.unlink()
    found, lost = fully(tmp_path)
    assert [step.action.tolist() for step in found] == [step.action.tolist() for step in whole]
    assert found[0].episode == "y-bag-active" and lost == {"truncated_log": 1}


def test_a_damaged_chunk_is_passed_over(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed(steps=40), "zstd", 8000)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x40
    path.write_bytes(content)
    found = read(path)
    assert rejects(found)["damaged_chunk"] >= 1
    assert 20 < len(steps_of(found)) < 40
    assert all(step.step == int(step.action[0]) for step in steps_of(found))  # steps keep their numbers over the gap


def test_what_the_index_counts_is_missed(tmp_path: Path) -> None:
    """A chunk that was taken out whole."""
    path = write_mcap(tmp_path / "x.mcap", skewed(steps=40), "", 8000)
    content = path.read_bytes()
    with open_container(str(path)) as file:
        chunks = [record for record in file._records(8, file.size) if record.op == 6]  # type: ignore[attr-defined]
    start, end = chunks[2].at - 9, chunks[3].at - 9
    path.write_bytes(content[:start] + b"\x80" + struct.pack("<Q", end - start - 9) + bytes(end - start - 9) + content[end:])
    assert rejects(read(path))["missing_messages"] > 0


@pytest.mark.slow
def test_flipped_bits_raise_nothing_else(log: Path) -> None:
    content, chance = log.read_bytes(), random.Random(str(log.name))
    for _ in range(60):
        broken = bytearray(content)
        for _ in range(chance.choice((1, 1, 5))):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        log.write_bytes(broken)
        with suppress(RtError):
            fully(log)


def test_flipped_heads_raise_nothing_else(log: Path) -> None:
    """Of the first bytes, where lengths are."""
    content, chance = log.read_bytes(), random.Random(3)
    for _ in range(12):
        broken = bytearray(content)
        broken[chance.randrange(600)] = chance.choice((0, 255, 127))
        log.write_bytes(broken)
        with suppress(RtError):
            fully(log)


# Lengths that attack


def mcap_of(*records: tuple[int, bytes, int | None]) -> bytes:
    """Opcode, content, and the length that it claims to have."""
    parts = [bytes([op]) + struct.pack("<Q", len(data) if length is None else length) + data for op, data, length in records]
    return b"\x89MCAP0\r\n" + b"".join(parts)


def chunk_of(size: int, codec: bytes, packed: bytes) -> bytes:
    head = struct.pack("<QQQII", 0, 0, size, 0, len(codec)) + codec
    return head + struct.pack("<Q", len(packed)) + packed


BOMBS = {
    "length of a record": mcap_of((6, b"x" * 100, 2**62)),
    "size of a chunk": mcap_of((6, chunk_of(2**50, b"zstd", zstandard.compress(b"x")), None)),
    "more than it says": mcap_of((6, chunk_of(100, b"zstd", zstandard.compress(bytes(200 << 20))), None)),
    "bomb of lz4": mcap_of((6, chunk_of(100, b"lz4", lz4.frame.compress(bytes(100 << 20))), None)),
    "name of a codec": mcap_of((6, struct.pack("<QQQII", 0, 0, 1, 0, 2**31) + b"x" * 200, None)),
    "unknown codec": mcap_of((6, chunk_of(10, b"rar", b"x" * 10), None)),
    "record in a chunk": mcap_of((6, chunk_of(20, b"", b"\x05" + struct.pack("<Q", 2**60) + bytes(11)), None)),
    "schema": mcap_of((6, chunk_of(29, b"", b"\x03" + struct.pack("<Q", 20) + b"\1\0\xff\xff\xff\x7f" + bytes(14)), None)),
    "channel": mcap_of((6, chunk_of(29, b"", b"\x04" + struct.pack("<Q", 20) + b"\1\0\1\0\xff\xff\xff\x7f" + bytes(12)), None)),
    "bag header": b"#ROSBAG V2.0\n" + struct.pack("<I", 2**31) + b"x" * 64,
    "bag data": b"#ROSBAG V2.0\n" + struct.pack("<I", 8) + struct.pack("<I", 4) + b"op=\x05" + struct.pack("<I", 2**31) + b"x" * 64,
}


@pytest.mark.parametrize("what", BOMBS)
def test_lengths_that_attack(what: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.bag" if what.startswith("bag") else "x.mcap")
    path.write_bytes(BOMBS[what])
    tracemalloc.start()
    with pytest.raises(DataError):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_blocks_that_are_not_what_they_say() -> None:
    for codec, pack in (("bz2", bz2.compress), ("lz4", lz4.frame.compress), ("zstd", zstandard.compress)):
        data = random.Random(0).randbytes(200_000)
        packed = pack(data)
        assert inflate(codec, packed, len(data)) == data
        for broken in (packed[:-9], packed[:9], b"", b"x" * 50):
            with pytest.raises(InflateError):
                inflate(codec, broken, len(data))
        for size in (len(data) - 1, len(data) + 1, 2**40):
            with pytest.raises(InflateError):
                inflate(codec, packed, size)


# Databases and folders


def test_a_database_of_something_else(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "x.db3")
    with database:
        database.execute("CREATE TABLE notes (x)")
    database.close()
    with pytest.raises(DataError, match="no recording of rosbag2"):
        read(tmp_path / "x.db3")


def test_views_of_a_database_are_not_asked(tmp_path: Path) -> None:
    """A view may count for ever."""
    database = sqlite3.connect(tmp_path / "x.db3")
    with database:
        database.execute("CREATE TABLE topics (id, name, type, serialization_format)")
        database.execute(
            "CREATE VIEW messages AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id FROM c"
        )
    database.close()
    with pytest.raises(DataError, match="no tables of topics and messages"):
        read(tmp_path / "x.db3")


def test_a_journal_that_was_not_merged(tmp_path: Path) -> None:
    path = write(tmp_path / "x", Robot().sent(), "db3")
    (path / "x.db3-wal").write_bytes(b"x" * 100)
    found = read(path)
    assert len(steps_of(found)) == 6 and rejects(found) == {"unmerged_journal": 1}
    assert sorted(each.name for each in path.iterdir()) == ["metadata.yaml", "x.db3", "x.db3-wal"]


def test_files_that_metadata_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x", Robot().sent(), "mcap")
    said = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(said.replace("  - x.mcap", "  - x.mcap\n  - ../../x_1.mcap"))
    with pytest.raises(DataError, match="a file of the recording is missing") as caught:
        read(tmp_path)
    assert caught.value.where == str(path / "x_1.mcap")  # never outside of the folder
    (path / "metadata.yaml").write_text("rosbag2_bagfile_information: [1\n")
    with pytest.raises(DataError, match="does not say which files"):
        read(path)
    (path / "metadata.yaml").write_text(said.replace("  - x.mcap", "  - x.mcap.zstd"))
    with pytest.raises(UsageError, match="compressed"):
        read(path)


def test_logs_that_are_packed_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "x", Robot().sent(), "mcap")
    shutil.move(tmp_path / "x" / "x.mcap", tmp_path / "x" / "x.mcap.zstd")
    with pytest.raises(UsageError, match="compressed as a whole") as caught:
        read(tmp_path)
    assert "zstd -d" in caught.value.do


def test_files_of_another_kind_or_empty(tmp_path: Path) -> None:
    for content in (b"", b"x" * 100, b"#ROSBAG V1.2\n" + b"x" * 90):
        (tmp_path / "x.bag").write_bytes(content)
        with pytest.raises(DataError):
            read(tmp_path)
    (tmp_path / "x.bag").unlink()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"no \.mcap, \.bag or \.db3"):
        read(tmp_path)


def test_one_bad_message_costs_one_message(tmp_path: Path) -> None:
    sent = [*skewed(), Sent("/note", START, "std_msgs/msg/String", text("x"))]
    bad = Sent("/action", START + 330 * 10**6, "std_msgs/msg/Float64MultiArray", floats([9.0]))
    path = write_mcap(tmp_path / "x.mcap", [*sent, bad], "", enable_crcs=False)
    content = path.read_bytes()
    data = struct.pack("<II", 0, 1) + bytes(4) + struct.pack("<d", 9.0)
    assert data[12:] in content
    at = content.index(struct.pack("<d", 9.0)) - 8
    path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    found = read(path)
    assert rejects(found) == {"damaged_message": 1}
    assert len(actions(found)) == 6
