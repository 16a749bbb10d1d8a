"""`rt2data init` writes a recipe to start from, and never over one that is there."""

from __future__ import annotations

import json
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rt2data.cli.app import app
from rt2data.cli.init import init, init_from, new_space, starter
from rt2data.errors import OutputError, UsageError
from rt2data.io.installation import schemas
from rt2data.look.inspect.spaces import guess_space
from rt2data.plan.recipe import read_recipe
from rt2data.read.action_space import load_space


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


def test_a_recipe_of_real_data_plans_as_it_is(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two robot logs and a corpus, in one command; a second of the same name gets another; what cannot be read is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("clean up")
    logs = [str(shared_data / name) for name in ("rlds_bridge", "sim_quadrotor_rlds", "rlds_bridge", "coco_web")]
    app(["init", *logs, "notes", "-o", "mix.yaml"], standalone_mode=False)
    recipe = read_recipe(tmp_path / "mix.yaml")
    assert list(recipe.sources) == ["bridge_dataset", "sim_pyflyt_quad", "bridge_dataset_2", "coco_web"]
    assert recipe.robot["bridge_dataset"].action_space == "widowx_bridge" and recipe.robot_frac == Fraction(1, 2)
    shown = capsys.readouterr()
    assert "examples (" in shown.out and "not read: " in shown.err and "nothing that is known" in shown.err
    assert "# not read" in (tmp_path / "mix.yaml").read_text()


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UsageError, match="nothing here can be read"):
        init_from([tmp_path / "a.txt"], tmp_path / "mix.yaml")
    assert not (tmp_path / "mix.yaml").exists()


def test_an_action_space_from_a_log(shared_data: Path, tmp_path: Path) -> None:
    """What is written is read, has the log's numbers, and says what they were."""
    out = tmp_path / "quad.toml"
    new_space(shared_data / "sim_quadrotor_rlds", out, None)
    space = load_space(out)
    assert (space.name, space.size) == ("quad", 4) and "seen: from" in out.read_text()
    with pytest.raises(UsageError, match="--force"):
        new_space(shared_data / "sim_quadrotor_rlds", out, None)
    with pytest.raises(UsageError, match="no robot log"):
        new_space(shared_data / "coco_web", tmp_path / "web.toml", None)


@pytest.mark.parametrize(
    ("name", "facts", "space", "why"),
    [
        ("anything", {"action_names": ["vx_body", "vy_body", "yaw_rate", "vz"]}, "quadrotor", "the names of its numbers"),
        ("anything", {"robot_type": "Unitree_G1_Inspire", "first_episode": {"action": 26}}, "unitree_g1", "robot type"),
        ("my_metaworld_runs", {"first_episode": {"action": 4}}, "metaworld", "its name"),
        ("mine", {"first_episode": {"action": 6}}, "generic_nd", ""),
        ("bridge", {"first_episode": {"action": 3}}, "generic_nd", ""),
    ],
)
def test_which_action_space_fits(name: str, facts: dict[str, Any], space: str, why: str) -> None:
    found = guess_space(name, {"first_episode": {"action": len(facts.get("action_names", ()))}} | facts)
    assert found.space == space and found.why.startswith(why) and bool(found.why) == bool(why)


def test_every_shipped_action_space_fits_its_schema() -> None:
    check = jsonschema.Draft202012Validator(json.loads((schemas() / "action_space.schema.json").read_text()))
    for path in sorted((schemas() / "actions").glob("*.toml")):
        assert not list(check.iter_errors(tomllib.loads(path.read_text()))), path
        assert load_space(path.stem).name == path.stem
