"""Checks of rendered data, in batches per source: ids against texts, actions against bins, targets and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rt2data.errors import DataError
from rt2data.look.verify.expected import Expected, ExpectedSource, TextIds
from rt2data.look.verify.records import is_conversation, turns_of
from rt2data.order import I64
from rt2data.records import F32, Chunks
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import F64, Bools
from rt2data.render.codecs.table import Codec
from rt2data.render.fields import ExampleRecord
from rt2data.render.templates import Template

DECODED = frozenset({"action", "actions", "action_is_pad", "action_bins", "terminate"})
"""Fields that must be valid before actions can be decoded."""


class PlacedRecord(NamedTuple):
    """A record with its place in the shard."""

    at: int
    record: ExampleRecord
    loss_tokens: int
    decodable: bool  # its `DECODED` fields are valid

    @property
    def prompt_ids(self) -> Sequence[int]:
        return self.record.input_ids[: len(self.record.input_ids) - self.loss_tokens]

    @property
    def target_ids(self) -> Sequence[int]:
        return self.record.input_ids[len(self.record.input_ids) - self.loss_tokens :]


PlacedFault = tuple[int, str]
"""Place of an example in the shard, and what is wrong with it."""


def rendering_faults(batch: Sequence[PlacedRecord], source: ExpectedSource, expected: Expected) -> Iterator[PlacedFault]:
    """Every example of a batch whose ids do not match its texts, or whose actions do not decode correctly."""
    if expected.texts and expected.template:
        yield from text_faults(batch, source, expected.texts, expected.template)
    decodable = [each for each in batch if each.decodable]
    if source.robot and source.codec is not None and decodable:
        yield from action_faults(_bare(decodable, source, expected), source, source.codec, expected.plan.tokenizer)


def _bare(batch: Sequence[PlacedRecord], source: ExpectedSource, expected: Expected) -> list[PlacedRecord]:
    """Records without the text (and its ids) before their action."""
    template = expected.template
    if template is None or not template.action_cue:
        return [*batch]
    actions = [template.action_of(each.record.target) for each in batch]
    leads = [_lead(each.record.target, action) for each, action in zip(batch, actions, strict=True)]
    if expected.texts:
        sizes = [each.loss_tokens - len(ids) for each, ids in zip(batch, expected.texts.leads(leads, source.space), strict=True)]
    else:
        end = expected.plan.tokenizer.get("eos_id") is not None
        sizes = [len(each.record.action_bins or ()) + end for each in batch]
    return [
        each._replace(record=msgspec.structs.replace(each.record, target=action), loss_tokens=size)
        for each, action, size in zip(batch, actions, sizes, strict=True)
    ]


def _lead(target: str, action: str) -> str:
    """The text before an action."""
    return target[: len(target) - len(action)].removesuffix(" ")


# Texts


def text_faults(batch: Sequence[PlacedRecord], source: ExpectedSource, texts: TextIds, template: Template) -> Iterator[PlacedFault]:
    """Check the ids of prompts and answers against the tokenizer."""
    talks = [each for each in batch if is_conversation(each.record)]
    try:
        yield from _single_faults([each for each in batch if not is_conversation(each.record)], source, texts, template)
        for each in talks:
            yield from ((each.at, what) for what in _conversation_faults(each.record, texts, template))
    except DataError as error:
        yield batch[0].at, f"one of the {len(batch)} examples of {source.plan.name} from here cannot be tokenized: {error}"


def _single_faults(
    batch: Sequence[PlacedRecord], source: ExpectedSource, texts: TextIds, template: Template
) -> Iterator[PlacedFault]:
    """Check a prompt and a target; targets with actions are parsed instead."""
    led = source.robot and bool(template.action_cue)
    space = "" if led else source.space
    prompts = texts.prompts([each.record.prompt for each in batch], space)
    answers = [] if source.robot else texts.answers([each.record.target for each in batch])
    for each, ids in zip(batch, prompts, strict=True):
        if each.prompt_ids != ids:
            yield each.at, "its input_ids are not those of its prompt"
    for each, ids in zip(batch, answers, strict=False):
        if each.target_ids != ids:
            yield each.at, "its input_ids are not those of its target"
    leads = [_lead(each.record.target, template.action_of(each.record.target)) for each in batch] if led else []
    for each, ids in zip(batch, texts.leads(leads, source.space), strict=False):
        if each.target_ids[: len(ids)] != ids:
            yield each.at, "its input_ids are not those of what it says before its action"


def _conversation_faults(record: ExampleRecord, texts: TextIds, template: Template) -> Iterator[str]:
    """Check ids and loss of every message. The messages do not say which answers have loss: no answer may have it in part, no
    prompt at all.
    """
    pieces = [piece.text for piece in template.pieces(turns_of(record))]
    if len(pieces) < 2 or len(pieces) % 2:
        return  # reported by the check of messages
    prompts = [*texts.prompts(pieces[:1], ""), *(texts.later_prompts(pieces[2::2]) if pieces[2:] else [])]
    ids = [*chain.from_iterable(zip(prompts, texts.answers([text[1:] for text in pieces[1::2]]), strict=True))]
    if list(chain.from_iterable(ids)) != list(record.input_ids):
        yield "its input_ids are not those of its messages"
        return
    edges = np.cumsum([0, *map(len, ids)]).tolist()
    for number, (start, stop) in enumerate(pairwise(edges)):
        ones = sum(record.loss_mask[start:stop])
        if ones not in ((0, stop - start) if number % 2 else (0,)):
            what = f"answer {number // 2}" if number % 2 else f"prompt {number // 2}"
            yield f"loss_mask has {ones} of the {stop - start} tokens of {what}"


# Actions


class RealActions(NamedTuple):
    """The A actions of a batch that are not padding, concatenated."""

    values: F32  # [A, D]
    row: I64  # [A]: index of the record in the batch
    step: I64  # [A]: index in its chunk


def real_actions(batch: Sequence[PlacedRecord], dim: int) -> RealActions:
    """All real actions of some records, without padded dimensions."""
    chunks = np.array([each.record.actions for each in batch], np.float32)[:, :, :dim]
    row, step = np.nonzero(~np.array([each.record.action_is_pad for each in batch], np.bool_))
    return RealActions(chunks[row, step], row, step)


def action_faults(
    batch: Sequence[PlacedRecord], source: ExpectedSource, codec: Codec, tokenizer: Mapping[str, Any]
) -> Iterator[PlacedFault]:
    """Check actions against their bins, the ranges in the statistics, and the text and ids of the target."""
    actions = real_actions(batch, source.plan.action_dim)
    yield from bin_faults(batch, actions, codec)
    if source.ranges is not None:
        yield from range_faults(batch, actions, codec, *source.ranges)
    for each in batch:
        yield from ((each.at, what) for what in target_faults(each, source.words, codec, tokenizer))


def bin_faults(batch: Sequence[PlacedRecord], actions: RealActions, codec: Codec) -> Iterator[PlacedFault]:
    """Check that bins decode to the stored actions within the codec's tolerance, and equal the bins that encoding gives."""
    bins = [list(each.record.action_bins or ()) for each in batch]
    decoded, ended, lengths = codec.decode_chunks(bins)
    if (other := np.flatnonzero(np.array(lengths) != np.bincount(actions.row))).size:
        yield from ((batch[row].at, f"its bins mean {lengths[row]} actions, not its real ones") for row in other.tolist())
        return
    off = ~(np.abs(decoded - codec.clip(actions.values)) <= codec.tolerance)
    for at, d in np.argwhere(off).tolist():
        what = f"its bin means {decoded[at, d]:.6g}, the stored action is {actions.values[at, d]:.6g}: beyond the codec's tolerance"
        yield batch[actions.row[at]].at, f"{codec.space.names[d]}{_of_chunk(actions, at)}: {what}"
    flags = np.array([each.record.terminate for each in batch], np.bool_)
    wrong = np.isin(np.arange(len(batch)), actions.row[off.any(axis=1)])
    chunks = _chunks(batch, actions, np.where(flags, 0, _ends(actions, ended)))
    for row, (seen, given) in enumerate(zip(bins, codec.encode_chunks(chunks), strict=True)):
        if not wrong[row] and seen != given:
            wrong[row] = True
            yield batch[row].at, f"action_bins are not those codec {codec.name} gives for the action"
    if codec.terminate is not None:
        yield from _terminate_faults(batch, actions, ended, chunks, codec, wrong)


