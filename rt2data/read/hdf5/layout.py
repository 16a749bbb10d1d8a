"""Where the episodes of an HDF5 log are, and what they contain: recognized from structure, or declared in the recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from math import prod
from typing import Any, NamedTuple

from rt2data.errors import UsageError
from rt2data.io.hdf5 import LARGEST, Hdf5Fault, Hdf5File, is_words, require_size, text_of
from rt2data.read.hdf5.films import FILMS, METADATA, films_of, metadata_of
from rt2data.read.hdf5.group import ATTRIBUTE, BESIDE, NAME, Attributes, EpisodeGroup, json_object, plain_member, text_beside
from rt2data.read.hdf5.images import images_in
from rt2data.read.log import Column, Usual
from rt2data.read.source import HELD_OUT

ITSELF = "."
"""In place of a path: the file itself is the episode."""
USUAL = Usual(
    action=(
        ("actions",),  # robomimic, LIBERO, robosuite
        ("action",),  # ALOHA/ACT
        ("action/cartesian_velocity", "action/gripper_position"),  # DROID, as Open X has it
    ),
    state=(
        ("obs/ee_states", "obs/gripper_states"),  # LIBERO: position, axis and angle, both fingers
        ("obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos"),  # robomimic
        ("obs/robot0_proprio",),
        ("observations/qpos",),  # ALOHA/ACT
        ("observation/robot_state/cartesian_position", "observation/robot_state/gripper_position"),  # DROID
        ("obs/state",),
        ("observations/state",),
    ),
    instruction=(
        "language_instruction",
        "instruction",
        "@language_instruction",
        "@instruction",
        "@problem_info.language_instruction",  # LIBERO
        "@task_description",
        "@task",
        "@current_task",  # DROID
        f"{METADATA}current_task",
        BESIDE,
    ),
    success=("success", "is_success", "@success", "@is_success"),
    reward=("rewards", "reward"),
)
TERMINAL = ("dones", "terminals", "is_terminal")
"""Where the end of a task may be marked, by a number above 0 at the last step."""
TIMES: Mapping[str, float] = {
    "timestamp": 1,
    "timestamps": 1,
    "obs/timestamp": 1,
    "obs/timestamps": 1,
    "observations/timestamp": 1,
    "observations/timestamps": 1,
    "observation/timestamp/robot_state/read_start": 1e-3,  # DROID: milliseconds
}
"""Where to look for times, in this order, with their unit in seconds."""
UNMASKED = "unmasked"
"""The split of episodes that are in neither `mask/train` nor `mask/valid`, if a file has these."""
_MASKS = {"valid": HELD_OUT, "train": "train"}
_TRIES = 16  # episodes to try: the first readable one determines the layout
_WIDEST = 1 << 16  # maximum numbers per step: more are an image, a map or a point cloud


class Found(NamedTuple):
    """What a file contains, according to its first readable episode."""

    pattern: str
    columns: tuple[Column, ...]
    layout: str  # its common name
    convention: str = ""  # of images: opengl if they are upside down
    robot: str = ""
    control_hz: float | None = None

    @property
    def has_images(self) -> bool:
        """Whether there are any images."""
        return any(column.holds == "images" for column in self.columns)


# Episodes


def find_pattern(file: Hdf5File, actions: Sequence[str]) -> str | None:
    """The pattern of a file's episodes: in `data`, the whole file, or groups with a common name and a number. None if no action is
    found.
    """
    for pattern in ("data/*", ITSELF):
        if _first_with(file, pattern, actions):
            return pattern
    found = _first_with(file, "*", actions)
    return re.sub(r"[0-9]+", "*", found) if found else None


def _first_with(file: Hdf5File, pattern: str, actions: Sequence[str]) -> str | None:
    """The first episode that has one of the actions."""
    for path in episode_paths(file, pattern)[:_TRIES]:
        episode = EpisodeGroup(file, path)
        try:
            if any(file.find(action, episode.group) is not None for action in actions):
                return path
        except Hdf5Fault:
            continue
    return None


def episode_paths(file: Hdf5File, pattern: str) -> list[str]:
    """The groups that match a pattern, in natural order, including links, which may lead out of the file."""
    found = [""]
    for part in pattern.split("/"):
        if part not in ("", ITSELF):
            found = [f"{path}{name}/" for path in found for name in _matching(file, path, part)]
    return [path.rstrip("/") or ITSELF for path in found]


def _matching(file: Hdf5File, path: str, part: str) -> Iterator[str]:
    group = file.find(path or "/")
    for name in file.names(group):
        if fnmatchcase(name, part) and file.may_be_group(group, name):
            yield name


def splits_of(file: Hdf5File, paths: Sequence[str]) -> list[str]:
    """The split of each episode: from robomimic's masks if there are any, else `train`. Raises Hdf5Fault."""
    masks = {split: _mask(file, name) for name, split in _MASKS.items()}
    if not any(masks.values()):
        return ["train"] * len(paths)
    return [next((split for split, names in masks.items() if path.rpartition("/")[2] in names), UNMASKED) for path in paths]


