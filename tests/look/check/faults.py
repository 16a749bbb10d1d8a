"""Faults of convention, seeded into episodes that are right: each is a function from the Steps of all episodes to changed ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image as Picture

from rt2data.look.check.commands import factor
from rt2data.read.action_space import ActionSpace
from rt2data.records import Image, Step

Steps = list[Step]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault, and the check that must name it."""

    kind: str
    check: str
    change: Callable[[list[Steps], ActionSpace], list[Steps]]
    space: Callable[[ActionSpace], ActionSpace] = lambda space: space
    detail: str = ""  # what the finding must say


def with_actions(steps: Steps, action: Any) -> Steps:
    return [replace(step, action=np.asarray(row, np.float32)) for step, row in zip(steps, action, strict=True)]


def with_states(steps: Steps, state: Any) -> Steps:
    return [replace(step, state=np.asarray(row, np.float32)) for step, row in zip(steps, state, strict=True)]


def actions(steps: Steps) -> Any:
    return np.stack([step.action for step in steps]).astype(np.float64)


def states(steps: Steps) -> Any:
    return np.stack([step.state for step in steps if step.state is not None]).astype(np.float64)


def arm(space: ActionSpace) -> list[int]:
    return [i for i, dim in enumerate(space.dims) if not dim.grips and not dim.ends]


def by_action(change: Callable[[Any, Any, ActionSpace], Any]) -> Callable[[list[Steps], ActionSpace], list[Steps]]:
    """Of every episode: new actions [T, D] from actions, states [T, S] and the space."""
    return lambda found, space: [with_actions(each, change(actions(each), states(each), space)) for each in found]


def pixels(data: Any) -> Pixels:
    return data if isinstance(data, np.ndarray) else np.asarray(Picture.open(io.BytesIO(data)).convert("RGB"))


def by_image(change: Callable[[Pixels], Pixels]) -> Callable[[Steps], Steps]:
    """Of every image of an episode."""
    return lambda steps: [
        replace(step, images=tuple(Image(each.camera, np.ascontiguousarray(change(pixels(each.data)))) for each in step.images))
        for step in steps
    ]


def with_images_of(steps: Steps, at: Sequence[int]) -> Steps:
    """Each step with the images of another."""
    return [replace(step, images=steps[other].images) for step, other in zip(steps, at, strict=True)]


# Actions


def flipped_gripper(action: Any, state: Any, space: ActionSpace) -> Any:
    if not space.grippers:
        raise IndexError("no gripper")
    for i in space.grippers:
        dim = space.dims[i]
        assert dim.open is not None and dim.closed is not None
        action[:, i] = dim.open + dim.closed - action[:, i]
    return action


def made_absolute(action: Any, state: Any, space: ActionSpace) -> Any:
    """The state that each action leads to, where the state has the same numbers."""
    nexts = np.vstack([state[1:], state[-1:]])
    for i in arm(space):
        action[:, i] = nexts[:, i]
    return action


def made_delta(action: Any, state: Any, space: ActionSpace) -> Any:
    """How far each action goes from where the robot is."""
    for i in arm(space):
        action[:, i] = action[:, i] - state[:, i]
    return action


def scaled(by: float, kind: str) -> Callable[[Any, Any, ActionSpace], Any]:
    """The dimensions of a kind of unit by a factor. Raises IndexError where there are none."""

    def change(action: Any, state: Any, space: ActionSpace) -> Any:
        found = [i for i in arm(space) if (factor(space.dims[i]) or ("",))[0] == kind]
        if not found:
            raise IndexError(f"no dimension in {kind}")
        action[:, found] *= by
        return action

    return change


def shifted(by: int) -> Callable[[Any, Any, ActionSpace], Any]:
    """Action t is the one that was recorded `by` steps earlier; at the ends the nearest."""
    return lambda action, state, space: action[np.clip(np.arange(len(action)) - by, 0, len(action) - 1)]


def lively(found: list[Steps], space: ActionSpace) -> list[int]:
    """The dimensions that move the robot, the one that moves most first."""
    spread = np.concatenate([actions(each) for each in found]).std(axis=0)
    return sorted(arm(space), key=lambda i: -spread[i])


def exchanged(a: int, b: int) -> Callable[[Any, Any, ActionSpace], Any]:
    def change(action: Any, state: Any, space: ActionSpace) -> Any:
        action[:, [a, b]] = action[:, [b, a]]
        return action

    return change


def negated(i: int) -> Callable[[Any, Any, ActionSpace], Any]:
    def change(action: Any, state: Any, space: ActionSpace) -> Any:
        action[:, i] = -action[:, i]
        return action

    return change


def frozen(i: int) -> Callable[[Any, Any, ActionSpace], Any]:
    def change(action: Any, state: Any, space: ActionSpace) -> Any:
        action[:, i] = action[0, i]
        return action

    return change


