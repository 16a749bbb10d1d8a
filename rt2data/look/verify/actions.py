"""Checking actions: read back from their bins, and from their words, in batches of one source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rt2data.errors import DataError
from rt2data.look.verify.expected import Example, Expected, ExpectedSource
from rt2data.records import F32
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import F64
from rt2data.render.codecs.table import Codec
from rt2data.render.fields import ExampleRecord

Finding = tuple[int, str]
FLOAT32 = float(np.finfo(np.float32).max)


def action_faults(waiting: Sequence[Example], source: ExpectedSource, expected: Expected) -> Iterator[Finding]:
    """Place and fault of every robot record whose action does not come back."""
    whole = []
    for each in waiting:
        faults = list(shape_faults(each.record, source, expected))
        yield from ((each.at, what) for what in faults)
        if not faults:
            whole.append(each)
    if not whole or source.codec is None:
        return
    actions = np.array([record.action for _, record, _ in whole], np.float32)[:, : source.plan.action_dim]
    yield from bin_faults(whole, actions, source.codec)
    if source.reach is not None:
        yield from reach_faults(whole, actions, source.codec, *source.reach)
    for each in whole:
        yield from ((each.at, what) for what in word_faults(each, source, expected.plan.tokenizer))


def shape_faults(record: ExampleRecord, source: ExpectedSource, expected: Expected) -> Iterator[str]:
    """Lengths, padding and what a robot record must have."""
    dim, padded = source.plan.action_dim, expected.plan.action_dim
    if record.episode != record.group or record.step is None or record.step < 0 or record.terminate is None:
        yield "a robot example without episode, step or terminate"
    if record.answers:
        yield "a robot example has answers"
    if record.camera not in source.plan.cameras:
        yield f"camera is {record.camera}, the plan has {', '.join(source.plan.cameras) or 'none'}"
    action = record.action
    if action is None or len(action) != padded or any(action[dim:]):
        yield f"action is not {dim} numbers padded with 0 to {padded}"
    elif max(map(abs, action)) > FLOAT32:
        yield "action is beyond float32"
    if record.action_mask is None or list(record.action_mask) != [d < dim for d in range(padded)]:
        yield f"action_mask is not true for {dim} of {padded}"
    if (None if record.state is None else len(record.state)) != source.state_dim:
        yield f"state has {None if record.state is None else len(record.state)} numbers, its statistics {source.state_dim}"
    width = source.codec.width if source.codec else None
    bins = record.action_bins
    if bins is None or (width is not None and (len(bins) != width or not 0 <= min(bins) <= max(bins) <= 255)):
        yield f"action_bins are not {width} numbers from 0 to 255"


def reach_faults(waiting: Sequence[Example], actions: F32, codec: Codec, least: F64, most: F64) -> Iterator[Finding]:
    """Actions f32[N, D] that the statistics have never seen: they are those of other data."""
    for row, d in np.argwhere((actions < least) | (actions > most)).tolist():
        what = f"{codec.space.names[d]} is {actions[row, d]:.6g}, beyond the {least[d]:.6g} to {most[d]:.6g} of the statistics"
        yield waiting[row].at, what


def bin_faults(waiting: Sequence[Example], actions: F32, codec: Codec) -> Iterator[Finding]:
    """Bins decoded within the codec's tolerance of the stored actions f32[N, D], and the very bins that encoding gives."""
    bins = np.array([record.action_bins for _, record, _ in waiting], np.int32)
    flags = np.array([record.terminate for _, record, _ in waiting], np.bool_)
    found, ended = codec.decode(bins)
    off = ~(np.abs(found - codec.clip(actions)) <= codec.tolerance)
    for row, d in np.argwhere(off).tolist():
        yield waiting[row].at, _far(codec, d, float(found[row, d]), float(actions[row, d]))
    wrong = ~off.any(axis=1) & (codec.encode(actions, flags) != bins).any(axis=1)
    for row in np.flatnonzero(wrong).tolist():
        yield waiting[row].at, f"action_bins are not those codec {codec.name} gives for the action"
    if codec.terminate is not None:
        for row in np.flatnonzero((ended != flags) & ~wrong).tolist():
            yield waiting[row].at, f"its bins say terminate {bool(ended[row])}, the record says {bool(flags[row])}"


def _far(codec: Codec, d: int, found: float, stored: float) -> str:
    return f"{codec.space.names[d]}: its bin means {found:.6g}, the stored action is {stored:.6g}: beyond the codec's tolerance"


def word_faults(example: Example, source: ExpectedSource, tokenizer: Mapping[str, Any]) -> Iterator[str]:
    """The target's text and ids, parsed back to bins. Ids of digits need the tokenizer itself; those of `last_n` count down."""
    record, codec = example.record, source.codec
    bins = list(record.action_bins or ())
    if codec is not None and codec.token_map == "digits" and record.target != " ".join(map(str, bins)):
        yield f"its target {record.target[:60]!r} is not its action_bins"
    learned = record.input_ids[len(record.input_ids) - example.learned :]
    ids = learned if tokenizer.get("eos_id") is None else learned[:-1]
    if source.words is not None:
        yield from _parsed(source.words, ids, bins)
    elif codec is not None and codec.token_map == "last_n" and [tokenizer["vocab_size"] - 1 - i for i in ids] != bins:
        yield "its target's ids do not mean its action_bins"


def _parsed(words: ActionWords, ids: Sequence[int], bins: list[int]) -> Iterator[str]:
    try:
        back = words.parse(ids)
    except DataError as error:
        yield f"its target's ids are no action words: {error.what}"
        return
    if back != bins:
        yield f"its target's ids mean bins {' '.join(map(str, back[:16]))}, not its action_bins"
