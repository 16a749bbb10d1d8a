"""Checks of what was rendered, in batches of one source: ids against texts, actions against bins, targets and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rt2data.errors import DataError
from rt2data.look.verify.expected import Expected, ExpectedSource, TextIds
from rt2data.records import F32
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import F64
from rt2data.render.codecs.table import Codec
from rt2data.render.fields import ExampleRecord

DECODED = frozenset({"action", "action_bins", "terminate"})
"""Fields that must be right by themselves before actions can be decoded."""


class PlacedRecord(NamedTuple):
    """A record with its place in the shard."""

    at: int
    record: ExampleRecord
    loss_tokens: int
    decodable: bool  # nothing is wrong with its `DECODED` fields

    @property
    def prompt_ids(self) -> Sequence[int]:
        return self.record.input_ids[: len(self.record.input_ids) - self.loss_tokens]

    @property
    def target_ids(self) -> Sequence[int]:
        return self.record.input_ids[len(self.record.input_ids) - self.loss_tokens :]


PlacedFault = tuple[int, str]
"""Place of an example in the shard, and what is wrong with it."""


def rendering_faults(batch: Sequence[PlacedRecord], source: ExpectedSource, expected: Expected) -> Iterator[PlacedFault]:
    """Every example of a batch whose ids are not those of its texts, or whose action does not decode to what it should."""
    if expected.texts:
        yield from text_faults(batch, source, expected.texts)
    decodable = [each for each in batch if each.decodable]
    if source.robot and source.codec is not None and decodable:
        yield from action_faults(decodable, source, source.codec, expected.plan.tokenizer)


def text_faults(batch: Sequence[PlacedRecord], source: ExpectedSource, texts: TextIds) -> Iterator[PlacedFault]:
    """Ids of prompts and answers against those that the tokenizer gives."""
    space = " " if source.codec is not None and source.codec.token_map == "last_n" else ""
    try:
        prompts = texts.prompts([each.record.prompt for each in batch], space)
        answers = [] if source.robot else texts.answers([each.record.target for each in batch])
    except DataError as error:
        yield batch[0].at, f"one of the {len(batch)} examples of {source.plan.name} from here cannot be tokenized: {error}"
        return
    for each, ids in zip(batch, prompts, strict=True):
        if each.prompt_ids != ids:
            yield each.at, "its input_ids are not those of its prompt"
    for each, ids in zip(batch, answers, strict=False):
        if each.target_ids != ids:
            yield each.at, "its input_ids are not those of its target"


def action_faults(
    batch: Sequence[PlacedRecord], source: ExpectedSource, codec: Codec, tokenizer: Mapping[str, Any]
) -> Iterator[PlacedFault]:
    """Actions against their bins, the ranges of the statistics, and the text and ids of the target."""
    actions = np.array([each.record.action for each in batch], np.float32)[:, : source.plan.action_dim]
    yield from bin_faults(batch, actions, codec)
    if source.ranges is not None:
        yield from range_faults(batch, actions, codec, *source.ranges)
    for each in batch:
        yield from ((each.at, what) for what in target_faults(each, source.words, codec, tokenizer))


def bin_faults(batch: Sequence[PlacedRecord], actions: F32, codec: Codec) -> Iterator[PlacedFault]:
    """Bins decode within the codec's tolerance of the stored actions f32[N, D], and are the very bins that encoding gives."""
    bins = np.array([each.record.action_bins for each in batch], np.int32)
    flags = np.array([each.record.terminate for each in batch], np.bool_)
    decoded, ended = codec.decode(bins)
    off = ~(np.abs(decoded - codec.clip(actions)) <= codec.tolerance)
    for row, d in np.argwhere(off).tolist():
        what = f"its bin means {decoded[row, d]:.6g}, the stored action is {actions[row, d]:.6g}: beyond the codec's tolerance"
        yield batch[row].at, f"{codec.space.names[d]}: {what}"
    wrong = ~off.any(axis=1) & (codec.encode(actions, flags) != bins).any(axis=1)
    for row in np.flatnonzero(wrong).tolist():
        yield batch[row].at, f"action_bins are not those codec {codec.name} gives for the action"
    if codec.terminate is not None:
        for row in np.flatnonzero((ended != flags) & ~wrong).tolist():
            yield batch[row].at, f"its bins say terminate {bool(ended[row])}, the record says {bool(flags[row])}"


def range_faults(batch: Sequence[PlacedRecord], actions: F32, codec: Codec, least: F64, most: F64) -> Iterator[PlacedFault]:
    """Actions f32[N, D] outside the range of the statistics, which are then those of other data."""
    for row, d in np.argwhere((actions < least) | (actions > most)).tolist():
        what = f"{codec.space.names[d]} is {actions[row, d]:.6g}, beyond the {least[d]:.6g} to {most[d]:.6g} of the statistics"
        yield batch[row].at, what


def target_faults(each: PlacedRecord, words: ActionWords | None, codec: Codec, tokenizer: Mapping[str, Any]) -> Iterator[str]:
    """Text and ids of the target, parsed back to bins. Ids of digits need the tokenizer itself; those of `last_n` count down."""
    bins = list(each.record.action_bins or ())
    if codec.token_map == "digits" and each.record.target != " ".join(map(str, bins)):
        yield f"its target {each.record.target[:60]!r} is not its action_bins"
    ids = each.target_ids if tokenizer.get("eos_id") is None else each.target_ids[:-1]
    if words is not None:
        yield from _parsed(words, ids, bins)
    elif codec.token_map == "last_n" and [tokenizer["vocab_size"] - 1 - i for i in ids] != bins:
        yield "its target's ids do not mean its action_bins"


def _parsed(words: ActionWords, ids: Sequence[int], bins: list[int]) -> Iterator[str]:
    try:
        parsed = words.parse(ids)
    except DataError as error:
        yield f"its target's ids are no action words: {error.what}"
        return
    if parsed != bins:
        yield f"its target's ids mean bins {' '.join(map(str, parsed[:16]))}, not its action_bins"
