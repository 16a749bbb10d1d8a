"""Standards of datasets: settings that a recipe leaves out, and datasets that are recognized by name and features."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from rt2data.errors import UsageError
from rt2data.io.installation import schemas
from rt2data.io.tfrecord.features import Leaf
from rt2data.look.inspect import recognize
from rt2data.plan.recipe import Recipe, RecipeError, canonical, from_canonical, parse_recipe
from rt2data.read.action_space import load_space
from rt2data.read.rlds.source import RLDS
from rt2data.read.standards import OWN, Standard, candidates, load_standard, shipped
from rt2data.read.toml_files import read_toml
from tests.tfds_writing import write_dataset

TOML = """
name = "arms"
title = "Two arms"
source = "made up"
notes = ["Mind the gripper."]
[match]
names = ["arms", "arms_copy"]
[match.leaves]
action = [7]
"observation/image" = [-1, -1, 3]
[settings]
action_space = "widowx_bridge"
camera = "image"
filters = { drop_first = 1, drop_last = 0 }
conversions = [{ rule = "invert", dims = 6 }]
"""
LEAVES = (
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/is_first", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image", "image", "uint8", (64, 64, 3), "jpeg"),
)


@pytest.fixture
def arms(tmp_path: Path) -> str:
    (tmp_path / "arms.toml").write_text(TOML)
    return str(tmp_path / "arms.toml")


def recipe(settings: str, folder: Path = Path("/here")) -> Recipe:
    return parse_recipe(f"robot_frac: 1\nrobot:\n  arms: {{kind: rlds, path: x, {settings}}}\n", "mixture.yaml", folder)


def source(settings: str, folder: Path = Path("/here")) -> RLDS:
    found = recipe(settings, folder).robot["arms"]
    assert isinstance(found, RLDS)
    return found


# What a standard gives


def test_what_a_recipe_leaves_out_comes_from_the_standard(arms: str) -> None:
    found = source(f"dataset: {arms}")
    assert (found.action_space, found.camera, found.filters.drop_first, found.filters.drop_last) == ("widowx_bridge", "image", 1, 0)
    assert [rule.rule for rule in found.conversions] == ["invert"]


def test_what_a_recipe_says_stands(arms: str) -> None:
    found = source(f"dataset: {arms}, action_space: generic_nd, cameras: all, filters: {{drop_first: 2}}, conversions: []")
    assert (found.action_space, found.camera, found.cameras, found.conversions) == ("generic_nd", None, "all", ())
    assert (found.filters.drop_first, found.filters.drop_last) == (2, 0), "each filter is by itself"


def test_a_path_is_relative_to_the_recipe(arms: str) -> None:
    assert source("dataset: arms.toml", Path(arms).parent).dataset == arms
    assert source("dataset: ./arms.toml", Path(arms).parent).action_space == "widowx_bridge"


@pytest.mark.parametrize("settings", ["", ", conversions: []", ", camera: null", ", filters: {min_steps: 9}"])
def test_a_recipe_that_is_read_back_needs_no_file(settings: str, arms: str) -> None:
    written = recipe(f"dataset: {arms}{settings}")
    Path(arms).unlink()
    again = from_canonical(canonical(written))
    assert again == written and canonical(again) == canonical(written)


def test_the_same_settings_make_the_same_store_whoever_gives_them(arms: str) -> None:
    filters = "filters: {drop_first: 1, drop_last: 0}, conversions: [{rule: invert, dims: 6}]"
    said = source(f"action_space: widowx_bridge, camera: image, {filters}")
    named = source(f"dataset: {arms}")
    assert named.prepare_settings() == said.prepare_settings()
    assert "dataset" not in json.loads(canonical(recipe("action_space: widowx_bridge")))["robot"]["arms"]
    assert json.loads(canonical(recipe(f"dataset: {arms}")))["robot"]["arms"]["dataset"] == arms


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("dataset: bridge_org", "no dataset is known as 'bridge_org' -> did you mean bridge_orig?"),
        ("dataset: nothing_like_it", "name a file of schemas/datasets, or the path of a .toml file"),
        ("dataset: absent.toml", "the standard of a dataset cannot be read: No such file"),
        ("dataset: bridge_orig, conversoins: []", "unknown key, did you mean 'conversions'"),
        ("dataset: 3", "robot.arms.dataset: must be "),
    ],
)
def test_mistakes(settings: str, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(settings)
    assert says in "\n".join(error.value.lines)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "arms"', "name = 3", "name: Input should be a valid string"),
        ('name = "arms"', "", "name: Field required"),
        ('title = "Two arms"', "title = ", "not TOML"),
        ("[settings]", "[settings]\npath = 'x'", "path can only be set in a recipe"),
        ("[settings]", "[other]\n[settings]", "other: Extra inputs"),
        ('["arms", "arms_copy"]', "[]", "match.names: Tuple should have at least 1 item"),
        ("[7]", "[-2]", "match.leaves.action.0: Input should be greater than or equal to -1"),
    ],
)
def test_mistakes_in_a_standard(old: str, new: str, says: str, arms: str) -> None:
    assert old in TOML
    Path(arms).write_text(TOML.replace(old, new))
    with pytest.raises(UsageError, match=says):
        load_standard(arms)


# What ships


def test_every_name_belongs_to_one_dataset() -> None:
    names = Counter(name for each in shipped() for name in {each.name, *each.match.names})
    assert [name for name, count in names.items() if count > 1] == []
    assert [each.name for each in shipped()] == sorted(path.stem for path in (schemas() / "datasets").glob("*.toml"))


@pytest.mark.parametrize("standard", shipped(), ids=lambda each: each.name)
def test_shipped_standards_are_settings_of_a_source(standard: Standard) -> None:
    found = RLDS(path="/x", dataset=standard.name)
    assert load_space(found.action_space).size == (8 if "joint" in found.action_space else 7)
    named = [*(found.action or ()), *(found.state or ())]
    read = {path.split("[")[0] for path in named if not path.startswith(("zero[", "one["))}
    assert read <= set(standard.match.leaves), "it is recognized by all that is read as numbers"


@pytest.mark.parametrize("standard", shipped(), ids=lambda each: each.name)
@pytest.mark.slow
def test_shipped_standards_fit_the_schema(standard: Standard) -> None:
    schema = json.loads((schemas() / "dataset.schema.json").read_text())
    path = schemas() / "datasets" / f"{standard.name}.toml"
    jsonschema.validate(read_toml(path, "a standard"), schema)
    assert not set(standard.settings) & set(OWN)


# What is recognized


def written(folder: Path, name: str, leaves: tuple[Leaf, ...] = LEAVES, copy: str = "") -> Path:
    episode: dict[str, Any] = {leaf.key: np.zeros((2, *leaf.shape), np.float32) for leaf in leaves if leaf.dtype == "float32"}
    episode |= {"steps/is_first": [True, False], "steps/language_instruction": ["go"] * 2}
    episode |= {leaf.key: [b"\xff\xd8\xff"] * 2 for leaf in leaves if leaf.kind == "image"}
    root = write_dataset(folder, name, leaves, {"train": [[episode]]})
    return root.parent.rename(folder / copy) if copy else root


LIBERO = (
    *LEAVES,
    Leaf("steps/observation/state", "tensor", "float32", (8,)),
    replace(LEAVES[3], key="steps/observation/wrist_image"),
)


def test_a_name_of_ours_is_no_name_of_data() -> None:
    assert candidates(["libero"], LIBERO).fitting == () and load_standard("libero").name == "libero"


@pytest.mark.parametrize(("name", "copy"), [("libero_10_no_noops", ""), ("libero_10", "libero_10_no_noops")])
def test_a_dataset_is_known_by_its_name_or_that_of_its_folder(name: str, copy: str, tmp_path: Path) -> None:
    root = written(tmp_path, name, LIBERO, copy)
    said = recognize(root).suggestion()
    assert 'dataset: "libero"' in said and 'action_space: "oxe_eef_axis_angle"' in said and "check this: 7" not in said
    found = parse_recipe(f"robot_frac: 1\n{said}", "pasted", Path("/")).robot[name]
    assert (found.action_space, found.camera, len(found.conversions)) == ("oxe_eef_axis_angle", "image", 2)


def test_another_name_is_no_match_and_is_told(tmp_path: Path) -> None:
    said = recognize(written(tmp_path, "my_arm", LIBERO)).suggestion()
    assert "dataset:" not in said and "# its features are also those of dataset libero: set it only if" in said
    assert "action_space: generic_nd # check this" in said


def test_other_features_are_no_match_and_are_told(tmp_path: Path) -> None:
    eight = (replace(LEAVES[0], shape=(8,)), *LIBERO[1:])
    said = recognize(written(tmp_path, "libero_10_no_noops", eight)).suggestion()
    assert "dataset:" not in said and "# it is called as libero, and differs: action has the shape [8], not [7]" in said
    assert candidates(["libero_10_no_noops"], LIBERO[:-1]).misfits == {"libero": "it has no observation/wrist_image"}


def test_two_candidates_are_not_decided(tmp_path: Path) -> None:
    mutex = (
        *LEAVES,
        Leaf("steps/observation/state", "tensor", "float32", (24,)),
        replace(LEAVES[3], key="steps/observation/wrist_image"),
    )
    buds = "austin_buds_dataset_converted_externally_to_rlds"
    said = recognize(written(tmp_path, "utaustin_mutex", mutex, buds)).suggestion()
    assert "dataset:" not in said and f"# dataset may be {buds} or utaustin_mutex" in said


def test_a_size_that_the_features_leave_open_fits() -> None:
    open_size = (replace(LEAVES[3], shape=(None, None, 3)), *LIBERO[:3], *LIBERO[4:])
    assert [each.name for each in candidates(["libero_10_no_noops"], open_size).fitting] == ["libero"]
