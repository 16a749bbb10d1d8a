"""Examples as text and half blocks: every pixel has its color, and text from data cannot steer a terminal."""

from __future__ import annotations

import fcntl
import http.client
import io
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from rt2data.cli.view import view
from rt2data.errors import DataError, UsageError
from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import ActionValue, ChunkAction, Seen, Token
from rt2data.look.view import terminal
from rt2data.look.view.select import Filter
from rt2data.look.view.terminal import bar, draw, figure, half_blocks, lines, page
from tests.contract.toy import jpeg
from tests.faults.command import environment, running
from tests.look.inspect.test_inspect import HOSTILE

LIMIT_S = 30.0


def hostile(words: str) -> Seen:
    tokens = [Token(1, False, words), Token(2, True, words)]
    dims = [ActionValue(words, words, 0.25, -1.0, 1.0, 7)]
    return Seen(
        number=0,
        key=words,
        kind="robot",
        source=words,
        split=words,
        group=words,
        prompt=words,
        target=words,
        images=[(words, jpeg(1))],
        absent=[words],
        fault=words,
        camera=words,
        step=1,
        steps=2,
        epoch=0,
        answers=(words,),
        terminate=True,
        action=dims,
        messages=[("user", words), ("assistant", words)],
        tokens=tokens,
    )


@pytest.mark.parametrize("words", HOSTILE)
def test_words_are_inert(words: str) -> None:
    for line in lines(hostile(words)):
        assert isinstance(line, Text) and line.plain.isprintable()
    drawn = draw(console(color_system=None), hostile(words), 1)
    assert all(character.isprintable() or character == "\n" for character in drawn)


def console(color_system: str | None = "truecolor", width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=color_system, width=width, highlight=False)  # type: ignore[arg-type]


def test_half_blocks_show_every_pixel() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    text = half_blocks(shown)
    assert text.plain == "\n".join(["▀" * 5] * 3)
    cells = [span.style for span in text.spans]
    fronts = [list(style.color.triplet) for style in cells]  # type: ignore[union-attr]
    backs = [list(style.bgcolor.triplet) for style in cells]  # type: ignore[union-attr]
    assert np.array_equal(np.reshape(fronts, (3, 5, 3)), shown[::2]) and np.array_equal(np.reshape(backs, (3, 5, 3)), shown[1::2])


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (1, 90), (90, 1), (1, 1)])
def test_images_fit_their_cells(shape: tuple[int, int]) -> None:
    rows = terminal._image(np.zeros((*shape, 3), np.uint8), 20).plain.splitlines()
    assert len(rows) <= terminal.IMAGE_LINES and all(0 < len(row) <= 20 for row in rows)


@pytest.mark.parametrize(("color_system", "code"), [("truecolor", "38;2;"), ("256", "38;5;"), (None, "")])
def test_images_are_drawn_where_there_are_colors(color_system: str | None, code: str) -> None:
    drawn = draw(console(color_system), hostile("x"), None)
    assert ("▀" in drawn) is (color_system is not None)
    assert code in drawn


def test_several_images_stand_in_a_row_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "images_of", lambda seen: [("front", jpeg(1)), ("wrist", jpeg(2)), ("broken", b"no")])
    names, first = draw(console(width=60), hostile("x"), None).splitlines()[1:3]
    assert names.index("front") < names.index("wrist") < names.index("broken")
    assert first.count("▀") > 20 and "▀" in first[first.index("\x1b[0m") :]


def test_many_images_take_several_rows() -> None:
    images = [(f"front {-i}" if i else "front", jpeg(i)) for i in range(5)]
    drawn = draw(console(width=60), replace(hostile("x"), images=images, absent=["wrist -4"]), None)
    assert drawn.count("front -4") == 2  # above its image, and in the list of names
    said = [line.plain.split(maxsplit=1) for line in lines(replace(hostile("x"), images=images, absent=["wrist -4"]))]
    assert ["images", "front, front -1, front -2, front -3, front -4"] in said and ["absent", "wrist -4"] in said


