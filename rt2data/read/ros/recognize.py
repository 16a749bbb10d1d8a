"""Recognizes ROS and MCAP logs, and folders of them, from first bytes and names."""

from __future__ import annotations

from pathlib import Path

from rt2data.io import location
from rt2data.read.known_formats import Recognized, files_near
from rt2data.read.log import require_package
from rt2data.read.ros import bag, db3, mcap
from rt2data.read.ros.recordings import METADATA, METADATA_SIGN, is_log, recordings
from rt2data.read.ros.survey import suggested, survey
from rt2data.read.source import Suggestion

_DO = "name it as a source of kind ros"


def recognize_logs(path: Path) -> Suggestion | None:
    """Settings for the logs at a path. Raises RtError if the first log is damaged, or its reader is not installed."""
    if not is_ros(path):
        return None
    for package in ("mcap", "rosbags"):
        require_package(package, "ros", str(path))
    here = path.parent if path.name == METADATA else path
    found = recordings(str(here))
    return Suggestion({"path": str(here)} | suggested(survey(found[0].files)), here.name.split(".")[0])


def is_ros(path: Path) -> bool:
    """Whether a file is a log, or a folder has logs in it or one level below."""
    if location.is_folder(path):
        return any(is_log(file.name) for file in files_near(path))
    return bool(what_is(path))


def what_is(path: Path) -> str:
    """What kind of log a file is; empty if none."""
    head = location.read_head(path, len(METADATA_SIGN))
    if head.startswith(db3.MAGIC):
        return "a ROS 2 bag" if path.name.endswith(".db3") else ""
    signs = ((mcap.MAGIC, "an MCAP log"), (bag.MAGIC, "a ROS 1 bag"), (METADATA_SIGN, "the metadata of a ROS 2 bag"))
    return next((what for sign, what in signs if head.startswith(sign)), "")


def ros_hint(path: Path) -> Recognized | None:
    """What a path is, when given to another source. Raises OSError."""
    if not location.is_folder(path):
        found = what_is(path)
        return Recognized(found, _DO if "metadata" not in found else "name its folder as a source of kind ros") if found else None
    if not is_ros(path):
        return None
    here = path / METADATA
    is_bag = location.is_file(here) and location.read_head(here, len(METADATA_SIGN)) == METADATA_SIGN
    return Recognized("a ROS 2 bag" if is_bag else "a folder of ROS bags or MCAP logs", _DO)
