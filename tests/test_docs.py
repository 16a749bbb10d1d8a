"""Every code block of README.md, CONTRIBUTING.md and docs/ runs, or is checked as far as it can be. None is skipped silently."""

from __future__ import annotations

import ast
import builtins
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
import typer

import rt2data
from rt2data.cli.app import app
from rt2data.demo.write import write_demo
from rt2data.plan.recipe import parse_recipe
from rt2data.read.action_space import load_space, space_names
from rt2data.read.rlds.source import RLDS
from rt2data.read.source import invalid_size
from rt2data.read.standards import load_standard
from rt2data.render.fields import ExampleRecord
from tests.cli.test_app import ALL
from tests.conftest import ROOT
from tests.packages import need

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = ("bash", "python", "yaml", "toml", "json", "text")
TRAINERS = ("torch",)
"""Packages of the trainers' environment: blocks that import them run there, and elsewhere their names are checked."""

NOT_RUN = {
    "rt2data build-mixture --robot-frac 0.5": "the headline: the demo's fixture has built this mixture",
    "source .venv/bin/activate": "a shell's own",
    "rt2data view mixture --serve": "serves until Ctrl-C; tests/look/view/test_server.py does",
    "rt2data inspect --suggest my_log": "tests/read/test_folder.py runs it on what the page's code writes",
    "pip install '.[all]'": "tests/test_package.py installs the wheel",
    "rt2data init path/to/log": "the paths are a person's own; tests/cli/test_init.py does it with real data",
    "rt2data check my.yaml": "the same; tests/look/check and tests/cli do it",
    "$EDITOR my.yaml": "a person's own",
    "rt2data plan my.yaml --canary 1%": "the paths are a person's own; tests/cli/test_plan.py flies a canary",
    "rt2data build-mixture my.yaml": "the paths are a person's own",
    "rt2data build-mixture -o noted": "reads what the page's Python writes; tests/plan/test_joined.py builds such mixtures",
    "rt2data verify noted": "the same",
    "rt2data plan --set 'robot.tabletop.instructions": "the same",
    "rt2data build-mixture --engine": "needs Ray, or Spark and Java; tests/engines/test_engines.py runs it",
    "rt2data build-mixture -o gs://bucket/mixture --runner dataflow": "needs a cloud project; tests/beam/test_dataflow.py runs it",
}
"""Lines that are only parsed, by how they begin, and why. `rt2data` lines among them must name real commands and options."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def imports(self) -> set[str]:
        return {name.split(".")[0] for name in re.findall(r"^(?:import|from) ([\w.]+)", self.text, re.MULTILINE)}


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])


BLOCKS = list(blocks())


def of(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == language], ids=str)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As after `make demo`: the repository's recipe, a smaller demo, the mixture."""
    folder = tmp_path_factory.mktemp("docs")
    write_demo(folder / "demo", episodes=2, scenes=6)
    (folder / "mixture.yaml").write_text((ROOT / "mixture.yaml").read_text("utf-8"))
    with chdir(folder):
        run("rt2data build-mixture --robot-frac 0.5 --overwrite")
    return folder


def run(line: str) -> None:
    """A line of a shell that begins with `rt2data`, in this process and without workers. Fails for any exit code but 0."""
    words = shlex.split(line, comments=True)[1:]
    workers = ["--workers", "0"] if "--workers" in options_of(words) else []
    code = app([*words, *workers], standalone_mode=False)
    assert not code, line


def options_of(words: list[str]) -> set[str]:
    """What the command that these words name can be given. Fails where there is no such command."""
    named = [each for each in ALL if tuple(words[: len(each)]) == each]
    assert named, f"rt2data {' '.join(words)}: no such command"
    return {name for parameter in ALL[named[0]].params for name in getattr(parameter, "opts", ())}


def lines(block: Block) -> list[str]:
    """The commands of a shell block: comments and prompts gone."""
    joined = block.text.replace("\\\n", " ")
    said = [line.removeprefix("$ ").split(" # ")[0].strip() for line in joined.splitlines()]
    return [line for line in said if line and not line.startswith("#")]


def reason(line: str) -> str:
    return next((why for begin, why in NOT_RUN.items() if line.startswith(begin)), "")


def test_every_block_says_what_it_is() -> None:
    """A drawing is `text`; it holds no command that would go unchecked."""
    assert {each.language for each in BLOCKS} <= set(LANGUAGES), [str(b) for b in BLOCKS if b.language not in LANGUAGES]
    assert [str(each) for each in BLOCKS if each.language == "text" and "rt2data " in each.text] == []
    assert sum(each.page.name == "README.md" for each in BLOCKS) >= 10


