"""Which folder may import which, checked on the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from rt2data.read.source import SOURCES
from tests.conftest import ROOT

# From the bottom up. A folder imports from its own layer and from those above it in this list, never from those below.
LAYERS = {
    "base": {"errors", "order", "records"},
    "I/O": {"io", "tally"},
    "settings": {"settings"},
    "images": {"images"},
    "read": {"read"},
    "standardize": {"standardize"},
    "prepare": {"prepare"},
    "render": {"render"},
    "formats": {"formats"},
    "plan": {"loading", "plan"},
    "write": {"write"},
    "seal": {"seal"},
    "engines": {"engines"},
    "whole": {"build", "demo", "look"},
    "run": {"beam", "forecast"},
    "CLI": {"__init__", "__main__", "cli", "pipelines"},
}
LOOSE = {"__init__", "__main__", "build", "errors", "order", "records", "settings"}
"""The only modules that lie in no folder."""
RANK = {room: rank for rank, rooms in enumerate(LAYERS.values()) for room in rooms}
AT_RUN_TIME = ("tensorflow", "tensorflow_datasets", "torch", "jax", "yaml", "dill", "cloudpickle")
"""Never imported: heavy, or able to run what a file says."""


PATH_METHODS = {
    *(
        "absolute",
        "chmod",
        "exists",
        "glob",
        "hardlink_to",
        "is_dir",
        "is_file",
        "is_mount",
        "is_symlink",
        "iterdir",
        "lstat",
        "mkdir",
    ),
    *(
        "open",
        "read_bytes",
        "read_text",
        "rename",
        "resolve",
        "rglob",
        "rmdir",
        "samefile",
        "stat",
        "symlink_to",
        "touch",
        "unlink",
    ),
    *("write_bytes", "write_text"),
}
NO_PATHS = {"entry", "location", "Image", "tarfile", "views"}
"""Owners of methods of the same names: an `entry` from `location.children`, images and archives opened as objects."""
FILE_MODULES: dict[str, set[str] | None] = {
    **dict.fromkeys(("shutil", "glob", "mmap", "sqlite3", "gzip", "bz2", "lzma", "zipfile")),
    "os": {
        *("access", "chmod", "fsync", "link", "listdir", "lstat", "makedirs", "mkdir", "open", "posix_fadvise", "pread", "preadv"),
        *("remove", "removedirs", "rename", "replace", "rmdir", "scandir", "stat", "statvfs", "symlink", "truncate", "unlink"),
        *("utime", "walk"),
    },
    "os.path": {"abspath", "exists", "getmtime", "getsize", "isdir", "isfile", "islink", "lexists", "realpath", "samefile"},
}
"""What touches files in modules of the standard library; None: all of it."""


@dataclass(frozen=True)
class Import:
    """One import of a module of ours."""

    importer: str
    name: str  # dotted: a module, or something of a module
    line: int
    at_top: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.name}"


def files() -> Iterator[Path]:
    for folder in ("rt2data", "pipelines"):
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def trees() -> dict[str, ast.Module]:
    """Module name -> what it says."""
    return {_module(path): ast.parse(path.read_text("utf-8")) for path in files()}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports() -> tuple[Import, ...]:
    """All of them, those inside functions and those for type checkers too."""
    return tuple(each for module, tree in trees().items() for each in _imports(module, tree.body, at_top=True))


def _imports(module: str, body: list[ast.stmt], at_top: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}, line {node.lineno}: imports are absolute"
            yield from (Import(module, f"{node.module}.{alias.name}", node.lineno, at_top) for alias in node.names)
        else:
            inner = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            bodies = [getattr(node, field, []) for field in ("body", "orelse", "finalbody")]
            bodies += [handler.body for handler in getattr(node, "handlers", [])] + [
                case.body for case in getattr(node, "cases", [])
            ]
            for each in bodies:
                yield from _imports(module, each, inner)


@cache
def rooms() -> set[str]:
    """Folders of the package, and its loose modules."""
    return {module.split(".")[1] for module in trees() if module.startswith("rt2data.")}


@cache
def room(name: str) -> str:
    """`rt2data.render.action_tokens` lies in `render`; what stands in the package's own file is `__init__`."""
    parts = name.split(".")
    if parts[0] != "rt2data":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in rooms() else "__init__"


def ours() -> list[Import]:
    return [each for each in imports() if each.name.split(".")[0] in ("rt2data", "pipelines", "tests")]


def imported(*packages: str) -> list[Import]:
    return [each for each in imports() if each.name.split(".")[0] in packages]


def test_every_room_has_its_layer() -> None:
    rooms = {room(module) for module in trees()}
    assert rooms - RANK.keys() == set(), "name the layer of a new room in LAYERS"
    assert RANK.keys() - rooms == set(), "these rooms are gone"


def test_few_modules_lie_loose() -> None:
    assert {path.stem for path in (ROOT / "rt2data").glob("*.py")} == LOOSE


def test_arrows_point_down() -> None:
    up = [str(each) for each in ours() if RANK[room(each.importer)] < RANK[room(each.name)]]
    assert up == []


