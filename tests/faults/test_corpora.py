"""Eight kinds of damage seeded in a corpus of 10,000 rows: every one is found, by its kind, and none wrongly."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, RejectLimitError, UsageError
from rt2data.look.inspect.raw import recognize_source
from rt2data.look.inspect.recognize import recognize
from rt2data.look.verify import verify
from rt2data.plan.recipe import parse_recipe
from rt2data.read.corpus.captions import Captions
from rt2data.read.corpus.conversations import Conversations
from rt2data.read.corpus.grounding import Grounding
from rt2data.read.corpus.rotations import rotations_of
from rt2data.read.corpus.source import Corpus as CorpusSource
from rt2data.read.corpus.table import TABLES
from rt2data.read.corpus.vqa import VQA
from rt2data.read.source import recognize as recognize_any
from rt2data.records import Reject
from rt2data.seal.manifest import Manifest
from tests.contract.toy import jpeg
from tests.read.corpus.writing import entities, table, write_saved, write_tar

KINDS = ("missing", "zero_byte", "truncated", "html", "gif", "bomb", "bad_row", "long_text")
TEXT = 100 << 20
"""Bytes of the longest text."""


def gif(seed: int) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (16, 16), (seed % 256, 99, 7)).save(out, "GIF")
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    chunks = (b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0", b"IDAT" + zlib.compress(b"\0"), b"IEND")
    pieces = (len(each[4:]).to_bytes(4, "big") + each + zlib.crc32(each).to_bytes(4, "big") for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@dataclass
class Corpus:
    """Rows of which some are damaged."""

    rows: int
    each: int  # rows of every kind of damage, but of the longest text
    damage: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        kinds = [kind for kind in KINDS for _ in range(self.each if kind != "long_text" else 1)]
        step = self.rows // len(kinds)
        self.damage = {number * step + 3: kind for number, kind in enumerate(kinds)}

    @property
    def seeded(self) -> Counter[str]:
        return Counter(self.damage.values())

    def image(self, number: int) -> bytes | None:
        """The image of a row; None where it is missing."""
        whole = jpeg(number % 50, 16)
        made: dict[str, Callable[[], bytes | None]] = {
            "missing": lambda: None,
            "zero_byte": lambda: b"",
            "truncated": lambda: whole[: len(whole) // 2],
            "html": lambda: b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
            "gif": lambda: gif(number),
            "bomb": bomb,
        }
        return made.get(self.damage.get(number, ""), lambda: whole)()

    def text(self, number: int) -> str:
        """The answer of a row."""
        return "x" * TEXT if self.damage.get(number) == "long_text" else f"Thing {number}."


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": text}]


def as_json(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """One array of conversations, and a folder of files."""
    (folder / "images").mkdir()
    with (folder / "rows.json").open("w") as file:
        for number in range(corpus.rows):
            if (content := corpus.image(number)) is not None:
                (folder / "images" / f"{number:08d}.jpg").write_bytes(content)
            row = json.dumps({"image": f"{number:08d}.jpg", "messages": said(corpus.text(number))})
            broken = corpus.damage.get(number) == "bad_row"
            file.write(("," if number else "[") + (row.replace('"image":', '"image" ', 1) if broken else row))
        file.write("]")
    return {"kind": "conversations", "data": str(folder / "rows.json"), "image_dirs": [str(folder / "images")]}


def as_parquet(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Row groups of 500 rows with their images in them."""
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("messages", turn)])
    with pq.ParquetWriter(folder / "rows.parquet", schema) as writer:
        for first in range(0, corpus.rows, 500):
            numbers = range(first, min(first + 500, corpus.rows))
            images = [{"bytes": corpus.image(number), "path": None} for number in numbers]
            turns = [None if corpus.damage.get(number) == "bad_row" else said(corpus.text(number)) for number in numbers]
            writer.write_table(pa.table({"image": pa.array(images, image), "messages": pa.array(turns, turn)}))
    return {"kind": "conversations", "data": str(folder / "rows.parquet")}


