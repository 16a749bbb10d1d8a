"""Checks of the fields that hold one example's actions: their sizes, padding, masks and bins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from rt2data.look.verify.expected import Checked
from rt2data.render.fields import ExampleRecord

FLOAT32 = float(np.finfo(np.float32).max)


def real_actions(record: ExampleRecord) -> int:
    """How many actions of a record's chunk are no padding."""
    return list(record.action_is_pad or ()).count(False)


def action(values: Any, checked: Checked) -> str:
    """Of the source's size, padded to the mixture's."""
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    if values is None or len(values) != padded or any(values[dim:]):
        return f"action is not {dim} numbers padded with 0 to {padded}"
    return "action is beyond float32" if not _is_float32(values) else ""


def actions(chunk: Any, checked: Checked) -> str:
    """A row for each action of the horizon; the first is `action`, and padding repeats the last real one."""
    plan, dim, record = checked.expected.plan, checked.source.plan.action_dim, checked.record
    if chunk is None or len(chunk) != plan.horizon or any(len(row) != plan.action_dim for row in chunk):
        return f"actions are not {plan.horizon} of {plan.action_dim} numbers"
    if any(any(row[dim:]) for row in chunk):
        return f"actions are not {dim} numbers padded with 0 to {plan.action_dim}"
    if not _is_float32(list(chain.from_iterable(chunk))):
        return "actions are beyond float32"
    if record.action is not None and list(chunk[0]) != list(record.action):
        return "the first of its actions is not its action"
    last = max(real_actions(record), 1) - 1
    return "" if all(row == chunk[last] for row in chunk[last + 1 :]) else f"padding of actions does not repeat action {last}"


def action_is_pad(flags: Any, checked: Checked) -> str:
    """False for real actions, then true: behind the source's own horizon, and behind the end of the episode."""
    plan, record = checked.expected.plan, checked.record
    if flags is None or len(flags) != plan.horizon:
        return f"action_is_pad does not have {plan.horizon} entries"
    real = real_actions(record)
    if not real or any(flags[:real]):
        return "action_is_pad is not false and then true"
    if real > checked.source.plan.horizon:
        return f"{real} of its actions are no padding, the source's horizon is {checked.source.plan.horizon}"
    if record.step is not None and record.episode_length is not None and record.step + real > record.episode_length:
        return f"{real} actions from step {record.step} are more than its episode of {record.episode_length} steps has"
    return ""


def action_mask(mask: Any, checked: Checked) -> str:
    """True for the source's dimensions."""
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    right = mask is not None and list(mask) == [d < dim for d in range(padded)]
    return "" if right else f"action_mask is not true for {dim} of {padded}"


def action_bins(bins: Any, checked: Checked) -> str:
    """The codec's width for each real action. What they mean is checked in batches."""
    codec, real = checked.source.codec, real_actions(checked.record)
    if codec is None:
        return "" if bins is not None else "a robot example without action_bins"
    wanted = codec.width * real
    right = bins is not None and len(bins) == wanted > 0 and 0 <= min(bins) <= max(bins) <= 255
    return "" if right else f"action_bins are not {wanted} numbers from 0 to 255"


def terminate(flag: Any, _: Checked) -> str:
    """Said of every step."""
    return "a robot example without terminate" if flag is None else ""


def _is_float32(values: Sequence[float]) -> bool:
    return max(map(abs, values), default=0.0) <= FLOAT32
