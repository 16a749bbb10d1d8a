"""A finished output has no faults; damage of any kind, and of several kinds at once, is reported, each with its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from rt2data.beam.pool import make_pool
from rt2data.build import Site, build_plainly
from rt2data.errors import UsageError
from rt2data.formats.base import Sizes
from rt2data.formats.webdataset import TarWriter, WebDataset
from rt2data.io.tar import BLOCK, tar_header
from rt2data.look.verify import Findings, ShardFindings, verify
from rt2data.look.verify import shard as one_shard
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.contract import toy
from tests.render import tiny

SHARD = "shard-000001.tar"
Edit = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three epochs of the web side, in six shards."""
    folder = tmp_path_factory.mktemp("verify")
    robot, web = toy.write_robot(folder / "robot"), toy.write_web(folder / "web")
    path = folder / "mixture.yaml"
    path.write_text(
        f"robot_frac: 2/3\nshards: {{bytes: 40kB}}\nstore: store\n"
        f"robot: {{arm: {{kind: toy_robot, path: {robot}, action_space: widowx_bridge}}}}\n"
        f"web: {{qa: {{kind: toy_web, path: {web}}}}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        yield path


@pytest.fixture(scope="module")
def built(recipe_file: Path) -> Path:
    """An output that is as it should be."""
    out = recipe_file.with_name("out")
    build_plainly(read_recipe(recipe_file), Site(out))
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def faults_text(findings: Findings) -> str:
    return "\n".join(map(str, findings.faults))


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x20
    path.write_bytes(content)


def members(path: Path) -> list[dict[str, Any]]:
    """Key, images and record of each example, to be edited."""
    return [
        {"key": m.key, "images": [(i.slot, i.extension, bytes(i.data)) for i in m.images], "record": json.loads(bytes(m.record))}
        for m in WebDataset().read(path)
    ]


def rewrite(out: Path, edit: Edit, name: str = SHARD) -> None:
    """Edit a shard and seal it: only its content can tell."""
    found = members(out / name)
    edit(found)
    with (out / name).open("wb", buffering=0) as file:
        writer = TarWriter(file, Sizes(images=json.loads((out / "manifest.json").read_text())["plan"].get("images")))
        for each in found:
            record = each["record"]
            content = record if isinstance(record, bytes) else json.dumps(record).encode()
            sizes = [(slot, extension, len(data)) for slot, extension, data in each["images"]]
            for place, (_, _, data) in zip(writer.add(each["key"], sizes, content), each["images"], strict=True):
                place[:] = data
        digest = writer.close()

    def reseal(manifest: dict[str, Any]) -> None:
        entry = next(s for s in manifest["shards"] if s["name"] == name)
        manifest["bytes"] += digest.bytes - entry["bytes"]
        entry |= digest._asdict()

    edit_manifest(out, reseal)


def edit_manifest(out: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    edit(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def robot(found: list[dict[str, Any]], number: int = 0) -> dict[str, Any]:
    return [each for each in found if each["record"]["kind"] == "robot"][number]


def web(found: list[dict[str, Any]], number: int = 0) -> dict[str, Any]:
    return [each for each in found if each["record"]["kind"] == "web"][number]


def test_a_good_output_has_no_faults(built: Path) -> None:
    found = verify(built)
    assert found.ok, faults_text(found)
    assert found.notes == ()
    assert found.examples == 72
    assert found.robot_frac == 2 / 3
    assert found.epochs == {"arm": (48,), "qa": (9, 9, 6)}
    assert found.totals["arm"].examples == 48
    assert found.bytes == sum(path.stat().st_size for path in built.glob("*.tar"))
    assert 0.5 < found.robot_frac_shards[0] <= found.robot_frac_shards[1] < 0.8


def test_workers_find_the_same(out: Path) -> None:
    rewrite(out, lambda found: robot(found)["record"].update(terminate=None))
    called: list[tuple[ShardFindings, int]] = []
    pool = make_pool("processes", 2)
    try:
        there = verify(out, pool, lambda seen, count: called.append((seen, count)))
    finally:
        pool.close()
    assert there == verify(out)
    assert not there.ok
    assert sorted(seen.index for seen, _ in called) == list(range(called[0][1]))


def test_every_answer_and_another_template_check_out(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, overrides=["web.qa.answers=all", "template=openvla", "seed=7", "size.num_examples=200"])
    build_plainly(recipe, Site(tmp_path / "out"))
    found = verify(tmp_path / "out")
    assert found.ok, faults_text(found)
    assert found.examples == 200


def test_openvla_actions_check_out_with_their_tokenizer_and_without(recipe_file: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(tiny.llama_like())
    recipe = read_recipe(recipe_file, overrides=["codec=openvla", "template=openvla", f"tokenizer={tokenizer}"])
    build_plainly(recipe, Site(tmp_path / "out"))
    found = verify(tmp_path / "out")
    assert found.ok, faults_text(found)
    assert found.notes == ()
    tokenizer.write_text(tiny.llama_like(merges=(("a", "b"),)))
    assert "is not the one the plan was made with" in verify(tmp_path / "out").notes[0]
    tokenizer.unlink()
    without = verify(tmp_path / "out")
    assert without.ok
    assert "ids were not compared with their texts: no such tokenizer file" in without.notes[0]
    rewrite(tmp_path / "out", lambda found: robot(found)["record"]["input_ids"].__setitem__(-2, 300))
    assert "its target's ids do not mean its action_bins" in faults_text(verify(tmp_path / "out"))


def test_no_folder_and_no_manifest(out: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        verify(out / "nowhere")
    (out / "manifest.json").unlink()
    assert "no manifest" in faults_text(verify(out))
    (out / "manifest.json").write_bytes(b'{"version": 1,')
    assert "damaged manifest" in faults_text(verify(out))


# Files


def test_a_flipped_byte_is_noticed_wherever_it_is(out: Path) -> None:
    first = members(out / SHARD)[0]["images"][0][2]
    record_at = BLOCK + -(-len(first) // BLOCK) * BLOCK + BLOCK
    for offset, also in ((3, "damaged member header"), (BLOCK + 200, ""), (record_at + 1, "not an example record")):
        path = Path(shutil.copytree(out, out.with_name(f"flip-{offset}"))) / SHARD
        flip(path, offset)
        text = faults_text(verify(path.parent))
        assert f"{SHARD}: its bytes are not those that were written" in text
        assert also in text


def test_a_damaged_header_names_its_byte_and_what_was_not_read(out: Path) -> None:
    flip(out / SHARD, 3)
    assert f"{SHARD}: byte 0: a damaged member header; read up to here: 0 of " in faults_text(verify(out))


def test_an_image_that_is_none(out: Path) -> None:
    def edit(found: list[dict[str, Any]]) -> None:
        (slot, extension, data), (_, _, other) = found[0]["images"][0], found[1]["images"][0]
        found[0]["images"] = [(slot, extension, b"<html>" + data[6:])]
        found[1]["images"] = [(slot, "png", other)]

    rewrite(out, edit)
    text = faults_text(verify(out))
    assert "example 0, key" in text and "its image cannot be used: " in text
    assert "its image is jpeg, its name says .png" in text


def test_a_cut_shard(out: Path) -> None:
    content = (out / SHARD).read_bytes()
    (out / SHARD).write_bytes(content[:-12_000])
    text = faults_text(verify(out))
    assert f"has {len(content) - 12_000:,} bytes, the manifest says {len(content):,}" in text
    assert "cut" in text and "read up to here" in text
    assert "their order was not compared" in text


def test_missing_extra_and_empty_files(out: Path) -> None:
    (out / SHARD).unlink()
    (out / "shard-000000.tar").write_bytes(b"")
    (out / "notes.txt").write_text("hello")
    (out / ".shard-000004.tar.123.tmp").write_bytes(b"half")
    (out / ".out.lock").touch()
    text = faults_text(verify(out))
    assert f"{SHARD}: is missing" in text
    assert "shard-000000.tar: an empty shard" in text.replace(": byte 0", "")
    assert "notes.txt: does not belong here" in text
    assert ".tmp: does not belong here" in text
    assert ".lock" not in text


def test_everything_at_once_is_all_named(out: Path) -> None:
    flip(out / "shard-000000.tar", 3)
    (out / SHARD).unlink()
    rewrite(out, lambda found: robot(found)["record"].update(action_bins=[0] * 8), "shard-000002.tar")
    (out / "notes.txt").write_text("hello")
    (out / "dataset_statistics.json").write_text("{}")
    edit_manifest(out, lambda manifest: manifest.update(examples=1))
    text = faults_text(verify(out))
    for part in (
        "damaged member header",
        "is missing",
        "its target",
        "notes.txt",
        "dataset_statistics.json: arm: is absent",
        "examples: is 1",
    ):
        assert part in text, part


# Records


def test_two_swapped_examples(out: Path) -> None:
    def swap(found: list[dict[str, Any]]) -> None:
        a, b = (next(i for i, each in enumerate(found) if each["record"]["kind"] == kind) for kind in ("robot", "web"))
        found[a], found[b] = found[b], found[a]

    rewrite(out, swap)
    faults = [str(fault) for fault in verify(out).faults if "the plan's order" in fault.what]
    assert len(faults) == 2
    assert any("is of source qa, the plan's order has arm here" in fault for fault in faults)
    assert any("is of source arm, the plan's order has qa here" in fault for fault in faults)


def test_a_repeated_key_is_named_with_both_places(out: Path) -> None:
    stolen = members(out / "shard-000000.tar")

    def edit(found: list[dict[str, Any]]) -> None:
        mine, theirs = robot(found), robot(stolen)
        mine["key"], mine["record"] = theirs["key"], theirs["record"]

    rewrite(out, edit)
    key = robot(stolen)["key"]
    text = faults_text(verify(out))
    assert f"key {key}: the same key as example " in text
    assert "of shard-000000.tar" in text


def test_an_epoch_that_repeats_a_row_and_misses_another(out: Path) -> None:
    everything = {path.name: members(path) for path in sorted(out.glob("*.tar"))}
    first = [(name, i) for name, found in everything.items() for i, e in enumerate(found) if e["record"]["source"] == "qa"]
    name, at = next((n, i) for n, i in first if everything[n][i]["record"]["epoch"] == 1)

    def edit(found: list[dict[str, Any]]) -> None:
        found[at]["key"] = found[at]["record"]["key"] = "qa-q9999-r1"

    rewrite(out, edit, name)
    assert "source qa epoch 1: does not hold the same rows as epoch 0" in faults_text(verify(out))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"action_bins": [0, 9, 9, 9, 9, 9, 9, 9]}, "its bin means"),
        ({"action_bins": [0, 256, 9, 9, 9, 9, 9, 9]}, "action_bins are not 8 numbers from 0 to 255"),
        ({"action_bins": [1, 2]}, "action_bins are not 8 numbers from 0 to 255"),
        ({"action_bins": None}, "action_bins are not 8 numbers from 0 to 255"),
        ({"action": [9.0] * 7, "actions": [[9.0] * 7]}, "beyond the codec's tolerance"),
        ({"action": [9.0] * 7}, "the first of its actions is not its action"),
        ({"actions": [[9.0] * 7] * 2}, "actions are not 1 of 7 numbers"),
        ({"action_is_pad": [True]}, "action_is_pad is not false and then true"),
        ({"action_is_pad": [False, True]}, "action_is_pad does not have 1 entries"),
        ({"action": [1e300] * 7}, "action is beyond float32"),
        ({"action": [0.0] * 6}, "action is not 7 numbers"),
        ({"action_mask": [True] * 6 + [False]}, "action_mask is not true for 7 of 7"),
        ({"terminate": None}, "a robot example without terminate"),
        ({"episode": "other"}, "episode is other, its group "),
        ({"step": -1}, "step is -1"),
        ({"camera": "other"}, "camera is other, the plan has "),
        ({"episode_length": 0}, "episode_length is 0 at step "),
        ({"image_names": ["other"]}, "image_names are other, not front"),
        ({"image_names": ["front", "front"]}, "image_names are front, front, not front"),
        ({"image_offsets": [-1]}, "image_offsets are -1, not 0"),
        ({"image_mask": [False]}, "image_mask says images none, there are 0"),
        ({"loss_weight": 2.0}, "loss_weight is 2.0, the plan says 1.0"),
        ({"messages": []}, "messages do not alternate between user and assistant"),
        ({"text": "something else"}, "its prompt is not that of its text"),
        ({"prompt": ""}, "its prompt is empty"),
        ({"state": None}, "state has None numbers, its statistics 7"),
        ({"target": "1 2 3 4 5 6 7 8"}, "its target '1 2 3 4 5 6 7 8' is not its action_bins"),
        ({"prompt": "Q: something else A:"}, "its input_ids are not those of its prompt"),
        ({"codec": "rt2/9"}, "codec is rt2/9, the plan says rt2/2"),
        ({"split": "val"}, "split is val, the plan says train"),
        ({"kind": "web"}, "kind is web, the plan says robot"),
        ({"source": "nobody"}, "its source 'nobody' is not in the plan"),
        ({"epoch": 1}, "has epoch 1, the plan has 0 here"),
        ({"answers": ["yes"]}, "a robot example has answers"),
        ({"key": "arm-other"}, "its record has key arm-other"),
        ({"key": "../../etc/passwd"}, "not an example record"),
        ({"surprise": 1}, "not an example record"),
        ({"loss_mask": [0, 2]}, "not an example record"),
    ],
)
def test_a_wrong_robot_record_is_named(out: Path, change: dict[str, Any], named: str) -> None:
    key = robot(members(out / SHARD))["key"]
    rewrite(out, lambda found: robot(found)["record"].update(change))
    found = verify(out)
    hits = [fault for fault in found.faults if named in fault.what]
    assert hits, faults_text(found)
    assert hits[0].file == SHARD
    assert hits[0].where.startswith("example ") and hits[0].where.endswith(f", key {key}")


def test_a_flipped_terminate_bin_is_named(out: Path) -> None:
    def flip(found: list[dict[str, Any]]) -> None:
        record = robot(found)["record"]
        first, *rest = record["action_bins"]
        record.update(action_bins=[1 - first, *rest])

    rewrite(out, flip)
    assert "action_bins are not those codec rt2 gives" in faults_text(verify(out))


def test_a_bin_off_by_one_is_named(out: Path) -> None:
    """Half a bin is what centers allow."""

    def shift(found: list[dict[str, Any]]) -> None:
        record = robot(found)["record"]
        bins = record["action_bins"]
        d = next(i for i in range(1, 7) if 5 < bins[i] < 250)
        record.update(action_bins=[*bins[:d], bins[d] + 1, *bins[d + 1 :]])

    rewrite(out, shift)
    assert "beyond the codec's tolerance" in faults_text(verify(out))


def test_a_terminate_bin_that_contradicts_its_flag(out: Path) -> None:
    rewrite(out, lambda found: robot(found)["record"].update(terminate=not robot(found)["record"]["terminate"]))
    assert "action_bins are not those codec" in faults_text(verify(out))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r.update(answers=[]), "its prompt is not that of its messages"),
        (lambda r: r.update(terminate=False), "a web example has terminate"),
        (lambda r: r.update(target="three"), "its input_ids are not those of its target"),
        (lambda r: r["loss_mask"].__setitem__(0, 1), "loss_mask is not 0s and then 1s"),
        (lambda r: r["loss_mask"].append(1), "entries for"),
        (lambda r: r.update(loss_mask=[0] * len(r["loss_mask"])), "loss_mask leaves no prompt or no target"),
        (lambda r: r["input_ids"].__setitem__(-1, 7), "where eos_id 1 belongs"),
        (lambda r: r.update(input_ids=[], loss_mask=[]), "input_ids are empty or negative"),
        (lambda r: r["input_ids"].__setitem__(3, -5), "input_ids are empty or negative"),
    ],
)
def test_a_wrong_web_record_is_named(out: Path, change: Callable[[dict[str, Any]], None], named: str) -> None:
    rewrite(out, lambda found: change(web(found)["record"]))
    hits = [fault for fault in verify(out).faults if named in fault.what]
    assert hits and web(members(out / SHARD))["key"] in hits[0].where


