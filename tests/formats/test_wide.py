"""Robots of 7, 4 and 2 dimensions with conversations about 0, 1 and 3 images: one schema, equal in every format to the toy log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS, make_format
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from rt2data.render.fields import FIELDS, ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.manifest import read_manifest
from tests.loading import wide

pytestmark = pytest.mark.long

DIMS = {"seven": 7, "four": 4, "two": 2}
HORIZONS = {"seven": 5, "four": 3, "two": 1}
CAMERAS = {"seven": ("front", "wrist"), "four": ("wrist", "front"), "two": ("front",)}
HISTORY = {"seven": (0, -2), "four": (0,), "two": (0,)}
WEIGHTS = {"seven": 1.0, "four": 0.5, "two": 1.0, "talk": 2.0}
DIM, HORIZON, EXAMPLES = 7, 5, 120
KEPT = tuple(episode for episode, steps in enumerate(wide.LENGTHS) if steps > 1)
"""Episodes that `min_steps` keeps."""
FIRST_BYTE, END = 3, 1
"""Tokens of the byte tokenizer."""
Images = dict[int, bytes]


class Mixtures:
    """The wide mixture in every format, from one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mixture.yaml").write_text(wide.recipe(examples=EXAMPLES))
        with pytest.MonkeyPatch.context() as patch:
            for kind, place in wide.TABLE.items():
                patch.setitem(SOURCES, kind, place)
            for name in FORMATS:
                recipe = read_recipe(folder / "mixture.yaml", [f"shards.format={name}", "shards.bytes=60kB"])
                build_plainly(recipe, Site(folder / name))
        self._examples = {name: self._read(name) for name in FORMATS}

    def examples(self, name: str) -> list[tuple[ExampleRecord, Images]]:
        """Records with their images by place, sorted by key."""
        return self._examples[name]

    def _read(self, name: str) -> list[tuple[ExampleRecord, Images]]:
        form, out = make_format(name), self.folder / name
        members = [member for shard in read_manifest(out).shards for member in form.read(out / shard.name)]
        found = [(decode_record(m.record), {i.slot: bytes(i.data) for i in m.images}) for m in members]
        return sorted(found, key=lambda each: each[0].key)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Mixtures:
    return Mixtures(tmp_path_factory.mktemp("wide-formats"))


@pytest.fixture(scope="module")
def examples(mixtures: Mixtures) -> list[tuple[ExampleRecord, Images]]:
    return mixtures.examples("webdataset")


def robot(examples: list[tuple[ExampleRecord, Images]]) -> Iterator[tuple[ExampleRecord, Images, int, int]]:
    """Robot examples with the numbers of their episode and step."""
    for record, images in examples:
        if record.kind == "robot":
            assert record.episode is not None and record.step is not None
            yield record, images, int(record.episode[1:]), record.step


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "webdataset"])
def test_a_format_changes_no_example(mixtures: Mixtures, name: str) -> None:
    assert mixtures.examples(name) == mixtures.examples("webdataset")


@pytest.mark.parametrize("name", list(FORMATS))
def test_it_verifies(mixtures: Mixtures, name: str) -> None:
    found = verify(mixtures.folder / name)
    assert found.faults == () and found.examples == EXAMPLES


def test_every_row_is_there(examples: list[tuple[ExampleRecord, Images]]) -> None:
    rows = {(record.source, record.group, record.step) for record, _ in examples}
    steps = {(source, f"e{episode}", step) for source in DIMS for episode in KEPT for step in range(wide.LENGTHS[episode])}
    assert rows == steps | {("talk", f"g{number}", None) for number in range(9)}


def test_actions_are_those_of_the_log(examples: list[tuple[ExampleRecord, Images]]) -> None:
    """Behind the last step its action is repeated and marked; dimensions that a robot does not have are zeros and masked."""
    for record, _, episode, step in robot(examples):
        dims, horizon, log = DIMS[record.source], HORIZONS[record.source], wide.logged(DIMS[record.source], episode)
        wanted = np.zeros((HORIZON, DIM), np.float32)
        for ahead in range(HORIZON):
            wanted[ahead, :dims] = log[min(step + min(ahead, horizon - 1), len(log) - 1)]
        assert np.array_equal(np.array(record.actions, np.float32), wanted)
        assert record.action == record.actions[0]  # type: ignore[index]
        assert record.action_is_pad == [ahead >= horizon or step + ahead >= len(log) for ahead in range(HORIZON)]
        assert record.action_mask == [dim < dims for dim in range(DIM)]
        assert (record.episode_length, record.terminate) == (len(log), step == len(log) - 1)
        assert record.timestamp == (0.25 * step if record.source == "four" else None)
        state = log[step, :3].tolist() if record.source == "seven" else None
        assert record.state == state


def test_only_real_actions_are_encoded(examples: list[tuple[ExampleRecord, Images]]) -> None:
    """A terminate token and a bin for each dimension, of every action that is no padding."""
    for record, _, _, _ in robot(examples):
        assert record.action_is_pad is not None and record.action_bins is not None
        real = record.action_is_pad.count(False)
        assert len(record.action_bins) % real == 0
        assert len(record.action_bins) // real in (DIMS[record.source], DIMS[record.source] + 1)
        assert record.target == " ".join(map(str, record.action_bins))


