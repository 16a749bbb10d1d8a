"""The summary that `rt2data stats --json` prints, a report draws and a diff compares: plain values.

Shares lie in 0..1. Lengths of time are seconds. Numbers of a dimension are in its own unit, before any codec. Quantiles are exact
order statistics with linear interpolation, as numpy's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rt2data.records import Warn

STATS_VERSION = 1
Kind = Literal["robot", "web"]


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of these are values."""


class Spread(Frozen, frozen=True):
    """How some whole or real numbers lie: lengths of episodes, of texts, of token lists, sizes of pictures."""

    count: int = 0
    total: float = 0.0
    mean: float = 0.0
    min: float = 0.0
    p05: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Numbers(Frozen, frozen=True):
    """One dimension of actions or states. NaN and Inf are counted apart and in no other figure."""

    name: str
    unit: str
    count: int
    not_finite: int
    mean: float
    std: float  # population, ddof 0
    min: float
    max: float
    q01: float
    q05: float
    q50: float
    q95: float
    q99: float
    zeros: float  # share of values that are exactly 0
    top: float  # share of the commonest value; exact from 1/64 up, below that it is at least this
    dead: bool  # all values are the same
    sparse: bool  # not dead, but q01 is (almost) q99: scaling by quantiles would blow it up
    q10: float = 0.0
    q90: float = 0.0
    wraps: int = 0  # of a state: steps at which it jumps by more than pi


class Coded(Frozen, frozen=True):
    """One dimension of actions as a codec writes it."""

    name: str
    lo: float  # what the codec's lowest and highest bins stand for
    hi: float
    bins: tuple[int, ...]  # how often each bin is written
    entropy: float  # bits
    clipped_low: float  # share of values below lo, above hi
    clipped_high: float
    edge: float  # share in the lowest and highest bin together
    rmse: float  # of decode(encode(x)) against x, clipped values included; in the dimension's unit
    worst: float
    zero_offset: float  # what an action of exactly 0 comes back as
    drift: float | None = None  # how far a robot told to stand still moves in a second, or a step where its rate is not known;
    # None where 0 does not mean to stand still: positions, grippers and discrete dimensions
    drift_unit: str = ""


class Gripper(Frozen, frozen=True):
    """What the gripper's dimension does."""

    name: str
    values: dict[str, int]  # the commonest values, as text, and how often
    binary: float  # share of values within 2 % of the lowest or the highest
    transitions: Spread  # open to closed or back, for each episode
    agrees: float | None  # correlation of the command with the next change of a measured opening; None where there is none
    measured: str | None  # the state dimension it is paired with, taken for the opening


class Motion(Frozen, frozen=True):
    """How a dimension of the commands goes with the state dimension it is paired with: evidence of delta, absolute and lag."""

    action: str
    state: str  # by what goes with what: see `stats.pairing`
    delta: float  # correlation of a[t] with s[t+1] - s[t]
    absolute: float  # correlation of a[t] with s[t+1]
    lag: int  # shift in -3..3 at which |correlation with the delta| is largest; 0 is right
    wraps: int  # steps at which that state jumps by more than pi
    best: float = 0.0  # correlation with the delta at that shift
    steps: int = 0  # pairs of neighbouring steps that `delta` is of


class Actions(Frozen, frozen=True):
    """What the actions of one source look like."""

    space: str
    codec: str  # name/version
    dims: tuple[Numbers, ...]
    coded: tuple[Coded, ...]  # without the codec's own word for terminate
    noop: float  # share of steps that move nothing: norm of all dimensions but the gripper's below 1e-4, gripper unchanged
    absolute: bool  # actions are positions: then `noop` is of the difference from the step before. The space says so in its
    # title or frame ("absolute"); for a space of any size, that has no words for it, the correlations with the state say it
    terminate: int  # steps that end a task
    repeated: float  # share of steps whose action equals the one before
    gripper: Gripper | None
    motion: tuple[Motion, ...]  # of the dimensions that are paired with one of the state
    correlation: tuple[tuple[float, ...], ...]  # of the dimensions with each other
    unpaired: tuple[str, ...] = ()  # where there are states: dimensions that go with none of them