def as_tar(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Samples as img2dataset writes them."""
    write_tar(folder / "rows.tar", list(_members(corpus)))
    return {"kind": "captions", "data": str(folder / "rows.tar")}


def _members(corpus: Corpus) -> Iterator[tuple[str, bytes]]:
    for number in range(corpus.rows):
        if (content := corpus.image(number)) is not None:
            yield f"{number:08d}.jpg", content
        yield f"{number:08d}.txt", corpus.text(number).encode()
        yield f"{number:08d}.json", b'{"key": ' if corpus.damage.get(number) == "bad_row" else b'{"status": "success"}'


REASONS = {
    "zero_byte": "empty_image",
    "truncated": "truncated_image",
    "html": "not_an_image",
    "bomb": "too_many_pixels",
    "bad_row": "bad_json",
    "long_text": "too_long_text",
}
"""What each kind is called."""
WAYS: dict[Callable[[Corpus, Path], dict[str, Any]], dict[str, str]] = {
    as_json: REASONS | {"missing": "missing_image"},
    as_parquet: REASONS | {"missing": "bad_image", "bad_row": "no_turns"},
    as_tar: REASONS | {"missing": "no_image"},
}


def build(corpus: Corpus, way: Callable[[Corpus, Path], dict[str, Any]], folder: Path, max_bad: str) -> Manifest:
    settings = (
        way(corpus, folder) if not (folder / "settings.json").exists() else json.loads((folder / "settings.json").read_text())
    )
    (folder / "settings.json").write_text(json.dumps(settings))
    recipe = {"robot_frac": 0, "store": str(folder / "store"), "max_bad": max_bad, "web": {"corpus": settings}}
    return build_plainly(parse_recipe(json.dumps(recipe), "mix.yaml", folder), Site(folder / "out"))


@pytest.mark.parametrize(
    "way", [as_tar, *(pytest.param(way, marks=pytest.mark.slow, id=way.__name__) for way in (as_json, as_parquet))]
)
@pytest.mark.parametrize(("rows", "each"), [(700, 1), pytest.param(10_000, 13, marks=pytest.mark.slow)])
def test_every_kind_is_found_and_none_wrongly(way: Any, rows: int, each: int, tmp_path: Path) -> None:
    corpus = Corpus(rows, each)
    lost = sum(corpus.seeded.values()) - corpus.seeded["gif"]  # a GIF under another name is no loss: it becomes a JPEG
    with pytest.raises(RejectLimitError) as caught:
        build(corpus, way, tmp_path, f"{lost - 1}/{rows}")
    assert caught.value.code == 4
    assert not (tmp_path / "out").exists()
    manifest = build(corpus, way, tmp_path, f"{lost}/{rows}")
    wanted = {WAYS[way][kind]: count for kind, count in corpus.seeded.items() if kind != "gif"}
    assert {reject.reason: reject.count for reject in manifest.rejects["corpus"]} == wanted
    assert all(reject.fault for reject in manifest.rejects["corpus"])
    made = manifest.conversions["corpus"]
    assert all(how.startswith("gif_to_jpeg") for how in made) and sum(made.values()) == corpus.seeded["gif"]
    assert sum(source.draws for source in manifest.plan.sources) == rows - lost
    assert verify(tmp_path / "out").ok


# Rows that are made to break a reader


def rejects(source: CorpusSource) -> list[Reject]:
    return [found for unit in source.units() for found in source.read(unit) if isinstance(found, Reject)]


def nested(depth: int) -> str:
    """A list in a list and so on, as JSON: near what Python can hold."""
    return "[" * depth + "1" + "]" * depth


DEEP: dict[str, tuple[type[CorpusSource], str, dict[str, Any]]] = {
    "image": (Captions, '{"caption": "a", "image": DEEP}', {}),
    "caption": (Captions, '{"image": "a.jpg", "caption": DEEP}', {}),
    "part of a turn": (Conversations, '{"messages": [{"role": "user", "content": [{"image": DEEP}]}]}', {}),
    "column inside": (VQA, '{"question": "a", "answer": DEEP}', {"columns": {"question": "question", "answers": "answer.b"}}),
    "objects": (Grounding, '{"image": "a.jpg", "objects": DEEP}', {"box": "xyxy"}),
    "id of COCO": (
        Captions,
        '{"images": [{"id": DEEP, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a"}]}',
        {},
    ),
    "category of COCO": (
        Grounding,
        '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "category_id": DEEP, "bbox": [1, 1, 2, 2]}],'
        ' "categories": []}',
        {},
    ),
}


@pytest.mark.parametrize("depth", [700, 950, 100_000])
@pytest.mark.parametrize("where", DEEP)
def test_what_is_nested_deeply_is_a_row_that_is_lost(where: str, depth: int, tmp_path: Path) -> None:
    kind, text, settings = DEEP[where]
    path = tmp_path / f"a.{'json' if 'COCO' in where else 'jsonl'}"
    path.write_text(text.replace("DEEP", nested(depth)))
    source = kind.model_validate({"data": str(path), **settings})
    list(source.invalid_settings())
    assert len(rejects(source)) in ((1, 2) if "COCO" in where else (1,))  # an image, and what is annotated of none
    source.describe()
    recognize_source(path)


# Files that are none, and names that lead elsewhere


@pytest.mark.parametrize("suffix", TABLES)
def test_a_pipe_or_a_device_is_never_opened(suffix: str, tmp_path: Path) -> None:
    """To open a pipe waits for its writer; a device has no end."""
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        (problem,) = Captions(data=(str(path),)).invalid_settings()
        assert "neither a file nor a folder" in problem.message
        assert recognize_source(path) is recognize_any(path) is None
        with pytest.raises(UsageError, match="neither a file nor a folder"):
            recognize(path)
    assert recognize_source(tmp_path) is None
    assert recognize_any(tmp_path) is not None
    assert any("no file of rows" in each.message for each in Captions(data=(str(tmp_path),)).invalid_settings())


def test_a_link_that_leads_in_a_circle_is_no_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jpg", "a"):
        (tmp_path / name).symlink_to(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(jpeg(1))
    (tmp_path / "b.jsonl").write_text('{"image": "b.jpg", "caption": "b"}\n{"image": "a.jpg", "caption": "a"}')
    source = Captions(data=(str(tmp_path),), image_dirs=(str(tmp_path),))
    assert [reject.reason for reject in rejects(source)] == ["missing_image"]
    assert recognize_source(tmp_path) is not None


@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_that_is_too_long_is_no_file(length: int) -> None:
    (problem,) = Captions(data=(f"{'a' * length}.jsonl",)).invalid_settings()
    assert "no such file" in problem.message


@pytest.mark.parametrize("split", ["../elsewhere", "..", ".", "", "a/b", "/etc", "\0"])
def test_saved_splits_never_lead_elsewhere(split: str, tmp_path: Path) -> None:
    write_saved(tmp_path / "elsewhere", [table({"image": {"bytes": jpeg(1), "path": None}, "caption": "a secret"})])
    (tmp_path / "saved").mkdir()
    for splits in ([split], ["train", split]):
        (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        with pytest.raises(DataError, match="is not as Hugging Face"):
            recognize_source(tmp_path / "saved")
        with pytest.raises(DataError, match="is not as Hugging Face"):
            Captions(data=(str(tmp_path / "saved"),)).tables()


def test_no_file_is_read_twice(tmp_path: Path) -> None:
    """A folder in a folder calls it otherwise, but it is the same."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "rows.jsonl").write_text('{"caption": "a"}')
    with pytest.raises(UsageError, match="named twice"):
        Captions(data=(str(tmp_path / "a"), str(tmp_path / "a" / "b"))).units()


def test_two_columns_of_a_heading_have_two_names() -> None:
    with pytest.raises(ValueError, match="two columns have the same name"):
        Captions(data=("a.csv",), header=("caption", "caption"))


@pytest.mark.parametrize("name", ["-00000000000000a", "0000000_0000000a", "              1a"])
def test_what_python_takes_for_a_number_is_no_id_of_a_rotation(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"ImageID,Rotation\n{name},90\n000000000000000b,90\n")
    found = rotations_of(str(tmp_path / "a.csv"))
    assert (found.of(name), found.of("000000000000000b"), len(found.ids)) == (None, 270, 1)


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "idna", "utf-7", "utf-16"])
def test_xml_in_another_encoding_is_a_row_that_is_lost(encoding: str, tmp_path: Path) -> None:
    folder = entities(tmp_path)
    for path in (folder / "Annotations").iterdir():
        path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><a/>')
    os.mkfifo(folder / "Annotations" / "0003.xml")
    source = Grounding(data=(str(folder),), image_dirs=(str(folder),))
    assert [reject.reason for reject in rejects(source)] == ["bad_xml"] * 3 + ["no_boxes"]
