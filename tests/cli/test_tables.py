"""Tables on a terminal: names are whole at any width, columns go in a declared order, and what went is said."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.cli import plan_tables, store
from rt2data.cli.console import table, to_drop
from rt2data.plan.filtered import Dropped, FilterReport, TaskLeft
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


@pytest.mark.parametrize("width", [80, 140])
def test_names_of_64_letters_are_whole(terminal: Callable[..., str], width: int) -> None:
    name = "n" * 64
    rows = [(name, "robot", "1,234,567", "12.5 MB"), ("short", "web", "1", "2 B")]
    shown = terminal(width, lambda: table(("source", "side", "rows", "size"), rows, left=2, drop=("size", "side", "rows")))
    lines = shown.splitlines()
    assert name in lines[1] and all(len(line.rstrip()) <= width or line.startswith("(not shown") for line in lines)
    assert ("(columns not shown: size" in shown) == (width == 80)
    assert "--json" in shown or width == 140


def test_what_filters_drop_fits_80_columns(terminal: Callable[..., str]) -> None:
    dropped = (Dropped("outside_keep_ranges", 1_234_567_890, 76_543), Dropped("limit", None, 1_000_000))
    worst = (TaskLeft("lift the red cup, then " * 12, 1_234_567, 89), TaskLeft("push", 20, 0))
    found = FilterReport(
        source="austin", estimated=True, steps=2_000_000_000, kept=765_432_110, dropped=dropped, tasks=2, emptied=1, worst=worst
    )
    shown = terminal(80, lambda: plan_tables.show_filters(found)).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in shown)
    assert shown[0] == "filters of austin leave ~765,432,110 of ~2,000,000,000 steps and 1 of 2 tasks"
    assert "~1,234,567,890" in shown[2] and "not read" in shown[3]


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
