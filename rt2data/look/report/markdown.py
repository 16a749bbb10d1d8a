"""A short Markdown summary to paste into a pull request. Text from data is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rt2data.look.report import views
from rt2data.look.report.figures import amount, percent, plain, sentence, whole
from rt2data.look.stats.model import MixtureStats, Stats
from rt2data.records import worst_first

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$^=-])")
_TALKS = re.compile(r"@|&|(?<=[a-zA-Z]):(?=//)|(?<=www)\.", re.IGNORECASE)
WORDS = 160
"""Maximum characters shown of a text from data."""
MARK = b"<!-- rt2data report -->"
"""The first line of every summary; rendered Markdown hides it."""


def summary(stats: Sequence[Stats]) -> str:
    """One section per path: figures, warnings, shares, sources."""
    return f"{MARK.decode()}\n" + "\n\n".join("\n".join(_section(each)) for each in stats) + "\n"


def words(text: object) -> str:
    """Text escaped so that it contains no markup, link, mention or cell separator."""
    return _TALKS.sub(lambda found: f"&#{ord(found[0])};", _SPECIAL.sub(r"\\\1", plain(text, WORDS)))


def _section(stats: Stats) -> Iterator[str]:
    yield f"### {words(stats.path)}"
    yield ""
    yield " · ".join(f"**{value}** {name}" + (f" ({more})" if more else "") for name, value, more in views.headline(stats))
    yield ""
    yield from _warnings(stats)
    if stats.mixture:
        yield from _shares(stats.mixture)
    yield from _sources(stats)
    if stats.mixture:
        yield f"\nFingerprint `{plain(stats.mixture.fingerprint, 64).replace('`', '')}`, seed {stats.mixture.seed}."


def _warnings(stats: Stats) -> Iterator[str]:
    for warn in worst_first(stats.warnings):
        of = f"{words(warn.source)}: " if warn.source else ""
        yield f"- **{warn.level}** {of}{words(sentence(warn.what))} {words(sentence(warn.do, upper=True))}"
    yield "" if stats.warnings else "Nothing to warn of.\n"


def _shares(mixture: MixtureStats) -> Iterator[str]:
    yield "| source | side | asked | examples | share | tokens | loss tokens | epochs |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for share in mixture.shares:
        part = share.examples / mixture.examples if mixture.examples else None
        numbers = (percent(share.asked), whole(share.examples), percent(part), whole(share.tokens), whole(share.loss_tokens))
        yield f"| {words(share.source)} | {share.place or share.kind} | {' | '.join(numbers)} | {share.epochs:.3g} |"
    yield ""


def _sources(stats: Stats) -> Iterator[str]:
    yield "| source | split | rows | episodes or images | image bytes | different texts | dropped |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for source in stats.sources:
        lost = sum(each.count for each in source.lost)
        numbers = (whole(source.rows), whole(source.groups), amount(source.image_bytes), whole(source.text.unique), whole(lost))
        yield f"| {words(source.name)} | {words(source.split)} | {' | '.join(numbers)} |"
