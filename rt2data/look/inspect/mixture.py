"""A mixture: its manifest, and its examples by number.

An example's shard follows from the manifest's counts, its place from the shard's index, its source from arithmetic.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, RtError, command
from rt2data.formats.base import Member, make_format, members_of
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.loading.sampling import Run
from rt2data.loading.shards import FORMAT, Shards
from rt2data.look.inspect.examples import ActionValue, ChunkAction, Examples, FilmStrip, Seen, Stretches, Token
from rt2data.look.inspect.recognize import Inspected
from rt2data.look.inspect.store import StoreExamples
from rt2data.look.report.contact_sheet import Tile
from rt2data.look.verify.expected import Expected
from rt2data.look.verify.records import is_conversation, row_key
from rt2data.plan.model import SourcePlan
from rt2data.prepare.store import Store
from rt2data.records import Kind, Slot
from rt2data.render.codecs.codec import terminate_legend
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.blend import alone
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.settings import default_store_root
from rt2data.write.shard import ShardInfo, SideTotals, shard_sources

SHARDS, EXAMPLES = 4, 4096
"""Limits of the search for images of every source: shards, and examples per shard."""
SPELLED = 1 << 16
"""Number of cached token spellings."""
_BYTE = re.compile("<0x([2-6][0-9A-F]|7[0-9A-E])>")
"""The spelling of printable ASCII bytes in vocabularies."""


def recognize_mixture(path: Path) -> Inspected | None:
    """A mixture, if there is a manifest."""
    here = path.parent if path.name == "manifest.json" else path
    return InspectedMixture(here) if location.is_file(here / "manifest.json") else None


@dataclass(frozen=True)
class InspectedMixture(Inspected):
    """A complete output."""

    kind = "mixture"

    @cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.path)

    def facts(self) -> dict[str, Any]:
        m, plan = self.manifest, self.manifest.plan
        return {
            "examples": m.examples,
            "shards": len(m.shards),
            "bytes": m.bytes,
            "robot_frac": {
                "asked": plan.robot_frac,
                "examples": m.robot_frac,
                "tokens": m.token_frac,
                "loss_tokens": m.loss_token_frac,
            },
            "sources": {source.name: self._source(source) for source in plan.sources},
            "made_with": {name: getattr(plan, name) for name in ("template", "codec", "format", "seed", "split", "max_tokens")}
            | {"tokenizer": plan.tokenizer.get("kind"), "rt2data": m.tool_version},
            "record": {"image_places": plan.images or 1, "horizon": plan.horizon, "action_dim": plan.action_dim},
            "dropped": [
                {"source": name, "reason": lost.reason, "count": lost.count, "fault": lost.fault}
                for name, entries in m.rejects.items()
                for lost in entries
            ],
            "conversions": {name: made for name, made in m.conversions.items() if made},
            **({"weights": {part.source: part.weight for part in plan.parts}} if plan.parts else {}),
            "warnings": msgspec.to_builtins(plan.warnings),
            "fingerprint": plan.fingerprint,
        }

    def _source(self, source: SourcePlan) -> dict[str, Any]:
        total = self.manifest.totals.get(source.name, SideTotals())
        return {
            "kind": source.kind,
            "examples": total.examples,
            "share": source.draws / self.manifest.plan.num_examples,
            "rows": source.rows,
            "epochs": source.epochs,
            "prompt_tokens": total.prompt_tokens,
            "target_tokens": total.target_tokens,
            "longest": total.longest,
            "image_bytes": total.image_bytes,
            "camera": source.camera,
            "images": source.images,
            "horizon": source.horizon if source.has_actions else None,
            "takes": "; ".join(line for line in (source.camera_line, source.window_line) if line),
            "action_space": source.action_space,
            "terminate": legend_of(source),
        }

    def examples(self) -> MixtureExamples:
        """All examples, in the order in which a trainer reads them."""
        return MixtureExamples(self.path, self.manifest)

    def tiles(self, count: int) -> list[Tile]:
        """Examples of all sources in turn, spread over the first shards; each row at most once."""
        names = [s.name for s in self.manifest.plan.sources if s.draws]
        each = -(-count // max(len(names), 1))
        found: dict[str, list[Tile]] = {name: [] for name in names}
        seen: set[tuple[str, str, str]] = set()
        shards = self.first_shards()
        for number, shard in enumerate(shards, start=1):
            most = each if self.manifest.plan.parts else -(-each * number // len(shards))
            for member, record in self.of_shard(shard.name):
                row = record.source, record.group, f"{record.step}{record.text}"
                if row not in seen and len(found.get(record.source, ())) < most and record.source in found:
                    seen.add(row)
                    found[record.source].append(_tile(member, record))
        columns = [found[name][:each] for name in names]
        return [column[at] for at in range(each) for column in columns if at < len(column)][:count]

    def first_shards(self) -> Sequence[ShardInfo]:
        """A few shards that together contain every source."""
        parts = list(alone(self.manifest))
        return [self.manifest.shards[part.first] for part in parts] if parts else self.manifest.shards[:SHARDS]

    def of_shard(self, name: str) -> Iterator[tuple[Member, ExampleRecord]]:
        """Examples of a shard; unreadable records are skipped, since `verify` reports them."""
        for member in islice(members_of(make_format(self.manifest.plan.format), self.path / name), EXAMPLES):
            try:
                yield member, decode_record(member.record)
            except msgspec.MsgspecError:
                continue


def legend_of(source: SourcePlan) -> str:
    """The meaning of the terminate token in the source's targets; empty for a web source."""
    return terminate_legend(codec_from_json(source.codec)) if source.codec else ""


def _tile(member: Member, record: ExampleRecord) -> Tile:
    note = f"step {record.step}" if record.step is not None else record.group
    more = max(len(member.images) - 1, 0)
    return Tile(bytes(member.image), record.source, record.kind, record.prompt, record.target, note, more)


