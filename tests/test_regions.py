"""Boxes and points from a source to every format and back: store, crops, texts, records, checks, and the page that draws them."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.errors import UsageError
from rt2data.formats.base import FORMATS, make_format, members_of
from rt2data.io.location import path_of
from rt2data.look.inspect.recognize import recognize
from rt2data.look.verify import verify
from rt2data.look.view.pages import example_page
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.prepare import runs
from rt2data.prepare.catalog import find_store
from rt2data.prepare.store import Store
from rt2data.read.source import SOURCES
from rt2data.records import Unit
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.render.regions.table import FAMILIES, RegionText
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.manifest import Manifest
from tests.contract import toy
from tests.render import tiny

pytestmark = pytest.mark.long

PICTURES = 6
Build = Callable[..., tuple[Manifest, Path]]


@pytest.fixture
def build(tmp_path: Path, toy_sources: None, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A mixture of toy robot steps, questions, and a corpus with regions."""
    for name, place in toy.REGIONS.items():
        monkeypatch.setitem(SOURCES, name, place)
    toy.write_robot(tmp_path / "robot", episodes=2), toy.write_web(tmp_path / "web", 4)
    toy.write_web(tmp_path / "boxes", PICTURES)
    (tmp_path / "mixture.yaml").write_text("""
robot_frac: 0.2
store: store
size: {of: boxes}
weighting: share
robot: {arm: {kind: toy_robot, path: robot, action_space: widowx_bridge}}
web:
  qa: {kind: toy_web, path: web}
  boxes: {kind: toy_regions, path: boxes}
""")

    def run(*overrides: str, out: str = "out") -> tuple[Manifest, Path]:
        recipe: Recipe = read_recipe(tmp_path / "mixture.yaml", overrides=overrides)
        return build_plainly(recipe, Site(tmp_path / out)), tmp_path / out

    return run


def records(manifest: Manifest, out: Path) -> dict[str, ExampleRecord]:
    """Of the corpus with regions, by row."""
    form = make_format(manifest.plan.format)
    members = [member for shard in manifest.shards for member in members_of(form, out / shard.name)]
    found = [decode_record(member.record) for member in members]
    assert all(record.regions is None for record in found if record.source != "boxes")
    return {record.key.split("-", 1)[1]: record for record in found if record.source == "boxes" and not record.epoch}


@pytest.mark.parametrize("form", [*FORMATS, "once"])
def test_every_format(build: Build, form: str) -> None:
    manifest, out = build("shards.materialize=once" if form == "once" else f"shards.format={form}", "regions=qwen3")
    assert verify(out).faults == ()
    assert manifest.plan.regions == {"family": "qwen3"}
    found = records(manifest, out)
    assert len(found) == 4 * PICTURES
    find, what, talk, none = (found[f"r0000-{name}"] for name in ("find", "what", "talk", "none"))
    cat, dog = '{"bbox_2d": [100, 50, 600, 900], "label": "cat"}', '{"bbox_2d": [110, 55, 610, 900], "label": "dog"}'
    assert (find.text, find.target, find.answers) == ("detect cat ; dog", f"[{cat}, {dog}]", ["<region> ; <region>"])
    assert (what.text, what.target) == ("What is in <region>?", "cat")
    assert f"What is in [{cat}]?" in what.prompt and what.messages[0].content == f"<image>\nWhat is in [{cat}]?"
    paw = '{"point_2d": [250, 500], "label": "paw"}'
    assert [message.content for message in talk.messages][1:3] == [f"Here: [{paw}, {paw}]", f"And of [{dog}]?"]
    assert none.regions is None and "Is <region> a word here?" in none.prompt
    assert [(each.x0, each.x1, each.label) for each in talk.regions or ()][:2] == [(0.25, 0.25, "paw")] * 2


def test_the_loader(build: Build) -> None:
    _, out = build()
    examples = {example["key"]: example for example in rt2data.load(out, decode=None)}
    found = [region for example in examples.values() for region in example["regions"] or ()]
    assert {region["label"] for region in found} == {"cat", "dog", "paw"}
    assert all(0 <= region["x0"] <= region["x1"] <= 1 for region in found)
    batch = next(iter(rt2data.load(out, decode=None).batches(4)))
    assert len(batch["regions"]) == 4


@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name].boxes])
def test_every_family_is_verified(build: Build, family: str) -> None:
    manifest, out = build(f"regions={family}")
    assert verify(out).faults == ()
    convention = RegionText(family=family).convention
    for record in records(manifest, out).values():
        said = "".join(message.content for message in record.messages)
        assert len(convention.parse(said, (32, 32))) == len(record.regions or ())


