"""The features of the datasets that OpenVLA's tables know: names and shapes of their leaves, and small episodes of such.

They are those of the TFDS catalog, of the data themselves, or as their makers describe them; `GUESSED` are those that nobody here
has seen, with what OpenVLA's transform reads. What is large and read by nothing, such as depth, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.io.tfrecord.features import Leaf

JPEG = b"\xff\xd8\xff\xe0 image\xff\xd9"
Shapes = Mapping[str, Any]
"""Leaves below `steps` by path: a number or a tuple is the shape of float32; else a word of `_leaf`."""

WORDS = {"observation/natural_language_instruction": "string", "observation/natural_language_embedding": 512}
PLAIN = {"language_instruction": "text", "language_embedding": 512, "discount": ()}
GUESSED = {"furniture_bench", "robo_net", "cmu_playing_with_food", "rh20t", "tdroid"}


def _rlds(action: Any, cameras: str, **observation: Any) -> Shapes:
    """What the converter of most external datasets writes."""
    seen = {f"observation/{name}": "image" for name in cameras.split()}
    return {"action": action, **PLAIN, **seen, **{f"observation/{name}": shape for name, shape in observation.items()}}


def _google(cameras: str, action: Mapping[str, Any], **observation: Any) -> Shapes:
    """What Google's converter writes: an action in parts."""
    seen = {f"observation/{name}": "image" for name in cameras.split()}
    parts = {f"action/{name}": shape for name, shape in action.items()}
    return {**parts, **WORDS, **seen, **{f"observation/{name}": shape for name, shape in observation.items()}}


ARM = {"world_vector": 3, "rotation_delta": 3, "terminate_episode": ()}
FULL = {
    "world_vector": 3,
    "rotation_delta": 3,
    "gripper_closedness_action": 1,
    "base_displacement_vector": 2,
    "base_displacement_vertical_rotation": 1,
    "terminate_episode": "mode",
}
DROID_ACTION = {
    "action_dict/cartesian_position": 6,
    "action_dict/cartesian_velocity": 6,
    "action_dict/gripper_position": 1,
    "action_dict/gripper_velocity": 1,
    "action_dict/joint_position": 7,
    "action_dict/joint_velocity": 7,
}
DROID = _rlds(
    7,
    "exterior_image_1_left exterior_image_2_left wrist_image_left",
    cartesian_position=6,
    gripper_position=1,
    joint_position=7,
)
GNM = {
    **_rlds("float64 2", "image", position="float64 2", state="float64 3", yaw="float64 1"),
    "action_angle": "float64 3",
}
LIBERO = _rlds(7, "image wrist_image", state=8, joint_state=7)