# Examples


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
        member = self._read(number, whole)
        try:
            record = decode_record(member.record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            where = f"{self._folder} example {number}"
            raise DataError(f"a damaged record: {error}", where, command("verify", self._folder)) from None
        return self._whole(self._seen(number, record), record, member) if whole else self._seen(number, record)

    def _by_index(self) -> Callable[[int, bool], Member]:
        """A reader by index: tar shards have an index of example offsets."""
        shards = Shards(self._folder, self._manifest.dataset.shards)

        def read_at(number: int, whole: bool) -> Member:
            shard, place = self.locate(number)
            (read,) = shards.read(Run(shard, place, place + 1), whole)
            return read

        return read_at

    def _in_order(self) -> Callable[[int, bool], Member]:
        """A sequential reader: shards of other formats are read from their start."""
        form = make_format(self._manifest.plan.format)
        openers = [partial(members_of, form, self._folder / shard.name) for shard in self._manifest.shards]
        stretches = Stretches(openers, list(self._starts))
        return lambda number, whole: stretches.at(number)

    def locate(self, number: int) -> tuple[int, int]:
        """The shard of an example, and its place there."""
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def source_of(self, number: int) -> str | None:
        """The source according to the plan; no record is read."""
        shard, place = self.locate(number)
        found = self._shard_sources(shard)
        return self._manifest.plan.sources[found[place]].name if place < len(found) else None

    def _sources_in(self, shard: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        layout = self._expected.layout
        return np.empty(0, np.int32) if layout is None else shard_sources(layout, shard)

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
            steps=record.episode_length,
            epoch=record.epoch,
            answers=record.answers,
            terminate=record.terminate,
            legend=self._legends.get(record.source, ""),
            messages=[(each.role, each.content) for each in record.messages] if is_conversation(record) else (),
            notes=[(note.name, note.text) for note in record.notes or ()],
            original=record.original or "",
            regions=[each.region for each in record.regions or ()],
        )

    @cached_property
    def _legends(self) -> Mapping[str, str]:
        sources = self._expected.sources.items()
        return {name: terminate_legend(source.codec) for name, source in sources if source.codec is not None}

    def _whole(self, seen: Seen, record: ExampleRecord, member: Member) -> Seen:
        """The example with everything that takes time to compute: images, actions, tokens."""
        tokens = [Token(i, bool(m), self._spell(i)) for i, m in zip(record.input_ids, record.loss_mask, strict=False)]
        names = _names(record)
        images = [(names.get(image.slot, f"image_{image.slot}"), bytes(image.data)) for image in member.images]
        absent = [name for slot, name in names.items() if slot not in {image.slot for image in member.images}]
        action, chunk = self._decoded(record), _chunk(record)
        return replace(seen, images=images, absent=absent, action=action, chunk=chunk, tokens=tokens)

    def _decoded(self, record: ExampleRecord) -> list[ActionValue]:
        """The first action decoded from the bins; empty if the codec cannot decode them."""
        source = self._expected.sources.get(record.source)
        if source is None or source.codec is None or record.action_bins is None:
            return []
        codec, bins = source.codec, record.action_bins
        with suppress(ValueError):
            values = codec.decode_chunks([bins])[0][0].tolist()
            first = bins[: codec.width]
            own = first[len(first) - len(values) :] if codec.space.terminate is None else [None] * len(values)
            named = zip(codec.space.dims, values, codec.lo, codec.hi, own, strict=False)
            return [ActionValue(dim.name, dim.unit, value, lo, hi, bin_) for dim, value, lo, hi, bin_ in named]
        return []

    def _word(self, token_id: int) -> str:
        """The vocabulary's spelling of a token, if the plan's tokenizer still exists."""
        try:
            return spelled(self._expected.tokenizer.token(token_id)) if self._expected.tokenizer else ""
        except RtError:
            return ""

    def film(self, seen: Seen) -> FilmStrip | None:
        """The episode, from the prepared store of the source, if it still exists."""
        store = self.stores.get(seen.source)
        if store is None:
            return None
        record = decode_record(self._read(seen.number, False).record)
        return store.film_of(seen.split, seen.group, row_key(record))

    @cached_property
    def stores(self) -> Mapping[str, StoreExamples]:
        """The prepared stores that the mixture was drawn from, by source, as far as they still exist."""
        root = path_of(self._manifest.recipe.get("store") or default_store_root())
        digests = {source.digest: source.name for source in self._manifest.plan.sources}
        found = {}
        for name in sorted(entry.name for entry in location.children(root)) if location.is_folder(root) else ():
            with suppress(RtError, OSError):
                store = Store(root / name)
                if digests.get(store.info.digest) == store.info.name:
                    found[store.info.name] = StoreExamples(store)
        return found


def _names(record: ExampleRecord) -> dict[int, str]:
    """The name of each image slot, by number."""
    if record.action is None and len(record.image_names) == 1:
        return {0: "image"}
    return {number: str(Slot(*each)) for number, each in enumerate(zip(record.image_names, record.image_offsets, strict=False))}


def _chunk(record: ExampleRecord) -> list[ChunkAction]:
    """All actions as stored, without padded dimensions; empty if there is only one."""
    actions, size = record.actions or (), sum(record.action_mask or ())
    flags = zip(actions, record.action_is_pad or (), strict=False)
    return [ChunkAction(list(values[:size]), pad) for values, pad in flags] if len(actions) > 1 else []


def spelled(token: str) -> str:
    """A token in readable form: vocabularies write a byte as <0x41>."""
    byte = _BYTE.fullmatch(token)
    return bytes.fromhex(byte[1]).decode("ascii") if byte else token
