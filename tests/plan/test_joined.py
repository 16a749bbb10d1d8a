"""A mixture whose robot log has annotations: what stops it, what it tells, and that every format and worker gives the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.cli.app import app
from rt2data.errors import DataError
from rt2data.formats.base import FORMATS, make_format
from rt2data.look.inspect import recognize
from rt2data.look.verify import verify
from rt2data.look.view.terminal import as_plain
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.render.record import decode_record
from tests.look.verify.test_verify import rewrite
from tests.read.annotations.bridge import Episodes, ecot, episodes, write
from tests.render import tiny

pytestmark = pytest.mark.long

RECIPE = """
robot_frac: 1/2
size: {{num_examples: 120}}
store: store
template: ecot
robot:
  bridge:
    kind: rlds
    path: {data}/rlds_bridge/bridge_dataset/1.0.0
    action_space: widowx_bridge
    annotations: {{kind: ecot, path: ecot.json}}
    instructions: {{path: pool.json, own: add}}
    reasoning_dropout: 0.25
  plain: {{kind: rlds, path: {data}/rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge}}
web:
  coco:
    kind: vqav2
    questions: {data}/coco_web/annotations/v2_OpenEnded_mscoco_trainval2014_questions.json
    annotations: {data}/coco_web/annotations/v2_mscoco_trainval2014_annotations.json
    image_dirs: [{data}/coco_web/train2017, {data}/coco_web/val2017]
"""


@pytest.fixture(scope="module")
def known(shared_data: Path) -> Episodes:
    return episodes(shared_data)


@pytest.fixture(scope="module")
def folder(shared_data: Path, known: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode has no annotation of its last step."""
    folder = tmp_path_factory.mktemp("joined")
    tree = ecot(known)
    (file, number), *_ = known
    del tree[file][number]["reasoning"]["9"]
    write(folder / "ecot.json", tree)
    write(folder / "pool.json", {steps[0].instruction: ["do it", "go on"] for steps in known.values()})
    (folder / "mixture.yaml").write_text(RECIPE.format(data=shared_data))
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Callable[..., Recipe]:
    return lambda *overrides: read_recipe(folder / "mixture.yaml", overrides=overrides)


@pytest.fixture(scope="module")
def built(folder: Path, recipe: Callable[..., Recipe]) -> Path:
    build_plainly(recipe(), Site(folder / "mixture"))
    return folder / "mixture"


def records(out: Path, name: str = "webdataset") -> list[Any]:
    form = make_format(name)
    manifest = json.loads((out / "manifest.json").read_text())
    return [decode_record(member.record) for shard in manifest["shards"] for member in form.read(out / shard["name"])]


def test_it_verifies_and_says_what_matched(built: Path) -> None:
    assert not verify(built).faults
    manifest = json.loads((built / "manifest.json").read_text())
    warnings = {each["code"]: each["what"] for each in manifest["plan"]["warnings"] if each["source"] == "bridge"}
    assert warnings["annotations"] == "129 of 130 steps (99.2 %) have annotations"
    assert warnings["instructions"] == "130 of 130 steps (100 %) have a pool of instructions"
    assert [each["source"] for each in manifest["plan"]["warnings"] if each["code"] == "no_notes"] == ["plain"]


