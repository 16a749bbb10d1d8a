"""Actions decoded to numbers, from a mixture or a model's output, with the codec in the mixture's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.io.stamps import Stamp
from rt2data.io.words import choose
from rt2data.render.action_tokens import BINS, ActionWords
from rt2data.render.codecs.table import Codec, codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.templates import find_template
from rt2data.render.tokenizer import Tokenizer, load_tokenizer

Record = Mapping[str, Any] | ExampleRecord
_MISSING = object()


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded actions of one source: A actions in all from N records, one per record if the horizon is 1."""

    actions: NDArray[np.float64]
    """float64[A, D], in the units of the action space, record after record."""
    terminate: NDArray[np.bool_]
    """bool[A]: whether the action ends the task. Always False if the codec has no terminate token."""
    names: tuple[str, ...]
    """Names of the D dimensions."""
    lengths: tuple[int, ...]
    """N: the number of actions of each record."""

    @property
    def chunks(self) -> list[NDArray[np.float64]]:
        """The actions of each record: N arrays float64[h, D]."""
        edges = np.cumsum([0, *self.lengths]).tolist()
        return [self.actions[start:stop] for start, stop in pairwise(edges)]


def decode(
    path: str | Path,
    record: Record | str | Sequence[Record] | Sequence[str] | ArrayLike,
    *,
    source: str | None = None,
    ids: bool = False,
) -> Decoded:
    """Decode one action, one chunk of actions, or many of them with the codec that the mixture at `path` was built with.

    `record` is one of: a record (a mapping with `action_bins` or `target`, as readers give it, or an ExampleRecord); a target as
    written by the mixture or a model (`"1 127 140 119 128 131 127 255"`); the bins int[K] of one action or chunk; or a list of any
    of these, or bins int[N, K]. With `ids`, whole numbers are token ids as a model generates them, with or without an end token;
    they need the recipe's tokenizer. The codec is that of `source`, else of the record's source, else of the only robot source.

    Raises UsageError if the source is unknown or has no actions, DataError for anything that is not an action, for more actions
    than the source's horizon, or for a damaged manifest.
    """
    found = _manifest(current(location.path_of(path)))
    many = _as_list(record)
    planned = _source(found, many, source)
    codec = codec_from_json(planned.codec)
    bins = [_bins(each, codec, found, ids) for each in many]
    try:
        actions, terminate, lengths = codec.decode_chunks(bins)
    except ValueError as error:
        do = "give the bins of each record as they are in action_bins, and many records as a list"
        raise DataError(f"source {planned.name}: {error}", _shown(min(bins, key=len)), do) from None
    if max(lengths, default=0) > planned.horizon:
        what = f"{max(lengths)} actions in one record, where the horizon of source {planned.name} is {planned.horizon}"
        raise DataError(what, _shown(max(bins, key=len)), "give the actions of each record separately, as a list")
    return Decoded(actions, terminate, tuple(dim.name for dim in codec.space.dims), tuple(lengths))


def _shown(bins: Sequence[int]) -> str:
    return " ".join(map(str, bins[:32]))


class _Source(msgspec.Struct, frozen=True):
    name: str
    codec: dict[str, Any] | None = None
    horizon: int = 1


class _ManifestPlan(msgspec.Struct, frozen=True):
    sources: tuple[_Source, ...]
    tokenizer: dict[str, Any]
    template: str


class _Manifest(msgspec.Struct, frozen=True):
    """The parts of manifest.json, in any format, that decoding needs."""

    plan: _ManifestPlan
    recipe: dict[str, Any] = {}

    @property
    def robots(self) -> dict[str, _Source]:
        return {each.name: each for each in self.plan.sources if each.codec}


def _manifest(folder: Path) -> _Manifest:
    """Read once, and again only if it changed: an evaluation decodes at every step."""
    path = folder / "manifest.json"
    try:
        return _read(path, Stamp.of(str(path)))
    except FileNotFoundError:
        raise DataError("no manifest: not a complete mixture", str(folder), "build it") from None
    except OSError as error:
        raise DataError(f"the manifest cannot be read: {error.strerror}", str(path), "give the folder of a mixture") from None


@lru_cache(maxsize=16)
def _read(path: Path, stamp: Stamp) -> _Manifest:
    try:
        return msgspec.json.decode(location.read_bytes(path), type=_Manifest)
    except msgspec.MsgspecError as error:
        raise DataError(f"a damaged manifest: {error}", str(path), "build it again") from None


