"""The page: whole, the same every time, and nothing of the data's words is more than words in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from rt2data.look.report.figures import plain
from rt2data.look.report.page import Report, embedded, page, page_within
from rt2data.look.stats.model import Frozen, Stats
from tests.look.report import made

VOID = {"meta", "link", "img", "input", "br", "path"}


@dataclass
class Seen(HTMLParser):
    """What a browser would see: elements with their attributes, text, scripts."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is closed out of turn"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def seen(*reports: Report) -> Seen:
    found = Seen()
    found.feed(page(reports).decode())
    found.close()
    assert found.open == []
    return found


@cache
def usual() -> Seen:
    return seen(made.report())


def texts(value: Any, words: str) -> Any:
    """The same value with other words wherever words of the data may stand, however deep."""
    if isinstance(value, Frozen):
        kept = {"kind", "level", "what", "source_kind"} if not hasattr(value, "do") else {"level"}
        changes = {name: texts(getattr(value, name), words) for name in value.__struct_fields__ if name not in kept}
        return msgspec.structs.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(texts(each, words) for each in value)
    if isinstance(value, dict):
        return {texts(key, words): each for key, each in value.items()}
    return words if isinstance(value, str) else value


def absences() -> Iterator[tuple[str, Callable[[], Report]]]:
    """Every optional field once absent, every list once empty."""
    yield from ((f"source {name}", lambda name=name: _robot(**{name: None})) for name in ("actions", "episodes", "tokens"))
    yield from ((f"source {name}", lambda name=name: _robot(**{name: ()})) for name in ("state", "cameras", "lost"))
    yield from ((f"web {name}", lambda name=name: _web(**{name: None})) for name in ("answers", "answers_each", "tokens"))
    yield from (
        (f"actions {name}", lambda name=name: _actions(**{name: ()})) for name in ("dims", "coded", "motion", "correlation")
    )
    yield "actions unpaired", lambda: _actions(unpaired=())
    yield "actions gripper", lambda: _actions(gripper=None)
    yield (
        "gripper unmeasured",
        lambda: _actions(gripper=msgspec.structs.replace(made.actions().gripper, agrees=None, measured=None)),
    )
    yield "episodes fps", lambda: _robot(episodes=msgspec.structs.replace(made.robot().episodes, fps=None, lengths=()))
    yield "tokens limit", lambda: _robot(tokens=made.tokens(None))
    yield "no words", lambda: _robot(text=made.text(0, ()))
    yield from ((f"mixture {name}", lambda name=name: _mixture(**{name: ()})) for name in ("shares", "windows", "running"))
    yield "no mixture", lambda: made.report(made.stats(mixture=None, what="store"))
    yield from (
        (f"stats {name}", lambda name=name: made.report(made.stats(**{name: ()}))) for name in ("sources", "leaks", "warnings")
    )
    yield "nothing but statistics", lambda: Report(made.stats())
    yield "nothing at all", lambda: Report(made.stats(sources=(), mixture=None, leaks=(), warnings=()))
    yield "an empty mixture", lambda: _mixture(examples=0, shards=0, bytes=0, shares=(made.share("bridge", "robot", 0.0),))


def _robot(**changes: Any) -> Report:
    return made.report(made.stats(sources=(made.robot(**changes), made.web())))


def _web(**changes: Any) -> Report:
    return made.report(made.stats(sources=(made.robot(), made.web(**changes))))


def _actions(**changes: Any) -> Report:
    return _robot(actions=msgspec.structs.replace(made.actions(), **changes))


def _mixture(**changes: Any) -> Report:
    return made.report(made.stats(mixture=made.mixture(**changes)))


