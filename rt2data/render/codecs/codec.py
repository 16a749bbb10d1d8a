"""The base of all action codecs: a frozen, named, versioned object that fully describes how actions became bins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rt2data.errors import DataError
from rt2data.read.action_space import ENDLESS, SPACE, ActionSpace
from rt2data.records import F32, Chunks

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
Bools = NDArray[np.bool_]

BINS = 256
MIDDLE = 127  # the bin of zero in [-1, 1], in RT-1's grid and in OpenVLA's


@dataclass(frozen=True)
class Codec(ABC):
    """Actions f32[N, D] of one action space to bins int32[N, width] and back.

    `lo` and `hi` are the resolved bounds, one pair for each of D dimensions. If they are equal the dimension is *held*: it has
    practically no range, is always the middle bin, and decodes to that one value; `notes` says so in words. `minmax` are the
    dimensions bounded by their minimum and maximum, because their quantiles coincide. A space's own terminate dimension is written
    with one polarity, whatever its raw values: the lower of its two bins ends the task if `terminates` is 0, the higher one if it
    is 1.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    token_map: ClassVar[Literal["digits", "last_n"]]
    rule: ClassVar[str]
    """How a value becomes a bin; `undo` says what a bin decodes to."""
    undo: ClassVar[Literal["left", "center"]]
    dtype: ClassVar[str]
    """The arithmetic of encoding, which decides values at the edge of a bin."""

    space: ActionSpace
    lo: tuple[float, ...]
    hi: tuple[float, ...]
    notes: tuple[str, ...] = ()
    minmax: tuple[int, ...] = ()
    terminates: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        if not len(self.lo) == len(self.hi) == len(self.space.dims):
            raise ValueError(f"{len(self.lo)} and {len(self.hi)} bounds for action space {self.space.name}")
        if not all(-ENDLESS < lo <= hi < ENDLESS for lo, hi in zip(self.lo, self.hi, strict=True)):
            raise ValueError(f"bounds must be finite and in order, got {self.lo} and {self.hi}")

    @property
    @abstractmethod
    def width(self) -> int:
        """Bins per action; a codec that writes whole chunks gives at most this many for each action of a chunk."""

    @property
    @abstractmethod
    def mask(self) -> tuple[bool, ...]:
        """D: the dimensions that decoding scales from [-1, 1] to [lo, hi]."""

    @property
    @abstractmethod
    def tolerance(self) -> F64:
        """float64[D]: upper bound of |decode(encode(x)) - clip(x)|, float32 rounding included."""

    @property
    def terminate(self) -> dict[str, int] | None:
        """`position` of the terminate bin, and the bins that `terminates` and `continues` mean; None if there is none."""
        return None

    @abstractmethod
    def encode(self, actions: F32, terminate: Bools) -> I32:
        """Bins int32[N, width], 0 to 255, of actions f32[N, D] and flags bool[N].

        A terminate dimension of the action space itself overrides the flags. Raises ValueError for NaN, Inf or another shape.
        """

    def encode_chunks(self, chunks: Chunks) -> list[list[int]]:
        """The bins of n chunks, action after action, without padding: n lists, as long as the real actions need.

        Raises the same errors as `encode`. A codec that writes whole chunks overrides this, `decode_chunks` and `chunk_fault`.
        """
        horizon = chunks.actions.shape[1]
        if horizon == 1:
            found: list[list[int]] = self.encode(chunks.actions[:, 0], chunks.ends == 0).tolist()
            return found
        real = ~chunks.is_pad
        ends = np.arange(horizon) == chunks.ends[:, None]
        bins = self.encode(chunks.actions[real], ends[real])
        edges = np.concatenate([[0], np.cumsum(chunks.real)]).tolist()
        return [bins[start:stop].ravel().tolist() for start, stop in pairwise(edges)]

    def decode_chunks(self, chunks: Sequence[Sequence[int]]) -> tuple[F64, Bools, list[int]]:
        """Actions float64[A, D] and terminate flags bool[A] from the bins of n chunks, and the number of actions in each chunk.

        Raises ValueError for a wrong number of bins.
        """
        wrong = next((len(bins) for bins in chunks if not len(bins) or len(bins) % self.width), None)
        if wrong is not None:
            raise ValueError(f"{wrong} bins are no whole number of actions of {self.width}")
        flat = np.array([each for bins in chunks for each in bins], np.int32)
        return *self.decode(flat.reshape(-1, self.width)), [len(bins) // self.width for bins in chunks]

    def chunk_fault(self, bins: Sequence[int], real: int) -> str:
        """Why these cannot be the bins of a chunk of `real` real actions; empty if they can."""
        wanted = self.width * real
        right = len(bins) == wanted > 0 and 0 <= min(bins) <= max(bins) < BINS
        return "" if right else f"not {wanted} numbers from 0 to {BINS - 1}"

    @abstractmethod
    def decode(self, bins: I32) -> tuple[F64, Bools]:
        """Actions float64[N, D] and terminate flags bool[N] from bins int32[N, width].

        Raises ValueError for bins outside 0..255, or another shape.
        """

    def clip(self, actions: F32) -> F64:
        """float64[N, D]: the target of encoding: within bounds, and whole numbers in discrete dimensions."""
        aim = np.clip(np.asarray(actions, np.float64), self.lo, self.hi)
        aim[:, self.discrete] = np.rint(aim[:, self.discrete])
        return aim

    def zero_offset(self) -> F64:
        """float64[D]: how a robot would move when it should stand still: decode(encode(0)) - clip(0)."""
        still = np.zeros((1, len(self.lo)), np.float32)
        offset: F64 = (self.decode(self.encode(still, np.zeros(1, np.bool_)))[0] - self.clip(still))[0]
        return offset

    def warnings(self) -> tuple[str, ...]:
        """In plain words, the dimensions whose statistics gave no sound bounds, and how they are treated."""
        return self.notes

    def to_json(self) -> dict[str, Any]:
        """The whole codec as plain JSON values; `from_json` reads an equal one back."""
        return {
            "name": self.name,
            "version": self.version,
            "token_map": self.token_map,
            "bins": BINS,
            "width": self.width,
            "rule": self.rule,
            "decode": self.undo,
            "dtype": self.dtype,
            "terminate": self.terminate,
            "space": SPACE.dump_python(self.space, mode="json", by_alias=True, exclude_none=True),
            "dims": [self._resolved(i) for i in range(len(self.lo))],
            "warnings": list(self.notes),
        }

    def _resolved(self, i: int) -> dict[str, Any]:
        dim = self.space.dims[i]
        source = "spec" if dim.span is not None else "minmax" if i in self.minmax else "q01q99"
        return {"name": dim.name, "lo": self.lo[i], "hi": self.hi[i], "source": source, "normalize": self.mask[i]}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Raises DataError for anything that `to_json` of this class and version did not write."""
        named = found.get("name"), found.get("version")
        if named != (cls.name, cls.version):
            raise DataError(
                f"action codec {named[0]} version {named[1]} is not {cls.name} version {cls.version}",
                do="use the release of rt2data that wrote it",
            )
        try:
            made = cls(**cls._fields(found))
            if made.terminate != found["terminate"]:
                raise ValueError(f"its terminate is {found['terminate']}, this release writes {made.terminate}")
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            do = "use the release of rt2data that wrote it"
            raise DataError(f"not an action codec of this release: {error}".splitlines()[0], do=do) from None
        return made

    @classmethod
    def _fields(cls, found: dict[str, Any]) -> dict[str, Any]:
        ends = found["terminate"]
        return {
            "space": SPACE.validate_python(found["space"], strict=False),
            "lo": tuple(float(dim["lo"]) for dim in found["dims"]),
            "hi": tuple(float(dim["hi"]) for dim in found["dims"]),
            "notes": tuple(map(str, found["warnings"])),
            "minmax": tuple(i for i, dim in enumerate(found["dims"]) if dim["source"] == "minmax"),
            "terminates": int(ends is not None and ends["terminates"] > ends["continues"]),
        }

    @cached_property
    def held(self) -> Bools:
        """bool[D]: dimensions without a range."""
        return np.equal(self.lo, self.hi)

    @cached_property
    def discrete(self) -> Bools:
        """bool[D]: dimensions whose values are whole numbers."""
        return np.array([dim.kind == "discrete" for dim in self.space.dims], np.bool_)

    @cached_property
    def ends32(self) -> tuple[F32, F32]:
        """`lo` and `hi` as f32[D]."""
        return np.array(self.lo, np.float32), np.array(self.hi, np.float32)

    def _sound(self, actions: F32, terminate: Bools) -> F32:
        """A float32 copy with discrete dimensions rounded and within bounds; ValueError for what cannot be encoded."""
        if len(terminate) != len(actions):
            raise ValueError(f"{len(terminate)} terminate flags for {len(actions)} actions")
        sound = np.array(actions, np.float32)
        bad = self.space.check(sound)
        if len(bad):
            raise ValueError(f"NaN or Inf in action {bad[0]} of {len(sound)}")
        lo, hi = self.ends32
        whole = self.discrete
        sound[:, whole] = np.rint(np.clip(sound[:, whole], lo[whole], hi[whole]))
        own = self.space.terminate
        if own is not None:
            sound[:, own] = lo[own] + np.argsort(self._levels)[(sound[:, own] - lo[own]).astype(np.intp)]
        return sound

    def _sound_bins(self, bins: I32) -> I32:
        bins = np.asarray(bins)
        if bins.ndim != 2 or bins.shape[1] != self.width:
            raise ValueError(f"bins of shape {bins.shape} for a codec of {self.width} bins per action")
        if bins.size and not (bins.min() >= 0 and bins.max() < BINS):
            raise ValueError(f"bins must be in 0..{BINS - 1}, found {bins.min()} to {bins.max()}")
        return bins

    @cached_property
    def _levels(self) -> F64:
        """float64[n]: the raw values of the space's own terminate dimension, in order of their bins."""
        own = self.space.terminate
        assert own is not None
        dim = self.space.dims[own]
        pair = np.array([dim.terminates, dim.continues], np.float64)
        every = np.arange(self.lo[own], self.hi[own] + 1)
        return np.concatenate([pair[::-1] if self.terminates else pair, every[~np.isin(every, pair)]])

    def _raw_terminate(self, values: F64) -> F64:
        """float64[N, D] with raw values in the terminate dimension: undoes the order set by `_sound`."""
        own = self.space.terminate
        if own is not None:
            values[:, own] = self._levels[(values[:, own] - self.lo[own]).astype(np.intp)]
        return values

    def _with_rounding(self, error: F64) -> F64:
        """An error computed exactly, plus what float32 and OpenVLA's 1e-8 add; 0 where values are exact."""
        lo, hi = np.array(self.lo), np.array(self.hi)
        ulps = 8 * np.finfo(np.float32).eps * (np.abs(lo) + np.abs(hi))
        return np.where(self.held | self.discrete, 0.0, error + ulps + 1e-8)


def terminate_legend(codec: Codec) -> str:
    """`word 1: 1 = continue, 0 = end of the task`; empty if the codec writes no terminate word."""
    found = codec.terminate
    if found is None:
        return ""
    return f"word {found['position'] + 1}: {found['continues']} = continue, {found['terminates']} = end of the task"
