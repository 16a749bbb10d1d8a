"""Values that the page templates derive from statistics: sums, shares, orders and CSS classes, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rt2data.io.words import plural
from rt2data.look.report.charts import Part
from rt2data.look.report.figures import amount, percent, real, whole
from rt2data.look.stats.model import (
    Actions,
    Camera,
    Dimension,
    Dropped,
    EncodedDimension,
    Leak,
    MixtureStats,
    Share,
    SourceStats,
    Stats,
    Text,
)
from rt2data.records import RANK, Warn, worst_first

__all__ = ["real"]

SHADES = 4
MEASURES = (
    ("asked", "asked"),
    ("examples", "examples"),
    ("all tokens", "tokens"),
    ("loss tokens", "loss_tokens"),
    ("image bytes", "image_bytes"),
)
"""A name, and the field of a share."""


def grouped(warnings: Sequence[Warn]) -> list[list[Warn]]:
    """Warnings, worst first, grouped by kind, source and advice."""
    found: dict[tuple[str, ...], list[Warn]] = {}
    for warn in worst_first(warnings):
        found.setdefault((warn.level, warn.code, warn.source, warn.do), []).append(warn)
    return list(found.values())


def counted(warnings: Sequence[Warn]) -> str:
    """2 errors, 1 warning, 3 notes."""
    counts = [(sum(warn.level == level for warn in warnings), level) for level in RANK]
    return ", ".join(plural(count, level) for count, level in counts if count) or "none"


def looks(shares: Sequence[Share]) -> dict[str, str]:
    """CSS classes of each source: the color of its side, in its own shade."""
    found: dict[str, str] = {}
    for kind in ("robot", "web"):
        names = [share.source for share in shares if share.kind == kind]
        found |= {name: f"{kind} shade{number % SHADES}" for number, name in enumerate(names)}
    return found


@dataclass(frozen=True, slots=True)
class Measure:
    """The share of each source in a mixture, by one measure."""

    name: str
    parts: tuple[Part, ...]
    robot: float  # share


def measures(mixture: MixtureStats) -> list[Measure]:
    """The requested shares, and the realized ones by examples, tokens, loss tokens and image bytes."""
    return [_measure(mixture.shares, name, field) for name, field in MEASURES]


def _measure(shares: Sequence[Share], name: str, field: str) -> Measure:
    classes = looks(shares)
    parts = tuple(Part(share.source, classes[share.source], float(getattr(share, field))) for share in shares)
    total = sum(part.value for part in parts)
    robot = sum(part.value for part, share in zip(parts, shares, strict=True) if share.has_actions)
    return Measure(name, parts, robot / total if total else 0.0)


def realized(mixture: MixtureStats) -> float:
    """Robot share of the examples."""
    robot = sum(share.examples for share in mixture.shares if share.has_actions)
    return robot / mixture.examples if mixture.examples else 0.0


def tokens(stats: Stats) -> int | None:
    """All tokens of one pass; None if no recipe defines the tokenizer."""
    if stats.mixture:
        return sum(share.tokens for share in stats.mixture.shares)
    known = [round(source.tokens.whole.total) for source in stats.sources if source.tokens]
    return sum(known) if known else None


def loss_tokens(stats: Stats) -> int | None:
    """Tokens of one pass that count in the loss; None if no recipe defines the tokenizer."""
    if stats.mixture:
        return sum(share.loss_tokens for share in stats.mixture.shares)
    known = [round(source.tokens.target.total) for source in stats.sources if source.tokens]
    return sum(known) if known else None


def examples(stats: Stats) -> int:
    """Examples of a mixture, rows of anything else."""
    return stats.mixture.examples if stats.mixture else sum(source.rows for source in stats.sources)


def image_bytes(stats: Stats) -> int:
    """Bytes of images that one pass reads."""
    parts = stats.mixture.shares if stats.mixture else stats.sources
    return sum(part.image_bytes for part in parts)


def read_bytes(stats: Stats) -> int:
    """Bytes that one pass reads: the shards of a mixture, the images of anything else."""
    return stats.mixture.bytes if stats.mixture else image_bytes(stats)


def ended(kinds: Mapping[str, int]) -> str:
    """jpeg 1,200, png 3."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0])))


# Words


def lead(stats: Stats) -> str:
    """One sentence about the path."""
    sources = {source.name: source.kind for source in stats.sources}
    named = ", ".join(f"{name} ({kind})" for name, kind in sources.items()) or "no source"
    return f"A {stats.what} of {named}."


def contents(stats: Stats) -> list[tuple[str, str]]:
    """Template and title of each block that has content."""
    has = {
        "mixture": stats.mixture is not None,
        "actions": any(source.actions for source in stats.sources),
        "episodes": any(source.episodes for source in stats.sources),
        "tokens": any(source.tokens for source in stats.sources),
        "images": any(source.cameras for source in stats.sources),
    }
    return [(name, title) for name, title in BLOCKS if has.get(name, True)]


BLOCKS = (
    ("warnings", "Look at these first"),
    ("mixture", "Mixture"),
    ("actions", "Actions"),
    ("episodes", "Episodes"),
    ("language", "Language"),
    ("tokens", "Tokens"),
    ("images", "Images"),
    ("lost", "Dropped rows"),
    ("leaks", "Leakage"),
    ("origin", "Reproducing it"),
    ("cost", "Cost"),
)


