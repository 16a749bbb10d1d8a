"""One contract that every output format of the table passes: what is placed is read back, and no damage passes for whole."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from rt2data.errors import DataError, OutputError
from rt2data.formats import chunks
from rt2data.formats.base import FORMATS, Format, Sizes, make_format
from rt2data.io.digest import Digest
from rt2data.io.location import path_of, whole_file
from rt2data.io.location.whole import OutputFile
from rt2data.render.fields import FIELDS, ExampleRecord
from rt2data.render.record import decode_record
from tests.laws import tries
from tests.objects.here import FAILING, used_here
from tests.objects.stand_in import StandIn, stand_in

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
KEY_CHARS = 90
WIDTH, HORIZON, PLACES = 7, 2, 3
SINGLE, SEVERAL = Sizes(WIDTH, HORIZON), Sizes(WIDTH, HORIZON, PLACES)
quick = tries(30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Placed:
    """An example as it is handed to a writer."""

    key: str
    images: tuple[tuple[int, str, bytes], ...] = field(repr=False)  # place, extension, bytes
    record: bytes = field(repr=False)

    @property
    def lengths(self) -> list[int]:
        return [len(image) for _, _, image in self.images]


def one(key: str, extension: str, image: bytes, record: bytes) -> Placed:
    """An example of one image."""
    return Placed(key, ((0, extension, image),), record)


def content(size: int) -> bytes:
    """Bytes that no compression and no zero would hide."""
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()


def web_record(key: str, **values: Any) -> bytes:
    """The record of an answer."""
    common: dict[str, Any] = {
        "key": key,
        "kind": "web",
        "source": "qa",
        "split": "train",
        "group": "p1",
        "epoch": 0,
        "text": "what?",
    }
    common |= {"answers": ["a"], "prompt": "Q: what? A:", "target": "a", "input_ids": [81, 300, 70_000], "loss_mask": [0, 0, 1]}
    common |= {"image_names": ["image_0"], "image_offsets": [0], "image_mask": [True], "loss_weight": 1.0}
    common |= {"messages": [{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": "a"}]}
    return msgspec.json.encode(msgspec.convert({**dict.fromkeys(ROBOTS_OWN), **common, **values}, ExampleRecord))


def robot_record(key: str, **values: Any) -> bytes:
    """The record of an action."""
    action = [float(np.float32(n / 7)) for n in range(WIDTH)]
    own = {
        "kind": "robot",
        "episode": "e1",
        "episode_length": 9,
        "timestamp": 1_700_000_000.125,
        "step": 3,
        "camera": "front",
        "action": action,
        "actions": [action] * HORIZON,
        "action_is_pad": [False, True],
        "action_mask": [True] * WIDTH,
        "action_bins": [1, 255],
    }
    own |= {"terminate": False, "state": action[:2], "action_space": "arm", "codec": "rt2/1", "answers": []}
    return web_record(key, **(own | values))


ROBOTS_OWN = tuple(field.name for field in FIELDS if field.nullable)
sizes = st.one_of(st.integers(0, 40_000), st.integers(0, 95).map(lambda blocks: 512 * blocks), st.integers(0, 3))
texts = st.text(max_size=30)
ids = st.lists(st.integers(0, 2**31 - 1), max_size=12)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats, min_size=WIDTH, max_size=WIDTH)
said: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "prompt": texts,
    "target": texts,
    "input_ids": ids,
    "loss_mask": st.lists(st.integers(0, 1), max_size=12),
}
said |= {"group": texts, "epoch": st.integers(0, 2**60), "answers": st.lists(texts, max_size=4)}
done: dict[str, st.SearchStrategy[Any]] = {
    "action": vectors,
    "action_mask": st.lists(st.booleans(), min_size=WIDTH, max_size=WIDTH),
    "terminate": st.booleans(),
}
done |= {
    "action_bins": st.lists(st.integers(0, 255), max_size=9),
    "step": st.integers(0, 2**31 - 1),
    "episode": texts,
    "camera": texts,
}
done |= {
    "actions": st.lists(vectors, min_size=HORIZON, max_size=HORIZON),
    "action_is_pad": st.lists(st.booleans(), min_size=HORIZON, max_size=HORIZON),
    "timestamp": st.none() | st.floats(0, 2e9),
    "episode_length": st.integers(1, 2**31),
    "loss_weight": floats,
}
said |= {
    "messages": st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}), max_size=3
    ),
    "image_offsets": st.lists(st.integers(-9, 0), max_size=3),
    "image_mask": st.lists(st.booleans(), max_size=3),
    "image_names": st.lists(texts, max_size=3),
}
done |= {"state": st.none() | st.lists(floats, min_size=1, max_size=9)}


def records(key: str) -> st.SearchStrategy[bytes]:
    web = st.fixed_dictionaries(said).map(lambda values: web_record(key, **values))
    return web | st.fixed_dictionaries(said | done).map(lambda values: robot_record(key, **values))


Shard = tuple[Sizes, tuple[Placed, ...]]
extensions = st.sampled_from(["jpg", "png"])
contents = sizes.map(content)


def placed(name: str, asked: Sizes) -> st.SearchStrategy[Placed]:
    if asked is SINGLE:
        return st.builds(one, st.just(name), extensions, contents, records(name))
    places = st.sets(st.integers(0, PLACES - 1)).map(sorted)
    images = places.flatmap(lambda slots: st.tuples(*(st.tuples(st.just(slot), extensions, contents) for slot in slots)))
    return st.builds(Placed, st.just(name), images, records(name))


def examples_named(names: list[str]) -> st.SearchStrategy[Shard]:
    """Examples that all have one image, or examples of up to three, in places of their own."""
    layouts = [st.tuples(st.just(size), st.tuples(*(placed(name, size) for name in names))) for size in (SINGLE, SEVERAL)]
    return st.one_of(layouts)


shards = st.lists(st.text(LETTERS, min_size=1, max_size=KEY_CHARS), min_size=1, max_size=6, unique=True).flatmap(examples_named)
FEW = (one("a", "jpg", content(700), robot_record("a")), one("b-0_1", "png", content(512), web_record("b-0_1")))
some = (
    Placed("a", ((0, "jpg", content(700)), (2, "png", content(512))), robot_record("a")),
    Placed("b-0_1", (), web_record("b-0_1")),
    Placed("c", ((1, "jpg", content(3)),), web_record("c")),
)
"""Two images, none, and one."""
PLAIN = {"tar"}
"""Extensions of formats that hold pictures and records as they are, checked by the manifest's hash alone."""
BLOCKS = {"array_record": 3 * 65_536}
"""Bytes that a format adds to fill whole blocks."""
OPEN = {"mds"}
"""Extensions of formats that hold the values of records as they are, checked by the manifest's hash alone."""
SLACK = {"parquet", "array_record"}
"""Of formats with bits that mean nothing to a reader, or that only the manifest's hash checks: none may change what is read."""
ENDLESS = {"tfrecord"}
"""Of formats without an end mark: a file cut between two records is known by the number of examples alone."""