LAYOUTS: dict[str, Shapes] = {
    "fractal20220817_data": _google(
        "image", FULL, base_pose_tool_reached=7, gripper_closed=1, gripper_closedness_commanded=1, workspace_bounds=(3, 3)
    ),
    "kuka": {
        **_google("image", FULL, gripper_closed="zlib 1", height_to_bottom="zlib 1", task_id="zlib 1"),
        "observation/clip_function_input/base_pose_tool_reached": "zlib 7",
        "observation/clip_function_input/workspace_bounds": "zlib 3 3",
    },
    "bridge_oxe": _google("image", {**ARM, "open_gripper": "bool"}, state=7),
    "bridge_orig": _rlds(7, "image_0 image_1 image_2 image_3", state=7),
    "taco_play": _google(
        "rgb_gripper rgb_static",
        {"actions": 7, "rel_actions_gripper": 7, "rel_actions_world": 7, "terminate_episode": ()},
        robot_obs=15,
        structured_language_instruction="string",
    ),
    "jaco_play": _google(
        "image image_wrist",
        {"gripper_closedness_action": 1, "terminate_episode": "mode", "world_vector": 3},
        end_effector_cartesian_pos=7,
        end_effector_cartesian_velocity=6,
        joint_pos=8,
    ),
    "berkeley_cable_routing": _google("image top_image wrist225_image wrist45_image", ARM, robot_state=7),
    "roboturk": _google("front_rgb", {**ARM, "gripper_closedness_action": 1}),
    "nyu_door_opening_surprising_effectiveness": _google("image", {**ARM, "gripper_closedness_action": 1}),
    "viola": _google(
        "agentview_rgb eye_in_hand_rgb", {**ARM, "gripper_closedness_action": ()}, ee_states=16, gripper_states=1, joint_states=7
    ),
    "berkeley_autolab_ur5": _google("hand_image image", {**ARM, "gripper_closedness_action": ()}, robot_state=15),
    "toto": _google("image", {**ARM, "open_gripper": "bool"}, state=7),
    "language_table": {
        "action": 2,
        "observation/effector_target_translation": 2,
        "observation/effector_translation": 2,
        "observation/instruction": "bytes 512",
        "observation/rgb": "image",
    },
    "columbia_cairlab_pusht_real": _google("image wrist_image", {**ARM, "gripper_closedness_action": ()}, robot_state=2),
    "stanford_kuka_multimodal_dataset_converted_externally_to_rlds": _rlds(
        4, "image", ee_orientation=4, ee_position=3, ee_vel=3, joint_pos=7, state=8, ee_forces_continuous=(50, 6)
    ),
    "nyu_rot_dataset_converted_externally_to_rlds": _rlds(7, "image", state=7),
    "stanford_hydra_dataset_converted_externally_to_rlds": {**_rlds(7, "image wrist_image", state=27), "is_dense": "bool"},
    "austin_buds_dataset_converted_externally_to_rlds": _rlds(7, "image wrist_image", state=24),
    "nyu_franka_play_dataset_converted_externally_to_rlds": _rlds(15, "image image_additional_view", state=13),
    "maniskill_dataset_converted_externally_to_rlds": _rlds(
        7, "image wrist_image", base_pose=7, state=18, tcp_pose=7, main_camera_intrinsic_cv=(3, 3), depth="depth"
    ),
    "furniture_bench_dataset_converted_externally_to_rlds": _rlds(8, "image wrist_image", state=35, skill_completion=()),
    "cmu_franka_exploration_dataset_converted_externally_to_rlds": {
        **_rlds(8, "highres_image image"),
        "structured_action": 8,
    },
    "ucsd_kitchen_dataset_converted_externally_to_rlds": _rlds(8, "image", state=21),
    "ucsd_pick_and_place_dataset_converted_externally_to_rlds": _rlds(4, "image", state=7),
    "austin_sailor_dataset_converted_externally_to_rlds": _rlds(
        7, "image wrist_image", state=8, state_ee=16, state_gripper=1, state_joint=7
    ),
    "austin_sirius_dataset_converted_externally_to_rlds": {
        **_rlds(7, "image wrist_image", state=8, state_ee=16, state_gripper=1, state_joint=7),
        "action_mode": 1,
        "intv_label": 1,
    },
    "bc_z": {
        **WORDS,
        "action/future/axis_angle_residual": 30,
        "action/future/target_close": "int64 10",
        "action/future/xyz_residual": 30,
        "observation/episode_success": (),
        "observation/image": "image",
        "observation/present/axis_angle": 3,
        "observation/present/sensed_close": 1,
        "observation/present/xyz": 3,
    },
    "utokyo_pr2_opening_fridge_converted_externally_to_rlds": _rlds(8, "image", state=7),
    "utokyo_pr2_tabletop_manipulation_converted_externally_to_rlds": _rlds(8, "image", state=7),
    "utokyo_xarm_pick_and_place_converted_externally_to_rlds": _rlds(
        7, "hand_image image image2", end_effector_pose=6, joint_state=14, joint_trajectory=21
    ),
    "utokyo_xarm_bimanual_converted_externally_to_rlds": _rlds(14, "image", action_l=7, action_r=7, pose_l=6, pose_r=6),
    "robo_net": _rlds(5, "image image1 image2", state=5),
    "berkeley_mvp_converted_externally_to_rlds": _rlds(8, "hand_image", gripper="bool", joint_pos=7, pose=7),
    "berkeley_rpt_converted_externally_to_rlds": _rlds(8, "hand_image", gripper="bool", joint_pos=7),
    "kaist_nonprehensile_converted_externally_to_rlds": _rlds(20, "image", state=21, partial_pointcloud=(512, 3)),
    "stanford_mask_vit_converted_externally_to_rlds": _rlds(
        5, "image", end_effector_pose=5, finger_sensors=1, high_bound=5, low_bound=5, state=15
    ),
    "tokyo_u_lsmo_converted_externally_to_rlds": _rlds(7, "image", state=13),
    "dlr_sara_pour_converted_externally_to_rlds": _rlds(7, "image", state=6),
    "dlr_sara_grid_clamp_converted_externally_to_rlds": _rlds(7, "image", state=12),
    "dlr_edan_shared_control_converted_externally_to_rlds": _rlds(7, "image", state=7),
    "asu_table_top_converted_externally_to_rlds": {
        **_rlds(7, "image", state=7, state_vel=7),
        "action_delta": 7,
        "ground_truth_states/EE": 6,
        "ground_truth_states/cube": 6,
    },
    "stanford_robocook_converted_externally_to_rlds": _rlds(7, "image_1 image_2 image_3 image_4", state=7),
    "imperialcollege_sawyer_wrist_cam": _rlds(8, "image wrist_image", state=1),
    "iamlab_cmu_pickup_insert_converted_externally_to_rlds": _rlds(8, "image wrist_image", state=20),
    "uiuc_d3field": _rlds(3, "image_1 image_2 image_3 image_4", state=(4, 4), depth_1="depth"),
    "utaustin_mutex": _rlds(7, "image wrist_image", state=24),
    "berkeley_fanuc_manipulation": _rlds(6, "image wrist_image", end_effector_state=7, state=13),
    "cmu_playing_with_food": _rlds(9, "finger_vision_1 finger_vision_2 image", state=6),
    "cmu_play_fusion": _rlds(9, "image", state=8),
    "cmu_stretch": _rlds(8, "image", state=4),
    "berkeley_gnm": GNM,
    "droid": {**DROID, **DROID_ACTION, "language_instruction_2": "text", "language_instruction_3": "text"},
    "droid_wipe": {**DROID, **DROID_ACTION},
    "fmb_dataset": _rlds(
        7, "image_side_1 image_side_2 image_wrist_1 image_wrist_2", eef_pose=7, eef_vel=6, joint_pos=7, state_gripper_pose=()
    ),
    "dobbe": _rlds(7, "wrist_image", gripper=1, quat=4, rot=3, state=7, xyz=3),
    "roboset": _rlds(8, "image_left image_right image_top image_wrist", state=8, state_velocity=8),
    "rh20t": {
        **_rlds(0, "image_front image_side_right image_wrist", tcp_base=6, gripper_width=()),
        "action/tcp_base": 6,
        "action/gripper": (),
    },
    "tdroid": _rlds(7, "static_image", cartesian_position=6, gripper_position=1),
    "libero": LIBERO,
}
NAMES: dict[str, str] = {
    **{name: name for name in LAYOUTS if name not in ("berkeley_gnm", "tdroid", "libero")},
    "bridge_dataset": "bridge_orig",
    **dict.fromkeys(("ppgm", "ppgm_static", "ppgm_wrist"), "tdroid"),
    **{f"berkeley_gnm_{place}": "berkeley_gnm" for place in ("recon", "cory_hall", "sac_son")},
    **{
        f"tdroid_{task}": "tdroid"
        for task in (
            *("carrot_in_bowl", "pour_corn_in_pot", "flip_pot_upright"),
            *("move_object_onto_plate", "knock_object_over", "cover_object_with_towel"),
        )
    },
    **{f"libero_{suite}_no_noops": "libero" for suite in ("spatial", "object", "goal", "10")},
}
"""Every name in OpenVLA's tables, and its layout here."""


