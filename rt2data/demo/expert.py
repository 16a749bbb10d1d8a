"""A scripted expert that does a task: approach, descend, close, lift, move, lower, open, retreat. No physics, 5 steps per second.

Actions are those of BridgeData V2: displacement of the gripper (m), of its roll, pitch and yaw (rad), and the commanded
opening (1 open, 0 closed). For every step, state[t + 1, :6] = state[t, :6] + action[t, :6].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import atan2, ceil, cos, hypot, pi, sin
from random import Random

import numpy as np
from numpy.typing import NDArray

from rt2data.demo.layout import Task, square_turn
from rt2data.demo.scene import F64, WIDEST, GripperPose, Scene, Thing

F32 = NDArray[np.float32]
PACE = 0.034  # metres per step while moving
CARRY = 0.155  # metres: height of the finger tips while moving
CLOSING, OPENING = 0.24, 0.34  # change of the opening per step
DROP = 0.010  # metres that something falls into a bowl
CLOSED_REACH = 0.013  # metres from the center of the tips to the outside of closed fingers

Pose = tuple[float, float, float, float]  # x, y, z, yaw


@dataclass(frozen=True, slots=True)
class Leg:
    """Go to a pose in this many steps, with the fingers commanded open (1) or closed (0). `still`: arrive without tremor."""

    to: Pose
    steps: int
    fingers: int
    still: bool = False


@dataclass(frozen=True, slots=True)
class Episode:
    """Observations and actions of T steps; the image of step t shows `scenes[t]`, before `actions[t]`."""

    task: Task
    scenes: tuple[Scene, ...]
    states: F32  # [T, 7]: x, y, z, roll, pitch, yaw, opening
    actions: F32  # [T, 7]

    def __len__(self) -> int:
        return len(self.scenes)


def perform(task: Task, rng: Random) -> Episode:
    """Do the task. The same task and the same random numbers give the same episode."""
    home: Pose = (rng.uniform(0.20, 0.30), rng.uniform(-0.08, 0.08), rng.uniform(0.14, 0.18), rng.uniform(-0.25, 0.25))
    legs, grasp, release = _push(task, home) if task.family == "push" else _carry(task, home, rng)
    path = _add_tremor(_path(home, legs), legs, rng).astype(np.float32)  # [T + 1, 6]
    fingers = np.repeat([leg.fingers for leg in legs], [leg.steps for leg in legs])  # [T]
    width = 2 * task.target.size.radius / WIDEST if grasp else 0.0  # between the fingers, 0 to 1
    opening = _opening(fingers, rng.uniform(0.9, 1.0), width)
    states = np.concatenate([path, opening[:, None]], axis=1).astype(np.float32)
    actions = np.concatenate([path[1:] - path[:-1], fingers[:, None]], axis=1).astype(np.float32)
    path_of_target = _carried(task, states, grasp, release) if grasp else _pushed(task, states)
    scenes = [_scene(task, thing, state) for thing, state in zip(path_of_target, states, strict=True)]
    return Episode(task, tuple(scenes[:-1]), states[:-1], actions)


def grasp_height(thing: Thing) -> float:
    """How high above its foot a thing is gripped: low, but with the palm above its top. Metres."""
    return max(0.019, thing.size.height - 0.043)


def _carry(task: Task, home: Pose, rng: Random) -> tuple[list[Leg], int, int]:
    """Legs of a pick and place, and the steps of grasp and release."""
    target, goal = task.target, task.goal
    turn = square_turn(target.yaw) if target.shape == "block" else rng.uniform(-0.25, 0.25)
    held, high = target.z + grasp_height(target), CARRY + rng.uniform(0, 0.02)
    set_down = goal.z + grasp_height(goal) + (DROP if task.family == "in" else 0.0)
    to_turn = turn + square_turn(goal.yaw - target.yaw)
    over, down = (target.x, target.y, target.top + 0.055, turn), (target.x, target.y, held, turn)
    lift, across = (target.x, target.y, high, turn), (goal.x, goal.y, high, to_turn)
    lower, away = (goal.x, goal.y, set_down, to_turn), (goal.x - 0.02, goal.y, high, to_turn * 0.5)
    before = [Leg(over, _steps(home, over), 1), Leg(down, 4, 1, still=True), Leg(down, 3, 0, still=True)]
    between = [Leg(lift, 5, 0), Leg(across, _steps(lift, across), 0), Leg(lower, 5, 0, still=True)]
    grasp = sum(leg.steps for leg in before)
    release = grasp + sum(leg.steps for leg in between)
    return [*before, *between, Leg(lower, 2, 1, still=True), Leg(away, 4, 1)], grasp, release


def _push(task: Task, home: Pose) -> tuple[list[Leg], int, int]:
    """Legs of a push with closed fingers; nothing is gripped, so both steps are 0."""
    target, goal = task.target, task.goal
    turn = atan2(goal.y - target.y, goal.x - target.x)
    back = target.size.radius + CLOSED_REACH
    yaw, low = square_turn(turn), 0.020
    x, y = target.x - (back + 0.022) * cos(turn), target.y - (back + 0.022) * sin(turn)
    end_x, end_y = goal.x - back * cos(turn), goal.y - back * sin(turn)
    over, down, end, away = (x, y, 0.11, yaw), (x, y, low, yaw), (end_x, end_y, low, yaw), (end_x - 0.02, end_y, 0.14, yaw * 0.6)
    steps = max(6, ceil(hypot(end_x - x, end_y - y) / 0.014))
    legs = [Leg(over, _steps(home, over), 0), Leg(down, 4, 0), Leg(end, steps, 0, still=True)]
    return [*legs, Leg(end, 2, 0, still=True), Leg(away, 5, 0)], 0, 0


def _steps(start: Pose, end: Pose) -> int:
    return max(4, ceil(float(np.linalg.norm(np.subtract(end, start)[:3])) / PACE))


def _path(home: Pose, legs: Sequence[Leg]) -> F64:
    """float64[T + 1, 6]: each leg with the smoothest start and stop (minimum jerk: 10 s^3 - 15 s^4 + 6 s^5)."""
    points, start = [np.array([home])], np.array(home)
    for leg in legs:
        s = np.arange(1, leg.steps + 1)[:, None] / leg.steps
        points.append(start + (np.array(leg.to) - start) * (10 * s**3 - 15 * s**4 + 6 * s**5))
        start = np.array(leg.to)
    along = np.concatenate(points)
    return np.concatenate([along[:, :3], np.zeros((len(along), 2)), along[:, 3:]], axis=1)


def _add_tremor(path: F64, legs: Sequence[Leg], rng: Random) -> F64:
    """Adds slow waves to every dimension, like a hand tremor, which fade out if a leg ends still."""
    steps = np.arange(len(path))
    calm = np.ones(len(path))
    for end, leg in zip(np.cumsum([leg.steps for leg in legs]), legs, strict=True):
        if leg.still:
            calm *= 1 - np.exp(-(((steps - end) / 2.2) ** 2))
    size = (0.004, 0.004, 0.003, 0.030, 0.030, 0.025)  # metres and radians
    waves = [_wave(steps, rng) * each for each in size]
    return path + calm[:, None] * np.stack(waves, axis=1)


def _wave(steps: NDArray[np.int_], rng: Random) -> F64:
    """Two sines with periods of 7 to 25 steps."""
    periods, starts = [rng.uniform(7, 12), rng.uniform(13, 25)], [rng.uniform(0, 2 * pi) for _ in range(2)]
    found: F64 = sum(np.sin(2 * np.pi * steps / period + start) for period, start in zip(periods, starts, strict=True)) / 1.5
    return found


def _opening(fingers: NDArray[np.int_], first: float, width: float) -> F64:
    """float64[T + 1]: the fingers follow their command and stop at the width of the object between them."""
    found = [first]
    for command in fingers.tolist():
        found.append(min(1.0, found[-1] + OPENING) if command else max(width, found[-1] - CLOSING))
    return np.array(found)


def _carried(task: Task, states: F32, grasp: int, release: int) -> list[Thing]:
    """The target at each state: at its start, then in the gripper, then at the goal."""
    target, (x, y, z, yaw) = task.target, states[grasp, [0, 1, 2, 5]].tolist()
    found = [target] * (grasp + 1)
    for state in states[grasp + 1 : release + 1].tolist():
        turn = state[5] - yaw
        dx, dy = target.x - x, target.y - y
        place = (state[0] + dx * cos(turn) - dy * sin(turn), state[1] + dx * sin(turn) + dy * cos(turn))
        found.append(replace(target, x=place[0], y=place[1], z=state[2] + target.z - z, yaw=target.yaw + turn))
    return found + [task.goal] * (len(states) - release - 1)


def _pushed(task: Task, states: F32) -> list[Thing]:
    """The target at each state: it slides along its line while the closed fingers touch it."""
    target, goal = task.target, task.goal
    way = hypot(goal.x - target.x, goal.y - target.y)
    ux, uy = (goal.x - target.x) / way, (goal.y - target.y) / way
    back = target.size.radius + CLOSED_REACH
    low = states[:, 2] < target.top
    met = (states[:, 0] - target.x) * ux + (states[:, 1] - target.y) * uy + back
    slid = np.maximum.accumulate(np.clip(np.where(low, met, 0), 0, way)).tolist()
    return [goal if way - s < 1e-5 else replace(target, x=target.x + s * ux, y=target.y + s * uy) for s in slid]


def _scene(task: Task, target: Thing, state: F32) -> Scene:
    """The scene with the target and the gripper at one state."""
    x, y, z, roll, pitch, yaw, opening = state.tolist()
    return replace(task.scene, things=(target, *task.scene.things[1:]), gripper=GripperPose(x, y, z, roll, pitch, yaw, opening))