@pytest.fixture(params=list(FORMATS))
def form(request: pytest.FixtureRequest) -> Format:
    return make_format(request.param)


def lay(form: Format, file: FileIO, examples: tuple[Placed, ...], asked: Sizes = SINGLE) -> Digest:
    """Write all examples; images come after their memory, as they are read from a file."""
    writer = form.open(file, asked)
    for each in examples:
        (record,) = writer.encode([decode_record(each.record)])
        bodies = writer.add(each.key, [(slot, kind, len(image)) for slot, kind, image in each.images], record)
        assert [len(body) for body in bodies] == each.lengths
        for body, (_, _, image) in zip(bodies, each.images, strict=True):
            body[:] = image
    return writer.close()


_number = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


def write(form: Format, folder: Path, examples: tuple[Placed, ...], asked: Sizes = SINGLE) -> tuple[Path, int, str]:
    """A new shard: its path, and the size and hash that its writer gave."""
    path = folder / f"{next(_number)}.{form.extension}"
    with FileIO(path, "wb") as file:
        seen = lay(form, file, examples, asked)
    return path, seen.bytes, seen.xxh3_128


def read(form: Format, path: Path) -> list[Placed]:
    found = list(form.read(path))
    assert {part.format for member in found for part in (*(image.data for image in member.images), member.record)} <= {"B"}
    return [Placed(m.key, tuple((i.slot, i.extension, bytes(i.data)) for i in m.images), bytes(m.record)) for m in found]


