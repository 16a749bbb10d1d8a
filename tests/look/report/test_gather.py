"""What a page shows besides statistics, from a toy mixture and its stores, and from real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rt2data.build import Site, build_plainly, preparations, prepare_plainly
from rt2data.cli.report import ReportOptions, report
from rt2data.errors import DataError, OutputError, UsageError
from rt2data.look.report.episode import spread
from rt2data.look.report.gather import mixture_report, stores_report
from rt2data.look.report.images import lost_rows
from rt2data.look.report.page import Report, page
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import Question, mixture_subject, store_subject
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.prepare.store import REJECTS, Store
from rt2data.seal.manifest import read_manifest
from tests.conftest import RECIPE, SHARED

pytestmark = pytest.mark.long


def prepared(recipe: Recipe) -> list[Store]:
    with preparations(recipe, recipe.store_folder.absolute()) as todo:
        return [prepare_plainly(each) for each in todo]


@pytest.fixture
def mixture(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    return tmp_path / "out"


def seen(out: Path, root: Path | None = None, count: int = 6) -> Report:
    return mixture_report(take_stats(mixture_subject(out, out.parent / "scratch")), out, root, count)


def test_a_mixture_shows_what_is_trained_on(mixture: Path) -> None:
    found, manifest = seen(mixture), read_manifest(mixture)
    assert [(album.source, album.kind, album.used) for album in found.albums] == [("arm", "robot", True), ("qa", "web", True)]
    shot = found.albums[0].shots[0]
    assert shot.tile.prompt.startswith("Q: what action should the robot take to lift block") and len(shot.tile.target.split()) == 8
    assert found.origin.hashes == tuple((shard.name, shard.xxh3_128) for shard in manifest.shards)
    assert json.loads(found.origin.recipe) == manifest.recipe
    (film,) = found.films
    assert (film.steps, film.kept, len(film.frames), len(film.curves)) == (8, 8, 8, 7)
    assert film.curves[6] == (0, 1, 0, 1, 0, 1, 0, 1)
    assert page([found]) == page([seen(mixture)])
    assert all(frame.uri for frame in film.frames) and [frame.tile.note for frame in film.frames] == [f"step {n}" for n in range(8)]


def test_stores_are_shown_where_they_hold_the_very_rows(mixture: Path) -> None:
    shelf, manifest = mixture.parent / "store", mixture / "manifest.json"
    shelf.rename(mixture.parent / "elsewhere")
    alone = seen(mixture)
    assert [len(album.shots) for album in alone.albums] == [6, 6] and not alone.lost
    (film,) = alone.films
    assert film.camera == "" and 0 < film.kept == len(film.frames) < 8, "the first shards do not hold all of it"
    placed = {step: value for step, value in enumerate(film.curves[6]) if isfinite(value)}
    assert len(placed) == film.kept and all(value == step % 2 for step, value in placed.items())
    assert seen(mixture, mixture.parent / "elsewhere").films[0].camera == "front"
    (mixture.parent / "elsewhere").rename(shelf)
    manifest.write_text(manifest.read_text().replace(Store(next(shelf.glob("arm-*"))).info.digest, "0" * 32))
    assert [(each.episode, each.kept, each.camera) for each in seen(mixture).films] == [(film.episode, film.kept, "")]


def test_a_store_shows_every_camera_and_says_what_is_gone(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    stores = prepared(toy_recipe())
    found = stores_report(take_stats(store_subject(tmp_path / "store", stores)), stores, 4)
    assert [(album.source, album.camera, len(album.shots)) for album in found.albums] == [("arm", "front", 4), ("qa", "image", 4)]
    assert found.albums[1].shots[0].tile.target
    shutil.rmtree(tmp_path / "robot")
    gone = stores_report(take_stats(store_subject(tmp_path / "store", stores)), stores, 4)
    assert [warn.code for warn in gone.stats.warnings if warn.code == "unreadable_image"] == ["unreadable_image"]
    assert b"cannot be shown: missing" in page([gone])


def test_dropped_rows_are_shown_if_their_images_can_be_read(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    store = prepared(toy_recipe())[0]
    first = tmp_path / "robot" / "000.bin"
    length = int.from_bytes(first.read_bytes()[:4], "little")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(first.read_bytes()[4 : 4 + length // 2])
    places = [
        f"row a in {first} byte 4",
        f"row b in {cut} byte 0",
        f"row c in {tmp_path}/gone byte 0",
        "episode 7",
        f"row d in {tmp_path} byte 0",
    ]
    rows = [{"reason": "corrupt_image", "where": where, "detail": "", "fault": True, "count": 1} for where in places]
    _rejects(
        store, [*rows, *({"reason": "nan_action", "where": f"{n}", "detail": "", "fault": True, "count": 2} for n in range(9))]
    )
    found = lost_rows(Store(store.path))
    assert [bool(lost.shot) for lost in found[:5]] == [True, True, False, False, False]
    assert [lost.reason for lost in found] == ["corrupt_image"] * 5 + ["nan_action"] * 5


def _rejects(store: Store, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTS), store.path / "rejects.parquet")
    told = json.loads((store.path / "source.json").read_text())
    told["rejects"] = [{"reason": "corrupt_image", "count": 5, "fault": True}, {"reason": "nan_action", "count": 18, "fault": True}]
    (store.path / "source.json").write_text(json.dumps(told))


@pytest.mark.parametrize(("total", "count"), [(1, 1), (5, 10), (10, 10), (11, 10), (1000, 7)])
def test_frames_are_spread_evenly(total: int, count: int) -> None:
    chosen = spread(total, count)
    assert len(chosen) == min(total, count) == len(set(chosen)) and chosen == sorted(chosen)
    parts = len(chosen)
    assert all(abs(at + 0.5 - (part + 0.5) * total / parts) <= 0.5 for part, at in enumerate(chosen))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a recipe of the real Bridge log and real questions about COCO's images."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    folder = tmp_path_factory.mktemp("real")
    (folder / "mixture.yaml").write_text(RECIPE.format(data=SHARED))
    build_plainly(read_recipe(folder / "mixture.yaml"), Site(folder / "mixture"))
    yield folder


def test_the_black_camera_of_the_real_log_is_named(real: Path) -> None:
    found = seen(real / "mixture")
    told = [(warn.code, warn.level, warn.source, warn.what) for warn in found.stats.warnings if warn.code.endswith("_camera")]
    assert told == [("black_camera", "note", "bridge", "Unused camera image_3 is black in all 48 sampled images.")]
    words = page([found]).decode()
    assert "image_3 is black" in words and len(words) < 1_000_000


def test_the_command_writes_page_and_summary_and_says_where(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, summary = real / "report.html", real / "summary.md"
    asked = [Question(real / "mixture"), Question(real / "mixture.yaml", split="train")]
    report(asked, ReportOptions(out, summary, tiles=3, workers=0, quiet=True))
    said = capsys.readouterr()
    assert said.out == f"{out}\n" and "warnings: 2 warnings, 9 notes" in said.err
    assert "2 reports side by side" in out.read_text() and "black" in summary.read_text()
    report(asked[:1], ReportOptions(out, None, workers=0, as_json=True, quiet=True))
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(out) and told["stats"][0]["mixture"]["examples"] == 90
    assert "black_camera" in [warn["code"] for warn in told["stats"][0]["warnings"]]


def test_the_command_looks_before_it_reads(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        report([Question(tmp_path / "nothing")], ReportOptions(tmp_path / "no" / "report.html", workers=0, quiet=True))
    with pytest.raises(UsageError, match="nothing is there"):
        report([Question(tmp_path / "nothing")], ReportOptions(tmp_path / "report.html", workers=0, quiet=True))
    for out, summary, why in ((tmp_path, None, "a folder is there"), (tmp_path / "x", tmp_path / "x", "one file")):
        with pytest.raises(UsageError, match=why):
            report([Question(tmp_path / "nothing")], ReportOptions(out, summary, workers=0, quiet=True))
    with pytest.raises(UsageError, match="over an input"):
        report([Question(tmp_path)], ReportOptions(tmp_path / "manifest.json", workers=0, quiet=True))
    if Path("/proc/self").is_dir():  # where nobody can write
        with pytest.raises(OutputError, match="cannot write"):
            report([Question(tmp_path / "nothing")], ReportOptions(Path("/proc/report.html"), workers=0, quiet=True))
    assert not list(tmp_path.iterdir())


def test_a_damaged_mixture_gives_no_page(real: Path, tmp_path: Path) -> None:
    shutil.copytree(real / "mixture", tmp_path / "mixture")
    (tmp_path / "mixture" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="damaged manifest"):
        report([Question(tmp_path / "mixture")], ReportOptions(tmp_path / "report.html", workers=0, quiet=True))
    assert not (tmp_path / "report.html").exists()
