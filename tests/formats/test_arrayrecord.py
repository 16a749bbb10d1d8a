"""grain reads our ArrayRecord files by itself, in any order, and gives the examples that the tar shards hold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.errors import UsageError
from rt2data.formats.base import make_format
from tests.formats.conftest import examples
from tests.formats.test_tfds import expected

pytest.importorskip("array_record", reason="array_record is not installed")


@pytest.fixture(scope="module")
def source(mixture: Callable[[str], Path]) -> Any:
    files = sorted(map(str, mixture("arrayrecord").glob("*.array_record")))
    return pytest.importorskip("grain", reason="grain is not installed").sources.ArrayRecordDataSource(files)


def test_grain_gives_the_examples_of_the_tar_shards(mixture: Callable[[str], Path], source: Any) -> None:
    from rt2data.formats.arrayrecord import decode

    wanted = {record.key: (image, record) for image, record in examples(mixture("webdataset"))}
    assert len(source) == 90
    for at in np.random.default_rng(0).permutation(90).tolist():
        example = decode(source[at])
        image, record = wanted[example["key"]]
        assert example["image"] == image
        for name, value in expected(record, 7).items():
            if name not in ("answers",) and not isinstance(value, bytes):
                np.testing.assert_array_equal(np.array(example[name], np.asarray(value).dtype), value, err_msg=name)
        assert (example["prompt"], example["target"], tuple(example["answers"])) == (
            record.prompt,
            record.target,
            tuple(record.answers),
        )


def test_without_the_library_the_recipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(UsageError, match="array_record is not installed"):
        make_format("arrayrecord")