def test_images_are_those_of_the_log(examples: list[tuple[ExampleRecord, Images]]) -> None:
    """Bytes, cameras and steps; a place is empty where there is no such camera, or before the episode starts."""
    for record, images, episode, step in robot(examples):
        places = list(product(HISTORY[record.source], CAMERAS[record.source]))
        dims, wanted = DIMS[record.source], Images()
        for slot, (offset, camera) in enumerate(places):
            if step + offset >= 0 and camera in (there := wide.seen(dims, episode, step + offset)):
                wanted[slot] = there[camera]
        assert images == wanted
        assert (record.image_names, record.image_offsets) == ([camera for _, camera in places], [offset for offset, _ in places])
        assert record.image_mask == [slot in wanted for slot in range(len(places))]


def test_conversations_are_those_of_the_source(examples: list[tuple[ExampleRecord, Images]]) -> None:
    """All turns, an image in every place; what has no action has none of its fields. The loss counts what the assistant says."""
    asked = next(wide.Talk(kind="talk").read(unit) for unit in wide.Talk(kind="talk").units())
    source = {each.group: each for each in asked}  # type: ignore[union-attr]
    for record, images in examples:
        if record.kind == "web":
            each = source[record.group]
            assert images == {slot: image.data for slot, image in enumerate(each.images)}  # type: ignore[union-attr]
            count = len(images)
            assert (record.image_names, record.image_mask) == ([f"image_{slot}" for slot in range(count)], [True] * count)
            turns = [(turn.role, turn.text) for turn in each.turns]  # type: ignore[union-attr]
            assert [(said.role, said.content) for said in record.messages] == turns
            assert all(getattr(record, field.name) is None for field in FIELDS if field.nullable)
            learned = [token for token, loss in zip(record.input_ids, record.loss_mask, strict=True) if loss]
            spoken = [text for role, text in turns if role == "assistant"]
            assert learned == [token for text in spoken for token in (*(byte + FIRST_BYTE for byte in f" {text}".encode()), END)]
    assert {len(images) for record, images in examples if record.kind == "web"} == {0, 1, 3}
    assert {len(record.messages) for record, _ in examples if record.kind == "web"} == {2, 4}


def test_loss_weights_reach_the_records(examples: list[tuple[ExampleRecord, Images]]) -> None:
    assert {(record.source, record.loss_weight) for record, _ in examples} == set(WEIGHTS.items())


def test_one_schema(mixtures: Mixtures) -> None:
    """All records have the same fields; all shards of Parquet have one schema, of whatever source their rows are."""
    shards = [mixtures.folder / "parquet" / shard.name for shard in read_manifest(mixtures.folder / "parquet").shards]
    assert len({pq.read_schema(shard).serialize().to_pybytes() for shard in shards}) == 1 < len(shards)
    fields = {tuple(msgspec.to_builtins(record)) for record, _ in mixtures.examples("parquet")}
    assert fields == {tuple(field.name for field in FIELDS)}


# Statistics


def raw(source: str) -> Any:
    """All actions that the log has of the episodes that are kept, f32[n, D]: nothing padded, nothing repeated."""
    return np.concatenate([wide.logged(DIMS[source], episode) for episode in KEPT]).astype(np.float64)


def chunked(source: str) -> Any:
    """All actions of the chunks of the log, f32[n*H, D], those that repeat the last action included: openpi counts them."""
    rows = []
    for episode in KEPT:
        log = wide.logged(DIMS[source], episode)
        ahead = np.arange(len(log))[:, None] + np.arange(HORIZONS[source])
        rows.append(log[np.minimum(ahead, len(log) - 1)].reshape(-1, DIMS[source]))
    return np.concatenate(rows).astype(np.float64)


def require_statistics(found: dict[str, Any], rows: Any, names: dict[str, str]) -> None:
    wanted = {"mean": rows.mean(0), "std": rows.std(0), "min": rows.min(0), "max": rows.max(0)}
    wanted |= {"q01": np.quantile(rows, 0.01, axis=0), "q99": np.quantile(rows, 0.99, axis=0)}
    for name, own in names.items():
        np.testing.assert_allclose(found[name], wanted[own], rtol=1e-6, atol=1e-9, err_msg=name)


ALL = {name: name for name in ("mean", "std", "min", "max", "q01", "q99")}


@pytest.mark.parametrize("source", DIMS)
def test_statistics_are_of_the_log_alone(mixtures: Mixtures, source: str) -> None:
    """Of the store, the manifest and every trainer's file. No padding counts, but that of chunks in openpi's: openpi counts it."""
    rows, out = raw(source), mixtures.folder / "webdataset"
    (store,) = (mixtures.folder / "store").glob(f"{source}-*")
    stored = json.loads((store / "stats.json").read_text())["train"]["action"]
    manifest = json.loads((out / "manifest.json").read_text())["statistics"][source]["action"]
    for found in (stored, manifest):
        assert found["count"] == len(rows)
        require_statistics(found, rows, ALL)
    openvla = json.loads((out / "dataset_statistics.json").read_text())[source]
    assert (openvla["num_transitions"], openvla["num_trajectories"]) == (len(rows), len(KEPT))
    require_statistics(openvla["action"], rows, {name: name for name in ("mean", "std", "min", "max")})
    assert len(openvla["action"]["mask"]) == DIMS[source]
    octo = json.loads((out / "statistics/octo.json").read_text())[source]["action"]
    require_statistics(octo, rows, {"mean": "mean", "std": "std", "p01": "q01", "p99": "q99"})
    openpi = json.loads((out / f"statistics/openpi_{source}.json").read_text())["norm_stats"]["actions"]
    require_statistics(openpi, chunked(source), {"mean": "mean", "std": "std", "q01": "q01", "q99": "q99"})
    lerobot = json.loads((out / f"statistics/lerobot_{source}.json").read_text())["action"]
    require_statistics(lerobot, rows, ALL)
    assert lerobot["count"] == [len(rows)]