def test_a_chunk_shows_its_first_actions_and_marks_padding() -> None:
    seen = replace(hostile("x"), chunk=[ChunkAction([i / 10, -1.0], i > 5) for i in range(10)])
    said = [line.plain.split() for line in lines(seen)]
    assert ["chunk", "0", "+0.0000", "-1.0000"] in said
    assert ["5", "+0.5000", "-1.0000"] in said and ["6", "+0.6000", "-1.0000", "pad"] in said
    assert ["and", "2", "more"] in said and not any(line[:1] == ["8"] for line in said)


def test_a_conversation_is_shown_turn_by_turn() -> None:
    talk = [("system", "be brief"), ("user", "<image> what?"), ("assistant", "a cup"), ("user", "where?"), ("assistant", "left")]
    said = [line.plain.split(maxsplit=1) for line in lines(replace(hostile("x"), messages=talk))]
    assert [tuple(line) for line in said if len(line) == 2 and line[0] in ("system", "user", "assistant")] == talk
    assert not any(line[:1] == ["prompt"] for line in said)


def test_loss_tokens_are_marked() -> None:
    seen = replace(hostile("x"), tokens=[Token(5, False, "a"), Token(6, True, "b"), Token(7, True, "c")])
    colored, plain = lines(seen)[-2], lines(seen, colored=False)[-2]
    assert colored.plain.split() == ["tokens", "abc"] and plain.plain.split() == ["tokens", "a[bc]"]
    (span,) = [span for span in colored.spans if "reverse" in str(span.style)]
    assert colored.plain[span.start : span.end] == "bc"
    unknown = replace(seen, tokens=[Token(5, False), Token(6, True), Token(7, True)])
    assert lines(unknown, colored=False)[-2].plain.split() == ["tokens", "5", "[6", "7]"]


@pytest.mark.parametrize(
    ("value", "said"), [(0.25, "+0.2500"), (-99_999.5, "-99999.5000"), (1e30, "+1e+30"), (-123_456.0, "-1.235e+05")]
)
def test_numbers_are_no_wider_than_their_column(value: float, said: str) -> None:
    assert figure(value) == said


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (0.0, "··········│··········"),
        (1.0, "··········│██████████"),
        (-0.5, "·····█████│··········"),
        (9.0, "··········│██████████"),
    ],
)
def test_bars_reach_from_zero(value: float, drawn: str) -> None:
    assert bar(ActionValue("x", "m", value, -1.0, 1.0)) == drawn
    assert bar(ActionValue("x", "m", value)) == bar(ActionValue("x", "m", value, 1.0, 1.0)) == " " * 21


