"""Layouts of a robot dataset: plain, or one that OpenVLA's and Octo's loaders know by name.

Those loaders look up everything by the dataset's name: which features to read, and a function that standardizes actions. So a
dataset with such a name and layout is read without changes to their code, and with everything that function does.

The action encoding follows from what the action space declares, never from its number of dimensions: it determines what those
loaders normalize and what a number means to their models. As a wrong one raises no error, only declared facts are used. Source:
openvla c8f03f4 prismatic/vla/datasets/rlds/oxe/{configs,transforms,materialize}.py, octo 241fb35 octo/data/oxe/*.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rt2data.errors import UsageError
from rt2data.formats.rlds.dataset import GripperMap
from rt2data.io.tfrecord.directory import tfds_name
from rt2data.io.words import choose
from rt2data.prepare.store import StoreInfo
from rt2data.read.action_space import ActionSpace


class Encoding(NamedTuple):
    """The name of a loader's ActionEncoding, or why there is none."""

    name: str
    why: str = ""


class KnownEncoding(NamedTuple):
    """What an encoding stands for: `numbers` dimensions, then the gripper."""

    control_mode: str
    rotation: str | None
    numbers: int


EEF_POS = KnownEncoding("delta_eef", "rpy", 6)
OPENVLA = {"EEF_POS": EEF_POS, "EEF_R6": KnownEncoding("delta_eef", "r6", 9)}
OCTO = {"EEF_POS": EEF_POS, "JOINT_POS": KnownEncoding("delta_joint", None, 7)}
GRIPPERS = ("absolute", "relative")
"""Modes that a transform can convert to a loader's gripper, 1 open and 0 closed."""

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
    """The dimensions of an action that loaders use: all but terminate."""
    return [at for at in range(len(space.dims)) if at != space.terminate]


def unregistered(space: ActionSpace) -> list[str]:
    """The loaders with which a dataset with these actions cannot be registered, and why."""
    found = {loader: find_encoding(space, table).why for loader, table in (("OpenVLA", OPENVLA), ("Octo", OCTO))}
    if len(set(found.values())) == 1:
        found = {" and ".join(found): next(iter(found.values()))}
    lines = [f"not registered with {loader}: {why}" for loader, why in found.items() if why]
    if find_encoding(space, OPENVLA).why:
        lines.append("no dataset_statistics.json, of actions after OpenVLA's transform; `rt2data stats --as` writes the source's")
    return lines


SUFFIX = "_rlds"
"""TFDS has its own code for names such as bridge and coco, and would run it instead of reading the files."""
NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIDTH, _GRIPPER = 7, 6
_MEANT = {"control_mode": ("delta_eef",), "rotation": ("rpy", "axis_angle"), "gripper_mode": ("absolute",)}
"""Requirements on actions in every layout except plain."""
_WRIST = ("wrist", "hand", "gripper")


@dataclass(frozen=True)
class LoaderLayout:
    """A layout by name. `datasets` are names that loaders know, `main` is the feature for the mixture's camera."""

    name: str
    datasets: tuple[str, ...] = ()
    main: str = ""
    gripper: tuple[float, float] | None = None  # open, closed
    state_dim: int = 0  # as written; 0: as in the source
    relabels: bool = False  # loaders compute actions from states
    notes: tuple[str, ...] = ()


LAYOUTS = {
    "plain": LoaderLayout("plain"),
    "bridge": LoaderLayout(
        "bridge",
        datasets=("bridge_dataset", "bridge_orig"),
        main="image_0",
        gripper=(1.0, 0.0),
        relabels=True,
        notes=(
            "OpenVLA and Octo recompute the first six numbers of each action as the difference between the next state and this"
            " one, without wrapping angles at pi",
            "they drop the last step of each episode, and OpenVLA the first as well",
            "they binarize the gripper: above 0.95 is open, below 0.05 closed, values between take the next open or closed value",
            "dataset_statistics.json describes the data after these changes; Octo computes its own statistics",
            "Octo recognizes the name bridge_dataset only, OpenVLA both",
        ),
    ),
    "libero": LoaderLayout(
        "libero",
        datasets=("libero_spatial_no_noops", "libero_object_no_noops", "libero_goal_no_noops", "libero_10_no_noops"),
        main="image",
        gripper=(-1.0, 1.0),
        state_dim=8,
        notes=(
            "OpenVLA clips the gripper to 0..1 and inverts it: -1 to 0 becomes open (1), 1 becomes closed (0); a gripper"
            " between half open and open counts as open",
            "state is read as six numbers of pose and, from its end, two of the gripper",
            "dataset_statistics.json describes the data after these changes",
            "Octo does not recognize these names",
        ),
    ),
}


def find_layout(name: str) -> LoaderLayout:
    """The layout with this name. Raises UsageError for an unknown one."""
    if name not in LAYOUTS:
        raise UsageError(f"unknown layout {name!r}", "--layout", choose(name, LAYOUTS))
    return LAYOUTS[name]


