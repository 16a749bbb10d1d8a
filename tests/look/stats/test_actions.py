"""Sums over encoded actions equal the codec itself, dimension by dimension."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rt2data.look.stats.actions import encoded, sum_encoded
from rt2data.prepare.statistics import summarize
from rt2data.read.action_space import ActionSpace, load_space
from rt2data.render.codecs.table import CODECS, make_codec

TERMINATE_LAST = """
name = "odd"
[[dim]]
name = "x"
bounds = [-1.0, 1.0]
[[dim]]
name = "stop"
kind = "discrete"
bounds = [0, 1]
terminates = 1
continues = 0
"""
SPACES = ["widowx_bridge", "google_robot", "language_table", "metaworld", "generic_nd", "odd"]


def space_of(name: str, folder: Path) -> ActionSpace:
    if name != "odd":
        return load_space(name).sized(load_space(name).size or 14)
    (folder / "odd.toml").write_text(TERMINATE_LAST)
    return load_space(folder / "odd.toml")


@pytest.mark.parametrize("codec_name", CODECS)
@pytest.mark.parametrize("name", SPACES)
def test_each_dimension_by_itself(name: str, codec_name: str, tmp_path: Path) -> None:
    space, rng = space_of(name, tmp_path), np.random.default_rng(2)
    actions = rng.normal(0, 0.7, (500, space.size or 0)).astype(np.float32)
    if space.terminate is not None:
        actions[:, space.terminate] = rng.integers(0, 2, 500)
    codec = make_codec(codec_name, space, summarize(actions))
    found = encoded(
        sum_encoded(codec, actions[:200], np.zeros(200, np.bool_)) + sum_encoded(codec, actions[200:], np.zeros(300, np.bool_)),
        codec,
    )
    bins = codec.encode(actions, np.zeros(500, np.bool_))
    errors = codec.decode(bins)[0] - actions
    for i, each in enumerate(found):
        # A dimension's bins are those that change when it alone changes.
        others = np.tile(actions[:1], (500, 1))
        others[:, i] = actions[:, i]
        alone = codec.encode(others, np.zeros(500, np.bool_))
        moving = [column for column in range(codec.width) if len(set(alone[:, column].tolist())) > 1]
        assert len(moving) == 1
        counts = np.bincount(bins[:, moving[0]], minlength=256)
        assert each.bins == tuple(counts.tolist())
        shares = counts[counts > 0] / 500
        assert each.entropy == pytest.approx(-(shares * np.log2(shares)).sum())
        assert each.edge == pytest.approx((counts[0] + counts[255]) / 500)
        assert each.rmse == pytest.approx(np.sqrt((errors[:, i] ** 2).mean()))
        assert each.worst == pytest.approx(np.abs(errors[:, i]).max())
        assert each.clipped_low == (actions[:, i] < np.float32(codec.lo[i])).mean()
        assert each.clipped_high == (actions[:, i] > np.float32(codec.hi[i])).mean()
        still = codec.decode(codec.encode(np.zeros((1, len(found)), np.float32), np.zeros(1, np.bool_)))[0]
        assert each.zero_offset == pytest.approx(still[0, i])


def test_what_is_not_finite_is_not_encoded() -> None:
    codec = make_codec("rt2", load_space("language_table"))
    actions = np.array([[0, 0], [np.nan, 0], [0, np.inf]], np.float32)
    assert sum_encoded(codec, actions, np.zeros(3, np.bool_)).rows == 1
    assert encoded(sum_encoded(codec, actions[1:], np.zeros(2, np.bool_)), codec) == ()
