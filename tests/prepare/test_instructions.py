"""Every paraphrase of an episode is used as often as any other, to within one, over its steps and any whole epochs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import parse_recipe
from rt2data.prepare.as_rows import balanced
from rt2data.prepare.catalog import kept_stores
from rt2data.prepare.store import Store
from tests.read.annotations.bridge import episodes, write


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 6), st.text(max_size=5))
def test_over_steps_and_epochs_each_is_taken_equally_often(size: int, steps: int, epochs: int, group: str) -> None:
    taken = Counter(balanced(group, epoch * steps + at, size) for epoch in range(epochs) for at in range(steps))
    counts = [taken[number] for number in range(size)]
    assert sum(counts) == steps * epochs and max(counts) - min(counts) <= 1


def test_the_order_is_another_for_each_group_and_block() -> None:
    orders = {tuple(balanced(group, 7 * block + at, 7) for at in range(7)) for group in "abc" for block in range(5)}
    assert len(orders) > 12


RECIPE = """
robot_frac: 1
store: {folder}/store
size: {{epochs: 7}}
robot:
  bridge:
    kind: rlds
    path: {data}/rlds_bridge/bridge_dataset/1.0.0
    action_space: widowx_bridge
    filters: {{drop_first: 1, noop: 0.0001}}
    instructions: {{path: {folder}/pool.json}}
"""


def test_law_on_a_real_log_whose_steps_are_filtered(shared_data: Path, tmp_path: Path) -> None:
    """Steps that filters drop take no turn; what is drawn in whole epochs is balanced for each episode."""
    known = episodes(shared_data)
    write(
        tmp_path / "pool.json",
        {steps[0].instruction: [f"{steps[0].instruction}, {n}" for n in range(4)] for steps in known.values()},
    )
    recipe = parse_recipe(RECIPE.format(folder=tmp_path, data=shared_data), "recipe", tmp_path)
    build_plainly(recipe, Site(tmp_path / "out"))
    (path,) = [each.path for each in kept_stores(tmp_path / "store")]
    store = Store(path)
    rows = store.info.splits["train"].rows
    numbers = np.arange(rows)
    taken: dict[str, Counter[str]] = {}
    for epoch in range(7):
        drawn = store.rows("train", numbers, np.full(rows, epoch))
        assert drawn.originals is not None
        for group, text, original in zip(drawn.groups, drawn.text, drawn.originals, strict=True):
            assert original is not None and text.startswith(f"{original}, ")
            taken.setdefault(group, Counter())[text] += 1
    for counts in taken.values():
        assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1
