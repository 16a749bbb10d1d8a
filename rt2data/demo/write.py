"""The demo as a whole: a robot log, a VQA corpus and the recipe that mixes them, in one folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from rt2data.demo.corpora import ANNOTATIONS, IMAGES, NAME, QUESTIONS, VERSION, Draw, write_robot_log, write_vqa
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.disk import bytes_in
from rt2data.io.location.folders import discard_folder, is_link, make_folder, remove_folder, rename
from rt2data.io.location.whole import output_errors

RECIPE, MARK = "mixture.yaml", "demo.json"
ROBOT, WEB = f"robot/{NAME}/{VERSION}", "web/tabletop_vqa"
PARTS = ("robot", "web", RECIPE, MARK)
"""The parts of a demo, at the top of its folder. Everything else there belongs to the user."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """A summary of the demo."""

    folder: Path
    episodes: int
    steps: int
    scenes: int
    questions: int
    bytes: int


def write_demo(
    folder: Path, episodes: int = 24, scenes: int = 150, seed: int = 0, force: bool = False, draw: Draw = map
) -> DemoSummary:
    """Make the demo in `folder`, atomically; the same arguments give the same bytes for any number of workers.

    With `force` an earlier demo is replaced; other files in its folder stay. Raises UsageError for a folder with other files or
    for too few episodes or scenes, and OutputError if the demo cannot be written.
    """
    if location.is_remote(folder):
        raise UsageError("the demo is made on a local disk", str(folder), "make it there, and copy it")
    folder = location.absolute(folder)
    _refuse(folder, episodes, scenes, force)
    making = folder.with_name(f".{folder.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    with output_errors(folder):
        try:
            steps, questions = _write_all(making, episodes, scenes, seed, draw)
            size = bytes_in(making)
            _swap(making, folder)
        finally:
            discard_folder(making)
    return DemoSummary(folder, episodes, steps, scenes, questions, size)


def _refuse(folder: Path, episodes: int, scenes: int, force: bool) -> None:
    """Raises UsageError if the demo cannot be made here."""
    if episodes < 2 or scenes < 1:
        raise UsageError(f"{episodes} episodes and {scenes} scenes are too few", do="ask for at least 2 episodes and 1 scene")
    if is_link(folder) or (location.exists(folder) and not location.is_folder(folder)):
        raise UsageError("not a folder", str(folder), "choose another path")
    if not location.exists(folder) or not any(location.children(folder)):
        return
    if not is_demo(folder):
        raise UsageError("the folder is not empty and holds no demo", str(folder), "choose an empty or new folder")
    if not force:
        raise UsageError("the folder already holds a demo", str(folder), "replace it with --force")


def is_demo(folder: Path) -> bool:
    """Whether a demo was made here before."""
    try:
        mark = json.loads(location.read_head(folder / MARK, 4096))
    except (OSError, ValueError):
        return False
    return isinstance(mark, dict) and mark.get("made_by") == "rt2data demo"


def _write_all(making: Path, episodes: int, scenes: int, seed: int, draw: Draw) -> tuple[int, int]:
    """Write everything into a new folder; returns the numbers of steps and questions."""
    make_folder(making / ROBOT)
    make_folder(making / WEB)
    steps = write_robot_log(making / ROBOT, episodes, seed, draw)
    questions = write_vqa(making / WEB, scenes, seed, draw)
    location.write_whole(making / RECIPE, recipe(seed).encode())
    mark = {"made_by": "rt2data demo", "episodes": episodes, "scenes": scenes, "seed": seed}
    location.write_whole(making / MARK, f"{json.dumps(mark)}\n".encode())
    return steps, questions


def _swap(made: Path, folder: Path) -> None:
    """Rename the finished folder. Only the user's own files of an earlier demo are kept."""
    if not location.exists(folder) or not any(location.children(folder)):
        rename(made, folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    rename(folder, old)
    rename(made, folder)
    for name in [entry.name for entry in location.children(old) if entry.name not in PARTS]:
        rename(old / name, folder / name)
    remove_folder(old)


def recipe(seed: int) -> str:
    """mixture.yaml of the demo; paths are relative to it."""
    return f"""\
# The recipe for rt2data build-mixture. Paths are relative to this file.
robot_frac: 0.5 # of the examples; 2/3 and 66% work too
size: {{epochs: 1, of: longest}} # every row of every source is seen
seed: {seed} # the same seed gives the same bytes
tokenizer: byte # or the path of your model's tokenizer.json or .model
template: rt2 # Q: what action should the robot take to ...? A:
codec: rt2 # actions as integers from 0 to 255
shards: {{bytes: 8MB}} # approximate size; every shard has the same mixture
store: store # prepared rows; safe to delete

robot:
  tabletop:
    kind: rlds
    path: {ROBOT}
    action_space: widowx_bridge

web:
  tabletop_vqa:
    kind: vqav2
    questions: {WEB}/{QUESTIONS}
    annotations: {WEB}/{ANNOTATIONS}
    image_dirs: [{WEB}/{IMAGES}]
    answers: majority # the most common of the ten; or sample, or all
"""
