"""Which features of an RLDS dataset are action, state, instruction and cameras: those named in the recipe, or the usual ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rt2data.errors import UsageError
from rt2data.io.tfrecord.columns import number_type
from rt2data.io.tfrecord.features import STEPS, Leaf
from rt2data.io.words import closest
from rt2data.read.conversions import Rule
from rt2data.read.features import Constant, Part, parse_column
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import invalid_size

INSTRUCTIONS = (
    "language_instruction",  # Bridge, DROID, LIBERO
    "observation/natural_language_instruction",  # Google Robot and most of Open X
    "observation/instruction",  # Language-Table: int32[512]
    "observation/language_instruction",
    "natural_language_instruction",
    "instruction",
)
"""Where to look for instructions, in this order."""
FLAGS = ("is_first", "is_last", "is_terminal")
SUCCESS = (
    f"{STEPS}/success",
    f"{STEPS}/is_success",
    "episode_metadata/success",
    "success",  # Kuka
    "aspects/success",  # Google Robot, if aspects/has_aspects is set
)
"""Where to look for success marks, in this order."""
REWARD = f"{STEPS}/reward"
NUMBER = "episode_metadata/episode_id"
"""The number of an episode in its original file."""
ORIGIN = ("episode_metadata/recording_folderpath", "episode_metadata/file_path")
"""Where an episode was recorded: the second, or both, joined as openpi does for DROID."""

_LISTED = 24
_SMALLEST = 16
"""Pixels: a uint8 tensor with a shorter side is not taken for an image."""


@dataclass(frozen=True, slots=True)
class LeafRange:
    """A range of the numbers per step in a leaf."""

    leaf: Leaf
    start: int
    stop: int | None  # exclusive; negative bounds count from the end

    @property
    def width(self) -> int:
        return len(range(self.leaf.width or 0)[self.start : self.stop])


Numbers = Leaf | LeafRange | Constant


@dataclass(frozen=True, slots=True)
class Layout:
    """The leaves an episode is read from. The columns of `action` (and of `state`) are concatenated in order."""

    action: tuple[Numbers, ...]
    state: tuple[Numbers, ...]
    instruction: Leaf | None
    cameras: Mapping[str, Leaf]
    flags: Mapping[str, Leaf]  # those of is_first, is_last, is_terminal that exist
    success: Leaf | None = None
    labelled: Leaf | None = None  # `success` is valid only if this flag is set
    reward: Leaf | None = None
    origin: tuple[Leaf, ...] = field(default=(), repr=False)  # `repr` is part of unit names, which must not change
    number: Leaf | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class WantedFeatures:
    """The features named in the recipe; None for those to be guessed. Paths are relative to `steps`, or to the root."""

    action: tuple[str, ...] | None = None
    state: tuple[str, ...] | None = None
    instruction: str | None = None
    cameras: Mapping[str, str] | None = None
    success: str | None = None
    camera_setting: str = "camera_features"  # the setting that gives `cameras`


def choose_layout(leaves: Sequence[Leaf], wanted: WantedFeatures, seen: Mapping[str, Leaf]) -> Layout:
    """The layout of a dataset with these leaves. `seen` are the cameras to read if none are named.

    Raises UsageError, listing what exists, if a named feature is missing or has the wrong type, or nothing can be guessed.
    """
    if not any(leaf.per_step for leaf in leaves):
        raise UsageError("not an RLDS dataset: it has no `steps`", listed(leaves))
    cameras = seen if wanted.cameras is None else _named_cameras(leaves, wanted.cameras)
    if not cameras:
        raise UsageError("there are no images under steps/observation", listed(leaves), "name them as `camera_features`")
    return Layout(
        action=tuple(_numbers(leaves, path) for path in wanted.action or ("action",)),
        state=tuple(_numbers(leaves, path) for path in (guess_state(leaves) if wanted.state is None else wanted.state)),
        instruction=_words(leaves, wanted.instruction) if wanted.instruction else guess_instruction(leaves),
        cameras=cameras,
        flags=_flags(leaves),
        success=_success(leaves, wanted.success),
        labelled=_number_leaf(leaves, "aspects/has_aspects"),
        reward=_number_leaf(leaves, REWARD),
        origin=find_origin(leaves),
        number=next((leaf for leaf in leaves if leaf.key == NUMBER and leaf.kind in ("text", "scalar")), None),
    )


# Guesses


def guess_action(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """`action` if it is a single tensor. The parts of a dict have no order and must be named."""
    return tuple(leaf.path for leaf in leaves if leaf.key == f"{STEPS}/action" and holds_numbers(leaf))


def guess_state(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """`observation/state` if it is a single tensor."""
    return tuple(leaf.path for leaf in leaves if leaf.key == f"{STEPS}/observation/state" and holds_numbers(leaf))


def guess_instruction(leaves: Sequence[Leaf]) -> Leaf | None:
    """The first of the usual places that has text."""
    by_key = {leaf.key: leaf for leaf in leaves}
    found = (by_key.get(f"{STEPS}/{path}") for path in INSTRUCTIONS)
    return next((leaf for leaf in found if leaf is not None and holds_words(leaf)), None)


def guess_cameras(leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    """Every 8-bit image under steps/observation, by its last name; otherwise every uint8 tensor with the shape of an image.

    Grey images, often depth, count only if there is no colour image.
    """
    seen = [leaf for leaf in leaves if leaf.key.startswith(f"{STEPS}/observation/")]
    images = [leaf for leaf in seen if leaf.kind == "image" and leaf.dtype == "uint8"]
    found = images or [leaf for leaf in seen if holds_frames(leaf)]
    return name_cameras([leaf for leaf in found if leaf.shape[-1:] != (1,)] or found)


def name_cameras(leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    """Cameras named by the last part of their path, or by everything after steps/observation if that is not unique."""
    names = [leaf.name for leaf in leaves]
    if len(set(names)) < len(names):
        names = [leaf.path.removeprefix("observation/").replace("/", "_") for leaf in leaves]
    return dict(zip(names, leaves, strict=True))


def find_origin(leaves: Sequence[Leaf]) -> tuple[Leaf, ...]:
    """The leaves that say where an episode was recorded; empty if there is no file_path."""
    found = tuple(leaf for key in ORIGIN for leaf in leaves if leaf.key == key and leaf.kind == "text")
    return found if found and found[-1].key == ORIGIN[-1] else ()


# What a leaf can be


def holds_numbers(leaf: Leaf) -> bool:
    """Whether it has a fixed number of numbers per step."""
    try:
        number_type(leaf)
    except TypeError:
        return False
    return leaf.per_step and bool(leaf.width)


def is_one_hot(leaf: Leaf) -> bool:
    """Whether a leaf is Google Robot's mode: int32[3], one of terminate, arm, base. It is read as one number."""
    return leaf.name == "terminate_episode" and leaf.shape == (3,) and holds_numbers(leaf) and number_type(leaf).kind in "iu"


