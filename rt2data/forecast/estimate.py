"""An estimate of a prepared store: what `prepare` makes of a sample, and counts scaled to the whole. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from rt2data.forecast.sampling import Guess, Range, mean_guess, total_guess
from rt2data.order import I64, key64
from rt2data.prepare.merge_rows import identity, image_slots, mixture_camera, one_dim
from rt2data.prepare.outcomes import judge_ends
from rt2data.prepare.statistics import DimStats, summarize
from rt2data.prepare.store import SplitInfo, StoreInfo, as_rows, rows_table, vectors
from rt2data.prepare.unit import RowBuilder, UnitOrder, require_something, unreadable
from rt2data.read.sample import Part, Survey
from rt2data.read.source import Source
from rt2data.records import End, Rows, Unit
from rt2data.standardize.end_marks import refuted, wanted

SAMPLE_BYTES = 16 << 20
"""A sample of a source ends with the part that brings it to this size; two parts are read in any case. Time is not looked at: the
same seed gives the same estimate on any machine.
"""
LEAST_PARTS = 2


class SourceEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a quick scan says of one source, and how much of it was read for that. Ranges are of 95 % of samples."""

    rows: Range
    groups: Range
    image_bytes: Range  # mean of a picture
    bad: float  # share of sampled rows that are faulty
    left_out: float  # share of sampled rows that are faulty or filtered
    sampled_rows: int
    sampled: float  # in `measure`
    whole: float
    measure: str
    units: int
    reads: int  # bytes that preparing reads, pictures included
    store_bytes: int  # about what its store will take
    not_checked: tuple[str, ...]


@dataclass
class Tasting(RowBuilder):
    """Lays rows down in memory only: where pictures lie does not matter, those that would be made are only counted."""

    def _file(self, path: str) -> int:
        return 0

    def _append(self, content: bytes) -> int:
        self.blob_bytes += len(content)
        return 0


@dataclass(frozen=True)
class Sketch:
    """What a plan needs to know of a source that is not prepared: as a store tells it, but estimated."""

    path: Path
    info: StoreInfo
    table: pa.Table  # sampled rows of the split that is drawn
    estimate: SourceEstimate

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """Sampled rows that stand for the rows of these numbers."""
        return as_rows(self.table.take(pa.array(numbers % self.table.num_rows)), self.info, epochs, horizon)

    def action_stats(self, split: str) -> DimStats | None:
        """Statistics of the sampled actions."""
        return self._stats

    @cached_property
    def _stats(self) -> DimStats | None:
        action = vectors(self.table["action"], self.info.action_dim)
        return None if action is None else summarize(action)


@dataclass(frozen=True)
class _Tasted:
    """A sample, laid down: what each part gave."""

    survey: Survey
    laying: Tasting
    parts: list[Part]
    ends: list[int]  # rows laid down after each part
    split: str

    @cached_property
    def against(self) -> End:
        """The marks that speak against success, as far as the sample shows."""
        return refuted(self.laying.facts)

    @cached_property
    def drawn(self) -> list[bool]:
        """For each row whether it is of the split that is drawn, and not of a failed episode that the recipe does not want."""
        kept = wanted(np.array(self.laying.columns["marks"], np.uint8), self.against)
        return [split == self.split and keep for split, keep in zip(self.laying.columns["split"], kept.tolist(), strict=True)]

    def guess(self, values: Sequence[float]) -> Guess:
        """A total over the whole source of something that each row has a value of."""
        sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, float) * self.drawn)])
        each = [float(sums[stop] - sums[start]) for start, stop in pairwise([0, *self.ends])]
        return total_guess(each, [part.measure for part in self.parts], self.survey.whole)

    def column(self, name: str) -> list[Any]:
        """Values of the rows of the split."""
        return [value for value, here in zip(self.laying.columns[name], self.drawn, strict=True) if here]


def sketch(name: str, source: Source, folder: Path, split: str, seed: int) -> Sketch:
    """Estimate a source from a small sample. Raises UsageError, DataError or SourceChangedError as preparing it would."""
    survey = source.survey(split, seed)
    require_something(name, range(survey.units))
    tasted = _taste(name, source, survey, split)
    rows = tasted.guess([1.0] * len(tasted.drawn))
    picture = _picture_bytes(tasted)
    estimate = _estimate(tasted, rows, picture)
    info = _info(name, source, tasted, estimate)
    table = judge_ends(rows_table({key: tasted.column(key) for key in tasted.laying.columns}), tasted.against)
    return Sketch(folder, info, table, estimate)


def _taste(name: str, source: Source, survey: Survey, split: str) -> _Tasted:
    laying = Tasting(UnitOrder(name, source, Unit(0, name, split), ""), {}, 0, None)
    parts: list[Part] = []
    ends: list[int] = []
    for part in survey.parts:
        if len(parts) >= LEAST_PARTS and _size(laying, parts) > SAMPLE_BYTES:
            break
        try:
            laying.take(survey.read(part))
        except OSError as error:
            raise unreadable(name, part.place.path, error) from error
        parts.append(part)
        ends.append(len(laying.columns["key"]))
    return _Tasted(survey, laying, parts, ends, split)


