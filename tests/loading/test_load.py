"""`load` on a real mixture: everything once for any ranks and workers, exact resume at every example, elastic, faults named."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rt2data
from rt2data.errors import DataError, UsageError
from rt2data.formats.base import Member, make_format
from rt2data.loading import Mixture
from rt2data.loading import shards as loading_shards
from rt2data.loading.sampling import Turns
from rt2data.order import BLOCK
from tests.loading.conftest import EXAMPLES, ROBOTS
from tests.loading.test_sampling import flat

pytestmark = pytest.mark.long

KEYS: dict[str, Any] = {"decode": None, "columns": ("key", "kind")}


def keys(examples: Any) -> list[str]:
    return [example["key"] for example in examples]


def left(opened: Mixture) -> list[tuple[int, int]]:
    """Shard and place of each example to come."""
    return flat(list(opened.share.runs(opened.share.take(opened.cursor, 10**6))))


def as_worker(mixture: Mixture, turns: Turns) -> Iterator[str]:
    """What one worker of a rank reads."""
    offset, cursor, ended = 0, mixture.cursor, False
    while not ended:
        skip, count = turns.next(offset)
        passed = mixture.share.take(cursor, skip)
        if passed.ended:
            return
        ahead = mixture.share.take(passed.cursor, count)
        yield from (example["key"] for example in mixture.read(ahead))
        offset, cursor, ended = offset + skip + ahead.examples, ahead.cursor, ahead.ended


@pytest.fixture(scope="module")
def members(mixture: Path) -> list[Member]:
    """What the shards hold, by the format's own reader."""
    return [member for shard in sorted(mixture.glob("shard-*.tar")) for member in make_format("webdataset").read(shard)]


def test_the_library_stays_light() -> None:
    script = "import rt2data, sys; assert not {'numpy', 'msgspec', 'PIL'} & set(sys.modules); rt2data.load; "
    script += "heavy = {'pyarrow', 'pydantic', 'torch', 'tensorflow', 'apache_beam'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lead'"):
        _ = rt2data.lead


def test_everything_is_read_as_stored(mixture: Path, members: list[Member]) -> None:
    found = {example["key"]: example for example in rt2data.load(mixture, decode="jpeg")}
    assert len(found) == EXAMPLES == len(members)
    for member in members:
        example, record = found[member.key], json.loads(bytes(member.record))
        assert example.pop("image") == bytes(member.image)
        _require_same(example, record)


def _require_same(example: dict[str, Any], record: dict[str, Any]) -> None:
    """Equal, where floats are float32."""
    for name, value in record.items():
        mine = example[name]
        same = mine == value if not isinstance(mine, np.ndarray) else np.allclose(mine, np.array(value), atol=1e-6)
        assert same, (name, mine, value)
    assert example.keys() == record.keys()


