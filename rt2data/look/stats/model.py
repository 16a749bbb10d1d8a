"""The summary that `rt2data stats --json` prints, the report draws and diff compares: plain values.

Shares are in 0..1, times in seconds, numbers of a dimension in its own unit before any codec. Quantiles are exact, with linear
interpolation, as in numpy.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rt2data.records import Warn

STATS_VERSION = 1
Kind = Literal["robot", "web"]


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records here."""


class Distribution(Frozen, frozen=True):
    """A distribution, such as of episode, text or token lengths, or of image bytes."""

    count: int = 0
    total: float = 0.0
    mean: float = 0.0
    min: float = 0.0
    p05: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Dimension(Frozen, frozen=True):
    """One dimension of actions or states. NaN and Inf are counted and excluded from all other figures."""

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
    top: float  # share of the most common value; exact from 1/64 up, a lower bound below that
    dead: bool  # all values are the same
    sparse: bool  # not dead, but q01 is (almost) q99: scaling by quantiles would explode
    q10: float = 0.0
    q90: float = 0.0
    wraps: int = 0  # for a state: steps at which it jumps by more than pi


class EncodedDimension(Frozen, frozen=True):
    """One dimension of actions as encoded by a codec."""

    name: str
    lo: float  # bounds of the codec
    hi: float
    bins: tuple[int, ...]  # count of each bin
    entropy: float  # bits
    clipped_low: float  # share of values below lo; above hi
    clipped_high: float
    edge: float  # share in the lowest and highest bin together
    rmse: float  # of decode(encode(x)) - x, clipped values included; in the dimension's unit
    worst: float
    zero_offset: float  # the decoded value of an action of exactly 0
    drift: float | None = None  # how far a zero action moves the robot per second, or per step if its rate is not known;
    # None if 0 does not mean no motion: positions, grippers and discrete dimensions
    drift_unit: str = ""


class Gripper(Frozen, frozen=True):
    """The gripper dimension."""

    name: str
    values: dict[str, int]  # the most common values, as text, and their counts
    binary: float  # share of values within 2 % of the range from its minimum or maximum
    transitions: Distribution  # open to closed or back, per episode
    agrees: float | None  # correlation of the command with the next change of the measured opening; None if not measured
    measured: str | None  # the paired state dimension, assumed to be the opening


class Motion(Frozen, frozen=True):
    """An action dimension and the state dimension it is paired with: evidence of delta, absolute and lag."""

    action: str
    state: str  # paired by correlation: see `stats.motion`
    delta: float  # correlation of a[t] with s[t+1] - s[t]
    absolute: float  # correlation of a[t] with s[t+1]
    lag: int  # shift in -3..3 with the largest |correlation with the delta|; 0 is right
    wraps: int  # steps at which the paired state jumps by more than pi
    best: float = 0.0  # correlation with the delta at that shift
    steps: int = 0  # number of pairs of consecutive steps for `delta`


class Actions(Frozen, frozen=True):
    """The actions of one source."""

    space: str
    codec: str  # name/version
    dims: tuple[Dimension, ...]
    coded: tuple[EncodedDimension, ...]  # without the codec's own terminate word
    noop: float  # share of no-op steps: norm of all dimensions but the gripper below 1e-4, gripper unchanged
    absolute: bool  # actions are positions: then `noop` uses the difference from the previous step. The space says so in its
    # title or frame ("absolute"); for generic_nd the correlations with the state decide
    terminate: int  # steps that end a task
    repeated: float  # share of steps whose action equals the previous one
    gripper: Gripper | None
    motion: tuple[Motion, ...]  # of dimensions paired with a state dimension
    correlation: tuple[tuple[float, ...], ...]  # between the dimensions
    unpaired: tuple[str, ...] = ()  # if there are states: dimensions without a paired state dimension


class Episodes(Frozen, frozen=True):
    """Episodes of a robot source."""

    count: int
    steps: Distribution
    lengths: tuple[tuple[int, int], ...]  # histogram: lowest steps of a bin, episodes; at most 64 bins
    short: int  # fewer than two steps
    incomplete: int  # with missing steps
    fps: float | None  # of the median interval between timestamps; None without timestamps
    jitter: float | None  # interquartile range of the intervals, as a share of the median
    backwards: int  # intervals that are zero or negative
    gaps: int  # intervals of more than 1.5 medians


