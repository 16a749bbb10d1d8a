"""The way back: what a mixture or a model wrote as an action, decoded to numbers by the codec in the mixture's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.stamps import Stamp
from rt2data.io.words import choose
from rt2data.render.codecs.table import Codec, codec_from_json
from rt2data.render.record import ExampleRecord

Record = Mapping[str, Any] | ExampleRecord
_MISSING = object()


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded actions of one source."""

    actions: NDArray[np.float64]
    """float64[N, D], in the units of the action space."""
    terminate: NDArray[np.bool_]
    """bool[N]: whether the action ends the task. Always False where the codec has no terminate token."""
    names: tuple[str, ...]
    """D names of the dimensions."""


def decode(
    path: str | Path,
    record: Record | str | Sequence[Record] | Sequence[str] | ArrayLike,
    *,
    source: str | None = None,
) -> Decoded:
    """Decode one action or many with the codec that the mixture at `path` was built with.

    `record` is one of: a record (a mapping with `action_bins` or `target`, as readers give it, or an ExampleRecord); a target, as
    the mixture or a model writes it (`"1 127 140 119 128 131 127 255"`); the bins int[K] of one action; or a list of any of these,
    or bins int[N, K]. The codec is that of `source`, else of the record's source, else of the only robot source.

    Raises UsageError where the source is not known or has no actions, DataError for what is no action, or a damaged manifest.
    """
    found = _manifest(location.path_of(path))
    many = _as_list(record)
    name = _source(found, many, source)
    codec = codec_from_json(found.codecs[name])
    bins = [_bins(each, codec, found) for each in many]
    wrong = next((each for each in bins if len(each) != codec.width), None)
    if wrong is not None:
        what = f"an action of {len(wrong)} words, where the codec of source {name} has {codec.width}"
        raise DataError(what, " ".join(map(str, wrong[:32])), "one action is one target; give many as a list")
    try:
        actions, terminate = codec.decode(np.array(bins, np.int32).reshape(len(bins), codec.width))
    except ValueError as error:
        raise DataError(str(error), f"source {name}", "give the bins as they are in action_bins") from None
    return Decoded(actions, terminate, tuple(dim.name for dim in codec.space.dims))


class _Source(msgspec.Struct, frozen=True):
    name: str
    codec: dict[str, Any] | None = None


class _Plan(msgspec.Struct, frozen=True):
    sources: tuple[_Source, ...]
    tokenizer: dict[str, Any]
    template: str


class _Manifest(msgspec.Struct, frozen=True):
    """What decoding needs of manifest.json, of any format."""

    plan: _Plan
    recipe: dict[str, Any] = {}

    @property
    def codecs(self) -> dict[str, dict[str, Any]]:
        return {each.name: each.codec for each in self.plan.sources if each.codec}


def _manifest(folder: Path) -> _Manifest:
    """Read once, and again only when it changed: an evaluation decodes at every step."""
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
    """Records, targets or rows of bins; what is only one becomes a list of one."""
    if isinstance(record, str | Mapping | ExampleRecord):
        return [record]
    if isinstance(record, np.ndarray):
        return [record] if record.ndim == 1 else list(record)
    if not isinstance(record, Sequence):
        raise UsageError(f"cannot decode a {type(record).__name__}", do="give a record, a target, bins, or a list of them")
    found = list(record)
    return [found] if found and isinstance(found[0], int | float | np.number) else found


def _field(record: Any, name: str) -> Any:
    """A field of a record; `_MISSING` for what is no record, or has no such field."""
    if isinstance(record, Mapping):
        return record.get(name, _MISSING)
    return getattr(record, name, _MISSING) if isinstance(record, ExampleRecord) else _MISSING


def _source(found: _Manifest, records: Sequence[Any], asked: str | None) -> str:
    """The one source whose codec is to be used. Raises UsageError."""
    named = [name for each in records if isinstance(name := _field(each, "source"), str)]
    names = [asked] if asked is not None else list(dict.fromkeys(named)) or list(found.codecs)
    if not found.codecs:
        raise UsageError("this mixture has no robot source: there are no actions to decode")
    if len(names) > 1:
        do = "decode the records of each source by themselves" if named else f"give source=, one of {', '.join(names)}"
        raise UsageError(f"{len(names)} sources, each with a codec of its own", ", ".join(names), do)
    if names[0] in found.codecs:
        return names[0]
    known = list(found.codecs)
    if names[0] in [each.name for each in found.plan.sources]:
        raise UsageError(f"source {names[0]} is a web source: it has no actions", do=f"robot sources are {', '.join(known)}")
    raise UsageError(f"no source is called {names[0]!r}", do=choose(names[0], known))


def _bins(each: Any, codec: Codec, found: _Manifest) -> list[int]:
    """The bins of one record, target or row. Raises DataError for what is none of them."""
    bins, target = _field(each, "action_bins"), _field(each, "target")
    content = bins if bins is not _MISSING and bins is not None else target if isinstance(target, str) else each
    if isinstance(content, str):
        return _parsed(content, codec, found)
    if isinstance(content, Mapping | ExampleRecord):
        raise DataError("a record with neither action_bins nor target", do="give one of them")
    try:
        row = np.asarray(content)
    except ValueError:
        row = np.empty(0, object)
    if row.ndim != 1 or not (row.dtype.kind in "iu" or (row.dtype.kind == "f" and bool((row == np.rint(row)).all()))):
        raise DataError(
            "bins must be whole numbers, one row for each action", repr(content)[:80], "give the bins as in action_bins"
        )
    return [int(value) for value in row]


def _parsed(target: str, codec: Codec, found: _Manifest) -> list[int]:
    """The bins of an action in words. Words of `last_n` are the tokenizer's, which the recipe names."""
    from rt2data.render.action_tokens import ActionWords
    from rt2data.render.templates import find_template
    from rt2data.render.tokenizer import load_tokenizer

    of_ids = codec.token_map == "last_n"
    path = (found.recipe.get("tokenizer") or {}).get("path") if of_ids else None
    tokenizer = load_tokenizer(found.plan.tokenizer["kind"] if of_ids else "byte", path)
    try:
        return ActionWords(codec.token_map, tokenizer, find_template(found.plan.template).cue).parse(target)
    except DataError as error:
        raise DataError(error.what, target[:80], "give the target alone, without the prompt") from None
