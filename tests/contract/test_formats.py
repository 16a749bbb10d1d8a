"""One contract that every output format of the table passes: what is placed is read back, and no damage passes for whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.formats import chunks
from rt2data.formats.base import FORMATS, Format, make_format
from rt2data.publish import whole_file

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
KEY_CHARS = 90
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Placed:
    """An example as it is handed to a writer."""

    key: str
    extension: str
    image: bytes = field(repr=False)
    record: bytes = field(repr=False)


def content(size: int) -> bytes:
    """Bytes that no compression and no zero would hide."""
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()


sizes = st.one_of(st.integers(0, 100_000), st.integers(0, 195).map(lambda blocks: 512 * blocks), st.integers(0, 3))
keys = st.lists(st.text(LETTERS, min_size=1, max_size=KEY_CHARS), max_size=6, unique=True)
shards = keys.flatmap(
    lambda names: st.tuples(
        *(
            st.builds(Placed, st.just(name), st.sampled_from(["jpg", "png"]), sizes.map(content), sizes.map(content))
            for name in names
        )
    )
)
few = (Placed("a", "jpg", content(700), content(90)), Placed("b-0_1", "png", content(512), content(31)))


@pytest.fixture(params=list(FORMATS))
def form(request: pytest.FixtureRequest) -> Format:
    return make_format(request.param)


def lay(form: Format, file: FileIO, examples: tuple[Placed, ...]) -> tuple[int, str]:
    """Write all examples; the picture comes after its room, as it is read from a file."""
    writer = form.open(file)
    for each in examples:
        room = writer.place(each.key, each.extension, len(each.image), each.record)
        assert len(room) == len(each.image)
        room[:] = each.image
    return writer.close()


_number = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


def write(form: Format, folder: Path, examples: tuple[Placed, ...]) -> tuple[Path, int, str]:
    """A new shard: its path, and the size and hash that its writer gave."""
    path = folder / f"{next(_number)}.{form.extension}"
    with FileIO(path, "wb") as file:
        size, digest = lay(form, file, examples)
    return path, size, digest


def read(form: Format, path: Path) -> list[Placed]:
    return [Placed(m.key, m.extension, bytes(m.image), bytes(m.record)) for m in form.read(path)]


@pytest.fixture(params=[chunks.CHUNK, chunks.BLOCK], ids=["chunk", "small-chunk"])
def any_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The buffers that a writer fills: theirs, and ones that every record turns over."""
    monkeypatch.setattr(chunks.ChunkWriter.__init__, "__defaults__", (request.param,))
    return int(request.param)


@quick
@given(examples=shards)
@example(examples=())
def test_what_is_placed_is_read_back(form: Format, folder: Path, any_chunk: int, examples: tuple[Placed, ...]) -> None:
    path, size, digest = write(form, folder, examples)
    written = path.read_bytes()
    assert read(form, path) == list(examples)
    assert size == len(written)
    assert digest == xxhash.xxh3_128_hexdigest(written)
    path.unlink()