@pytest.fixture(params=[chunks.CHUNK, chunks.BLOCK], ids=["chunk", "small-chunk"])
def any_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The buffers that a writer fills: theirs, and ones that every record turns over."""
    monkeypatch.setattr(chunks.ChunkWriter.__init__, "__defaults__", (request.param,))
    return int(request.param)


@quick
@given(examples=shards)
def test_what_is_placed_is_read_back(form: Format, folder: Path, any_chunk: int, examples: Shard) -> None:
    path, size, digest = write(form, folder, examples[1], examples[0])
    written = path.read_bytes()
    assert read(form, path) == list(examples[1])
    assert size == len(written)
    assert digest == xxhash.xxh3_128_hexdigest(written)
    path.unlink()


@quick
@given(examples=shards)
def test_the_same_examples_give_the_same_bytes(
    form: Format, folder: Path, examples: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the buffers, and whether or not the system's cache is passed over."""
    found = []
    for chunk, direct in ((chunks.CHUNK, False), (chunks.BLOCK, False), (5 * chunks.BLOCK, True)):
        monkeypatch.setattr(chunks.ChunkWriter.__init__, "__defaults__", (chunk,))
        path = folder / f"same.{form.extension}"
        with whole_file(path, direct=direct) as file:
            lay(form, file, examples[1], examples[0])
        found.append(path.read_bytes())
    assert found[0] == found[1] == found[2]


@pytest.fixture(scope="module")
def objects() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_objects_hold_the_same_bytes(form: Format, folder: Path, objects: StandIn, scheme: str) -> None:
    """Whatever fails on the way. A cut one is noticed as a cut file is."""
    near, _, _ = write(form, folder, some, SEVERAL)
    far = path_of(f"{scheme}://bucket/{near.name}")
    with used_here(objects.env(scheme)), objects.faults(**FAILING, seed=3):
        with whole_file(far, direct=True) as file:
            lay(form, file, some, SEVERAL)
        assert objects.get(near.name) == near.read_bytes()
        assert read(form, far) == list(some)
        objects.put(near.name, near.read_bytes()[:-600])
        found = unharmed(form, far)
        assert found is None or (form.extension in ENDLESS and found == list(some[: len(found)]))


WITH_MORE = Sizes(WIDTH, HORIZON, more=("notes", "original", "regions"))
thirds = [float(np.float32(n / 3)) for n in range(4)]
regions = st.lists(
    st.fixed_dictionaries(
        {"image": st.integers(0, 3)} | {at: st.sampled_from(thirds) for at in ("x0", "y0", "x1", "y1")} | {"label": texts}
    ),
    max_size=3,
)


@quick
@given(boxes=regions, points=regions)
def test_regions_are_read_back(form: Format, folder: Path, boxes: list[dict[str, Any]], points: list[dict[str, Any]]) -> None:
    """Beside notes, and where an example has none; a mixture without regions has no field of them."""
    noted = {"notes": [{"name": "plan", "text": "go"}], "original": "go there"}
    examples = (
        one("a", "jpg", content(700), robot_record("a", regions=boxes or None, **noted)),
        one("b", "png", content(512), web_record("b", regions=points or None)),
        one("c", "png", content(9), web_record("c")),
    )
    path, _, _ = write(form, folder, examples, WITH_MORE)
    assert read(form, path) == list(examples)
    assert b"regions" not in write(form, folder, FEW)[0].read_bytes()
    path.unlink()


def test_records_larger_than_the_buffer(form: Format, folder: Path) -> None:
    large = chunks.CHUNK + 12_345
    picture = one("picture", "jpg", content(large), web_record("picture"))
    record = one("record", "png", b"", web_record("record", text=content(large).hex()))
    examples = (FEW[0], picture, record, FEW[1])
    path, size, digest = write(form, folder, examples)
    assert read(form, path) == list(examples)
    assert (size, digest) == (path.stat().st_size, xxhash.xxh3_128_hexdigest(path.read_bytes()))


@quick
@given(examples=shards)
def test_the_estimate_of_an_example_is_near(form: Format, folder: Path, examples: Shard) -> None:
    path, size, _ = write(form, folder, examples[1], examples[0])
    asked = sum(form.example_bytes(each.lengths, len(each.record)) for each in examples[1])
    spare = 0 if form.extension in PLAIN else sum(len(each.record) + 500 for each in examples[1])
    assert -spare <= size - asked <= 16_384 + spare + BLOCKS.get(form.extension, 0)
    path.unlink()


def test_shards_are_named_in_order(form: Format) -> None:
    for total in (1_000, 1_000_000):
        names = [form.shard_name(index, total, "train") for index in (0, 9, 10, total - 1)]
        assert names == sorted(set(names))
    assert all(form.extension in name for name in names)


def unharmed(form: Format, path: Path) -> list[Placed] | None:
    """What a damaged shard still gives; None where the damage is noticed, with its place."""
    try:
        return read(form, path)
    except DataError as error:
        assert path.name in error.where
        return None


