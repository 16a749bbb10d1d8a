"""The JSON Schemas in `schemas/`, made from the types, and the metadata of Flex templates in `pipelines/`, made from their options.

`python -m rt2data.cli.schemagen` writes them, `python -m rt2data.cli.schemagen --check` compares them.
"""

from __future__ import annotations

import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rt2data.beam.deployed import PIPELINES
from rt2data.cli.console import say_json
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import pipelines, schemas
from rt2data.io.words import did_you_mean

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """The schema of a recipe, with every source in the table. For editors and programs that write recipes."""
    from pydantic.json_schema import GenerateJsonSchema

    from rt2data.plan.recipe import recipe_model

    class Untitled(GenerateJsonSchema):
        """No titles that repeat the names of fields."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    schema = recipe_model().model_json_schema(schema_generator=Untitled)
    for part in schema["$defs"].values():
        _require_kind(part)
    return schema


def action_space_schema() -> Schema:
    """The schema of an action space's TOML file. For editors."""
    from rt2data.read.action_space import SPACE

    return SPACE.json_schema()


def dataset_schema() -> Schema:
    """The schema of a dataset's standard: a file in schemas/datasets. For editors."""
    from rt2data.read.rlds.source import RLDS
    from rt2data.read.standards import OWN, Standard

    found, source = Standard.model_json_schema(), RLDS.model_json_schema()
    settings = {name: each for name, each in source["properties"].items() if name not in OWN}
    found["properties"]["settings"] |= {"properties": settings, "additionalProperties": False}
    return found | {"$defs": found["$defs"] | source["$defs"]}


def mixture_schema() -> Schema:
    """The schema of a published mixture: a file in schemas/mixtures. For editors."""
    from rt2data.plan.recipe.presets import Preset

    return Preset.model_json_schema()


def example_schema() -> Schema:
    """The schema of an example's record. For readers of shards."""
    from rt2data.render.fields import ExampleRecord

    return _of_struct(ExampleRecord)


def manifest_schema() -> Schema:
    """The schema of manifest.json: what was requested, decided and written."""
    from rt2data.seal.manifest import Manifest

    return _of_struct(Manifest)


def plan_schema() -> Schema:
    """The schema of `rt2data plan --json`: what would be written, with what certainty, and how long it takes. For programs."""
    from rt2data.forecast.forecast import PlanForecast

    return _of_struct(PlanForecast)


def stats_schema() -> Schema:
    """The schema of `rt2data stats --json`. For reports and programs that monitor data."""
    from rt2data.look.stats.model import Stats

    return _of_struct(Stats)


def _of_struct(struct: type) -> Schema:
    """The schema of a msgspec struct, with the struct itself at the top."""
    import msgspec

    parts = _clean(msgspec.json.schema(struct)["$defs"])
    top: Schema = parts.pop(struct.__name__)
    return top | {"$defs": parts} if parts else top


def _clean(value: Any) -> Any:
    """Descriptions without the indentation of docstrings, which some versions of Python keep."""
    if isinstance(value, dict):
        return {k: inspect.cleandoc(v) if k == "description" and isinstance(v, str) else _clean(v) for k, v in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list) else value


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "action_space.schema.json": action_space_schema,
    "dataset.schema.json": dataset_schema,
    "example.schema.json": example_schema,
    "manifest.schema.json": manifest_schema,
    "mixture.schema.json": mixture_schema,
    "plan.schema.json": plan_schema,
    "recipe.schema.json": recipe_schema,
    "stats.schema.json": stats_schema,
}


METADATA = {f"{each.name}.metadata.json": each.metadata for each in PIPELINES}
"""Metadata of Flex templates, by file name."""


def schema_text(name: str) -> str:
    """The full text of a schema file, identical on every machine."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name}
    return _json(METADATA[name]() if name in METADATA else head | SCHEMAS[name]())


def _json(value: Schema) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def stale(where: Path, names: Iterable[str] = SCHEMAS) -> list[str]:
    """Names of the files that are missing or differ from the types."""
    return [name for name in names if _text(where / name) != schema_text(name)]


def write(where: Path, names: Iterable[str] = SCHEMAS) -> None:
    """(Re)write every schema."""
    for name in names:
        location.write_whole(where / name, schema_text(name).encode())


def schema(name: str, as_json: bool = False) -> None:
    """Print a JSON Schema, the metadata of a Flex template, the TOML of an action space, of a dataset (`datasets/NAME`) or of a
    mixture (`mixtures/NAME`).

    `as_json` prints it as JSON.
    """
    folder, known = schemas(), dict[str, Path]()
    places = ((folder, "", ".schema.json"), (pipelines(), "", ".metadata.json"), (folder / "actions", "", ".toml"))
    for place, begin, suffix in (*places, *((folder / each, f"{each}/", ".toml") for each in ("datasets", "mixtures"))):
        names = [entry.name for entry in location.children(place) if entry.name.endswith(suffix)]
        known |= {begin + name.removesuffix(suffix): place / name for name in names}
    if name not in known:
        listed = ", ".join(sorted(each for each in known if "/" not in each))
        do = f"{did_you_mean(name, sorted(known))}choose one of {listed}, datasets/NAME of a dataset, or mixtures/NAME"
        raise UsageError(f"no schema named {name!r}", do=do)
    text = location.read_text(known[name])
    if as_json and known[name].suffix == ".toml":
        say_json(tomllib.loads(text))
    else:
        sys.stdout.write(text)


def main(arguments: Sequence[str]) -> int:
    """Write, or with `--check` only compare; returns 0 if all are up to date."""
    places: dict[Path, Iterable[str]] = {schemas(): SCHEMAS, pipelines(): METADATA}
    if not arguments:
        for where, names in places.items():
            write(where, names)
        return 0
    if list(arguments) != ["--check"]:
        raise UsageError("schemagen takes --check or nothing")
    wrong = [where / name for where, names in places.items() for name in stale(where, names)]
    sys.stderr.writelines(f"{path} is stale: run python -m rt2data.cli.schemagen\n" for path in wrong)
    return 1 if wrong else 0


def _text(path: Path) -> str | None:
    return location.read_text(path) if location.is_file(path) else None


def _require_kind(part: Schema) -> None:
    """Make `kind` required in a recipe, although it has a default in Python. A named dataset may supply the action space."""
    properties = part.get("properties", {})
    if "kind" in properties:
        part["required"] = sorted({"kind", *part.get("required", ())})
        properties["kind"].pop("default", None)
    if "dataset" in properties:
        part["required"].remove("action_space")
        part["anyOf"] = [{"required": ["action_space"]}, {"required": ["dataset"]}]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