def require_fit(layout: LoaderLayout, info: StoreInfo, space: ActionSpace) -> None:
    """Raises UsageError if a source does not fit this layout."""
    if not layout.datasets:
        return
    do = "write it with --layout plain"
    if info.action_dim != _WIDTH or space.gripper != _GRIPPER:
        what = f"the {layout.name} layout is for actions of {_WIDTH} numbers, the gripper last"
        raise UsageError(what, f"source {info.name}, action space {space.name} of {info.action_dim}", do)
    for name, allowed in _MEANT.items():
        said = getattr(space, name)
        if said is not None and said not in allowed:
            what = f"the {layout.name} layout is for actions of {name} {' or '.join(allowed)}"
            raise UsageError(what, f"source {info.name}, action space {space.name} is {said}", do)
    if layout.relabels and info.state_dim != _WIDTH:
        what = f"the {layout.name} layout needs states of {_WIDTH} numbers, because loaders compute actions from them"
        raise UsageError(what, f"source {info.name} has {info.state_dim or 'none'}", do)


def doubts(layout: LoaderLayout, space: ActionSpace) -> list[str]:
    """What a layout assumes about actions that their space does not declare."""
    return [
        f"action space {space.name} does not say its {name}: loaders assume {' or '.join(allowed)}"
        for name, allowed in _MEANT.items()
        if getattr(space, name) is None
    ]


def gripper_of(layout: LoaderLayout, space: ActionSpace) -> GripperMap | None:
    """The map to the layout's gripper; None if the space has it already."""
    return gripper_map(space, *layout.gripper) if layout.gripper else None


def gripper_map(space: ActionSpace, opened: float, closed: float) -> GripperMap | None:
    """The map from the space's gripper to these ends; None if it is the identity or the space has no gripper."""
    if space.gripper is None:
        return None
    dim = space.dims[space.gripper]
    if dim.open is None or dim.closed is None or (dim.open, dim.closed) == (opened, closed):
        return None
    slope = (closed - opened) / (dim.closed - dim.open)
    return GripperMap(space.gripper, slope, opened - dim.open * slope)


def name_images(layout: LoaderLayout, info: StoreInfo, asked: Sequence[str]) -> dict[str, str]:
    """The camera of each feature to write, the mixture's first. `asked` are CAMERA or FEATURE=CAMERA; if empty, the layout decides.

    Raises UsageError for cameras that do not exist, and for duplicate features.
    """
    if not asked:
        return _unique(_chosen(layout, info))
    pairs = [(feature if sign else "", camera or feature) for feature, sign, camera in (each.partition("=") for each in asked)]
    missing = sorted({camera for _, camera in pairs} - set(info.cameras))
    if missing:
        raise UsageError(f"source {info.name} has no camera {', '.join(missing)}", "--camera", f"it has {', '.join(info.cameras)}")
    own = {camera: feature for feature, camera in _chosen(layout, info)}
    return _unique([(feature or own.get(camera) or feature_name(camera), camera) for feature, camera in pairs])


def _chosen(layout: LoaderLayout, info: StoreInfo) -> list[tuple[str, str]]:
    others = [camera for camera in info.cameras if camera != info.camera]
    if layout.name == "libero":
        return [(layout.main, info.camera), *(("wrist_image", camera) for camera in wrists(others)[:1])]
    if layout.name == "bridge" and not all(re.fullmatch(r"image_\d", camera) for camera in info.cameras):
        return [(f"image_{number}", camera) for number, camera in enumerate([info.camera, *others])]
    return [(feature_name(camera), camera) for camera in [info.camera, *others]]


def wrists(cameras: Sequence[str]) -> list[str]:
    """Cameras mounted on the hand, judged by name."""
    return [camera for camera in cameras if any(word in camera for word in _WRIST)]


def feature_name(camera: str) -> str:
    """image_<camera>, or the camera's name if it already contains 'image'."""
    plain = re.sub(r"\W+", "_", camera, flags=re.ASCII).strip("_")
    return plain if "image" in plain else f"image_{plain}" if plain else "image"


def _unique(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    features = [feature for feature, _ in pairs]
    twice = sorted({feature for feature in features if features.count(feature) > 1})
    bad = [feature for feature in features if not re.fullmatch(r"[A-Za-z]\w*", feature, re.ASCII)]
    if twice or bad:
        what = "two cameras would have one name" if twice else "not a name for a feature"
        raise UsageError(what, ", ".join(twice or bad), "name them: --camera FEATURE=CAMERA")
    return dict(pairs)


def name_datasets(layout: LoaderLayout, robots: Sequence[str], others: Sequence[str], asked: Mapping[str, str]) -> dict[str, str]:
    """Dataset name of each source: the requested one, else one that loaders know, else the source's own with a suffix.

    Raises UsageError for names that TFDS does not allow, duplicate names, and unknown sources.
    """
    unknown = sorted(set(asked) - {*robots, *others})
    if unknown:
        raise UsageError(f"no source is called {', '.join(unknown)}", "--name", choose(unknown[0], [*robots, *others]))
    free = [name for name in layout.datasets if name not in asked.values()]
    named = [name for name in robots if name not in asked]
    if layout.datasets and len(named) > len(free):
        what = f"the {layout.name} layout has names for {len(layout.datasets)} datasets"
        raise UsageError(what, f"{len(robots)} robot sources", "name them: --name SOURCE=DATASET")
    found = {name: asked.get(name, tfds_name(name) + SUFFIX) for name in [*robots, *others]} | dict(zip(named, free, strict=False))
    _require_names(list(found.values()))
    return found


def _require_names(names: Sequence[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name) or names.count(name) > 1:
            what = "two datasets would have one name" if names.count(name) > 1 else "not a name TFDS can have"
            raise UsageError(what, name, "name them: --name SOURCE=DATASET, lower-case letters, digits and _")