def test_nothing_goes_round_in_circles() -> None:
    """Modules, by the imports at their tops. A room's table of what is in it is looked up late."""
    graph: dict[str, set[str]] = {module: set() for module in trees()}
    for each in ours():
        if each.at_top:
            graph[each.importer].add(_known(each.name, graph))
    try:
        TopologicalSorter({module: needed - {module} for module, needed in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _known(name: str, modules: dict[str, set[str]]) -> str:
    while name not in modules:
        name = name.rpartition(".")[0]
    return name


def test_nothing_shipped_imports_what_uses_it() -> None:
    assert [str(each) for each in ours() if each.name.split(".")[0] in ("tests", "pipelines")] == []


def test_only_the_graph_imports_beam() -> None:
    users = {room(each.importer) for each in imported("apache_beam")}
    assert users <= {"beam", "pipelines"}
    modules = {each.importer for each in imported("apache_beam") if each.at_top}
    assert modules == {"rt2data.beam.graph", "rt2data.beam.pipeline_options"}, (
        "its import takes seconds: elsewhere it is imported when it is needed"
    )


def test_nothing_imports_what_is_heavy_or_unsafe() -> None:
    assert [str(each) for each in imported(*AT_RUN_TIME)] == []


def test_nothing_runs_what_a_file_says() -> None:
    """No pickle is read (but an error's, made on the same line, and by a program that knows no names), nothing is evaluated."""
    for module, tree in trees().items():
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in ("eval", "exec", "compile", "__import__", "pickle.load", "pickle.Unpickler"), f"{module}: {called}"
            if called == "pickle.loads":
                assert isinstance(node, ast.Call)
                assert ast.unparse(node.args[0]).startswith("pickle.dumps("), module
    users = {each.importer for each in imported("pickle", "marshal", "shelve")}
    assert users <= {"rt2data.engines.outcome", "rt2data.read.bridge_raw.unpickle"}
    assert not {each.importer for each in ours() if each.name.startswith("rt2data.read.bridge_raw.unpickle")}, (
        "it is run, not imported"
    )


def test_only_io_touches_the_file_system() -> None:
    """Calls that open, list, look at, make or remove files by name."""
    found = [
        f"{module}, line {node.lineno}: {ast.unparse(node)}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and room(module) != "io" and _touches_files(node)
    ]
    assert found == [], "use rt2data.io.location"


@pytest.mark.parametrize(
    ("call", "touches"),
    [
        *(("path.open('rb')", True), ("path.open()", True), ("os.open(path, flags)", True), ("open(path)", True)),
        *(("(folder / 'x').stat()", True), ("shutil.rmtree(path)", True), ("mmap.mmap(file.fileno(), 0)", True)),
        *(("self.format.open(file, sizes)", False), ("mmap.mmap(-1, size)", False), ("location.stat(path)", False)),
    ],
)
def test_calls_that_touch_files_are_recognized(call: str, touches: bool) -> None:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    assert _touches_files(node) == touches


def _touches_files(call: ast.Call) -> bool:
    called = call.func
    if isinstance(called, ast.Name):
        return called.id in ("open", "rmtree", "scandir", "disk_usage", "TemporaryDirectory")
    if not isinstance(called, ast.Attribute):
        return False
    owner = ast.unparse(called.value)
    if owner.endswith(".format") and called.attr == "open":
        return False  # a Format: its `open` starts a shard in a file that is open already
    if owner == "mmap" and ast.unparse(call.args[0]) == "-1":
        return False  # memory, no file
    if owner in FILE_MODULES:
        return FILE_MODULES[owner] is None or called.attr in (FILE_MODULES[owner] or ())
    return called.attr in PATH_METHODS and owner not in NO_PATHS


def test_the_library_prints_nothing() -> None:
    talkers = {
        room(module)
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "input")
    }
    assert talkers <= {"cli"}


def test_the_command_imports_little_at_its_top() -> None:
    first = ("rt2data.cli.app", "rt2data.cli.running")
    tops = {each.name.split(".")[0] for each in imports() if each.importer in first and each.at_top}
    assert tops - sys.stdlib_module_names <= {"typer", "rt2data"}
    inside = {each.name for each in ours() if each.importer in first and each.at_top}
    assert {room(name) for name in inside} == {"cli", "errors", "io"}
    assert {name for name in inside if room(name) == "cli"} == {
        "rt2data.cli.commands.WRITTEN",
        "rt2data.cli.commands.App",
        "rt2data.cli.commands.Quiet",
        "rt2data.cli.commands.accept_uris",
        "rt2data.cli.running.run",
        "rt2data.cli.commands.verbosity",
    }


def test_workers_import_little() -> None:
    """What a worker process imports, in a process of its own. (pyarrow takes cloudpickle wherever it finds it.)"""
    script = "import sys, rt2data.beam.work; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())
    assert "rt2data.write.shard" in loaded
    heavy = {"apache_beam", "typer", "rich", "grpc", "google", "pandas", "scipy", *AT_RUN_TIME} - {"cloudpickle"}
    assert not heavy & {name.split(".")[0] for name in loaded}
    assert not {"rt2data.plan.recipe", "rt2data.render.regions.table", "rt2data.read.annotations.join"} & loaded
    sources = {place.partition(":")[0] for place in SOURCES.values()}
    assert not sources & loaded, "each worker imports the reader of its order"