def test_nothing_is_excused_that_is_not_there() -> None:
    said = [line for each in BLOCKS if each.language == "bash" for line in lines(each)]
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in said)] == []


@of("bash")
def test_shell_blocks(block: Block, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the page, in the folder of the demo: what one block leaves the next one finds."""
    monkeypatch.chdir(demo)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines(block):
        words = shlex.split(line)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file() and reason(line), line
        elif words[0] != "rt2data":
            assert reason(line), f"{block}: {line}: run it, or say in NOT_RUN why not"
        elif reason(line):
            ours = words[: words.index("--")] if "--" in words else words  # what is behind goes to Beam
            assert {w.split("=")[0] for w in ours if w.startswith("-")} <= options_of(words[1:]), line
        else:
            run(line)


@of("python")
def test_python_blocks_use_only_names_that_there_are(block: Block) -> None:
    tree = ast.parse(block.text)
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {
        a.asname or a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
    }
    stored |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert loaded - stored - set(dir(builtins)) == set()
    for name in re.findall(r"\brt2data\.(\w+)\(", block.text):
        assert callable(getattr(rt2data, name))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(each, id=str(each), marks=[pytest.mark.trainers] if each.imports & set(TRAINERS) else [])
        for each in BLOCKS
        if each.language == "python"
    ],
)
def test_python_blocks_run(block: Block, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in block.imports & {*TRAINERS, "webdataset"}:
        need(name)
    monkeypatch.chdir(demo)
    found: dict[str, Any] = {"__name__": "__docs__"}
    exec(compile(block.text, str(block), "exec"), found)
    if "example" in found:
        assert found["example"], "the block's loop has seen examples"


def test_the_documented_decode_gives_actions(demo: Path) -> None:
    found = rt2data.decode(demo / "mixture", "1 127 140 119 128 131 127 255")
    assert found.actions.shape == (1, len(found.names)) and found.terminate.tolist() == [False]


@of("yaml")
def test_yaml_blocks_are_recipes(block: Block, tmp_path: Path) -> None:
    recipe = parse_recipe(block.text, str(block), tmp_path)
    assert recipe.robot and recipe.web


def test_every_action_space_is_in_the_table() -> None:
    page = (ROOT / "docs" / "embodiments.md").read_text("utf-8")
    rows = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\w+) \|", page, re.MULTILINE)}
    assert set(rows) == set(space_names())
    for name, title, size in rows.values():
        assert (title, size) == (load_space(name).title, str(load_space(name).size or "any"))


@of("toml")
def test_toml_blocks_are_action_spaces_or_standards(block: Block, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(block.text)
    if "[[dim]]" in block.text:
        assert load_space(tmp_path / "own.toml").size
        return
    source = RLDS(path=str(tmp_path), dataset=str(tmp_path / "own.toml"))
    widths = load_standard(str(tmp_path / "own.toml")).match.leaves
    width = sum(widths[path][0] for path in source.action or ())
    assert list(invalid_size(source.action_space, width, source.conversions)) == []


@of("json")
def test_json_blocks_are_records(block: Block) -> None:
    """Fields that there are, of their types; a value cut short by "..." is only named."""
    record, hints = json.loads(block.text), get_type_hints(ExampleRecord, include_extras=True)
    for name, value in record.items():
        if "..." in (name, value):
            continue
        whole = [each for each in value if each != "..."] if isinstance(value, list) else value
        msgspec.convert(whole, hints[name])


def spans() -> list[str]:
    """Commands inside of sentences and tables."""
    text = "\n".join(re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL) for page in PAGES)
    return sorted({found for found in re.findall(r"`([^`\n]+)`", text) if found.startswith(("rt2data ", "make "))})


@pytest.mark.parametrize("span", spans())
def test_commands_in_sentences_exist(span: str) -> None:
    words = shlex.split(span)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif len(words) == 2 and words[1].startswith("-"):
        assert words[1] in {name for each in typer.main.get_command(app).params for name in each.opts}
    elif words[1] != "store" or len(words) > 2:
        assert {word for word in words if word.startswith("-")} <= options_of(words[1:])


def test_files_that_pages_link_to_exist() -> None:
    for page in PAGES:
        for place in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / place).exists(), f"{page.name}: {place}"