@quick
@given(examples=shards)
def test_the_same_examples_give_the_same_bytes(
    form: Format, folder: Path, examples: tuple[Placed, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the buffers, and whether or not the system's cache is passed over."""
    found = []
    for chunk, direct in ((chunks.CHUNK, False), (chunks.BLOCK, False), (5 * chunks.BLOCK, True)):
        monkeypatch.setattr(chunks.ChunkWriter.__init__, "__defaults__", (chunk,))
        path = folder / f"same.{form.extension}"
        with whole_file(path, direct=direct) as file:
            lay(form, file, examples)
        found.append(path.read_bytes())
    assert found[0] == found[1] == found[2]


def test_records_larger_than_the_buffer(form: Format, folder: Path) -> None:
    large = chunks.CHUNK + 12_345
    examples = (few[0], Placed("picture", "jpg", content(large), b"{}"), Placed("record", "png", b"", content(2 * large)), few[1])
    path, size, digest = write(form, folder, examples)
    assert read(form, path) == list(examples)
    assert (size, digest) == (path.stat().st_size, xxhash.xxh3_128_hexdigest(path.read_bytes()))


@quick
@given(examples=shards)
def test_the_estimate_of_an_example_is_near(form: Format, folder: Path, examples: tuple[Placed, ...]) -> None:
    path, size, _ = write(form, folder, examples)
    asked = sum(form.example_bytes(len(each.image), len(each.record)) for each in examples)
    assert 0 <= size - asked <= 16_384
    path.unlink()


def test_shards_are_named_in_order(form: Format) -> None:
    names = [form.shard_name(index) for index in (0, 9, 10, 999_999)]
    assert names == sorted(set(names))
    assert all(name.endswith("." + form.extension) for name in names)


def unharmed(form: Format, path: Path) -> list[Placed] | None:
    """What a damaged shard still gives; None where the damage is noticed, with its place."""
    try:
        return read(form, path)
    except DataError as error:
        assert path.name in error.where
        return None


def test_a_cut_anywhere_is_noticed(form: Format, folder: Path) -> None:
    for examples in ((), few, _ending_just_before_a_block_of_twenty()):
        path, size, _ = write(form, folder, examples)
        whole = path.read_bytes()
        for cut in {*range(0, size, 509), *range(0, size, 512), *range(0, size, 10_240), *range(size - 9, size)}:
            path.write_bytes(whole[:cut])
            assert unharmed(form, path) is None, f"cut to {cut} of {size} bytes"


def _ending_just_before_a_block_of_twenty() -> tuple[Placed, ...]:
    """So that the first of two empty blocks at the end of a tar fills a whole record of the tape."""
    return (Placed("a", "jpg", content(20 * 512 - 4 * 512), content(3)),)


@quick
@given(examples=shards, byte=st.sampled_from([b"\0", b"x"]), count=st.sampled_from([1, 512, 10_240]))
def test_what_is_added_is_noticed(form: Format, folder: Path, examples: tuple[Placed, ...], byte: bytes, count: int) -> None:
    path, _, _ = write(form, folder, examples)
    with path.open("ab") as file:
        file.write(byte * count)
    assert unharmed(form, path) is None
    path.unlink()


def flips(size: int) -> Iterator[tuple[int, int]]:
    for offset in range(size):
        for bit in (1, 0x20, 0x80) if offset % 7 else range(1, 256, 17):
            yield offset, bit


def test_a_flipped_bit_changes_nothing_but_a_picture_or_a_record(form: Format, folder: Path) -> None:
    """What frames the examples is checked bit by bit; their bytes are the manifest's hash to check."""
    path, size, _ = write(form, folder, few)
    whole = bytearray(path.read_bytes())
    spans = [(whole.index(part), len(part)) for each in few for part in (each.image, each.record)]
    free = {at for start, length in spans for at in range(start, start + length)}
    with FileIO(path, "r+") as file:
        for offset, mask in flips(size):
            _poke(file, offset, whole[offset] ^ mask)
            found = unharmed(form, path)
            _poke(file, offset, whole[offset])
            if offset not in free:
                assert found is None, f"byte {offset} ^ {mask}"
            else:
                assert found is not None
                assert [(e.key, e.extension, len(e.image), len(e.record)) for e in found] == [
                    (e.key, e.extension, len(e.image), len(e.record)) for e in few
                ]
    assert read(form, path) == list(few)


def _poke(file: FileIO, offset: int, value: int) -> None:
    file.seek(offset)
    file.write(bytes([value]))


def test_no_shard_at_all(form: Format, folder: Path) -> None:
    for other in (b"", b"x", bytes(512), b"PK\3\4" + bytes(20_000), b"<html>" * 5000):
        path = folder / f"other.{form.extension}"
        path.write_bytes(other)
        assert unharmed(form, path) is None
