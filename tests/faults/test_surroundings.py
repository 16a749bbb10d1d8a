"""Odd surroundings: no terminal, another locale, nobody who reads, strange names. The bytes stay the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import sha256_of
from tests.faults.command import COMMAND, LIMIT_S, Warm, environment, rt2data
from tests.faults.conftest import INLINE, Place, make_place

slow = pytest.mark.slow
PLAIN = {"LC_ALL": "C", "LANG": None}
ASCII = {**PLAIN, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
ALL = {
    **ASCII,
    "COLUMNS": "20",
    "HOME": None,
    "TMPDIR": "/no/such/folder",
    "TERM": None,
    "TZ": "Pacific/Chatham",
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"COLUMNS": "20"}, id="a narrow screen", marks=slow),
        pytest.param({"HOME": None}, id="no home", marks=slow),
        pytest.param({"TMPDIR": "/no/such/folder"}, id="no temporary folder", marks=slow),
        pytest.param({"TZ": "Pacific/Chatham", "SOURCE_DATE_EPOCH": "0"}, id="another time", marks=slow),
    ],
)
def test_the_environment(prepared: Place, built: Place, warm: Warm, changes: Mapping[str, str | None]) -> None:
    warm(prepared.folder, *INLINE, env=changes).succeeded()
    assert prepared.bytes_built == built.bytes_built


@slow
def test_all_at_once_and_from_the_start(prepared: Place, built: Place) -> None:
    """With worker processes, whose start goes through a temporary folder."""
    ended = rt2data(prepared.folder, "build-mixture", "--workers", "1", env=ALL, umask=0o077)
    ended.succeeded()
    assert prepared.bytes_built == built.bytes_built
    assert "\x1b" not in ended.out + ended.err and "\r" not in ended.err
    assert (prepared.out / "shard-000000.tar").stat().st_mode & 0o077 == 0


@slow
def test_a_deep_temporary_folder(prepared: Place, built: Place, tmp_path: Path) -> None:
    """A socket's path has 107 bytes at most: worker processes need another place for theirs."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    rt2data(prepared.folder, "build-mixture", "--workers", "1", env={"TMPDIR": str(deep)}).succeeded()
    assert prepared.bytes_built == built.bytes_built


@pytest.mark.parametrize(
    "name", ["übung 機械 🤖", *[pytest.param(each, marks=slow) for each in ("with spaces", "-dash", "a'b\"c$(x)", "x" * 200)]]
)
def test_strange_names(data: Path, built: Place, warm: Warm, tmp_path: Path, name: str) -> None:
    """Of the folder of data, of the output and of the store."""
    (tmp_path / f"d{name}").symlink_to(data)
    place = make_place(tmp_path / "here", tmp_path / f"d{name}")
    text = (place.folder / "mixture.yaml").read_text().replace(name, name.replace('"', '\\"'))
    (place.folder / "mixture.yaml").write_text(text)
    ended = warm(place.folder, *INLINE, "--out", f"./{name}/mixture", env=PLAIN)
    ended.succeeded()
    assert sha256_of(place.folder / name / "mixture") == sha256_of(built.out)


@slow
def test_a_name_in_the_plainest_locale(prepared: Place, built: Place) -> None:
    """Python takes LC_ALL=C for UTF-8, unless it is told not to: then a name is only bytes, and said so."""
    said = rt2data(prepared.folder, *INLINE, "--out", "übung 機械/mixture", env=ASCII)
    said.failed(2, "not UTF-8", "LC_ALL=C.UTF-8")
    rt2data(prepared.folder, *INLINE, "--out", "übung 機械/mixture", env=PLAIN).succeeded()
    assert sha256_of(prepared.folder / "übung 機械" / "mixture") == sha256_of(built.out)


def test_a_name_that_is_too_long(place: Place, warm: Warm) -> None:
    warm(place.folder, *INLINE, "--out", "x" * 300).failed(5, "name too long", "choose another place")


@slow
def test_few_open_files(prepared: Place, built: Place) -> None:
    """Eight threads keep all pictures open, each for itself; the limit is raised as far as it may be."""
    assert shell(prepared, "ulimit -Sn 200; $RT2DATA build-mixture --workers 8 --pool threads") == 0
    assert prepared.bytes_built == built.bytes_built


# Who listens


def shell(place: Place, script: str) -> int:
    """Run a script with `$RT2DATA` in it; its exit code."""
    env = {**environment(), "RT2DATA": " ".join(COMMAND)}
    return subprocess.run(["bash", "-c", script], cwd=place.folder, env=env, timeout=LIMIT_S, capture_output=True).returncode


@slow
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("set -o pipefail; $RT2DATA build-mixture --workers 0 | head -0", marks=slow),
        pytest.param("set -o pipefail; $RT2DATA build-mixture --workers 0 2>&1 >/dev/null | head -0", marks=slow),
        pytest.param("$RT2DATA build-mixture --workers 0 >&-", marks=slow),
        pytest.param("$RT2DATA build-mixture --workers 0 2>&-", marks=slow),
        "$RT2DATA build-mixture --workers 1 >&- 2>&- <&-",
    ],
)
def test_nobody_listens(prepared: Place, built: Place, script: str) -> None:
    assert shell(prepared, script) == 0
    assert prepared.bytes_built == built.bytes_built


@pytest.mark.parametrize("option", ["--version", pytest.param("plan --workers 0", marks=slow)])
def test_what_is_said_finds_no_room(prepared: Place, option: str) -> None:
    assert shell(prepared, f"$RT2DATA {option} > /dev/full") == 5


def test_a_failure_that_nobody_hears_keeps_its_code(place: Place) -> None:
    assert shell(place, "$RT2DATA build-mixture --robot-frac 2 2>&1 | head -0; exit ${PIPESTATUS[0]}") == 2


@pytest.mark.slow
def test_letters_that_a_terminal_does_not_know(built: Place) -> None:
    """They are written by number, and nothing fails."""
    ended = rt2data(built.folder, "stats", str(built.out), "--workers", "0", "--quiet", env={"PYTHONIOENCODING": "ascii"})
    assert (ended.code, ended.err) == (0, "") and "\\u2581" in ended.out


def test_stdout_is_data(prepared: Place, warm: Warm) -> None:
    """With --json nothing else is on it, and progress is not a live line where there is no terminal."""
    said = warm(prepared.folder, *INLINE, "--json")
    said.succeeded()
    assert json.loads(said.out)["examples"] == 640
    assert "\r" not in said.err and "\x1b" not in said.err
