"""The main job on real data: Bridge (RLDS) and VQAv2 (COCO), half and half, read back with the tools people use.

Every number in the shards is traced to where it came from: TFDS for the robot's steps, the JSON and JPEG files for the questions.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally
from rt2data.build import Site
from rt2data.errors import UsageError
from rt2data.formats.base import Member, make_format
from rt2data.io.installation import schemas
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import F64
from rt2data.render.codecs.table import Codec, codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.render.tokenizer import Tokenizer, load_tokenizer
from rt2data.seal.manifest import Manifest
from tests.render.test_real_tokenizers import FILES
from tests.render.tiny import llama_like

STEPS, QUESTIONS = 100, 13  # of Bridge's train split, of the VQAv2 sample


@dataclass(frozen=True)
class Built:
    """A finished mixture, read by our own reader."""

    out: Path
    manifest: Manifest
    members: list[tuple[str, str, bytes, ExampleRecord]]  # key, extension, picture, record; in order

    @property
    def records(self) -> list[ExampleRecord]:
        return [record for *_, record in self.members]

    def of(self, kind: str) -> list[tuple[ExampleRecord, bytes]]:
        """Records and pictures of one side."""
        return [(record, picture) for _, _, picture, record in self.members if record.kind == kind]

    @property
    def codec(self) -> Codec:
        return codec_from_json(next(s.codec for s in self.manifest.plan.sources if s.codec))


@pytest.fixture(scope="module")
def recipe_file(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "mixture.yaml"
    coco = shared_data / "coco_web"
    path.write_text(
        f"""
robot_frac: 0.5
store: store
shards: {{bytes: 400kB}}
robot:
  bridge:
    kind: rlds
    path: {shared_data}/rlds_bridge/bridge_dataset/1.0.0
    action_space: widowx_bridge
web:
  coco:
    kind: vqav2
    questions: {coco}/annotations/v2_OpenEnded_mscoco_trainval2014_questions.json
    annotations: {coco}/annotations/v2_mscoco_trainval2014_annotations.json
    image_dirs: [{coco}/train2017, {coco}/val2017]
