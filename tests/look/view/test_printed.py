"""Away from a terminal examples are printed, for people or programs; what data says cannot steer anything."""

from __future__ import annotations

import http.client
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from rt2data.cli.view import view
from rt2data.errors import UsageError
from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import Dimension, Seen, Token
from rt2data.look.view.screen import WIDE, Look, boxes, frame
from rt2data.look.view.words import bar, figure, lines
from tests.contract.toy import jpeg
from tests.faults.command import running
from tests.look.inspect.test_inspect import HOSTILE


def hostile(words: str) -> Seen:
    tokens = [Token(1, False, words), Token(2, True, words)]
    dims = [Dimension(words, words, 0.25, -1.0, 1.0, 7)]
    return Seen(0, words, "robot", words, words, words, words, words, jpeg(1), words, words, 1, 2, 0, (words,), True, dims, tokens)


@pytest.mark.parametrize("words", HOSTILE)
def test_words_are_inert(words: str) -> None:
    for line in lines(hostile(words)):
        assert isinstance(line, Text) and line.plain.isprintable()
    drawn = frame(hostile(words), "status", (100, 30), Look("none"))
    assert "\x1b[2J\x1b[H\x1b" not in drawn and "\x07" not in drawn and "\x9b" not in drawn
    assert drawn.count("\x1b[2J") == 1


def test_what_is_learned_is_marked() -> None:
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
    assert bar(Dimension("x", "m", value, -1.0, 1.0)) == drawn
    assert bar(Dimension("x", "m", value)) == bar(Dimension("x", "m", value, 1.0, 1.0)) == " " * 21


@pytest.mark.parametrize("size", [(8, 4), (40, 12), (WIDE - 1, 50), (WIDE, 50), (300, 10)])
def test_nothing_leaves_the_screen(size: tuple[int, int]) -> None:
    for box in boxes(*size):
        assert box.left >= 1 and box.top >= 1 and box.width >= 1 and box.height >= 1
        assert box.left + box.width - 1 <= size[0] and box.top + box.height - 1 <= max(size[1] - 1, 3)
    assert frame(hostile("word " * 300), "status", size, Look("256"))


def test_examples_are_printed(mixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(mixture, 3, 2, tmp_path / "pictures", None, as_json=False)
    said = capsys.readouterr().out
    assert "example 3 of 96" in said and "example 4 of 96" in said and "\x1b" not in said
    examples = recognize(mixture).examples()
    saved = sorted((tmp_path / "pictures").iterdir())
    assert [path.read_bytes() for path in saved] == [bytes(examples.at(i).picture or b"") for i in (3, 4)]
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
