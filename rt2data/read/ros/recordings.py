"""Groups files into recordings: a single bag or MCAP file, or a folder written by rosbag2."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from xxhash import xxh3_64_hexdigest

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.read.ros import bag, db3, mcap
from rt2data.read.ros.container import FETCH, Container

ENDINGS = (".mcap", ".bag", ".db3", ".bag.active")
_PACKED = tuple(f"{ending}.{packed}" for ending in ENDINGS[:3] for packed in ("zstd", "zst", "gz", "lz4", "bz2"))
METADATA = "metadata.yaml"
METADATA_SIGN = b"rosbag2_bagfile_information"
_LARGEST_METADATA = 4 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]{1,29}")


class Recording(NamedTuple):
    """One episode."""

    name: str  # at most 40 characters of [A-Za-z0-9_-]
    files: tuple[str, ...]  # in the order of writing
    metadata: str | None = None

    @property
    def every(self) -> tuple[str, ...]:
        return self.files if self.metadata is None else (*self.files, self.metadata)


def open_container(path: str) -> Container:
    """Open a log, recognized by its first bytes. Raises DataError if it is not a log."""
    head = location.read_head(path, 16)
    for kind, magic in ((mcap.Mcap, mcap.MAGIC), (bag.Bag, bag.MAGIC), (db3.Db3, db3.MAGIC)):
        if head.startswith(magic):
            return kind(path)
    raise DataError("it begins neither as MCAP, nor as a ROS 1 bag, nor as SQLite" if head else "an empty file", path, FETCH)


def is_log(name: str) -> bool:
    """Whether a file name is that of a log."""
    return name.endswith(ENDINGS) and not name.startswith(".")


def recordings(path: str) -> list[Recording]:
    """The recordings at a path, in natural order. Raises UsageError if there is none, DataError if files are missing."""
    if location.is_file(path):
        return [Recording(_name(path_of(path).name, is_folder=False), (path,))]
    if not location.is_folder(path):
        raise UsageError(f"there is no such file or folder: {path}")
    below = defaultdict[str, list[str]](list)
    for file, _ in location.files_below(path):
        below[str(path_of(file).parent)].append(file)
    found = [each for folder, files in below.items() for each in _in_folder(path, folder, files)]
    if not found:
        raise UsageError("there is no .mcap, .bag or .db3 file", path)
    return sorted(found, key=lambda each: natural(_relative(path, each.files[0])))


def recording_with(path: str, file: str) -> Recording:
    """The recording at a path whose first file is this one. Raises the same errors as `recordings`."""
    if location.is_file(path):
        return recordings(path)[0]
    folder = path_of(file).parent
    if not location.is_file(folder / METADATA) and not _are_parts(str(folder), [file]):
        return Recording(_name(_relative(path, file), is_folder=False), (file,))
    files = [str(folder / entry.name) for entry in location.children(folder) if entry.is_file()]
    return next(each for each in _in_folder(path, str(folder), files) if each.files[0] == file)


def natural(name: str) -> tuple[Any, ...]:
    """A sort key that compares numbers in names as numbers."""
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name))


def _in_folder(root: str, folder: str, files: Sequence[str]) -> Iterator[Recording]:
    """Recordings of the files directly in a folder: one if rosbag2 wrote them, else one per log."""
    packed = next((file for file in sorted(files) if file.endswith(_PACKED)), None)
    if packed:
        raise UsageError("a log that is compressed as a whole is not read", packed, "decompress it: zstd -d, gunzip")
    logs = sorted((file for file in files if is_log(PurePosixPath(file).name)), key=natural)
    metadata = _metadata_in(files) if logs else None
    if metadata or (logs and _are_parts(folder, logs)):
        wanted = _listed(metadata, folder) if metadata else logs
        if missing := [file for file in wanted if file not in logs]:
            raise DataError("a file of the recording is missing", missing[0], "fetch it")
        yield Recording(_name(_relative(root, folder) or path_of(folder).name, is_folder=True), tuple(wanted), metadata)
        return
    for log in logs:
        yield Recording(_name(_relative(root, log), is_folder=False), (log,))


def _metadata_in(files: Sequence[str]) -> str | None:
    found = next((file for file in files if PurePosixPath(file).name == METADATA), None)
    return found if found and location.read_head(found, len(METADATA_SIGN)) == METADATA_SIGN else None


def _are_parts(folder: str, logs: Sequence[str]) -> bool:
    """Whether files are named FOLDER_0, FOLDER_1, as left by a recorder that crashed before writing the metadata."""
    name = re.escape(path_of(folder).name)
    return all(re.fullmatch(rf"{name}_[0-9]+\.(mcap|db3)", PurePosixPath(log).name) for log in logs)


def _listed(metadata: str, folder: str) -> list[str]:
    """The files listed in the metadata, in order; only base names count, since folders may have been moved. Raises DataError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = location.read_head(metadata, _LARGEST_METADATA)
    try:
        said = YAML(typ="safe", pure=True).load(text)["rosbag2_bagfile_information"]["relative_file_paths"]
        names = [PurePosixPath(each).name for each in said]
    except (YAMLError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"it does not say which files there are: {type(error).__name__}", metadata, "rebuild it: ros2 bag reindex"
        ) from None
    if not names or not all(map(is_log, names)):
        what = "its files are compressed, or no logs" if names else "it names no files"
        raise UsageError(what, metadata, "decompress them: ros2 bag convert")
    return [str(path_of(folder) / name) for name in names]


def _relative(root: str, path: str) -> str:
    return str(path_of(path))[len(str(path_of(root))) :].lstrip("/")


def _name(relative: str, is_folder: bool) -> str:
    """The name of an episode, from its relative path only, so that it does not change when others are added."""
    stem, _, ending = (relative, "", "folder") if is_folder else relative.partition(".")
    if _PLAIN_NAME.fullmatch(stem) and (is_folder or f".{ending}" in ENDINGS):
        return stem if ending == "mcap" else f"{stem}-{ending.replace('.', '-')}"
    slug = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")
    return f"{slug[-23:].strip('_')}-{xxh3_64_hexdigest(relative.encode())}"
