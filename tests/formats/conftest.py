"""One real mixture, Bridge and COCO, written in any format; prepared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rt2data.build import Site, build_plainly
from rt2data.formats.base import make_format
from rt2data.formats.record import ExampleRecord, decode_record
from rt2data.manifest import read_manifest
from rt2data.recipe import Recipe, read_recipe

RECIPE = """
robot_frac: 1/2
size: {{num_examples: 90}}
store: store
shards: {{bytes: 2MB}}
robot:
  bridge: {{kind: rlds, path: {data}/rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge}}
web:
  coco:
    kind: vqav2
    questions: {data}/coco_web/annotations/v2_OpenEnded_mscoco_trainval2014_questions.json
    annotations: {data}/coco_web/annotations/v2_mscoco_trainval2014_annotations.json
    image_dirs: [{data}/coco_web/train2017, {data}/coco_web/val2017]
"""


@pytest.fixture(scope="session")
def real_recipe(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """The recipe with some of its values overridden; one store for all."""
    path = tmp_path_factory.mktemp("real") / "mixture.yaml"
    path.write_text(RECIPE.format(data=shared_data))
    return lambda *overrides: read_recipe(path, overrides=overrides)


@pytest.fixture(scope="session")
def mixture(real_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of the mixture in a format; overrides give other mixtures of the same rows."""
    folder = tmp_path_factory.mktemp("formats")

    def build(name: str, *overrides: str) -> Path:
        out = folder / "-".join((name, *overrides)).replace("/", "_")
        if not out.exists():
            build_plainly(real_recipe(f"shards.format={name}", *overrides), Site(out))
        return out

    return build


def examples(out: Path) -> list[tuple[bytes, ExampleRecord]]:
    """Picture and record of each example of an output, in order, as our own reader gives them."""
    manifest = read_manifest(out)
    form = make_format(manifest.plan.format)
    return [(bytes(m.image), decode_record(m.record)) for shard in manifest.shards for m in form.read(out / shard.name)]


def as_record(record: ExampleRecord) -> dict[str, Any]:
    """What a trainer should get of an example where there is null."""
    return msgspec.structs.asdict(record)


def as_columns(record: ExampleRecord, dim: int = 7) -> dict[str, Any]:
    """What a trainer should get of an example where there is none: actions padded, zeros and no mask for web."""
    web = {"action": [0.0] * dim, "action_mask": [False] * dim, "action_bins": [], "terminate": False, "step": -1, "state": []}
    web |= {"episode": "", "action_space": "", "codec": ""}
    return {name: web[name] if value is None else value for name, value in as_record(record).items()}
