"""The same bytes by every path: plain Python, Beam inline, threads, processes, any number of workers, two runs, resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally, plan_locally
from rt2data.build import MIXTURE, Output, Site, build_plainly
from rt2data.errors import InternalError, LockedError, RtError, UsageError
from rt2data.io.publish import exclusively
from rt2data.plan.recipe import Recipe
from rt2data.prepare.unit import UnitSummary
from rt2data.seal.manifest import read_manifest
from rt2data.write.shard import ShardInfo, ShardOrder, write_shard
from tests.conftest import sha256_of

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


def test_beam_equals_plain_python(toy_recipe: Recipes, tmp_path: Path) -> None:
    plain = build_plainly(toy_recipe(store=tmp_path / "store-plain"), Site(tmp_path / "plain"))
    want = sha256_of(tmp_path / "plain")
    assert plain.examples == 96
    for kind, workers in (("threads", 0), ("threads", 1), ("threads", 4), ("processes", 1), ("processes", 2), ("processes", 4)):
        name = f"{kind}-{workers}"
        pool = make_pool(kind, workers)  # type: ignore[arg-type]
        try:
            built = build_locally(toy_recipe(store=tmp_path / f"store-{name}"), Site(tmp_path / name), pool)
        finally:
            pool.close()
        assert sha256_of(tmp_path / name) == want, name
        assert built.plan == plain.plan
        assert built.shards == plain.shards


def test_a_second_build_parses_nothing_again(toy_recipe: Recipes, tmp_path: Path) -> None:
    heard: list[object] = []
    for name, changed in (("a", {}), ("b", {"robot_frac": "2/3"}), ("c", {"codec": "rt2", "template": "openvla"})):
        heard.clear()
        build_locally(toy_recipe(**changed), Site(tmp_path / name), make_pool("threads", 2), heard.append)
        units = [r for r in heard if isinstance(r, UnitSummary)]
        assert len(units) == (7 if name == "a" else 0)
        assert any(isinstance(r, ShardInfo) for r in heard)


def test_a_finished_mixture_is_not_built_again(toy_recipe: Recipes, tmp_path: Path) -> None:
    first = build_locally(toy_recipe(), Site(tmp_path / "out"), make_pool("threads", 1))
    heard: list[object] = []
    again = build_locally(toy_recipe(), Site(tmp_path / "out"), make_pool("threads", 1), heard.append)
    assert again == first
    assert not [r for r in heard if isinstance(r, ShardInfo)]


def test_another_mixture_needs_overwrite(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    before = sha256_of(tmp_path / "out")
    with pytest.raises(UsageError, match="--overwrite"):
        build_plainly(toy_recipe(robot_frac="1/3"), Site(tmp_path / "out"))
    assert sha256_of(tmp_path / "out") == before
    replaced = build_plainly(toy_recipe(robot_frac="1/3"), Site(tmp_path / "out", overwrite=True))
    assert read_manifest(tmp_path / "out") == replaced
    assert abs(replaced.robot_frac - 1 / 3) * replaced.examples <= 1


def test_a_held_output_is_left_alone(toy_recipe: Recipes, tmp_path: Path) -> None:
    with exclusively(tmp_path / ".out.lock", "out"), pytest.raises(LockedError):
        build_plainly(toy_recipe(), Site(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_refused(toy_recipe: Recipes, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="something else"):
        build_plainly(toy_recipe(), Site(tmp_path / "out", overwrite=True))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_an_interrupted_build_resumes(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "whole"))
    site = Site(tmp_path / "out")
    with pytest.raises(RuntimeError, match="stopped"):
        build_plainly(toy_recipe(), site, output=_stopping(shards=3))
    assert not site.out.exists()
    assert len(list(site.staging.glob("info-*.json"))) == 3
    with pytest.raises(UsageError, match="--restart"):
        build_plainly(toy_recipe(robot_frac="2/3"), site)
    heard: list[object] = []
    build_locally(toy_recipe(), site, make_pool("threads", 2), heard.append)
    kept = [r for r in heard if isinstance(r, ShardInfo) and not r.fresh]
    assert len(kept) == 3
    assert sha256_of(site.out) == sha256_of(tmp_path / "whole")
    assert not site.staging.exists()


def _stopping(shards: int) -> Output:
    done: list[ShardOrder] = []

    def write(order: ShardOrder) -> ShardInfo:
        if len(done) == shards:
            raise RuntimeError("stopped")
        done.append(order)
        return write_shard(order)

    return replace(MIXTURE, phases=((ShardOrder, write),))


def test_what_a_killed_worker_left_is_not_published(toy_recipe: Recipes, tmp_path: Path) -> None:
    """Its order was carried out by another, under another temporary name."""
    todo = replace(MIXTURE, phases=((ShardOrder, _after_a_killed_worker),))
    build_plainly(toy_recipe(), Site(tmp_path / "out"), output=todo)
    assert not list(tmp_path.rglob("*.tmp"))


def _after_a_killed_worker(order: ShardOrder) -> ShardInfo:
    (Path(order.folder) / f".shard-{order.index:06d}.tar.1.tmp").touch()
    return write_shard(order)


def test_a_plan_writes_no_shard(toy_recipe: Recipes, tmp_path: Path) -> None:
    job = plan_locally(toy_recipe(), make_pool("threads", 1))
    assert job.plan.num_examples == 96
    assert not list(tmp_path.glob("**/shard-*"))
    built = build_plainly(toy_recipe(), Site(tmp_path / "out"))
    assert built.plan == job.plan


def test_failures_keep_their_type_through_beam_and_processes(toy_recipe: Recipes, tmp_path: Path) -> None:
    pool = make_pool("processes", 2)
    try:
        with pytest.raises(RtError) as caught:
            build_locally(toy_recipe(robot__arm__action_space="metaworld"), Site(tmp_path / "out"), pool)
    finally:
        pool.close()
    assert caught.value.code == 3
    assert "step 0" in caught.value.where
    assert not (tmp_path / "out").exists()


def kill_myself(order: Path) -> str:
    """A work order that kills its worker, the first time or always."""
    import os
    import signal

    if order.name == "always" or not order.exists():
        order.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_a_killed_worker_gets_its_order_back_once(tmp_path: Path) -> None:
    pool = make_pool("processes", 2)
    try:
        once = pool.submit(kill_myself, tmp_path / "once")
        always = pool.submit(kill_myself, tmp_path / "always")
        assert once.result(timeout=30) == "done"
        with pytest.raises(InternalError, match="died 2 times"):
            always.result(timeout=30)
        assert pool.submit(len, "still working").result(timeout=30) == 13
    finally:
        pool.close()
