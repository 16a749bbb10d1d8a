"""LeRobot datasets written for tests, in the layouts of v2.1 and v3.0: small videos, image columns, and meta that may be wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from rt2data.records import F32

Pixels = NDArray[np.uint8]
TASKS = ("lift the cube", "push the block")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass
class Made:
    """One episode."""

    action: F32
    state: F32
    times: Sequence[float]  # seconds
    tasks: Sequence[int]
    frames: dict[str, list[Pixels]]  # by camera
    shown: dict[str, list[float]] = field(default_factory=dict)  # times of the frames of a video, where not those of the steps
    more: dict[str, Any] = field(default_factory=dict)  # columns


def made(seed: int, steps: int = 12, cameras: Sequence[str] = ("front",), fps: float = 10, size: int = 48) -> Made:
    """A random episode whose frames tell steps apart."""
    random = np.random.default_rng(seed)
    return Made(
        action=random.normal(size=(steps, 7)).astype(np.float32),
        state=random.normal(size=(steps, 3)).astype(np.float32),
        times=[float(np.float32(step / fps)) for step in range(steps)],
        tasks=[seed % len(TASKS)] * steps,
        frames={name: [picture(1000 * seed + step + 7 * at, size) for step in range(steps)] for at, name in enumerate(cameras)},
    )


def picture(seed: int, size: int = 48) -> Pixels:
    """Blocks of random colours: they outlive compression, and no two are alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return blocks.repeat(size // 4, axis=0).repeat(size // 4, axis=1)


def film(path: Path, frames: Sequence[Pixels], times: Sequence[float], codec: str = "libx264", gop: int = 6) -> None:
    """A video of these frames, each shown at its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = Fraction(1, 12800)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=10, options={"g": str(gop)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", base
        if codec == "mpeg4":  # it has no quality of its own to keep to
            stream.bit_rate = 4_000_000
        stream.codec_context.time_base = base
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


Film = Callable[[Path, Sequence[Pixels], Sequence[float], str], None]


def write_v21(
    root: Path,
    episodes: Sequence[Made] | Mapping[int, Made],
    stills: Sequence[str] = (),
    codec: str = "libx264",
    film: Film = film,
    **info: Any,
) -> Path:
    """One file for each episode. Cameras among `stills` are columns of images, the others videos that `film` makes."""
    numbered = episodes if isinstance(episodes, Mapping) else dict(enumerate(episodes))
    for number, episode in numbered.items():
        table = rows(number, episode, stills)
        target = root / f"data/chunk-000/episode_{number:06d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)
        for camera, frames in _videos(episode, stills):
            video = root / f"videos/chunk-000/observation.images.{camera}/episode_{number:06d}.mp4"
            film(video, frames, episode.shown.get(camera, episode.times), codec)
    lines = [{"episode_index": number, "tasks": _tasks(each), "length": len(each.action)} for number, each in numbered.items()]
    _lines(root / "meta/episodes.jsonl", lines)
    _lines(root / "meta/tasks.jsonl", [{"task_index": at, "task": task} for at, task in enumerate(TASKS)])
    _info(root, "v2.1", [*numbered.values()], stills, info)
    return root


def write_v30(
    root: Path,
    episodes: Sequence[Made],
    stills: Sequence[str] = (),
    files: int = 1,
    fps: float = 10,
    codec: str = "libx264",
    film: Film = film,
) -> Path:
    """Many episodes in each file, of which there are so many."""
    listed: list[dict[str, Any]] = []
    for file in range(files):
        numbers = range(len(episodes) * file // files, len(episodes) * (file + 1) // files)
        _write(root / f"data/chunk-000/file-{file:03d}.parquet", pa.concat_tables([rows(n, episodes[n], stills) for n in numbers]))
        starts = np.cumsum([0.0, *(len(episodes[n].action) / fps for n in numbers)])
        for camera, _ in _videos(episodes[0], stills):
            frames = [frame for n in numbers for frame in episodes[n].frames[camera]]
            times = [start + t for n, start in zip(numbers, starts, strict=False) for t in _shown(episodes[n], camera)]
            film(root / f"videos/observation.images.{camera}/chunk-000/file-{file:03d}.mp4", frames, times, codec)
        for n, start, stop in zip(numbers, starts[:-1], starts[1:], strict=True):
            place = {"data/chunk_index": 0, "data/file_index": file}
            for camera, _ in _videos(episodes[0], stills):
                key = f"videos/observation.images.{camera}"
                place |= {f"{key}/chunk_index": 0, f"{key}/file_index": file, f"{key}/from_timestamp": start}
                place |= {f"{key}/to_timestamp": stop}
            listed.append({"episode_index": n, "tasks": _tasks(episodes[n]), "length": len(episodes[n].action), **place})
    _write(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(listed))
    _write(root / "meta/tasks.parquet", pa.table({"task_index": [*range(len(TASKS))], "__index_level_0__": TASKS}))
    _info(root, "v3.0", episodes, stills, {"fps": fps})
    return root


def rows(number: int, episode: Made, stills: Sequence[str] = ()) -> pa.Table:
    """The rows of an episode, as Hugging Face writes them."""
    steps = len(episode.action)
    columns: dict[str, Any] = {
        "action": pa.array([*episode.action], pa.list_(pa.float32(), episode.action.shape[1])),
        "observation.state": pa.array([*episode.state], pa.list_(pa.float32())),
        "timestamp": pa.array(episode.times, pa.float32()),
        "frame_index": pa.array(range(steps), pa.int64()),
        "episode_index": pa.array([number] * steps, pa.int64()),
        "index": pa.array(range(100 * number, 100 * number + steps), pa.int64()),
        "task_index": pa.array(episode.tasks, pa.int64()),
    }
    for camera in stills:
        images = [{"bytes": png(frame), "path": f"frame_{at:06d}.png"} for at, frame in enumerate(episode.frames[camera])]
        columns[f"observation.images.{camera}"] = pa.array(images, IMAGE)
    return pa.table(columns | episode.more)


def png(pixels: Pixels) -> bytes:
    """Encoded."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def change_info(root: Path, **changes: Any) -> None:
    """Rewrite values of info.json."""
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_rows(root: Path, episode: int, **columns: Any) -> None:
    """Rewrite columns of an episode of v2.1; None takes one away."""
    path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        name = name.replace("__", ".")
        at = table.column_names.index(name)
        table = table.remove_column(at) if values is None else table.set_column(at, name, pa.array(values))
    pq.write_table(table, path)


def video_of(root: Path, episode: int, camera: str = "front") -> Path:
    """The video of an episode of v2.1."""
    return root / f"videos/chunk-000/observation.images.{camera}/episode_{episode:06d}.mp4"


Dtype = Literal["video", "image"]


def _info(root: Path, version: str, episodes: Sequence[Made], stills: Sequence[str], more: Mapping[str, Any]) -> None:
    first = episodes[0]
    kinds: dict[str, Dtype] = {camera: "image" if camera in stills else "video" for camera in first.frames}
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": [first.action.shape[1]], "names": {"motors": [f"m{n}" for n in range(7)]}},
        "observation.state": {"dtype": "float32", "shape": [first.state.shape[1]], "names": [["x", "y", "z"]]},
    }
    for camera, kind in kinds.items():
        features[f"observation.images.{camera}"] = {"dtype": kind, "shape": [48, 48, 3], "names": ["height", "width", "channels"]}
    v3 = version == "v3.0"
    found = {
        "codebase_version": version,
        "robot_type": "arm",
        "fps": 10,
        "total_episodes": len(episodes),
        "total_frames": sum(len(each.action) for each in episodes),
        "chunks_size": 1000,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if v3
        else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if v3
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(found | dict(more), indent=4))


def _videos(episode: Made, stills: Sequence[str]) -> list[tuple[str, list[Pixels]]]:
    return [(camera, frames) for camera, frames in episode.frames.items() if camera not in stills]


def _shown(episode: Made, camera: str) -> Sequence[float]:
    return episode.shown.get(camera, episode.times)


def _tasks(episode: Made) -> list[str]:
    return [TASKS[at] for at in dict.fromkeys(episode.tasks) if at < len(TASKS)]


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _lines(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in found))
