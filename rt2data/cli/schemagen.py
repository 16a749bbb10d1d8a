"""The JSON Schemas in `schemas/`, made from the types.

`python -m rt2data.cli.schemagen` writes them, `python -m rt2data.cli.schemagen --check` compares them.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rt2data.cli.console import say_json
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.words import choose

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """What a recipe can say, with every source of the table. For editors and programs that write recipes."""
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


def example_schema() -> Schema:
    """The record of an example. For readers of shards."""
    from rt2data.render.fields import ExampleRecord

    return _of_struct(ExampleRecord)


def manifest_schema() -> Schema:
    """manifest.json: what was asked, decided and written."""
    from rt2data.seal.manifest import Manifest

    return _of_struct(Manifest)


def plan_schema() -> Schema:
    """`rt2data plan --json`: what would be written, how certain that is, how long it takes. For programs."""
    from rt2data.forecast.forecast import PlanForecast

    return _of_struct(PlanForecast)


def stats_schema() -> Schema:
    """What `rt2data stats --json` prints. For reports and programs that monitor data."""
    from rt2data.look.stats.model import Stats

    return _of_struct(Stats)


def _of_struct(struct: type) -> Schema:
    """The schema of a msgspec struct, with the struct itself at the top."""
    import msgspec

    parts = msgspec.json.schema(struct)["$defs"]
    top: Schema = parts.pop(struct.__name__)
    return top | {"$defs": parts} if parts else top


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "example.schema.json": example_schema,
    "manifest.schema.json": manifest_schema,
    "plan.schema.json": plan_schema,
    "recipe.schema.json": recipe_schema,
    "stats.schema.json": stats_schema,
}


def schema_text(name: str) -> str:
    """The file's whole text; the same on every machine."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name}
    return json.dumps(head | SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def stale(where: Path) -> list[str]:
    """Names of the files that are missing or differ from the types."""
    return [name for name in SCHEMAS if _text(where / name) != schema_text(name)]


def write(where: Path) -> None:
    """(Re)write every schema."""
    for name in SCHEMAS:
        location.write_whole(where / name, schema_text(name).encode())


def schema(name: str, as_json: bool = False) -> None:
    """Print a JSON Schema, or the TOML of an action space, with `as_json` as JSON."""
    folder = schemas()
    known: dict[str, Path] = {}
    for place, suffix in ((folder, ".schema.json"), (folder / "actions", ".toml")):
        names = [entry.name for entry in location.children(place) if entry.name.endswith(suffix)]
        known |= {name.removesuffix(suffix): place / name for name in names}
    if name not in known:
        raise UsageError(f"no schema named {name!r}", do=choose(name, sorted(known)))
    text = location.read_text(known[name])
    if as_json and known[name].suffix == ".toml":
        say_json(tomllib.loads(text))
    else:
        sys.stdout.write(text)


def main(arguments: Sequence[str]) -> int:
    """Write, or with `--check` only compare: 0 where all are current."""
    where = schemas()
    if not arguments:
        write(where)
        return 0
    if list(arguments) != ["--check"]:
        raise UsageError("schemagen takes --check or nothing")
    wrong = stale(where)
    sys.stderr.writelines(f"{where / name} is stale: run python -m rt2data.cli.schemagen\n" for name in wrong)
    return 1 if wrong else 0


def _text(path: Path) -> str | None:
    return location.read_text(path) if location.is_file(path) else None


def _require_kind(part: Schema) -> None:
    """In a recipe `kind` is required, though in Python it has a default."""
    if "kind" in part.get("properties", {}):
        part["required"] = sorted({"kind", *part.get("required", ())})
        part["properties"]["kind"].pop("default", None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