@pytest.mark.parametrize("agreement", ["case", "vqa"])
def test_soft_answers(build: Build, agreement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers agree by what the source says; what a family writes for their places makes them neither more alike nor less."""
    said = ["in-front of <region> ; <region>", "in front of <region>;<region>", "in front of <region> ; <region>"]
    read = toy.ToyRegions.read

    def several(self: toy.ToyRegions, unit: Unit) -> Iterator[Any]:
        for each in read(self, unit):
            yield replace(each, answers=(*said, *said[1:])) if getattr(each, "key", "").endswith("find") else each

    monkeypatch.setattr(toy.ToyRegions, "read", several)
    manifest, out = build("web.boxes.answers=soft", f"web.boxes.agreement={agreement}", "regions=qwen2")
    assert verify(out).faults == ()
    found = records(manifest, out)
    weights = [round(found[key].loss_weight, 6) for key in sorted(found) if key.startswith("r0000-find")]
    assert weights == ([0.6, 0.6, 0.3] if agreement == "case" else [1.0])
    assert found["r0000-find-a0"].target.startswith("in front of <|object_ref_start|>cat")


def test_a_family_without_boxes(build: Build) -> None:
    with pytest.raises(UsageError, match=r"source boxes has 24 boxes, molmo has no way .*choose plain or qwen2"):
        build("regions=molmo")
    manifest, out = build("regions=molmo", "web.boxes.boxes=false", out="points")
    assert verify(out).faults == ()
    assert '<point x="10.0" y="50.0" alt="cat">cat</point>' in records(manifest, out)["r0000-find"].target


def test_mixtures_without_regions_do_not_speak_of_them(build: Build, tmp_path: Path) -> None:
    """Neither store nor plan, record, card or recipe, whatever the setting says: the same bytes."""
    one, out = build("web.boxes.weight=0", "size.of=qa")
    assert one.plan.regions is msgspec.UNSET and one.plan.more is msgspec.UNSET
    store = Store(find_store(path_of(tmp_path / "store"), "qa"))
    (rows,) = store.path.glob("rows-*.parquet")
    assert "regions" not in pq.read_schema(rows).names and not store.info.has_regions
    assert all(b'"regions"' not in path.read_bytes() for path in out.rglob("*") if path.is_file())
    other, _ = build("web.boxes.weight=0", "size.of=qa", "regions=qwen2", out="other")
    assert [shard.sha256 for shard in one.shards] == [shard.sha256 for shard in other.shards]
    assert one.plan.fingerprint == other.plan.fingerprint


def test_the_store(build: Build, tmp_path: Path) -> None:
    manifest, _ = build()
    store = Store(find_store(path_of(tmp_path / "store"), "boxes"))
    facts = {name: count for name, count in store.info.facts.items() if name.startswith("regions.")}
    assert facts == {"regions.boxes": 4 * PICTURES, "regions.points": 2 * PICTURES}
    notes = {warn.code: warn.what for warn in manifest.plan.warnings if warn.source == "boxes"}
    assert notes["regions"] == "24 boxes and 12 points"


def test_crops_and_what_they_leave_out(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A picture twice as wide as high loses a quarter at either side."""
    wide = toy.jpeg(1, 64)
    for path in (tmp_path / "boxes").iterdir():
        path.write_bytes(_wide(wide))
    manifest, out = build("web.boxes.images.resize=32", "regions=plain")
    assert verify(out).faults == ()
    find = records(manifest, out)["r0000-find"]
    assert find.target.startswith("cat [0.0000, 0.0500, 0.7000, 0.9000]; dog [")
    assert [(lost.reason, lost.fault) for lost in manifest.rejects["boxes"]] == []
    assert records(manifest, out)["r0000-talk"].regions[0].x0 == 0.0  # type: ignore[index]
    monkeypatch.setattr(toy.ToyRegions, "_region", lambda *_: toy.Region(0, (0.0, 0.0, 0.2, 1.0), "left"))
    manifest, _ = build("web.boxes.images.resize=48", out="gone")
    assert [(lost.reason, lost.count, lost.fault) for lost in manifest.rejects["boxes"]] == [
        ("region_cropped", 3 * PICTURES, False)
    ]


@pytest.mark.parametrize("how", ["runs", "spill"])
def test_units_with_and_without(build: Build, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column is in all files of rows where any unit has regions, by whatever way the rows go."""
    read = toy.ToyRegions.read

    def few(self: toy.ToyRegions, unit: Unit) -> Iterator[Any]:
        yield from (each for each in read(self, unit) if unit.index % 3 == 1 or not getattr(each, "regions", ()))

    monkeypatch.setattr(toy.ToyRegions, "read", few)
    if how == "runs":
        for name, value in (("DIRECT", 0), ("ROWS_PER_FILE", 4), ("RUN_ROWS", 3)):
            monkeypatch.setattr(runs, name, value)
    manifest, out = build("regions=qwen3", "split=train", *(["compact=spill"] if how == "spill" else []))
    assert verify(out).faults == ()
    found = records(manifest, out)
    assert {key for key, record in found.items() if record.regions} == {
        f"r{number:04d}-{name}" for number in (1, 4) for name in ("find", "what", "talk")
    }


def _tokenizer(marks: Sequence[str], special: bool) -> str:
    made = Library.from_str(tiny.byte_level_bpe())
    made.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
    return str(made.to_str())


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("family", ["paligemma", "qwen2"])
def test_marks_are_tokens(build: Build, family: str, special: bool, tmp_path: Path) -> None:
    """Where the tokenizer has them, whether or not it calls them special; no other control token is read in a text."""
    convention = RegionText(family=family).convention
    (tmp_path / "tokenizer.json").write_text(_tokenizer(convention.marks, special))
    manifest, out = build(f"regions={family}", "tokenizer=tokenizer.json")
    assert verify(out).faults == ()
    assert not {warn.code for warn in manifest.plan.warnings} & {"region_marks"}
    tokenizer = load_tokenizer("hf", str(tmp_path / "tokenizer.json"))
    find = records(manifest, out)["r0000-find"]
    tokens = [tokenizer.token(i) for i, loss in zip(find.input_ids, find.loss_mask, strict=True) if loss]
    assert sum(token in convention.marks for token in tokens) == 8
    marked = tokenizer.with_marks(convention.marks)
    assert len(marked.encode("<|im_end|>")) > 1 and marked.identity() == tokenizer.identity()
    assert pickle.loads(pickle.dumps(marked)).encode(find.target) == marked.encode(find.target)
    assert len(marked.encode(find.target)) < len(tokenizer.encode(find.target)) or not special


def test_a_tokenizer_without_the_marks(build: Build) -> None:
    manifest, _ = build("regions=paligemma")
    (warn,) = (warn for warn in manifest.plan.warnings if warn.code == "region_marks")
    assert warn.what == "regions paligemma write <loc0000>, which is 9 tokens to this tokenizer"


def _wide(square: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(square)).resize((64, 32)).save(out, "JPEG")
    return out.getvalue()


def test_what_verify_finds(build: Build) -> None:
    manifest, out = build("shards.format=parquet", "regions=qwen2")
    shard = out / manifest.shards[0].name

    def fault(change: Callable[[dict[str, Any]], None]) -> str:
        table = pq.read_table(shard)
        rows = table.to_pylist()
        at = next(number for number, row in enumerate(rows) if row["key"].startswith("boxes-r0001-find"))
        change(rows[at])
        before = shard.read_bytes()
        pq.write_table(type(table).from_pylist(rows, schema=table.schema), shard)
        found = " ".join(str(each) for each in verify(out).faults)
        shard.write_bytes(before)
        return found

    def set_region(**values: float) -> Callable[[dict[str, Any]], None]:
        return lambda row: row["regions"][0].update(values)

    assert "no box and no point within 0 and 1" in fault(set_region(x1=1.5))
    assert "do not say region 0" in fault(set_region(x0=0.3))
    assert "region 0 is in image 4 of 1" in fault(set_region(image=4))
    assert "<region> where a region belongs" in fault(lambda row: row["messages"][1].update(content="<region>"))


def test_the_page_draws_them(build: Build) -> None:
    _, out = build("regions=qwen2")
    examples = recognize(path_of(out)).examples()  # type: ignore[union-attr]
    pages = [example_page(examples, "x", examples.at(number, whole=True), None, "n") for number in range(examples.total or 0)]
    drawn = [page for page in pages if "<rect x=" in page and "boxes and points" in page]
    assert drawn and any("<circle cx=" in page for page in pages)
    assert any('viewBox="0 0 32 32"' in page and ">cat</text>" in page for page in drawn)


def test_the_recipe(build: Build) -> None:
    manifest, _ = build("regions={family: qwen2.5, max_pixels: 1003520}")
    assert manifest.plan.regions == {"family": "qwen2.5", "factor": 28, "min_pixels": 3136, "max_pixels": 1_003_520}
    assert json.loads(json.dumps(manifest.recipe))["regions"]["max_pixels"] == 1_003_520