def test_records_of_two_examples_exchanged_do_not_pass(out: Path) -> None:
    def exchange(found: list[dict[str, Any]]) -> None:
        a, b = robot(found, 0), robot(found, 1)
        for name in ("action", "actions", "state"):
            a["record"][name], b["record"][name] = b["record"][name], a["record"][name]

    rewrite(out, exchange)
    found = verify(out)
    assert {fault.where for fault in found.faults} == {
        fault.where for fault in found.faults if any(robot(members(out / SHARD), n)["key"] in fault.where for n in (0, 1))
    }
    assert len({fault.where for fault in found.faults}) == 2


def test_a_removed_example(out: Path) -> None:
    rewrite(out, lambda found: found.__delitem__(2))
    text = faults_text(verify(out))
    assert "examples, the manifest says" in text
    assert "their order was not compared" in text
    assert "holds" in text and "the plan says" in text


# Manifest and statistics


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda m: m.update(examples=73), "examples: is 73, should be 72"),
        (lambda m: m.update(bytes=1), "bytes: is 1, should be"),
        (lambda m: m.update(robot_frac=0.5), "robot_frac: is 0.5, should be 0.66"),
        (lambda m: m.update(token_frac=0.5), "token_frac: is 0.5"),
        (lambda m: m.update(epochs={"arm": 1.0, "qa": 9.0}), "epochs.qa: is 9.0, should be 2.6"),
        (lambda m: m["totals"]["qa"].update(prompt_tokens=1), "totals.qa.prompt_tokens: is 1"),
        (lambda m: m["plan"].update(seed=5), "plan.fingerprint: is"),
        (lambda m: m["plan"]["sources"][0].update(draws=47), "plan.num_examples: is 72, should be 71"),
        (lambda m: m["plan"].update(robot_frac="1/2"), "plan.robot_frac: is 1/2, should be 2/3"),
        (lambda m: m["plan"]["sources"][0]["codec"].update(version=9), "source arm: action codec rt2 version 9"),
        (lambda m: m["plan"].update(format="zarr"), "plan.format: 'zarr' is not known here"),
        (lambda m: m["plan"].update(num_examples=2_000_000_000, shards=1), "do not add up"),
        (lambda m: m["shards"][1]["sources"]["arm"].update(target_tokens=3), "source arm: holds target_tokens 1"),
        (lambda m: m["shards"][1].update(xxh3_128="0" * 32), "its bytes are not those that were written"),
        (lambda m: m["shards"].pop(), "shards: is "),
        (lambda m: m["shards"].reverse(), "shards[0].index"),
        (lambda m: m["statistics"]["arm"]["action"].update(count=3), "statistics.arm.action.count: is 3, the source has 48 rows"),
        (lambda m: m["statistics"].clear(), "statistics have no count"),
        (lambda m: m.update(version=99), "version: is 99"),
        (lambda m: m["statistics"]["arm"]["action"].update(max=[-1.0] * 7), "beyond the "),
        (lambda m: m["recipe"].update(seed=4), "recipe.seed: is 4, should be 0"),
        (lambda m: m["recipe"].update(robot_frac="1/2"), "recipe.robot_frac: is 1/2, should be 2/3"),
    ],
)
def test_an_edited_manifest_is_named(out: Path, edit: Callable[[dict[str, Any]], None], named: str) -> None:
    edit_manifest(out, edit)
    assert named in faults_text(verify(out))


