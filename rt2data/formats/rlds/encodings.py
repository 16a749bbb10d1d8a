"""The action encoding of OpenVLA and Octo for an action space: from what the space declares, never from its number of dimensions.

An encoding says to those loaders what to normalize and to their models what a number does. A wrong one trains without an error, so
nothing is claimed that a space does not declare.
Source: openvla c8f03f4 oxe/{configs,materialize}.py, octo 241fb35 oxe/{oxe_dataset_configs,__init__}.py.
"""

from __future__ import annotations

from typing import NamedTuple

from rt2data.read.action_space import ActionSpace


class Encoding(NamedTuple):
    """The name of a loader's ActionEncoding, or why there is none."""

    name: str
    why: str = ""


class KnownEncoding(NamedTuple):
    """What an encoding stands for: so many numbers and then the gripper."""

    control_mode: str
    rotation: str | None
    numbers: int


EEF_POS = KnownEncoding("delta_eef", "rpy", 6)
OPENVLA = {"EEF_POS": EEF_POS, "EEF_R6": KnownEncoding("delta_eef", "r6", 9)}
OCTO = {"EEF_POS": EEF_POS, "JOINT_POS": KnownEncoding("delta_joint", None, 7)}
GRIPPERS = ("absolute", "relative")
"""Modes that a transform can turn into a loader's gripper, 1 open and 0 closed."""

_SAY = "name a .toml of yours that does, as those in schemas/actions"


def find_encoding(space: ActionSpace, table: dict[str, KnownEncoding]) -> Encoding:
    """The encoding of a sized space in a loader's table."""
    if space.control_mode is None:
        return Encoding("", f"action space {space.name} does not say its control_mode; {_SAY}")
    if space.gripper is None:
        return Encoding("", f"action space {space.name} has no gripper")
    if space.gripper_mode not in GRIPPERS:
        said = f"does not say its gripper_mode; {_SAY}" if space.gripper_mode is None else f"has a gripper of {space.gripper_mode}"
        return Encoding("", f"action space {space.name} {said}")
    kept = kept_dims(space)
    says = KnownEncoding(space.control_mode, space.rotation, len(kept) - 1)
    name = next((name for name, known in table.items() if known == says), "")
    if name and kept[-1] == space.gripper:
        return Encoding(name)
    rotation = f", rotation {space.rotation or 'not said'}" if space.control_mode.endswith("_eef") else ""
    where = "last" if kept[-1] == space.gripper else "not last"
    what = f"{space.control_mode}{rotation}, {says.numbers} numbers and a gripper, which is {where}"
    return Encoding("", f"action space {space.name} is {what}: there is no such encoding")


def kept_dims(space: ActionSpace) -> list[int]:
    """Positions of the numbers that loaders use of an action: all but terminate."""
    return [at for at in range(len(space.dims)) if at != space.terminate]


def unregistered(space: ActionSpace) -> list[str]:
    """The loaders that a dataset with these actions cannot be registered with, and why."""
    found = {loader: find_encoding(space, table).why for loader, table in (("OpenVLA", OPENVLA), ("Octo", OCTO))}
    if len(set(found.values())) == 1:
        found = {" and ".join(found): next(iter(found.values()))}
    lines = [f"not registered with {loader}: {why}" for loader, why in found.items() if why]
    if find_encoding(space, OPENVLA).why:
        lines.append(
            "no dataset_statistics.json, which is of what OpenVLA makes of actions; `rt2data stats --as` has them as they are"
        )
    return lines
