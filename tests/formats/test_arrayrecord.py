"""ArrayRecord is written by a library that not everybody has."""

from __future__ import annotations

import sys

import pytest

from rt2data.errors import UsageError
from rt2data.formats.base import make_format


def test_without_the_library_the_recipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(UsageError, match="array_record is not installed"):
        make_format("arrayrecord")
