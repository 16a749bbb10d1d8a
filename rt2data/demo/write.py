"""The demo as a whole: a robot log, a VQA corpus and the recipe that mixes them, in one folder."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rt2data.demo.picture import Draw
from rt2data.demo.rlds import NAME, VERSION, write_robot_log
from rt2data.demo.vqa import ANNOTATIONS, IMAGES, QUESTIONS, write_vqa
from rt2data.errors import UsageError
from rt2data.io.publish import output_errors

RECIPE, MARK = "mixture.yaml", "demo.json"
ROBOT, WEB = f"robot/{NAME}/{VERSION}", "web/tabletop_vqa"
PARTS = ("robot", "web", RECIPE, MARK)
"""What a demo consists of, at the top of its folder. Whatever else lies there is the user's."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What was made."""

    folder: Path
    episodes: int
    steps: int
    scenes: int
    questions: int
    bytes: int


def write_demo(
    folder: Path, episodes: int = 24, scenes: int = 150, seed: int = 0, force: bool = False, draw: Draw = map
) -> DemoSummary:
    """Make the demo in `folder`, whole or not at all; the same arguments give the same bytes, whoever draws.

    With `force` an earlier demo is replaced; what else lies in its folder stays. Raises UsageError where there is something
    else, or too little is asked for, and OutputError where it cannot be written.
    """
    folder = folder.absolute()
    _refuse(folder, episodes, scenes, force)
    making = folder.with_name(f".{folder.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    with output_errors(folder):
        try:
            steps, questions = _write_all(making, episodes, scenes, seed, draw)
            size = sum(path.stat().st_size for path in making.rglob("*") if path.is_file())
            _swap(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return DemoSummary(folder, episodes, steps, scenes, questions, size)


def _refuse(folder: Path, episodes: int, scenes: int, force: bool) -> None:
    """Raises UsageError."""
    if episodes < 2 or scenes < 1:
        raise UsageError(f"{episodes} episodes and {scenes} scenes are too few", do="ask for 2 episodes and 1 scene at least")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("the demo needs a folder", str(folder), "choose another place")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not is_demo(folder):
        raise UsageError("the folder holds something else", str(folder), "choose an empty or new folder")
    if not force:
        raise UsageError("there is a demo already", str(folder), "add --force to make it anew")


def is_demo(folder: Path) -> bool:
    """Whether a demo was made here before."""
    try:
        with (folder / MARK).open("rb") as file:
            mark = json.loads(file.read(4096))
    except (OSError, ValueError):
        return False
    return isinstance(mark, dict) and mark.get("made_by") == "rt2data demo"


def _write_all(making: Path, episodes: int, scenes: int, seed: int, draw: Draw) -> tuple[int, int]:
    """Everything, in a folder of its own; gives the numbers of steps and questions."""
    (making / ROBOT).mkdir(parents=True)
    (making / WEB).mkdir(parents=True)
    steps = write_robot_log(making / ROBOT, episodes, seed, draw)
    questions = write_vqa(making / WEB, scenes, seed, draw)
    (making / RECIPE).write_text(recipe(seed), encoding="utf-8")
    mark = {"made_by": "rt2data demo", "episodes": episodes, "scenes": scenes, "seed": seed}
    (making / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    return steps, questions


def _swap(made: Path, folder: Path) -> None:
    """Give the finished folder its name. Of an earlier demo the user's own files are kept, the rest goes."""
    if not folder.exists() or not any(folder.iterdir()):
        made.replace(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(old)
    made.rename(folder)
    for path in old.iterdir():
        if path.name not in PARTS:
            path.rename(folder / path.name)
    shutil.rmtree(old)


def recipe(seed: int) -> str:
    """mixture.yaml of the demo; paths are relative to it."""
    return f"""\
# What rt2data build-mixture reads. Paths are relative to this file.
robot_frac: 0.5 # of the examples; 2/3 and 66% may be written too
size: {{epochs: 1, of: longest}} # every row of every source is seen
seed: {seed} # the same seed gives the same bytes
tokenizer: byte # or the path of your model's tokenizer.json or .model
template: rt2 # Q: what action should the robot take to ...? A:
codec: rt2 # actions as integers from 0 to 255
shards: {{bytes: 8MB}} # about so large, each a mixture of its own
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
    answers: majority # the commonest of the ten; or sample, or all
"""
