"""`rt2data demo`."""

from __future__ import annotations

from pathlib import Path

from rt2data.cli.console import size
from rt2data.demo.write import write_demo


def demo(folder: Path, episodes: int, scenes: int, seed: int, force: bool) -> None:
    """Make the demo and say what to do with it."""
    made = write_demo(folder, episodes=episodes, scenes=scenes, seed=seed, force=force)
    robot, web = f"{made.episodes} episodes with {made.steps} steps", f"{made.scenes} pictures with {made.questions} questions"
    print(f"{robot}, {web}: {size(made.bytes)} in {folder}")
    print(f"mix it:  cd {folder} && rt2data build-mixture --robot-frac 0.5")
