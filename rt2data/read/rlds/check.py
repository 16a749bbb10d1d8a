"""An RLDS source's settings against the features and splits of its dataset: every misfit at once, and nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rt2data.errors import UsageError
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.words import closest
from rt2data.read.action_space import load_space
from rt2data.read.misfits import Misfit
from rt2data.read.rlds.layout import (
    Wanted,
    find_leaf,
    guess_action,
    holds_encoded,
    holds_frames,
    holds_numbers,
    holds_words,
    listed,
    nearest_leaf,
)

Fits = Callable[[Leaf], bool]


def split_misfits(wanted: Sequence[str], known: Sequence[str]) -> Iterator[Misfit]:
    """Splits that are not there."""
    for number, name in enumerate(wanted):
        if name not in known:
            setting: tuple[str | int, ...] = ("splits", number) if len(wanted) > 1 else ("splits",)
            yield Misfit(setting, f"there is no split {name!r}: there is {', '.join(known)}", closest(name, known))


def feature_misfits(leaves: Sequence[Leaf], wanted: Wanted, seen: Mapping[str, Leaf], camera: str | None) -> Iterator[Misfit]:
    """Features that are not there or hold something else. `seen` are the cameras where none are named."""
    if not any(leaf.per_step for leaf in leaves):
        yield Misfit(("path",), f"is no RLDS dataset: it has no `steps`, {listed(leaves)}")
        return
    for key, paths in (("action", wanted.action or ("action",)), ("state", wanted.state or ())):
        for number, path in enumerate(paths):
            setting: tuple[str | int, ...] = (key, number) if len(paths) > 1 else (key,)
            yield from _misfit(leaves, setting, path, holds_numbers, "numbers of a fixed shape in every step")
    if wanted.instruction is not None:
        yield from _misfit(leaves, ("instruction",), wanted.instruction, holds_words, "words")
    if wanted.success is not None:
        yield from _misfit(leaves, ("success",), wanted.success, holds_numbers, "a number or a flag")
    for name, path in (wanted.cameras or {}).items():
        yield from _misfit(leaves, ("cameras", name), path, lambda leaf: holds_encoded(leaf) or holds_frames(leaf), "8-bit images")
    yield from _camera(list(seen if wanted.cameras is None else wanted.cameras), camera, leaves)


def _camera(names: list[str], camera: str | None, leaves: Sequence[Leaf]) -> Iterator[Misfit]:
    if not names:
        yield Misfit(("cameras",), f"there are no images under steps/observation: name them, {listed(leaves)}")
    elif camera is not None and camera not in names:
        near = closest(camera, names) or closest(camera.rpartition("/")[2], names)
        yield Misfit(("camera",), f"there is no camera {camera!r}: there is {', '.join(names)}", near)


def _misfit(leaves: Sequence[Leaf], setting: tuple[str | int, ...], path: str, fits: Fits, what: str) -> Iterator[Misfit]:
    try:
        leaf = find_leaf(leaves, path)
    except UsageError as error:
        near = nearest_leaf(leaves, path)
        yield Misfit(setting, error.what if near else f"{error.what}: {error.where} {error.do}".rstrip(), near)
        return
    if not fits(leaf):
        yield Misfit(setting, f"the feature does not hold {what}: {leaf}")


def width_misfits(leaves: Sequence[Leaf], action: Sequence[str] | None, space: str) -> Iterator[Misfit]:
    """An action space of another size than the action, where both are known."""
    try:
        widths = [find_leaf(leaves, path).width for path in action or guess_action(leaves)]
        size = load_space(space).size
    except UsageError:
        return  # told already
    width = sum(each or 0 for each in widths)
    if size is not None and widths and None not in widths and width != size:
        yield Misfit(("action_space",), f"{space} has {size} numbers, and the action {width}")
