"""Checks of a single example: each field of its record, driven by one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import Any

import numpy as np

from rt2data.formats.base import Member
from rt2data.images.ready import ImageFault, read_header
from rt2data.look.verify.expected import CONSTANTS, Check, Checked
from rt2data.look.verify.regions import filled_text, region_faults, unfilled_targets
from rt2data.records import Turn, key_name
from rt2data.render.fields import FIELDS, MORE_FIELDS, ExampleRecord, row_weight
from rt2data.render.reasoning import lead_of
from rt2data.standardize.answers import consensus
from rt2data.standardize.conversation import IMAGE
from rt2data.write.shard import EXTENSIONS


def image_bytes(member: Member) -> int:
    """Total image bytes of an example."""
    return sum(len(image.data) for image in member.images)


def image_faults(member: Member) -> Iterator[str]:
    """Check the header of each image against its extension."""
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


def image_names(names: Any, checked: Checked) -> str:
    """Check image names: the cameras of the plan's slots, or image_0, image_1, ... for a web example."""
    wanted = [name for name, _ in _places(checked)]
    return "" if list(names) == wanted else f"image_names are {_listed(names)}, not {_listed(wanted)}"


def image_offsets(offsets: Any, checked: Checked) -> str:
    """Check offsets: those of the plan's slots; 0 for all images of a web example."""
    wanted = [offset for _, offset in _places(checked)]
    return "" if list(offsets) == wanted else f"image_offsets are {_listed(offsets)}, not {_listed(wanted)}"


def _places(checked: Checked) -> Sequence[tuple[str, int]]:
    """Names and offsets of an example's images, including absent ones. A single image may be from any camera, which can differ
    between steps.
    """
    if not checked.source.robot:
        return [(f"image_{i}", 0) for i in range(len(checked.member.images))]
    slots = checked.source.plan.slots
    return slots if len(slots) > 1 or _without_images(checked) else [(checked.record.camera or "", 0)]


def _without_images(checked: Checked) -> bool:
    """Whether the recipe wants no images of its source, and the example has none."""
    return not checked.source.plan.slots and checked.record.camera is None and not checked.member.images


def image_mask(mask: Any, checked: Checked) -> str:
    """Check the mask: true only for slots with an image, and not for steps before the episode."""
    record, there = checked.record, [image.slot for image in checked.member.images]
    if len(mask) != len(record.image_names):
        return f"image_mask has {len(mask)} entries for {len(record.image_names)} image_names"
    if (said := [place for place, present in enumerate(mask) if present]) != there:
        return f"image_mask says images {_listed(said)}, there are {_listed(there)}"
    if len(there) > (most := checked.expected.plan.images or 1):
        return f"it has {len(there)} images, the plan's most are {most}"
    early = [
        i for i in said if record.step is not None and i < len(record.image_offsets) and record.step + record.image_offsets[i] < 0
    ]
    return f"image_{early[0]} is of a step before its episode" if early else ""


def camera(camera: Any, checked: Checked) -> str:
    """Check the camera: that of the first existing image."""
    if _without_images(checked):
        return ""
    cameras = checked.source.plan.cameras
    if camera not in cameras:
        return f"camera is {camera}, the plan has {', '.join(cameras) or 'none'}"
    there = [image.slot for image in checked.member.images]
    names = [name for name, _ in _places(checked)]
    if not there or there[0] >= len(names):
        return "a robot example without an image that the plan has"
    return "" if camera == names[there[0]] else f"camera is {camera}, its first image is of {names[there[0]]}"


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) or "none"


FLOAT32 = float(np.finfo(np.float32).max)


def real_actions(record: ExampleRecord) -> int:
    """The number of actions in a record's chunk that are not padding."""
    return list(record.action_is_pad or ()).count(False)


def action(values: Any, checked: Checked) -> str:
    """Check an action: the source's size, padded to the mixture's."""
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    if values is None or len(values) != padded or any(values[dim:]):
        return f"action is not {dim} numbers padded with 0 to {padded}"
    return "action is beyond float32" if not _is_float32(values) else ""


def actions(chunk: Any, checked: Checked) -> str:
    """Check a chunk: a row per action of the horizon; the first equals `action`, and padding repeats the last real one."""
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
    """Check the padding flags: false for real actions, then true after the source's own horizon or the end of the episode."""
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
    """Check the mask: true for the source's dimensions."""
    dim, padded = checked.source.plan.action_dim, checked.expected.plan.action_dim
    right = mask is not None and list(mask) == [d < dim for d in range(padded)]
    return "" if right else f"action_mask is not true for {dim} of {padded}"


