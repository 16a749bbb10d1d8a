"""Python code that registers plain datasets with OpenVLA and Octo: to import next to their code, or paste into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rt2data.formats.rlds.dataset import DatasetPlan
from rt2data.formats.rlds.loader_layouts import OCTO, OPENVLA, KnownEncoding, find_encoding, gripper_map, kept_dims, wrists
from rt2data.read.action_space import ActionSpace

FILE = "register_rlds.py"

Lines = Callable[[DatasetPlan, str], list[str]]
Spaces = Mapping[str, ActionSpace]

_HEAD = '''"""Make these datasets known to OpenVLA or Octo.

With this file on the Python path of a training script, call, before it loads data,

    import register_rlds; register_rlds.{first}()     # {which}

or paste the entries and functions into their oxe/configs.py and oxe/transforms.py.
"""

import tensorflow as tf
'''

_RELATIVE = '''

def absolute_gripper(change):
    """1 open, 0 closed, float32[T, 1], of a gripper's changes, above 0 to open: each holds until the next, and the first ends
    what was before it; a gripper that never moves is open."""
    moves = tf.where(change > 0.1, 1.0, tf.where(change < -0.1, -1.0, 0.0))[:, 0]
    moved = tf.boolean_mask(moves, moves != 0.0)
    start = tf.cond(tf.size(moved) > 0, lambda: -moved[0], lambda: 1.0)
    held = tf.scan(lambda before, now: tf.where(now == 0.0, before, now), moves, start)
    return held[:, None] / 2.0 + 0.5
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


def registration(datasets: Sequence[DatasetPlan], spaces: Spaces) -> str | None:
    """The file's text for robot datasets whose names these loaders do not know; None if none can be registered.

    `spaces` are the sized action spaces by source. A dataset without an encoding is omitted, and a comment says why.
    """
    plain = [d for d in datasets if d.has_actions and d.layout == "plain"]
    loaders = {"openvla": (OPENVLA, _OPENVLA_HEAD, _openvla_entry), "octo": (OCTO, _OCTO_HEAD, _octo_entry)}
    able = {loader: [d for d in plain if find_encoding(spaces[d.source], own[0]).name] for loader, own in loaders.items()}
    known = [d for d in plain if any(d in each for each in able.values())]
    if not known:
        return None
    names = [loader for loader, each in able.items() if each]
    parts = [_HEAD.format(first=names[0], which="or .octo()" if len(names) > 1 else "the only loader with an encoding for them")]
    parts += [_RELATIVE] if any(spaces[d.source].gripper_mode == "relative" for d in known) else []
    parts += [_transform(d, spaces[d.source]) for d in known]
    parts += [_function(plain, spaces, *loaders[loader]) for loader in names]
    return "".join(parts)


def _function(datasets: Sequence[DatasetPlan], spaces: Spaces, table: dict[str, KnownEncoding], head: str, lines_of: Lines) -> str:
    """The function that registers the datasets with one loader."""
    return head + "".join(_entry(d, spaces[d.source], table, lines_of) for d in datasets)


def _transform(dataset: DatasetPlan, space: ActionSpace) -> str:
    """The transform both loaders expect: no terminate, the gripper last as 1 open and 0 closed, state as proprio."""
    names = [space.names[at] for at in kept_dims(space)]
    lines = [
        "",
        "",
        f"def {dataset.dataset}_transform(trajectory):",
        f"    # {', '.join(names)}",
        '    action = trajectory["action"]',
    ]
    if space.terminate is not None:
        lines.append(f"    action = tf.gather(action, {kept_dims(space)}, axis=1)  # without {space.names[space.terminate]}")
    gripper = _gripper(space)
    if gripper is not None:
        lines.append(f"    action = tf.concat([action[:, :-1], {gripper}], axis=1)  # 1 open, 0 closed")
    lines.append('    trajectory["action"] = action')
    if dataset.state_dim:
        lines.append('    trajectory["observation"]["proprio"] = trajectory["observation"]["state"]')
    return "\n".join([*lines, "    return trajectory", ""])


def _gripper(space: ActionSpace) -> str | None:
    """TensorFlow code for the gripper as 1 open, 0 closed; None if it already is."""
    relative = space.gripper_mode == "relative"
    gripper = gripper_map(space, 1.0, -1.0 if relative else 0.0)
    column = "action[:, -1:]" if gripper is None else f"action[:, -1:] * {gripper.slope!r} + {gripper.offset!r}"
    if relative:
        return f"absolute_gripper({column})"
    return None if gripper is None else column


def _entry(dataset: DatasetPlan, space: ActionSpace, table: dict[str, KnownEncoding], lines_of: Lines) -> str:
    encoding, why = find_encoding(space, table)
    if why:
        return f"    # {dataset.dataset} is omitted: {why}\n"
    body = "".join(f"        {line},\n" for line in lines_of(dataset, encoding))
    name = dataset.dataset
    return (
        f'    OXE_DATASET_CONFIGS["{name}"] = {{\n{body}    }}\n    OXE_STANDARDIZATION_TRANSFORMS["{name}"] = {name}_transform\n'
    )


def _openvla_entry(dataset: DatasetPlan, encoding: str) -> list[str]:
    """No state encoding is declared: the meaning of the state is unknown, and the loader does not read the encoding."""
    key = '"state"' if dataset.state_dim else "None"
    state = [f'"state_obs_keys": [{key}]', '"state_encoding": StateEncoding.NONE']
    return [*_views(dataset), *state, f'"action_encoding": ActionEncoding.{encoding}']


def _octo_entry(dataset: DatasetPlan, encoding: str) -> list[str]:
    encodings = ['"proprio_encoding": ProprioEncoding.NONE', f'"action_encoding": ActionEncoding.{encoding}']
    return [*_views(dataset), *encodings]


def _views(dataset: DatasetPlan) -> list[str]:
    """Image views, with the mixture's camera as the primary one."""
    first, *others = [image.feature for image in dataset.images]
    wrist = next(iter(wrists(others)), None)
    second = next((other for other in others if other != wrist), None)
    views = ", ".join(
        f'"{view}": {_quoted(feature)}' for view, feature in (("primary", first), ("secondary", second), ("wrist", wrist))
    )
    return [f'"image_obs_keys": {{{views}}}', '"depth_obs_keys": {"primary": None, "secondary": None, "wrist": None}']


def _quoted(feature: str | None) -> str:
    return "None" if feature is None else f'"{feature}"'
