"""Rows of one episode, or of one question, encoded as the features of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.errors import InternalError, UsageError
from rt2data.formats.rlds.dataset import DatasetPlan, GripperMap
from rt2data.io.tfrecord.example import Room, Values
from rt2data.io.tfrecord.features import STEPS
from rt2data.order import I64
from rt2data.records import F32, Rendered, Rows
from rt2data.render.fields import loss_mask
from rt2data.standardize.answers import choose_answer

I32 = NDArray[np.int32]


@dataclass(frozen=True)
class ImageRanges:
    """Byte ranges of the images of one feature, one per row, n rows."""

    file: I32
    offset: NDArray[np.int64]
    length: I32
    xxh3: NDArray[np.uint64]


@dataclass(frozen=True)
class EpisodeBatch:
    """Rows of whole episodes of a dataset, as columns."""

    rows: Rows
    recorded: I32  # length of the episode in the source
    pieces: I64  # each row's piece number within its episode
    images: Mapping[str, ImageRanges]  # by feature key
    rendered: Rendered | None


def image_ranges(images: pa.ListArray, plan: DatasetPlan) -> dict[str, ImageRanges]:
    """Byte ranges of a list column's images, by feature, without earlier steps. Raises InternalError if a row lacks one."""
    flat = images.flatten()
    owner, camera = _owners(images), np.asarray(flat.field("camera").to_pylist(), object)
    own = flat.field("at").to_numpy() == 0
    columns = {name: flat.field(name).to_numpy() for name in ("file", "offset", "length", "xxh3")}
    found = {}
    for image in plan.images:
        here = np.flatnonzero(own & (camera == image.camera))
        if not np.array_equal(owner[here], np.arange(len(images))):
            raise InternalError(f"a row without an image of camera {image.camera}", plan.source)
        found[f"{STEPS}/observation/{image.feature}"] = ImageRanges(**{name: values[here] for name, values in columns.items()})
    return found


def _owners(images: pa.ListArray) -> NDArray[np.int64]:
    """For each image, the index of its row."""
    return np.repeat(np.arange(len(images)), images.value_lengths().to_numpy())


def map_gripper(action: F32, gripper: GripperMap | None) -> F32:
    """Actions f32[n, D] with the loader layout's gripper."""
    if gripper is None:
        return action
    found, values = action.copy(), action[:, gripper.dim].astype(np.float64)
    found[:, gripper.dim] = (values * gripper.slope + gripper.offset).astype(np.float32)
    return found


def pad_state(state: F32 | None, rows: int, width: int) -> F32:
    """States f32[n, width], padded with zeros if a source has fewer dimensions."""
    found = np.zeros((rows, width), np.float32)
    if state is not None:
        found[:, : state.shape[1]] = state
    return found


def episode_features(plan: DatasetPlan, batch: EpisodeBatch, start: int, stop: int) -> dict[str, Values | Room]:
    """Features of the episode in rows start..stop-1 of a batch. Reward is 1 where the task ends, discount is always 1."""
    rows, count = batch.rows, stop - start
    terminal = np.zeros(count, np.int64)
    terminal[-1] = bool(rows.terminate[stop - 1]) or rows.chunks is None
    steps: dict[str, Values | Room] = {
        "discount": np.ones(count, np.float32),
        "is_first": _flag(count, 0),
        "is_last": _flag(count, count - 1),
        "is_terminal": terminal,
        "language_instruction": [text.encode() for text in rows.text[start:stop]],
        "reward": terminal.astype(np.float32) if rows.chunks is not None else np.zeros(count, np.float32),
    }
    steps |= _acted(plan, batch, start, stop) if rows.chunks is not None else _asked(plan, rows, start)
    found = {f"{STEPS}/{name}": values for name, values in steps.items()}
    found |= {key: Room(each.length[start:stop].tolist()) for key, each in batch.images.items()}
    if batch.rendered is not None:
        found |= _tokens(batch.rendered, start, stop)
    return found | _metadata(plan, batch, start)


def _flag(count: int, at: int) -> NDArray[np.int64]:
    flags = np.zeros(count, np.int64)
    flags[at] = 1
    return flags


def _acted(plan: DatasetPlan, batch: EpisodeBatch, start: int, stop: int) -> dict[str, Values | Room]:
    rows = batch.rows
    assert rows.action is not None
    found: dict[str, Values | Room] = {
        "action": map_gripper(rows.action[start:stop], plan.gripper).ravel(),
        "step": rows.steps[start:stop].astype(np.int64),
    }
    if plan.state_dim:
        state = None if rows.state is None else rows.state[start:stop]
        found["observation/state"] = pad_state(state, stop - start, plan.state_dim).ravel()
    return found


def _asked(plan: DatasetPlan, rows: Rows, at: int) -> dict[str, Values | Room]:
    """One question: no action was taken, so the action is zeros and masked out."""
    if rows.turns[at] is not None:
        do = "set its weight to 0, or name robot sources alone"
        raise UsageError("write-rlds writes no conversations", f"source {rows.source}, {rows.keys[at]}", do)
    answer = choose_answer(rows.answers[at], "majority", rows.keys[at], 0, int(rows.picks[at]), 0)
    given = [text.encode() for text in rows.answers[at]]
    found: dict[str, Values | Room] = {"answer": [answer.encode()], **_ragged("answers", [len(given)], given)}
    if plan.action_dim:
        found["action"] = np.zeros(plan.action_dim, np.float32)
        found["action_mask"] = np.zeros(plan.action_dim, np.int64)
    return found


def _ragged(name: str, lengths: Sequence[int], values: Values) -> dict[str, Values | Room]:
    """A sequence inside a step, as TFDS stores it: all values, and their number per step."""
    return {f"{name}/ragged_flat_values": values, f"{name}/ragged_row_lengths_0": np.array(lengths, np.int64)}


def _tokens(rendered: Rendered, start: int, stop: int) -> dict[str, Values | Room]:
    ids, lengths = rendered.input_ids[start:stop], [len(each) for each in rendered.input_ids[start:stop]]
    loss = [np.array(loss_mask(tuple(spans))) for spans in rendered.spans[start:stop]]
    flat = np.fromiter(chain.from_iterable(ids), np.int64, sum(lengths))
    found: dict[str, Values | Room] = {
        "prompt": [text.encode() for text in rendered.prompts[start:stop]],
        "target": [text.encode() for text in rendered.targets[start:stop]],
        **_ragged("input_ids", lengths, flat),
        **_ragged("loss_mask", lengths, np.concatenate(loss).astype(np.int64)),
    }
    if rendered.bins is not None:
        found["action_bins"] = np.array(rendered.bins[start:stop], np.int64).ravel()
    return {f"{STEPS}/{name}": values for name, values in found.items()}


def _metadata(plan: DatasetPlan, batch: EpisodeBatch, at: int) -> dict[str, Values | Room]:
    rows = batch.rows
    robot = rows.chunks is not None
    piece = f"-part{batch.pieces[at]}" if batch.pieces[at] else ""
    found: dict[str, Values | Room] = {
        "episode_id": [f"{rows.groups[at]}{piece}".encode() if robot else rows.keys[at].encode()],
        "source": [plan.source.encode()],
    }
    if robot:
        found["recorded_steps"] = batch.recorded[at : at + 1].astype(np.int64)
    else:
        found["image_id"] = [rows.groups[at].encode()]
    return {f"episode_metadata/{name}": values for name, values in found.items()}