def test_a_cut_anywhere_is_noticed(form: Format, folder: Path) -> None:
    for asked, examples in ((SINGLE, FEW), (SEVERAL, some), (SINGLE, _ending_just_before_a_block_of_twenty())):
        path, size, _ = write(form, folder, examples, asked)
        whole = path.read_bytes()
        for cut in {*range(0, size, 509), *range(0, size, 512), *range(0, size, 10_240), *range(size - 9, size)}:
            path.write_bytes(whole[:cut])
            found = unharmed(form, path)
            if found is not None and form.extension in ENDLESS:
                assert found == list(examples[: len(found)]) and len(found) < len(examples)
            else:
                assert found is None, f"cut to {cut} of {size} bytes"


def test_a_shard_of_nothing(form: Format, folder: Path) -> None:
    path, size, _ = write(form, folder, ())
    if form.extension in ENDLESS:
        assert size == 0
        return
    whole = path.read_bytes()
    assert read(form, path) == []
    for cut in range(0, size, 509):
        path.write_bytes(whole[:cut])
        assert unharmed(form, path) is None


def _ending_just_before_a_block_of_twenty() -> tuple[Placed, ...]:
    """So that the first of two empty blocks at the end of a tar fills a whole record of the tape."""
    return (one("a", "jpg", content(20 * 512 - 6 * 512), web_record("a", text="")),)


@quick
@given(examples=shards, byte=st.sampled_from([b"\0", b"x"]), count=st.sampled_from([1, 512, 10_240]))
def test_what_is_added_is_noticed(form: Format, folder: Path, examples: Shard, byte: bytes, count: int) -> None:
    path, _, _ = write(form, folder, examples[1], examples[0])
    with path.open("ab") as file:
        file.write(byte * count)
    assert unharmed(form, path) is None
    path.unlink()


def some_flips(form: Format, whole: bytearray) -> Iterator[tuple[int, int]]:
    """Bits to flip: many of every byte, but fewer where reading takes long, and none of what only fills blocks."""
    if form.extension not in SLACK:
        return flips(range(len(whole)))
    return itertools.islice(flips(at for at, value in enumerate(whole) if value), 0, None, 31)


def flips(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    for offset in offsets:
        for bit in (1, 0x20, 0x80) if offset % 7 else range(1, 256, 17):
            yield offset, bit


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["single", "several"])
def test_a_flipped_bit_changes_nothing_but_an_image_or_a_record(form: Format, folder: Path, layout: str) -> None:
    """What frames the examples is checked bit by bit; their bytes are the manifest's hash to check."""
    asked, few = (SINGLE, FEW) if layout == "single" else (SEVERAL, some)
    path, _, _ = write(form, folder, few, asked)
    whole = bytearray(path.read_bytes())
    parts = [part for each in few for part in (*(image for _, _, image in each.images), each.record)]
    assert form.extension not in PLAIN or all(part in whole for part in parts)
    spans = [(whole.index(part), len(part)) for part in parts if part in whole]
    free = {at for start, length in spans for at in range(start, start + length)}
    if form.extension in OPEN:
        free = set(range(int.from_bytes(whole[4:8], "little"), len(whole)))  # behind the offsets, of which this is the first
    with FileIO(path, "r+") as file:
        for offset, mask in some_flips(form, whole):
            _poke(file, offset, whole[offset] ^ mask)
            found = unharmed(form, path)
            _poke(file, offset, whole[offset])
            if offset not in free:
                unchanged = form.extension in SLACK and found == list(few)
                assert found is None or unchanged, f"byte {offset} ^ {mask}"
            elif form.extension in OPEN:
                assert found is None or len(found) == len(few)
            elif form.extension in PLAIN or found is not None:
                assert found is not None
                assert [(e.key, e.lengths, len(e.record)) for e in found] == [(e.key, e.lengths, len(e.record)) for e in few]
    assert read(form, path) == list(few)


def _poke(file: FileIO, offset: int, value: int) -> None:
    file.seek(offset)
    file.write(bytes([value]))


def test_no_shard_at_all(form: Format, folder: Path) -> None:
    for other in (b"", b"x", bytes(512), b"PK\3\4" + bytes(20_000), b"<html>" * 5000):
        path = folder / f"other.{form.extension}"
        path.write_bytes(other)
        assert unharmed(form, path) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_named(form: Format) -> None:
    """When a chunk is written, or at the end."""
    for count in (1, 40):
        path = Path("/dev/full")
        with OutputFile(os.open(path, os.O_WRONLY), path) as full, pytest.raises(OutputError, match="No space left"):
            lay(form, full, tuple(one(f"k{n}", "jpg", content(1 << 20), web_record(f"k{n}")) for n in range(count)))