def action_bins(bins: Any, checked: Checked) -> str:
    """Check the number of bins, given the number of real actions. Their values are checked in batches."""
    codec, real = checked.source.codec, real_actions(checked.record)
    if codec is None:
        return "" if bins is not None else "a robot example without action_bins"
    fault = codec.chunk_fault(bins or (), real)
    return f"action_bins are {fault}" if fault else ""


def terminate(flag: Any, _: Checked) -> str:
    """Check the flag, which every step has."""
    return "a robot example without terminate" if flag is None else ""


def _is_float32(values: Sequence[float]) -> bool:
    return max(map(abs, values), default=0.0) <= FLOAT32


def row_key(record: ExampleRecord) -> str:
    """The row's key in the prepared store, the same in every epoch."""
    bare = record.key.removeprefix(f"{key_name(record.source)}-")
    return bare.removesuffix(f"-r{record.epoch}") if record.epoch else bare


def is_conversation(record: ExampleRecord) -> bool:
    """Whether a record is a conversation, not a question with answers or a robot step."""
    return record.action is None and not record.answers


def turns_of(record: ExampleRecord) -> list[Turn]:
    """The messages as turns for the template; they do not say which turns have loss."""
    return [Turn(message.role, message.content) for message in record.messages]


def record_faults(checked: Checked) -> Iterator[tuple[str, str]]:
    """Every wrong field, and what is wrong with it."""
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


def _loss_weight(weight: Any, checked: Checked) -> str:
    own, record, agreement = checked.source.loss_weight, checked.record, checked.source.plan.agreement or "case"
    wanted = [own]
    if own is not None and record.answers and checked.expected.plan.answers.get(record.source) == "soft":
        wanted = [row_weight(own, float(consensus(record.answers, each, agreement))) for each in unfilled_targets(checked)]
    return "" if weight in wanted else f"loss_weight is {weight}, the plan says {' or '.join(map(str, wanted)) or 'another'}"


# Text


def _question(checked: Checked) -> str | None:
    """The question of a robot step or a web question, from the template; None without the template, and for conversations."""
    record, template = checked.record, checked.expected.template
    if template is None or is_conversation(record):
        return None
    asked = filled_text(record.text, checked)
    return template.robot_question(asked) if checked.source.robot else template.web_question(asked)


def _text(text: str, checked: Checked) -> str:
    """Check the text of a conversation: the user's first message; other texts are checked with the prompt."""
    if not is_conversation(checked.record):
        return ""
    first = next((message.content for message in checked.record.messages if message.role == "user"), "")
    return "" if filled_text(text, checked) == first else "its text is not what the user says first"


