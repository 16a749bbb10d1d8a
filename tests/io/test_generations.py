"""Generations of outputs in an object store: which are kept, which go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rt2data.io import generations, location
from rt2data.io.generations import CURRENT, KEPT, LEASE, current, publish_generation

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.here import used_here
from tests.objects.stand_in import StandIn, stand_in


@pytest.fixture(scope="module")
def store() -> Iterator[StandIn]:
    with stand_in() as found, used_here(found.env("s3")):
        yield found


@pytest.fixture
def out(store: StandIn, request: pytest.FixtureRequest) -> Path:
    return location.absolute(f"s3://bucket/{request.node.name}")


def written(out: Path, *names: str) -> None:
    for name in names:
        for file in ("shard-000000.tar", "dataset/data.parquet"):
            location.write_whole(out / name / file, b"content")


def there(out: Path) -> set[str]:
    return {entry.name for entry in location.children(out)}


NAMES = [f"{number:012x}" for number in range(KEPT + 2)]


def test_those_kept_no_longer_go(out: Path) -> None:
    for name in NAMES:
        written(out, name)
        publish_generation(out, name)
        assert current(out) == out / name
    assert there(out) == {CURRENT, *NAMES[-KEPT:]}


@pytest.mark.parametrize("age_s", [0.0, 3600.0])
def test_abandoned_ones_go_when_the_next_is_published(out: Path, age_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those to which something was written lately may yet be gone on with. What is not ours stays."""
    monkeypatch.setattr(generations, "ABANDONED_S", age_s)
    written(out, NAMES[0])
    publish_generation(out, NAMES[0])
    written(out, "aaaaaaaaaaaa", NAMES[1], "mine")
    location.write_whole(out / LEASE, b"{}")
    publish_generation(out, NAMES[1])
    kept = {CURRENT, LEASE, "mine", *NAMES[:2]}
    assert there(out) == (kept if age_s == 0 else kept | {"aaaaaaaaaaaa"})


def test_what_cannot_be_listed_does_not_undo_what_is_published(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def children(folder: Path) -> Iterator[None]:
        raise OSError(5, "the store fails", str(folder))

    monkeypatch.setattr(location, "children", children)
    written(out, NAMES[0])
    publish_generation(out, NAMES[0])
    assert current(out) == out / NAMES[0]
