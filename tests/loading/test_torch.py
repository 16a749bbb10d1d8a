"""The PyTorch dataset: the same batches for any number of workers, exact resume though workers read ahead, torchdata."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rt2data
from tests.loading.conftest import EXAMPLES, MANY, ROBOTS
from tests.loading.test_load import left
from tests.packages import need

pytestmark = [
    pytest.mark.trainers,
    pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:'set_vital' is deprecated"),
]
torch = need("torch")

from torch.utils.data import DataLoader  # noqa: E402

from rt2data.loading.torch import TorchMixture  # noqa: E402

LIGHT: dict[str, Any] = {"decode": None, "columns": ("key", "kind", "input_ids")}


def batches_of(dataset: Any, workers: int, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, batch_size=None, num_workers=workers, **options))


def names(batches: list[dict[str, Any]]) -> list[list[str]]:
    return [batch["key"] for batch in batches]


def test_a_batch_has_tensors(mixture: Path) -> None:
    opened = rt2data.load(mixture, resize=(16, 16))
    expected = next(rt2data.load(mixture, resize=(16, 16)).batches(8))
    batch = next(iter(TorchMixture(opened, 8)))
    assert batch["image"].dtype == torch.uint8 and batch["image"].shape == (8, 16, 16, 3)
    assert batch["action"].dtype == torch.float32 and batch["loss_mask"].dtype == torch.bool
    for name, value in expected.items():
        assert np.array_equal(batch[name].numpy(), value) if isinstance(value, np.ndarray) else batch[name] == value, name


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_batches_are_the_same_for_any_number_of_workers(mixture: Path, world: int) -> None:
    found = []
    for rank in range(world):
        plain = list(rt2data.load(mixture, rank=rank, world=world, remainder="keep", **LIGHT).batches(24))
        for workers in (0, 2, 4):
            opened = rt2data.load(mixture, rank=rank, world=world, remainder="keep", **LIGHT)
            assert names(batches_of(TorchMixture(opened, 24), workers)) == names(plain)
        found += [key for batch in plain for key in batch["key"]]
    assert len(found) == len(set(found)) == EXAMPLES


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_an_epoch_over_ranks_and_workers(large_mixture: Path, world: int, workers: int) -> None:
    """Every example exactly once; the share of robots within 1 % on each rank."""
    found = Counter[str]()
    for rank in range(world):
        opened = rt2data.load(large_mixture, rank=rank, world=world, remainder="keep", **LIGHT)
        batches = batches_of(TorchMixture(opened, 64), workers)
        found.update(key for batch in batches for key in batch["key"])
        kinds = Counter(kind for batch in batches for kind in batch["kind"])
        assert abs(kinds["robot"] / kinds.total() - ROBOTS) < 0.01
    assert len(found) == found.total() == MANY


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_resume_at_each_of_a_thousand_steps(mixture: Path, rank: int, world: int) -> None:
    """From before the first to before the last: the places of the whole rest, the next batch; every hundredth time all of it
    read, by workers too.
    """
    options: dict[str, Any] = {"rank": rank, "world": world, "epochs": world, **LIGHT}
    whole, places = batches_of(TorchMixture(rt2data.load(mixture, **options), 1), 0), left(rt2data.load(mixture, **options))
    assert len(whole) == len(places) == EXAMPLES
    again = TorchMixture(rt2data.load(mixture, **options), 1)
    states = [again.mixture.state_dict(), *(batch["resume"] for batch in whole[:-1])]
    for step, state in enumerate(states):
        again.load_state_dict(state)
        assert left(again.mixture) == places[step:]
        assert next(iter(again))["key"] == whole[step]["key"]
        if step % 100 == 50:
            again.load_state_dict(state)
            assert names(batches_of(again, step // 100 % 3)) == names(whole[step:])


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_resume_from_the_state_of_a_batch(mixture: Path, workers: int) -> None:
    whole = batches_of(TorchMixture(rt2data.load(mixture, epochs=2, **LIGHT), 24), workers)
    for step in (0, 1, 41, len(whole) - 2):
        opened = rt2data.load(mixture, epochs=2, state=whole[step]["resume"], **LIGHT)
        assert names(batches_of(TorchMixture(opened, 24), 3 - workers // 2)) == names(whole[step + 1 :])
        again = TorchMixture(rt2data.load(mixture, epochs=2, **LIGHT), 24)
        again.load_state_dict(whole[step]["resume"])
        assert names(batches_of(again, workers)) == names(whole[step + 1 :])


@pytest.mark.parametrize("workers", [0, 2])
def test_one_by_one(mixture: Path, workers: int) -> None:
    found = [example["key"] for example in DataLoader(TorchMixture(rt2data.load(mixture, **LIGHT)), None, num_workers=workers)]
    assert sorted(found) == sorted(example["key"] for example in rt2data.load(mixture, **LIGHT))


@pytest.mark.parametrize("workers", [0, 2])
def test_passes(mixture: Path, workers: int) -> None:
    """Persistent workers continue with the next epoch; new ones start from the epoch that was set."""
    whole = names(batches_of(TorchMixture(rt2data.load(mixture, epochs=2, **LIGHT), 25), 0))
    dataset = TorchMixture(rt2data.load(mixture, **LIGHT), 25)
    kept = DataLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=bool(workers))
    assert names(list(kept)) + names(list(kept)) == whole
    fresh = TorchMixture(rt2data.load(mixture, **LIGHT), 25)
    found = []
    for epoch in range(2):
        fresh.set_epoch(epoch)
        found += names(batches_of(fresh, workers))
    assert found == whole


def test_drop_last(mixture: Path) -> None:
    for workers in (0, 2):
        dropped = batches_of(TorchMixture(rt2data.load(mixture, **LIGHT), 48, drop_last=True), workers)
        assert [len(batch["key"]) for batch in dropped] == [48] * (EXAMPLES // 48)


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 24), (0, None), (2, 25), (2, None), (4, 24)])
def test_stateful_dataloader(mixture: Path, workers: int, batch_size: int | None) -> None:
    torchdata = need("torchdata.stateful_dataloader")

    def opened() -> Any:
        dataset = TorchMixture(rt2data.load(mixture, **LIGHT), batch_size)
        return torchdata.StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    whole = [batch["key"] for batch in opened()]
    assert len(whole) == (-(-EXAMPLES // batch_size) if batch_size else EXAMPLES)
    for step in (19, len(whole) - 1, len(whole)):
        first = opened()
        begun = iter(first)
        for _ in range(step):
            next(begun)
        second = opened()
        second.load_state_dict(first.state_dict())
        assert [batch["key"] for batch in second] == whole[step:]