def test_only_annotated_steps_have_notes(built: Path) -> None:
    found = records(built)
    for record in found:
        if record.source == "bridge":
            assert record.notes is None or record.target.endswith(" ".join(map(str, record.action_bins)))
            assert (record.original is None) == (record.text not in ("do it", "go on"))
        else:
            assert record.notes is None and record.original is None
    assert sum(record.notes is not None for record in found) > 20
    assert {record.text for record in found if record.source == "bridge"} >= {"do it", "go on"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_records(folder: Path, recipe: Callable[..., Recipe], built: Path, name: str) -> None:
    if name == "arrayrecord":
        pytest.importorskip("array_record")
    out = folder / f"as-{name}"
    build_plainly(recipe(f"shards.format={name}"), Site(out))
    assert records(out, name) == records(built)
    assert not verify(out).faults


def test_load_gives_notes_where_the_mixture_has_them(built: Path) -> None:
    found = list(rt2data.load(built, epochs=1, decode=None))
    noted = [each["notes"] for each in found if each["notes"]]
    assert noted and noted[0][0]["name"] == "task"
    assert all("original" in each for each in found)


def test_view_shows_notes(built: Path) -> None:
    examples = recognize(built).examples()
    shown = [as_plain(examples.at(number)) for number in range(40)]
    assert any(each.get("notes", [{}])[0].get("name") == "task" for each in shown)
    assert any("original" in each for each in shown)


def test_fewer_matches_than_asked_for_stop_the_build(folder: Path, recipe: Callable[..., Recipe], known: Episodes) -> None:
    tree = ecot(known)
    lost = [*known][:2]
    for file, number in lost:
        tree[file]["99"] = tree[file].pop(number)
    write(folder / "few.json", tree)
    fewer = ("robot.bridge.annotations.path=few.json",)
    with pytest.raises(DataError) as raised:
        build_plainly(recipe(*fewer), Site(folder / "few"))
    assert str(raised.value).count("\n") == 0
    assert "110 of 130 steps (84.6 %) have annotations; 2 annotated episodes are not in the log" in raised.value.what
    assert "min_matched is 95 %" in raised.value.what
    log, annotated = (part.split(" has ")[1] for part in raised.value.where.split("; "))
    assert all(f"{file} episode {number}" in log for file, number in lost)
    assert annotated.count(" episode ") == 3
    assert raised.value.code == 3
    build_plainly(recipe(*fewer, "robot.bridge.annotations.min_matched=80%"), Site(folder / "few"))
    assert not verify(folder / "few").faults


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(folder: Path, built: Path) -> None:
    command = ["build-mixture", str(folder / "mixture.yaml"), "-o", str(folder / "two"), "--set", f"store={folder / 'other'}"]
    app([*command, "--workers", "2"], standalone_mode=False)
    one, two = (json.loads((out / "manifest.json").read_text())["shards"] for out in (built, folder / "two"))
    assert [each["sha256"] for each in one] == [each["sha256"] for each in two]


def test_compacted_stores_give_the_same_bytes(folder: Path, recipe: Callable[..., Recipe], built: Path) -> None:
    build_plainly(recipe("compact=spill"), Site(folder / "compacted"))
    one, two = (json.loads((out / "manifest.json").read_text())["shards"] for out in (built, folder / "compacted"))
    assert [each["sha256"] for each in one] == [each["sha256"] for each in two]


def test_a_recipe_without_annotations_has_no_word_of_them(folder: Path, recipe: Callable[..., Recipe]) -> None:
    plain = recipe(
        "robot.bridge.annotations=null", "robot.bridge.instructions=null", "robot.bridge.reasoning_dropout=0", "template=rt2"
    )
    out = folder / "plain"
    build_plainly(plain, Site(out))
    text = (out / "manifest.json").read_text()
    assert all(word not in text for word in ("notes", "instructions", "reasoning_dropout", "min_matched"))
    assert all("notes" not in bytes(member.record).decode() for member in _members(out))


def _members(out: Path) -> list[Any]:
    shards = json.loads((out / "manifest.json").read_text())["shards"]
    return [member for shard in shards for member in make_format("webdataset").read(out / shard["name"])]


# What verify finds


def change(out: Path, copy: Path, edit: Callable[[dict[str, Any]], None]) -> str:
    """Faults of a copy of the mixture in which one noted example was changed."""
    shutil.copytree(out, copy)
    rewrite(copy, lambda found: edit(next(each["record"] for each in found if each["record"].get("notes"))), "shard-000000.tar")
    return "\n".join(fault.what for fault in verify(copy).faults)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda each: each["notes"].append(each["notes"][0]), "two have one name"),
        (lambda each: each["notes"][0].update(text="another task"), "does not begin with what its notes say"),
        (lambda each: each.update(target=each["target"].replace("ACTION:", "MOTION:")), "does not begin with what its notes say"),
        (lambda each: each.update(original=each["text"]), "its original instruction is its text"),
    ],
)
def test_wrong_notes_are_named(built: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], said: str) -> None:
    assert said in change(built, tmp_path / "copy", edit)


@pytest.mark.parametrize("template", ["ecot", "rt2_plan"])
@pytest.mark.parametrize("codec", ["rt2", "openvla"])
def test_targets_decode_to_their_actions(
    folder: Path, recipe: Callable[..., Recipe], tmp_path: Path, template: str, codec: str
) -> None:
    """From text and from ids."""
    tokenizer = tiny.kinds(tmp_path)["llama"].path if codec == "openvla" else "byte"
    more = (f"template={template}", f"codec={codec}", f"tokenizer={tokenizer}", "action_words=ids")
    build_plainly(recipe(*more), Site(tmp_path / "out"))
    assert not verify(tmp_path / "out").faults
    for record in [each for each in records(tmp_path / "out") if each.source == "bridge"]:
        wanted = rt2data.decode(tmp_path / "out", record.action_bins, source="bridge").actions
        ids = [each for each, loss in zip(record.input_ids, record.loss_mask, strict=True) if loss]
        for given in (record.target, ids):
            assert (rt2data.decode(tmp_path / "out", given, source="bridge", ids=given is ids).actions == wanted).all()