def test_examples_are_printed(mixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(mixture, 3, 2, tmp_path / "images", None, as_json=False)
    said = capsys.readouterr().out
    assert "example 3 of 96" in said and "example 4 of 96" in said and "\x1b" not in said
    examples = recognize(mixture).examples()
    saved = sorted((tmp_path / "images").iterdir())
    assert [path.read_bytes() for path in saved] == [bytes(examples.at(i).image or b"") for i in (3, 4)]
    assert all(str(path) in said for path in saved)
    with pytest.raises(UsageError, match="no example 96"):
        view(mixture, 96, 1, None, None, as_json=False)


def test_examples_for_programs(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(mixture, 90, 20, None, None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["total"], [each["number"] for each in told["examples"]]) == ("mixture", 96, list(range(90, 96)))
    robot = next(each for each in told["examples"] if each["kind"] == "robot")
    assert [dim["name"] for dim in robot["action"]] == ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    assert [dim["unit"] for dim in robot["action"][:4]] == ["m", "m", "m", "rad"]
    assert "".join(token["word"] for token in robot["tokens"] if token["in_loss"]).strip().startswith(robot["target"])


def test_only_matching_examples_are_printed(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(mixture, 0, 3, None, None, as_json=True, only=Filter("qa", text="how many? 3"))
    told = json.loads(capsys.readouterr().out)["examples"]
    assert {(each["source"], "How many? 3" in each["prompt"]) for each in told} == {("qa", True)} and len(told) == 3
    with pytest.raises(UsageError, match=r"no source 'qb'.*choose one of arm, qa"):
        view(mixture, 0, 1, None, None, as_json=False, only=Filter("qb"))
    with pytest.raises(UsageError, match="no example from number 90 on matches"):
        view(mixture, 90, None, None, None, as_json=False, only=Filter(text="not there at all"))


def test_a_recipe_has_no_examples(mixture: Path) -> None:
    with pytest.raises(UsageError, match="no examples of its own"):
        view(mixture.parent / "mixture.yaml", 0, None, None, None, as_json=False)


@pytest.mark.usefixtures("listening")
def test_serving_says_where_and_ends_with_ctrl_c(mixture: Path) -> None:
    with running(mixture.parent, "view", "mixture", "--serve") as run:
        assert run.process.stdout is not None
        url = run.process.stdout.readline().strip()
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/example/1")
        assert (host, connection.getresponse().status) == ("127.0.0.1", 200)
        connection.close()
        run.send(signal.SIGINT)
        ended = run.wait()
        assert (ended.code, ended.out) == (130, "") and "Traceback" not in ended.err


# The pager


def test_the_pager_gets_everything_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", f"sh -c 'cat > {tmp_path}/paged'")
    page(f"text {number} é\n" for number in range(3))
    assert (tmp_path / "paged").read_text("utf-8") == "text 0 é\ntext 1 é\ntext 2 é\n"


def test_a_pager_that_is_left_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "true")
    numbers = iter(range(1_000_000))
    page("text " * 100 for _ in numbers)
    assert next(numbers) < 999_999


def test_without_a_pager_examples_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAGER", "/no/such/pager")
    page(["one\n", "two\n"])
    assert capsys.readouterr().out == "one\ntwo\n"


def test_damage_is_raised_after_the_pager_has_shown_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def texts() -> Iterator[str]:
        yield "one\n"
        raise DataError("damaged")

    monkeypatch.setenv("PAGER", f"sh -c 'cat > {tmp_path}/paged'")
    with pytest.raises(DataError, match="damaged"):
        page(texts())
    assert (tmp_path / "paged").read_text() == "one\n"


def test_a_signal_ends_the_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    def texts() -> Iterator[str]:
        yield "one\n"
        raise SystemExit(143)

    monkeypatch.setenv("PAGER", "sleep 600")
    with pytest.raises(SystemExit):
        page(texts())


def on_terminal(folder: Path, **changes: str | None) -> tuple[int, str]:
    """Exit code and output of `rt2data view` on a terminal of 100 x 30."""
    if not hasattr(os, "login_tty"):
        pytest.skip("os.login_tty is not here")
    env = environment({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": None} | changes)
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    pid = os.fork()
    if pid == 0:
        os.login_tty(slave)
        os.execve(sys.executable, [sys.executable, "-m", "rt2data", "view", str(folder), "--at", "90"], env)
    found, status, until = b"", None, time.monotonic() + LIMIT_S
    while status is None or select.select([master], [], [], 0.1)[0]:
        assert time.monotonic() < until, found[-2000:]
        found += os.read(master, 1 << 16) if select.select([master], [], [], 0.1)[0] else b""
        done, code = os.waitpid(pid, os.WNOHANG) if status is None else (0, 0)
        status = code if done else status
    os.close(master)
    os.close(slave)
    return os.waitstatus_to_exitcode(status), found.decode()


def test_a_terminal_shows_all_examples_in_the_pager(mixture: Path) -> None:
    code, shown = on_terminal(mixture, PAGER="cat")
    assert code == 0 and "▀" in shown and "\x1b[38;2;" in shown
    assert [number for number in range(96) if f"example {number} of 96" in shown] == [90, 91, 92, 93, 94, 95]