def _mask(file: Hdf5File, name: str) -> frozenset[str]:
    """The names of the episodes in a mask."""
    dataset = EpisodeGroup(file, ITSELF).dataset(f"mask/{name}")
    if dataset is None:
        return frozenset()
    with file.reading():
        if not is_words(dataset.dtype):
            raise Hdf5Fault("wrong_type", f"{dataset.name} holds {dataset.dtype}, no names of episodes")
        require_size(dataset, LARGEST >> 4)
        return frozenset(map(text_of, dataset[()].reshape(-1).tolist()))


# Columns


def look(file: Hdf5File, pattern: str | None, actions: Sequence[str]) -> Found | None:
    """What a file contains, from the first readable episode; None if there are no episodes. Raises DataError, Hdf5Fault."""
    pattern = pattern or find_pattern(file, actions)
    if pattern is None:
        return None
    paths = episode_paths(file, pattern)
    first = _first_with(file, pattern, actions) or next(iter(paths), None)
    if first is None:
        return None
    episode = EpisodeGroup(file, first)
    known = episode.attributes()
    columns = tuple(_columns(episode, known))
    layout = _layout_name(known, {column.path for column in columns})
    return Found(pattern, columns, layout, str(known.get("macros_image_convention", "")), *_made_with(known))


def _columns(episode: EpisodeGroup, known: Attributes) -> Iterator[Column]:
    """Columns for datasets, attributes, and texts around the file."""
    found = (_column(episode, path, dataset) for path, dataset in episode.datasets())
    yield from (column for column in found if column is not None)
    yield from _attribute_columns(known)
    yield from (Column(f"{FILMS}{camera}", "images", detail="video") for camera in films_of(episode))
    said = metadata_of(episode.file.path)
    yield from (Column(f"{METADATA}{name}", "words", detail="metadata") for name, value in said.items() if isinstance(value, str))
    if text_beside(episode.file.path):
        yield Column(BESIDE, "words", detail="the text file beside it")
    yield Column(NAME, "words", detail="the file's name")


def _column(episode: EpisodeGroup, path: str, dataset: Any) -> Column | None:
    """The column of a dataset; None if a recipe cannot use it."""
    try:
        with episode.file.reading():
            if seen := images_in(dataset):
                return Column(path, "images", detail=seen)
            if is_words(dataset.dtype):
                return Column(path, "words", detail="text")
            width = prod(dataset.shape[1:])
            kind = dataset.dtype.kind in "iufb" and 0 < width <= _WIDEST
            return Column(path, "numbers", width, f"{dataset.dtype}[{width}]") if kind else None
    except Hdf5Fault:
        return None  # reported when it is requested


def _attribute_columns(known: Attributes) -> Iterator[Column]:
    """Columns for attributes of the episode and its parent groups, and for texts in JSON attributes."""
    for name, value in known.items():
        if not isinstance(value, str | bytes):
            yield Column(f"{ATTRIBUTE}{name}", "numbers", 1, "attribute")
        elif members := json_object(value):
            texts = [member for member in members if isinstance(plain_member(value, member), str)]
            yield from (Column(f"{ATTRIBUTE}{name}.{member}", "words", detail="attribute") for member in texts)
        else:
            yield Column(f"{ATTRIBUTE}{name}", "words", detail="attribute")


def _layout_name(known: Attributes, there: Set[str]) -> str:
    """The common name of the layout."""
    if {"bddl_file_name", "problem_info"} & set(known):
        return "LIBERO"
    if "observations/qpos" in there:
        return "ALOHA/ACT"
    if "observation/robot_state/cartesian_position" in there:
        return "DROID"
    if any(path.startswith("obs/") for path in there):
        return "robomimic"
    return "robosuite" if "states" in there and {"env", "env_info"} & set(known) else "HDF5"


def _made_with(known: Attributes) -> tuple[str, float | None]:
    """Robots and steps per second, if given in the arguments of robosuite's environment."""
    arguments = json_object(known.get("env_info")) or json_object(known.get("env_args")).get("env_kwargs")
    if not isinstance(arguments, dict):
        return "", None
    rate, robots = arguments.get("control_freq"), arguments.get("robots") or ""
    control_hz = float(rate) if isinstance(rate, int | float) and rate > 0 else None
    return " ".join(map(str, robots)) if isinstance(robots, list) else str(robots), control_hz


def no_episodes(file: Hdf5File) -> UsageError:
    """The error for a file without recognizable episodes."""
    listed = ", ".join(file.names(file.root)[:12]) or "nothing"
    what = f"no episodes are recognized in it: there is {listed}"
    do = f"name them as `episode_groups` (data/*, or {ITSELF} for the file itself), and the dataset of the `action`"
    return UsageError(what, file.path, do)
