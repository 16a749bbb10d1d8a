"""Who reads what, as arithmetic: nothing lost or repeated for any number of ranks and workers, and the mixture even for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.loading.blending import make_layout
from rt2data.loading.sampling import STRETCH, Cursor, Cut, Deal, RankShare, Remainder, SampleLayout, Turns, cut_at
from rt2data.order import BLOCK, I64, interleave
from tests.laws import tries

SIZES = st.lists(st.integers(0, 70), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) >= 8)
WORLDS = st.integers(1, 8)
REMAINDERS: st.SearchStrategy[Remainder] = st.sampled_from(["drop", "pad", "keep"])


def dealt(deal: Deal, taken: int | None = None) -> list[list[int]]:
    """The first `taken` positions of each rank, or all."""
    lengths = [min(deal.length(rank), deal.total if taken is None else taken) for rank in range(deal.world)]
    return [deal.positions(rank, 0, length).tolist() for rank, length in enumerate(lengths)]


def remaining(cut: Cut, total: int) -> list[int]:
    """Every position that a cut still holds."""
    return sorted([*range(cut.position, total), *(p for start, stop in cut.pending for p in range(start, stop))])


@given(SIZES, st.integers(0, 5), st.booleans())
def test_an_epoch_holds_every_example_once(sizes: list[int], epoch: int, shuffle: bool) -> None:
    layout = SampleLayout(tuple(sizes), seed=3, shuffle=shuffle)
    shards, places = layout.locate(epoch, np.arange(layout.total))
    found = sorted(zip(shards.tolist(), places.tolist(), strict=True))
    assert found == [(shard, place) for shard, size in enumerate(sizes) for place in range(size)]


@given(SIZES, st.integers(0, 5))
def test_blocks_of_an_epoch_are_blocks_of_the_shards(sizes: list[int], epoch: int) -> None:
    layout = SampleLayout(tuple(sizes))
    whole = sum(size // BLOCK for size in sizes) * BLOCK
    shards, places = layout.locate(epoch, np.arange(whole))
    for start in range(0, whole, BLOCK):
        assert len(set(shards[start : start + BLOCK].tolist())) == 1
        assert places[start] % BLOCK == 0 and (np.diff(places[start : start + BLOCK]) == 1).all()


def test_runs_are_long() -> None:
    layout = SampleLayout((64, 64, 70), shuffle=False)
    assert list(layout.runs(0, np.arange(layout.total))) == [(0, 0, 64), (1, 0, 64), (2, 0, 70)]


def test_epochs_read_the_shards_in_new_orders() -> None:
    layout = SampleLayout((16,) * 20)
    orders = {tuple(layout.locate(epoch, np.arange(0, 320, 16))[0].tolist()) for epoch in range(4)}
    assert len(orders) == 4
    assert SampleLayout((16,) * 20, seed=1).locate(0, np.arange(320))[0].tolist() != layout.locate(0, np.arange(320))[0].tolist()


class Watched(tuple[int, ...]):
    """Counts how often all sizes are gone through."""

    walks = 0

    def __iter__(self) -> Iterator[int]:
        Watched.walks += 1
        return super().__iter__()

    def __hash__(self) -> int:
        Watched.walks += 1
        return super().__hash__()


@pytest.mark.parametrize("shards", [[], [12, 8]])
def test_looking_up_does_not_go_through_all_shards(shards: list[int]) -> None:
    """Else reading slows down with the number of shards."""
    layout = make_layout([160] * 20, [[1920], [1280]], shards, 3, True)
    object.__setattr__(layout, "sizes", Watched(layout.sizes))
    share, cursor, walks = RankShare(layout, 1, 4, epochs=3), Cursor(), [0]
    for _ in range(100):
        taken = share.take(cursor, BLOCK)
        assert sum(run.stop - run.start for run in share.runs(taken)) == BLOCK
        cursor = taken.cursor
        walks.append(Watched.walks)
    assert walks[1] == walks[40] and walks[-1] - walks[1] <= 4


@given(st.integers(8, 700), WORLDS, REMAINDERS, st.integers(0, 3))
def test_ranks_get_everything_once(total: int, world: int, remainder: Remainder, epoch: int) -> None:
    ranks = dealt(Deal(Cut(epoch), total, world, 5, remainder))
    counts = Counter(position for rank in ranks for position in rank)
    lengths = {len(rank) for rank in ranks}
    if remainder == "keep":
        assert counts == Counter(range(total)) and max(lengths) - min(lengths) <= 1
    if remainder == "drop":
        assert lengths == {total // world} and max(counts.values(), default=1) == 1
    if remainder == "pad":
        assert lengths == {-(-total // world)} and set(counts) == set(range(total)) and sum(counts.values()) < total + world


@given(st.integers(8, 400), WORLDS, REMAINDERS, st.data())
def test_what_is_left_is_known_from_a_count(total: int, world: int, remainder: Remainder, data: st.DataObject) -> None:
    """Cut at any step, deal what is left to other ranks, cut again, ...: what was read and what is left are always the whole."""
    cut, read = Cut(2), Counter[int]()
    for _ in range(data.draw(st.integers(1, 4))):
        deal = Deal(cut, total, world, 7, remainder)
        taken = data.draw(st.integers(0, max(min(deal.length(rank) for rank in range(world)) - 1, 0)))
        read.update(position for rank in dealt(deal, taken) for position in rank)
        cut = deal.after(taken)
        world = data.draw(WORLDS)
    if remainder != "pad":
        assert cut.epoch == 3 or sorted([*read.elements(), *remaining(cut, total)]) == list(range(total))
    assert cut.epoch == 3 or set(read) | set(remaining(cut, total)) == set(range(total))
    assert cut.position % BLOCK == 0 or cut.position == total


@given(st.integers(16, 4000), WORLDS, st.integers(0, 60))
def test_whole_rounds_leave_no_trace(total: int, world: int, rounds: int) -> None:
    """At whole stretches per rank what is left is a plain suffix: a count of examples says it all, for any world."""
    taken = min(rounds, total // (STRETCH * world)) * STRETCH
    deal = Deal(Cut(), total, world)
    if taken < deal.length(0):
        assert deal.after(taken) == cut_at(taken * world, total)


@given(st.integers(1, 400), st.integers(0, 1300))
def test_a_count_is_a_cut(total: int, examples: int) -> None:
    cut = cut_at(examples, total)
    assert cut.epoch == examples // total
    assert remaining(cut, total) == list(range(examples % total, total))


@given(SIZES, WORLDS, st.integers(1, 3), REMAINDERS, st.data())
@tries(60)
def test_taking_in_pieces_is_taking_at_once(
    sizes: list[int], world: int, epochs: int, remainder: Remainder, data: st.DataObject
) -> None:
    share = RankShare(SampleLayout(tuple(sizes)), data.draw(st.integers(0, world - 1)), world, epochs, remainder)
    whole = share.take(Cursor(), 10**6)
    pieces, cursor, ended = [], Cursor(), False
    while not ended:
        part = share.take(cursor, data.draw(st.integers(1, 90)))
        pieces += list(share.runs(part))
        cursor, ended = part.cursor, part.ended
    assert flat(pieces) == flat(list(share.runs(whole))) and whole.ended and cursor == whole.cursor == Cursor(Cut(epochs))


def flat(runs: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    return [(shard, place) for shard, start, stop in runs for place in range(start, stop)]


@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 2000))
def test_workers_share_a_rank(workers: int, unit: int, total: int) -> None:
    owner = np.full(total, -1)
    for worker in range(workers):
        at, turns = 0, Turns(worker, workers, unit)
        while at < total:
            skip, count = turns.next(at)
            owner[at + skip : at + skip + count] = worker
            at += skip + count
    assert owner.tolist() == [i // unit % workers for i in range(total)]


def test_a_worker_goes_on_inside_its_turn() -> None:
    assert Turns(1, 3, 4).next(0) == (4, 4)
    assert Turns(1, 3, 4).next(6) == (0, 2)
    assert Turns(1, 3, 4).next(8) == (8, 4)


def robots(numerator: int, denominator: int, shards: int = 40, size: int = 16 * 26 + 5) -> list[I64]:
    """For each shard 1 where an example is of a robot, as a build would lay them out."""
    built = []
    for shard in range(shards):
        count = size * (shard + 1) * numerator // denominator - size * shard * numerator // denominator
        built.append(1 - interleave([[count], [size - count]], shard).astype(np.int64))
    return built


@pytest.mark.parametrize("fraction", [(1, 2), (2, 3), (17, 32), (33, 64), (3, 16), (5, 8), (1, 10)])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_no_rank_is_starved(fraction: tuple[int, int], world: int) -> None:
    """Each rank's robot share within 1 % after 1,000 examples and at the end; spread less than by drawing lots (chi-square)."""
    built, share = robots(*fraction), fraction[0] / fraction[1]
    layout = SampleLayout(tuple(map(len, built)))
    chi = 0.0
    for rank in range(world):
        reader = RankShare(layout, rank, world)
        shards, places = zip(*flat(list(reader.runs(reader.take(Cursor(), 10**6)))), strict=True)
        seen = np.array([built[shard][place] for shard, place in zip(shards, places, strict=True)])
        running = np.cumsum(seen) / np.arange(1, len(seen) + 1)
        assert np.abs(running[1000:] - share).max() < 0.01, (rank, world)
        chi += (seen.sum() - share * len(seen)) ** 2 / (share * (1 - share) * len(seen))
    assert chi < world  # its mean, were examples drawn one by one


@pytest.mark.parametrize("world", [2, 4, 8])
def test_taking_turns_does_not_alias(world: int) -> None:
    """33/64 and a half in 64: stretches hold 33 and 34 robots in turn, blocks 8 and 9. Ranks that took every n-th would differ."""
    built = np.concatenate(robots(67, 128, shards=1, size=STRETCH * 1000))
    naive = [built.reshape(-1, STRETCH)[rank::world].mean() for rank in range(world)]
    deal = Deal(Cut(), len(built), world)
    ours = [built[deal.positions(rank, 0, deal.length(rank))].mean() for rank in range(world)]
    assert max(abs(share - 67 / 128) for share in naive) > 0.007
    assert max(abs(share - 67 / 128) for share in ours) < 0.001
