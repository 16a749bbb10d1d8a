"""What cannot be read is called by its name, with what to do about it, by whichever command it is met."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import UsageError
from rt2data.look.inspect import recognize as inspect_recognize
from rt2data.look.stats.subject import Question, find_subject
from rt2data.look.verify import verify
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.read.known_formats import LAYOUTS, hub_advice, recognize_json
from rt2data.read.rlds.source import open_dataset
from rt2data.read.source import SOURCES, recognize
from tests.contract import toy
from tests.contract.toy import jpeg

REAL = {
    "lerobot_v21_g1": "a LeRobot v2.1 dataset",
    "lerobot_v21_g1/meta": "a LeRobot v2.1 dataset, of which meta is a part",
    "lerobot_v21_g1/meta/info.json": "a LeRobot v2.1 dataset",
    "lerobot_v30_g1": "a LeRobot v3.0 dataset",
    "sim_aloha_lerobot_v21/data": "a LeRobot v2.1 dataset, of which data is a part",
    "lerobot_v21_g1/data/chunk-000/episode_000000.parquet": "a LeRobot v2.1 dataset, of which episode_000000.parquet is a part",
    "hdf5_robomimic": "a folder of HDF5 files",
    "hdf5_robomimic/lift_ph_image84.hdf5": "an HDF5 file",
    "hdf5_act_xhand": "a folder of HDF5 files",
    "ros_bridge/bridge_10.bag": "a ROS 1 bag",
    "ros_bridge/bridge_10_mcap": "a ROS 2 bag",
    "ros_bridge/bridge_10_mcap/bridge_10_mcap.mcap": "an MCAP log",
    "ros_bridge": "a folder of ROS bags or MCAP logs",
    "ros_bridge/bridge_10_mcap/metadata.yaml": "the metadata of a ROS 2 bag",
    "sim_metaworld_mcap": "a folder of ROS bags or MCAP logs",
    "sim_language_table_zarr": "a folder of zarr stores",
    "sim_language_table_zarr/language_table.zarr": "a zarr store",
    "wds_img2dataset/shard-0013.tar": "captions",
    "wds_img2dataset": "a folder of captions",
    "coco_web/train2017": "a folder of images",
    "coco_web/train2017/000000000790.jpg": "an image",
    "coco_web/annotations/captions_val2017.json": "captions",
    "coco_web/annotations/gvt_coco_oc.json": "GVT questions",
    "llava_json_llamafactory": "a folder of conversations",
    "llava_json_llamafactory/data/mllm_demo.json": "conversations",
    "rlds_bridge/bridge_dataset/1.0.0/bridge_dataset-train.tfrecord-00000-of-00001": "one shard of a TFDS dataset",
    "rlds_bridge/bridge_dataset/1.0.0/features.json": "a file of a TFDS dataset",
}


@pytest.mark.parametrize("path", REAL)
def test_real_files(path: str, shared_data: Path) -> None:
    if not (shared_data / path).exists():
        pytest.skip(f"no {path}")
    found = recognize(shared_data / path)
    assert found is not None and found.what.startswith(REAL[path])
    assert found.do


def test_videos(shared_data: Path, tmp_path: Path) -> None:
    video = next((shared_data / "lerobot_v21_g1" / "videos").rglob("*.mp4"))
    found = recognize(video)
    assert found is not None and found.what == f"a LeRobot v2.1 dataset, of which {video.name} is a part"
    (tmp_path / "alone.mp4").write_bytes(video.read_bytes()[:100])
    found = recognize(tmp_path / "alone.mp4")
    assert found is not None and found.what == "a video"


def archives() -> dict[str, bytes]:
    """A few bytes of what else people have."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as each:
        each.writestr("a", "b")
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("notes.md"))
    return {
        "a zip archive": zipped.getvalue(),
        "a gzip file": gzip.compress(b"x"),
        "a 7z archive": b"7z\xbc\xaf\x27\x1c\0\4",
        "a Zstandard file": b"\x28\xb5\x2f\xfd\0",
        "a tar archive": tarred.getvalue(),
        "an SQLite database": b"SQLite format 3\0" + bytes(84),
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "an HTML page": b"<!DOCTYPE html><p>Sign in",
        "a NumPy array": b"\x93NUMPY\x01\0",
        "an empty file": b"",
    }


@pytest.mark.parametrize("what", archives())
def test_files_by_their_first_bytes(what: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(archives()[what])
    found = recognize(tmp_path / "x")
    assert found is not None and found.what.startswith(what)


def test_folders(tmp_path: Path) -> None:
    def what(path: Path) -> str:
        found = recognize(path)
        assert found is not None
        return found.what

    assert what(tmp_path) == "an empty folder"
    (tmp_path / "a" / "b" / "c" / "d" / "set" / "1.0.0").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "d" / "set" / "1.0.0" / "dataset_info.json").write_text("{}")
    assert what(tmp_path) == "a folder above TFDS datasets"
    with pytest.raises(UsageError, match=r"name .*/set/1\.0\.0 as a source of kind rlds"):
        open_dataset(str(tmp_path))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x-train.tfrecord-00000-of-00001").touch()
    assert what(tmp_path / "raw") == "TFRecord files without dataset_info.json"
    assert recognize(tmp_path / "nowhere") is None


def test_names_on_a_hub() -> None:
    assert "hf download lerobot/pusht --repo-type dataset" in hub_advice("lerobot/pusht")
    for other in ("pusht", "/a/b", "a/b/c", "../b", "~/b", "a b/c"):
        assert hub_advice(other) == ""


