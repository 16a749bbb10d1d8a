"""A mixture of several robots, cameras, chunks and conversations: what the loader gives equals what the shards hold."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

import rt2data
from rt2data.errors import DataError, UsageError
from rt2data.formats.webdataset import tar_header
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.fields import FIELDS
from tests.loading.conftest import build_wide
from tests.loading.wide import LENGTHS
from tests.packages import need

PLACES, HORIZON, DIM = 4, 5, 7
DIMS = {"seven": 7, "four": 4, "two": 2}
HORIZONS = {"seven": 5, "four": 3, "two": 1}
Shard = dict[str, dict[str, bytes]]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def stored(wide_mixture: Path) -> Shard:
    """Members of each key, by Python's own tarfile."""
    found: Shard = defaultdict(dict)
    for path in sorted(wide_mixture.glob("*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                key, _, name = member.name.partition(".")
                opened = shard.extractfile(member)
                assert opened is not None
                found[key][name] = opened.read()
    return found


@pytest.fixture(scope="module")
def rows(wide_mixture: Path) -> list[Row]:
    """The rows of all batches, each with the arrays of its batch."""
    return list(rows_of(rt2data.load(wide_mixture).batches(32)))


def rows_of(batches: Any) -> Iterator[Row]:
    for batch in batches:
        names = [name for name in batch if name != "resume"]
        yield from ({name: batch[name][i] for name in names} for i in range(len(batch["key"])))


def padded(value: Any, shape: tuple[int, ...], fill: Any = 0) -> Any:
    found = np.full(shape, fill)
    if value is not None:
        value = np.array(value)
        found[tuple(map(slice, value.shape))] = value
    return found


def expected(members: dict[str, bytes]) -> Row:
    """A row of a batch, from the members of an example alone."""
    record = json.loads(members["json"])
    images, mask = np.zeros((PLACES, 32, 32, 3), np.uint8), np.zeros(PLACES, bool)
    for slot in range(PLACES):
        if f"image_{slot}.jpg" in members:
            images[slot], mask[slot] = simplejpeg.decode_jpeg(members[f"image_{slot}.jpg"], "RGB"), True
    return {
        **{name: record[name] for name in ("key", "kind", "source", "messages", "target", "answers", "step", "episode_length")},
        "images": images,
        "image_mask": mask,
        "image_names": [*record["image_names"], *[""] * (PLACES - len(record["image_names"]))],
        "image_offsets": padded(record["image_offsets"], (PLACES,)),
        "actions": padded(record["actions"], (HORIZON, DIM), 0.0).astype(np.float32),
        "action": padded(record["action"], (DIM,), 0.0).astype(np.float32),
        "action_is_pad": padded(record["action_is_pad"], (HORIZON,), True),
        "action_mask": padded(record["action_mask"], (DIM,), False),
        "action_bins": padded(record["action_bins"], (HORIZON * 8,)),
        "state": padded(record["state"], (3,), 0.0).astype(np.float32),
        "loss_weight": record["loss_weight"],
        "timestamp": -1.0 if record["timestamp"] is None else record["timestamp"],
        "terminate": bool(record["terminate"]),
    }


def require_equal(row: Row, members: dict[str, bytes]) -> None:
    for name, value in expected(members).items():
        assert np.array_equal(np.asarray(row[name]), np.asarray(value)), (row["key"], name)


def test_images_chunks_and_masks_are_those_of_the_shards(rows: list[Row], stored: Shard) -> None:
    assert len(rows) == len(stored) == 200 and {row["key"] for row in rows} == set(stored)
    for row in rows:
        require_equal(row, stored[row["key"]])
    counts = {(row["source"], int(row["image_mask"].sum())) for row in rows}
    assert {count for source, count in counts if source == "talk"} == {0, 1, 3}
    assert {count for source, count in counts if source == "seven"} >= {2, 3}
    assert {row["loss_weight"] for row in rows} == {1, 0.5, 2}


@pytest.mark.trainers
def test_torch_gives_the_same(wide_mixture: Path, stored: Shard) -> None:
    torch, loading = need("torch"), need("rt2data.loading.torch")
    batches = list(loading.TorchMixture(rt2data.load(wide_mixture), 32))
    kinds = {"images": torch.uint8, "actions": torch.float32, "image_mask": torch.bool, "loss_weight": torch.float32}
    assert {name: batches[0][name].dtype for name in kinds} == kinds and batches[0]["timestamp"].dtype == torch.float64
    found = list(rows_of(batches))
    for row in found:
        require_equal(row, stored[row["key"]])
    assert len(found) == 200


@pytest.mark.long
def test_tensorflow_gives_the_same(wide_mixture: Path, stored: Shard) -> None:
    pytest.importorskip("tensorflow")
    from rt2data.loading.tf import tf_dataset

    for row in rows_of(tf_dataset(rt2data.load(wide_mixture), 32).as_numpy_iterator()):
        mine = expected(stored[row["key"].decode()])
        for name in ("images", "image_mask", "actions", "action_is_pad", "action_mask", "loss_weight", "timestamp"):
            assert np.array_equal(row[name], mine[name]), name
        assert [each.decode() for each in row["image_names"]] == mine["image_names"]


def test_every_column_of_the_table_is_in_a_batch(wide_mixture: Path) -> None:
    batch = next(rt2data.load(wide_mixture, decode=None).batches(16))
    assert set(batch) == {field.name for field in FIELDS} | {"attention_mask", "state_mask"}
    for field in FIELDS:
        if field.type.startswith("float"):
            assert batch[field.name].dtype == field.type, field.name


# Padding


def logged(source: str, episode: int) -> Any:
    """The actions of an episode as the toy source makes them."""
    random = np.random.default_rng(10 * DIMS[source] + episode)
    return random.uniform(-0.1, 0.1, (LENGTHS[episode], DIMS[source])).astype(np.float32)


def real(row: Row) -> Any:
    """Which values are actions of the robot, bool[H, D]."""
    return row["action_mask"][None, :] & ~row["action_is_pad"][:, None]


def test_what_the_masks_leave_is_exactly_the_log(rows: list[Row]) -> None:
    """Every action up to the horizon or the end of the episode, and no other value; of web rows nothing."""
    for row in rows:
        if row["kind"] == "web":
            assert not real(row).any() and row["action_is_pad"].all() and not row["actions"].any()
            continue
        episode, step = int(row["group"][1:]), row["step"]
        chunk = logged(row["source"], episode)[step : step + HORIZONS[row["source"]]]
        assert np.array_equal(real(row), padded(np.ones_like(chunk, bool), (HORIZON, DIM), False))
        assert np.array_equal(row["actions"][: len(chunk), : DIMS[row["source"]]], chunk)


def masked_loss(rows: list[Row], guess: Any) -> float:
    """Mean squared error of a guess f64[D] over the values that count, weighted by example."""
    total = sum(row["loss_weight"] * (((row["actions"] - guess) ** 2) * real(row)).sum() for row in rows)
    return float(total / sum(real(row).sum() for row in rows))


def test_padding_cannot_change_a_masked_loss(rows: list[Row]) -> None:
    """Garbage in every place that the masks exclude leaves it as it is; in any place that they include it does not."""
    guess, random = np.linspace(-0.05, 0.05, DIM), np.random.default_rng(0)
    loss = masked_loss(rows, guess)
    assert any((~real(row)).any() for row in rows if row["kind"] == "robot")
    garbage = [row | {"actions": np.where(real(row), row["actions"], random.normal(0, 1e6, (HORIZON, DIM)))} for row in rows]
    assert masked_loss(garbage, guess) == pytest.approx(loss, rel=1e-12, abs=0)
    sources = {row["source"]: i for i, row in enumerate(rows) if row["kind"] == "robot"}
    for source, i in sources.items():
        changed = rows[i]["actions"].copy()
        changed[0, DIMS[source] - 1] += 1
        assert masked_loss([*rows[:i], rows[i] | {"actions": changed}, *rows[i + 1 :]], guess) != pytest.approx(loss, rel=1e-6)


# Images


@pytest.mark.parametrize("slots", [[0], [1], [3, 0], [2, 1, 0]])
def test_slots_choose_images(wide_mixture: Path, rows: list[Row], slots: list[int]) -> None:
    whole = {row["key"]: row for row in rows}
    for row in rows_of(rt2data.load(wide_mixture, slots=slots).batches(32)):
        mine = whole[row["key"]]
        for name in ("images", "image_mask", "image_offsets"):
            assert np.array_equal(row[name], mine[name][slots]), name
        assert row["image_names"] == [mine["image_names"][slot] for slot in slots]


def test_encoded_images_and_none(wide_mixture: Path, stored: Shard) -> None:
    for example in rt2data.load(wide_mixture, decode="jpeg", columns=("key",)):
        mine = [stored[example["key"]].get(f"image_{slot}.jpg", b"") for slot in range(PLACES)]
        assert example["images"] == mine and example["image_mask"].tolist() == [bool(image) for image in mine]
    assert next(rt2data.load(wide_mixture, decode="jpeg").batches(4)).keys() >= {"images", "image_mask"}
    examples = list(rt2data.load(wide_mixture, decode=None))
    assert all("images" not in each and "image" not in each and each["image_mask"].shape == (PLACES,) for each in examples)


def test_images_of_several_sizes_need_a_resize(tmp_path: Path) -> None:
    """In one example, and in one batch."""
    out = build_wide(tmp_path, side=48, examples=48)
    with pytest.raises(UsageError, match=r"images of several sizes, such as 32 x 32 and 48 x 48 .*give load a resize") as caught:
        list(rt2data.load(out).batches(32))
    assert "\n" not in str(caught.value)
    batches = list(rt2data.load(out, resize=(16, 20)).batches(32))
    assert {batch["images"].shape[1:] for batch in batches} == {(PLACES, 16, 20, 3)}
    assert all(not batch["images"][~batch["image_mask"]].any() for batch in batches)
    assert all(batch["images"][batch["image_mask"]].any(axis=(1, 2, 3)).all() for batch in batches)


def test_a_mixture_of_single_images_takes_slots_too(mixture: Path) -> None:
    one, other = (next(rt2data.load(mixture, **options).batches(8)) for options in ({}, {"slots": [0]}))
    assert np.array_equal(other["images"][:, 0], one["image"]) and other["image_mask"].all() and "image" not in other


@pytest.mark.parametrize("slots", [[], [4], [-1], [0, 0]])
def test_slots_that_make_no_sense(wide_mixture: Path, slots: list[int]) -> None:
    with pytest.raises(UsageError, match=r"of 4 places for images .*from 0 to 3.*seven: front, wrist, front -\d, wrist -\d"):
        rt2data.load(wide_mixture, slots=slots)


def test_an_index_is_not_needed(wide_mixture: Path, tmp_path: Path, rows: list[Row]) -> None:
    """Offsets from the headers of examples with any number of images; also where images are not read."""
    for path in wide_mixture.iterdir():
        if path.is_file() and path.suffix != ".idx":
            (tmp_path / path.name).symlink_to(path)
    keys = [row["key"] for row in rows]
    assert [each["key"] for each in rt2data.load(tmp_path)] == keys
    assert [each["key"] for each in rt2data.load(tmp_path, decode=None)] == keys


def test_damage_is_named(wide_mixture: Path, tmp_path: Path) -> None:
    """An image of another example, where a record should be; and no image at all, but a text."""
    for path in wide_mixture.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "shard-000000.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as opened:
        members = opened.getmembers()
    first = next(member for member in members if not member.name.endswith(".json"))
    renamed = {"zz": r"images of 'zz' are not followed by their record but by ", "txt": "neither an image nor a record"}
    for name, match in renamed.items():
        called = f"zz.{first.name.partition('.')[2]}" if name == "zz" else f"{first.name.partition('.')[0]}.txt"
        header = bytes(tar_header(called.encode(), first.size))
        shard.write_bytes(whole[: first.offset] + header + whole[first.offset_data :])
        with pytest.raises(DataError, match=rf"{match}.*shard-000000.tar byte \d+") as caught:
            list(rt2data.load(tmp_path, shuffle=False))
        assert "\n" not in str(caught.value)


def test_resume_by_other_ranks(wide_mixture: Path, rows: list[Row]) -> None:
    found, states = [], []
    for rank in range(2):
        opened = rt2data.load(wide_mixture, rank=rank, world=2)
        found += [example["key"] for example in islice(opened, 37)]
        states.append(opened.state_dict())
    for rank in range(3):
        rest = rt2data.load(wide_mixture, rank=rank, world=3, remainder="keep", state=states[0])
        found += [example["key"] for example in rest]
    assert sorted(found) == sorted(row["key"] for row in rows) and states[0] == states[1]


# Decoding


@pytest.mark.parametrize("source", DIMS)
def test_chunks_decode_to_their_actions(wide_mixture: Path, stored: Shard, source: str) -> None:
    """From bins, text and token ids: all actions that are not padding, within the tolerance of the codec."""
    records = [json.loads(members["json"]) for members in stored.values()]
    records = [record for record in records if record["source"] == source][:12]
    planned = json.loads((wide_mixture / "manifest.json").read_text())["plan"]["sources"]
    codec = codec_from_json(next(each["codec"] for each in planned if each["name"] == source))
    found = rt2data.decode(wide_mixture, records)
    assert found.lengths == tuple(record["action_is_pad"].count(False) for record in records)
    for chunk, record in zip(found.chunks, records, strict=True):
        aim = codec.clip(np.array(record["actions"], np.float32)[: len(chunk), : DIMS[source]])
        assert (np.abs(chunk - aim) <= codec.tolerance + 1e-9).all()
        said = [token for token, learned in zip(record["input_ids"], record["loss_mask"], strict=True) if learned]
        for same in (record, record["action_bins"], record["target"]):
            np.testing.assert_array_equal(rt2data.decode(wide_mixture, same, source=source).actions, chunk)
        np.testing.assert_array_equal(rt2data.decode(wide_mixture, said, source=source, ids=True).actions, chunk)


def test_more_actions_than_the_horizon_are_refused(wide_mixture: Path, stored: Shard) -> None:
    records = [json.loads(members["json"]) for members in stored.values()]
    bins = next(record["action_bins"] for record in records if record["source"] == "two")
    with pytest.raises(DataError, match="2 actions in one record, where the horizon of source two is 1"):
        rt2data.decode(wide_mixture, bins * 2, source="two")
    assert rt2data.decode(wide_mixture, [], source="two").actions.shape == (0, 2)
