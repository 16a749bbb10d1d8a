"""Checks of one example by itself: its images, and every field of its record by one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from rt2data.formats.base import Member
from rt2data.images.ready import ImageFault, read_header
from rt2data.look.verify.expected import CONSTANTS, Expected, ExpectedSource
from rt2data.records import key_name
from rt2data.render.fields import ExampleRecord
from rt2data.write.shard import EXTENSIONS

FLOAT32 = float(np.finfo(np.float32).max)


def row_key(record: ExampleRecord) -> str:
    """The row's key in the prepared store, the same in every epoch."""
    bare = record.key.removeprefix(f"{key_name(record.source)}-")
    return bare.removesuffix(f"-r{record.epoch}") if record.epoch else bare


# Images


def image_bytes(member: Member) -> int:
    """Bytes of all images of an example."""
    return sum(len(image.data) for image in member.images)


def image_faults(member: Member) -> Iterator[str]:
    """The header of each image against its extension."""
    for image in member.images:
        name = "its image" if len(member.images) == 1 else f"its image_{image.slot}"
        try:
            seen = read_header(image.data)
        except ImageFault as fault:
            yield f"{name} cannot be used: {fault.reason}" + (f", {fault.detail}" if fault.detail else "")
            continue
        if EXTENSIONS.get(seen.format) != image.extension:
            yield f"{name} is {seen.format}, its name says .{image.extension}"
        if seen.width < 1 or seen.height < 1:
            yield f"{name} has {seen.width} x {seen.height} pixels"


# Fields


class Checked(NamedTuple):
    """A record with all that its fields are checked against."""

    member: Member
    record: ExampleRecord
    source: ExpectedSource
    expected: Expected


Check = Callable[[Any, Checked], str]
"""What is wrong with the value of a field; empty where nothing is."""


def record_faults(checked: Checked) -> Iterator[tuple[str, str]]:
    """Every field that is wrong, and what is wrong with it."""
    fields = ROBOT_FIELDS if checked.source.robot else WEB_FIELDS
    for name, check, value in zip(fields, fields.values(), _VALUES(checked.record), strict=True):
        if what := check(value, checked):
            yield name, what
    constants, planned = _CONSTANTS(checked.record), checked.source.constants
    if constants != planned:
        for name, value, wanted in zip(CONSTANTS, constants, planned, strict=True):
            if value != wanted:
                yield name, f"{name} is {value}, the plan says {wanted}"


def _key(key: str, checked: Checked) -> str:
    record = checked.record
    if key != checked.member.key:
        return f"its record has key {key}"
    if not key.startswith(f"{key_name(record.source)}-") or (record.epoch and not key.endswith(f"-r{record.epoch}")):
        return f"its key is not made of source {record.source}, row and epoch {record.epoch}"
    return ""


def _text(name: str) -> Check:
    return lambda text, _: "" if text else f"its {name} is empty"


def _ids(ids: Any, checked: Checked) -> str:
    """Ids, with begin and end where they belong."""
    plan = checked.expected.plan
    if not ids or min(ids) < 0:
        return "input_ids are empty or negative"
    for end, at in (("bos_id", 0), ("eos_id", -1)):
        if plan.tokenizer.get(end) is not None and ids[at] != plan.tokenizer[end]:
            return f"input_ids have {ids[at]} where {end} {plan.tokenizer[end]} belongs"
    if plan.max_tokens is not None and len(ids) > plan.max_tokens:
        return f"{len(ids)} tokens, more than max_tokens {plan.max_tokens}"
    return ""


def _mask(mask: Any, checked: Checked) -> str:
    """As long as the ids: 0 for the prompt, then 1 for the target."""
    flags = bytes(mask)
    ones = flags.count(1)
    if len(mask) != len(checked.record.input_ids):
        return f"loss_mask has {len(mask)} entries for {len(checked.record.input_ids)} input_ids"
    if ones and flags.find(1) != len(flags) - ones:
        return "loss_mask is not 0s and then 1s"
    return "" if 0 < ones < len(flags) else "loss_mask leaves no prompt or no target"


def _absent(name: str) -> Check:
    return lambda value, _: "" if value is None else f"a web example has {name}"


def _episode(episode: Any, checked: Checked) -> str:
    return "" if episode == checked.record.group else f"episode is {episode}, its group {checked.record.group}"


def _step(step: Any, checked: Checked) -> str:
    return f"step is {step}" if step is None or step < 0 else ""


def _terminate(terminate: Any, checked: Checked) -> str:
    return "a robot example without terminate" if terminate is None else ""


def _camera(camera: Any, checked: Checked) -> str:
    cameras = checked.source.plan.cameras
    return "" if camera in cameras else f"camera is {camera}, the plan has {', '.join(cameras) or 'none'}"


def _action(action: Any, checked: Checked) -> str:
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    if action is None or len(action) != padded or any(action[dim:]):
        return f"action is not {dim} numbers padded with 0 to {padded}"
    return "action is beyond float32" if max(map(abs, action)) > FLOAT32 else ""


def _action_mask(mask: Any, checked: Checked) -> str:
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    right = mask is not None and list(mask) == [d < dim for d in range(padded)]
    return "" if right else f"action_mask is not true for {dim} of {padded}"


def _action_bins(bins: Any, checked: Checked) -> str:
    width = checked.source.codec.width if checked.source.codec else None
    right = bins is not None and (width is None or (len(bins) == width and 0 <= min(bins) <= max(bins) <= 255))
    return "" if right else f"action_bins are not {width} numbers from 0 to 255"


def _state(state: Any, checked: Checked) -> str:
    size = None if state is None else len(state)
    return "" if size == checked.source.state_dim else f"state has {size} numbers, its statistics {checked.source.state_dim}"


ANY: dict[str, Check] = {
    "key": _key,
    "prompt": _text("prompt"),
    "target": _text("target"),
    "input_ids": _ids,
    "loss_mask": _mask,
}
ROBOT: dict[str, Check] = {
    "episode": _episode,
    "step": _step,
    "camera": _camera,
    "action": _action,
    "action_mask": _action_mask,
    "action_bins": _action_bins,
    "terminate": _terminate,
    "state": _state,
}
"""Fields that web examples do not have."""
ROBOT_FIELDS: dict[str, Check] = ANY | ROBOT | {"answers": lambda answers, _: "a robot example has answers" if answers else ""}
WEB_FIELDS: dict[str, Check] = {
    **ANY,
    **{name: _absent(name) for name in ROBOT},
    "answers": lambda answers, _: "" if answers else "a web example has no answers",
}
_VALUES, _CONSTANTS = attrgetter(*ROBOT_FIELDS), attrgetter(*CONSTANTS)
