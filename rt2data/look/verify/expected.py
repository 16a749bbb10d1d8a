"""The expected content of an output, derived from its manifest alone; opened once per worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rt2data.errors import DataError, RtError, UsageError
from rt2data.formats.base import BLENDED, FORMATS, Format, Member, make_format
from rt2data.io.location import path_of
from rt2data.order import MAX_EXAMPLES
from rt2data.plan.layout import ShardLayout, make_parts, shard_file
from rt2data.plan.model import Plan, SourcePlan
from rt2data.prepare.statistics import DimStats
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import F64
from rt2data.render.codecs.table import Codec, codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.regions.convention import Convention
from rt2data.render.regions.table import convention_of
from rt2data.render.renderer import Memo
from rt2data.render.templates import TEMPLATES, Template, find_template
from rt2data.render.tokenizer import Ids, Tokenizer, load_tokenizer
from rt2data.seal.manifest import Manifest, read_manifest


@dataclass(frozen=True, eq=False)
class TextIds:
    """The ids of a text, from the tokenizer of the plan. Texts repeat, so recent ones are cached."""

    tokenizer: Tokenizer
    cue: str
    robot_cue: str = ""  # the end of the prompts of robot steps
    _prompts: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)
    _targets: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)
    _leads: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)
    _later: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)

    def prompts(self, texts: Sequence[str], space: str) -> list[Ids]:
        """Ids of prompts with their begin token; `space` separates a prompt from an action."""
        begin = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        found = self._prompts.get([text.rstrip() + space for text in texts], self.tokenizer.encode_batch)
        return [begin + ids for ids in found] if begin else found

    def answers(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of answers after a prompt, with their end token."""
        end = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        found = self._targets.get([" " + text for text in texts], lambda new: self.tokenizer.encode_after(self.cue, new))
        return [ids + end for ids in found]

    def leads(self, texts: Sequence[str], space: str) -> list[Ids]:
        """Ids of the text before actions; `space` is what separates it from an action."""
        if not texts:
            return []
        return self._leads.get([f" {text}{space}" for text in texts], lambda new: self.tokenizer.encode_after(self.robot_cue, new))

    def later_prompts(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of the second and later prompts of conversations, which follow an answer."""
        return self._later.get([text.rstrip() for text in texts], lambda new: self.tokenizer.encode_after(self.cue, new))


@dataclass(frozen=True)
class ExpectedSource:
    """The expected content of a source's records, and how to decode its actions."""

    number: int  # in the plan
    plan: SourcePlan
    constants: tuple[str | None, ...]  # values of `CONSTANTS` in all its records
    codec: Codec | None
    words: ActionWords | None  # None for web, and without the tokenizer
    state_dim: int | None  # None if records have no state
    ranges: tuple[F64, F64] | None  # minimum and maximum of each action dimension, from the statistics

    @property
    def robot(self) -> bool:
        return self.plan.has_actions

    @property
    def space(self) -> str:
        """The separator before an action."""
        return " " if self.codec is not None and self.codec.token_map == "last_n" else ""

    @cached_property
    def loss_weight(self) -> float | None:
        """The loss weight as a float32; None if the plan's is not a number."""
        try:
            return float(np.float32(Fraction(self.plan.loss_weight)))
        except (ValueError, ZeroDivisionError, OverflowError):
            return None


class Checked(NamedTuple):
    """A record with everything its fields are checked against."""

    member: Member
    record: ExampleRecord
    source: ExpectedSource
    expected: Expected


Check = Callable[[Any, Checked], str]
"""What is wrong with the value of a field; empty if nothing."""
CONSTANTS = ("kind", "split", "action_space", "codec")
"""Fields with the same value in all records of a source."""
SAFE = re.compile(r"[a-z][a-z0-9_]*")
"""Valid names for the folder of a part."""


@dataclass(frozen=True)
class Expected:
    """An opened manifest."""

    folder: Path
    manifest: Manifest

    @property
    def plan(self) -> Plan:
        return self.manifest.plan

    @cached_property
    def format(self) -> Format:
        return make_format(self.plan.format)

    def shard_name(self, index: int) -> str:
        """The path of a shard in the output's folder."""
        return shard_file(self.plan, self.format, index, len(self.manifest.shards))

    @cached_property
    def layout(self) -> ShardLayout | None:
        """The first draw of each source in each shard; None if the plan is inconsistent."""
        return ShardLayout(self.plan) if adds_up(self.manifest) else None

    @cached_property
    def sources(self) -> dict[str, ExpectedSource]:
        """Sources by name. An unreadable codec is None here; the check of the manifest reports it."""
        return {source.name: self._source(number, source) for number, source in enumerate(self.plan.sources)}

    def _source(self, number: int, source: SourcePlan) -> ExpectedSource:
        codec, written = read_codec(source), source.codec
        label = f"{written.get('name')}/{written.get('version')}" if written else None
        return ExpectedSource(
            number=number,
            plan=source,
            constants=(source.kind, self.plan.split, source.action_space, label),
            codec=codec,
            words=self._words(codec),
            state_dim=_state_dim(self.manifest.statistics, source.name),
            ranges=_ranges(self.manifest.statistics, source),
        )

    def _words(self, codec: Codec | None) -> ActionWords | None:
        if codec is None or self.tokenizer is None:
            return None
        try:
            return ActionWords(codec.token_map, self.tokenizer, find_template(self.plan.template).before_action)
        except RtError:
            return None

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The plan's tokenizer, if its file still exists and is unchanged."""
        return self._found_tokenizer[0]

    @property
    def tokenizer_note(self) -> str:
        """Why there is no tokenizer; empty if there is one."""
        return self._found_tokenizer[1]

    @cached_property
    def texts(self) -> TextIds | None:
        """Ids of texts; None without the tokenizer or the template."""
        if self.tokenizer is None or self.template is None:
            return None
        marks = self.regions.marks if self.regions else ()
        return TextIds(self.tokenizer.with_marks(marks), self.template.cue, self.template.before_thoughts)

    @cached_property
    def template(self) -> Template | None:
        """The plan's template; None if this release lacks it."""
        return find_template(self.plan.template) if self.plan.template in TEMPLATES else None

    @cached_property
    def regions(self) -> Convention | None:
        """The plan's convention for boxes and points; None if there are none, or this release does not know it."""
        with suppress(DataError):
            return convention_of(self.plan.regions) if self.plan.regions else None
        return None

    @cached_property
    def _found_tokenizer(self) -> tuple[Tokenizer | None, str]:
        path = (self.manifest.recipe.get("tokenizer") or {}).get("path")
        try:
            found = load_tokenizer(self.plan.tokenizer["kind"], path)
        except RtError as error:
            return None, str(error)
        same = found.identity() == self.plan.tokenizer
        return (found, "") if same else (None, f"the tokenizer at {path} is not the one the plan was made with")


def read_codec(source: SourcePlan) -> Codec | None:
    """The codec of a source; None for web, or if it is damaged."""
    try:
        return codec_from_json(source.codec) if source.codec else None
    except DataError:
        return None


def adds_up(manifest: Manifest) -> bool:
    """Whether quotas can be computed from the plan; if not, the check of the manifest reports it."""
    plan = manifest.plan
    robots_first = [s.kind for s in plan.sources] == sorted(s.kind for s in plan.sources)
    counts = [s.draws for s in plan.sources]
    return (
        robots_first
        and plan.shards == len(manifest.shards) > 0
        and 0 < plan.num_examples == sum(counts) <= MAX_EXAMPLES
        and min(counts) >= 0
        and all(s.rows > 0 for s in plan.sources)
        and parts_add_up(plan)
    )


def parts_add_up(plan: Plan) -> bool:
    """Whether the parts match the plan: none if shards are mixed, else one per source with its examples and weight."""
    if not plan.materialize:
        return not plan.parts
    shards = [part.shards for part in plan.parts or ()]
    try:
        follow = plan.parts == make_parts(plan.sources, shards)
        return follow and sum(shards) == plan.shards and min(shards) > 0 and plan.format in BLENDED
    except (ValueError, ZeroDivisionError, UsageError):
        return False


def _state_dim(statistics: Mapping[str, Any], name: str) -> int | None:
    """The length of a state, from the statistics; None if they have none."""
    try:
        return len(statistics[name]["state"]["mean"])
    except (KeyError, TypeError):
        return None


def _ranges(statistics: Mapping[str, Any], source: SourcePlan) -> tuple[F64, F64] | None:
    """Minimum and maximum of each dimension; None for web, or if the statistics are damaged."""
    try:
        found = DimStats.from_json(statistics[source.name]["action"])
    except (DataError, KeyError, TypeError):
        return None
    return (np.array(found.min), np.array(found.max)) if found.size == source.action_dim else None


def readable(manifest: Manifest) -> bool:
    """Whether this release can read the shards, and all paths stay inside the output's folder."""
    return manifest.plan.format in FORMATS and all(SAFE.fullmatch(part.source) for part in manifest.plan.parts or ())


def shard_names(expected: Expected) -> list[str]:
    """File names of the shards according to the plan, as many as the manifest lists."""
    return [expected.shard_name(index) for index in range(len(expected.manifest.shards))]


@lru_cache(maxsize=2)
def open_expected(folder: str, manifest_hash: str) -> Expected:
    """The manifest of an output, opened once per process; `manifest_hash` distinguishes a replaced output."""
    return Expected(path_of(folder), read_manifest(path_of(folder)))