"""
    )
    return path


def build(recipe_file: Path, name: str, **values: object) -> Built:
    """Build with Beam, in this process."""
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in values.items()]
    out = recipe_file.with_name(name)
    manifest = build_locally(read_recipe(recipe_file, overrides), Site(out), make_pool("threads", 0))
    form = make_format(manifest.plan.format)
    members = [_read(member) for shard in manifest.shards for member in form.read(out / shard.name)]
    return Built(out, manifest, members)


def _read(member: Member) -> tuple[str, str, bytes, ExampleRecord]:
    return member.key, member.images[0].extension, bytes(member.image), decode_record(bytes(member.record))


@pytest.fixture(scope="module")
def built(recipe_file: Path) -> Built:
    return build(recipe_file, "mixture")


@pytest.fixture(scope="module")
def tfds_steps(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Bridge as TensorFlow Datasets reads it, by row; pictures not decoded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tfds = pytest.importorskip("tensorflow_datasets")
    logging.getLogger("absl").setLevel(logging.ERROR)
    builder = tfds.builder_from_directory(str(shared_data / "rlds_bridge" / "bridge_dataset" / "1.0.0"))
    decoders = {"steps": {"observation": {"image_0": tfds.decode.SkipDecoding()}}}
    found = {}
    for number, episode in enumerate(builder.as_dataset(split="train", decoders=decoders)):
        for step, each in enumerate(tfds.as_numpy(episode["steps"])):
            found[f"train-00000-{number:06d}-{step:06d}"] = each
    return found


@pytest.fixture(scope="module")
def asked(shared_data: Path) -> dict[str, dict[str, Any]]:
    """The questions by row, with their annotations and the paths of their pictures."""
    root = shared_data / "coco_web"
    rows = json.loads((root / "annotations" / "v2_OpenEnded_mscoco_trainval2014_questions.json").read_text())["questions"]
    given = json.loads((root / "annotations" / "v2_mscoco_trainval2014_annotations.json").read_text())["annotations"]
    answers = {row["question_id"]: [each["answer"] for each in row["answers"]] for row in given}
    pictures = {int(path.stem): path for folder in ("train2017", "val2017") for path in (root / folder).iterdir()}
    return {
        str(row["question_id"]): row | {"answers": answers[row["question_id"]], "path": pictures[row["image_id"]]} for row in rows
    }


def row_of(record: ExampleRecord) -> str:
    return record.key.removeprefix(f"{record.source}-").removesuffix(f"-r{record.epoch}" if record.epoch else "")


# The mixture


def test_half_of_it_is_robot(built: Built) -> None:
    kinds = Counter(record.kind for record in built.records)
    assert kinds == {"robot": STEPS, "web": STEPS}
    assert built.manifest.examples == 2 * STEPS
    assert built.manifest.robot_frac == 0.5
    assert built.manifest.rejects == {"bridge": (), "coco": ()}
    assert built.manifest.conversions == {"bridge": {}, "coco": {}}


def test_every_shard_is_half_robot(built: Built) -> None:
    assert len(built.manifest.shards) > 30
    form, examples = make_format("webdataset"), 0
    for shard in built.manifest.shards:
        kinds = Counter(decode_record(bytes(member.record)).kind for member in form.read(built.out / shard.name))
        assert kinds.total() == shard.examples
        assert abs(kinds["robot"] - kinds.total() / 2) <= 1
        examples += shard.examples
    assert examples == built.manifest.examples


def test_every_row_is_there(built: Built, asked: dict[str, Any]) -> None:
    rows = Counter((record.source, row_of(record)) for record in built.records)
    steps = {row: n for (source, row), n in rows.items() if source == "bridge"}
    questions = {row: n for (source, row), n in rows.items() if source == "coco"}
    assert len(steps) == STEPS
    assert set(steps.values()) == {1}
    assert set(questions) == set(asked)
    assert set(questions.values()) == {STEPS // QUESTIONS, STEPS // QUESTIONS + 1}


def test_it_verifies(built: Built) -> None:
    found = verify(built.out)
    assert found.ok, "\n".join(map(str, found.faults))
    assert found.notes == ()


def test_records_and_manifest_are_as_their_schemas_say(built: Built) -> None:
    record = jsonschema.Draft202012Validator(json.loads((schemas() / "example.schema.json").read_text()))
    form = make_format("webdataset")
    for shard in built.manifest.shards:
        for member in form.read(built.out / shard.name):
            record.validate(json.loads(bytes(member.record)))
    assert not record.is_valid({"key": "a"})
    manifest = jsonschema.Draft202012Validator(json.loads((schemas() / "manifest.schema.json").read_text()))
    manifest.validate(json.loads((built.out / "manifest.json").read_text()))
    assert not manifest.is_valid({"version": 1})


# Read with webdataset


def test_webdataset_decodes_every_picture(built: Built) -> None:
    wds = pytest.importorskip("webdataset")
    shapes: Counter[tuple[str, int]] = Counter()
    for index in (0, 1):
        for pixels, record in (
            wds.WebDataset(str(built.out / f"shard-{index:06d}.tar"), shardshuffle=False).decode("rgb8").to_tuple("jpg", "json")
        ):
            assert pixels.dtype == np.uint8
            shapes[record["kind"], pixels.shape[2]] += 1
            if record["kind"] == "robot":
                assert pixels.shape == (64, 64, 3)
    assert set(shapes) == {("robot", 3), ("web", 3)}


# Traced to the sources


@pytest.mark.long
def test_steps_are_those_of_tfds(built: Built, tfds_steps: dict[str, dict[str, Any]]) -> None:
    assert len(tfds_steps) == STEPS
    for record, picture in built.of("robot"):
        step = tfds_steps[row_of(record)]
        assert picture == step["observation"]["image_0"]
        assert np.array(record.action, np.float32).tobytes() == step["action"].tobytes()
        assert np.array(record.state, np.float32).tobytes() == step["observation"]["state"].tobytes()
        assert record.text == step["language_instruction"].decode()
        assert record.action_mask == [True] * 7
        assert (record.episode, record.step) == (row_of(record)[:-7], int(row_of(record)[-6:]))
        assert record.group == record.episode
        assert (record.action_space, record.codec, record.answers) == ("widowx_bridge", "rt2/2", [])


def test_questions_are_those_of_the_files(built: Built, asked: dict[str, dict[str, Any]]) -> None:
    for record, picture in built.of("web"):
        row = asked[row_of(record)]
        assert picture == row["path"].read_bytes()
        assert record.text == row["question"]
        assert record.answers == row["answers"]
        assert len(record.answers) == 10
        assert record.group == str(row["image_id"])
        assert Counter(row["answers"])[record.target] == max(Counter(row["answers"]).values())
        assert record.prompt == f"Q: {row['question']} A:"
        for robots_own in ("action", "action_mask", "action_bins", "terminate", "state", "episode", "step", "codec"):
            assert getattr(record, robots_own) is None


# Prompts, targets and ids


def test_robot_prompts_are_those_of_rt2(built: Built) -> None:
    for record, _ in built.of("robot"):
        words = " ".join(record.text.replace("_", " ").split()).rstrip(".!?,;: ")
        assert record.prompt == f"Q: what action should the robot take to {words}? A:"


def test_targets_are_the_bins(built: Built) -> None:
    for record, _ in built.of("robot"):
        numbers = [int(word) for word in record.target.split()]
        assert record.target == " ".join(map(str, numbers))
        assert numbers == record.action_bins
        assert len(numbers) == 8
        assert all(0 <= n <= 255 for n in numbers)


def test_actions_come_back_within_the_tolerance(built: Built) -> None:
    codec = built.codec
    records = [record for record, _ in built.of("robot")]
    actions = np.array([record.action for record in records], np.float32)
    back, ended = codec.decode(np.array([record.target.split() for record in records], np.int32))
    error = np.abs(back - codec.clip(actions))
    assert (error <= codec.tolerance).all()
    assert error.max() > 0
    assert ended.tolist() == [record.terminate for record in records]
    assert (actions[:, 5] < codec.lo[5]).any(), "clipping is not exercised"


def test_each_episode_ends_once(built: Built) -> None:
    """The first number is 0 at the last step that was kept, and 1 before."""
    last: dict[str | None, int] = {}
    for record, _ in built.of("robot"):
        last[record.episode] = max(last.get(record.episode, -1), record.step or 0)
    assert len(last) == 10
    for record, _ in built.of("robot"):
        ends = record.step == last[record.episode]
        assert record.target.split()[0] == ("0" if ends else "1")
        assert record.terminate == ends


def test_ids_are_prompt_target_and_end(built: Built) -> None:
    tokenizer = load_tokenizer("byte")
    for record in built.records:
        learned = [i for i, mask in zip(record.input_ids, record.loss_mask, strict=True) if mask]
        prompt = [i for i, mask in zip(record.input_ids, record.loss_mask, strict=True) if not mask]
        assert list(record.loss_mask) == [0] * len(prompt) + [1] * len(learned)
        assert tokenizer.decode(prompt) == record.prompt
        assert tokenizer.decode(learned[:-1]) == " " + record.target
        assert learned[-1] == tokenizer.eos_id


def test_token_shares_add_up(built: Built) -> None:
    tokens = Counter[str]()
    for record in built.records:
        tokens[record.kind] += len(record.input_ids)
        tokens["learned " + record.kind] += sum(record.loss_mask)
    assert built.manifest.token_frac == tokens["robot"] / (tokens["robot"] + tokens["web"])
    learned = tokens["learned robot"], tokens["learned web"]
    assert built.manifest.loss_token_frac == learned[0] / sum(learned)


# Statistics


@pytest.mark.long
def test_statistics_are_those_openvla_reads(built: Built, tfds_steps: dict[str, dict[str, Any]]) -> None:
    found = json.loads((built.out / "dataset_statistics.json").read_text())
    assert list(found) == ["bridge"]
    assert set(found["bridge"]) == {"action", "proprio", "num_transitions", "num_trajectories"}
    assert (found["bridge"]["num_transitions"], found["bridge"]["num_trajectories"]) == (STEPS, 10)
    want = {
        "action": moments([step["action"] for step in tfds_steps.values()]),
        "proprio": moments([step["observation"]["state"] for step in tfds_steps.values()]),
    }
    want["action"]["q01"][6], want["action"]["q99"][6] = 0, 1  # the gripper's bounds are the action space's
    for name, each in want.items():
        for key, values in each.items():
            np.testing.assert_allclose(found["bridge"][name][key], values, rtol=1e-6, atol=1e-9, err_msg=f"{name} {key}")


def moments(rows: list[Any]) -> dict[str, F64]:
    values = np.array(rows, np.float64)
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    return {"mean": values.mean(0), "std": values.std(0), "max": values.max(0), "min": values.min(0), "q01": low, "q99": high}


# With OpenVLA's codec and prompts


def predict_action(ids: list[int], vocab: int, stats: dict[str, Any]) -> F64:
    """An action float64[D] of the ids a model says, as OpenVLA's `predict_action` undoes it (arXiv:2406.09246, section 3.2).

    The last 256 ids stand for bins, bins for the centres between 256 edges, and centres are scaled back by q01 and q99.
    """
    edges = np.linspace(-1, 1, 256)
    centers = (edges[:-1] + edges[1:]) / 2
    normal = centers[np.clip(vocab - np.array(ids) - 1, 0, len(centers) - 1)]
    low, high = np.array(stats["q01"]), np.array(stats["q99"])
    action: F64 = np.where(stats["mask"], 0.5 * (normal + 1) * (high - low) + low, normal)
    return action


@pytest.fixture(
    scope="module", params=["tiny", *FILES], ids=lambda given: given if isinstance(given, str) else "/".join(given.parts[-3:])
)
def like_openvla(request: pytest.FixtureRequest, recipe_file: Path) -> tuple[Built, Tokenizer]:
    """A mixture with a small Llama-like tokenizer, and with every real one there is."""
    file, rule = request.param, "text"
    if file == "tiny":
        file = recipe_file.with_name("tokenizer.json")
        file.write_text(llama_like(), encoding="utf-8")
    else:
        rule = "ids"
    values = {"codec": "openvla", "template": "openvla", "tokenizer": file, "action_words": rule}
    tokenizer = load_tokenizer("hf" if file.suffix == ".json" else "sentencepiece", str(file))
    try:
        return build(recipe_file, f"openvla-{tokenizer.sha256[:8]}", **values), tokenizer
    except UsageError as error:
        if "is the special token" in error.what:
            pytest.skip(f"rightly refused: {error.what}")
        raise


def test_openvla_would_do_what_the_robot_did(like_openvla: tuple[Built, Tokenizer]) -> None:
    built, tokenizer = like_openvla
    stats = json.loads((built.out / "dataset_statistics.json").read_text())["bridge"]["action"]
    assert stats["mask"] == [True] * 6 + [False]
    low, high = np.array(stats["q01"]), np.array(stats["q99"])
    half_a_bin = np.where(stats["mask"], high - low, 2) / 255 / 2
    for record, _ in built.of("robot"):
        learned = [i for i, mask in zip(record.input_ids, record.loss_mask, strict=True) if mask]
        action = learned[:-1] if tokenizer.eos_id is not None else learned
        assert len(action) == 7
        assert all(tokenizer.vocab_size - 256 <= i < tokenizer.vocab_size for i in action)
        done = predict_action(action, tokenizer.vocab_size, stats)
        want = np.where(stats["mask"], np.clip(record.action or [], low, high), np.clip(record.action or [], -1, 1))
        assert (np.abs(done - want) <= half_a_bin + 1e-6).all()


def test_openvla_prompts(like_openvla: tuple[Built, Tokenizer]) -> None:
    built, tokenizer = like_openvla
    words = ActionWords("last_n", tokenizer, "Out:")
    for record, _ in built.of("robot"):
        assert record.prompt == f"In: What action should the robot take to {record.text.lower().rstrip('.')}?\nOut: "
        learned = [i for i, mask in zip(record.input_ids, record.loss_mask, strict=True) if mask]
        assert words.parse(learned[:7]) == record.action_bins
    assert verify(built.out).ok


def test_openvla_ids_are_those_of_the_whole_text(like_openvla: tuple[Built, Tokenizer]) -> None:
    built, tokenizer = like_openvla
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    for record, _ in built.of("web"):
        assert list(record.input_ids) == begin + tokenizer.encode(record.prompt.rstrip() + " " + record.target) + end


# Splits


def test_the_other_split(recipe_file: Path) -> None:
    val = build(recipe_file, "val", split="val", robot_frac=1)
    assert Counter(record.kind for record in val.records) == {"robot": 30}
    assert {record.split for record in val.records} == {"val"}
