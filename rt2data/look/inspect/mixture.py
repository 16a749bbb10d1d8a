"""Recognising a mixture: an output with its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from rt2data.formats.base import Member, make_format, members_of
from rt2data.look.inspect.mixed import MixtureExamples
from rt2data.look.inspect.recognize import Sight
from rt2data.look.report.contact_sheet import Tile
from rt2data.plan.plan import SourcePlan
from rt2data.render.codecs.legend import terminate_legend
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.blend import alone
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.write.shard import ShardInfo, SideTotals

SHARDS, EXAMPLES = 4, 4096
"""Shards, and examples of each, that are looked through for pictures of every source."""


def see(path: Path) -> Sight | None:
    """A mixture where there is a manifest."""
    here = path.parent if path.name == "manifest.json" else path
    return MixtureSight(here) if (here / "manifest.json").is_file() else None


@dataclass(frozen=True)
class MixtureSight(Sight):
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
                "learned_tokens": m.loss_token_frac,
            },
            "sources": {source.name: self._source(source) for source in plan.sources},
            "made_with": {name: getattr(plan, name) for name in ("template", "codec", "format", "seed", "split", "max_tokens")}
            | {"tokenizer": plan.tokenizer.get("kind"), "rt2data": m.tool_version},
            "left_out": [
                {"source": name, "reason": lost.reason, "count": lost.count, "fault": lost.fault}
                for name, entries in m.rejects.items()
                for lost in entries
            ],
            "pictures_made": {name: made for name, made in m.conversions.items() if made},
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
            "action_space": source.action_space,
            "terminate": legend_of(source),
        }

    def examples(self) -> MixtureExamples:
        """All of them, in the order in which a trainer meets them."""
        return MixtureExamples(self.path, self.manifest)

    def tiles(self, count: int) -> list[Tile]:
        """Examples of all sources in turn, spread over the first shards; no row twice."""
        names = [s.name for s in self.manifest.plan.sources if s.draws]
        each = -(-count // max(len(names), 1))
        found: dict[str, list[Tile]] = {name: [] for name in names}
        seen: set[tuple[str, str, str]] = set()
        shards = self.first_shards()
        for number, shard in enumerate(shards, start=1):
            room = each if self.manifest.plan.parts else -(-each * number // len(shards))
            for member, record in self.of_shard(shard.name):
                row = record.source, record.group, f"{record.step}{record.text}"
                if row not in seen and len(found.get(record.source, ())) < room and record.source in found:
                    seen.add(row)
                    found[record.source].append(_tile(member, record))
        columns = [found[name][:each] for name in names]
        return [column[at] for at in range(each) for column in columns if at < len(column)][:count]

    def first_shards(self) -> Sequence[ShardInfo]:
        """A few, of every source."""
        parts = list(alone(self.manifest))
        return [self.manifest.shards[part.first] for part in parts] if parts else self.manifest.shards[:SHARDS]

    def of_shard(self, name: str) -> Iterator[tuple[Member, ExampleRecord]]:
        """Examples of a shard; one whose record cannot be read is for `verify` to name."""
        for member in islice(members_of(make_format(self.manifest.plan.format), self.path / name), EXAMPLES):
            try:
                yield member, decode_record(member.record)
            except msgspec.MsgspecError:
                continue


def legend_of(source: SourcePlan) -> str:
    """What the terminate word of its targets means; nothing for a web source."""
    return terminate_legend(codec_from_json(source.codec)) if source.codec else ""


def _tile(member: Member, record: ExampleRecord) -> Tile:
    note = f"step {record.step}" if record.step is not None else record.group
    return Tile(bytes(member.image), record.source, record.kind, record.prompt, record.target, note)
