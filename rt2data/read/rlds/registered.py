"""Datasets that tensorflow-datasets knows by name: `tfds:robomimic_ph`, `tfds:robomimic_ph/lift_ph_image:1.0.0`.

Finds the directory, which is then read like any other, without TensorFlow. Nothing is downloaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rt2data.io import location

PREFIX = "tfds:"
_BUILD = "prepare it first: tfds build {name}, or tfds.builder({name!r}).download_and_prepare()"


def registered_path(path: Any) -> Any:
    """The directory of a dataset named with `tfds:`; any other path unchanged. Raises ValueError."""
    if not isinstance(path, str) or not path.startswith(PREFIX):
        return path
    name = path.removeprefix(PREFIX)
    try:
        tfds = import_module("tensorflow_datasets")
    except ImportError:
        raise ValueError(f"tensorflow-datasets, which knows {path}, is not installed: pip install 'rt2data[tfds]'") from None
    found = _data_dir(tfds, name)
    if not location.is_file(f"{found}/dataset_info.json"):
        raise ValueError(f"the dataset {path} is not prepared in {found}: {_BUILD.format(name=name)}")
    return found


def _data_dir(tfds: Any, name: str) -> str:
    """Where tensorflow-datasets keeps a dataset: $TFDS_DATA_DIR, or tensorflow_datasets in the user's home."""
    try:
        return str(tfds.builder(name).data_dir)
    except Exception as error:  # many types, which differ between versions
        said = str(error).strip().partition("\n")[0][:200]
        raise ValueError(f"tensorflow-datasets does not know {name!r}: {said}; for a directory give its path") from None
