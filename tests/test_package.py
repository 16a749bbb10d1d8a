"""What is published: a wheel that holds all it needs, and works installed by itself, away from the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import pytest

from rt2data import __version__
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, ("build", "hatchling", "pip"))), reason="build, hatchling or pip are not installed"),
]


def run(*words: str | Path, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run something that knows nothing of the checkout."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PIP_NO_INDEX": "1"}
    done = subprocess.run(list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, from a copy of what belongs to the project."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "checkout"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "dist", "demo", "mixture", "store")
    shutil.copytree(ROOT, copy, ignore=lambda at, names: unwanted(at, names) if at == str(ROOT) else {"__pycache__"} & set(names))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with nothing but the wheel in it; the packages it needs are found where they are here."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--quiet", wheel, folder=folder)
    # Folders are appended by .pth files as they are; their own .pth files, the checkout's among them, are not read.
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")) + "\n")
    return folder / "bin"


def test_the_wheel_holds_schemas_and_pipelines(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("schemas", "pipelines"):
        ours = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / part).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert ours
        assert {name.removeprefix("rt2data/") for name in names if name.startswith(f"rt2data/{part}/")} == ours
    assert "rt2data/py.typed" in names


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = (path for path in (ROOT / "rt2data").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    ours = {path.relative_to(ROOT).as_posix() for path in files}
    assert {"rt2data/look/report/page.py", "rt2data/look/report/templates/page.html.j2"} <= ours <= set(names)
    assert {name.split("/")[0] for name in names} == {"rt2data", f"rt2data-{__version__}.dist-info"}
    modules = [name for name in names if not name.startswith("rt2data/pipelines/")]
    assert not [name for name in modules if "test" in Path(name).name or name.endswith((".pyc", ".tar", ".yaml"))]
    assert wheel.stat().st_size < 2_000_000


def test_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = Parser().parsestr(archive.read(f"rt2data-{__version__}.dist-info/METADATA").decode())
        points = archive.read(f"rt2data-{__version__}.dist-info/entry_points.txt").decode()
        assert f"rt2data-{__version__}.dist-info/licenses/LICENSE" in archive.namelist()
    assert (found["Name"], found["Version"], found["License-Expression"]) == ("rt2data", __version__, "Apache-2.0")
    needed = [requirement for requirement in found.get_all("Requires-Dist", []) if "extra ==" not in requirement]
    assert not [each for each in needed if each.split(">")[0].strip().lower() in ("tensorflow", "torch", "tensorflow-datasets")]
    assert "rt2data = rt2data.__main__:main" in points


def test_the_source_distribution_makes_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, source, folder=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, int]:
    return {entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist() if not entry.filename.endswith("RECORD")}


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import rt2data; print(rt2data.__file__)", folder=tmp_path).stdout
    assert where.startswith(str(installed.parent))


def test_help_and_schemas(installed: Path, tmp_path: Path) -> None:
    assert "build-mixture" in run(installed / "rt2data", "--help", folder=tmp_path).stdout
    assert run(installed / "rt2data", "--version", folder=tmp_path).stdout == f"rt2data {__version__}\n"
    template = json.loads(run(installed / "rt2data", "schema", "build_mixture", folder=tmp_path).stdout)
    assert template == json.loads((ROOT / "pipelines" / "build_mixture.metadata.json").read_text())
    shown = json.loads(run(installed / "rt2data", "schema", "example", folder=tmp_path).stdout)
    assert shown == json.loads((ROOT / "schemas" / "example.schema.json").read_text())
    run(installed / "rt2data", "init", folder=tmp_path)
    assert (tmp_path / "mixture.yaml").is_file()


def main_job(installed: Path, folder: Path) -> Sequence[subprocess.CompletedProcess[str]]:
    """The demo, half robot and half web, and its check."""
    return [
        run(installed / "rt2data", "demo", "demo", "--episodes", "2", "--scenes", "3", folder=folder),
        run(installed / "rt2data", "build-mixture", "--robot-frac", "0.5", "--json", folder=folder / "demo"),
        run(installed / "rt2data", "verify", "mixture", "--json", folder=folder / "demo"),
    ]


def test_the_demo_is_built(installed: Path, tmp_path: Path) -> None:
    _, build, verify = main_job(installed, tmp_path)
    found = json.loads(build.stdout)
    assert abs(found["robot_frac"] - 0.5) * found["examples"] <= 1
    assert json.loads(verify.stdout)["ok"]
    assert (tmp_path / "demo" / "mixture" / "manifest.json").is_file()


def test_the_pipeline_of_the_wheel_runs(installed: Path, tmp_path: Path) -> None:
    run(installed / "rt2data", "demo", "demo", "--episodes", "2", "--scenes", "3", folder=tmp_path)
    folder = run(
        installed / "python", "-c", "from rt2data.io.installation import pipelines; print(pipelines())", folder=tmp_path
    ).stdout.strip()
    run(installed / "python", Path(folder) / "build_mixture.py", "--recipe", "demo/mixture.yaml", "--out", "out", folder=tmp_path)
    run(installed / "rt2data", "verify", "out", folder=tmp_path)


def test_every_declared_python_is_tested() -> None:
    """The oldest with the lowest versions of what is needed, the others where they are installed; CI does both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = "Programming Language :: Python :: "
    declared = [each.removeprefix(named) for each in project["classifiers"] if each.startswith(named)]
    oldest = project["requires-python"].removeprefix(">=")
    made = (ROOT / "Makefile").read_text()
    others = next(line.partition("?=")[2].split() for line in made.splitlines() if line.startswith("PYTHONS ?="))
    assert declared == [oldest, *others]
    assert {"make test-lowest", "make test-pythons"} <= set((ROOT / ".ci" / "run").read_text().splitlines())


def test_a_python_that_is_missing_is_told() -> None:
    found = subprocess.run([ROOT / "tests" / "environments.sh", "3.99"], capture_output=True, text=True, check=True)
    assert found.stdout == "Python 3.99 is not installed: its tests are passed over\n"
