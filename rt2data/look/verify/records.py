"""Checks of one example by itself: every field of its record by one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from operator import attrgetter
from typing import Any

from rt2data.look.verify.chunks import action, action_bins, action_is_pad, action_mask, actions, terminate
from rt2data.look.verify.expected import CONSTANTS, Check, Checked
from rt2data.look.verify.images import camera, image_mask, image_names, image_offsets
from rt2data.records import Turn, key_name
from rt2data.render.fields import FIELDS, ExampleRecord
from rt2data.standardize.conversation import IMAGE


def row_key(record: ExampleRecord) -> str:
    """The row's key in the prepared store, the same in every epoch."""
    bare = record.key.removeprefix(f"{key_name(record.source)}-")
    return bare.removesuffix(f"-r{record.epoch}") if record.epoch else bare


def is_conversation(record: ExampleRecord) -> bool:
    """Whether a record is a conversation, not a question with answers or a robot step."""
    return record.action is None and not record.answers


def turns_of(record: ExampleRecord) -> list[Turn]:
    """The messages as the template renders them; which turns have loss they do not say."""
    return [Turn(message.role, message.content) for message in record.messages]


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


def _loss_weight(weight: Any, checked: Checked) -> str:
    wanted = checked.source.loss_weight
    return "" if weight == wanted else f"loss_weight is {weight}, the plan says {wanted}"


# Text


def _question(checked: Checked) -> str | None:
    """What a robot step or a question asks, with the template; None without the template, and for conversations."""
    record, template = checked.record, checked.expected.template
    if template is None or is_conversation(record):
        return None
    return template.robot_question(record.text) if checked.source.robot else template.web_question(record.text)


def _text(text: str, checked: Checked) -> str:
    """Of a conversation the first words of the user; all else is checked with the prompt."""
    if not is_conversation(checked.record):
        return ""
    first = next((message.content for message in checked.record.messages if message.role == "user"), "")
    return "" if text == first else "its text is not what the user says first"


def _messages(messages: Any, checked: Checked) -> str:
    """User and assistant by turns, a place for each image, and the target last."""
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
    """The template's words around what is asked."""
    template, question = checked.expected.template, _question(checked)
    if not prompt:
        return "its prompt is empty"
    if template is None:
        return ""
    if question is not None:
        return "" if prompt == template.prompt(question) else "its prompt is not that of its text"
    pieces = template.pieces(turns_of(checked.record))
    return "" if prompt == "".join(piece.text for piece in pieces[:-1]) else "its prompt is not that of its messages"


def _target(target: str, _: Checked) -> str:
    return "" if target else "its target is empty"


# Token ids


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
    """As long as the ids: 0 for the prompt, then 1 for the target. A conversation has several of both, at most one a message."""
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


# Where it is from


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
"""Fields without a check of their own here, and where they are checked."""
UNCHECKED = {field.name for field in FIELDS} - {*ROBOT_FIELDS, *CONSTANTS, *ELSEWHERE}
"""Fields that no check knows: none, and a test sees to it."""
_VALUES, _CONSTANTS = attrgetter(*ROBOT_FIELDS), attrgetter(*CONSTANTS)