def _terminate_faults(
    batch: Sequence[PlacedRecord], actions: RealActions, ended: Bools, chunks: Chunks, codec: Codec, wrong: Bools
) -> Iterator[PlacedFault]:
    """Check the flag against the first action; unless the actions have a terminate dimension, only the last step of an episode ends
    the task.
    """
    for at in np.flatnonzero(actions.step == 0).tolist():
        row = actions.row[at]
        if not wrong[row] and ended[at] != (flag := bool(batch[row].record.terminate)):
            yield batch[row].at, f"its bins say terminate {bool(ended[at])}, the record says {flag}"
    if codec.space.terminate is None:
        early = (chunks.ends >= 0) & (chunks.ends != chunks.real - 1) & ~wrong
        for row in np.flatnonzero(early).tolist():
            yield batch[row].at, f"action {chunks.ends[row]} of its chunk ends the task, {chunks.real[row]} are no padding"


def _ends(actions: RealActions, ended: Bools) -> I64:
    """For each record the first later action whose bins end the task; -1 if there is none."""
    found = np.full(int(actions.row[-1]) + 1, -1, np.int64)
    later = np.flatnonzero(ended & (actions.step > 0))[::-1]  # the earliest is written last
    found[actions.row[later]] = actions.step[later]
    return found


def _chunks(batch: Sequence[PlacedRecord], actions: RealActions, ends: I64) -> Chunks:
    """The chunks in the form that the codec takes."""
    real = np.bincount(actions.row, minlength=len(batch)).astype(np.int32)
    padded = np.zeros((len(batch), int(real.max()), actions.values.shape[1]), np.float32)
    padded[actions.row, actions.step] = actions.values
    return Chunks(padded, real, ends.astype(np.int32))


def _of_chunk(actions: RealActions, at: int) -> str:
    """The position of an action in its chunk, as text; empty for the first."""
    return f" of action {actions.step[at]}" if actions.step[at] else ""


def range_faults(batch: Sequence[PlacedRecord], actions: RealActions, codec: Codec, least: F64, most: F64) -> Iterator[PlacedFault]:
    """Report actions outside the range of the statistics, which must then belong to other data."""
    for at, d in np.argwhere((actions.values < least) | (actions.values > most)).tolist():
        range_ = f"{least[d]:.6g} to {most[d]:.6g} of the statistics"
        what = f"{codec.space.names[d]}{_of_chunk(actions, at)} is {actions.values[at, d]:.6g}, beyond the {range_}"
        yield batch[actions.row[at]].at, what


def target_faults(each: PlacedRecord, words: ActionWords | None, codec: Codec, tokenizer: Mapping[str, Any]) -> Iterator[str]:
    """Check text and ids of the target by parsing them back to bins. Ids of digits need the tokenizer; those of `last_n` count
    down.
    """
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
