"""Compaction changes where images are and nothing else: the same rows, the same bytes, however often it is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally
from rt2data.build import Site, build_plainly, preparations, prepare_plainly
from rt2data.errors import SourceChangedError
from rt2data.io.stamps import Stamp
from rt2data.order import key64
from rt2data.plan.recipe import Recipe, canonical, from_canonical
from rt2data.prepare import blobs, compact
from rt2data.prepare.blobs import BlobsSummary, add_blobs, remove_spills
from rt2data.prepare.catalog import kept_stores
from rt2data.prepare.compact import AUTO_IMAGES, SPILL, Order, SpillOrder, compact_orders, decide, write_spill
from rt2data.prepare.gather import RowsSummary
from rt2data.prepare.row_table import ROWS, ImageEntry, rows_table
from rt2data.prepare.store import Store, read_stamps, rows_file, write_rows, write_stamps
from tests.conftest import sha256_of
from tests.laws import tries

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]

slow = pytest.mark.slow


class Use(NamedTuple):
    """An image of a row: the file, which part of it, whether a mixture takes it."""

    file: int
    part: int
    chosen: bool


USES = st.lists(st.builds(Use, st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=3)
STORES = st.dictionaries(
    st.sampled_from(["train", "val"]), st.lists(st.lists(USES, max_size=9), min_size=1, max_size=3), min_size=1
)


def content_of(file: int, part: int) -> bytes:
    """An image of its own size and bytes; parts of a file lie one after another, with gaps."""
    return bytes([16 * file + part]) * (3 + 5 * part + file)


def offset_of(file: int, part: int) -> int:
    return sum(len(content_of(file, before)) + 2 for before in range(part))


def entry(use: Use) -> ImageEntry:
    content = content_of(use.file, use.part)
    digest = xxhash.xxh3_64_intdigest(content)
    return ImageEntry("front", 0, use.chosen, use.file, offset_of(use.file, use.part), len(content), 1, 1, "jpeg", digest)


def gathered(folder: Path, store: dict[str, list[list[list[Use]]]]) -> list[RowsSummary]:
    """The staging folder of a store whose rows are gathered: files of rows of each split, rows, images of each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder.parent / f"{folder.name}-source-{file}" for file in range(4)]
    for file, path in enumerate(paths):
        path.write_bytes(b"".join(content_of(file, part) + b"--" for part in range(6)))
    write_stamps(folder / "files.parquet", [Stamp.of(str(path)) for path in paths])
    return [write_gathered(folder, split, number, rows) for split, files in store.items() for number, rows in enumerate(files)]


def write_gathered(folder: Path, split: str, number: int, rows: list[list[Use]]) -> RowsSummary:
    keys = [f"{split}{number}-{row}" for row in range(len(rows))]
    values: dict[str, list[Any]] = {
        "key": keys,
        "order": [row for row, _ in enumerate(keys)],
        "group": ["g"] * len(rows),
        "split": [split] * len(rows),
        "digest": [key64("digest", key) for key in keys],
        "images": [[entry(use) for use in uses] for uses in rows],
        **{name: [0] * len(rows) for name in ("step", "steps", "pick", "marks")},
        "answers": [[]] * len(rows),
        "text": ["pick"] * len(rows),
        "terminate": [False] * len(rows),
    }
    write_rows(rows_file(folder, split, number), rows_table({name: values.get(name, [None] * len(rows)) for name in ROWS.names}))
    taken = [entry(use).length for uses in rows for use in uses if use.chosen]
    counts = {"image_bytes": sum(taken), "fewest": 0, "most": 3, "text_bytes": 0, "formats": {"jpeg": len(taken)}}
    return RowsSummary(name="arm", split=split, number=number, rows=len(rows), digest=f"{split}{number}", **counts)


def carry_out(orders: Sequence[Order], *, at_most: int = 10**9) -> list[BlobsSummary]:
    """Kind after kind, as every runner does; or only the first of them, as one that is killed."""
    by_kind = [(order, work) for kind, work in SPILL for order in orders if isinstance(order, kind)][:at_most]
    return [done for order, work in by_kind if isinstance(done := work(order), BlobsSummary)]


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.name: pq.read_table(path).to_pylist() for path in folder.glob("rows-*")}


def blobs_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("images-*")}


def require_same(before: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Fails unless each row is the same but for the places of the images that a mixture takes, which hold the same bytes."""
    stamps, after = read_stamps(folder / "files.parquet"), rows_of(folder)
    assert list(before) == list(after)
    for was, now in ((was, now) for name, rows in before.items() for was, now in zip(rows, after[name], strict=True)):
        old, new = was.pop("images"), now.pop("images")
        assert was == now and len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            assert one | {"file": 0, "offset": 0} == other | {"file": 0, "offset": 0}
            assert one["chosen"] or one == other
            assert (other["file"] >= 4) == one["chosen"]
            content = Path(stamps[other["file"]].path).read_bytes()[other["offset"] :][: other["length"]]
            assert xxhash.xxh3_64_intdigest(content) == one["xxh3"]
    for stamp in filter(lambda stamp: stamp.path, stamps):
        assert Stamp.of(stamp.path) == stamp


@pytest.fixture(scope="module")
def small() -> Any:
    """Row groups of four rows, spills and groups of some images."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (blobs, "WINDOW", 4),
            (compact, "WINDOW", 4),
            (compact, "LEAST", 40),
            (compact, "PIECE", 1),
            (compact, "IMAGES", 5),
            (blobs, "CHUNK", 30),
        ):
            patch.setattr(module, name, value)
        yield