def _size(laying: Tasting, parts: list[Part]) -> int:
    """Bytes read for a sample: as its parts say, or the pictures that came of it."""
    return max(sum(part.bytes for part in parts), sum(_lengths(laying.columns["images"])))


def _picture_bytes(tasted: _Tasted) -> Guess:
    """Mean size of the mixture's picture. Sizes of more files count only where pictures are taken as they lie."""
    as_they_lie = not tasted.laying.blob_bytes
    return mean_guess(
        tasted.survey.picture_bytes if as_they_lie and tasted.survey.picture_bytes else _lengths(tasted.column("images"))
    )


def _lengths(images: list[Any]) -> list[int]:
    return [each[0]["length"] for each in images]


def _estimate(tasted: _Tasted, rows: Guess, picture: Guess) -> SourceEstimate:
    survey, laying = tasted.survey, tasted.laying
    lost, laid = laying.lost(), len(tasted.drawn)
    left_out = sum(each.count for each in lost)
    return SourceEstimate(
        rows=rows.range(),
        groups=_groups(tasted, rows).range(),
        image_bytes=picture.range(),
        bad=sum(each.count for each in lost if each.fault) / max(laid + left_out, 1),
        left_out=left_out / max(laid + left_out, 1),
        sampled_rows=laid,
        sampled=sum(part.measure for part in tasted.parts),
        whole=survey.whole,
        measure=survey.measure,
        units=survey.units,
        reads=max(survey.bytes, round(rows.value * picture.value)),
        store_bytes=_store_bytes(tasted),
        not_checked=_not_checked(tasted),
    )


def _store_bytes(tasted: _Tasted) -> int:
    """Rows, and the pictures that had to be made, scaled from the sample."""
    columns = tasted.laying.columns
    laid = rows_table(columns).nbytes if columns["key"] else 0
    sampled = sum(part.measure for part in tasted.parts)
    return round((laid + tasted.laying.blob_bytes) * tasted.survey.whole / sampled) if sampled else 0


def _groups(tasted: _Tasted, rows: Guess) -> Guess:
    """Episodes or pictures: those that begin in the parts, or as the survey counts them where it cuts them."""
    rate = mean_guess(tasted.survey.group_rates)
    if not tasted.survey.group_rates:
        return tasted.guess(_first_of_group(tasted.laying.columns["group"]))
    return Guess(rate.value * rows.value, None if rate.error is None else rate.error * rows.value)


def _first_of_group(groups: Sequence[str]) -> list[float]:
    """1 for the first row of each episode or picture, else 0."""
    seen: set[str] = set()
    return [float(group not in seen and not seen.add(group)) for group in groups]  # type: ignore[func-returns-value]


def _not_checked(tasted: _Tasted) -> tuple[str, ...]:
    """What only preparing finds out."""
    if sum(part.measure for part in tasted.parts) >= tasted.survey.whole and not tasted.survey.unchecked:
        return ("keys given twice",)
    return (*tasted.survey.unchecked, "rows that were not sampled: rejects, checksums, keys given twice")


def _info(name: str, source: Source, tasted: _Tasted, estimate: SourceEstimate) -> StoreInfo:
    laying = tasted.laying
    cameras = tuple(sorted(laying.cameras))
    return StoreInfo(
        **identity(name, source),
        digest="",
        camera=mixture_camera(source, cameras),
        cameras=cameras,
        slots=image_slots(source, cameras),
        horizon=getattr(source, "horizon", 1),
        action_dim=one_dim(name, "action", list(laying.summary().action_dims)),
        state_dim=one_dim(name, "state", list(laying.summary().state_dims)),
        splits=_splits(tasted, estimate),
        rejects=laying.lost(),
        conversions=dict(laying.conversions),
        facts=dict(laying.facts),
        bytes_read=estimate.reads,
    )


def _splits(tasted: _Tasted, estimate: SourceEstimate) -> dict[str, SplitInfo]:
    """The split that is drawn; nothing where the sample has no row of it."""
    if not any(tasted.drawn):
        return {}
    rows = max(round(estimate.rows.value), 1)
    taken = [[image for image in images if image["chosen"]] for images in tasted.column("images")]
    counts = [len(images) for images in taken]
    split = SplitInfo(
        rows=rows,
        groups=max(round(estimate.groups.value), 1),
        image_bytes=round(rows * estimate.image_bytes.value),
        fewest=min(counts),
        most=max(counts),
        text_bytes=round(tasted.guess([len(text.encode()) for text in tasted.laying.columns["text"]]).value),
        files=(),
        formats=_scaled(Counter(image["format"] for images in taken for image in images), rows / len(counts)),
    )
    return {tasted.split: split}


def _scaled(counts: Counter[str], times: float) -> dict[str, int]:
    """Counts of a sample as counts of the whole; each at least 1."""
    return {name: max(1, round(count * times)) for name, count in counts.items()}


def seed_of(recipe_seed: int, name: str) -> int:
    """The seed of a source's sample."""
    return key64("sketch", recipe_seed, name)
