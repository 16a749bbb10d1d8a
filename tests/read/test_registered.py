"""A dataset by its name in tensorflow-datasets: the same store as of its directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rt2data.io.tfrecord.features import Leaf
from rt2data.prepare.begin import store_folder
from rt2data.read.rlds.source import RLDS
from tests.conftest import ROOT
from tests.contract import toy
from tests.packages import need
from tests.tfds_writing import write_dataset

READ = """
from rt2data.prepare.begin import store_folder
from rt2data.read.rlds.source import RLDS
from pathlib import Path
source = RLDS(path="tfds:tiny_arm", action_space="widowx_bridge")
print(source.path)
print(store_folder(Path("/stores"), "arm", source))
"""


@pytest.mark.slow
def test_the_same_store_as_of_the_directory(tmp_path: Path) -> None:
    need("tensorflow_datasets")
    episode = {"steps/action": np.ones((4, 7), np.float32), "steps/observation/eye": [toy.jpeg(number) for number in range(4)]}
    leaves = (Leaf("steps/action", "tensor", "float32", (7,)), Leaf("steps/observation/eye", "image", "uint8", (32, 32, 3), "jpeg"))
    write_dataset(tmp_path, "tiny_arm", leaves, {"train": [[episode] * 3]})
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    path, store = done.stdout.splitlines()[-2:]
    assert path == str(tmp_path / "tiny_arm" / "1.0.0")
    source = RLDS(path=path, action_space="widowx_bridge")
    assert store == str(store_folder(Path("/stores"), "arm", source))
    assert len([each for unit in source.units() for each in source.read(unit)]) == 12


def test_an_unknown_name_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Builder:
        data_dir = tmp_path

    class Tfds:
        def builder(self, name: str) -> Builder:
            if name != "known":
                raise KeyError(f"no dataset {name}")
            return Builder()

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", Tfds())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not know 'arm'"):
        RLDS(path="tfds:arm", action_space="widowx_bridge")
    with pytest.raises(ValueError, match=r"is not prepared in .*tfds build known"):
        RLDS(path="tfds:known", action_space="widowx_bridge")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'rt2data\[tfds\]'"):
        RLDS(path="tfds:known", action_space="widowx_bridge")
