"""The training examples, run as a user would: they learn, they act in actions only, and an interrupted run ends with the same
weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
STEPS, STOP = 48, 17
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def demo_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, built by the command."""
    folder = tmp_path_factory.mktemp("examples")
    rt2data = [sys.executable, "-m", "rt2data"]
    subprocess.run([*rt2data, "demo", "demo"], cwd=folder, check=True, capture_output=True)
    (folder / "mixture.yaml").write_text((ROOT / "mixture.yaml").read_text("utf-8"))
    subprocess.run([*rt2data, "build-mixture", "--quiet"], cwd=folder, check=True, capture_output=True)
    return folder / "mixture"


@pytest.fixture(scope="module", params=["torch", "jax"])
def train(request: pytest.FixtureRequest, demo_mixture: Path) -> Train:
    """Run one of the examples; gives its result.json."""
    if not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed")
    return partial(_train, ROOT / "examples" / f"train_{request.param}.py", demo_mixture)


def _train(script: Path, mixture: Path, out: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(script), str(mixture), "--out", str(out), "--steps", str(STEPS), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_it_learns_and_resumes(train: Train, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    for kind, losses in whole["losses"].items():
        assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3]), kind
        assert np.mean(losses[-10:]) < 0.9 * whole["unigram"][kind], kind
    assert whole["bins_off"] < 128  # every action was whole and decoded, or the run would have failed
    with Image.open(tmp_path / "whole" / "losses.png") as picture:
        assert len(set(np.asarray(picture.convert("RGB")).reshape(-1, 3).tobytes())) > 2
    stopped = train(tmp_path / "parts", "--stop", str(STOP))
    resumed = train(tmp_path / "parts", "--resume")
    assert stopped["step"] == STOP and stopped["weights"] != whole["weights"]
    assert resumed["weights"] == whole["weights"] and resumed["losses"] == whole["losses"]
