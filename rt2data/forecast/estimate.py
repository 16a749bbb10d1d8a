"""Estimates a prepared store: the result of `prepare` for a sample, scaled to the whole, with its sampling error. Writes nothing.

Source of the formulae: W. G. Cochran, Sampling Techniques, 3rd edition, chapters 2 (means) and 6 (ratio estimates).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from rt2data.order import I64, key64
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.begin import require_something
from rt2data.prepare.filtered import Filtered, drops, lost_by_task, tasks_table
from rt2data.prepare.outcomes import judge_ends
from rt2data.prepare.row_builder import RowBuilder
from rt2data.prepare.row_table import rows_table, vectors
from rt2data.prepare.seal import identity, image_slots, mixture_camera, one_dim
from rt2data.prepare.statistics import DimStats, summarize
from rt2data.prepare.store import SplitInfo, StoreInfo, rejects_table
from rt2data.prepare.unit import unreadable
from rt2data.read.sample import SamplePart, SamplePlan
from rt2data.read.source import Source
from rt2data.records import End, Rows
from rt2data.standardize.end_marks import refuted, wanted
from rt2data.standardize.filters import FOUND

SAMPLE_BYTES = 16 << 20
"""A sample ends with the part that brings it to this size; at least two parts are read. It does not depend on time: the same seed
gives the same estimate on any machine.
"""
LEAST_PARTS = 2
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t, 97.5 %, for 1 to 10 degrees of freedom; 2.0 from 60 on, and slightly more in between."""


class Range(msgspec.Struct, frozen=True):
    """An estimate and the ends of its range, which are unknown for a single sample."""

    value: float
    low: float | None
    high: float | None


class Guess(NamedTuple):
    """An estimate and the half width of its 95 % range; None if unknown."""

    value: float
    error: float | None

    def range(self) -> Range:
        """The range, never below zero."""
        if self.error is None:
            return Range(self.value, None, None)
        return Range(self.value, max(self.value - self.error, 0.0), self.value + self.error)


def total_guess(values: Sequence[float], measures: Sequence[float], whole: float) -> Guess:
    """The total over `whole`, by ratio, from the values and sizes (`measures`) of sampled parts; exact if they cover the whole."""
    sampled = sum(measures)
    if not sampled:
        return Guess(0.0, 0.0 if not whole else None)
    ratio = sum(values) / sampled
    if sampled >= whole:
        return Guess(float(sum(values)), 0.0)
    if len(values) < 2:
        return Guess(ratio * whole, None)
    rest = np.asarray(values) - ratio * np.asarray(measures)
    spread = sqrt(float((rest**2).sum()) / (len(values) - 1) / len(values) * (1 - sampled / whole))
    return Guess(ratio * whole, student_t(len(values) - 1) * spread * whole / (sampled / len(values)))


def mean_guess(values: Sequence[float]) -> Guess:
    """The mean of a sample; 0 for none."""
    if len(values) < 2:
        return Guess(float(sum(values)), None if values else 0.0)
    return Guess(float(np.mean(values)), student_t(len(values) - 1) * float(np.std(values, ddof=1)) / sqrt(len(values)))


def student_t(freedom: int) -> float:
    """The factor that converts standard errors to a 95 % range."""
    return _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom


class SourceEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The estimated figures of one source, and the size of the sample. Ranges hold for 95 % of samples."""

    rows: Range
    groups: Range
    image_bytes: Range  # mean per image
    bad: float  # share of sampled rows that are faulty
    dropped: float  # share of sampled rows that are faulty or filtered
    sampled_rows: int
    sampled: float  # in `measure`
    whole: float
    measure: str
    units: int
    reads: int  # bytes that preparing reads, including images
    store_bytes: int  # estimated size of its store
    not_checked: tuple[str, ...]


@dataclass
class SampleRows(RowBuilder):
    """Rows in memory only: places of images do not matter, and converted images are only counted."""

    _blob_id = 0

    def _file(self, path: str) -> int:
        return 0

    def _append(self, content: bytes) -> int:
        self.blob_bytes += len(content)
        return 0


@dataclass(frozen=True)
class EstimatedStore:
    """The facts a plan needs about an unprepared source: the same as for a store, but estimated."""

    path: Path
    info: StoreInfo
    table: pa.Table  # sampled rows of the split that is drawn
    estimate: SourceEstimate
    dropped: Filtered

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """Sampled rows that stand in for the rows with these numbers."""
        return as_rows(self.table.take(pa.array(numbers % self.table.num_rows)), self.info, epochs, horizon)

    def action_stats(self, split: str) -> DimStats | None:
        """Statistics of the sampled actions."""
        return self._stats

    def all_action_stats(self) -> DimStats | None:
        """The same statistics, since other splits are not sampled."""
        return self._stats

    def filtered(self) -> Filtered:
        """What filters drop, scaled from the sample; steps per task are unscaled."""
        return self.dropped

    @cached_property
    def _stats(self) -> DimStats | None:
        action = vectors(self.table["action"], self.info.action_dim)
        return None if action is None else summarize(action)


@dataclass(frozen=True)
class _Sample:
    """A sample that was read: its parts, and their rows."""

    plan: SamplePlan
    builder: SampleRows
    parts: list[SamplePart]
    ends: list[int]  # cumulative number of rows after each part
    split: str

    @cached_property
    def against(self) -> End:
        """The marks that contradict success, judging from the sample."""
        return refuted(self.builder.facts)

    @cached_property
    def drawn(self) -> list[bool]:
        """For each row, whether it belongs to the drawn split, and not to a failed episode that the recipe drops."""
        kept = wanted(np.array(self.builder.columns["marks"], np.uint8), self.against)
        return [split == self.split and keep for split, keep in zip(self.builder.columns["split"], kept.tolist(), strict=True)]

    def guess(self, values: Sequence[float]) -> Guess:
        """A total over the whole source, from one value per row."""
        sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, float) * self.drawn)])
        each = [float(sums[stop] - sums[start]) for start, stop in pairwise([0, *self.ends])]
        return total_guess(each, [part.measure for part in self.parts], self.plan.whole)

    def column(self, name: str) -> list[Any]:
        """Values of the rows of the split."""
        return [value for value, here in zip(self.builder.made_columns[name], self.drawn, strict=True) if here]


def estimate_store(name: str, source: Source, folder: Path, split: str, seed: int) -> EstimatedStore:
    """Estimate a source from a small sample. Raises UsageError, DataError or SourceChangedError as preparing it would."""
    plan = source.sample_plan(split, seed)
    require_something(name, range(plan.units))
    sample = _read_sample(name, source, plan, split)
    rows = sample.guess([1.0] * len(sample.drawn))
    image = _image_bytes(sample)
    estimate = _estimate(sample, rows, image)
    info = _info(name, source, sample, estimate)
    table = judge_ends(rows_table({key: sample.column(key) for key in sample.builder.made_columns}), sample.against)
    return EstimatedStore(folder, info, table, estimate, _filtered(sample))


def _filtered(sample: _Sample) -> Filtered:
    """Dropped steps by reason, scaled to the whole; tasks as in the sample."""
    rejects, size = sample.builder.rejects, sum(part.measure for part in sample.parts)
    kept = pa.chunked_array([sample.column("text")], pa.string())
    scale = sample.plan.whole / size if size else 0.0
    return Filtered(drops(rejects_table(rejects), scale), tasks_table([kept], [lost_by_task(rejects)]))


def _read_sample(name: str, source: Source, plan: SamplePlan, split: str) -> _Sample:
    builder = SampleRows(name, source, "", None)
    parts: list[SamplePart] = []
    ends: list[int] = []
    for part in plan.parts:
        if len(parts) >= LEAST_PARTS and _size(builder, parts) > SAMPLE_BYTES:
            break
        try:
            builder.take(source.annotated(plan.read(part)))
        except OSError as error:
            raise unreadable(name, part.place.path, error) from error
        parts.append(part)
        ends.append(len(builder.columns["key"]))
    return _Sample(plan, builder, parts, ends, split)


def _size(builder: SampleRows, parts: list[SamplePart]) -> int:
    """Bytes read for a sample: those of its parts, or of the images in its rows if that is more."""
    return max(sum(part.bytes for part in parts), sum(_lengths(builder.columns["images"])))


def _image_bytes(sample: _Sample) -> Guess:
    """Mean size of the mixture's image. Sizes of further files count only if images are copied unchanged."""
    copied = not sample.builder.blob_bytes
    return mean_guess(sample.plan.image_bytes if copied and sample.plan.image_bytes else _lengths(sample.column("images")))


