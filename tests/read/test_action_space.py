"""Robots as data: what the shipped files say, and what is said about mistakes in yours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError, UsageError
from rt2data.read.action_space import ActionSpace, Dim, load_space, space_names, to_polarity

HALF_TURN = (-1.5707964, 1.5707964)


def test_shipped_spaces() -> None:
    assert {"generic_nd", "google_robot", "language_table", "metaworld", "widowx_bridge"} <= set(space_names())
    assert [load_space(name).name for name in space_names()] == space_names()
    rates = {
        "generic_nd": None,
        "google_robot": 3,
        "language_table": 10,
        "metaworld": 80,
        "widowx_bridge": 5,
        "aloha": 50,
        "libero": 20,
    }
    assert {name: load_space(name).control_hz for name in rates} == rates


def test_google_robot_is_rt1s_specs() -> None:
    space = load_space("google_robot")
    assert space.size == 8 and space.terminate == 0 and space.gripper == 7
    assert [dim.bounds for dim in space.dims] == [(0, 1), *[(-1, 1)] * 3, *[HALF_TURN] * 3, (-1, 1)]
    assert (space.dims[0].terminates, space.dims[0].continues) == (0, 1)
    assert (space.dims[7].open, space.dims[7].closed) == (-1, 1)
    assert np.float32(HALF_TURN[1]) == np.float32(np.pi / 2)
    assert not space.normalised.any()


def test_widowx_bridge_is_openvlas() -> None:
    space = load_space("widowx_bridge")
    assert space.names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert space.normalised.tolist() == [True] * 6 + [False]
    assert space.gripper == 6 and space.terminate is None
    assert (space.dims[6].open, space.dims[6].closed, space.dims[6].bounds) == (1, 0, (0, 1))
    assert [dim.unit for dim in space.dims] == ["m"] * 3 + ["rad"] * 3 + [""]


def test_small_spaces() -> None:
    metaworld, table = load_space("metaworld"), load_space("language_table")
    assert [dim.bounds for dim in metaworld.dims] == [(-1, 1)] * 4
    assert metaworld.gripper == 3 and metaworld.dims[3].closed == 1
    assert [dim.bounds for dim in table.dims] == [(-0.1, 0.1)] * 2 and table.gripper is None


def test_any_number_of_dimensions() -> None:
    space = load_space("generic_nd")
    assert space.size is None and space.names == ()
    three = space.sized(3)
    assert three.names == ("a_0", "a_1", "a_2") and three.normalised.all() and three.sized(3) == three
    assert load_space("metaworld").sized(4) == load_space("metaworld")


@pytest.mark.parametrize(("name", "n"), [("metaworld", 5), ("generic_nd", 0), ("generic_nd", 1025)])
def test_wrong_number_of_dimensions(name: str, n: int) -> None:
    with pytest.raises(DataError, match=f"actions have {n} dimensions, action space {name} has"):
        load_space(name).sized(n)


def test_rows_with_nan_and_inf_are_found() -> None:
    actions = np.zeros((5, 4), np.float32)
    actions[1, 0], actions[4, 3] = np.nan, -np.inf
    assert load_space("metaworld").check(actions).tolist() == [1, 4]
    with pytest.raises(ValueError, match="shape"):
        load_space("metaworld").check(actions[:, :3])


def test_names_that_are_almost_right() -> None:
    with pytest.raises(UsageError, match="did you mean widowx_bridge") as error:
        load_space("widow_bridge")
    assert "google_robot" in error.value.do


HEAD = 'name = "mine"\n'
DIM = '[[dim]]\nname = "a"\n'
MISTAKES = {
    "": "name: Field required",
    HEAD: r"give either \[\[dim\]\]",
    HEAD + "[each]\nname = 'a'\n" + DIM: r"give either \[\[dim\]\]",
    "name = 3\n" + DIM: "name: Input should be a valid string",
    "name = 'no blanks'\n" + DIM: "name: String should match",
    HEAD + "contol_hz = 3\n" + DIM: "unknown key contol_hz; did you mean control_hz",
    HEAD + "control_hz = 0\n" + DIM: "control_hz: Input should be greater than 0",
    HEAD + "control_hz = inf\n" + DIM: "control_hz: Input should be a finite number",
    HEAD + "control_hz = '3'\n" + DIM: "control_hz: Input should be a valid number",
    HEAD + "dims = 3\n" + DIM: "unknown key dims; did you mean dim",
    HEAD + DIM + "bound = [0, 1]": r"unknown key dim\[0\].bound; did you mean bounds",
    HEAD + DIM + DIM: "same name: a",
    HEAD + DIM + "bounds = [1, 0]": r"dim\[0\].bounds: must be finite, the first well below the second, got \[1, 0\]",
    HEAD + DIM + "bounds = [1.0, 1.0000001]": "well below",
    HEAD + DIM + "bounds = [nan, 1]": "must be finite",
    HEAD + DIM + "bounds = [0, 1e38]": "must be finite",
    HEAD + DIM + "bounds = [0, true]": "must be two numbers",
    HEAD + DIM + "bounds = [0]": r'must be \[lo, hi\], "q01q99" or "minmax"',
    HEAD + DIM + "bounds = 'q02q98'": r'must be \[lo, hi\], "q01q99" or "minmax"',
    HEAD + DIM + "kind = 'binary'": "a binary dimension needs bounds",
    HEAD + DIM + "kind = 'discrete'\nbounds = [0, 1.5]": "whole bounds",
    HEAD + DIM + "kind = 'discrete'\nbounds = [0, 255]": "at most 255 values",
    HEAD + DIM + "kind = 'wheel'": r"dim\[0\].kind: Input should be 'continuous', 'discrete' or 'binary'",
    HEAD + DIM + "open = 1": "open and closed must both be given",
    HEAD + DIM + "open = 1\nclosed = 1": "and differ",
    HEAD + DIM + "bounds = [0, 1]\nopen = 1\nclosed = -1": "within the bounds",
    HEAD + DIM + "bounds = [0, 1]\nterminates = 0\ncontinues = 1": 'must have kind = "discrete"',
    HEAD + "[each]\nname = 'a'\nopen = 1\nclosed = 0": "repeated cannot be the gripper",
    HEAD + "dim = 3": "dim: Input should be a valid array",
    "name = ": "not TOML",
    "name = 'a'\nname = 'b'": "not TOML",
    "x = " + "[" * 5000: "not TOML",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_your_own_file_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=MISTAKES[text]) as error:
        load_space(path)
    assert error.value.where == str(path) and "\n" not in str(error.value)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("title = 'x'\nframes = 'y'\n[[dim]]\nkind = 'wheel'\n[[dim]]\nname = 'b'\nbounds = [1]\n")
    with pytest.raises(UsageError) as error:
        load_space(path)
    for mistake in (
        "name: Field required",
        "dim[0].name",
        "dim[0].kind",
        "dim[1].bounds",
        "unknown key frames; did you mean frame",
    ):
        assert mistake in error.value.what


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"#" * ((1 << 20) + 1)])
def test_files_that_are_no_text_or_too_long(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(raw)
    with pytest.raises(UsageError):
        load_space(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_space(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="directory"):
        load_space(tmp_path / "folder.toml")


def test_a_space_of_yours(tmp_path: Path) -> None:
    path = tmp_path / "drone.toml"
    path.write_text(HEAD + "control_hz = 10\n" + DIM + "unit = 'm/s'\nbounds = [-2, 2]\n")
    assert load_space(str(path)) == ActionSpace("mine", (Dim("a", bounds=(-2.0, 2.0), unit="m/s"),), control_hz=10.0)


CONVENTIONS = {-1: (-1.0, 1.0), 0: (0.0, 1.0), 1: (1.0, 0.0)}


def gripper(convention: int) -> Dim:
    """A dimension that opens and closes where this convention does."""
    opened, closed = CONVENTIONS[convention]
    return Dim("g", bounds=(-1.0, 1.0), open=opened, closed=closed)


@pytest.mark.parametrize("source", [-1, 0, 1])
@pytest.mark.parametrize("target", [-1, 0, 1])
def test_open_stays_open_and_closed_stays_closed(source: int, target: int) -> None:
    turned = to_polarity(np.array(CONVENTIONS[source], np.float32), source, gripper(target))  # type: ignore[arg-type]
    assert turned.dtype == np.float32 and turned.tolist() == list(CONVENTIONS[target])


@given(st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]), st.floats(-1, 1, width=32))
def test_polarity_there_and_back(source: int, target: int, value: float) -> None:
    there = to_polarity(value, source, gripper(target))  # type: ignore[arg-type]
    back = to_polarity(there, target, gripper(source))  # type: ignore[arg-type]
    assert back == pytest.approx(value, abs=2e-7)


def test_half_open_stays_half_open() -> None:
    assert to_polarity(0.5, 1, gripper(-1)) == 0
    assert to_polarity(np.float32(0.25), 0, gripper(1)) == 0.75
    assert to_polarity(np.zeros((2, 3)), -1, gripper(1)).tolist() == [[0.5] * 3] * 2


def test_polarity_of_what_is_no_gripper() -> None:
    with pytest.raises(UsageError, match="dimension x does not say"):
        to_polarity(1.0, 1, load_space("widowx_bridge").dims[0])
