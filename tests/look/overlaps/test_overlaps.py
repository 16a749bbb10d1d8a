"""What sources share, against the truth: the files themselves, read by the test."""

from __future__ import annotations

import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt2data.beam.pool import Inline
from rt2data.beam.run import prepare_locally
from rt2data.cli.overlaps import with_all_sources
from rt2data.look.overlaps.model import Overlaps
from rt2data.look.overlaps.run import Asked, Subject, find_overlaps
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import read_recipe
from tests.look.overlaps.corpora import corpus, picture, recipe

pytestmark = pytest.mark.long

Truth = dict[tuple[str, str], int]


def found_in(path: Path, tmp_path: Path, asked: Asked | None = None) -> Overlaps:
    read, scratch = read_recipe(path), tmp_path / "scratch"
    scratch.mkdir()
    stores = prepare_locally(with_all_sources(read), Inline())
    return find_overlaps(Subject(str(path), stores, frozenset(needed_sources(read)), read.split), asked or Asked(), scratch)


def counts(found: Overlaps, what: str) -> Truth:
    return {(each.one, each.other): each.count for each in found.overlaps if each.what == what}


def shared(parts: Mapping[str, Iterable[tuple[str, Any]]]) -> Truth:
    """Brute force: keys that two parts have, or one in two groups, from (group, key) of each part."""
    held: dict[str, dict[Any, set[str]]] = {}
    for part, entries in parts.items():
        held[part] = defaultdict(set)
        for group, key in entries:
            held[part][key].add(group)
    truth = {}
    for one, other in combinations_with_replacement(sorted(held), 2):
        same = [key for key in held[one] if (len(held[one][key]) > 1 if one == other else key in held[other])]
        if same:
            truth[one, other] = len(same)
    return truth


def coco_id(name: str) -> int | None:
    found = re.search(r"(\d{12})\.jpg$", name)
    return int(found[1]) if found else None


