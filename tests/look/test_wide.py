"""A mixture of several images, chunks and conversations, and its stores: what view, inspect, stats and report say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import Seen
from rt2data.look.inspect.raw import RawExamples
from rt2data.look.report.gather import mixture_report, stores_report
from rt2data.look.report.page import page
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import mixture_subject, recipe_subject
from rt2data.look.view.pages import example_page
from rt2data.look.view.select import images_of
from rt2data.look.view.terminal import as_plain
from rt2data.plan.recipe import read_recipe
from rt2data.prepare.store import Store
from tests.contract.toy import jpeg
from tests.look import several


def by_key(path: Path) -> dict[str, Seen]:
    examples = recognize(path).examples()
    return {seen.key.removeprefix("arm-").removeprefix("talks-"): seen for seen in map(examples.at, range(examples.total or 0))}


@pytest.fixture(scope="module")
def stores(wide: Path) -> dict[str, Store]:
    found = [Store(path.parent) for path in wide.parent.glob("store/*/source.json")]
    return {store.info.name: store for store in found}


def shown(path: Path) -> None:
    """All images with their names, absent places, chunks and turns."""
    seen = by_key(path)
    first, later = seen["e1-000000"], seen["e1-000003"]
    assert [name for name, _ in images_of(first)] == ["front", "wrist"]
    assert list(first.absent) == ["front -1", "wrist -1"]
    assert images_of(later) == [
        ("front", jpeg(13)), ("wrist", jpeg(113)), ("front -1", jpeg(12)), ("wrist -1", jpeg(112))
    ]  # fmt: skip
    assert not later.absent and later.camera == "front" and later.steps == several.STEPS
    assert [each.pad for each in later.chunk] == [False, False, True, True]
    assert later.chunk[1].values == later.chunk[2].values == seen["e1-000004"].chunk[0].values
    assert images_of(seen["none"]) == [] and not seen["none"].fault
    assert images_of(seen["asked"]) == [("image", jpeg(7))] and not seen["asked"].messages
    assert images_of(seen["three"]) == [(f"image_{i}", jpeg(3000 + i)) for i in range(3)]
    assert seen["one"].messages == [(turn.role, turn.text) for turn in several.TALKS["one"][1]]
    assert seen["one"].target == "on the table"


def test_a_mixture_shows_all_of_an_example(wide: Path) -> None:
    shown(wide)
    plain = as_plain(by_key(wide)["e1-000000"])
    assert (plain["images"], plain["absent"]) == (["front", "wrist"], ["front -1", "wrist -1"])
    assert len(plain["chunk"]) == several.HORIZON and plain["chunk"][0]["pad"] is False


def test_pages_show_all_of_an_example(wide: Path) -> None:
    examples, seen = recognize(wide).examples(), by_key(wide)
    html = {key: example_page(examples, "t", seen[key], None, "n") for key in ("e1-000000", "e1-000003", "none", "one")}
    assert "absent: front -1, wrist -1" in html["e1-000000"] and "<td>pad</td>" in html["e1-000003"]
    assert all(f"<figcaption>{name}</figcaption>" in html["e1-000003"] for name in ("front", "wrist", "front -1", "wrist -1"))
    assert "No image: a text-only example." in html["none"]
    assert html["one"].count("<dt>assistant</dt>") == 2 and "<dt>prompt</dt>" not in html["one"]


def test_stores_show_the_same_rows(wide: Path, stores: dict[str, Store]) -> None:
    mixed = by_key(wide)
    for store in stores.values():
        for key, seen in by_key(store.path).items():
            theirs = mixed[key]
            assert (images_of(seen), list(seen.absent)) == (images_of(theirs), list(theirs.absent))
            assert (list(seen.chunk), list(seen.messages)) == (list(theirs.chunk), list(theirs.messages))


def test_raw_steps_and_talks_show_their_images(wide: Path) -> None:
    raw = str(wide.with_name("raw"))
    robot = several.TwoCameras(path=raw, action_space="widowx_bridge")
    assert images_of(RawExamples("arm", robot).at(0)) == [("front", jpeg(0)), ("wrist", jpeg(100))]
    talks = RawExamples("talks", several.Talks(path=raw))
    assert talks.at(0).messages == [(turn.role, turn.text) for turn in several.TALKS["none"][1]] and not talks.at(0).fault
    assert [name for name, _ in images_of(talks.at(2))] == ["image_0", "image_1", "image_2"]


def test_inspect_says_cameras_windows_and_images(wide: Path, stores: dict[str, Store]) -> None:
    facts = recognize(wide).facts()
    assert facts["record"] == {"image_places": 4, "horizon": several.HORIZON, "action_dim": 7}
    arm, talks = facts["sources"]["arm"], facts["sources"]["talks"]
    assert arm["takes"] == "cameras front, wrist, 2 of 2; chunks of 4 actions, images of step -1 too"
    assert (arm["images"], arm["horizon"], talks["images"], talks["takes"]) == (3.6, several.HORIZON, 1.25, "")
    said = recognize(stores["arm"].path).facts()
    assert said["slots"] == ["front", "wrist", "front -1", "wrist -1"] and said["horizon"] == several.HORIZON
    assert said["splits"]["train"]["images_per_row"] == 3.6
    tiles = recognize(wide).tiles(8)
    assert {(tile.source, tile.more) for tile in tiles} >= {("arm", 3), ("talks", 2), ("talks", 0)}
    assert any(not len(tile.image) for tile in tiles)


def test_statistics_count_images_once_and_loss_tokens_by_spans(wide: Path, stores: dict[str, Store], tmp_path: Path) -> None:
    found = take_stats(mixture_subject(wide, tmp_path))
    arm, talks = found.sources
    assert {camera.name: (camera.used, camera.images, camera.unique) for camera in arm.cameras} == {
        "front": (True, 15, 15),
        "wrist": (True, 15, 15),
    }
    assert [(camera.used, camera.images) for camera in talks.cameras] == [(True, 5)]
    assert found.mixture is not None and found.mixture.shares[0].takes.startswith("cameras front, wrist, 2 of 2")
    with several.kinds_known():
        rows = take_stats(recipe_subject(wide, read_recipe(wide.with_name("mixture.yaml")), stores))
    ours = {source.name: source.tokens for source in rows.sources}
    assert ours["arm"] == arm.tokens  # every row is drawn once: rendered, its chunk gives the same lengths
    tokens, spoken = ours["talks"], talks.tokens
    assert tokens is not None and spoken is not None
    assert (tokens.target.min, tokens.target.max, tokens.whole.max) == (spoken.target.min, spoken.target.max, spoken.whole.max)


def test_a_report_shows_first_images_and_how_many_more(wide: Path, stores: dict[str, Store], tmp_path: Path) -> None:
    made = mixture_report(take_stats(mixture_subject(wide, tmp_path)), wide, wide.with_name("store"), 4)
    cameras = {(album.source, album.camera): album.used for album in made.albums}
    assert cameras == {("arm", "front"): True, ("arm", "wrist"): True, ("talks", "image"): True}
    assert not [warn for warn in made.stats.warnings if warn.code == "unreadable_image"]
    html = page([made]).decode()
    assert "+3 more images" in html and "chunks of 4 actions, images of step -1 too" in html
    with several.kinds_known():
        rows = take_stats(recipe_subject(wide, read_recipe(wide.with_name("mixture.yaml")), stores))
    assert {album.used for album in stores_report(rows, list(stores.values()), 4).albums} == {True}
