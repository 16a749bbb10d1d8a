"""A file URI is its path. A URI that no body reads is refused wherever it enters, exit code 2, before anything is read."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
import typer

import rt2data
from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.io.location import absolute, is_remote, path_of, resolve
from rt2data.io.location.paths import parted
from rt2data.plan.recipe import RecipeError, read_recipe
from rt2data.prepare.catalog import find_store
from tests.conftest import ROOT

URLS = (
    "hdfs://host/x",
    "ftp://host/x",
    "abfss://container/x",
    "file://host/data/x",
    "hdfs:/host/x",
)
RECIPE = """
robot_frac: 1/2
robot: {arm: {kind: rlds, path: logs, action_space: widowx_bridge}}
web: {qa: {kind: vqav2, questions: q.json, annotations: a.json, image_dirs: [images]}}
"""


def commands(group: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    for each in group.registered_commands:
        assert each.callback is not None
        yield (*words, each.name or each.callback.__name__.replace("_", "-")), each.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, (*words, str(inner.name)))


def holds_path(hint: Any) -> bool:
    return hint is Path or any(map(holds_path, get_args(hint)))


def lines(words: tuple[str, ...], callback: Callable[..., Any]) -> Iterator[list[str]]:
    """A command line for each parameter of a command that is a path, `URL` in its place."""
    hints = get_type_hints(callback, include_extras=True)
    needed = [name for name, each in inspect.signature(callback).parameters.items() if each.default is each.empty]
    for name, hint in hints.items():
        if holds_path(hint):
            others = [word for other in needed if other != name for word in (*option(other, hints[other]), "x")]
            yield [*words, *others, *option(name, hint), "URL"]


def option(name: str, hint: Any) -> list[str]:
    """How a parameter is named on the command line; nothing for an argument."""
    info = next(each for each in hint.__metadata__ if hasattr(each, "param_decls"))
    return [(info.param_decls or (f"--{name.replace('_', '-')}",))[0]] if type(info).__name__ == "OptionInfo" else []


LINES = [line for words, callback in commands(app) for line in lines(words, callback)]


def test_the_walk_finds_what_is_known() -> None:
    found = {" ".join(line) for line in LINES}
    assert {"inspect URL", "demo URL", "build-mixture -o URL", "report x -o URL", "report x --markdown URL"} <= found
    assert {"inspect x --png URL", "store list --store URL", "init URL", "verify URL", "diff x URL", "view URL"} <= found


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_path_of_every_command(line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in URLS[:1] + URLS[-1:]:
        with pytest.raises(UsageError, match="hdfs:// is not supported") as caught:
            app([url if word == "URL" else word for word in line], standalone_mode=False)
        assert caught.value.code == 2
        assert caught.value.where == "hdfs://host/x"
    assert list(tmp_path.iterdir()) == []


WRITTEN = {
    *(
        "init -o URL",
        "init-space x -o URL",
        "store keep-ranges x -o URL",
        "demo URL",
        "build-mixture -o URL",
        "write-rlds -o URL",
        "inspect x --png URL",
        "view x --save URL",
    ),
    *("stats -o URL", "report x -o URL", "report x --markdown URL"),
}


@pytest.mark.parametrize("url", ["https://host/x", "hf://datasets/lab/x"])
@pytest.mark.parametrize("line", [line for line in LINES if " ".join(line) in WRITTEN], ids=" ".join)
def test_what_is_only_read_is_no_output(line: list[str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^(https|hf):// is read only") as caught:
        app([url if word == "URL" else word for word in line], standalone_mode=False)
    assert caught.value.code == 2 and caught.value.where == url
    assert list(tmp_path.iterdir()) == []


def test_every_output_is_marked() -> None:
    """Whatever else a command takes is read: a new option that is written must be in this list, and `WRITTEN` in its annotation."""
    every = {" ".join(line) for line in LINES}
    assert every >= WRITTEN
    read = ("--prices", "--recipe", "--store")
    assert not [line for line in every - WRITTEN if " -" in line and not any(option in line for option in read)]


def test_a_store_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError, match=r"store.*hf://datasets/lab/x: hf:// is read only -> write to a local path or gs://"):
        read_recipe(tmp_path / "mixture.yaml", overrides=("store=hf://datasets/lab/x",))
    with pytest.raises(UsageError, match="https:// is read only"):
        app(["store", "prune", "--store", "https://host/x", "--yes"], standalone_mode=False)
    monkeypatch.setenv("RT2DATA_STORE", "https://host/x")
    with pytest.raises(UsageError, match="https:// is read only"):
        read_recipe(tmp_path / "mixture.yaml")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "key",
    [
        "robot.arm.path",
        "robot.arm.action_space",
        "web.qa.questions",
        "web.qa.annotations",
        "web.qa.image_dirs",
        "store",
        "tokenizer.path",
    ],
)
def test_every_path_of_a_recipe(key: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    more = ("tokenizer={kind: hf, path: x}",) if key.startswith("tokenizer") else ()
    with pytest.raises(RecipeError, match=rf"--set .*{key}.*(:// is not supported|file URI names an absolute)"):
        read_recipe(tmp_path / "mixture.yaml", overrides=(*more, f"{key}={url}"))


def test_a_recipe_says_where(tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(RECIPE.replace("path: logs", "path: hdfs://host/logs"))
    with pytest.raises(RecipeError, match=r"mixture\.yaml:3:33 robot\.arm\.path: hdfs://host/logs.*mount"):
        read_recipe(tmp_path / "mixture.yaml")


def test_variables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RT2DATA_LOGS", "hdfs://host")
    (tmp_path / "mixture.yaml").write_text(RECIPE.replace("path: logs", "path: '${RT2DATA_LOGS}/logs'"))
    with pytest.raises(RecipeError, match="hdfs://host/logs"):
        read_recipe(tmp_path / "mixture.yaml")


def test_the_store_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RT2DATA_STORE", "hdfs://host/store")
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    with pytest.raises(UsageError, match="hdfs://host/store"):
        read_recipe(tmp_path / "mixture.yaml")
    assert read_recipe(tmp_path / "mixture.yaml", overrides=("store=here",)).store_folder == tmp_path / "here"


@pytest.mark.parametrize("url", URLS)
def test_python(url: str, tmp_path: Path) -> None:
    for opened in (rt2data.load, read_recipe, lambda path: find_store(tmp_path, path)):
        with pytest.raises(UsageError, match=r"is not supported|a file URI names an absolute"):
            opened(url)


def pipeline(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "pipelines" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("build_mixture", "--out"),
        ("build_mixture", "--recipe"),
        *(("mixture_stats", f"--{x}") for x in ("path", "out", "recipe", "store")),
    ],
)
def test_pipelines(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        pipeline(name).parse([option, "hdfs://host/x"])
    assert "mount it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["build_mixture", "mixture_stats"])
@pytest.mark.parametrize("option", ["--out", "--failure-file"])
def test_pipelines_write_nothing_where_it_is_only_read(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        pipeline(name).parse([option, "https://host/x"])
    assert "https:// is read only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("FILE://localhost/data/x", "/data/x"),
        ("file:///data/a%20b%25", "/data/a b%"),
        (Path("file:///data/x"), "/data/x"),
    ],
)
def test_a_file_uri_is_the_plain_path(uri: str | Path, path: str) -> None:
    assert path_of(uri) == Path(path)
    assert resolve(uri) == resolve(path)


@pytest.mark.parametrize("uri", ["file:", "file://data", "file://host/data/x"])
def test_a_file_uri_is_absolute_and_local(uri: str) -> None:
    with pytest.raises(UsageError, match=r"a file URI names an absolute local path.* -> write file:///") as caught:
        path_of(uri)
    assert caught.value.code == 2


def test_a_recipe_takes_file_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    uris = "robot.arm.path=file:///logs", "web.qa.image_dirs=file:///images", f"store={tmp_path.as_uri()}/store"
    found = read_recipe((tmp_path / "mixture.yaml").as_uri(), overrides=uris)
    assert found == read_recipe(
        tmp_path / "mixture.yaml", overrides=("robot.arm.path=/logs", "web.qa.image_dirs=/images", f"store={tmp_path}/store")
    )
    monkeypatch.setenv("RT2DATA_STORE", "file:///data/store")
    assert read_recipe(tmp_path / "mixture.yaml").store_folder == Path("/data/store")


def test_a_command_takes_file_uris(tmp_path: Path) -> None:
    app(["init", (tmp_path / "a b.yaml").as_uri()], standalone_mode=False)
    assert (tmp_path / "a b.yaml").is_file()


@pytest.mark.parametrize(
    "uri", ["gs://bucket/a/b", "s3://bucket/a/b", "az://container/a/b", Path("gs://bucket/a/b"), "GS://bucket/a/b"]
)
def test_the_name_of_an_object_is_a_path(uri: str | Path) -> None:
    path = path_of(uri)
    whole = f"{str(uri)[:2].lower()}://{'container' if str(uri)[:2] == 'az' else 'bucket'}"
    assert (str(path), str(path / "c.tar"), path.name) == (f"{whole}/a/b", f"{whole}/a/b/c.tar", "b")
    assert (str(path.parent), str(path.with_name(".b.lock"))) == (f"{whole}/a", f"{whole}/a/.b.lock")
    assert pickle.loads(pickle.dumps(path)) == path and str(path_of(str(path))) == str(path)
    assert is_remote(path) and is_remote(str(path)) and absolute(path) == path
    assert not is_remote("/a/gs:/x") and not is_remote(Path("gs")) and not is_remote("hdfs://host/x")


@pytest.mark.parametrize(
    ("uri", "inside"),
    [
        ("https://host/a/b%20c", "a/b%20c"),
        ("https://host:8443/a", "a"),
        ("http://127.0.0.1:80/a", "a"),
        ("http://[::1]/a", "a"),
        ("hf://datasets/lab/logs/a/b", "a/b"),
        ("hf://datasets/lab/logs@v1.0/a", "a"),
        ("hf://datasets/lab/logs@refs/pr/3/a/b", "a/b"),
        ("hf://datasets/lab/logs@refs/convert/parquet/a", "a"),
        ("hf://lab/model/tokenizer.json", "tokenizer.json"),
        ("hf://datasets/lab/logs", ""),
    ],
)
def test_a_name_that_is_only_read_is_a_path(uri: str, inside: str) -> None:
    path = path_of(uri)
    assert str(path) == uri and is_remote(path) and str(path / "c") == f"{uri}/c" and pickle.loads(pickle.dumps(path)) == path
    found = parted(uri)
    assert found is not None and found[2] == inside


def test_a_recipe_takes_objects(tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    found = read_recipe(tmp_path / "mixture.yaml", overrides=("robot.arm.path=gs://bucket/logs", "store=s3://bucket/store"))
    assert found.robot["arm"].path == "gs://bucket/logs"  # type: ignore[attr-defined]
    assert str(found.store_folder) == "s3://bucket/store"


@pytest.mark.parametrize("path", ["a/b", "/a:b/c", "C:/x", "a/b:/c", "2:/x", "a:b", "./-", ""])
def test_other_paths_stay(path: str) -> None:
    assert path_of(path) == Path(path)
