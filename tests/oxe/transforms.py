"""What OpenVLA makes of each dataset, in plain numpy: its action, its state, its first camera.

Written from what its transforms do, apart from the code under test: loops where that has none, formulas where that asks scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


class Columns:
    """The columns of one episode by path from `steps` on: `c.o("state")` is steps/observation/state as f32[T, n]."""

    def __init__(self, episode: Mapping[str, Any]) -> None:
        self._episode = episode
        self.steps = len(episode["steps/is_first"])

    def __getitem__(self, path: str) -> F32:
        return np.asarray(self._episode[f"steps/{path}"], np.float32).reshape(self.steps, -1)

    def o(self, name: str) -> F32:
        return self[f"observation/{name}"]

    @property
    def a(self) -> F32:
        return self["action"]

    def zeros(self, count: int) -> F32:
        return np.zeros((self.steps, count), np.float32)

    def parts(self, *names: str) -> F32:
        return join(*(self[f"action/{name}"] for name in names))

    @property
    def arm(self) -> F32:
        return self.parts("world_vector", "rotation_delta")

    @property
    def grip(self) -> F32:
        return self.parts("gripper_closedness_action")


class Transform(NamedTuple):
    """How a layout is standardized."""

    camera: str
    action: Callable[[Columns], F32]
    state: Callable[[Columns], F32] | None = None  # None where the table names none
    relabels: bool = False  # the first step is dropped, then the action is what the state does, and the last step is dropped


def join(*parts: F32) -> F32:
    return np.concatenate(parts, axis=1).astype(np.float32)


def clip(values: F32) -> F32:
    return np.minimum(np.maximum(values, 0), 1)


def flip(values: F32) -> F32:
    return np.float32(1) - values


def absolute(changes: F32) -> F32:
    """f32[T, 1]: above 0.1 closes, below -0.1 opens; 1 is open."""
    signs = [1 if c < np.float32(-0.1) else -1 if c > np.float32(0.1) else 0 for c in changes[:, 0]]
    moved = [sign for sign in signs if sign]
    now, found = -moved[0] if moved else 1, []
    for sign in signs:
        now = sign if sign else now
        found.append(now / 2 + 0.5)
    return np.array(found, np.float32)[:, None]


def binary(values: F32) -> F32:
    """f32[T, 1]: what is between open and closed is what follows."""
    carry, found = values[-1, 0], []
    for value in values[::-1, 0]:
        if value > np.float32(0.95):
            carry = np.float32(1)
        elif value < np.float32(0.05):
            carry = np.float32(0)
        found.append(carry)
    return np.array(found[::-1], np.float32)[:, None]


def euler(quaternions: F32) -> F32:
    """f32[T, 4] as x, y, z, w -> roll, pitch, yaw."""
    x, y, z, w = quaternions.astype(np.float64).T
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.stack([roll, pitch, yaw], axis=1).astype(np.float32)


def flipped(c: Columns) -> F32:
    """Six numbers, and a gripper that closes at 1."""
    return join(c.a[:, :6], flip(c.a[:, -1:]))


def clipped(c: Columns) -> F32:
    """The same, where it may be below 0."""
    return join(c.a[:, :6], flip(clip(c.a[:, -1:])))


def recorded(c: Columns) -> F32:
    return c.a


def but_last(c: Columns) -> F32:
    return c.a[:, :-1]


def turned(c: Columns, grip: F32) -> F32:
    return join(c.a[:, :3], euler(c.a[:, 3:7]), grip)


def planar(c: Columns) -> F32:
    """Four numbers in front of two zeros."""
    return join(c.a[:, :4], c.zeros(2), c.a[:, -1:])


def raised(c: Columns) -> F32:
    """A position and a gripper, without rotation."""
    return join(c.a[:, :3], c.zeros(3), c.a[:, -1:])


def pose(c: Columns) -> F32:
    """Six of the state, a gap, its last."""
    return join(c.o("state")[:, :6], c.zeros(1), c.o("state")[:, -1:])


def state(start: int | None, stop: int | None, padding: int = 0) -> Callable[[Columns], F32]:
    return lambda c: join(c.o("state")[:, start:stop], c.zeros(padding))


def named(*names: str, padding: int = 0) -> Callable[[Columns], F32]:
    return lambda c: join(*(c.o(name) for name in names), c.zeros(padding))


def droid(c: Columns) -> F32:
    return join(c["action_dict/cartesian_velocity"], flip(c["action_dict/gripper_position"]))


def tdroid(c: Columns) -> F32:
    return join(c.a[:, :6], binary(c.a[:, -1:]))


def tdroid_state(c: Columns) -> F32:
    return join(c.o("cartesian_position")[:, :6], c.zeros(1), c.o("gripper_position")[:, -1:])


EXTERNAL = "_converted_externally_to_rlds"

TRANSFORMS: dict[str, Transform] = {
    "fractal20220817_data": Transform(
        "image", lambda c: join(c.arm, absolute(c.grip)), named("base_pose_tool_reached", "gripper_closed")
    ),
    "kuka": Transform(
        "image", lambda c: join(c.arm, absolute(c.grip)), named("clip_function_input/base_pose_tool_reached", "gripper_closed")
    ),
    "bridge_oxe": Transform("image", lambda c: join(c.arm, c.parts("open_gripper")), pose, relabels=True),
    "bridge_orig": Transform("image_0", tdroid, pose, relabels=True),
    "taco_play": Transform(
        "rgb_static",
        lambda c: join(c.parts("rel_actions_world")[:, :6], clip(c.parts("rel_actions_world")[:, -1:])),
        lambda c: join(c.o("robot_obs")[:, :6], c.zeros(1), c.o("robot_obs")[:, 7:8]),
    ),
    "jaco_play": Transform(
        "image",
        lambda c: join(c.parts("world_vector"), c.zeros(3), absolute(c.grip)),
        lambda c: join(c.o("end_effector_cartesian_pos")[:, :6], c.zeros(1), c.o("end_effector_cartesian_pos")[:, -1:]),
    ),
    "berkeley_cable_routing": Transform("image", lambda c: join(c.arm, c.zeros(1)), named("robot_state", padding=1)),
    "roboturk": Transform("front_rgb", lambda c: join(c.arm, flip(clip(c.grip)))),
    "nyu_door_opening_surprising_effectiveness": Transform("image", lambda c: join(c.arm, absolute(c.grip))),
    "viola": Transform("agentview_rgb", lambda c: join(c.arm, flip(clip(c.grip))), named("joint_states", "gripper_states")),
    "berkeley_autolab_ur5": Transform("image", lambda c: join(c.arm, absolute(c.grip)), lambda c: c.o("robot_state")[:, 6:14]),
    "toto": Transform("image", lambda c: join(c.arm, c.parts("open_gripper")), named("state", padding=1)),
    "language_table": Transform("rgb", lambda c: join(c.a, c.zeros(4), c.zeros(1) + 1), named("effector_translation", padding=6)),
    "columbia_cairlab_pusht_real": Transform("image", lambda c: join(c.arm, c.grip), named("robot_state", padding=6)),
    f"stanford_kuka_multimodal_dataset{EXTERNAL}": Transform("image", raised, named("ee_position", "ee_orientation", padding=1)),
    f"nyu_rot_dataset{EXTERNAL}": Transform("image", recorded, pose),
    f"stanford_hydra_dataset{EXTERNAL}": Transform(
        "image",
        flipped,
        lambda c: join(c.o("state")[:, :3], c.o("state")[:, 7:10], c.zeros(1), c.o("state")[:, -3:-2]),
    ),
    f"austin_buds_dataset{EXTERNAL}": Transform("image", clipped, state(None, 8)),
    f"nyu_franka_play_dataset{EXTERNAL}": Transform(
        "image", lambda c: join(c.a[:, -8:-2], clip(c.a[:, -2:-1])), state(-6, None, padding=2)
    ),
    f"maniskill_dataset{EXTERNAL}": Transform("image", recorded, lambda c: join(c.o("tcp_pose"), c.o("state")[:, 7:8])),
    f"furniture_bench_dataset{EXTERNAL}": Transform(
        "image",
        lambda c: turned(c, flip(clip(c.a[:, -1:]))),
        lambda c: join(c.o("state")[:, :7], c.o("state")[:, -1:]),
    ),
    f"cmu_franka_exploration_dataset{EXTERNAL}": Transform("highres_image", but_last),
    f"ucsd_kitchen_dataset{EXTERNAL}": Transform("image", but_last, state(None, 7, padding=1)),
    f"ucsd_pick_and_place_dataset{EXTERNAL}": Transform("image", raised, pose),
    f"austin_sailor_dataset{EXTERNAL}": Transform("image", clipped, named("state")),
    f"austin_sirius_dataset{EXTERNAL}": Transform("image", clipped, named("state")),
    "bc_z": Transform(
        "image",
        lambda c: join(
            c.parts("future/xyz_residual")[:, :3],
            c.parts("future/axis_angle_residual")[:, :3],
            flip(c.parts("future/target_close")[:, :1]),
        ),
        lambda c: join(c.o("present/xyz"), c.o("present/axis_angle"), c.zeros(1), c.o("present/sensed_close")),
    ),
    f"utokyo_pr2_opening_fridge{EXTERNAL}": Transform("image", but_last, pose),
    f"utokyo_pr2_tabletop_manipulation{EXTERNAL}": Transform("image", but_last, pose),
    f"utokyo_xarm_pick_and_place{EXTERNAL}": Transform("image", recorded, named("end_effector_pose", padding=2)),
    f"utokyo_xarm_bimanual{EXTERNAL}": Transform("image", lambda c: c.a[:, -7:], named("pose_r", padding=2)),
    "robo_net": Transform("image", planar, lambda c: join(c.o("state")[:, :4], c.zeros(3), c.o("state")[:, -1:])),
    f"berkeley_mvp{EXTERNAL}": Transform("hand_image", recorded, named("pose", "gripper")),
    f"berkeley_rpt{EXTERNAL}": Transform("hand_image", recorded, named("joint_pos", "gripper")),
    f"kaist_nonprehensile{EXTERNAL}": Transform("image", lambda c: join(c.a[:, :6], c.zeros(1)), state(-7, None, padding=1)),
    f"stanford_mask_vit{EXTERNAL}": Transform(
        "image", planar, lambda c: join(c.o("end_effector_pose")[:, :4], c.zeros(3), c.o("end_effector_pose")[:, -1:])
    ),
    f"tokyo_u_lsmo{EXTERNAL}": Transform("image", recorded, pose),
    f"dlr_sara_pour{EXTERNAL}": Transform("image", recorded, named("state", padding=2)),
    f"dlr_sara_grid_clamp{EXTERNAL}": Transform("image", recorded, state(None, 6, padding=2)),
    f"dlr_edan_shared_control{EXTERNAL}": Transform("image", flipped, named("state", padding=1)),
    f"asu_table_top{EXTERNAL}": Transform(
        "image", recorded, lambda c: join(c["ground_truth_states/EE"], c.zeros(1), c.o("state")[:, -1:])
    ),
    f"stanford_robocook{EXTERNAL}": Transform("image_1", recorded, pose),
    "imperialcollege_sawyer_wrist_cam": Transform("image", but_last, lambda c: join(c.zeros(7), c.o("state"))),
    f"iamlab_cmu_pickup_insert{EXTERNAL}": Transform("image", lambda c: turned(c, c.a[:, 7:8]), state(None, 8)),
    "uiuc_d3field": Transform("image_1", lambda c: join(c.a, c.zeros(4))),
    "utaustin_mutex": Transform("image", clipped, state(None, 8)),
    "berkeley_fanuc_manipulation": Transform(
        "image",
        lambda c: join(c.a, flip(c.o("state")[:, 6:7])),
        lambda c: join(c.o("state")[:, :6], c.zeros(1), c.o("state")[:, 6:7]),
    ),
    "cmu_playing_with_food": Transform("image", lambda c: turned(c, c.a[:, -1:]), named("state", padding=2)),
    "cmu_play_fusion": Transform("image", lambda c: join(c.a[:, :3], c.a[:, -4:]), named("state")),
    "cmu_stretch": Transform("image", but_last, lambda c: join(c.o("state")[:, :3], c.zeros(4), c.o("state")[:, -1:])),
    "berkeley_gnm": Transform(
        "image", lambda c: join(c.a, c.zeros(5)), lambda c: join(c.o("position"), c.zeros(3), c.o("yaw"), c.zeros(2))
    ),
    "droid": Transform("exterior_image_1_left", droid, named("cartesian_position", "gripper_position")),
    "droid_wipe": Transform("exterior_image_2_left", droid, named("cartesian_position", "gripper_position")),
    "fmb_dataset": Transform("image_side_1", recorded, named("eef_pose", "state_gripper_pose")),
    "dobbe": Transform("wrist_image", recorded, named("state")),
    "roboset": Transform("image_left", lambda c: join(c.a[:, :7], flip(clip(c.a[:, -1:]))), named("state")),
    "rh20t": Transform("image_front", lambda c: c.parts("tcp_base", "gripper"), named("tcp_base", "gripper_width")),
    "tdroid": Transform("static_image", tdroid, tdroid_state),
    "libero": Transform("image", clipped, lambda c: join(c.o("state")[:, :6], c.zeros(1), c.o("state")[:, -2:])),
}


def standardized(name: str, episode: Mapping[str, Any]) -> tuple[list[int], F32, F32 | None]:
    """The recorded steps that are left, their actions, and their states where the table has any."""
    c, transform = Columns(episode), TRANSFORMS[name]
    kept, action = list(range(c.steps)), transform.action(c)
    states = transform.state(c) if transform.state else None
    if transform.relabels:
        kept, raw = kept[1:-1], c.o("state")
        moved = [[raw[at + 1, i] - raw[at, i] for i in range(6)] for at in kept]
        action = join(np.array(moved, np.float32), action[1:-1, -1:])
        states = None if states is None else states[1:-1]
    return kept, action, states
