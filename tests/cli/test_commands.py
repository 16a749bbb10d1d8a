"""What every command has: -h, -q, -v, --json, --force or --overwrite where it writes; and suggestions for typos."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.cli.app import app
from rt2data.cli.commands import suggestions, summary, verbosity
from tests.cli.test_app import ALL, command
from tests.faults.command import Warm

every_command = pytest.mark.parametrize("words", ALL, ids=" ".join)
WRITES = {
    ("init",): "--force",
    ("demo",): "--force",
    ("view",): "--force",
    ("report",): "--force",
    ("inspect",): "--force",
    ("stats",): "--force",
    ("build-mixture",): "--overwrite",
    ("write-rlds",): "--overwrite",
    ("store", "prune"): "--yes",
}
"""Commands that may replace or remove something, and the option that allows it."""


def options(words: tuple[str, ...]) -> set[str]:
    return {name for each in ALL[words].params for name in getattr(each, "opts", ())}


@every_command
def test_every_command_has_the_shared_options(words: tuple[str, ...]) -> None:
    assert {"-q", "--quiet", "-v", "--verbose", "--json"} <= options(words)
    assert WRITES.get(words, "--json") in options(words)


@every_command
def test_h_is_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert not app([*words, "-h"], standalone_mode=False)
    assert "Usage: " in capsys.readouterr().out


def test_summaries_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    app(["-h"], standalone_mode=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "..." not in said.split("Commands:")[1].split("Precedence")[0]
    for words, each in ALL.items():
        if len(words) == 1:
            assert summary(each.help) in said
    assert "RT2DATA_STORE" in said and "XDG_CACHE_HOME" in said and "recipe, environment, default" in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("build", "build-mixture"), ("vrify", "verify"), ("rejects", "store rejects"), ("lst", "store list"), ("xyzzy", "")],
)
def test_a_command_that_was_meant(typed: str, meant: str) -> None:
    known = [" ".join(words) for words in ALL]
    assert suggestions(typed, known)[:1] == ([meant] if meant else [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build"], "Did you mean 'build-mixture'?"),
        (["store", "rejcts", "x"], "Did you mean 'rejects'?"),
        (["plan", "--robot-fraction", "1"], "--robot-frac"),
    ],
)
def test_typos_are_told(warm: Warm, tmp_path: Path, arguments: list[str], words: str) -> None:
    said = warm(tmp_path, *arguments)
    assert said.code == 2 and words in said.err


def test_v_shows_the_trace_of_a_failure(warm: Warm, tmp_path: Path) -> None:
    plain, traced = warm(tmp_path, "plan", "gone.yaml"), warm(tmp_path, "plan", "gone.yaml", "-v")
    assert "Traceback" not in plain.err and "Traceback" in traced.err
    assert (plain.code, traced.code) == (2, 2)
    assert traced.err.splitlines()[-1] == plain.err.splitlines()[-1]


def test_q_leaves_results_warnings_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    app(["init", "-q"], standalone_mode=False)
    assert capsys.readouterr() == ("", "")
    app(["init", "other.yaml"], standalone_mode=False)
    assert "rt2data plan other.yaml" in capsys.readouterr().err
    assert not verbosity.quiet


def test_little_memory_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """What Python, Arrow, the loader and threads say of it is one line with exit code 1 and no trace."""
    from rt2data.cli.running import _other

    for error in (
        MemoryError("Unable to allocate 3.2 GiB"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libarrow.so: failed to map segment from shared object: Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ):
        assert _other(error) == 1
        said = capsys.readouterr()
        assert said.out == "" and len(said.err.splitlines()) == 1
        assert said.err.startswith("rt2data: there is not enough memory") and "--workers" in said.err
    with pytest.raises(RuntimeError, match="a bug"):
        _other(RuntimeError("a bug"))


def test_help_takes_a_moment() -> None:
    assert command("-h").seconds < 5