@pytest.mark.parametrize(("name", "make"), absences(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_page_is_whole_whatever_is_absent(name: str, make: Callable[[], Report]) -> None:
    found = seen(make())
    words = " ".join(found.text)
    assert "None" not in words and "nan" not in words.split()
    assert found.find("main") and found.find("h1")


def test_the_same_reports_give_the_same_bytes() -> None:
    one, other = page([made.report()]), page([made.report()])
    assert one == other and one != page([made.report(made.stats(path="elsewhere"))])
    with pytest.raises(ValueError, match="nothing"):
        page([])


def test_every_block_is_there_and_headings_go_down_one_by_one() -> None:
    for found in (usual(), seen(made.report(), made.report(made.stats(path="other")))):
        levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
    words = " ".join(usual().text)
    for title in (
        "Mixture",
        "Actions",
        "Episodes",
        "Language",
        "Tokens",
        "Images",
        "Dropped rows",
        "Leakage",
        "Reproducing it",
        "Cost",
    ):
        assert title in words
    assert [tag for tag, _ in usual().elements if tag in ("header", "nav", "main", "footer")] == ["header", "nav", "main", "footer"]


def test_warnings_come_first_the_worst_on_top() -> None:
    warnings = tuple(made.warn(level=level, what=f"this is {level}") for level in ("note", "error", "warning"))
    words = " ".join(seen(made.report(made.stats(warnings=warnings))).text)
    order = [words.index(f"this is {level}") for level in ("error", "warning", "note")]
    assert order == sorted(order) and order[-1] < words.index("Sources of the mixture")


def test_drift_and_missing_pairs_are_told() -> None:
    words = " ".join(seen(_actions()).text)
    assert "-0.0195 m/s" in words.replace("−", "-") and "not paired" in words
    assert "not paired" not in " ".join(seen(_actions(unpaired=())).text)


def test_anchors_lead_somewhere_and_names_are_given_once() -> None:
    found = seen(made.report(), made.report(made.stats(path="other")))
    names = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(set(names)) == len(names)
    targets = [attrs["href"] for attrs in found.find("a")]
    assert targets and all((target or "").removeprefix("#") in names for target in targets)


def test_tables_and_images_speak() -> None:
    found = usual()
    assert len(found.find("table")) == len(found.find("caption")) > 12
    assert all(attrs.get("scope") in ("col", "row") for attrs in found.find("th"))
    assert found.find("img") and all(attrs.get("alt") for attrs in found.find("img"))
    assert found.find("svg") and all(attrs.get("role") == "img" for attrs in found.find("svg"))
    assert all(attrs.get("aria-label") for _, attrs in found.elements if attrs.get("role") == "region")


def test_nothing_outside_the_page_is_named() -> None:
    for _, attrs in usual().elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attrs.get(name) or "#"
            assert value.startswith(("#", "data:image/jpeg;base64,")) or value == "data:,", value
    text = page([made.report()]).decode()
    assert not re.search(r"(https?:)?//[a-z]", text) and "@import" not in text and "url(" not in text


def test_the_policy_allows_its_own_script_alone() -> None:
    found = usual()
    (policy,) = (attrs["content"] for attrs in found.find("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    _, script = found.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy == f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def test_the_statistics_can_be_taken_out_again() -> None:
    hostile = texts(made.stats(), made.HOSTILE[1])
    found = seen(Report(hostile)).scripts[0]
    assert "<" not in found and msgspec.json.decode(found, type=list[Stats]) == [hostile]
    assert json.loads(embedded([made.stats()]))[0]["path"] == "mixture"


@pytest.mark.parametrize("words", made.HOSTILE)
def test_hostile_words_stay_words(words: str) -> None:
    """In every field of the statistics and of the images: the same elements with the same attributes, and no word lost."""
    tame, wild = (seen(made.report(texts(made.stats(), text), text)) for text in ("tame", words))
    assert shape(wild) == shape(tame)
    assert len(wild.scripts) == 2 and wild.scripts[1] == usual().scripts[1]
    shown = "".join(wild.text)
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert plain(words[:20]) in shown


def shape(found: Seen) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attrs)) for tag, attrs in found.elements]


def test_reports_side_by_side() -> None:
    found = seen(made.report(), made.report(made.stats(path="other", what="store", mixture=None, warnings=())))
    words = " ".join(found.text)
    assert "2 reports side by side" in words and "Side by side" in words
    assert words.index("What differs between the paths") < words.index("Nothing to warn of")
    assert len([1 for _, attrs in found.elements if attrs.get("class") == "report"]) == 2


def test_cost_is_reckoned_without_a_script_too() -> None:
    words = " ".join(" ".join(usual().text).split())
    assert "steps 16 tokens a step 25,600" in words  # 4,000 examples in batches of 256; 100 tokens each
    assert "2,048 2 204,800" in words


def test_warnings_of_one_kind_stand_together() -> None:
    warnings = [made.warn(what=f"dimension {n} never moves") for n in range(7)] + [made.warn(code="other", what="something else")]
    words = " ".join(" ".join(seen(made.report(made.stats(warnings=tuple(warnings)))).text).split())
    assert "6 more like it" in words and words.count("See why.") == 2
    assert all(f"dimension {n} never moves." in words for n in range(7))


def test_a_page_has_as_many_images_as_it_has_room_for() -> None:
    reports = [made.report(), made.report(made.stats(path="other"))]
    whole = page(reports)
    assert page_within(reports, len(whole)) == whole
    smaller = page_within(reports, len(whole) - 1)
    assert len(smaller) < len(whole) and b"to keep the page small" in smaller and b"to keep the page small" not in whole
    least = page_within(reports, 1)
    assert 0 < least.count(b"data:image/jpeg") < smaller.count(b"data:image/jpeg") < whole.count(b"data:image/jpeg")
