"""Examples by number: whatever order they are asked for in, each is the one that reading straight through gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import KEPT, Stretches
from rt2data.look.inspect.mixture import spelled
from rt2data.plan.recipe import Recipe
from rt2data.render.codecs.table import codec_from_json
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import examples as straight_through

Mixtures = Callable[[str], Path]


@given(st.lists(st.integers(0, 2 * KEPT), min_size=1, max_size=5), st.lists(st.integers(-1, 12 * KEPT), max_size=30), st.booleans())
def test_stretches_give_what_is_there(lengths: list[int], asked: list[int], known: bool) -> None:
    whole = [(stretch, i) for stretch, length in enumerate(lengths) for i in range(length)]
    read: list[int] = []

    def opener(stretch: int, length: int) -> Iterator[tuple[int, int]]:
        read.append(stretch)
        return ((stretch, i) for i in range(length))

    openers = [partial(opener, stretch, length) for stretch, length in enumerate(lengths)]
    starts = [0, *np.cumsum(lengths).tolist()] if known else [0]
    stretches = Stretches(openers, starts)
    for number in asked:
        if 0 <= number < len(whole):
            assert stretches.at(number) == whole[number]
        else:
            with pytest.raises(IndexError):
                stretches.at(number)
    assert stretches.total in (None, len(whole))
    if any(number >= len(whole) for number in asked):
        assert stretches.total == len(whole)


def test_going_on_reads_each_stretch_once() -> None:
    opened: list[int] = []

    def opener(stretch: int) -> Iterator[int]:
        opened.append(stretch)
        return iter(range(100))

    stretches = Stretches([partial(opener, i) for i in range(3)])
    for number in range(300):
        stretches.at(number)
        stretches.at(max(number - KEPT + 1, 0))
    assert opened == [0, 1, 2]


@pytest.mark.parametrize("name", ["webdataset", "tfds", "parquet"])
def test_a_mixture_of_any_format(mixture: Mixtures, name: str) -> None:
    out = mixture(name)
    manifest = read_manifest(out)
    codec = codec_from_json(manifest.plan.sources[0].codec)
    found = recognize(out).examples()
    assert found.total == 90
    assert dict(found.sources) == {"bridge": "robot", "coco": "web"}
    whole = straight_through(out)
    for number in (89, 0, 17, 16, 45, 3):
        image, record = whole[number]
        seen = found.at(number)
        assert (seen.key, seen.prompt, seen.target, bytes(seen.image or b"")) == (
            *(record.key, record.prompt, record.target),
            image,
        )
        assert [(token.id, token.in_loss) for token in seen.tokens] == list(
            zip(record.input_ids, map(bool, record.loss_mask), strict=True)
        )
        assert found.at(number, whole=False).image is None
        if record.action_bins is not None:
            values = codec.decode(np.array([record.action_bins], np.int32))[0][0].tolist()
            assert [dim.value for dim in seen.action] == values
            assert [dim.bin for dim in seen.action] == list(record.action_bins)[1:]
    assert [found.source_of(number) for number in range(90)] == [record.source for _, record in whole]
    for number in (-1, 90):
        with pytest.raises(IndexError):
            found.at(number)


def test_tokens_are_spelled(mixture: Mixtures) -> None:
    seen = recognize(mixture("webdataset")).examples().at(0)
    assert "".join(token.word for token in seen.tokens) == f"{seen.prompt} {seen.target}</s>"
    assert [spelled(token) for token in ("<0x41>", "<0x0A>", "<0xC3>", "▁the", "<0x20>")] == ["A", "<0x0A>", "<0xC3>", "▁the", " "]


def test_the_episode_is_found_in_the_store(mixture: Mixtures) -> None:
    examples = recognize(mixture("webdataset")).examples()
    seen = next(seen for seen in map(examples.at, range(90)) if seen.kind == "robot" and seen.step == 5)
    film = examples.film(seen)
    assert film is not None
    steps = [film.examples.at(number) for number in film.numbers]
    assert [step.step for step in steps] == list(range(10))
    assert {step.group for step in steps} == {seen.group}
    assert steps[film.here].image == bytes(seen.image or b"")


def test_without_its_index_a_shard_is_walked_through(mixture: Mixtures, tmp_path: Path) -> None:
    out = Path(shutil.copytree(mixture("webdataset"), tmp_path / "bare"))
    for index in out.glob("*.idx"):
        index.unlink()
    assert recognize(out).examples().at(50).key == recognize(mixture("webdataset")).examples().at(50).key
    assert recognize(out).examples().film(recognize(out).examples().at(0)) is not None


def test_a_damaged_record_is_named(mixture: Mixtures, tmp_path: Path) -> None:
    out = Path(shutil.copytree(mixture("webdataset"), tmp_path / "damaged"))
    shard = out / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'{"key"', b'{"KEY"', 1))
    with pytest.raises(DataError, match="damaged record"):
        recognize(out).examples().at(0)


def test_raw_sources(shared_data: Path) -> None:
    robot, web = (recognize(shared_data / name).examples() for name in ("rlds_bridge", "coco_web"))
    assert robot.total is None
    seen = robot.at(57)
    assert (seen.step, seen.steps, seen.camera, len(seen.action)) == (7, 10, "image_0", 7)
    film = robot.film(seen)
    assert film is not None and [robot.at(number).step for number in film.numbers] == list(range(10)) and film.here == 7
    with pytest.raises(IndexError):
        robot.at(10_000)
    assert robot.total == 130
    assert [web.at(number).prompt for number in (12, 0)] == [web.at(12).prompt, web.at(0).prompt]
    with pytest.raises(IndexError):
        web.at(13)
    assert web.total == 13


def test_a_store_tells_of_images_that_changed(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    from rt2data.build import Site, build_plainly

    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    (folder,) = (tmp_path / "store").glob("qa-*")
    examples = recognize(folder).examples()
    key = examples.at(0).key
    path = tmp_path / "web" / f"{int(key[1:]):04d}.jpg"
    content = bytearray(path.read_bytes())
    assert examples.at(0).image == bytes(content)
    content[-10] ^= 1
    path.write_bytes(content)
    assert (examples.at(0).image, examples.at(0).fault) == (None, "its file changed since the source was prepared")
    path.unlink()
    assert "cannot be read" in examples.at(0).fault