class Episodes(Frozen, frozen=True):
    """Episodes of a robot source."""

    count: int
    steps: Spread
    lengths: tuple[tuple[int, int], ...]  # histogram: steps, episodes; at most 64 bars, the first number is a bar's lowest
    short: int  # of fewer than two steps
    incomplete: int  # steps are missing in between
    fps: float | None  # of the median interval between time stamps; None where there are none
    jitter: float | None  # interquartile range of the intervals, as a share of the median
    backwards: int  # intervals that are zero or negative
    gaps: int  # intervals of more than 1.5 medians


class Text(Frozen, frozen=True):
    """Instructions or questions, or answers."""

    rows: int
    unique: int
    blank: int
    non_ascii: int
    characters: Spread
    words: Spread
    top: tuple[tuple[str, int], ...]  # the 20 commonest


class Tokens(Frozen, frozen=True):
    """Lengths in tokens, as trained on."""

    prompt: Spread
    target: Spread
    whole: Spread
    limit: int | None  # max_tokens of the recipe
    over: int  # examples above it
    target_lengths: tuple[tuple[int, int], ...]  # tokens, examples; at most 64 bars
    whole_lengths: tuple[tuple[int, int], ...]


class Camera(Frozen, frozen=True):
    """Pictures of one camera, from their headers and hashes."""

    name: str
    used: bool  # the one the mixture takes
    pictures: int
    unique: int  # different bytes
    commonest: int  # how often the commonest picture occurs
    kinds: dict[str, int]  # jpeg, png
    sizes: tuple[tuple[int, int, int], ...]  # width, height, pictures; the 20 commonest
    bytes: Spread


class Lost(Frozen, frozen=True):
    """What was left out for one reason."""

    reason: str
    count: int
    fault: bool  # something wrong with the data; else the recipe asked for it
    example: str = ""  # where one of them lies


class SourceStats(Frozen, frozen=True):
    """One split of one source. Of a mixture: its rows that were drawn, each once; tokens are of all examples."""

    name: str
    kind: Kind
    source: str  # kind of raw format
    split: str
    rows: int
    groups: int  # episodes or pictures
    image_bytes: int
    digest: str
    camera: str
    actions: Actions | None
    state: tuple[Numbers, ...]
    episodes: Episodes | None
    text: Text
    answers: Text | None
    answers_each: Spread | None  # answers to each question
    tokens: Tokens | None  # None where no recipe says how text becomes tokens
    cameras: tuple[Camera, ...]
    lost: tuple[Lost, ...]  # of the whole source, told with its first split
    conversions: dict[str, int]  # pictures that had to be made, by rule; told with its first split


class Share(Frozen, frozen=True):
    """What one source is of a mixture."""

    source: str
    kind: Kind
    asked: float  # share of examples that the recipe asks for
    examples: int
    tokens: int
    learned_tokens: int
    image_bytes: int
    epochs: float
    unseen: int  # rows that are never drawn
    unique: int  # rows that are drawn at least once


class Window(Frozen, frozen=True):
    """How far the robot share strays in runs of so many examples."""

    examples: int
    worst: float  # largest |share - asked| over all runs that start at a multiple of 16, within shards
    mean: float


class MixtureStats(Frozen, frozen=True):
    """What a mixture is made of."""

    examples: int
    shards: int
    bytes: int
    asked_robot: float
    shares: tuple[Share, ...]
    windows: tuple[Window, ...]  # 64, 256, 1024
    shard_worst: float  # largest |robot share - asked| of a shard
    running: tuple[tuple[int, float], ...]  # after so many examples, the robot share; at most 256 points
    format: str
    template: str
    codec: str
    tokenizer: str
    seed: int
    fingerprint: str


class Leak(Frozen, frozen=True):
    """What two splits, or two sources, have in common."""

    what: Literal["group", "picture", "text_and_picture"]
    here: str  # source/split
    there: str
    count: int
    example: str


class Stats(Frozen, frozen=True):
    """All of it."""

    version: int
    tool_version: str
    what: Literal["source", "store", "recipe", "mixture"]
    path: str
    sources: tuple[SourceStats, ...]
    mixture: MixtureStats | None
    leaks: tuple[Leak, ...]
    warnings: tuple[Warn, ...]
