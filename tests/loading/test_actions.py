"""`rt2data.decode`: the way back from records, targets and bins to actions, by the manifest alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rt2data
from rt2data.errors import DataError, UsageError
from rt2data.read.action_space import load_space
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.table import Codec, codec_from_json, make_codec
from rt2data.render.fields import ExampleRecord
from rt2data.render.tokenizer import load_tokenizer
from tests.read.robots import BRIDGE
from tests.render.tiny import llama_like

CODEC = make_codec("rt2", load_space("widowx_bridge"), BRIDGE)


def write_manifest(folder: Path, codecs: dict[str, Codec | None], kind: str = "byte", path: str | None = None) -> Path:
    """As much of a manifest as decoding needs."""
    sources = [{"name": name, "codec": codec and codec.to_json()} for name, codec in codecs.items()]
    plan = {"sources": sources, "tokenizer": {"kind": kind}, "template": "openvla" if path else "rt2"}
    recipe = {"tokenizer": {"kind": kind, "path": path}}
    (folder / "manifest.json").write_text(json.dumps({"plan": plan, "recipe": recipe}))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of one robot source and one web source."""
    return write_manifest(tmp_path_factory.mktemp("decode"), {"bridge": CODEC, "coco": None})


bins = arrays(np.int32, st.tuples(st.integers(1, 5), st.just(CODEC.width)), elements=st.integers(0, 255))


@given(bins)
def test_bins_targets_and_records_decode_alike(two: Path, rows: np.ndarray[Any, np.dtype[np.int32]]) -> None:
    """One or many, as text, lists, arrays or records: always what the codec itself gives."""
    actions, terminate = CODEC.decode(rows)
    targets = [" ".join(map(str, row)) for row in rows.tolist()]
    records = [{"source": "bridge", "action_bins": row, "target": "not read"} for row in rows]
    for given_as in (rows, rows.tolist(), list(rows), targets, records, [{"source": "bridge", "target": t} for t in targets]):
        found = rt2data.decode(two, given_as)
        np.testing.assert_array_equal(found.actions, actions)
        np.testing.assert_array_equal(found.terminate, terminate)
    for one in (rows[0], rows[0].tolist(), targets[0], records[0]):
        np.testing.assert_array_equal(rt2data.decode(str(two), one).actions, actions[:1])
    assert found.actions.dtype == np.float64 and found.terminate.dtype == np.bool_
    assert len(found.names) == found.actions.shape[1]


def test_a_mixture_on_disk_decodes_within_its_tolerance(mixture: Path) -> None:
    """Records as `load` gives them, and as an ExampleRecord."""
    robots = [each for each in rt2data.load(mixture, decode=None) if each["kind"] == "robot"][:50]
    found = rt2data.decode(mixture, robots)
    inside = np.stack([each["action_bins"] for each in robots])[:, 1:]
    off = np.abs(found.actions - np.stack([each["action"] for each in robots]))
    codec = codec_from_json(json.loads((mixture / "manifest.json").read_text())["plan"]["sources"][0]["codec"])
    assert (off <= codec.tolerance)[(inside > 0) & (inside < 255)].all()
    assert found.terminate.tolist() == [each["terminate"] for each in robots]
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in robots[0].items()}
    record = msgspec.convert(plain | {"loss_mask": [int(bit) for bit in plain["loss_mask"]]}, ExampleRecord)
    np.testing.assert_array_equal(rt2data.decode(mixture, record).actions, found.actions[:1])


def test_words_of_a_vocabulary_need_its_tokenizer(tmp_path: Path) -> None:
    """OpenVLA's last 256 ids, as text."""
    (tmp_path / "tokenizer.json").write_text(llama_like())
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    folder = write_manifest(tmp_path, {"bridge": codec}, "hf", str(tmp_path / "tokenizer.json"))
    rows = np.array([[0, 1, 127, 128, 254, 255, 3]], np.int32)
    words = ActionWords("last_n", load_tokenizer("hf", str(tmp_path / "tokenizer.json")), "Out:")
    np.testing.assert_array_equal(rt2data.decode(folder, words.spell(rows)[0]).actions, codec.decode(rows)[0])


@pytest.mark.parametrize(
    ("record", "source", "kind", "words"),
    [
        ("1 2 3", None, DataError, "source bridge: 3 bins are no whole number of actions of 8"),
        ("pick it up", None, DataError, "not an action word: 'pick'"),
        ([1, 2, 3, 4, 5, 6, 7, 256], None, DataError, "0..255"),
        ([0.5] * 8, None, DataError, "whole numbers"),
        ([[1, 2], [1]], None, DataError, "2 bins"),
        ({"source": "coco", "target": "a cat"}, None, UsageError, "coco is a web source"),
        ({"source": "bridge"}, None, DataError, "neither action_bins nor target"),
        ("1 2 3 4 5 6 7 8", "brige", UsageError, "did you mean"),
        (7, None, UsageError, "cannot decode a int"),
        ([{"source": "bridge"}, {"source": "coco"}], None, UsageError, "2 sources"),
    ],
)
def test_what_cannot_be_decoded_is_one_line(two: Path, record: Any, source: str | None, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        rt2data.decode(two, record, source=source)
    assert "\n" not in str(caught.value)


def test_two_robots_need_a_source(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path, {"bridge": CODEC, "arm": CODEC})
    with pytest.raises(UsageError, match="give source=, one of bridge, arm"):
        rt2data.decode(folder, [1] * CODEC.width)
    assert rt2data.decode(folder, [1] * CODEC.width, source="arm").actions.shape == (1, 7)


def test_no_mixture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        rt2data.decode(tmp_path / "gone", "1")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="a damaged manifest"):
        rt2data.decode(tmp_path, "1")


def test_a_rebuilt_mixture_is_read_again(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"bridge": CODEC})
    rt2data.decode(tmp_path, [1] * CODEC.width)
    write_manifest(tmp_path, {"renamed": CODEC})
    assert rt2data.decode(tmp_path, [1] * CODEC.width, source="renamed").names


def test_decoding_imports_neither_beam_nor_arrow(two: Path) -> None:
    """What runs on a robot's computer."""
    script = f"""
import sys, rt2data
rt2data.decode({str(two)!r}, "1 2 3 4 5 6 7 8")
print(*sorted({{"apache_beam", "pyarrow", "tokenizers", "rich", "typer"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