def headline(stats: Stats) -> list[tuple[str, str, str]]:
    """The key figures: name, value, detail."""
    m, share = stats.mixture, robot_share(stats)
    read, every, known = read_bytes(stats), tokens(stats), loss_tokens(stats)
    place = plural(m.shards, "shard") if m else splits(stats)
    found = [("examples" if m else "rows", whole(examples(stats)), f"in {place}")]
    if m or share not in (0.0, 1.0):
        found.append(("robot", percent(share), f"asked {percent(m.asked_robot)}" if m else "of the rows"))
    if every is not None:
        found.append(("tokens", whole(every), f"{percent(known / every, 1)} in the loss" if known and every else ""))
    found.append(("to read", amount(read), "shards" if m else "images"))
    found.append(("dropped", whole(dropped(stats)), f"{whole(faults(stats))} faulty"))
    return [*found, ("warnings", whole(len(stats.warnings)), counted(stats.warnings) if stats.warnings else "")]


def splits(stats: Stats) -> str:
    """4 splits."""
    return plural(len(stats.sources), "split")


def texts(source: SourceStats) -> list[tuple[Text, str]]:
    """Texts to summarize, with their names: instructions, or questions and answers."""
    asked = [(source.text, "instructions" if source.has_actions else "questions")]
    return [*asked, (source.answers, "answers")] if source.answers else asked


def sizes_said(source: SourceStats) -> str:
    """The most common size, and the number of sizes."""
    sizes = {(w, h): 0 for camera in source.cameras for w, h, _ in camera.sizes}
    for camera in source.cameras:
        for width, height, count in camera.sizes:
            sizes[width, height] += count
    if not sizes:
        return "unknown"
    width, height = max(sizes, key=lambda size: (sizes[size], size))
    return f"all {width}×{height}" if len(sizes) == 1 else f"{len(sizes)} sizes, most often {width}×{height}"


def sizes(source: SourceStats) -> list[tuple[Camera, int, int, int]]:
    """Camera, width, height and count: the eight most common sizes of each camera."""
    return [(camera, *size) for camera in source.cameras for size in camera.sizes[:8]]


def flag(warn: Warn) -> str:
    """black_camera as `black`."""
    return warn.code.removesuffix("_camera").removesuffix("_image").replace("_", " ")


def leak(found: Leak) -> str:
    """A description of what two have in common."""
    return {"group": "episode or image id", "image": "image", "text_and_image": "question and image"}[found.what]


def origin_facts(stats: Stats) -> list[tuple[str, str]]:
    """Facts that identify a mixture."""
    m = stats.mixture
    made = [("fingerprint", m.fingerprint), ("seed", str(m.seed)), ("tokenizer", m.tokenizer)] if m else []
    return [*made, ("rt2data", stats.tool_version), ("statistics format", f"version {stats.version}")]


# Sources


def robot_share(stats: Stats) -> float:
    """Robot share of the examples or rows."""
    if stats.mixture:
        return realized(stats.mixture)
    rows = examples(stats)
    return sum(source.rows for source in stats.sources if source.has_actions) / rows if rows else 0.0


def losses(stats: Stats) -> list[tuple[str, Dropped]]:
    """Source and dropped rows, faults first, then the largest. Every split of a source has the same entry; it is listed once."""
    found = dict.fromkeys((source.name, lost) for source in stats.sources for lost in source.lost)
    return sorted(found, key=lambda pair: (not pair[1].fault, -pair[1].count, pair[0], pair[1].reason))


def dropped(stats: Stats) -> int:
    """How many rows were dropped."""
    return sum(lost.count for _, lost in losses(stats))


def faults(stats: Stats) -> int:
    """How many rows were dropped because of faulty data."""
    return sum(lost.count for _, lost in losses(stats) if lost.fault)


@dataclass(frozen=True, slots=True)
class DimView:
    """A dimension as encoded by the codec, with the statistics of its numbers."""

    coded: EncodedDimension
    numbers: Dimension


def coded(actions: Actions) -> list[DimView]:
    """The dimensions of the codec; one without statistics (terminate) gets zeros."""
    numbers = {each.name: each for each in actions.dims}
    return [DimView(each, numbers.get(each.name, _unknown(each))) for each in actions.coded]


def _unknown(of: EncodedDimension) -> Dimension:
    zero: dict[str, Any] = dict.fromkeys(("mean", "std", "min", "max", "q01", "q05", "q50", "q95", "q99", "zeros", "top"), 0.0)
    return Dimension(name=of.name, unit="", count=sum(of.bins), not_finite=0, dead=False, sparse=False, **zero)


def names(actions: Actions) -> list[str]:
    """Names of the dimensions."""
    return [each.name for each in actions.dims]


# Cost of one epoch

BATCHES = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one pass for a default batch and number of GPUs; the page recomputes it for others."""

    examples: int
    tokens: int | None
    loss_tokens: int | None
    bytes: int
    batch: int = 256
    gpus: int = 8
    rate: float = 50.0  # examples that one GPU takes in a second

    @property
    def each(self) -> float | None:
        return self.bytes / self.examples if self.examples else None

    @property
    def steps(self) -> int:
        return -(-self.examples // self.batch)

    @property
    def per_step(self) -> float | None:
        return self._per_step(self.batch)

    @property
    def seconds(self) -> float:
        return self.examples / (self.gpus * self.rate)

    @property
    def reading(self) -> float | None:
        return self.each and self.each * self.gpus * self.rate

    @property
    def table(self) -> list[tuple[int, int, float | None]]:
        """Batch, steps, tokens per step; no batch is larger than the data."""
        fitting = [batch for batch in BATCHES if batch <= self.examples] or BATCHES[:1]
        return [(batch, -(-self.examples // batch), self._per_step(batch)) for batch in fitting]

    def _per_step(self, batch: int) -> float | None:
        return self.tokens / self.examples * batch if self.tokens and self.examples else None


def cost(stats: Stats) -> Cost:
    """The cost of one pass."""
    return Cost(examples(stats), tokens(stats), loss_tokens(stats), read_bytes(stats))
