"""A source of JPEG and PNG images: both kinds keep their bytes in every format, and every reader of ours takes both."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rt2data
from rt2data.build import Site, build_plainly, rlds_output
from rt2data.formats.base import FORMATS
from rt2data.look.verify import verify
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import read_recipe
from rt2data.plan.source_notes import reencoded
from rt2data.prepare.store import Store
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import examples
from tests.packages import need

KINDS = ("JPEG", "PNG", "PNG", "JPEG", "PNG")
MODES = ("RGB", "RGB", "RGBA", "RGB", "L")
RECIPE = """
robot_frac: 0
store: store
web:
  qa: {kind: vqav2, questions: q.json, annotations: a.json, image_dirs: [images]}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A question about each of five images; the third has alpha."""
    folder = tmp_path_factory.mktemp("png")
    (folder / "images").mkdir()
    for number, (kind, mode) in enumerate(zip(KINDS, MODES, strict=True)):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        suffix = "jpg" if kind == "JPEG" else "png"
        Image.fromarray(pixels).convert(mode).save(folder / "images" / f"{number:012d}.{suffix}", kind)
    ids = [{"image_id": n, "question_id": n} for n in range(len(KINDS))]
    (folder / "q.json").write_text(json.dumps({"questions": [each | {"question": "what?"} for each in ids]}))
    answers = [{"answer": "noise", "answer_confidence": "yes", "answer_id": 1}]
    (folder / "a.json").write_text(json.dumps({"annotations": [each | {"answers": answers} for each in ids]}))
    (folder / "mixture.yaml").write_text(RECIPE)
    return folder


def build(corpus: Path, name: str, *overrides: str) -> Path:
    recipe = read_recipe(corpus / "mixture.yaml", overrides=[f"shards.format={name}", *overrides])
    build_plainly(recipe, Site(corpus / "-".join((name, *overrides))))
    return corpus / "-".join((name, *overrides))


@pytest.mark.parametrize("name", list(FORMATS))
def test_both_kinds_keep_their_bytes_in_every_format(corpus: Path, name: str) -> None:
    out = build(corpus, name)
    raw = {path.read_bytes() for path in (corpus / "images").iterdir()}
    kept = [image for image, _ in examples(out) if image in raw]
    assert [sum(image.startswith(mark) for image in kept) for mark in (b"\xff\xd8", b"\x89PNG")] == [2, 2]
    assert verify(out).faults == ()
    assert read_manifest(out).conversions["qa"] == {"png_to_jpeg+alpha_on_white": 1}


def test_our_loader_decodes_both_kinds(corpus: Path) -> None:
    out = build(corpus, "webdataset", "seed=1")
    encoded = {example["key"]: example["image"] for example in rt2data.load(out, decode="jpeg")}
    shown = {example["key"]: example["image"] for example in rt2data.load(out)}
    assert {bytes(each[:4]) for each in encoded.values()} == {b"\xff\xd8\xff\xe0", b"\x89PNG"}
    for key, pixels in shown.items():
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(encoded[key])).convert("RGB")))
    assert all(example["image"].shape == (8, 8, 3) for example in rt2data.load(out, resize=(8, 8)))


def test_what_is_re_encoded_is_told(corpus: Path) -> None:
    """Because loaders need it, or because the recipe asks for it; nothing is told where nothing is re-encoded."""
    for overrides, count in (((), 1), (("web.qa.images.png=jpeg",), 3)):
        out = build(corpus, "webdataset", "seed=2", *overrides)
        recipe = read_recipe(corpus / "mixture.yaml", overrides=overrides)
        planned = read_manifest(out).plan.sources[0]
        stores = [Store(path) for path in (corpus / "store").glob("qa-*")]
        info = next(s.info for s in stores if s.info.digest == planned.digest)
        (note,) = reencoded(recipe.sources["qa"], info, planned)
        assert note[:2] == ("reencoded_images", "note")
        assert f"{count} images are re-encoded as JPEG, quality 95" in note[2]
        assert any(warn.code == "reencoded_images" for warn in read_manifest(out).plan.warnings)


@pytest.mark.long
def test_episodes_of_both_kinds_name_no_encoding_and_tfds_decodes_them(corpus: Path, tmp_path: Path) -> None:
    manifest = build_plainly(read_recipe(corpus / "mixture.yaml"), Site(tmp_path / "out"), output=rlds_output(RldsOptions()))
    (dataset,) = manifest.plan.datasets
    assert [image.format for image in dataset.images] == [""]
    assert any("has JPEG and PNG images" in told for told in dataset.warnings)
    episodes = need("tensorflow_datasets").builder_from_directory(tmp_path / "out" / dataset.folder).as_dataset("train")
    seen = [step["observation"]["image"].numpy() for episode in episodes for step in episode["steps"]]
    encoded = [image for image, _ in examples(build(corpus, "webdataset", "seed=3"))]
    wanted = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in encoded]
    assert sorted(map(np.sum, seen)) == pytest.approx(sorted(map(np.sum, wanted)), rel=0.01)