def test_without_shuffle_the_order_is_that_of_the_shards(mixture: Path, members: list[Member]) -> None:
    order = keys(rt2data.load(mixture, shuffle=False, **KEYS))
    whole = [m.key for shard in _by_shard(mixture) for m in shard[: len(shard) // BLOCK * BLOCK]]
    tails = [m.key for shard in _by_shard(mixture) for m in shard[len(shard) // BLOCK * BLOCK :]]
    assert order == whole + tails


def _by_shard(mixture: Path) -> list[list[Member]]:
    return [list(make_format("webdataset").read(shard)) for shard in sorted(mixture.glob("shard-*.tar"))]


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_every_example_once(mixture: Path, world: int, workers: int) -> None:
    """Over all ranks and workers; and in the same order of batches for any number of workers."""
    whole = keys(rt2data.load(mixture, **KEYS))
    found: list[str] = []
    for rank in range(world):
        opened = rt2data.load(mixture, rank=rank, world=world, remainder="keep", **KEYS)
        parts = [list(as_worker(opened, Turns(w, workers or 1, 32))) for w in range(workers or 1)]
        found += [key for part in parts for key in part]
        batches = [[part[i : i + 32] for i in range(0, len(part), 32)] for part in parts]
        longest = max(map(len, batches))
        in_turn = [key for i in range(longest) for part in batches for key in (part[i] if i < len(part) else [])]
        assert in_turn == keys(opened)
    assert len(found) == EXAMPLES and Counter(found) == Counter(whole)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_each_rank_has_the_mixture(mixture: Path, world: int) -> None:
    """To a few examples: ranks of so few are cut inside a block. (For 1 % of more, see `test_no_rank_is_starved`.)"""
    for rank in range(world):
        kinds = [example["kind"] for example in rt2data.load(mixture, rank=rank, world=world, **KEYS)]
        assert abs(kinds.count("robot") - ROBOTS * len(kinds)) <= 4


def test_epochs(mixture: Path) -> None:
    opened = rt2data.load(mixture, **KEYS)
    first, second = keys(opened), keys(opened)
    assert first != second and sorted(first) == sorted(second) and opened.epoch == 2
    assert keys(rt2data.load(mixture, epochs=2, **KEYS)) == first + second
    assert keys(islice(rt2data.load(mixture, epochs=None, **KEYS), 2 * EXAMPLES)) == first + second
    opened.set_epoch(1)
    assert keys(opened) == second
    assert len(rt2data.load(mixture, epochs=3, world=3, **KEYS)) == 3 * (EXAMPLES // 3)
    with pytest.raises(TypeError, match="no length"):
        len(rt2data.load(mixture, epochs=None, **KEYS))


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (2, 3)])
def test_resume_at_every_example(mixture: Path, rank: int, world: int) -> None:
    """After each: the places of the whole rest, the next few examples, and sometimes all of them."""
    options: dict[str, Any] = {"rank": rank, "world": world, "epochs": 2, **KEYS}
    opened, states, order = rt2data.load(mixture, **options), [], []
    whole = left(opened)
    for example in opened:
        order.append(example["key"])
        states.append(json.dumps(opened.state_dict()))
    again = rt2data.load(mixture, **options)
    for step, state in enumerate(states[:-1], 1):
        again.load_state_dict(json.loads(state))
        assert left(again) == whole[step:]
        assert keys(islice(again, 3)) == order[step : step + 3]
        if step % 97 == 0:
            assert keys(rt2data.load(mixture, state=json.loads(state), **options)) == order[step:]


def test_resume_at_every_batch(mixture: Path) -> None:
    opened = rt2data.load(mixture, epochs=2, **KEYS)
    batches = [(batch["key"], opened.state_dict()) for batch in opened.batches(48)]
    assert [len(key) for key, _ in batches] == [48] * 41 + [32]
    start = rt2data.load(mixture, epochs=2, **KEYS)
    for number, (_, state) in enumerate(batches[:-1], 1):
        rest = rt2data.load(mixture, epochs=2, state=state, **KEYS).batches(48)
        assert next(rest)["key"] == batches[number][0]
        assert start.state_at(48 * number) == state
    assert len(list(rt2data.load(mixture, **KEYS).batches(48, drop_last=True))) == EXAMPLES // 48


@pytest.mark.parametrize("steps", [1, 17, 64, 100, 120])
@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 6), (8, 2)])
def test_elastic(mixture: Path, before: int, after: int, steps: int) -> None:
    """Ranks that stand at the same step may become more or fewer: the epoch still holds every example once."""
    read, states = [], []
    for rank in range(before):
        opened = rt2data.load(mixture, rank=rank, world=before, **KEYS)
        read += keys(islice(opened, steps))
        states.append(opened.state_dict())
    assert all(state == states[0] for state in states) and states[0]["examples"] == len(read)
    for rank in range(after):
        read += keys(rt2data.load(mixture, rank=rank, world=after, remainder="keep", state=states[0], **KEYS))
    assert sorted(read) == sorted(keys(rt2data.load(mixture, **KEYS)))