@pytest.mark.usefixtures("small")
@tries(30)
@given(store=STORES)
def test_the_same_rows_and_bytes(store: dict[str, list[list[list[Use]]]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("store") / "staging"
    rows = gathered(folder, store)
    before = rows_of(folder)
    done = carry_out(compact_orders("arm", folder, rows))
    assert sorted(number for each in done for number, *_ in each.blobs) == list(range(4, 4 + sum(len(d.blobs) for d in done)))
    for _ in range(2):  # sealing may be tried again
        add_blobs(folder, folder, done)
    remove_spills(folder, done)
    require_same(before, folder)
    assert {path.name for path in folder.iterdir()} == {*before, *blobs_of(folder), "files.parquet"}


@pytest.mark.usefixtures("small")
def test_a_row_group_has_each_image_once_in_the_order_of_its_rows(tmp_path: Path) -> None:
    uses = [[Use(2, 1, True), Use(0, 3, True)], [Use(0, 3, True)], [Use(1, 0, False)], [Use(2, 1, True)], [Use(0, 3, True)]]
    done = carry_out(compact_orders("arm", tmp_path / "s", gathered(tmp_path / "s", {"train": [uses]})))
    assert [each.blobs for each in done] == [((4, "images-train-00000-0.bin", 28), (5, "images-train-00000-1.bin", 18))]
    assert list(blobs_of(tmp_path / "s").values()) == [content_of(2, 1) + content_of(0, 3), content_of(0, 3)]


MANY = {"train": [[[Use((row + at) % 4, row % 6, at < 2) for at in range(3)] for row in range(11)] for _ in range(3)]}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("killed", [n if n in (3, 15) else pytest.param(n, marks=slow) for n in range(0, 24, 3)])
def test_an_attempt_that_was_killed_is_gone_on_with(killed: int, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "s"
    want = carry_out(compact_orders("arm", whole, gathered(whole, MANY)))
    rows = gathered(folder, MANY)
    before = rows_of(folder)
    orders = compact_orders("arm", folder, rows)
    carry_out(orders, at_most=killed)
    if killed % 2:  # gathering is done again too, and points every row at the sources
        gathered_again = [write_gathered(folder, "train", number, uses) for number, uses in enumerate(MANY["train"])]
        assert gathered_again == rows
    again = compact_orders("arm", folder, rows)
    assert again == orders and len(orders) > 9
    assert carry_out(again) == want
    assert blobs_of(folder) == blobs_of(whole)
    add_blobs(folder, folder, want)
    require_same(before, folder)


@pytest.mark.usefixtures("small")
def test_orders_that_are_done_read_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = compact_orders("arm", tmp_path / "s", gathered(tmp_path / "s", MANY))
    done = carry_out(orders)
    monkeypatch.setattr(compact, "each_image", lambda *_: pytest.fail("reads an image"))
    assert carry_out(orders) == done


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("keeps_stamp", [True, False])
def test_a_changed_image_is_named(keeps_stamp: bool, tmp_path: Path) -> None:
    """Exit 7, whether the file says that it changed or only the bytes of the image do."""
    folder = tmp_path / "s"
    orders = compact_orders("arm", folder, gathered(folder, MANY))
    source = tmp_path / "s-source-2"
    content = bytearray(source.read_bytes())
    content[offset_of(2, 3)] ^= 1
    source.write_bytes(content)
    if keeps_stamp:
        stamps = read_stamps(Path(orders[0].task.work) / "files.parquet")
        write_stamps(Path(orders[0].task.work) / "files.parquet", [Stamp.of(each.path) for each in stamps])
        compact._files.cache_clear()
    with pytest.raises(SourceChangedError, match="source arm changed") as caught:
        carry_out(orders)
    assert caught.value.code == 7 and str(source) in str(caught.value.where)
    assert not blobs_of(folder)


@pytest.mark.usefixtures("small")
def test_spills_and_groups_are_bounded(tmp_path: Path) -> None:
    rows = gathered(tmp_path / "s", MANY)
    orders = compact_orders("arm", tmp_path / "s", rows)
    task = orders[0].task
    ranges = [order for order in orders if isinstance(order, SpillOrder)]
    files = read_stamps(tmp_path / "s" / "files.parquet")
    assert len(ranges) == task.ranges == -(-sum(stamp.size for stamp in files) // task.step)
    carry_out(orders, at_most=task.places)
    for order in ranges:
        write_spill(order)
    content = [Path(task.work, f"spill-{order.number:05d}.bin").read_bytes() for order in ranges]
    head = 8 * (task.groups + 1)
    starts = [np.frombuffer(each[:head], "<i8") for each in content]
    assert all((begins[0], begins[-1]) == (head, len(each)) for begins, each in zip(starts, content, strict=True))
    assert all(one <= other for begins in starts for one, other in pairwise(begins.tolist()))


def test_what_auto_means() -> None:
    assert decide("auto", True, AUTO_IMAGES) == "never"
    assert decide("auto", True, AUTO_IMAGES + 1) == "spill"
    assert decide("auto", False, 10**12) == "never"
    for how in ("never", "spill", "runner"):
        assert decide(how, False, 1) == decide(how, True, 10**12) == how


def stores_of(root: Path) -> dict[str, Path]:
    """Folders of complete stores by the name of their source and whether they are compacted."""
    return {f"{info.name}{' compact' * info.compacted}": each.path for each in map(Store, root.glob("*-*")) if (info := each.info)}


def files_of(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for pattern in patterns for path in sorted(folder.glob(pattern))}


@pytest.mark.slow
@pytest.mark.parametrize("over", [{}, pytest.param({"robot__arm__history": "[-1, 0]", "robot__arm__horizon": 3}, marks=slow)])
def test_a_mixture_has_the_same_bytes(over: dict[str, object], toy_recipe: Recipes, tmp_path: Path) -> None:
    """From a scattered store and from one compacted in plain Python, by Beam's work orders and through Beam's shuffle."""
    scattered = toy_recipe(**over, store=tmp_path / "never", compact="never")
    build_plainly(scattered, Site(tmp_path / "out-never"))
    build_plainly(toy_recipe(**over, store=tmp_path / "plain", compact="spill"), Site(tmp_path / "out-plain"))
    for how in ("spill", "runner"):
        recipe = toy_recipe(**over, store=tmp_path / how, compact=how)
        build_locally(recipe, Site(tmp_path / f"out-{how}"), make_pool("threads", 2))
    assert len({sha256_of(tmp_path / f"out-{way}") for way in ("never", "plain", "spill", "runner")}) == 1
    before = {name: Store(path) for name, path in stores_of(tmp_path / "never").items()}
    compacted = [stores_of(tmp_path / way) for way in ("plain", "spill", "runner")]
    for name, store in before.items():
        folders = [each[f"{name} compact"] for each in compacted]
        assert {Store(folder).info.digest for folder in folders} == {store.info.digest}
        images = [files_of(folder, "images-*", "rows-*") for folder in folders]
        assert images[0] == images[1] == images[2] and any(part.startswith("images-") for part in images[0])
        assert all(folder.name == f"{store.path.name}-compact" for folder in folders)
        assert not list(folders[0].glob("spills-*"))


def test_which_store_a_recipe_uses(toy_recipe: Recipes, tmp_path: Path) -> None:
    """A compacted one serves all; one that must be compacted is made beside a scattered one."""

    def used(how: str) -> bool:
        with preparations(toy_recipe(compact=how), tmp_path / "store") as todo:
            stores = [prepare_plainly(each) for each in todo]
        return all(store.info.compacted for store in stores)

    assert not used("auto")
    assert used("spill")
    assert all(map(used, ("auto", "never", "runner", "spill")))
    assert set(stores_of(tmp_path / "store")) == {"arm", "arm compact", "qa", "qa compact"}
    assert {(kept.name, kept.state) for kept in kept_stores(tmp_path / "store")} == {("arm", "complete"), ("qa", "complete")}


@slow
def test_a_source_of_a_compacted_store_that_changes_is_noticed(toy_recipe: Recipes, tmp_path: Path) -> None:
    recipe = toy_recipe(compact="spill")
    build_plainly(recipe, Site(tmp_path / "out"))
    first = min((tmp_path / "robot").iterdir())
    first.write_bytes(first.read_bytes())
    changed = {name: Store(path).changed_files() for name, path in stores_of(tmp_path / "store").items()}
    assert changed == {"arm compact": [str(first)], "qa compact": []}


def test_what_a_recipe_says_is_in_it_only_where_it_is_said(toy_recipe: Recipes) -> None:
    assert b"compact" not in canonical(toy_recipe()) and toy_recipe().compact == "auto"
    assert from_canonical(canonical(toy_recipe(compact="never"))) == toy_recipe(compact="never")


@pytest.mark.parametrize("how", ["spill", "runner"])
def test_a_source_that_changes_during_a_build_is_named(how: str, toy_recipe: Recipes, tmp_path: Path) -> None:
    """On Beam too: exit 7, and neither a store nor an output."""
    source = min((tmp_path / "robot").iterdir())
    content = source.read_bytes()

    def change(result: object) -> None:
        if isinstance(result, RowsSummary):
            source.write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])

    with pytest.raises(SourceChangedError, match="source arm changed") as caught:
        build_locally(toy_recipe(compact=how), Site(tmp_path / "out"), make_pool("threads", 2), change)
    assert caught.value.code == 7 and str(source) in str(caught.value.where)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "store").glob("arm-*-compact"))