class Text(Frozen, frozen=True):
    """Instructions or questions, or answers."""

    rows: int
    unique: int
    blank: int
    non_ascii: int
    characters: Distribution
    words: Distribution
    top: tuple[tuple[str, int], ...]  # the 20 most common


class Tokens(Frozen, frozen=True):
    """Lengths of examples in tokens."""

    prompt: Distribution
    target: Distribution
    whole: Distribution
    limit: int | None  # max_tokens of the recipe
    over: int  # examples above it
    target_lengths: tuple[tuple[int, int], ...]  # histogram: tokens, examples; at most 64 bins
    whole_lengths: tuple[tuple[int, int], ...]


class Camera(Frozen, frozen=True):
    """Images of one camera, from their headers and hashes."""

    name: str
    used: bool  # the one the mixture uses
    images: int
    unique: int  # distinct bytes
    commonest: int  # how often the most common image occurs
    kinds: dict[str, int]  # jpeg, png
    sizes: tuple[tuple[int, int, int], ...]  # width, height, images; the 20 most common
    bytes: Distribution


class Dropped(Frozen, frozen=True):
    """What was dropped for one reason."""

    reason: str
    count: int
    fault: bool  # the data is faulty; otherwise the recipe asked for it
    example: str = ""  # the place of one example


class SourceStats(Frozen, frozen=True):
    """One split of one source. For a mixture: the rows that were drawn, each once; token figures cover all examples."""

    name: str
    kind: Kind
    source: str  # kind of raw format
    split: str
    rows: int
    groups: int  # episodes or images
    image_bytes: int
    digest: str
    camera: str
    actions: Actions | None
    state: tuple[Dimension, ...]
    episodes: Episodes | None
    text: Text
    answers: Text | None
    answers_each: Distribution | None  # answers per question
    tokens: Tokens | None  # None if no recipe defines tokenization
    cameras: tuple[Camera, ...]
    lost: tuple[Dropped, ...]  # of the whole source, listed with its first split
    conversions: dict[str, int]  # images that had to be converted, by rule; listed with its first split

    @property
    def has_actions(self) -> bool:
        """Whether it comes from a robot log."""
        return self.kind == "robot"


class Share(Frozen, frozen=True):
    """One source of a mixture."""

    source: str
    kind: Kind
    asked: float  # share of examples that the recipe asks for
    examples: int
    tokens: int
    loss_tokens: int
    image_bytes: int
    epochs: float
    unseen: int  # rows that are never drawn
    unique: int  # rows that are drawn at least once
    takes: str = ""  # several cameras, time windows; empty for one image and one action
    place: str | msgspec.UnsetType = msgspec.UNSET  # its side and groups, such as web.vqa; unset: no group

    @property
    def has_actions(self) -> bool:
        """Whether it comes from a robot log."""
        return self.kind == "robot"


class Window(Frozen, frozen=True):
    """How far the robot share deviates in windows of `examples` examples."""

    examples: int
    worst: float  # largest |share - asked| over all windows that start at a multiple of 16, within shards
    mean: float


class MixtureStats(Frozen, frozen=True):
    """The mixture as a whole."""

    examples: int
    shards: int
    bytes: int
    asked_robot: float
    shares: tuple[Share, ...]
    windows: tuple[Window, ...]  # 64, 256, 1024
    shard_worst: float  # largest |robot share - asked| of a shard
    running: tuple[tuple[int, float], ...]  # examples, robot share so far; at most 256 points
    format: str
    template: str
    codec: str
    tokenizer: str
    seed: int
    fingerprint: str


class Leak(Frozen, frozen=True):
    """Data shared by two splits, or two sources."""

    what: Literal["group", "image", "text_and_image"]
    here: str  # source/split
    there: str
    count: int
    example: str


class Stats(Frozen, frozen=True):
    """All statistics of a subject."""

    version: int
    tool_version: str
    what: Literal["source", "store", "recipe", "mixture"]
    path: str
    sources: tuple[SourceStats, ...]
    mixture: MixtureStats | None
    leaks: tuple[Leak, ...]
    warnings: tuple[Warn, ...]