def test_start_is_a_count_of_examples(mixture: Path) -> None:
    order = keys(rt2data.load(mixture, epochs=2, **KEYS))
    for start in (0, 64, EXAMPLES, EXAMPLES + 128):
        assert keys(rt2data.load(mixture, epochs=2, start=start, **KEYS)) == order[start:]
    assert sorted(keys(rt2data.load(mixture, start=37, **KEYS))) == sorted(order[37:EXAMPLES])
    assert rt2data.load(mixture, start=EXAMPLES + 37, **KEYS).consumed == EXAMPLES + 37


def test_a_batch_is_filled_up(mixture: Path) -> None:
    batch = next(rt2data.load(mixture, resize=(24, 20)).batches(16))
    robot = np.array([kind == "robot" for kind in batch["kind"]])
    assert 0 < robot.sum() < 16
    assert batch["image"].shape == (16, 24, 20, 3) and batch["image"].dtype == np.uint8
    assert (batch["input_ids"][~batch["attention_mask"]] == 0).all() and not batch["loss_mask"][~batch["attention_mask"]].any()
    assert batch["input_ids"].shape == batch["loss_mask"].shape and batch["loss_mask"].any(axis=1).all()
    assert batch["action"].shape == batch["action_mask"].shape == (16, 7) and batch["action_bins"].shape == (16, 8)
    assert (batch["action_mask"].all(axis=1) == robot).all() and not batch["action_mask"][~robot].any()
    assert not batch["action"][~robot].any() and batch["action"][robot].any() and batch["terminate"].dtype == np.bool_
    opened = rt2data.load(mixture, decode=None)
    longest = opened.contents.longest
    assert {b["input_ids"].shape for b in opened.batches(16, length=longest, drop_last=True)} == {(16, longest)}
    with pytest.raises(UsageError, match="in batches of length 5"):
        next(rt2data.load(mixture, decode=None).batches(16, length=5))


def test_images(mixture: Path) -> None:
    whole = next(iter(rt2data.load(mixture)))["image"]
    assert whole.shape == (32, 32, 3) and whole.flags.writeable
    small = next(iter(rt2data.load(mixture, resize=(16, 16))))["image"]
    mean = whole.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).mean() < 16  # the same image
    assert np.array_equal(small, next(iter(rt2data.load(mixture, resize=16)))["image"])
    wide = next(iter(rt2data.load(mixture, resize=(8, 32))))["image"]
    assert wide.shape == (8, 32, 3) and np.abs(wide.astype(int) - whole[12:20]).max() == 0  # the middle, unscaled
    assert "image" not in next(iter(rt2data.load(mixture, decode=None)))


def test_an_index_next_to_a_shard_is_used(mixture: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixture, tmp_path / "copy")
    order = keys(rt2data.load(copy, **KEYS))
    for shard in copy.glob("*.tar"):
        fmt = make_format("webdataset")
        ends = np.cumsum([fmt.example_bytes([len(m.image)], len(m.record)) for m in fmt.read(shard)])
        shard.with_name(shard.name + ".idx").write_bytes(struct.pack(f"<{len(ends) + 1}Q", 0, *ends.tolist()))
    _require_reads(copy, order)
    for index in copy.glob("*.idx"):
        index.rename(index.with_suffix(".gone"))
    _require_reads(copy, order)
    for index in copy.glob("*.gone"):
        index.rename(index.with_suffix(".idx"))
    index = next(copy.glob("*.idx"))
    index.write_bytes(index.read_bytes()[:-8])
    with pytest.raises(DataError, match="an index of another shard"):
        list(rt2data.load(copy, **KEYS))