def _messages(messages: Any, checked: Checked) -> str:
    """Check messages: user and assistant alternate, each image has a placeholder, and the target comes last."""
    record, roles = checked.record, [message.role for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        return f"messages do not alternate between user and assistant: {', '.join(roles[:8]) or 'there are none'}"
    if messages[-1].content != record.target:
        return "its last message is not its target"
    images, question = sum(record.image_mask), _question(checked)
    if question is not None:
        return (
            ""
            if len(roles) == 2 and messages[0].content == f"{IMAGE}\n" * images + question
            else "messages do not ask for its text"
        )
    places = sum(message.content.count(IMAGE) for message in messages)
    return "" if places == images else f"messages have {places} places for {images} images"


def _prompt(prompt: str, checked: Checked) -> str:
    """Check the prompt: the template's text around the question."""
    template, question = checked.expected.template, _question(checked)
    if not prompt:
        return "its prompt is empty"
    if template is None:
        return ""
    if question is not None:
        return "" if prompt == template.prompt(question, checked.source.robot) else "its prompt is not that of its text"
    pieces = template.pieces(turns_of(checked.record))
    return "" if prompt == "".join(piece.text for piece in pieces[:-1]) else "its prompt is not that of its messages"


def _target(target: str, checked: Checked) -> str:
    """Check the target; for a robot step with notes, it starts with the template's text for these."""
    template, record = checked.expected.template, checked.record
    if target and checked.source.robot and template is not None and template.action_cue:
        dropout = checked.expected.plan.dropout(checked.source.plan)
        lead = lead_of(template, record.notes, row_key(record), record.epoch, dropout)
        return "" if target.startswith(f"{lead} ") else "its target does not begin with what its notes say"
    return "" if target else "its target is empty"


# Token ids


def _ids(ids: Any, checked: Checked) -> str:
    """Check token ids, with begin and end tokens in the right places."""
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
    """Check the loss mask: as long as the ids, 0 for the prompt, then 1 for the target. A conversation has several of each, at most
    one per message.
    """
    flags, record = bytes(mask), checked.record
    ones, talk = flags.count(1), is_conversation(record)
    if len(mask) != len(record.input_ids):
        return f"loss_mask has {len(mask)} entries for {len(record.input_ids)} input_ids"
    if not 0 < ones < len(flags):
        return "loss_mask leaves no prompt or no target"
    if not talk:
        return "" if flags.find(1) == len(flags) - ones else "loss_mask is not 0s and then 1s"
    runs, most = flags.count(b"\x00\x01"), sum(message.role == "assistant" for message in record.messages)
    return "" if not flags[0] and runs <= most else f"loss_mask has {runs + flags[0]} runs of 1s for {most} answers"


# Provenance


def _episode(episode: Any, checked: Checked) -> str:
    return "" if episode == checked.record.group else f"episode is {episode}, its group {checked.record.group}"


def _step(step: Any, _: Checked) -> str:
    return f"step is {step}" if step is None or step < 0 else ""


def _episode_length(length: Any, checked: Checked) -> str:
    step = checked.record.step
    right = length is not None and (step is None or length > step)
    return "" if right else f"episode_length is {length} at step {step}"


def _timestamp(timestamp: Any, _: Checked) -> str:
    return "" if timestamp is None or isfinite(timestamp) else f"timestamp is {timestamp}"


def _state(state: Any, checked: Checked) -> str:
    size = None if state is None else len(state)
    return "" if size == checked.source.state_dim else f"state has {size} numbers, its statistics {checked.source.state_dim}"


def _notes(notes: Any, checked: Checked) -> str:
    """Check notes: distinct names, none empty; allowed only if the plan has notes."""
    if notes is None:
        return ""
    if "notes" not in checked.expected.plan.sizes.more:
        return "it has notes, the plan has none"
    names = [note.name for note in notes]
    right = names and len(set(names)) == len(names) and all(note.text for note in notes)
    return "" if right else "notes are empty, or two have one name"


def _original(original: Any, checked: Checked) -> str:
    if original is not None and "original" not in checked.expected.plan.sizes.more:
        return "it has an original instruction, the plan has no pools"
    return "its original instruction is its text" if original == checked.record.text else ""


def _absent(name: str) -> Check:
    return lambda value, _: "" if value is None else f"a web example has {name}"


def _right(_: Any, __: Checked) -> str:
    return ""


BOTH: dict[str, Check] = {
    "key": _key,
    "image_names": image_names,
    "image_offsets": image_offsets,
    "image_mask": image_mask,
    "text": _text,
    "messages": _messages,
    "prompt": _prompt,
    "target": _target,
    "input_ids": _ids,
    "loss_mask": _mask,
    "loss_weight": _loss_weight,
    "regions": region_faults,
}
ROBOT: dict[str, Check] = {
    "episode": _episode,
    "step": _step,
    "episode_length": _episode_length,
    "timestamp": _timestamp,
    "camera": camera,
    "action": action,
    "actions": actions,
    "action_is_pad": action_is_pad,
    "action_mask": action_mask,
    "action_bins": action_bins,
    "terminate": terminate,
    "state": _state,
    "notes": _notes,
    "original": _original,
}
"""Fields that web examples do not have."""
ROBOT_FIELDS: dict[str, Check] = BOTH | ROBOT | {"answers": lambda answers, _: "a robot example has answers" if answers else ""}
WEB_FIELDS: dict[str, Check] = BOTH | {name: _absent(name) for name in ROBOT} | {"answers": _right}
"""A web example without answers is a conversation."""
ELSEWHERE: Mapping[str, str] = {
    "source": "against the plan, and its order in the shard",
    "epoch": "against the plan's order",
    "group": "of a robot step, with `episode`; what a web source calls its images is not in the manifest",
}
"""Fields that are checked elsewhere, and where."""
UNCHECKED = {field.name for field in (*FIELDS, *MORE_FIELDS)} - {*ROBOT_FIELDS, *CONSTANTS, *ELSEWHERE}
"""Fields without any check: none, as a test ensures."""
_VALUES, _CONSTANTS = attrgetter(*ROBOT_FIELDS), attrgetter(*CONSTANTS)
