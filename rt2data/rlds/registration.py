"""The Python that makes plain datasets known to OpenVLA and Octo: to import beside their code, or to paste into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rt2data.actions.space import ActionSpace
from rt2data.rlds.plan import DatasetPlan
from rt2data.rlds.skins import turned, wrists

FILE = "register_rlds.py"

Lines = Callable[[DatasetPlan, str], list[str]]

_OPENVLA = {7: "EEF_POS", 10: "EEF_R6"}
_OCTO = {7: "EEF_POS", 8: "JOINT_POS", 14: "JOINT_POS_BIMANUAL", 2: "NAV_2D"}

_HEAD = '''"""Make these datasets known to OpenVLA or Octo.

With this file on the Python path of a training script, call, before it loads data,

    import register_rlds; register_rlds.openvla()     # or .octo()

or paste the entries and functions into their oxe/configs.py and oxe/transforms.py.
"""

import tensorflow as tf
'''

_OPENVLA_HEAD = """

def openvla():
    from prismatic.vla.datasets.rlds.oxe.configs import OXE_DATASET_CONFIGS, ActionEncoding, StateEncoding
    from prismatic.vla.datasets.rlds.oxe.transforms import OXE_STANDARDIZATION_TRANSFORMS
"""

_OCTO_HEAD = """

def octo():
    from octo.data.oxe.oxe_dataset_configs import OXE_DATASET_CONFIGS, ActionEncoding, ProprioEncoding
    from octo.data.oxe.oxe_standardization_transforms import OXE_STANDARDIZATION_TRANSFORMS
"""


def registration(datasets: Sequence[DatasetPlan], spaces: Mapping[str, ActionSpace]) -> str | None:
    """The file's text, for the robot datasets whose names these loaders do not know; None where there are none.

    `spaces` are the action spaces by source, sized.
    """
    plain = [d for d in datasets if d.kind == "robot" and d.skin == "plain"]
    if not plain:
        return None
    parts = [_HEAD, *(_transform(d, spaces[d.source]) for d in plain)]
    parts += [_OPENVLA_HEAD, *(_entry(d, _OPENVLA.get(d.action_dim), _openvla_entry) for d in plain)]
    parts += [_OCTO_HEAD, *(_entry(d, _OCTO.get(d.action_dim), _octo_entry) for d in plain)]
    return "".join(parts)


def _transform(dataset: DatasetPlan, space: ActionSpace) -> str:
    """The identity, but for the gripper, which both loaders want as 1 open, 0 closed, and the state's other name."""
    lines = ["", "", f"def {dataset.dataset}_transform(trajectory):"]
    if space.dims:
        lines.append(f"    # {', '.join(space.names)}")
    grip = turned(space, 1.0, 0.0)
    if grip is not None:
        at = grip.dim
        lines += [
            '    action = trajectory["action"]',
            f"    gripper = action[:, {at}:{at + 1}] * {grip.slope!r} + {grip.offset!r}  # 1 open, 0 closed",
            f'    trajectory["action"] = tf.concat([action[:, :{at}], gripper, action[:, {at + 1}:]], axis=1)',
        ]
    if dataset.state_dim:
        lines.append('    trajectory["observation"]["proprio"] = trajectory["observation"]["state"]')
    return "\n".join([*lines, "    return trajectory", ""])


def _entry(dataset: DatasetPlan, encoding: str | None, lines_of: Lines) -> str:
    if encoding is None:
        return f"    # {dataset.dataset}: no encoding of {dataset.action_dim} numbers is known there; add one to load it\n"
    body = "".join(f"        {line},\n" for line in lines_of(dataset, encoding))
    name = dataset.dataset
    return (
        f'    OXE_DATASET_CONFIGS["{name}"] = {{\n{body}    }}\n    OXE_STANDARDIZATION_TRANSFORMS["{name}"] = {name}_transform\n'
    )


def _openvla_entry(dataset: DatasetPlan, encoding: str) -> list[str]:
    state = ['"state_obs_keys": ["state"]', '"state_encoding": StateEncoding.POS_EULER']
    none = ['"state_obs_keys": [None]', '"state_encoding": StateEncoding.NONE']
    return [*_views(dataset), *(state if dataset.state_dim else none), f'"action_encoding": ActionEncoding.{encoding}']


def _octo_entry(dataset: DatasetPlan, encoding: str) -> list[str]:
    state = "POS_EULER" if dataset.state_dim else "NONE"
    return [
        *_views(dataset),
        f'"proprio_encoding": ProprioEncoding.{state}',
        f'"action_encoding": ActionEncoding.{encoding}',
    ]


def _views(dataset: DatasetPlan) -> list[str]:
    """The mixture's camera is the primary one."""
    first, *others = [picture.feature for picture in dataset.pictures]
    wrist = next(iter(wrists(others)), None)
    second = next((other for other in others if other != wrist), None)
    views = ", ".join(
        f'"{view}": {_quoted(feature)}' for view, feature in (("primary", first), ("secondary", second), ("wrist", wrist))
    )
    return [f'"image_obs_keys": {{{views}}}', '"depth_obs_keys": {"primary": None, "secondary": None, "wrist": None}']


def _quoted(feature: str | None) -> str:
    return "None" if feature is None else f'"{feature}"'