def holds_words(leaf: Leaf) -> bool:
    """Whether a leaf is a string, or integers that are the bytes of one."""
    return leaf.kind == "text" or (holds_numbers(leaf) and len(leaf.shape) == 1 and number_type(leaf).kind in "iu")


def holds_encoded(leaf: Leaf) -> bool:
    """Whether a leaf has images as file bytes: an Image, a string, or a uint8 tensor of any length stored as bytes."""
    as_bytes = leaf.dtype == "uint8" and leaf.shape == (None,) and leaf.encoding == "bytes"
    return leaf.per_step and (leaf.kind == "text" or (leaf.kind == "image" and leaf.dtype == "uint8") or as_bytes)


def holds_frames(leaf: Leaf) -> bool:
    """Whether a leaf has raw images: uint8[height, width, 1, 3 or 4]."""
    if leaf.kind != "tensor" or leaf.dtype != "uint8" or len(leaf.shape) != 3 or not leaf.width:
        return False
    return leaf.per_step and min(size or 0 for size in leaf.shape[:2]) >= _SMALLEST and leaf.shape[2] in (1, 3, 4)


# What the recipe names


def _named_cameras(leaves: Sequence[Leaf], cameras: Mapping[str, str]) -> dict[str, Leaf]:
    found = {name: find_leaf(leaves, path) for name, path in cameras.items()}
    for leaf in found.values():
        _require(holds_encoded(leaf) or holds_frames(leaf), leaf, "8-bit images")
    return found