def leaves(name: str) -> tuple[Leaf, ...]:
    """The leaves of a layout."""
    flags = [Leaf(f"steps/is_{edge}", "scalar", "bool") for edge in ("first", "last", "terminal")]
    found = [_leaf(f"steps/{path}", shape) for path, shape in LAYOUTS[name].items() if shape != 0]
    whole = [Leaf("success", "scalar", "bool")] if name == "kuka" else []
    return (*whole, *flags, Leaf("steps/reward", "scalar", "float32"), *found)


def _leaf(key: str, said: Any) -> Leaf:
    if not isinstance(said, str):
        shape = (said,) if isinstance(said, int) else said
        return Leaf(key, "tensor" if shape else "scalar", "float32", shape)
    word, *sizes = said.split()
    shape = tuple(map(int, sizes))
    match word:
        case "text":
            return Leaf(key, "text", "string")
        case "string":
            return Leaf(key, "text", "string")
        case "image":
            return Leaf(key, "image", "uint8", (128, 128, 3), "jpeg")
        case "depth":
            return Leaf(key, "image", "uint16", (128, 128, 1), "png")
        case "mode":
            return Leaf(key, "tensor", "int32", (3,))
        case "bytes":
            return Leaf(key, "tensor", "int32", shape)
        case "zlib":
            return Leaf(key, "tensor", "float32", shape, "zlib")
    return Leaf(key, "tensor" if shape else "scalar", word, shape)


