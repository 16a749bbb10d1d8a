"""Two real mixtures of Bridge and COCO through every reader people use: the same examples, the same values, the same images.

One has an image and an action to an example; the other four cameras at two times, and chunks of eight actions.

A reader is a function from an output to what it shows of each example. One law holds for all of them.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import rt2data
from rt2data.build import Site, build_plainly, rlds_output
from rt2data.formats.energon import COOKER, META
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import Recipe
from rt2data.render.fields import FIELDS
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import all_images, as_columns, as_record, examples
from tests.packages import need

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]
ALL = frozenset(field.name for field in FIELDS)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """An example as a reader shows it."""

    key: str
    fields: Mapping[str, Any]
    images: Mapping[int, bytes | Pixels]  # by place: as they lie, or uint8[height, width, 3] where the reader decodes them


@dataclass(frozen=True)
class Reader:
    """A way of reading, and what it promises."""

    read: Callable[..., Iterable[Seen]]
    format: str = "webdataset"
    in_order: bool = True  # of the shards, and of the examples in them
    null: bool = True  # web rows have no action; or columns, which always have one
    shows: frozenset[str] = ALL
    layouts: frozenset[str] = frozenset({"single", "windows"})


def shards(out: Path) -> list[str]:
    return [str(out / shard.name) for shard in read_manifest(out).shards]


# Tar shards


def from_tar(sample: Mapping[str, Any]) -> Seen:
    """What webdataset, and all that is made like it, gives."""
    images = {place_of(name): part for name, part in sample.items() if name.endswith("jpg") and part is not None}
    return Seen(sample["__key__"].rpartition("/")[2], json.loads(sample["json"]), images)


def place_of(name: str) -> int:
    """The place of an image of this name: `jpg`, `image_3.jpg`, `image_3`."""
    return int("".join(filter(str.isdigit, name)) or 0)


def webdataset(out: Path) -> Iterator[Seen]:
    yield from map(from_tar, need("webdataset").WebDataset(shards(out), shardshuffle=False))


def torch_over_webdataset(out: Path, workers: int) -> Iterator[Seen]:
    """Each worker reads shards of its own."""
    samples = need("webdataset").WebDataset(shards(out), shardshuffle=False)
    yield from map(from_tar, need("torch.utils.data").DataLoader(samples, batch_size=None, num_workers=workers))


def ours(out: Path) -> Iterator[Seen]:
    yield from map(_ours, rt2data.load(out, decode="jpeg"))


def ours_decoded(out: Path) -> Iterator[Seen]:
    yield from map(_ours, rt2data.load(out))


def ours_under_torch(out: Path, workers: int) -> Iterator[Seen]:
    mixture = need("rt2data.loading.torch").TorchMixture(rt2data.load(out, decode="jpeg"))
    yield from map(_ours, need("torch.utils.data").DataLoader(mixture, batch_size=None, num_workers=workers))


def _ours(example: dict[str, Any]) -> Seen:
    if "images" in example:
        images = {place: example["images"][place] for place in np.flatnonzero(example["image_mask"]).tolist()}
    else:
        images = {0: example["image"]}
    fields = {name: example[name] for name in ALL}
    for name in ("image_names", "image_offsets", "image_mask"):  # of as many places as the example has
        fields[name] = fields[name][: len(images)] if example["kind"] == "web" else fields[name]
    return Seen(example["key"], fields, images)


def energon(out: Path, loader: str, workers: int) -> Iterator[Seen]:
    """As its `VQASample`, with no `energon prepare`: a picture, what is asked, what is to be said."""
    for batch in _energon(out, loader, workers):
        pixels = (batch.image[0] * 255).round().byte().permute(1, 2, 0).numpy()
        key = batch.__key__[0].rpartition("/")[2]
        yield Seen(key, {"prompt": batch.context[0], "target": batch.answers[0]}, {0: pixels})


def energon_crude(out: Path, scratch: Path) -> Iterator[Seen]:
    """Whole records, with dataset.yaml as its comment says: what a task encoder cooks samples from."""
    library = need("megatron.energon")

    class Uncooked(library.DefaultTaskEncoder):  # type: ignore[misc,name-defined]
        cookers = (library.Cooker(library.stateless(lambda sample: dict(sample))),)
        decoder = None

    copy = Path(shutil.copytree(out, scratch / "crude"))
    asked = copy / META / "dataset.yaml"
    asked.write_text("".join(line[4:] for line in asked.read_text().splitlines(keepends=True) if line.startswith("#   ")))
    for sample in _energon(copy, "get_loader", 0, batch_size=None, task_encoder=Uncooked()):
        yield from_tar(sample)


def energon_cooked(out: Path, workers: int) -> Iterator[Seen]:
    """Records with their images, by the cooker that the output comes with."""
    library, shipped = need("megatron.energon"), runpy.run_path(str(out / COOKER))

    class Cooked(library.DefaultTaskEncoder):  # type: ignore[misc,name-defined]
        cookers = (shipped["COOKER"],)
        decoder = None

    for sample in _energon(out, "get_loader", workers, batch_size=None, task_encoder=Cooked()):
        images = {place: np.asarray(image.convert("RGB")) for place, image in enumerate(sample["images"]) if image is not None}
        yield Seen(sample["key"], {name: sample[name] for name in ALL}, images)


def _energon(out: Path, loader: str, workers: int, **options: Any) -> Any:
    library = need("megatron.energon")
    options = {"batch_size": 1, "shuffle_buffer_size": None, "max_samples_per_sequence": None, "repeat": False} | options
    ranks = library.WorkerConfig(rank=0, world_size=1, num_workers=workers)
    return getattr(library, loader)(library.get_train_dataset(out, worker_config=ranks, **options))


def datasets_over_tar(out: Path, scratch: Path) -> Iterator[Seen]:
    """The folder itself: its README.md says what is where."""
    library = need("datasets")
    found = library.load_dataset(str(out), split="train", cache_dir=str(scratch))
    names = [name for name in found.column_names if name.endswith("jpg")]
    for name in names:
        found = found.cast_column(name, library.Image(decode=False))
    for row in found:
        assert not any(row[name] for name in row if name.endswith("png"))
        yield Seen(row["json"]["key"], row["json"], {place_of(name): row[name]["bytes"] for name in names if row[name]})


# Columns


def datasets_over_parquet(out: Path, scratch: Path) -> Iterator[Seen]:
    library = need("datasets")
    found = library.load_dataset("parquet", data_files=shards(out), split="train", cache_dir=str(scratch))
    image = library.Image(decode=False)
    single = "image" in found.column_names
    yield from map(_row, found.cast_column("image", image) if single else found.cast_column("images", library.List(image)))


def pandas(out: Path) -> Iterator[Seen]:
    """Which shows null among numbers as NaN."""
    for shard in shards(out):
        for row in need("pandas").read_parquet(shard).to_dict("records"):
            yield _row({name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()})


def _row(row: Mapping[str, Any]) -> Seen:
    images = [row["image"]] if "image" in row else row["images"]
    names = [image["path"].removeprefix(f"{row['key']}.") for image in images]
    return Seen(
        row["key"], {name: row[name] for name in ALL}, {place_of(n): i["bytes"] for n, i in zip(names, images, strict=True)}
    )


def tfds(out: Path) -> Iterator[Seen]:
    """Shards one after another, pictures as they lie."""
    library = need("tensorflow_datasets")
    builder = library.builder_from_directory(out)
    in_turn = library.ReadConfig(interleave_cycle_length=1)
    names = [name for name in builder.info.features if name == "image" or name.removeprefix("image_").isdigit()]
    raw = dict.fromkeys(names, library.decode.SkipDecoding())
    whole = builder.as_dataset("train", read_config=in_turn, decoders=raw)
    for example in library.as_numpy(whole):
        images = {place_of(name): example[name] for name in names if example[f"{name}_format"]}
        said = example["messages"]
        turns = [{"role": role, "content": content} for role, content in zip(said["role"], said["content"], strict=True)]
        yield Seen(example["key"].decode(), {name: example[name] for name in ALL} | {"messages": turns}, images)


def grain_dataset(out: Path) -> Iterator[Seen]:
    source = need("grain").sources.ArrayRecordDataSource(shards(out))
    yield from map(_record, need("grain").MapDataset.source(source))


def grain_loader(out: Path, workers: int) -> Iterator[Seen]:
    """Its worker processes read flags, which whoever runs no absl app has to call parsed."""
    grain = need("grain")
    need("absl.flags").FLAGS.mark_as_parsed()
    source = grain.sources.ArrayRecordDataSource(shards(out))
    order = grain.samplers.SequentialSampler(len(source), grain.sharding.NoSharding())
    yield from map(_record, grain.DataLoader(data_source=source, sampler=order, worker_count=workers))


def _record(record: bytes) -> Seen:
    from rt2data.formats.arrayrecord import decode

    example = decode(record)
    images = {place: image for place, image in enumerate(example["images"]) if image is not None}
    return Seen(example["key"], {name: example[name] for name in ALL}, images)


# The law

VQA = frozenset({"prompt", "target"})
SINGLE, SEVERAL = frozenset({"single"}), frozenset({"windows"})
EVERYWHERE = {
    "webdataset": Reader(webdataset),
    "load": Reader(ours, in_order=False),
    "load, decoded": Reader(ours_decoded, in_order=False),
    "tfds": Reader(tfds, "tfds", null=False),
}
WITH_TRAINERS = {
    "torch, webdataset": Reader(partial(torch_over_webdataset, workers=0)),
    "torch, webdataset, 2 workers": Reader(partial(torch_over_webdataset, workers=2), in_order=False),
    "torch, load": Reader(partial(ours_under_torch, workers=0), in_order=False),
    "torch, load, 2 workers": Reader(partial(ours_under_torch, workers=2), in_order=False),
    "energon": Reader(partial(energon, loader="get_loader", workers=0), in_order=False, shows=VQA, layouts=SINGLE),
    "energon, savable": Reader(partial(energon, loader="get_savable_loader", workers=0), in_order=False, shows=VQA, layouts=SINGLE),
    "energon, savable, 2 workers": Reader(
        partial(energon, loader="get_savable_loader", workers=2), in_order=False, shows=VQA, layouts=SINGLE
    ),
    "energon, cooked": Reader(partial(energon_cooked, workers=0), in_order=False, layouts=SEVERAL),
    "energon, cooked, 2 workers": Reader(partial(energon_cooked, workers=2), in_order=False, layouts=SEVERAL),
    "pandas": Reader(pandas, "parquet"),
    "grain": Reader(grain_dataset, "arrayrecord", null=False),
    "grain loader": Reader(partial(grain_loader, workers=0), "arrayrecord", null=False),
    "grain loader, 2 workers": Reader(partial(grain_loader, workers=2), "arrayrecord", null=False),
}
WITH_SCRATCH = {  # which take a folder too
    "energon, crude": Reader(energon_crude, in_order=False, layouts=SINGLE),
    "datasets, tar": Reader(datasets_over_tar),
    "datasets, parquet": Reader(datasets_over_parquet, "parquet"),
}


READERS = EVERYWHERE | WITH_TRAINERS | WITH_SCRATCH


def of_layout(layout: str) -> pytest.MarkDecorator:
    """Run a test with every reader that takes such a mixture."""
    names = [name for name, reader in READERS.items() if layout in reader.layouts]
    marked = [pytest.param(name, marks=() if name in EVERYWHERE else pytest.mark.trainers) for name in names]
    return pytest.mark.parametrize("reader", marked, indirect=True)


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    found = READERS[request.param]
    return replace(found, read=partial(found.read, scratch=tmp_path)) if request.param in WITH_SCRATCH else found


@of_layout("single")
def test_it_shows_what_was_written(mixture: Callable[[str], Path], reader: Reader) -> None:
    require_shown(mixture(reader.format), reader, 1)


@of_layout("windows")
def test_it_shows_all_images_and_chunks(windows: Callable[[str], Path], reader: Reader) -> None:
    """Which `test_windows_real` holds against the raw log."""
    require_shown(windows(reader.format), reader, 8)


def require_shown(out: Path, reader: Reader, horizon: int) -> None:
    """Everything that our own reader finds in the shards, and nothing else."""
    written, images = {record.key: record for _, record in examples(out)}, all_images(out)
    seen = list(reader.read(out))
    assert len(seen) == read_manifest(out).examples == len(written)
    assert {example.key for example in seen} == set(written)
    assert not reader.in_order or [example.key for example in seen] == list(written)
    for example in seen:
        record = written[example.key]
        assert set(example.fields) == reader.shows
        _require_same(example.fields, as_record(record) if reader.null else as_columns(record, horizon=horizon))
        assert example.images.keys() == images[example.key].keys()
        for place, image in example.images.items():
            _require_same_image(image, images[example.key][place])


@pytest.mark.trainers
@pytest.mark.parametrize("share", ["1/16", "15/16"])
def test_datasets_need_not_guess(real_recipe: Callable[..., Recipe], tmp_path: Path, share: str) -> None:
    """Without the types in README.md it would take those of the first five examples, here of one side only."""
    build_plainly(real_recipe(f"robot_frac={share}"), Site(tmp_path / "out"))
    written = [record for _, record in examples(tmp_path / "out")]
    assert len({record.kind for record in written[:5]}) == 1
    seen = list(datasets_over_tar(tmp_path / "out", tmp_path / "cache"))
    assert [example.key for example in seen] == [record.key for record in written]


# Episodes


def rlds(folder: Path) -> Iterator[Seen]:
    """Each step of each episode under the key of its row, as the RLDS package maps them."""
    library, rlds = need("tensorflow_datasets"), need("rlds")
    builder = library.builder_from_directory(folder)
    cameras = sorted(name for name in builder.info.features["steps"]["observation"] if name.startswith("image"))
    raw = {"steps": {"observation": dict.fromkeys(cameras, library.decode.SkipDecoding())}}
    for episodes in builder.as_dataset(decoders=raw).values():
        named = rlds.transformations.map_nested_steps(episodes, lambda step: step | {"picture": step[rlds.OBSERVATION][cameras[0]]})
        for episode in library.as_numpy(named):
            metadata = episode["episode_metadata"]
            yield from (_step(step, metadata["source"].decode(), metadata["episode_id"].decode()) for step in episode[rlds.STEPS])


def _step(step: Mapping[str, Any], source: str, episode: str) -> Seen:
    fields = {name: step[name] for name in ("prompt", "target", "input_ids", "loss_mask", "action")}
    if "answers" in step:
        return Seen(f"{source}-{episode}", fields | {"answers": step["answers"]}, {0: step["picture"]})
    fields |= {"action_bins": step["action_bins"], "state": step["observation"]["state"], "text": step["language_instruction"]}
    return Seen(f"{source}-{episode}-{step['step']:06d}", fields, {0: step["picture"]})


def test_every_example_is_a_step_of_the_episodes(
    real_recipe: Callable[..., Recipe], mixture: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same recipe, written as RLDS. Its package needs reverb for patterns alone, which are not used here."""
    monkeypatch.setitem(sys.modules, "reverb", MagicMock())
    manifest = build_plainly(real_recipe(), Site(tmp_path / "out"), output=rlds_output(RldsOptions(tokens=True)))
    steps = {step.key: step for each in manifest.plan.datasets for step in rlds(tmp_path / "out" / each.dataset / "1.0.0")}
    assert len(steps) == manifest.steps
    drawn = examples(mixture("webdataset"))
    for picture, record in drawn:
        step = steps[record.key.removesuffix(f"-r{record.epoch}")]
        _require_same(step.fields, as_columns(record))
        assert step.images[0] == picture
    assert {record.kind for _, record in drawn} == {"robot", "web"}


# The same


def _require_same(shown: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """All of what is shown; actions and states to the last bit of their float32."""
    for name, value in shown.items():
        found, wanted = _plain(value), _plain(written[name])
        if name in ("action", "actions", "state") and wanted is not None:
            assert np.float32(found).tobytes() == np.float32(wanted).tobytes(), name
        else:
            assert found == wanted, name


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and tensors
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.decode() if isinstance(value, bytes) else value


def _require_same_image(shown: bytes | Pixels, written: bytes) -> None:
    """To the byte, or where it is decoded, to the pixel."""
    if isinstance(shown, bytes):
        assert shown == written
    else:
        with Image.open(io.BytesIO(written)) as picture:
            np.testing.assert_array_equal(shown, np.asarray(picture.convert("RGB")))
