"""The training examples, run as a user would, on the demo and on real data: they learn answers and actions, they act in actions
only, and an interrupted run ends with the same weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from tests.conftest import RECIPE, ROOT
from tests.packages import need

pytestmark = [pytest.mark.slow, pytest.mark.trainers]
STEPS = 48
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, built by the command."""
    folder = tmp_path_factory.mktemp("examples")
    rt2data = [sys.executable, "-m", "rt2data"]
    subprocess.run([*rt2data, "demo", "demo"], cwd=folder, check=True, capture_output=True)
    (folder / "mixture.yaml").write_text((ROOT / "mixture.yaml").read_text("utf-8"))
    subprocess.run([*rt2data, "build-mixture", "--quiet"], cwd=folder, check=True, capture_output=True)
    return folder / "mixture"


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bridge and questions about COCO's photographs, enough for 24 batches."""
    folder = tmp_path_factory.mktemp("examples-real")
    (folder / "mixture.yaml").write_text(RECIPE.format(data=shared_data))
    build_plainly(read_recipe(folder / "mixture.yaml", overrides=["size.num_examples=384"]), Site(folder / "mixture"))
    return folder / "mixture"


@pytest.fixture(params=["torch", "jax"])
def train(request: pytest.FixtureRequest) -> Train:
    """Run one of the examples; gives its result.json."""
    need(request.param)
    return partial(_train, ROOT / "examples" / f"train_{request.param}.py")


def _train(script: Path, mixture: Path, out: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(script), str(mixture), "--out", str(out), "--steps", str(STEPS), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found | {"said": done.stdout}


@pytest.mark.parametrize(("data", "stop"), [("demo", 17), ("real", 29)])
def test_it_learns_and_resumes(request: pytest.FixtureRequest, train: Train, tmp_path: Path, data: str, stop: int) -> None:
    """Stopped at some step inside an epoch, which is not its middle."""
    mixture = request.getfixturevalue(data)
    whole = train(mixture, tmp_path / "whole")
    _require_learned(whole)
    _require_drawn(tmp_path / "whole" / "losses.png")
    stopped = train(mixture, tmp_path / "parts", "--stop", str(stop))
    resumed = train(mixture, tmp_path / "parts", "--resume")
    assert stopped["step"] == stop and stopped["weights"] != whole["weights"]
    assert resumed["weights"] == whole["weights"] and resumed["losses"] == whole["losses"]


def _require_learned(found: dict[str, Any]) -> None:
    """Both losses fell clearly below where they began and below the best guess without picture and prompt; the output says so."""
    assert set(found["losses"]) == set(found["unigram"]) == {"robot", "web"}
    for kind, losses in found["losses"].items():
        assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3]), kind
        assert np.mean(losses[-10:]) < 0.9 * found["unigram"][kind], kind
        assert f"(unigram {found['unigram'][kind]:.3f})" in found["said"]
    assert found["said"].count(", ends ") == 8  # actions, each of them whole and decoded, or the run would have failed
    assert found["bins_off"] < 128


def _require_drawn(path: Path) -> None:
    """Two curves and words, each in its colour."""
    with Image.open(path) as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(31, 90, 180), (200, 80, 20), (60, 60, 60)} <= colors