def _lengths(images: list[Any]) -> list[int]:
    return [sum(image.length for image in each if image.chosen) for each in images]


def _estimate(sample: _Sample, rows: Guess, image: Guess) -> SourceEstimate:
    plan, builder = sample.plan, sample.builder
    lost, kept = builder.lost(), len(sample.drawn)
    dropped = sum(each.count for each in lost)
    return SourceEstimate(
        rows=rows.range(),
        groups=_groups(sample, rows).range(),
        image_bytes=image.range(),
        bad=sum(each.count for each in lost if each.fault) / max(kept + dropped, 1),
        dropped=dropped / max(kept + dropped, 1),
        sampled_rows=kept,
        sampled=sum(part.measure for part in sample.parts),
        whole=plan.whole,
        measure=plan.measure,
        units=plan.units,
        reads=max(plan.bytes, round(rows.value * image.value)),
        store_bytes=_store_bytes(sample),
        not_checked=_not_checked(sample),
    )


def _store_bytes(sample: _Sample) -> int:
    """Bytes of rows and converted images, scaled from the sample."""
    columns = sample.builder.made_columns
    kept = rows_table(columns).nbytes if columns["key"] else 0
    sampled = sum(part.measure for part in sample.parts)
    return round((kept + sample.builder.blob_bytes) * sample.plan.whole / sampled) if sampled else 0


def _groups(sample: _Sample, rows: Guess) -> Guess:
    """The number of episodes or images: those that begin in the parts, or by the plan's rates if parts may cut groups."""
    rate = mean_guess(sample.plan.group_rates)
    if not sample.plan.group_rates:
        return sample.guess(_first_of_group(sample.builder.columns["group"]))
    return Guess(rate.value * rows.value, None if rate.error is None else rate.error * rows.value)


def _first_of_group(groups: Sequence[str]) -> list[float]:
    """1 for the first row of each episode or image, else 0."""
    seen: set[str] = set()
    return [float(group not in seen and not seen.add(group)) for group in groups]  # type: ignore[func-returns-value]


def _not_checked(sample: _Sample) -> tuple[str, ...]:
    """What can only be checked by preparing."""
    if sum(part.measure for part in sample.parts) >= sample.plan.whole and not sample.plan.unchecked:
        return ("duplicate keys",)
    return (*sample.plan.unchecked, "rows that were not sampled: rejects, checksums, duplicate keys")


def _info(name: str, source: Source, sample: _Sample, estimate: SourceEstimate) -> StoreInfo:
    builder = sample.builder
    cameras = tuple(sorted(builder.cameras))
    return StoreInfo(
        **identity(name, source),
        digest="",
        camera=mixture_camera(source, cameras),
        cameras=cameras,
        slots=image_slots(source, cameras),
        horizon=getattr(source, "horizon", 1),
        action_dim=one_dim(name, "action", list(builder.dims("action"))),
        state_dim=one_dim(name, "state", list(builder.dims("state"))),
        splits=_splits(sample, estimate),
        rejects=builder.lost(),
        conversions=dict(builder.conversions),
        facts={name: count for name, count in builder.found_facts().items() if not name.startswith(FOUND)},
        bytes_read=estimate.reads,
    )


def _splits(sample: _Sample, estimate: SourceEstimate) -> dict[str, SplitInfo]:
    """The drawn split; empty if the sample has no row of it."""
    if not any(sample.drawn):
        return {}
    rows = max(round(estimate.rows.value), 1)
    taken = [[image for image in images if image.chosen] for images in sample.column("images")]
    counts = [len(images) for images in taken]
    split = SplitInfo(
        rows=rows,
        groups=max(round(estimate.groups.value), 1),
        image_bytes=round(rows * estimate.image_bytes.value),
        fewest=min(counts),
        most=max(counts),
        text_bytes=round(sample.guess([len(text.encode()) for text in sample.builder.columns["text"]]).value),
        files=(),
        formats=_scaled(Counter(image.format for images in taken for image in images), rows / len(counts)),
    )
    return {sample.split: split}


def _scaled(counts: Counter[str], times: float) -> dict[str, int]:
    """Counts of a sample, scaled to the whole; each at least 1."""
    return {name: max(1, round(count * times)) for name, count in counts.items()}


def seed_of(recipe_seed: int, name: str) -> int:
    """The seed of a source's sample."""
    return key64("sketch", recipe_seed, name)
