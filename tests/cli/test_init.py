"""`rt2data init` writes a recipe to start from, and never over one that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.cli.init import init, starter
from rt2data.errors import OutputError, UsageError
from rt2data.plan.recipe import read_recipe


def test_it_writes_the_starter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == starter(name="mine.yaml")
    assert list(read_recipe(tmp_path / "mine.yaml").sources) == ["bridge", "coco"]
    said = capsys.readouterr()
    assert said.out == ""
    assert f"rt2data plan {tmp_path / 'mine.yaml'}" in said.err


def test_it_writes_over_nothing_unless_told_to(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    path.write_text("mine\n")
    with pytest.raises(UsageError, match="--force"):
        init(path)
    assert path.read_text() == "mine\n"
    init(path, force=True)
    assert path.read_text() == starter()


@pytest.mark.parametrize("name", ["gone/mixture.yaml", "file/mixture.yaml", "."])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((OutputError, UsageError)) as caught:
        init(tmp_path / name)
    assert caught.value.do


def test_every_setting_of_the_starter_is_the_default(tmp_path: Path) -> None:
    """It shows what would happen anyway, so that nothing has to be looked up."""
    init(tmp_path / "mixture.yaml")
    shown = read_recipe(tmp_path / "mixture.yaml")
    bare = tmp_path / "bare.yaml"
    bare.write_text(
        """
robot_frac: 0.5
robot: {bridge: {kind: rlds, path: path/to/bridge_dataset/1.0.0, action_space: widowx_bridge}}
web:
  coco:
    kind: vqav2
    questions: path/to/v2_OpenEnded_mscoco_train2014_questions.json
    annotations: path/to/v2_mscoco_train2014_annotations.json
    image_dirs: path/to/train2014
"""
    )
    assert shown == read_recipe(bare)
