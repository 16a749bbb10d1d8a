"""What a mixture is made of: its manifest, and the arithmetic of its order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from rt2data.look.stats.model import MixtureStats, Share, Window
from rt2data.order import BLOCK, I64, boundaries
from rt2data.plan.plan import SourcePlan
from rt2data.seal.manifest import Manifest
from rt2data.write.shard import SideTotals, shard_layout, shard_sources

WINDOWS = (64, 256, 1024)
POINTS = 256
"""Points of the running share."""


def mixture_stats(manifest: Manifest) -> MixtureStats:
    """All of it; no shard is read."""
    plan, asked = manifest.plan, float(Fraction(manifest.plan.robot_frac))
    robots = list(_robots(manifest))
    return MixtureStats(
        examples=plan.num_examples if plan.parts else manifest.examples,
        shards=len(manifest.shards),
        bytes=manifest.bytes,
        asked_robot=asked,
        shares=tuple(_share(manifest, source) for source in plan.sources),
        windows=tuple(_windows(robots, asked)),
        shard_worst=max((abs(int(robot[-1]) / (len(robot) - 1) - asked) for robot in robots if len(robot) > 1), default=0.0),
        running=tuple(_running(robots, manifest.examples)),
        format=plan.format,
        template=plan.template,
        codec=plan.codec,
        tokenizer=str(plan.tokenizer.get("kind", "")),
        seed=plan.seed,
        fingerprint=plan.fingerprint,
    )


def _share(manifest: Manifest, source: SourcePlan) -> Share:
    total = manifest.totals.get(source.name, SideTotals())
    times = Fraction(source.draws, max(manifest.plan.written(source), 1))  # how often an example is read that was written once
    return Share(
        source=source.name,
        kind=source.kind,
        asked=float(Fraction(source.share)),
        examples=round(times * total.examples),
        tokens=round(times * (total.prompt_tokens + total.target_tokens)),
        learned_tokens=round(times * total.target_tokens),
        image_bytes=total.image_bytes,
        epochs=source.epochs,
        unseen=max(source.rows - source.draws, 0),
        unique=min(source.rows, source.draws),
    )


def _robots(manifest: Manifest) -> Iterator[I64]:
    """For each shard the running count of robot examples, int64[examples + 1], by the plan's order; none where readers mix."""
    plan = manifest.plan
    if plan.parts:
        return
    layout, robots = shard_layout(plan)[0], sum(s.kind == "robot" for s in plan.sources)
    for index in range(plan.shards):
        yield np.concatenate([[0], np.cumsum(shard_sources(plan, index, layout) < robots)])


def _windows(robots: list[I64], asked: float) -> Iterator[Window]:
    """Runs that start at a multiple of 16 inside a shard; none of a length that no shard has."""
    for length in WINDOWS:
        strayed = np.concatenate([_strayed(robot, length, asked) for robot in robots] or [np.empty(0)])
        if len(strayed):
            yield Window(examples=length, worst=float(strayed.max()), mean=float(strayed.mean()))


def _strayed(robot: I64, length: int, asked: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far each run's robot share is from what was asked."""
    starts = np.arange(0, max(len(robot) - length, 0), BLOCK)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = np.abs((robot[starts + length] - robot[starts]) / length - asked)
    return found


def _running(robots: list[I64], examples: int) -> Iterator[tuple[int, float]]:
    """After so many examples, the robot share so far."""
    ends = np.cumsum([0, *(len(robot) - 1 for robot in robots)])
    before = np.cumsum([0, *(int(robot[-1]) for robot in robots)])
    for end in np.unique(boundaries(examples, min(POINTS, examples))).tolist() if examples and robots else ():
        shard = int(np.searchsorted(ends, end)) - 1
        yield end, float((before[shard] + robots[shard][end - ends[shard]]) / end)