def episode(name: str, seed: int, steps: int = 9) -> dict[str, Any]:
    """Values by leaf key. Grippers go through open, closed and what is between; quaternions have the length 1."""
    random = np.random.default_rng([seed, *name.encode()])
    made: dict[str, Any] = {leaf.key: _values(leaf, random, steps) for leaf in leaves(name)}
    at = np.arange(steps)
    made |= {"steps/is_first": at == 0, "steps/is_last": at == steps - 1, "steps/is_terminal": at == steps - 1}
    if name == "kuka":
        made["success"] = seed % 2 == 0
    return made


def _values(leaf: Leaf, random: np.random.Generator, steps: int) -> Any:
    if leaf.kind == "image":
        return [JPEG] * steps
    if leaf.kind == "text":
        return [f"Lift the {random.choice(['red', 'blue'])} cup"] * steps
    if leaf.name == "instruction":
        words = np.frombuffer("push the blue cube – now".encode(), np.uint8)
        return np.tile(np.pad(words, (0, 512 - len(words))), (steps, 1)).astype(np.int32)
    if leaf.name == "terminate_episode" and leaf.shape:
        return np.tile([0, 1, 0], (steps, 1))
    if leaf.dtype in ("bool", "int64"):
        return random.integers(0, 2, (steps, *leaf.shape))
    return _numbers(leaf, random.normal(0, 1, (steps, *leaf.shape)).astype(np.float32), random)


GRIPS = np.float32([-1, -0.5, -0.04, 0, 0.03, 0.3, 0.7, 0.97, 1])


def _numbers(leaf: Leaf, values: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Grippers where they are the last number of an action, or all of it; quaternions behind three numbers."""
    grips = random.choice(GRIPS, values.shape)
    if "gripper" in leaf.name:
        return grips
    if not (leaf.name.startswith("action") or "rel_actions" in leaf.name):
        return values
    values[..., -1] = grips[..., -1]
    if leaf.shape == (15,):
        values[..., -2] = grips[..., -2]
    if leaf.shape in ((8,), (9,)):
        values[..., 3:7] /= np.linalg.norm(values[..., 3:7], axis=-1, keepdims=True)
    return values


def without_sizes(found: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """The same where features.json leaves the sizes of images open."""
    return tuple(replace(leaf, shape=(None, None, leaf.shape[2])) if leaf.kind == "image" else leaf for leaf in found)