def swapped_axes(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """The two liveliest dimensions exchanged."""
    return by_action(exchanged(*lively(found, space)[:2]))(found, space)


def negated_axis(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """The second liveliest dimension with its sign turned."""
    return by_action(negated(lively(found, space)[1]))(found, space)


def frozen_dimension(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """The third liveliest dimension at what it is first, in every episode."""
    return by_action(frozen(lively(found, space)[2]))(found, space)


def is_absolute(space: ActionSpace) -> bool:
    return (space.control_mode or "").startswith("absolute")


def absolute_for_delta(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """Positions, under a name that says displacements."""
    return found if is_absolute(space) else by_action(made_absolute)(found, space)


def delta_for_absolute(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """Displacements, under a name that says positions."""
    return by_action(made_delta)(found, space) if is_absolute(space) else found


def wrapped_yaw(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """Every other episode turns through pi: its yaw starts near pi, wraps, and actions are plain differences of it."""
    yaw = 5
    if is_absolute(space) or space.dims[yaw].unit != "rad":
        raise IndexError("no displacement of an angle")
    return [_wrapped(each, yaw) if number % 2 else each for number, each in enumerate(found)]


def _wrapped(steps: Steps, yaw: int) -> Steps:
    action, state = actions(steps), states(steps)
    way = np.cumsum(action[:, yaw])
    middle = way[len(way) // 2]
    angle = state[:, yaw] - state[0, yaw] + np.pi - middle / 2
    turned = (angle + np.pi) % (2 * np.pi) - np.pi
    jumps = np.diff(turned, append=turned[-1:])
    far = np.abs(jumps) > np.pi
    action[far, yaw] = jumps[far]
    state[:, yaw] = turned
    return with_states(with_actions(steps, action), state)


# Images


def all_episodes(change: Callable[[Steps], Steps]) -> Callable[[list[Steps], ActionSpace], list[Steps]]:
    return lambda found, space: [change(each) for each in found]


def one_episode(change: Callable[[Steps], Steps], which: int = 3) -> Callable[[list[Steps], ActionSpace], list[Steps]]:
    return lambda found, space: [*found[:which], change(found[which]), *found[which + 1 :]]


def late(steps: Steps, by: int = 1) -> Steps:
    """Images of the step before (or, with -1, behind)."""
    return with_images_of(steps, np.clip(np.arange(len(steps)) - by, 0, len(steps) - 1).tolist())


def held(steps: Steps) -> Steps:
    """A camera at half the rate: every second image is that of the step before."""
    return with_images_of(steps, [at - at % 2 for at in range(len(steps))])


def stuck(steps: Steps) -> Steps:
    """A camera that froze at the start."""
    return with_images_of(steps, [0] * len(steps))


# Words, times, episodes


def blank(steps: Steps) -> Steps:
    return [replace(step, instruction="") for step in steps]


def timed(hz: float) -> Callable[[Steps], Steps]:
    return lambda steps: [replace(step, timestamp=step.step / hz) for step in steps]


def duplicated(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """The first episode once more, under another name."""
    return [*found, [replace(step, episode=f"{step.episode}-again") for step in found[0]]]


def nearly_duplicated(found: list[Steps], space: ActionSpace) -> list[Steps]:
    """The same with the noise of a second encoding."""
    rng = np.random.default_rng(0)
    action = actions(found[0])
    noise = rng.normal(0, 1e-3, action.shape) * action.std(axis=0)
    return [*found, [replace(step, episode=f"{step.episode}-again") for step in with_actions(found[0], action + noise)]]


def mode(name: str) -> Callable[[ActionSpace], ActionSpace]:
    return lambda space: replace(space, control_mode=name, title="", frame="")  # type: ignore[arg-type]


DEGREES, MILLIMETRES = 180 / np.pi, 1000.0

FAULTS: tuple[Fault, ...] = (
    Fault("gripper flipped", "gripper_sign", by_action(flipped_gripper)),
    Fault("absolute declared as delta", "delta", absolute_for_delta, mode("delta_eef")),
    Fault("delta declared as absolute", "delta", delta_for_absolute, mode("absolute_eef")),
    Fault("degrees as radians", "units", by_action(scaled(DEGREES, "rad"))),
    Fault("millimetres as metres", "units", by_action(scaled(MILLIMETRES, "m"))),
    Fault("actions one step late", "lag", by_action(shifted(1))),
    Fault("actions one step early", "lag", by_action(shifted(-1))),
    Fault("axes swapped", "axes", swapped_axes),
    Fault("axis negated", "sign", negated_axis),
    Fault("yaw wraps", "wrap", wrapped_yaw),
    Fault("dimension frozen", "dimensions", frozen_dimension),
    Fault("wrong rate", "rate", all_episodes(timed(25.0))),
    Fault("BGR, all", "channels", all_episodes(by_image(lambda image: image[:, :, ::-1]))),
    Fault("BGR, one episode", "channels", one_episode(by_image(lambda image: image[:, :, ::-1]))),
    Fault("turned, one episode", "upright", one_episode(by_image(lambda image: image[::-1, ::-1]))),
    Fault("turned, all", "up", all_episodes(by_image(lambda image: image[::-1, ::-1]))),
    Fault("images one step late", "image_lag", all_episodes(late)),
    Fault("images one step early", "image_lag", all_episodes(lambda steps: late(steps, -1))),
    Fault("images held for two steps", "stale", all_episodes(held)),
    Fault("images frozen", "stale", all_episodes(stuck)),
    Fault("episode twice", "duplicates", duplicated),
    Fault("episode nearly twice", "duplicates", nearly_duplicated),
    Fault("instructions blank", "language", all_episodes(blank)),
)
