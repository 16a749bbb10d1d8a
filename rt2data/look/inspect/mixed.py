"""The examples of a mixture by number: shard by the manifest's counts, place in the shard by its index, source by arithmetic."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rt2data.errors import DataError, RtError, command
from rt2data.formats.base import make_format, members_of
from rt2data.loading.sampling import Run
from rt2data.loading.shards import FORMAT, Shards
from rt2data.look.inspect.examples import Dimension, Examples, Film, Picture, Seen, Stretches, Token
from rt2data.look.inspect.prepared import StoreExamples
from rt2data.look.verify.expected import Expected
from rt2data.look.verify.records import row_key
from rt2data.prepare.store import Store
from rt2data.records import Kind
from rt2data.render.codecs.legend import terminate_legend
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.manifest import Manifest
from rt2data.settings import default_store_root
from rt2data.write.shard import shard_sources

SPELLED = 1 << 16
"""Spellings of tokens kept."""
_BYTE = re.compile("<0x([2-6][0-9A-F]|7[0-9A-E])>")
"""Those of printable ASCII."""


class Lain(NamedTuple):
    """An example as its shard holds it."""

    picture: Picture
    record: memoryview


class MixtureExamples(Examples):
    """The examples of a complete output, in order."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._expected = Expected(folder, manifest)
        self._starts = [0, *accumulate(shard.examples for shard in manifest.shards)]
        self._spell = lru_cache(maxsize=SPELLED)(self._word)
        self._shard_sources = lru_cache(maxsize=8)(self._sources_in)
        self._read = self._by_index() if manifest.plan.format == FORMAT else self._in_order()

    @property
    def total(self) -> int:
        return self._starts[-1]

    @property
    def sources(self) -> Mapping[str, Kind]:
        return {source.name: source.kind for source in self._manifest.plan.sources if source.draws}

    def at(self, number: int, whole: bool = True) -> Seen:
        if not 0 <= number < self.total:
            raise IndexError(number)
        lain = self._read(number, whole)
        try:
            record = decode_record(lain.record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(
                f"a damaged record: {error}", f"{self._folder} example {number}", command("verify", self._folder)
            ) from None
        return self._whole(self._seen(number, record), record, lain.picture) if whole else self._seen(number, record)

    def _by_index(self) -> Callable[[int, bool], Lain]:
        """Tar shards have an index of where examples begin."""
        shards = Shards(self._folder, self._manifest.dataset.shards)

        def read(number: int, whole: bool) -> Lain:
            shard, place = self.locate(number)
            (member,) = shards.read(Run(shard, place, place + 1), whole)
            return Lain(member.image, member.record)

        return read

    def _in_order(self) -> Callable[[int, bool], Lain]:
        """Shards of the other formats are read forwards."""
        openers = [partial(self._lain, self._folder / shard.name) for shard in self._manifest.shards]
        stretches = Stretches(openers, list(self._starts))
        return lambda number, whole: stretches.at(number)

    def _lain(self, path: Path) -> Iterator[Lain]:
        return (Lain(member.image, member.record) for member in members_of(make_format(self._manifest.plan.format), path))

    def locate(self, number: int) -> tuple[int, int]:
        """Shard of an example, and its place there."""
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def source_of(self, number: int) -> str | None:
        """By the plan, as the shard was filled; no record is read."""
        shard, place = self.locate(number)
        found = self._shard_sources(shard)
        return self._manifest.plan.sources[found[place]].name if place < len(found) else None

    def _sources_in(self, shard: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        layout = self._expected.layout
        return np.empty(0, np.int32) if layout is None else shard_sources(self._manifest.plan, shard, layout)

    def _seen(self, number: int, record: ExampleRecord) -> Seen:
        return Seen(
            number=number,
            key=record.key,
            kind=record.kind,
            source=record.source,
            split=record.split,
            group=record.group,
            camera=record.camera or "",
            prompt=record.prompt,
            target=record.target,
            step=record.step,
            epoch=record.epoch,
            answers=record.answers,
            terminate=record.terminate,
            legend=self._legends.get(record.source, ""),
        )

    @cached_property
    def _legends(self) -> Mapping[str, str]:
        sources = self._expected.sources.items()
        return {name: terminate_legend(source.codec) for name, source in sources if source.codec is not None}

    def _whole(self, seen: Seen, record: ExampleRecord, picture: Picture) -> Seen:
        """With what takes time to make: picture, action, tokens."""
        tokens = [Token(i, bool(m), self._spell(i)) for i, m in zip(record.input_ids, record.loss_mask, strict=False)]
        return replace(seen, picture=picture, action=self._decoded(record), tokens=tokens)

    def _decoded(self, record: ExampleRecord) -> list[Dimension]:
        """What the bins mean to a robot, by the codec of the source; nothing where they mean nothing."""
        source = self._expected.sources.get(record.source)
        if source is None or source.codec is None or record.action_bins is None:
            return []
        codec, bins = source.codec, record.action_bins
        with suppress(ValueError):
            values = codec.decode(np.array([bins], np.int32))[0][0].tolist()
            own = bins[len(bins) - len(values) :] if codec.space.terminate is None else [None] * len(values)
            named = zip(codec.space.dims, values, codec.lo, codec.hi, own, strict=False)
            return [Dimension(dim.name, dim.unit, value, lo, hi, bin_) for dim, value, lo, hi, bin_ in named]
        return []

    def _word(self, token_id: int) -> str:
        """The vocabulary's spelling of a token, where the plan's tokenizer is still at hand."""
        try:
            return spelled(self._expected.tokenizer.token(token_id)) if self._expected.tokenizer else ""
        except RtError:
            return ""

    def film(self, seen: Seen) -> Film | None:
        """The episode, from the prepared store of the source, if that is still there."""
        store = self.stores.get(seen.source)
        if store is None:
            return None
        record = decode_record(self._read(seen.number, False).record)
        return store.film_of(seen.split, seen.group, row_key(record))

    @cached_property
    def stores(self) -> Mapping[str, StoreExamples]:
        """The prepared stores that this was drawn from, by source; those that are gone are not there."""
        root = Path(self._manifest.recipe.get("store") or default_store_root())
        digests = {source.digest: source.name for source in self._manifest.plan.sources}
        found = {}
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            with suppress(RtError, OSError):
                store = Store(path)
                if digests.get(store.info.digest) == store.info.name:
                    found[store.info.name] = StoreExamples(store)
        return found


def spelled(token: str) -> str:
    """A token for people: vocabularies write a byte as <0x41>."""
    byte = _BYTE.fullmatch(token)
    return bytes.fromhex(byte[1]).decode("ascii") if byte else token
