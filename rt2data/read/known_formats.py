"""Formats that are known but not read. Tells what a path is, from names and first bytes alone, and what to do about it.

`source.recognize` consults this table and the sources. No dataset is read: each check is limited to a few kilobytes of a file and a
few hundred names of a folder.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Set
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rt2data.io import location

_HEAD = 4096
_NAMES = 400
"""Maximum number of a folder's names that are checked."""

_ROBOT = "rt2data reads robot logs as RLDS, LeRobot, HDF5, ROS bags, MCAP and zarr: see docs/robot-logs.md"
_WEB = "rt2data reads conversations, questions with answers, captions, and boxes and points, in many layouts: see docs/corpora.md"
_EITHER = "if it is a robot log: rt2data reads RLDS, LeRobot, HDF5, ROS bags, MCAP and zarr; if a corpus: see docs/corpora.md"
_NO_PICKLE = (
    "convert it where you trust it, to JSON with `image`, `sentences`, `bbox` in each row, and name that in `data` of a source "
    "of kind grounding; instances.json beside it can be named as it is"
)
_UNPACK = "unpack it, and name the folder"


class Recognized(NamedTuple):
    """What a path is, and what the user can do with it."""

    what: str  # "a ROS 1 bag"
    do: str


def by_marks(path: Path) -> Recognized | None:
    """What a path is, if file names leave no doubt. Raises OSError."""
    if location.is_folder(path):
        return _folder_by_marks(path) if names_in(path) else Recognized("an empty folder", "check the path, or fetch the data")
    if not location.stat(path).size:
        return Recognized("an empty file", "fetch it again")
    if path.suffix in (".p", ".pkl", ".pickle") and path.name.startswith("refs("):
        return Recognized("RefCOCO's pickle of expressions: a pickle can run code, and is never loaded", _NO_PICKLE)
    if location.is_file(path.parent / "manifest.json") and path.name.startswith("shard-"):
        return Recognized("a shard of a mixture", "name its folder")
    return None


def by_content(path: Path) -> Recognized | None:
    """What a path is, from the first bytes of a file or most of the names in a folder. Raises OSError."""
    if not location.is_folder(path):
        return _by_first_bytes(path)
    files = files_near(path)
    return json_in(files, KNOWN - VQA, _WEB) or _by_endings([file.name for file in files])