def test_edited_statistics_are_named_by_their_path(out: Path) -> None:
    path = out / "dataset_statistics.json"
    statistics = json.loads(path.read_text())
    statistics["arm"]["action"]["mean"][2] = 5.0
    statistics["arm"]["num_trajectories"] = 1
    path.write_text(json.dumps(statistics))
    text = faults_text(verify(out))
    assert "dataset_statistics.json: arm.action.mean[2]: is 5.0" in text
    assert "dataset_statistics.json: arm.num_trajectories: is 1" in text
    path.write_text("{")
    assert "dataset_statistics.json: cannot be read" in faults_text(verify(out))
    path.unlink()
    assert "dataset_statistics.json: is missing" in faults_text(verify(out))


def test_very_many_faults_are_counted(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_shard, "MAX_FAULTS", 3)

    def edit(found: list[dict[str, Any]]) -> None:
        for each in found:
            each["record"]["split"] = "val"

    rewrite(out, edit)
    shard = [fault for fault in verify(out).faults if fault.file == SHARD]
    assert len(shard) == 4
    assert shard[-1].what.startswith("and ") and shard[-1].what.endswith("more faults")


def test_a_header_with_a_negative_size_ends(out: Path) -> None:
    content = bytearray((out / SHARD).read_bytes())
    content[:BLOCK] = tar_header(b"a.jpg", -1024)
    (out / SHARD).write_bytes(content)
    assert "damaged member header" in faults_text(verify(out))


def test_the_size_of_keys_in_memory(built: Path) -> None:
    """Eight bytes for each example, however long its key."""
    seen: list[ShardFindings] = []
    verify(built, on_shard=lambda shard, _: seen.append(shard))
    assert sum(shard.keys.nbytes for shard in seen) == 8 * 72
    assert len({int(key) for shard in seen for key in shard.keys}) == 72
    assert int(seen[0].keys[0]) == xxhash.xxh3_64_intdigest(members(built / "shard-000000.tar")[0]["key"].encode())


def test_the_fixture_has_something_to_check(built: Path) -> None:
    """With a single shard, source or epoch there would be no order to get wrong."""
    plan = json.loads((built / "manifest.json").read_text())["plan"]
    assert plan["shards"] >= 4
    assert [source["repeats_max"] for source in plan["sources"]] == [1, 3]