@pytest.mark.parametrize("indexed", [True, False])
def test_offsets_are_kept_of_the_last_shards_only(
    mixture: Path, tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their memory does not grow with the mixture, and what is read does not change."""
    order = keys(rt2data.load(mixture, **KEYS))
    copy = shutil.copytree(mixture, tmp_path / "copy", ignore=None if indexed else shutil.ignore_patterns("*.idx"))
    monkeypatch.setattr(loading_shards, "_OFFSETS", 200)
    opened, held = rt2data.load(copy, **KEYS), []
    for number, example in enumerate(opened):
        assert example["key"] == order[number]
        held.append(sum(map(len, opened.shards._starts.values())))
        assert held[-1] == opened.shards._held
    assert 100 < max(held) <= 200


def _require_reads(copy: Path, order: list[str]) -> None:
    assert keys(rt2data.load(copy, **KEYS)) == order
    assert keys(rt2data.load(copy, decode="jpeg", columns=("key",))) == order
    assert keys(rt2data.load(copy, start=640, **KEYS)) == order[640:]


def test_it_travels_to_other_processes(mixture: Path) -> None:
    opened = rt2data.load(mixture)
    next(iter(opened))
    there: Mixture = pickle.loads(pickle.dumps(opened))
    assert keys(there) == keys(rt2data.load(mixture, **KEYS))[1:]


def test_faults_are_named(mixture: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixture, tmp_path / "copy")
    shard = copy / "shard-000003.tar"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(DataError, match=r"a shard is missing .*shard-000003"):
        rt2data.load(copy)
    shard.write_bytes(content[:-512])
    with pytest.raises(DataError, match=r"bytes where the manifest says .*shard-000003"):
        rt2data.load(copy)
    shard.write_bytes(content[:1] + b"?" + content[2:])
    with pytest.raises(DataError, match=r"a damaged member header .*shard-000003.tar byte 0"):
        list(rt2data.load(copy))
    middle = content.index(b"\xff\xda") + 40
    shard.write_bytes(content[:middle] + b"\xff\xd9" * 60 + content[middle + 120 :])
    with pytest.raises(DataError, match=r"does not decode: .*shard-000003.tar example "):
        list(rt2data.load(copy))
    (copy / "manifest.json").write_text((copy / "manifest.json").read_text()[:-300])
    with pytest.raises(DataError, match="a damaged manifest"):
        rt2data.load(copy)
    with pytest.raises(DataError, match="no manifest"):
        rt2data.load(tmp_path)


def test_mixtures_of_older_records_are_refused(mixture: Path, tmp_path: Path) -> None:
    manifest = json.loads((mixture / "manifest.json").read_text())
    manifest["plan"]["version"] = 2
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest version 1, plan version 2 .*build it again"):
        rt2data.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rank": 2, "world": 2}, "rank 2 of world 2"),
        ({"world": 5000}, "5000 ranks for"),
        ({"epochs": 0}, "epochs=0"),
        ({"start": -1}, "start=-1"),
        ({"remainder": "lose"}, "remainder='lose'"),
        ({"decode": "bgr"}, "decode='bgr'"),
        ({"decode": "jpeg", "resize": (8, 8)}, "resize="),
        ({"columns": ("kez",)}, "no column is called 'kez'"),
    ],
)
def test_arguments_that_make_no_sense(mixture: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        rt2data.load(mixture, **options)


def test_states_are_checked(mixture: Path) -> None:
    opened = rt2data.load(mixture, **KEYS)
    state = opened.state_dict()
    for change, error in (
        ({"mixture": "other"}, UsageError),
        ({"seed": 1}, UsageError),
        ({"version": 2}, DataError),
        ({"position": 7}, DataError),
        ({"position": 10**9}, DataError),
        ({"position": 64, "pending": [[5, 3]]}, DataError),
        ({"position": 64, "pending": [[5, 9], [8, 12]]}, DataError),
        ({"taken": -1}, DataError),
        ({"extra": 1}, DataError),
    ):
        with pytest.raises(error):
            opened.load_state_dict(state | change)
    with pytest.raises(DataError, match="not the state of a mixture"):
        opened.load_state_dict([])  # type: ignore[arg-type]
