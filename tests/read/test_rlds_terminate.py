"""Terminate as Open X datasets hold it: a one-hot index whose 0 ends, or a float or bool whose 1 ends. One word in the targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.io.tfrecord.features import Leaf
from rt2data.read.action_space import load_space
from rt2data.read.rlds.source import RLDS
from rt2data.read.source import Filters
from rt2data.records import Row
from rt2data.render.codecs.table import CODECS, make_codec
from rt2data.standardize import standardize
from tests.tfds_writing import write_dataset

SPACE = """
name = "flagged"
[[dim]]
name = "x"
bounds = [-1.0, 1.0]
[[dim]]
name = "terminate_episode"
kind = "discrete"
bounds = [0, {top}]
terminates = {terminates}
continues = {continues}
"""
INDEX, FLAG = SPACE.format(top=2, terminates=0, continues=1), SPACE.format(top=1, terminates=1, continues=0)
LAYOUTS: dict[str, tuple[str, Leaf, Any]] = {
    "index": (INDEX, Leaf("steps/action/terminate_episode", "tensor", "int32", (3,)), [[0, 1, 0], [0, 1, 0], [1, 0, 0]]),
    "float": (FLAG, Leaf("steps/action/terminate_episode", "scalar", "float32"), np.array([0, 0, 1], np.float32)),
    "float of one": (
        FLAG,
        Leaf("steps/action/terminate_episode", "tensor", "float32", (1,)),
        np.array([[0], [0], [1]], np.float32),
    ),
    "almost one": (FLAG, Leaf("steps/action/terminate_episode", "scalar", "float32"), np.array([0, 0.2, 0.99], np.float32)),
    "bool": (FLAG, Leaf("steps/action/terminate_episode", "scalar", "bool"), [False, False, True]),
}


def rows(layout: str, folder: Path) -> list[Row]:
    space, leaf, values = LAYOUTS[layout]
    (folder / "flagged.toml").write_text(space)
    leaves = (
        leaf,
        Leaf("steps/action/world_vector", "tensor", "float32", (1,)),
        Leaf("steps/is_last", "scalar", "bool"),
        Leaf("steps/observation/image", "image", "uint8", (8, 8, 3), "jpeg"),
        Leaf("steps/language_instruction", "text", "string"),
    )
    episode = {
        leaf.key: values,
        "steps/action/world_vector": [[0.5], [0.25], [0.0]],
        "steps/is_last": [False, False, True],
        "steps/observation/image": [b"\xff\xd8\xff"] * 3,
        "steps/language_instruction": ["pick rxbar"] * 3,
    }
    root = write_dataset(folder, "toy", leaves, {"train": [[episode]]})
    action = ["action/world_vector", "action/terminate_episode"]
    source = RLDS(path=str(root), action_space=str(folder / "flagged.toml"), action=action, filters=Filters(drop_last=0))
    return list(_rows(source))


def _rows(source: RLDS) -> Iterator[Row]:
    for unit in source.units():
        yield from (found for found in standardize(source, source.read(unit)) if isinstance(found, Row))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_words(layout: str, tmp_path: Path) -> None:
    found = rows(layout, tmp_path)
    flags, actions = np.array([row.terminate for row in found]), np.stack([row.action for row in found if row.action is not None])
    assert flags.tolist() == [False, False, True]
    for name in CODECS:
        codec = make_codec(name, load_space(tmp_path / "flagged.toml"))
        bins = codec.encode(actions, flags)
        assert codec.terminate is not None
        place = codec.terminate["position"]
        assert [bin_ == codec.terminate["terminates"] for bin_ in bins[:, place].tolist()] == flags.tolist()
        assert bins[2, place] == 0 < bins[0, place], "the lower bin ends the task"
        assert codec.decode(bins)[1].tolist() == flags.tolist(), "rows and tokens say the same"
