"""The schemas in `schemas/` say what the types say, and what they accept is what we read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from rt2data.cli import schemagen
from rt2data.cli.init import starter
from rt2data.errors import InternalError, UsageError
from rt2data.io import installation as resources
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.plan.recipe.document import parse


@pytest.fixture(scope="module")
def recipe_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((resources.schemas() / "recipe.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def as_json(text: str) -> Any:
    """YAML text as an editor sees it."""
    return json.loads(json.dumps(parse(text, "mixture.yaml").value))


same_msgspec = pytest.mark.skipif(
    tuple(map(int, msgspec.__version__.split(".")[:2])) < (0, 22),
    reason="schemas are written with a newer msgspec, which orders alternatives otherwise",
)


@same_msgspec
def test_committed_schemas_are_the_generated_ones() -> None:
    assert schemagen.stale(resources.schemas()) == []
    assert schemagen.main(["--check"]) == 0


@same_msgspec
def test_stale_and_missing_schemas_are_noticed(tmp_path: Path) -> None:
    schemagen.write(tmp_path)
    assert schemagen.stale(tmp_path) == []
    for name in schemagen.SCHEMAS:
        assert (tmp_path / name).read_text("utf-8").endswith("}\n")
        (tmp_path / name).write_text("{}")
    assert schemagen.stale(tmp_path) == list(schemagen.SCHEMAS)
    with pytest.raises(UsageError):
        schemagen.main(["--chekc"])


def test_every_setting_is_described(recipe_schema: dict[str, Any]) -> None:
    parts = {"Recipe": recipe_schema, **recipe_schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, each in part.get("properties", {}).items()
        if "description" not in each and key not in ("kind", "rule")  # the docstring of the class says what it is
    ]
    assert bare == []


def test_the_starter_is_valid(recipe_schema: dict[str, Any], tmp_path: Path) -> None:
    jsonschema.validate(as_json(starter()), recipe_schema)
    recipe = parse_recipe(starter(), "mixture.yaml", tmp_path)
    assert list(recipe.sources) == ["bridge", "coco"]
    assert starter().splitlines()[0] == "# yaml-language-server: $schema=recipe.schema.json"


def test_the_starter_finds_real_data(recipe_schema: dict[str, Any], shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(shared_data / "rlds_bridge" / "bridge_dataset")
    coco = shared_data / "coco_web"
    text = starter(
        path="logs/1.0.0",
        questions=str(coco / "annotations" / "v2_OpenEnded_mscoco_trainval2014_questions.json"),
        annotations=str(coco / "annotations" / "v2_mscoco_trainval2014_annotations.json"),
        image_dir=str(coco / "train2017"),
    )
    jsonschema.validate(as_json(text), recipe_schema)
    recipe = parse_recipe(text, "mixture.yaml", tmp_path)
    for source in recipe.sources.values():
        assert source.files() and all(Path(file).exists() for file in source.files())


def test_the_starter_takes_any_path(tmp_path: Path) -> None:
    odd = "a: b/#\"'{}é"
    recipe = parse_recipe(starter(path=odd, robot="arm"), "mixture.yaml", tmp_path)
    assert recipe.robot["arm"].path == str(tmp_path / odd)  # type: ignore[attr-defined]


CHANGES = {
    "seed: 0": ["seed: 1", "seed: -1", "seed: x", "seed: 1.5", "sed: 1"],
    "robot_frac: 0.5": [
        "robot_frac: 2/3",
        "robot_frac: 50%",
        "robot_frac: 1.5",
        "robot_frac: 1e3x",
        "robot_frac: '1e3'",
        "robot_frac: 012",
    ],
    "template: rt2": ["template: openvla", "template: gpt"],
    "bytes: 256MB": ["bytes: 64MiB", "bytes: 1000", "bytes: 0", "bytes: 12XB"],
    "tokenizer: byte": ["tokenizer: t.json", "tokenizer: {kind: hf, path: x}", "tokenizer: {kind: gpt}", "tokenizer: 3"],
    "kind: rlds": ["kind: vqav2", "kind: x", "knid: rlds"],
    "min_steps: 2": ["min_steps: 0", "min_steps: no", "drop_last: 3, min_steps: 2"],
    "weight: 1 ": ["weight: 0.1", "weight: -1", "weight: [1]"],
}


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, news in CHANGES.items() for new in news])
def test_editor_and_reader_agree(recipe_schema: dict[str, Any], old: str, new: str) -> None:
    text = starter().replace(old, new)
    assert text != starter()
    valid = jsonschema.Draft202012Validator(recipe_schema).is_valid
    try:
        parse_recipe(text, "mixture.yaml", Path("/"))
    except RecipeError as error:
        if not any("YAML" in mistake.message for mistake in error.mistakes):
            assert not valid(as_json(text))
    else:
        assert valid(as_json(text))


def test_resources_lie_in_a_wheel_or_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "rt2data"
    (package.parent / "schemas").mkdir(parents=True)
    package.mkdir()
    with pytest.raises(InternalError, match="lacks its schemas/"):
        resources.folder("schemas", package)  # the neighbour is somebody else's
    (package.parent / "pyproject.toml").touch()
    assert resources.folder("schemas", package) == package.parent / "schemas"
    (package / "schemas").mkdir()
    assert resources.folder("schemas", package) == package / "schemas"
    assert resources.pipelines().is_dir() and resources.schemas().is_dir()