def again(content: bytes, scale: float = 0.5, quality: int = 80) -> bytes:
    """The same picture, smaller and encoded anew."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    out = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS).save(
        out, "JPEG", quality=quality
    )
    return out.getvalue()


def repacked(content: bytes) -> bytes:
    """The same pixels in other bytes."""
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> dict[str, bytes]:
    """Real pictures by name: COCO's of both splits, VQAv2's, and those of a tar."""
    coco = shared_data / "coco_web"
    found = {path.name: path.read_bytes() for path in sorted([*coco.glob("train2017/*.jpg"), *coco.glob("val2017/*.jpg")])}
    allennlp = shared_data / "vqa_allennlp/test_fixtures/vision/images/vqav2"
    found |= {path.name: path.read_bytes() for path in sorted(allennlp.glob("*.jpg"))}
    with tarfile.open(shared_data / "wds_img2dataset/shard-0013.tar") as tar:
        for member in tar:
            if member.name.endswith((".webp", ".jpg", ".png")):
                file = tar.extractfile(member)
                assert file is not None
                found[f"web{member.name.replace('/', '_')}"] = file.read()
    return found


def test_real_corpora_share_what_their_files_say(photographs: dict[str, bytes], tmp_path: Path) -> None:
    names = sorted(photographs)
    coco = [name for name in names if coco_id(name)]
    sources = {
        "a": {name: photographs[name] for name in names[::2]},
        "b": {name: photographs[name] for name in names[::3]},  # some as in `a`, byte for byte
        "c": {f"COCO_val2014_{coco_id(n):012d}.jpg": again(photographs[n]) for n in coco[::2]},  # COCO ids, other bytes
        "d": {f"copy{at}.png": repacked(photographs[n]) for at, n in enumerate(coco[::5])},  # pixels, no names
    }
    held = {"c", "d"}
    path = recipe(
        tmp_path,
        {
            name: corpus(tmp_path / name, images) + (", weight: 0, split: test" if name in held else "")
            for name, images in sources.items()
        },
    )
    found = found_in(path, tmp_path, Asked(near=4, pixels=True))
    parts = {f"{name}/{'test' if name in held else 'train'}": images for name, images in sources.items()}
    assert {str(part) for part in found.parts} == set(parts)
    assert counts(found, "bytes") == shared({part: images.items() for part, images in parts.items()})
    ids = {part: [(name, coco_id(name)) for name in images if coco_id(name)] for part, images in parts.items()}
    assert counts(found, "coco") == shared(ids)
    pixels = {
        part: [(name, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes()) for name, data in images.items()]
        for part, images in parts.items()
    }  # of WebP too, which a mixture has as JPEG: the same one for the same bytes
    assert counts(found, "pixels") == shared(pixels)
    smaller = {coco_id(name) for name in coco[::2]}
    alike = counts(found, "alike")
    for part in ("a/train", "b/train"):
        copies = len([name for name in parts[part] if coco_id(name) in smaller])
        assert alike[part, "c/test"] == copies
        assert alike[part, "d/test"] == len([name for name in parts[part] if name in coco[::5]])
    assert ("a/train", "a/train") not in alike
    leaks = {(each.one, each.other) for each in found.overlaps if each.level == "error"}
    assert leaks == {(a, b) for a in ("a/train", "b/train") for b in ("c/test", "d/test")}
    assert not found.ok


@pytest.mark.slow
def test_seeded_copies_are_all_found_and_nothing_else(tmp_path: Path) -> None:
    """1,000 different pictures, of which 100 come again byte for byte and 100 smaller and encoded anew."""
    pictures = {f"p{seed}.jpg": picture(seed) for seed in range(1000)}
    same = {f"same{seed}.jpg": picture(seed) for seed in range(100)}
    smaller = {f"small{seed}.jpg": again(picture(seed), 0.75) for seed in range(100, 200)}
    sources = {"all": corpus(tmp_path / "all", pictures), "copies": corpus(tmp_path / "copies", same | smaller)}
    found = found_in(recipe(tmp_path, sources), tmp_path, Asked(near=4))
    assert counts(found, "bytes") == {("all/train", "copies/train"): 100}
    alike = counts(found, "alike")
    assert set(alike) == {("all/train", "copies/train")}
    assert 95 <= alike["all/train", "copies/train"] <= 100
    assert counts(found, "coco") == {}
    assert found.ok  # all is trained on
    assert [each.level for each in found.overlaps] == ["note", "note"]


def test_a_picture_twice_in_one_source_is_a_warning_and_held_out_a_leak(tmp_path: Path) -> None:
    sources = {"qa": corpus(tmp_path / "qa", {f"p{n}.jpg": picture(n // 2) for n in range(80)}) + ", holdout: 1/2"}
    found = found_in(recipe(tmp_path, sources), tmp_path)
    by_level = {(each.one, each.other): each.level for each in found.overlaps}
    assert by_level == {("qa/train", "qa/val"): "error", ("qa/train", "qa/train"): "warning", ("qa/val", "qa/val"): "note"}
    assert sum(each.count for each in found.overlaps) == 40
    one, other = found.overlaps[0].examples[0]
    assert Path(one.path).read_bytes() == Path(other.path).read_bytes()
    assert one.path != other.path
    assert one.path.endswith(".jpg")


def test_coco_images_that_lost_their_names_are_known_by_their_group(tmp_path: Path) -> None:
    """Resized images are in the store; their groups are COCO's ids where the corpus says that it is COCO."""
    named = {f"COCO_train2014_{n:012d}.jpg": picture(n) for n in range(1, 9)}
    path = recipe(
        tmp_path,
        {
            "a": corpus(tmp_path / "mscoco", named) + ", images: {resize: 48}",
            "b": corpus(tmp_path / "b", {f"{n:012d}.jpg": picture(100 + n) for n in range(5, 12)}) + ", weight: 0",
            "c": corpus(tmp_path / "c", {f"web{n}.jpg": picture(200 + n) for n in range(5, 12)}) + ", weight: 0",
        },
    )
    found = found_in(path, tmp_path)
    assert counts(found, "coco") == {("a/train", "b/train"): 4}
    assert not found.ok


def test_episodes_with_the_same_actions_are_the_same(shared_data: Path, tmp_path: Path) -> None:
    log = f"kind: rlds, path: {shared_data}/rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge"
    path = recipe(tmp_path, {"qa": corpus(tmp_path / "qa", {"p.jpg": picture(1)})}, {"one": log, "two": log + ", weight: 0"})
    found = found_in(path, tmp_path)
    assert counts(found, "actions") == {("one/train", "two/train"): 10, ("one/val", "two/val"): 3}
    levels = {(each.what, each.one, each.other): each.level for each in found.overlaps}
    assert levels["actions", "one/train", "two/train"] == "error"
    assert levels["bytes", "one/train", "two/train"] == "warning"  # a camera that shows nothing is no leak
