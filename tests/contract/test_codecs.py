"""A codec may write chunks as a whole, in any number of bins: every format, the reader and all checks take it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS, make_format
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from rt2data.records import Chunks, Example, Reject, Step, Unit
from rt2data.render.codecs.codec import F64, Bools
from rt2data.render.codecs.rt2 import RT2
from rt2data.render.codecs.table import CODECS
from rt2data.render.record import decode_record
from tests.loading import wide

HORIZON = 4


class Settled(RT2):
    """A chunk that ends with equal actions is written as its number of actions and those before they are all equal."""

    def encode_chunks(self, chunks: Chunks) -> list[list[int]]:
        return [self._shorter(bins) for bins in super().encode_chunks(chunks)]

    def _shorter(self, bins: list[int]) -> list[int]:
        actions = [bins[at : at + self.width] for at in range(0, len(bins), self.width)]
        kept = len(actions)
        while kept > 1 and actions[kept - 1] == actions[kept - 2]:
            kept -= 1
        return bins if kept == len(actions) else [len(actions), *bins[: kept * self.width]]

    def decode_chunks(self, chunks: Sequence[Sequence[int]]) -> tuple[F64, Bools, list[int]]:
        return super().decode_chunks([self._whole(bins) for bins in chunks])

    def _whole(self, bins: Sequence[int]) -> Sequence[int]:
        if len(bins) % self.width != 1:
            return bins
        count, *kept = bins
        return [*kept, *kept[-self.width :] * (count - len(kept) // self.width)]

    def chunk_fault(self, bins: Sequence[int], real: int) -> str:
        return super().chunk_fault(self._whole(bins), real)


class Resting(wide.WideRobot):
    """From its third step on, an episode repeats one action."""

    kind: Literal["resting"] = "resting"  # type: ignore[assignment]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        for step in super().read(unit):
            assert isinstance(step, Step)
            yield replace(step, action=wide.logged(self.dims, unit.index)[min(step.step, 2)])


RECIPE = f"""
robot_frac: 1
store: store
robot: {{arm: {{kind: resting, dims: 7, action_space: widowx_bridge, horizon: {HORIZON}}}}}
"""


@pytest.mark.parametrize("name", FORMATS)
def test_chunks_of_any_number_of_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(SOURCES, "resting", f"{__name__}:Resting")
    monkeypatch.setitem(CODECS, "rt2", Settled)
    (tmp_path / "mixture.yaml").write_text(RECIPE)
    out = tmp_path / "out"
    manifest = build_plainly(read_recipe(tmp_path / "mixture.yaml", [f"shards.format={name}"]), Site(out))
    form = make_format(name)
    records = [decode_record(member.record) for shard in manifest.shards for member in form.read(out / shard.name)]
    assert len(records) == manifest.examples
    lengths = {len(record.action_bins or ()) for record in records}
    assert {length % 8 for length in lengths} == {0, 1} and len(lengths) > 3  # whole and shortened chunks
    assert verify(out).faults == ()
    for record in records:
        assert record.actions is not None and record.action_is_pad is not None
        found = rt2data.decode(out, record)
        assert len(found.actions) == record.action_is_pad.count(False)
        np.testing.assert_allclose(found.actions, record.actions[: len(found.actions)], atol=0.05)
    if name == "webdataset":
        batch = next(iter(rt2data.load(out).batches(8)))
        assert batch["action_bins"].shape == (8, 8 * HORIZON)
