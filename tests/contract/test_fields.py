"""A new field of the record is one line of the table: every format writes it and gives it back, and so does the loader."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from rt2data.formats.base import FORMATS
from tests.conftest import ROOT

LINES = {
    "weather": 'weather: Annotated[str | None, Field("seen outside", lambda b: b.of_robot(b.same("sunny")), fill="")]',
    "letters": 'letters: Annotated[int, Field("of the text", lambda b: [len(text) for text in b.rows.text], "int64")]',
    "force": 'force: Annotated[Sequence[float] | None, Field("a force", lambda b: b.action(), "float32", "vector", fill=0.0)]',
    "tags": 'tags: Annotated[Sequence[str], Field("words", lambda b: [tuple(text.split()) for text in b.rows.text], shape="list")]',
}
"""One field each, of several types and shapes."""

SCRIPT = '''
import importlib.machinery, json, sys
from pathlib import Path

folder, lines = Path(sys.argv[1]), json.loads(sys.argv[2])

class Edited(importlib.machinery.SourceFileLoader):
    """Reads the table of fields with a line more for each new field."""

    def get_code(self, name):
        text = Path(self.path).read_text()
        at = text.index("\\n    notes: Annotated[")  # the first that only some mixtures have
        text = text[:at] + "".join(f"\\n    {line}" for line in lines) + text[at:]
        return compile(text, self.path, "exec")

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "rt2data.render.fields":
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        found.loader = Edited(name, found.origin)
        return found

sys.meta_path.insert(0, Finder)

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS, make_format
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.loading import wide

SOURCES.update(wide.TABLE)
(folder / "mixture.yaml").write_text(wide.recipe(examples=20))
found = {}
for name in FORMATS:
    out = folder / name
    manifest = build_plainly(read_recipe(folder / "mixture.yaml", [f"shards.format={name}"]), Site(out))
    form = make_format(name)
    found[name] = [json.loads(bytes(member.record)) for shard in manifest.shards for member in form.read(out / shard.name)]
loaded = rt2data.load(folder / "webdataset", decode=None)
found["load"] = [{key: value.tolist() if hasattr(value, "tolist") else value for key, value in each.items()} for each in loaded]
batch = next(rt2data.load(folder / "webdataset", decode=None).batches(8))
found["batch"] = {key: str(getattr(batch[key], "dtype", "list")) for key in sys.argv[3].split(",")}
print(json.dumps(found))
'''


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The records that each format gives back where the table has the new lines, and those of the loader."""
    folder, lines = tmp_path_factory.mktemp("fields"), [*LINES.values()]
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(lines), ",".join(LINES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def by_key(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record["key"]: record for record in records}


@pytest.mark.parametrize("name", [*FORMATS, "load"])
def test_a_line_is_a_field(found: dict[str, Any], name: str) -> None:
    records = by_key(found[name])
    assert len(records) == 20
    for record in records.values():
        robot = record["kind"] == "robot"
        assert record["weather"] == ("sunny" if robot else None)
        assert record["letters"] == len(record["text"])
        assert record["force"] == record["action"] and (record["force"] is None) == (not robot)
        assert record["tags"] == record["text"].split()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "webdataset"])
def test_all_other_fields_stay(found: dict[str, Any], name: str) -> None:
    assert by_key(found[name]) == by_key(found["webdataset"])


def test_batches_have_it(found: dict[str, Any]) -> None:
    assert found["batch"] == {"weather": "list", "letters": "list", "force": "float32", "tags": "list"}
