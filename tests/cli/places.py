"""A folder to try the command in."""

from __future__ import annotations

from pathlib import Path

from tests.bench.generate import STEPS, write_corpus, write_log


def lay_out(folder: Path, episodes: int, pictures: int) -> Path:
    """A small log, a small corpus and a recipe over them."""
    write_log(folder / "log", episodes * STEPS * 1500, 1500)
    write_corpus(folder / "web", pictures, 1500)
    (folder / "mixture.yaml").write_text(
        """
robot_frac: 0.5
store: store
shards: {bytes: 300kB}
robot: {arm: {kind: rlds, path: log/bench_log, action_space: widowx_bridge, filters: {drop_first: 1}}}
web: {qa: {kind: vqav2, questions: web/questions.json, annotations: web/annotations.json, image_dirs: web/images}}
"""
    )
    return folder
