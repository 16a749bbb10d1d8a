"""Step seven: sum up shards and statistics, write the files next to the shards, then the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from rt2data.formats.base import make_format
from rt2data.io import location
from rt2data.io.installation import VERSION
from rt2data.io.location import path_of
from rt2data.plan.job import Job
from rt2data.plan.model import Plan, SourcePlan
from rt2data.prepare.store import Store
from rt2data.seal.blend import alone, once_files
from rt2data.seal.dataset_card import write_cards
from rt2data.seal.manifest import MANIFEST_VERSION, Manifest
from rt2data.seal.side_files import Sidecars, SideFile
from rt2data.seal.trainer_statistics import dataset_statistics
from rt2data.write.shard import ShardInfo, SideTotals, add_totals, note_name


def make_manifest(job: Job, shards: Sequence[ShardInfo]) -> Manifest:
    """The manifest, from shard infos and statistics. `shards` may come in any order."""
    ordered = tuple(msgspec.structs.replace(s, fresh=True) for s in sorted(shards, key=lambda s: s.index))
    totals = add_totals(ordered)
    stores = {name: Store(path_of(path)) for name, path in job.stores.items()}
    robot_frac, token_frac, loss_token_frac = robot_fractions(job.plan, totals)
    return Manifest(
        version=MANIFEST_VERSION,
        tool="rt2data",
        tool_version=VERSION,
        examples=sum(total.examples for total in totals.values()),
        bytes=sum(s.bytes for s in ordered),
        robot_frac=robot_frac,
        token_frac=token_frac,
        loss_token_frac=loss_token_frac,
        totals=totals,
        epochs={s.name: s.epochs for s in job.plan.sources},
        statistics={s.name: _statistics(stores[s.name], job.plan.split, s) for s in job.plan.sources if s.has_actions},
        rejects={name: store.info.rejects for name, store in sorted(stores.items())},
        conversions={name: store.info.conversions for name, store in sorted(stores.items())},
        plan=job.plan,
        recipe=job.recipe,
        shards=ordered,
    )


def robot_fractions(plan: Plan, totals: Mapping[str, SideTotals]) -> tuple[float, float, float]:
    """Robot share of examples, tokens and loss tokens; an example written once counts as often as it is read."""
    sums = {kind: [Fraction(0)] * 3 for kind in ("robot", "web")}
    for source in plan.sources:
        total = totals.get(source.name, SideTotals())
        times = Fraction(source.draws, max(plan.written(source), 1)) if plan.materialize else Fraction(1)
        counts = (total.examples, total.prompt_tokens + total.target_tokens, total.target_tokens)
        sums[source.kind] = [before + times * count for before, count in zip(sums[source.kind], counts, strict=True)]
    examples, tokens, learned = (
        float(robot / (robot + web)) if robot + web else 0.0 for robot, web in zip(sums["robot"], sums["web"], strict=True)
    )
    return examples, tokens, learned


def _statistics(store: Store, split: str, source: SourcePlan) -> dict[str, Any]:
    """Statistics of actions and states, and of whole chunks if there are any."""
    found: dict[str, Any] = msgspec.json.decode(location.read_bytes(store.path / "stats.json"))[split]
    return found | ({"chunk": store.chunk_stats(split, source.horizon).to_json()} if source.horizon > 1 else {})


def seal(folder: Path, job: Job, shards: Sequence[ShardInfo]) -> Manifest:
    """Write statistics and manifest into the staging folder, and remove what only the build needed."""
    manifest = _with_sidecars(folder, make_manifest(job, shards))
    close_folder(folder, manifest, shards)
    return manifest


def close_folder(folder: Path, manifest: Any, shards: Sequence[ShardInfo]) -> None:
    """Remove what only the build needed, and write the manifest last."""
    for shard in shards:
        location.delete(folder / f"info-{shard.index:06d}.json")
        location.delete(folder / note_name(shard.index))
    location.write_whole(folder / "manifest.json", pretty(manifest))
    remove_job(folder)


def remove_job(folder: Path) -> None:
    """Remove the job, last of all: without it an unfinished build cannot be resumed."""
    location.delete(folder / "job.json")


def _with_sidecars(folder: Path, manifest: Manifest) -> Manifest:
    """Write the sidecars that the format's readers need, and the cards; return the manifest that lists them all."""
    beside = Sidecars(folder)
    form = make_format(manifest.plan.format)
    beside.write("dataset_statistics.json", pretty(dataset_statistics(manifest.plan, manifest.statistics)))
    for each in alone(manifest):
        with beside.within(each.folder, each.first) as inner:
            form.sidecars(inner, each.dataset)
    if not manifest.plan.parts:
        form.sidecars(beside, manifest.dataset)
    for name, content in once_files(form, manifest).items():
        beside.write(name, content)
    write_cards(beside, manifest, form)
    beside.write("SHA256SUMS", checksums({shard.name: shard.sha256 for shard in manifest.shards}, beside.files))
    return msgspec.structs.replace(manifest, files=dict(sorted(beside.files.items())))


def checksums(shards: Mapping[str, str], files: Mapping[str, SideFile]) -> bytes:
    """Input for `sha256sum --check`: every file except the manifest, which comes last, and the card, which the owner may edit."""
    found = {**shards, **{name: file.sha256 for name, file in files.items()}}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items())).encode()


def pretty(value: Any) -> bytes:
    """JSON with one value per line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