def _as_list(record: Any) -> list[Any]:
    """Records, targets or rows of whole numbers; a single one becomes a list of one."""
    if isinstance(record, str | Mapping | ExampleRecord):
        return [record]
    if isinstance(record, np.ndarray):
        return [record] if record.ndim == 1 else list(record)
    if not isinstance(record, Sequence):
        raise UsageError(f"cannot decode a {type(record).__name__}", do="give a record, a target, bins, or a list of them")
    found = list(record)
    return [found] if found and isinstance(found[0], int | float | np.number) else found


def _field(record: Any, name: str) -> Any:
    """A field of a record; `_MISSING` if it is not a record or lacks the field."""
    if isinstance(record, Mapping):
        return record.get(name, _MISSING)
    return getattr(record, name, _MISSING) if isinstance(record, ExampleRecord) else _MISSING


def _source(found: _Manifest, records: Sequence[Any], asked: str | None) -> _Source:
    """The source whose codec decodes. Raises UsageError if there is not exactly one."""
    robots = found.robots
    if not robots:
        raise UsageError("this mixture has no robot source: there are no actions to decode")
    named = [name for each in records if isinstance(name := _field(each, "source"), str)]
    names = [asked] if asked is not None else list(dict.fromkeys(named)) or list(robots)
    if len(names) > 1:
        do = "decode the records of each source separately" if named else f"give source=, one of {', '.join(names)}"
        raise UsageError(f"{len(names)} sources, each with its own codec", ", ".join(names), do)
    if names[0] in robots:
        return robots[names[0]]
    if names[0] in [each.name for each in found.plan.sources]:
        raise UsageError(f"source {names[0]} is a web source: it has no actions", do=f"robot sources are {', '.join(robots)}")
    raise UsageError(f"no source is called {names[0]!r}", do=choose(names[0], list(robots)))


def _bins(each: Any, codec: Codec, found: _Manifest, ids: bool) -> list[int]:
    """The bins of one record, target or row. Raises DataError for anything else."""
    bins, target = _field(each, "action_bins"), _field(each, "target")
    content = bins if bins is not _MISSING and bins is not None else target if isinstance(target, str) else each
    if isinstance(content, str):
        return _parsed(content, codec, found)
    if isinstance(content, Mapping | ExampleRecord):
        raise DataError("a record with neither action_bins nor target", do="give one of them")
    row = _whole_numbers(content)
    return _parsed(row, codec, found) if ids and content is each else row


def _whole_numbers(content: Any) -> list[int]:
    try:
        row = np.asarray(content)
    except ValueError:
        row = np.empty(0, object)
    if row.ndim != 1 or not (row.dtype.kind in "iu" or (row.dtype.kind == "f" and bool((row == np.rint(row)).all()))):
        what = "bins and ids must be whole numbers, one row for each record"
        raise DataError(what, repr(content)[:80], "give them as in action_bins")
    return [int(value) for value in row]


def _parsed(target: str | list[int], codec: Codec, found: _Manifest) -> list[int]:
    """The bins of actions given as text or token ids."""
    tokenizer, template = _tokenizer(codec, found, target), find_template(found.plan.template)
    if not isinstance(target, str):
        target = [each for each in target if each != tokenizer.eos_id]
        if template.action_cue:
            target = _last_words(target, tokenizer) if codec.token_map == "last_n" else tokenizer.decode(target)
    if isinstance(target, str):
        target = template.action_of(target)
    try:
        return ActionWords(codec.token_map, tokenizer, template.before_action).parse(target)
    except DataError as error:
        raise DataError(error.what, str(target)[:80], "give the target alone, without the prompt") from None


def _last_words(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The action words that ids end with, without what is said before them."""
    first = next((at for at in range(len(ids), 0, -1) if ids[at - 1] < tokenizer.vocab_size - BINS), 0)
    return ids[first:]


def _tokenizer(codec: Codec, found: _Manifest, target: str | list[int]) -> Tokenizer:
    """The tokenizer that the recipe names; text of digits needs no vocabulary."""
    if codec.token_map == "digits" and isinstance(target, str):
        return load_tokenizer("byte", None)
    return load_tokenizer(found.plan.tokenizer["kind"], (found.recipe.get("tokenizer") or {}).get("path"))
