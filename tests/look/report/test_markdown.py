"""The summary in Markdown: the figures, and nothing of the data's words as markup."""

from __future__ import annotations

import re

import pytest

from rt2data.look.report.markdown import summary, words
from tests.look.report import made
from tests.look.report.test_page import texts


def test_it_says_what_matters() -> None:
    found = summary([made.stats(), made.stats(path="other", what="store", mixture=None, warnings=())])
    for part in (
        "### mixture",
        "### other",
        "**4,000** examples",
        "**50.00 %** robot (asked 50.00 %)",
        "Nothing to warn of",
        "Fingerprint",
    ):
        assert part in found
    assert "- **warning** bridge: Dimension roll never moves. See why." in found
    assert "| bridge | robot | 50.00 % | 2,000 | 50.00 % | 200,000 | 100,000 | 1.5 |" in found


def test_tables_are_tables() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", summary([made.stats()]), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


@pytest.mark.parametrize(
    "text", [*made.HOSTILE, "a|b", "# head", "[x](https://evil.example)", "@all", "www.evil.example", "`code`", "<b>"]
)
def test_words_stay_words(text: str) -> None:
    found = words(text)
    assert "\n" not in found and found.isprintable() and len(found) < 6 * 170
    bare = re.sub(r"\\.|&#\d+;", "", found)
    assert not re.search(r"[\\`*_{}\[\]<>()#|~@&]|://|www\.", bare)
    whole = summary([texts(made.stats(), text)])
    tame = summary([texts(made.stats(), "tame")])
    assert len(whole.splitlines()) == len(tame.splitlines())
