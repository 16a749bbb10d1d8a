"""What a path that no reader knows most probably is, from names and first bytes alone: to say so, and what to do about it.

Nothing here reads a dataset. Every look is bounded: a few kilobytes of a file, a few hundred names of a folder.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rt2data.io import location
from rt2data.read.recognize_json import KNOWN, OTHERS, recognize_json

_HEAD = 4096
_NAMES = 400
"""Names of a folder that are looked at, and folders below it."""
_LEVELS, _ENTRIES = 7, 5000

_ROBOT = "rt2data reads robot logs as RLDS: convert it with a TFDS builder that yields one record of steps per episode"
_WEB = "rt2data reads questions and answers as VQAv2 has them: write a JSON file of questions and one of annotations"
_EITHER = "rt2data reads RLDS (TFDS folders of TFRecord files) and VQAv2 (two JSON files and folders of images)"
_UNPACK = "unpack it, and name the folder"
_TFDS = "name the folder that holds dataset_info.json and features.json"


class Recognized(NamedTuple):
    """A guess that is told to the user."""

    what: str  # "a LeRobot v2.1 dataset"
    do: str


def recognize(path: Path) -> Recognized | None:
    """What lies at `path`, as far as can be told; None where nothing is there or nothing is known. Never raises."""
    try:
        if location.is_folder(path):
            return _folder(path)
        return _file(path) if location.is_file(path) else None
    except OSError:
        return None


def hub_advice(text: str) -> str:
    """What to do about `org/name` where no such folder is there: it may be a repository on a hub. Empty for any other text."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", text):
        return ""
    return f"if it is a dataset on a hub, download it first: hf download {text} --repo-type dataset --local-dir FOLDER"


# Files

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (robomimic, LIBERO and ALOHA write such logs)", _ROBOT),
    (0, b"\x89MCAP0\r\n", "an MCAP log", _ROBOT),
    (0, b"#ROSBAG V", "a ROS 1 bag", _ROBOT),
    (0, b"rosbag2_bagfile_information", "the metadata of a ROS 2 bag", _ROBOT),
    (0, b"SQLite format 3\0", "an SQLite database (a ROS 2 bag where its name ends in .db3)", _ROBOT),
    (0, b"PAR1", "a Parquet file", _EITHER),
    (0, b"ARROW1", "an Arrow file", _EITHER),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\x93NUMPY", "a NumPy array", _EITHER),
    (0, b"\xff\xd8\xff", "an image", "name the folder it lies in as one of `image_dirs`"),
    (0, b"\x89PNG\r\n\x1a\n", "an image", "name the folder it lies in as one of `image_dirs`"),
    (8, b"WEBP", "an image", "name the folder it lies in as one of `image_dirs`"),
    (0, b"GIF8", "an image", "name the folder it lies in as one of `image_dirs`"),
    (4, b"ftyp", "a video", _EITHER),
    (0, b"\x1aE\xdf\xa3", "a video", _EITHER),
    (8, b"AVI ", "a video", _EITHER),
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
    (0, b"<!DOCTYPE html", "an HTML page", "a download that failed or asks for a login looks so: fetch the file again"),
    (0, b"<html", "an HTML page", "a download that failed or asks for a login looks so: fetch the file again"),
)
"""Offset, the bytes there, what the file is, what to do."""


def _file(path: Path) -> Recognized | None:
    head = location.read_head(path, _HEAD)
    if not head:
        return Recognized("an empty file", "fetch it again")
    if location.is_file(path.parent / "manifest.json") and path.name.startswith("shard-"):
        return Recognized("a shard of a mixture", "name its folder")
    if path.name in ("dataset_info.json", "features.json"):
        return Recognized("a file of a TFDS dataset", "name its folder")
    if path.name == "info.json" and path.parent.name == "meta":
        return _by_marks(path.parent.parent)
    if ".tfrecord" in path.name:
        return Recognized("one shard of a TFDS dataset", _TFDS)
    for offset, sign, what, do in _MAGIC:
        if head[offset : offset + len(sign)] == sign:
            return _tar(path) if what == "a tar archive" else Recognized(what, do)
    layout = recognize_json(path)
    return Recognized(f"a JSON file: {layout}", _json_advice(layout)) if layout else None


def _tar(path: Path) -> Recognized:
    """A tar of samples, or any other."""
    try:
        with location.open_file(path) as file, tarfile.open(fileobj=file) as tar:
            endings = {Path(member.name).suffix.lower() for member in islice(tar, 8) if member.isfile()}
    except (tarfile.TarError, OSError):
        return Recognized("a damaged tar archive", "fetch it again")
    if endings & _IMAGES and endings & {".json", ".txt", ".cls", ".npy"}:
        return Recognized("a WebDataset shard", _WEB)
    return Recognized("a tar archive", _UNPACK)


# Folders

