"""One mixture of a real log and every kind of web data, built by the command, and read by those who train on it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import rt2data
from rt2data.cli.app import app
from rt2data.look.verify import verify
from rt2data.seal.manifest import read_manifest
from tests.formats import test_every_reader as readers
from tests.formats.conftest import all_images, examples

SIZE = 600
BOXES = {30213: [(10, 20, 100, 50), (0, 0, 33, 44)], 117425: [(5.5, 7.25, 80, 90)]}
"""Made up, of real photographs: x, y, width and height in pixels."""


def written(shared: Path, folder: Path) -> dict[str, Any]:
    """The sources; boxes and text alone are written here."""
    coco = shared / "coco_web"
    images = {each["id"]: each for each in json.loads((coco / "annotations/captions_val2017.json").read_text())["images"]}
    boxes = [(image, box) for image, found in BOXES.items() for box in found]
    instances = {
        "images": [images[image] for image in BOXES],
        "annotations": [
            {"id": n, "image_id": image, "category_id": 1 + n % 2, "bbox": list(box), "iscrowd": 0, "area": box[2] * box[3]}
            for n, (image, box) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    chats = [
        {"messages": [{"role": "user", "content": f"Add 1 to {n}."}, {"role": "assistant", "content": f"{n + 1}"}]}
        for n in range(9)
    ]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, chats)))
    demo = shared / "llava_json_llamafactory/data"
    return {
        "vqa": {
            "kind": "vqav2",
            "questions": str(coco / "annotations/v2_OpenEnded_mscoco_trainval2014_questions.json"),
            "annotations": str(coco / "annotations/v2_mscoco_trainval2014_annotations.json"),
            "image_dirs": str(coco),
        },
        "llava": {"kind": "conversations", "data": str(demo / "mllm_demo.json"), "image_dirs": str(demo)},
        "boxes": {"kind": "grounding", "data": str(folder / "instances.json"), "image_dirs": str(coco / "val2017")},
        "alt_texts": {"kind": "captions", "data": str(shared / "wds_img2dataset")},
        "chat": {"kind": "conversations", "data": str(folder / "chat.jsonl")},
    }


@pytest.fixture(scope="module")
def mixture(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("every")
    log = {"kind": "rlds", "path": str(shared_data / "rlds_bridge/bridge_dataset/1.0.0"), "action_space": "widowx_bridge"}
    sources = written(shared_data, folder)
    web = {"weighting": "share", "sources": {name: {**source, "weight": 1} for name, source in sources.items()}}
    recipe = {
        "robot_frac": "1/2",
        "regions": "qwen2.5",
        "size": {"num_examples": SIZE},
        "store": str(folder / "store"),
        "robot": {"bridge": {**log, "cameras": ["image_0", "image_1"], "horizon": 4}},
        "web": web,
    }
    (folder / "mix.yaml").write_text(json.dumps(recipe))
    app(["build-mixture", str(folder / "mix.yaml"), "-o", str(folder / "mix"), "--workers", "0", "-q"], standalone_mode=False)
    return folder / "mix"


@pytest.mark.slow
def test_all_kinds_are_there_in_their_shares(mixture: Path) -> None:
    assert verify(mixture).ok
    counts: dict[str, int] = defaultdict(int)
    images: dict[str, set[int]] = defaultdict(set)
    for example in rt2data.load(mixture, decode="jpeg"):
        counts[example["source"]] += 1
        images[example["source"]].add(int(sum(example["image_mask"])))
        regions = example["regions"] or []
        assert bool(regions) == (example["source"] == "boxes")
        if regions:
            said = json.loads(example["target"])
            assert [each["label"] for each in said] == [each["label"] for each in regions]
    assert counts == {"bridge": SIZE // 2} | dict.fromkeys(("vqa", "llava", "boxes", "alt_texts", "chat"), SIZE // 10)
    assert images == {"bridge": {2}, "vqa": {1}, "llava": {1, 2}, "boxes": {1}, "alt_texts": {1}, "chat": {0}}


@pytest.mark.slow
def test_people_can_look_at_it(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["report", str(mixture), "-o", str(mixture.parent / "report.html"), "-q"], standalone_mode=False)
    report = (mixture.parent / "report.html").read_text()
    assert all(name in report for name in ("bridge", "llava", "boxes", "alt_texts", "chat"))
    for source in ("llava", "boxes", "chat"):
        app(["view", str(mixture), "-n", "1", "--source", source], standalone_mode=False)
        assert source in capsys.readouterr().out


READERS: dict[str, Callable[[Path, Path], Iterable[readers.Seen]]] = {
    "webdataset": lambda out, _: readers.webdataset(out),
    "energon": lambda out, _: readers.energon_cooked(out, workers=0),
    "datasets": readers.datasets_over_tar,
}


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "webdataset" else [pytest.mark.slow, pytest.mark.trainers])
        for name in READERS
    ],
)
def test_trainers_read_all_of_it(reader: str, mixture: Path, tmp_path: Path) -> None:
    """Whatever is in the shards: texts, and images byte for byte."""
    records, images = {record.key: record for _, record in examples(mixture)}, all_images(mixture)
    seen = {each.key: each for each in READERS[reader](mixture, tmp_path)}
    assert len(seen) == read_manifest(mixture).examples == SIZE
    for key, each in seen.items():
        assert (each.fields["prompt"], each.fields["target"]) == (records[key].prompt, records[key].target)
        assert each.images.keys() == images[key].keys()
        for place, image in each.images.items():
            readers._require_same_image(image, images[key][place])
