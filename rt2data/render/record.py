"""The record a trainer reads beside each picture: the same keys for robot and web rows. Makes schemas/example.schema.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from rt2data.records import F32, Rendered, Rows

Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,90}$", description="unique in the output")]
Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]


class ExampleRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training example: a prompt about a picture and the target to learn, an answer or an action written as one."""

    key: Key
    kind: Annotated[Literal["robot", "web"], msgspec.Meta(description="which side of the mixture it comes from")]
    source: Annotated[str, msgspec.Meta(description="name of the source in the recipe")]
    split: Annotated[str, msgspec.Meta(description="split of the source it was drawn from")]
    group: Annotated[str, msgspec.Meta(description="episode or picture id: never in two splits")]
    episode: Annotated[str | None, msgspec.Meta(description="episode id; null for web")]
    step: Annotated[int | None, msgspec.Meta(description="0-based step in the episode; null for web")]
    camera: Annotated[str | None, msgspec.Meta(description="camera of the image; null for web")]
    epoch: Annotated[int, msgspec.Meta(ge=0, description="how often the source had been read through before this example")]
    text: Annotated[str, msgspec.Meta(description="the instruction or question as the source has it")]
    answers: Annotated[Sequence[str], msgspec.Meta(description="every answer given; empty for robot")]
    prompt: Annotated[str, msgspec.Meta(description="what the model is given, beside the picture")]
    target: Annotated[str, msgspec.Meta(description="what the model is to say")]
    input_ids: Annotated[Sequence[int], msgspec.Meta(description="token ids of prompt, target and end")]
    loss_mask: Annotated[Sequence[Bit], msgspec.Meta(description="1 where the loss counts: target and end; as long as input_ids")]
    action: Annotated[
        Sequence[float] | None, msgspec.Meta(description="the action in the action space's units, padded; null for web")
    ]
    action_mask: Annotated[Sequence[bool] | None, msgspec.Meta(description="false where `action` is padding; null for web")]
    action_bins: Annotated[Sequence[int] | None, msgspec.Meta(description="the codec's integers, 0..255; null for web")]
    terminate: Annotated[bool | None, msgspec.Meta(description="whether this step ends the task; null for web")]
    state: Annotated[
        Sequence[float] | None, msgspec.Meta(description="proprioception as the source has it; null where there is none")
    ]
    action_space: Annotated[str | None, msgspec.Meta(description="name of the action space; null for web")]
    codec: Annotated[
        str | None, msgspec.Meta(description="name/version of the action codec; its bounds are in the manifest; null for web")
    ]


decode_record = msgspec.json.Decoder(ExampleRecord).decode


@dataclass(frozen=True)
class Labels:
    """What all records of one source have in common."""

    split: str
    action_space: str | None
    action_dim: int  # of this source
    padded_dim: int  # of the mixture
    codec: str | None  # name/version


def encode_records(rows: Rows, rendered: Rendered, keys: Sequence[str], labels: Labels) -> list[bytes]:
    """The record of each row, as JSON bytes."""
    encode = msgspec.json.Encoder().encode
    columns = _robot_columns(rows, rendered, labels) if rows.kind == "robot" else _web_columns(rows)
    shared: dict[str, Any] = {"kind": rows.kind, "source": rows.source, "split": labels.split}
    steps, epochs, group = rows.steps.tolist(), rows.epochs.tolist(), rows.groups
    return [
        encode(
            ExampleRecord(
                key=keys[i],
                group=group[i],
                episode=group[i] if rows.kind == "robot" else None,
                step=steps[i] if rows.kind == "robot" else None,
                camera=rows.cameras[i],
                epoch=epochs[i],
                text=rows.text[i],
                answers=rows.answers[i] or (),
                prompt=rendered.prompts[i],
                target=rendered.targets[i],
                input_ids=rendered.input_ids[i],
                loss_mask=_mask(rendered.prompt_len[i], len(rendered.input_ids[i])),
                **shared,
                **own,
            )
        )
        for i, own in enumerate(columns)
    ]


def _robot_columns(rows: Rows, rendered: Rendered, labels: Labels) -> list[dict[str, Any]]:
    assert rows.action is not None and rendered.bins is not None
    mask = tuple(d < labels.action_dim for d in range(labels.padded_dim))
    states = [None] * len(rows) if rows.state is None else rows.state.tolist()
    per_row = zip(_padded(rows.action, labels.padded_dim), rendered.bins.tolist(), rows.terminate.tolist(), states, strict=True)
    fixed = {"action_mask": mask, "action_space": labels.action_space, "codec": labels.codec}
    return [fixed | {"action": a, "action_bins": b, "terminate": t, "state": s} for a, b, t, s in per_row]


def _web_columns(rows: Rows) -> list[dict[str, Any]]:
    empty = dict.fromkeys(("action", "action_mask", "action_bins", "terminate", "state", "action_space", "codec"))
    return [empty] * len(rows)


@lru_cache(maxsize=4096)
def _mask(prompt: int, whole: int) -> tuple[int, ...]:
    return (0,) * prompt + (1,) * (whole - prompt)


def _padded(actions: F32, width: int) -> list[list[float]]:
    padding = np.zeros((len(actions), width - actions.shape[1]), np.float32)
    found: list[list[float]] = np.concatenate([actions, padding], axis=1).tolist()
    return found
