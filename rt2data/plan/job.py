"""A plan with the paths of its stores and tokenizer: one small file in the build folder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import SourceChangedError, UsageError
from rt2data.formats.rlds.dataset import RldsPlan
from rt2data.io import location
from rt2data.plan.model import Plan, SourcePlan
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.fields import Labels
from rt2data.render.regions.convention import Convention
from rt2data.render.renderer import Renderer
from rt2data.render.templates import find_template
from rt2data.render.tokenizer import Tokenizer, load_tokenizer


class Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="output", tag="mixture"):
    """job.json: the plan, and the paths of what it uses."""

    plan: Plan
    recipe: dict[str, Any]
    stores: dict[str, str]
    tokenizer_path: str | None

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each source's rows."""
        return {s.name: s.digest for s in self.plan.sources}

    def renderer(self, source: SourcePlan) -> Renderer:
        """The renderer of one source."""
        return make_renderer(self.plan, source, load_tokenizer(self.plan.tokenizer["kind"], self.tokenizer_path))

    def labels(self, source: SourcePlan) -> Labels:
        """The fields that all records of one source share."""
        return make_labels(self.plan, source)


class RldsJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="output", tag="rlds"):
    """job.json of an output of episodes."""

    plan: RldsPlan
    recipe: dict[str, Any]
    stores: dict[str, str]
    mixture: Job | None  # to render the tokens

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each source's rows."""
        return {d.source: d.digest for d in self.plan.datasets}


_decode_job = msgspec.json.Decoder(Job | RldsJob).decode  # made at import: threads making a type's first decoder at once crash


def make_labels(plan: Plan, source: SourcePlan) -> Labels:
    """The fields that all records of one source share."""
    codec = f"{source.codec['name']}/{source.codec['version']}" if source.codec else None
    return Labels(
        split=plan.split,
        action_space=source.action_space,
        action_dim=source.action_dim,
        padded_dim=plan.action_dim,
        horizon=plan.horizon,
        codec=codec,
        slots=source.slots,
        loss_weight=float(np.float32(Fraction(source.loss_weight))),
    )


def make_renderer(plan: Plan, source: SourcePlan, tokenizer: Tokenizer) -> Renderer:
    """Assemble template, tokenizer, codec and answer rule of one source."""
    template = find_template(plan.template)
    codec = codec_from_json(source.codec) if source.codec else None
    regions = _regions(plan.regions) if plan.regions else None
    tokenizer = tokenizer.with_marks(regions.marks) if regions else tokenizer
    return Renderer(
        template=template,
        tokenizer=tokenizer,
        codec=codec,
        words=ActionWords(codec.token_map, tokenizer, template.before_action) if codec else None,
        answers=plan.answers.get(source.name, "majority"),  # type: ignore[arg-type]
        agreement=source.agreement or "case",
        seed=plan.seed,
        max_tokens=plan.max_tokens,
        regions=regions,
        dropout=plan.dropout(source),
    )


def _regions(facts: dict[str, Any]) -> Convention:
    from rt2data.render.regions.table import convention_of  # all model families; only some mixtures have regions

    return convention_of(facts)


def read_job(folder: Path) -> Job | RldsJob:
    """The job of a build folder."""
    found: Job | RldsJob = _decode_job(location.read_bytes(folder / "job.json"))
    return found


def adopt(folder: Path, job: Job | RldsJob) -> None:
    """Make `folder` the staging folder of this job, or resume it if it already is.

    Raises UsageError if it holds an unfinished build of another recipe, SourceChangedError if only the sources differ.
    """
    try:
        earlier = read_job(folder)
    except (FileNotFoundError, msgspec.MsgspecError):
        location.write_whole(folder / "job.json", msgspec.json.encode(job))
        return
    if earlier.plan.fingerprint == job.plan.fingerprint:
        return
    if earlier.recipe == job.recipe and earlier.digests != job.digests:
        changed = sorted(name for name in job.stores if earlier.digests.get(name) != job.digests[name])
        raise SourceChangedError(
            f"the sources changed since this build started: {', '.join(changed)}",
            str(folder),
            "run with --restart to start over",
        )
    raise UsageError("an unfinished build of another recipe or version is here", str(folder), "run with --restart to discard it")
