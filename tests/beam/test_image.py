"""The image of launcher and workers, as far as it can be checked without building it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

from rt2data.beam.deployed import PIPELINES
from tests.conftest import ROOT

FOLDER = ROOT / "pipelines"
TEXT = (FOLDER / "Dockerfile").read_text()
COPIED = [name for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE) for name in line.split()[:-1]]

PINNED = r"^([a-z0-9-]+)==([^ ;]+)"
"""Of a lock: a name and a version; a name may have several, for several Pythons."""


def argument(name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", TEXT, re.MULTILINE)
    assert found, name
    return found[1]


def versions(lock: str) -> dict[str, str]:
    return dict(re.findall(PINNED, (ROOT / lock).read_text(), re.MULTILINE))


def test_beam_has_the_version_of_the_lock() -> None:
    assert argument("BEAM") == versions("requirements-image.lock")["apache-beam"]
    assert argument("PYTHON").replace(".", "") in argument("LAUNCHER")


def test_the_lock_has_hashes_and_is_that_of_the_tests() -> None:
    text = (ROOT / "requirements-image.lock").read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry] == []
    image, tested = (
        versions("requirements-image.lock"),
        set(re.findall(PINNED, (ROOT / "requirements.lock").read_text(), re.MULTILINE)),
    )
    names = {name for name, _ in tested}
    assert {(name, version) for name, version in image.items() if name in names} <= tested
    assert {"apache-beam", "google-cloud-storage", "google-cloud-dataflow-client", "hatchling"} <= image.keys()


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == set(COPIED)
    assert all((ROOT / name).exists() for name in COPIED)
    assert any(fnmatch("rt2data/__pycache__", line) for line in lines)


def test_it_launches_each_pipeline() -> None:
    place = re.search(r"^ENV FLEX_TEMPLATE_PYTHON_PY_FILE=.*/rt2data/pipelines/\$\{PIPELINE\}\.py$", TEXT, re.MULTILINE)
    assert place and argument("PIPELINE") in {each.name for each in PIPELINES}
    assert all((FOLDER / f"{each.name}.py").is_file() for each in PIPELINES)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("build", "hatchling"))), reason="build or hatchling are not installed")
def test_what_is_copied_is_enough_to_install(tmp_path: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