def hub_advice(text: str) -> str:
    """Advice if `org/name` is not a folder here: it may be a repository on a hub. Empty for any other text."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", text):
        return ""
    return f"if it is a dataset on a hub, write hf://datasets/{text}, or download it: hf download {text} --repo-type dataset"


# Files

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"SQLite format 3\0", "an SQLite database", _ROBOT),
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
    (0, b"\xff\xd8\xff", "an image", "name its folder as one of `image_dirs`"),
    (0, b"\x89PNG\r\n\x1a\n", "an image", "name its folder as one of `image_dirs`"),
    (8, b"WEBP", "an image", "name its folder as one of `image_dirs`"),
    (0, b"GIF8", "an image", "name its folder as one of `image_dirs`"),
    (4, b"ftyp", "a video", _EITHER),
    (0, b"\x1aE\xdf\xa3", "a video", _EITHER),
    (8, b"AVI ", "a video", _EITHER),
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
    (0, b"<!DOCTYPE html", "an HTML page", "the download failed or needs a login: fetch the file again"),
    (0, b"<html", "an HTML page", "the download failed or needs a login: fetch the file again"),
)
"""Offset, bytes at that offset, what the file is, what to do."""


def _by_first_bytes(path: Path) -> Recognized | None:
    head = location.read_head(path, _HEAD)
    for offset, sign, what, do in _MAGIC:
        if head[offset : offset + len(sign)] == sign:
            return _tar(path) if what == "a tar archive" else Recognized(what, do)
    layout = recognize_json(path)
    return Recognized(f"a JSON file: {layout}", INSTEAD.get(layout, _WEB)) if layout else None


def _tar(path: Path) -> Recognized:
    """A tar of samples, or any other tar."""
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
    ({".parquet", ".arrow"}, "a folder of Parquet or Arrow files", _EITHER),
    ({".tar"}, "a folder of tar archives (WebDataset shards?)", _EITHER),
    ({".zip", ".7z", ".gz", ".tgz", ".xz", ".zst"}, "a folder of archives", "unpack them"),
    (_IMAGES, "a folder of images", "it goes under `image_dirs` of a vqav2 source, next to `questions` and `annotations`"),
    (_VIDEOS, "a folder of videos", _EITHER),
)
"""File suffixes, what a folder with mostly such files is, what to do."""


def _folder_by_marks(path: Path) -> Recognized | None:
    """Recognize layouts with a file of a fixed name at their root."""
    if location.is_file(path / ".zarray"):
        return Recognized("an array of a zarr store", "name the folder of the store")
    if location.is_file(path / "state.json") and any(each.name.endswith(".arrow") for each in location.children(path)):
        return Recognized("a dataset saved by Hugging Face datasets (save_to_disk)", _WEB)
    if location.is_file(path / "manifest.json"):
        return Recognized("a mixture that rt2data built", "look at it: rt2data inspect")
    if location.is_file(path / "source.json") and location.is_file(path / "files.parquet"):
        return Recognized("a prepared store of rt2data", "look at it: rt2data inspect")
    return None


def _by_endings(names: list[str]) -> Recognized | None:
    """Recognize a folder by the suffix of most of its files; JSON and text files do not count."""
    endings = Counter(Path(name).suffix.lower() for name in names)
    counts = [(sum(endings[each] for each in group), what, do) for group, what, do in _ENDINGS]
    most, what, do = max(counts, key=lambda each: each[0])
    return Recognized(what, do) if most else None


def json_in(files: list[Path], layouts: Set[str], do: str) -> Recognized | None:
    """The layout of the first JSON file with a known one, if it is among `layouts`."""
    known = map(recognize_json, [path for path in files if path.suffix in (".json", ".jsonl")][:8])
    found = next((layout for layout in known if layout in KNOWN), "")
    return Recognized(f"a folder of JSON files: {found}", INSTEAD.get(found, do)) if found in layouts else None


def names_in(folder: Path) -> list[str]:
    """Names of the files and folders in a folder, without the resource forks of macOS. Pipes are left out: opening one would
    block.
    """
    entries = islice(location.children(folder), _NAMES)
    return sorted(entry.name for entry in entries if not entry.name.startswith("._") and (entry.is_file() or entry.is_dir()))


def files_near(folder: Path) -> list[Path]:
    """Files in a folder and one level below."""
    below = (folder / entry.name for entry in islice(location.children(folder), 40) if entry.is_dir(follow_symlinks=False))
    return [parent / name for parent in (folder, *below) for name in names_in(parent)]


# JSON

_LOOK = 1 << 16
"""Bytes read at the start, and at the end, of a file."""

_OBJECT, _LIST, _LINES = "object", "list", "lines"
COCO_BOXES = "COCO instances"
_Layout = tuple[str, str, tuple[str, ...]]

LAYOUTS: tuple[_Layout, ...] = (
    ("LeRobot's meta/info.json", _OBJECT, ("codebase_version", "fps", "features")),
    ("TFDS's dataset_info.json", _OBJECT, ("fileFormat", "splits")),
    ("VQAv2 questions", _OBJECT, ("questions", "question_id", "question")),
    ("VQAv2 annotations", _OBJECT, ("annotations", "question_id", "answers")),
    ("VQAv2 annotations", _OBJECT, ("annotations", "question_id", "multiple_choice_answer")),
    ("TextVQA", _OBJECT, ("data", "image_id", "question")),
    ("VQA questions or annotations", _OBJECT, ("question_id",)),
    ("COCO captions split by Karpathy", _OBJECT, ("images", "sentences", "sentids")),
    ("COCO panoptic masks", _OBJECT, ("images", "segments_info")),
    ("COCO panoptic masks", _OBJECT, ("annotations", "segments_info")),
    (COCO_BOXES, _OBJECT, ("images", "category_id", "bbox")),
    (COCO_BOXES, _OBJECT, ("annotations", "category_id", "bbox")),
    (COCO_BOXES, _OBJECT, ("annotations", "segmentation")),
    ("COCO captions", _OBJECT, ("annotations", "caption")),
    ("COCO captions", _OBJECT, ("images", "file_name", "image_id", "caption")),
    ("COCO captions or instances", _OBJECT, ("images", "file_name")),
    ("GQA questions", _OBJECT, ("imageId", "question", "answer")),
    ("GQA scene graphs", _OBJECT, ("objects", "relations", "width")),
    ("LLaVA conversations", _LIST, ("conversations", "from", "value")),
    ("ShareGPT messages", _LIST, ("messages", "role", "content")),
    ("A-OKVQA", _LIST, ("question_id", "choices", "rationales")),
    ("A-OKVQA", _LIST, ("question_id", "choices", "direct_answers")),
    ("VizWiz questions", _LIST, ("image", "question", "answers")),
    ("Visual Genome questions", _LIST, ("qas", "question")),
    ("Visual Genome region descriptions", _LIST, ("regions", "phrase", "image_id")),
    ("POPE questions", _LIST, ("question_id", "image", "text", "label")),
    ("questions with answers", _LIST, ("question_id", "question", "answers")),
    ("VQA questions or annotations", _LIST, ("question_id",)),
    ("image captions", _LIST, ("image", "caption")),
    ("GVT questions", _LIST, ("image_id", "text_in", "text_out")),
    ("POPE questions", _LINES, ("question_id", "image", "text", "label")),
    ("LLaVA-Bench questions", _LINES, ("question_id", "image", "text")),
    ("NLVR2 sentences", _LINES, ("sentence", "identifier", "label")),
    ("SNLI-VE sentences", _LINES, ("gold_label", "sentence1", "sentence2")),
    ("LLaVA conversations", _LINES, ("conversations", "from", "value")),
    ("ShareGPT messages", _LINES, ("messages", "role", "content")),
)
"""Name, form, and the keys that must all be near the start or the end of such a file. The first match counts."""


KNOWN = frozenset(name for name, _, _ in LAYOUTS)
INSTEAD = {"LLaVA-Bench questions": "they have no answers: rt2data reads them nowhere"}
"""What to do with layouts that no source reads."""
VQA = frozenset({"VQAv2 questions", "VQAv2 annotations", "VQA questions or annotations"})
"""The layouts that a vqav2 source reads."""


def recognize_json(path: location.Name) -> str | None:
    """The layout of a JSON or JSON Lines file, such as "GQA questions"; otherwise its form and first keys; None if it is not JSON.

    Never raises; reads at most 128 kB.
    """
    try:
        with location.open_file(path) as file:
            head = file.read(_LOOK)
            file.seek(0, 2)
            file.seek(max(file.tell() - _LOOK, len(head)))
            tail = file.read(_LOOK)
    except OSError:
        return None
    form = _form(head)
    if form is None:
        return None
    keys = _keys(head) | _keys(tail)
    found = next((name for name, shape, needed in LAYOUTS if shape == form and keys >= {*needed}), None)
    return found or _unnamed(form, head)


def _form(head: bytes) -> str | None:
    """Whether it begins as an object, a list, or lines of objects; None if it is not JSON."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb'\[\s*([\[{"\]]|-?\d|true|false|null)', start):
        return _LIST
    if not re.match(rb'\{\s*["}]', start):
        return None
    return _LINES if re.match(rb'\{[^\n]*\}[ \t\r]*\n\s*\{\s*"', start) else _OBJECT


def _keys(text: bytes) -> set[str]:
    return {found.decode("ascii") for found in re.findall(rb'"([A-Za-z_][A-Za-z0-9_]{0,39})"\s*:', text)}


def _unnamed(form: str, head: bytes) -> str | None:
    """The form and the first few keys; None if there are none."""
    keys = list(dict.fromkeys(found.decode() for found in re.findall(rb'"([A-Za-z_][A-Za-z0-9_]{0,39})"\s*:', head[:8192])))
    words = {_OBJECT: "an object", _LIST: "a list of objects", _LINES: "lines of objects"}
    return f"{words[form]} with the keys {', '.join(keys[:6])}" if keys else None