WRITTEN = {
    "GQA questions": {
        "02930737": {"semantic": [], "imageId": "2354786", "question": "Is it?", "answer": "no", "fullAnswer": "No."}
    },
    "LLaVA conversations": [{"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat?"}]}],
    "A-OKVQA": [{"split": "val", "image_id": 1, "question_id": "x", "question": "?", "choices": ["a"], "rationales": ["b"]}],
    "VizWiz questions": [{"image": "VizWiz_val_0.jpg", "question": "?", "answers": [], "answerable": 1}],
    "VQAv2 questions": {"questions": [{"image_id": 1, "question": "?", "question_id": 1}]},
    "VQAv2 annotations": {"annotations": [{"image_id": 1, "question_id": 1, "answers": [{"answer": "x"}]}]},
    "COCO panoptic masks": {
        "images": [{"id": 1}],
        "annotations": [{"image_id": 1, "segments_info": [{"id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]}],
    },
    "COCO instances": {
        "images": [{"id": 1}],
        "annotations": [{"category_id": 3, "bbox": [0, 0, 1, 1]}],
    },
    "Visual Genome questions": [{"id": 1, "qas": [{"qa_id": 2, "question": "?", "answer": "x", "image_id": 1}]}],
    "an object with the keys left, right": {"left": 1, "right": [2]},
}


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("indent", [None, 2])
def test_layouts_of_json(layout: str, indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(WRITTEN[layout], indent=indent), "utf-8-sig")
    assert recognize_json(tmp_path / "x.json") == layout


def test_layouts_of_long_files(tmp_path: Path) -> None:
    """What tells COCO's captions stands at the end, behind megabytes of images; JSON Lines begin as an object."""
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "coco_url": "x"} for n in range(20_000)]
    captions = [{"image_id": n, "id": n, "caption": "a dog"} for n in range(5)]
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "annotations": captions}))
    assert recognize_json(tmp_path / "x.json") == "COCO captions"
    lines = "\n".join(json.dumps({"question_id": n, "image": "a.jpg", "text": "Is it?", "label": "yes"}) for n in range(5))
    (tmp_path / "x.json").write_text(lines)
    assert recognize_json(tmp_path / "x.json") == "POPE questions"


@given(st.binary(max_size=300) | st.sampled_from([b"{", b"[", b'{"a', b'[{"', b'{"a":1}\n{"', b'"x"', b"[1"]))
def test_anything_is_looked_at_without_harm(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.json"
    path.write_bytes(content)
    recognize_json(path)
    recognize(path)


def test_every_layout_has_a_name_and_keys() -> None:
    assert all(name and needed for name, _, needed in LAYOUTS)


def test_a_new_source_is_recognized_by_its_line_in_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind, where in toy.TABLE.items():
        monkeypatch.setitem(SOURCES, kind, where)
    for kind, path in (("toy_robot", toy.write_robot(tmp_path / "arm", 1, 2)), ("toy_web", toy.write_web(tmp_path / "faq", 1))):
        seen = inspect_recognize(path)
        assert seen.kind == kind
        assert seen.examples().at(0).source == path.name
        assert f"kind: {kind}" in seen.suggestion()


# Where a path turns out to be something else


def test_wherever_it_is_met(tmp_path: Path) -> None:
    here, what = tmp_path / "log.sqlite", "an SQLite database"
    here.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(UsageError, match=f"this is {what}.*RLDS"):
        inspect_recognize(here)
    with pytest.raises(UsageError, match=f"this is {what}.*RLDS"):
        find_subject(Question(here), tmp_path, lambda recipe: {})
    recipe = f"robot_frac: 1\nrobot: {{arm: {{kind: rlds, path: {here}, action_space: generic_nd}}}}\n"
    with pytest.raises(RecipeError, match=rf"mix.yaml:2:33 robot.arm.path: .*{what}"):
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)


def test_an_hdf5_log_as_something_else(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "hdf5_robomimic/lift_ph_image84.hdf5"
    recipe = f"robot_frac: 1\nrobot: {{arm: {{kind: rlds, path: {path}, action_space: generic_nd}}}}\n"
    with pytest.raises(RecipeError, match=r"robot.arm.path: .*an HDF5 file.*kind hdf5"):
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)


def test_a_folder_that_never_was_a_mixture(shared_data: Path) -> None:
    with pytest.raises(UsageError, match=r"not a mixture: this is a LeRobot v2\.1 dataset"):
        verify(shared_data / "lerobot_v21_g1")


def test_json_of_another_layout_in_a_recipe(tmp_path: Path) -> None:
    for name in ("questions", "annotations"):
        (tmp_path / f"{name}.json").write_text(json.dumps(WRITTEN["GQA questions"]))
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    recipe = "robot_frac: 0\nweb: {qa: {kind: vqav2, questions: questions.json, annotations: annotations.json, image_dirs: .}}\n"
    with pytest.raises(RecipeError) as caught:
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)
    assert [each.path for each in caught.value.mistakes] == ["web.qa.questions", "web.qa.annotations"]
    assert all("looks like GQA questions" in each.message and "question_id" in each.message for each in caught.value.mistakes)


def test_a_name_on_a_hub_in_a_recipe(tmp_path: Path) -> None:
    recipe = "robot_frac: 1\nrobot: {arm: {kind: rlds, path: lerobot/pusht, action_space: generic_nd}}\n"
    with pytest.raises(RecipeError, match="hf download lerobot/pusht"):
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)
    with pytest.raises(UsageError, match="hf download lerobot/pusht"):
        inspect_recognize(Path("lerobot/pusht"))
