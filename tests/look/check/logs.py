"""The logs that conventions are checked on: their episodes as lists of Steps, each set with its action space.

RLDS is read by its source. The other formats are read here, with the packages of their own writers, so that these tests need
no source but that one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rt2data.read.rlds.source import RLDS
from rt2data.records import Image, Step

Steps = list[Step]


def made(
    name: str,
    action: Any,
    state: Any = None,
    cameras: dict[str, Sequence[Any]] | None = None,
    words: str = "",
    times: Any = None,
    success: bool | None = None,
) -> Steps:
    """The Steps of one episode from its columns."""
    total = len(action)
    return [
        Step(
            name,
            i,
            total,
            "train",
            words,
            np.asarray(action[i], np.float32),
            tuple(Image(camera, column[i]) for camera, column in (cameras or {}).items()),
            None if state is None else np.asarray(state[i], np.float32),
            is_last=i == total - 1,
            success=success if i == total - 1 else None,
            timestamp=None if times is None else float(times[i]),
        )
        for i in range(total)
    ]


def rlds(path: Path, space: str) -> list[Steps]:
    """As the source reads them, with copies of their images."""
    source = RLDS(path=str(path), action_space=space)
    found: dict[str, Steps] = {}
    for unit in source.units():
        for record in source.read(unit):
            assert isinstance(record, Step)
            kept = tuple(Image(image.camera, bytes(image.data)) for image in record.images)  # type: ignore[arg-type]
            found.setdefault(record.episode, []).append(_with_images(record, kept))
    return list(found.values())


def _with_images(step: Step, images: tuple[Image, ...]) -> Step:
    return replace(step, images=images)


def bridge(data: Path) -> list[Steps]:
    """Real: 13 episodes of 10 steps, four cameras of 64 x 64."""
    return rlds(data / "rlds_bridge/bridge_dataset/1.0.0", "widowx_bridge")


def quadrotor(data: Path) -> list[Steps]:
    """Simulated: 15 flights, velocities."""
    return rlds(data / "sim_quadrotor_rlds/sim_pyflyt_quad/1.0.0", "quadrotor")


def metaworld(data: Path) -> list[Steps]:
    """Simulated: 4 episodes, two cameras."""
    import h5py

    with h5py.File(data / "sim_metaworld_hdf5/metaworld.hdf5") as file:
        return [_robomimic(name, demo, "robot0_proprio") for name, demo in sorted(file["data"].items())]


def robomimic(data: Path) -> list[Steps]:
    """Human demonstration, rendered: one episode in two halves, two cameras."""
    import h5py

    with h5py.File(data / "hdf5_robomimic/lift_ph_image84.hdf5") as file:
        return [_robomimic(name, demo, "robot0_eef_pos") for name, demo in sorted(file["data"].items())]


def _robomimic(name: str, demo: Any, state: str) -> Steps:
    obs = demo["obs"]
    cameras = {camera.removesuffix("_image"): obs[camera][:] for camera in obs if camera.endswith("_image")}
    words, success = str(demo.attrs.get("language_instruction", "")), demo.attrs.get("success")
    return made(name, demo["actions"][:], obs[state][:], cameras, words, success=None if success is None else bool(success))


def xhand(data: Path) -> list[Steps]:
    """Real: one episode, 19 absolute joints, two cameras."""
    import h5py

    with h5py.File(data / "hdf5_act_xhand/episode_0.hdf5") as file:
        lengths = file["compress_len"][:]
        images = file["observations/images"]
        cameras = {name: _unpadded(images[name][:], lengths[i]) for i, name in enumerate(images)}
        words = (data / "hdf5_act_xhand/episode_0.txt").read_text().strip()
        return [made("episode_0", file["action"][:], file["observations/qpos"][:], cameras, words)]


def _unpadded(rows: Any, lengths: Any) -> list[bytes]:
    return [row[:n].tobytes() for row, n in zip(rows, lengths, strict=True)]


def language_table(data: Path) -> list[Steps]:
    """Simulated: 13 episodes, displacements in the plane."""
    import zarr

    root = zarr.open(str(data / "sim_language_table_zarr/language_table.zarr"), mode="r")
    action, state, image = (root[f"data/{name}"][:] for name in ("action", "state", "img"))
    ends = root["meta/episode_ends"][:].tolist()
    return [
        made(f"e{i}", action[a:b], state[a:b], {"img": image[a:b].astype(np.uint8)})
        for i, (a, b) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def aloha(data: Path, most: int = 400) -> list[Steps]:
    """Simulated: 5 episodes of absolute joints; the first `most` steps of each."""
    return list(_lerobot(data / "sim_aloha_lerobot_v21", most))


def g1(data: Path, most: int = 400) -> list[Steps]:
    """Real: 2 episodes of absolute joints; the first `most` steps of each."""
    return list(_lerobot(data / "lerobot_v21_g1", most))


def _lerobot(root: Path, most: int) -> Iterator[Steps]:
    import pyarrow.parquet as pq

    tasks = {row["task_index"]: row["task"] for row in map(json.loads, (root / "meta/tasks.jsonl").read_text().splitlines())}
    for path in sorted((root / "data").glob("*/*.parquet")):
        rows = pq.read_table(path).slice(0, most)
        column = {name: rows[name].to_pylist() for name in rows.column_names}
        videos = sorted((root / "videos").glob(f"*/*/{path.stem}.mp4"))
        cameras = {video.parent.name.removeprefix("observation.images."): _frames(video, len(rows)) for video in videos}
        success = column.get("next.success")
        yield made(
            path.stem,
            column["action"],
            column["observation.state"],
            cameras,
            tasks[column["task_index"][0]],
            column["timestamp"],
            None if success is None else bool(np.ravel(success[-1])[0]),
        )


def _frames(path: Path, most: int) -> list[Any]:
    """The first frames of a video, a quarter as wide and high."""
    import av

    with av.open(str(path)) as video:
        found = []
        for frame in video.decode(video=0):
            found.append(frame.to_ndarray(format="rgb24", width=frame.width // 4, height=frame.height // 4))
            if len(found) == most:
                break
        return found


SETS: dict[str, tuple[Callable[[Path], list[Steps]], str]] = {
    "bridge": (bridge, "widowx_bridge"),
    "quadrotor": (quadrotor, "quadrotor"),
    "metaworld": (metaworld, "metaworld"),
    "robomimic": (robomimic, "libero"),
    "xhand": (xhand, "generic_nd"),
    "language_table": (language_table, "language_table"),
    "aloha": (aloha, "aloha"),
    "g1": (g1, "unitree_g1"),
}


@cache
def load(name: str, data: Path) -> list[Steps]:
    """The episodes of a set."""
    return SETS[name][0](data)