def _numbers(leaves: Sequence[Leaf], text: str) -> Numbers:
    """The leaf, a range of it, or a constant. Raises UsageError."""
    column = parse_column(text)
    if isinstance(column, Constant):
        return column
    leaf = find_leaf(leaves, column.path)
    _require(holds_numbers(leaf), leaf, "numbers of a fixed shape in every step")
    _require(column.fits(leaf.width or 0), leaf, f"the range {column}")
    return leaf if column == Part(column.path) else LeafRange(leaf, column.start, column.stop)


def _words(leaves: Sequence[Leaf], path: str) -> Leaf:
    leaf = find_leaf(leaves, path)
    _require(holds_words(leaf), leaf, "words")
    return leaf


def _flags(leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    found = {name: _number_leaf(leaves, f"{STEPS}/{name}") for name in FLAGS}
    return {name: leaf for name, leaf in found.items() if leaf is not None}


def _success(leaves: Sequence[Leaf], path: str | None) -> Leaf | None:
    """The success mark named in the recipe, or in one of the usual places."""
    if path is None:
        return next((leaf for key in SUCCESS if (leaf := _number_leaf(leaves, key)) is not None), None)
    leaf = find_leaf(leaves, path)
    _require(_is_number(leaf), leaf, "one flag for each step or episode")
    return leaf


def _number_leaf(leaves: Sequence[Leaf], key: str) -> Leaf | None:
    return next((leaf for leaf in leaves if leaf.key == key and _is_number(leaf)), None)


def _is_number(leaf: Leaf) -> bool:
    """Whether a leaf is a single number, per step or per episode."""
    try:
        number_type(leaf)
    except TypeError:
        return False
    return leaf.width == 1


def _require(fits: bool, leaf: Leaf, what: str) -> None:
    if not fits:
        raise UsageError(f"the feature does not hold {what}", str(leaf))


def find_leaf(leaves: Sequence[Leaf], path: str) -> Leaf:
    """The leaf at a path relative to `steps`, or to the root. Raises UsageError, listing what exists, if there is none."""
    by_key = {leaf.key: leaf for leaf in leaves}
    found = by_key.get(f"{STEPS}/{path}") or by_key.get(path)
    if found is not None:
        return found
    parts = [leaf for leaf in leaves if leaf.key.startswith((f"{STEPS}/{path}/", f"{path}/"))]
    if parts:
        raise UsageError(f"`{path}` is a group of features", listed(parts), "name its parts, in order")
    near = nearest_leaf(leaves, path)
    raise UsageError(f"there is no feature `{path}`", listed(leaves), f"did you mean {near}?" if near else "")


def nearest_leaf(leaves: Sequence[Leaf], path: str) -> str:
    """The path of a feature whose path, or last name, is similar to this one; empty if there is none."""
    by_name = {leaf.name: leaf.path for leaf in leaves}
    return closest(path, [leaf.path for leaf in leaves]) or by_name.get(closest(path.rpartition("/")[2], list(by_name)), "")


def listed(leaves: Sequence[Leaf]) -> str:
    """Names of the leaves, up to a bounded number."""
    more = f" and {len(leaves) - _LISTED} more" if len(leaves) > _LISTED else ""
    return "there is " + ", ".join(leaf.path for leaf in leaves[:_LISTED]) + more


# Checks of the settings

Fits = Callable[[Leaf], bool]


def invalid_splits(wanted: Sequence[str], known: Sequence[str]) -> Iterator[InvalidSetting]:
    """Splits that do not exist."""
    for number, name in enumerate(wanted):
        if name not in known:
            setting: tuple[str | int, ...] = ("splits", number) if len(wanted) > 1 else ("splits",)
            yield InvalidSetting(setting, f"there is no split {name!r}: there is {', '.join(known)}", closest(name, known))


def invalid_features(
    leaves: Sequence[Leaf], wanted: WantedFeatures, seen: Mapping[str, Leaf], chosen: Chosen
) -> Iterator[InvalidSetting]:
    """Features that are missing or hold something else. `seen` are the cameras if none are named."""
    if not any(leaf.per_step for leaf in leaves):
        yield InvalidSetting(("path",), f"is no RLDS dataset: it has no `steps`, {listed(leaves)}")
        return
    for key, paths in (("action", wanted.action or ("action",)), ("state", wanted.state or ())):
        for number, path in enumerate(paths):
            setting: tuple[str | int, ...] = (key, number) if len(paths) > 1 else (key,)
            yield from _invalid_numbers(leaves, setting, path)
    if wanted.instruction is not None:
        yield from _invalid_feature(leaves, ("instruction",), wanted.instruction, holds_words, "words")
    if wanted.success is not None:
        yield from _invalid_feature(leaves, ("success",), wanted.success, holds_numbers, "a number or a flag")
    for name, path in (wanted.cameras or {}).items():
        yield from _invalid_feature(
            leaves, (wanted.camera_setting, name), path, lambda leaf: holds_encoded(leaf) or holds_frames(leaf), "8-bit images"
        )
    yield from _cameras(list(seen if wanted.cameras is None else wanted.cameras), chosen, leaves)


def _holds_images(leaf: Leaf) -> bool:
    return holds_encoded(leaf) or holds_frames(leaf)


Chosen = tuple[tuple[str | int, ...], tuple[str, ...]]
"""The setting that names the cameras of the mixture, and their names."""


def _cameras(names: list[str], chosen: Chosen, leaves: Sequence[Leaf]) -> Iterator[InvalidSetting]:
    if not names:
        yield InvalidSetting(("camera_features",), f"there are no images under steps/observation: name them, {listed(leaves)}")
        return
    setting, cameras = chosen
    for number, camera in enumerate(cameras):
        if camera not in names:
            near = closest(camera, names) or closest(camera.rpartition("/")[2], names)
            place = (*setting, number) if setting == ("cameras",) else setting
            yield InvalidSetting(place, f"there is no camera {camera!r}: there is {', '.join(names)}", near)


def _invalid_numbers(leaves: Sequence[Leaf], setting: tuple[str | int, ...], text: str) -> Iterator[InvalidSetting]:
    try:
        column = parse_column(text)
    except UsageError as error:
        yield InvalidSetting(setting, error.what)
        return
    if isinstance(column, Part):
        found = list(_invalid_feature(leaves, setting, column.path, holds_numbers, "numbers of a fixed shape in every step"))
        yield from found or _invalid_feature(
            leaves, setting, column.path, lambda leaf: column.fits(leaf.width or 0), f"the range {column}"
        )


def _invalid_feature(
    leaves: Sequence[Leaf], setting: tuple[str | int, ...], path: str, fits: Fits, what: str
) -> Iterator[InvalidSetting]:
    try:
        leaf = find_leaf(leaves, path)
    except UsageError as error:
        near = nearest_leaf(leaves, path)
        yield InvalidSetting(setting, error.what if near else f"{error.what}: {error.where} {error.do}".rstrip(), near)
        return
    if not fits(leaf):
        yield InvalidSetting(setting, f"the feature does not hold {what}: {leaf}")


def invalid_widths(
    leaves: Sequence[Leaf], action: Sequence[str] | None, space: str, rules: Sequence[Rule] = ()
) -> Iterator[InvalidSetting]:
    """An action space whose size differs from the action after all conversions, if both are known."""
    try:
        widths = [_width(_numbers(leaves, path)) for path in action or guess_action(leaves)]
    except UsageError:
        return  # reported already
    if widths and None not in widths:
        yield from invalid_size(space, sum(each or 0 for each in widths), rules)


def _width(column: Numbers) -> int | None:
    return 1 if isinstance(column, Leaf) and is_one_hot(column) else column.width
