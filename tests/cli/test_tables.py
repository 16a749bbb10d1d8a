"""Tables on a terminal: names are whole at any width, columns go in a declared order, and what went is said."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.cli import plan_tables, store
from rt2data.cli.console import table, to_drop
from tests.cli.places import lay_out

LONG_ROBOT, LONG_WEB = "austin_buds_dataset_converted_externally_to_rlds", "a" * 31
DIMENSION = "left_arm_wrist_roll_joint_velocity_command_in_radians_per_second"


def test_columns_go_in_the_declared_order_until_it_fits() -> None:
    columns, widths = ("name", "a", "b", "c"), (64, 5, 5, 5)
    assert to_drop(columns, widths, None, ("c", "a", "b")) == []
    assert to_drop(columns, widths, 85, ("c", "a", "b")) == []
    assert to_drop(columns, widths, 84, ("c", "a", "b")) == ["c"]
    assert to_drop(columns, widths, 77, ("c", "a", "b")) == ["c", "a"]
    assert to_drop(columns, widths, 20, ("c", "a", "b")) == ["c", "a", "b"], "the name stays, whatever the width"


def test_a_column_that_wraps_may_become_narrower_first() -> None:
    columns, widths = ("name", "text"), (20, 300)
    assert to_drop(columns, widths, 60, ("text",), wrap="text") == []
    assert to_drop(columns, widths, 40, ("text",), wrap="text") == ["text"]


def test_every_table_drops_only_columns_that_it_has() -> None:
    assert set(plan_tables.DROP) < set(plan_tables.COLUMNS) and plan_tables.COLUMNS[0] not in plan_tables.DROP
    assert set(store.DROP) < set(store.COLUMNS) and store.COLUMNS[0] not in store.DROP


def test_away_from_a_terminal_nothing_goes_and_nothing_wraps(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "text"), [("n" * 64, "word " * 100)], left=2, drop=("text",), wrap="text")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[1].startswith("n" * 64) and said[1].count("word") == 100


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run something with a terminal of so many columns as stdout; gives what it showed."""

    def show(width: int, work: Callable[[], object]) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        shown: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(ours, shown))
        reader.start()
        try:
            with os.fdopen(theirs, "w", encoding="utf-8") as out, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", out)
                work()
        finally:
            reader.join(20)
            os.close(ours)
        return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(shown).decode()).replace("\r", "")

    return show


def _read_all(descriptor: int, shown: list[bytes]) -> None:
    try:
        while found := os.read(descriptor, 1 << 16):
            shown.append(found)
    except OSError:
        pass  # the other end is closed


@pytest.mark.parametrize("width", [80, 140])
def test_names_of_64_letters_are_whole(terminal: Callable[..., str], width: int) -> None:
    name = "n" * 64
    rows = [(name, "robot", "1,234,567", "12.5 MB"), ("short", "web", "1", "2 B")]
    shown = terminal(width, lambda: table(("source", "side", "rows", "size"), rows, left=2, drop=("size", "side", "rows")))
    lines = shown.splitlines()
    assert name in lines[1] and all(len(line.rstrip()) <= width or line.startswith("(not shown") for line in lines)
    assert ("(columns not shown: size" in shown) == (width == 80)
    assert "--json" in shown or width == 140


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture with long names, and a robot whose dimensions have long names."""
    folder = lay_out(tmp_path_factory.mktemp("wide"), episodes=2, pictures=4)
    dims = "".join(f'[[dim]]\nname = "{DIMENSION[: 63 - i]}{i}"\nbounds = [-1, 1]\n' for i in range(7))
    (folder / "arm.toml").write_text(f'name = "arm"\ntitle = "long names"\n{dims}')
    text = (folder / "mixture.yaml").read_text().replace("widowx_bridge", "./arm.toml")
    (folder / "mixture.yaml").write_text(text.replace("qa:", f"{LONG_WEB}:").replace("arm: {", f"{LONG_ROBOT[:31]}: {{"))
    return folder


COMMANDS = {
    "build": ("build-mixture", "--workers", "0", "--overwrite"),
    "plan": ("plan", "--workers", "0"),
    "stats": ("stats", "mixture", "--workers", "0"),
    "inspect": ("inspect", "mixture"),
    "store list": ("store", "list"),
}


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_on_a_terminal(
    terminal: Callable[..., str], place: Path, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    monkeypatch.chdir(place)
    shown = terminal(width, lambda: command(monkeypatch, *COMMANDS[name]))
    for source in (LONG_WEB, LONG_ROBOT[:31]):
        assert re.search(rf"^{source}(?:/train)?(?: |$)", shown, re.MULTILINE), shown
    if name == "stats":
        assert all(re.search(rf"^{DIMENSION[: 63 - i]}{i}(?: |$)", shown, re.MULTILINE) for i in range(7)), shown
    assert "…" not in shown
    if width == 80:
        assert "(columns not shown: " in shown


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """The command as `main` runs it, in this process."""
    from rt2data.cli.app import app

    monkeypatch.setattr(sys, "argv", ["rt2data", *words])
    assert not app(list(words), standalone_mode=False)
