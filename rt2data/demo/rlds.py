"""The demo's robot log as an RLDS directory that TensorFlow Datasets reads, written without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from rt2data.demo.expert import Episode, perform
from rt2data.demo.picture import Draw, jpeg
from rt2data.demo.render import PIXELS, render
from rt2data.demo.tasks import FAMILIES, draw_task
from rt2data.io.tfrecord.directory import TEMPLATE, Shard, encode_info, shard_name, write_metadata
from rt2data.io.tfrecord.example import Values, encode_example
from rt2data.io.tfrecord.features import Leaf, encode_features
from rt2data.io.tfrecord.framing import frame

NAME, VERSION = "tabletop_pick", "1.0.0"
DESCRIPTION = "Rendered table-top pick and place by a scripted expert, with the actions of BridgeData V2. Made by rt2data demo."

FEATURES = (
    Leaf("episode_metadata/file_path", "text", "string"),
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/discount", "scalar", "float32"),
    Leaf("steps/is_first", "scalar", "bool"),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/is_terminal", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image", "image", "uint8", (PIXELS, PIXELS, 3), "jpeg"),
    Leaf("steps/observation/state", "tensor", "float32", (7,)),
    Leaf("steps/reward", "scalar", "float32"),
)


def make_episode(seed: int, number: int) -> Episode:
    """Episode `number` of a seed: the same whatever else is made."""
    rng = Random(f"{seed}/episode/{number}")
    return perform(draw_task(rng, FAMILIES[number % len(FAMILIES)]), rng)


def splits(episodes: int) -> dict[str, range]:
    """Which episodes are in which split: about a sixth at the end is for validation."""
    held_out = max(1, round(episodes / 6))
    return {"train": range(episodes - held_out), "val": range(episodes - held_out, episodes)}


def write_robot_log(folder: Path, episodes: int, seed: int, draw: Draw = map) -> int:
    """Write `episodes` episodes into the version directory `folder`, which must exist. Gives the number of steps.

    `draw` maps a function over work orders, in order, as `map` does; it may use other processes.
    """
    orders = [(seed, split, number) for split, numbers in splits(episodes).items() for number in numbers]
    drawn = iter(draw(draw_episode, orders))
    written = {split: list(_write_split(folder, split, numbers, drawn)) for split, numbers in splits(episodes).items()}
    shards = {split: [shard for shard, _ in each] for split, each in written.items()}
    write_metadata(folder, encode_info(NAME, VERSION, shards, DESCRIPTION), encode_features(FEATURES))
    return sum(steps for each in written.values() for _, steps in each)


def draw_episode(order: tuple[int, str, int]) -> tuple[bytes, int]:
    """One episode as a framed record, and its number of steps. The order is seed, split and number."""
    seed, split, number = order
    episode = make_episode(seed, number)
    return frame(encode_example(features_of(episode, f"{NAME}/{split}/episode_{number:05d}"))), len(episode)


def _write_split(
    folder: Path, split: str, numbers: Sequence[int], drawn: Iterator[tuple[bytes, int]]
) -> Iterator[tuple[Shard, int]]:
    """Each shard of a split and its number of steps; two shards where there are two episodes."""
    count = min(2, len(numbers)) if split == "train" else 1
    for index, part in enumerate(np.array_split(np.array(numbers), count)):
        path = folder / shard_name(TEMPLATE, NAME, split, index, count)
        steps = 0
        with path.open("wb") as file:
            for content, count_of_steps in islice(drawn, len(part)):
                file.write(content)
                steps += count_of_steps
        yield Shard(str(path), len(part), path.stat().st_size), steps


def features_of(episode: Episode, file_path: str) -> dict[str, Values]:
    """The episode as the features of one tf.train.Example. Reward 1 and the end of the task come at the last step."""
    length = len(episode)
    first, last = np.zeros(length, np.int64), np.zeros(length, np.int64)
    first[0] = last[-1] = 1
    return {
        "episode_metadata/file_path": [file_path.encode()],
        "steps/action": episode.actions.ravel(),
        "steps/discount": np.ones(length, np.float32),
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/language_instruction": [episode.task.instruction.encode()] * length,
        "steps/observation/image": [jpeg(render(scene)) for scene in episode.scenes],
        "steps/observation/state": episode.states.ravel(),
        "steps/reward": last.astype(np.float32),
    }
