"""What a plan of prepared sources promises is what is written: examples, draws and shards exactly, bytes as nearly as it says."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly
from rt2data.forecast.forecast import PlanForecast, forecast_plan, known_sources
from rt2data.formats.base import FORMATS, make_format
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.render.record import decode_record
from rt2data.seal.manifest import Manifest, read_manifest
from tests.laws import tries

pytestmark = pytest.mark.long

BLOCK, END, RECORD = 512, 16_384, 0.5
"""How far bytes may be off: tar rounds each example up, an index or filling ends each shard, and a record is measured as JSON,
which formats other than tar lay down in their own way."""


def promised_and_kept(recipe: Recipe, out: Path) -> tuple[PlanForecast, Manifest]:
    found = forecast_plan(recipe, known_sources(recipe, recipe.store_folder))
    build_plainly(recipe, Site(out))
    return found, read_manifest(out)


def require_kept(promised: PlanForecast, kept: Manifest, out: Path) -> None:
    assert not promised.estimated
    assert promised.fingerprint == kept.plan.fingerprint
    form = make_format(promised.format)
    records = [decode_record(bytes(m.record)) for shard in kept.shards for m in form.read(out / shard.name)]
    assert Counter(record.source for record in records) == Counter({s.name: s.draws for s in promised.sources if s.draws})
    assert (kept.examples, len(records), len(kept.shards)) == (promised.num_examples, promised.num_examples, promised.shards)
    assert sum(record.kind == "robot" for record in records) == promised.robot_examples
    for source in promised.sources:
        repeats = Counter(record.key.partition("-r")[0] for record in records if record.source == source.name)
        assert source.rows - len(repeats) == source.unseen
        assert set(repeats.values()) <= {source.repeats_min, source.repeats_max}


@pytest.fixture(scope="module")
def prepared(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of stores that are ready."""
    store = tmp_path_factory.mktemp("stores")
    recipe = read_recipe(place / "mixture.yaml", overrides=[f"store={store}"])
    build_plainly(recipe, Site(store / "out"))
    return store


def tolerance(promised: PlanForecast) -> float:
    """Bytes by which an output may differ from its plan."""
    records = sum(source.draws * source.record_bytes for source in promised.sources)
    return BLOCK * promised.num_examples + END * promised.shards + (RECORD * records if promised.format != "webdataset" else 0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", ["0", "1/3", "1"])
def test_every_format_keeps_what_the_plan_promises(place: Path, prepared: Path, tmp_path: Path, name: str, share: str) -> None:
    if name == "arrayrecord":
        pytest.importorskip("array_record")
    asked = [f"store={prepared}", f"shards.format={name}", "shards.bytes=300kB", "size.num_examples=700"]
    promised, kept = promised_and_kept(read_recipe(place / "mixture.yaml", overrides=asked, robot_frac=share), tmp_path / "out")
    require_kept(promised, kept, tmp_path / "out")
    assert abs(kept.bytes - promised.bytes) <= tolerance(promised)


weights = st.sampled_from(["0.5", "1", "2", "7/3"])


@given(
    share=st.fractions(0, 1, max_denominator=50),
    examples=st.integers(1, 150),
    weights=st.fixed_dictionaries(dict.fromkeys(["robot.arm", "robot.leg", "web.qa", "web.cap"], weights)),
    weighting=st.sampled_from(["rows", "share"]),
    shard=st.sampled_from(["30kB", "1MB"]),
    seed=st.integers(0, 100),
)
@tries(6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_recipe_keeps_what_its_plan_promises(
    place: Path, prepared: Path, share: Fraction, examples: int, weights: dict[str, str], weighting: str, shard: str, seed: int
) -> None:
    asked = [f"{name}.weight={weight}" for name, weight in weights.items()]
    asked += [
        f"store={prepared}",
        f"size.num_examples={examples}",
        f"weighting={weighting}",
        f"shards.bytes={shard}",
        f"seed={seed}",
    ]
    recipe = read_recipe(place / "mixture.yaml", overrides=asked, robot_frac=str(share))
    with TemporaryDirectory() as folder:
        promised, kept = promised_and_kept(recipe, Path(folder) / "out")
        require_kept(promised, kept, Path(folder) / "out")


def test_an_estimate_keeps_within_its_range(place: Path, tmp_path: Path) -> None:
    """Small toys are read whole, so what is estimated of them is their bytes alone."""
    recipe: Any = read_recipe(place / "mixture.yaml", overrides=[f"store={tmp_path / 'store'}", "shards.bytes=100kB"])
    promised, kept = promised_and_kept(recipe, tmp_path / "out")
    assert promised.estimated and promised.totals is not None
    assert kept.examples == promised.num_examples
    assert abs(kept.bytes - promised.bytes) <= tolerance(promised)