_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
_VIDEOS = {".mp4", ".mkv", ".avi", ".mov", ".webm"}
_ENDINGS: tuple[tuple[set[str], str, str], ...] = (
    ({".hdf5", ".h5"}, "a folder of HDF5 files (robomimic, LIBERO and ALOHA write such logs)", _ROBOT),
    ({".mcap"}, "a folder of MCAP logs", _ROBOT),
    ({".bag"}, "a folder of ROS 1 bags", _ROBOT),
    ({".db3"}, "a ROS 2 bag", _ROBOT),
    ({".zarr"}, "a folder of zarr stores", _ROBOT),
    ({".parquet", ".arrow"}, "a folder of Parquet or Arrow files", _EITHER),
    ({".tar"}, "a folder of tar archives (WebDataset shards?)", _EITHER),
    ({".zip", ".7z", ".gz", ".tgz", ".xz", ".zst"}, "a folder of archives", "unpack them"),
    (_IMAGES, "a folder of images", "it goes under `image_dirs` of a vqav2 source, beside `questions` and `annotations`"),
    (_VIDEOS, "a folder of videos", _EITHER),
)
"""Endings of names, what a folder that mostly holds such files is, what to do."""


def _folder(path: Path) -> Recognized | None:
    names = _names(path)
    if not names:
        return Recognized("an empty folder", "look at the path, or fetch the data")
    files = [path / name for name in names] + list(_files_below(path))
    return _by_marks(path) or _by_json(files) or _by_endings([file.name for file in files])


def _by_marks(path: Path) -> Recognized | None:
    """Layouts that have a file of a fixed name at their root. One level too low is told too."""
    for root, more in ((path, ""), (path.parent, f", of which {path.name} is a part")):
        if location.is_file(root / "meta/info.json"):
            return Recognized(f"a LeRobot {_lerobot_version(root)} dataset{more}", _ROBOT)
    if any(location.is_file(path / name) for name in (".zgroup", ".zarray", "zarr.json")):
        return Recognized("a zarr store", _ROBOT)
    if location.is_file(path / "metadata.yaml") and _starts(path / "metadata.yaml", b"rosbag2_bagfile_information"):
        return Recognized("a ROS 2 bag", _ROBOT)
    if location.is_file(path / "state.json") and any(each.name.endswith(".arrow") for each in location.children(path)):
        return Recognized("a dataset saved by Hugging Face datasets (save_to_disk)", _EITHER)
    if location.is_file(path / "manifest.json"):
        return Recognized("a mixture that rt2data built", "look at it: rt2data inspect")
    if location.is_file(path / "source.json") and location.is_file(path / "files.parquet"):
        return Recognized("a prepared store of rt2data", "look at it: rt2data inspect")
    if dataset := _dataset_below(path):
        what = "a TFDS dataset" if dataset == path else "a folder above TFDS datasets"
        return Recognized(what, f"name {dataset} as a source of kind rlds")
    if any(".tfrecord" in name for name in _names(path)):
        return Recognized("TFRecord files without dataset_info.json", _TFDS)
    return None


def _dataset_below(folder: Path) -> Path | None:
    """The first folder with a dataset_info.json here or below, the nearest first. Gives up after some hundred folders."""
    level, looked = [folder], 0
    for _ in range(_LEVELS):
        for each in level:
            if location.is_file(each / "dataset_info.json"):
                return each
        looked += len(level)
        level = list(islice((child for each in level for child in _folders(each)), max(_NAMES - looked, 0)))
    return None


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, as far as the first few thousand names go."""
    first = islice(location.children(folder), _ENTRIES)
    return sorted(Path(entry.path) for entry in first if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."))


def _by_endings(names: list[str]) -> Recognized | None:
    """By what most of the files are; JSON and text beside them do not count."""
    endings = Counter(Path(name).suffix.lower() for name in names)
    counts = [(sum(endings[each] for each in group), what, do) for group, what, do in _ENDINGS]
    most, what, do = max(counts, key=lambda each: each[0])
    return Recognized(what, do) if most else None


def _by_json(files: list[Path]) -> Recognized | None:
    """The known layout of the first JSON files."""
    layouts = map(recognize_json, [path for path in files if path.suffix in (".json", ".jsonl")][:8])
    found = next((layout for layout in layouts if layout in KNOWN), None)
    return Recognized(f"a folder of JSON files: {found}", _json_advice(found)) if found else None


def _json_advice(layout: str) -> str:
    if layout in KNOWN - OTHERS:
        return "it goes into a source of kind vqav2: name `questions`, `annotations` and `image_dirs`"
    return _WEB


def _lerobot_version(root: Path) -> str:
    try:
        version = json.loads(location.read_bytes(root / "meta/info.json")).get("codebase_version")
    except (OSError, ValueError, AttributeError):
        version = None
    return version if isinstance(version, str) and len(version) < 16 else "(unknown version)"


def _starts(path: Path, sign: bytes) -> bool:
    return location.read_head(path, len(sign)) == sign


def _names(folder: Path) -> list[str]:
    """Names in a folder, but for what macOS leaves beside files."""
    return sorted(entry.name for entry in islice(location.children(folder), _NAMES) if not entry.name.startswith("._"))


def _files_below(folder: Path) -> Iterator[Path]:
    """What lies one level below."""
    for entry in islice(location.children(folder), 40):
        if entry.is_dir(follow_symlinks=False):
            yield from (folder / entry.name / name for name in _names(folder / entry.name))
