"""Replay buffers in zarr: every value is the one that zarr itself gives, and nothing that a store holds is run or believed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numcodecs
import numpy as np
import pytest
import zarr

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, RtError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import zipped
from rt2data.look.verify import verify
from rt2data.plan.recipe import RecipeError, parse_recipe, read_recipe
from rt2data.read import units
from rt2data.read.source import recognize
from rt2data.read.zarr import reading
from rt2data.read.zarr.facts import ABSENT
from rt2data.read.zarr.source import Zarr
from rt2data.records import Fact, Reject, Step
from tests.read import zarrs
from tests.read.reading import records, steps


def source(path: Path, space: str = "widowx_bridge", **settings: Any) -> Zarr:
    return Zarr.model_validate({"path": str(path), "action_space": space, **settings})


def pixels(step: Step, camera: str) -> np.ndarray[Any, Any]:
    found = next(image for image in step.images if image.camera == camera).content()
    assert isinstance(found, np.ndarray) and found.dtype == np.uint8
    return found


def edit(path: Path, **changes: Any) -> None:
    """Change the metadata of an array or a group."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Values


def test_the_real_log_is_what_zarr_reads(shared_data: Path) -> None:
    path = shared_data / "sim_language_table_zarr" / "language_table.zarr"
    root = zarr.open_group(str(path), mode="r")
    action, state, img, ends = (root[name][:] for name in ("data/action", "data/state", "data/img", "meta/episode_ends"))
    found = steps(source(path, "language_table"))
    assert len(found) == len(action) == ends[-1] == 758
    for number, step in enumerate(found):
        episode = int(np.searchsorted(ends, number, side="right"))
        assert step.episode == f"episode-{episode:06d}" and step.is_last == (number + 1 in ends)
        assert step.action.dtype == np.float32 and (step.action == action[number]).all() and (step.state == state[number]).all()
        assert step.instruction == root["meta"].attrs["language"][episode]
        assert (pixels(step, "img") == img[number]).all()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_written_stores_are_what_was_written(version: Literal[2, 3], packed: bool, tmp_path: Path) -> None:
    lengths = [5, 7, 4]
    path = zarrs.write(tmp_path / "arm.zarr", lengths, version)
    wrote, found = zarrs.buffer(lengths), steps(source(zarrs.zipped(path) if packed else path))
    assert [step.steps for step in found] == [5] * 5 + [7] * 7 + [4] * 4
    for number, step in enumerate(found):
        assert (step.action == wrote["data/action"][number]).all()
        assert step.state is not None and (step.state == wrote["data/state"][number].astype(np.float32)).all()
        assert step.timestamp == wrote["data/timestamp"][number] and step.reward == wrote["data/reward"][number]
        assert (pixels(step, "front") == wrote["data/front"][number]).all()
        assert (pixels(step, "wrist") == wrote["data/wrist"][number].transpose(1, 2, 0)).all()
        assert step.instruction == f"lift block {step.episode[-1]}"


CODECS: dict[str, Any] = {
    "none": None,
    "blosc": numcodecs.Blosc("zstd"),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
}


@pytest.mark.parametrize("codec", CODECS)
def test_codecs(codec: str, tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    wrote = zarrs.buffer([5, 7, 4])["data/front"]
    root = zarr.open_group(str(path), mode="a")
    root.create_array("data/front", data=wrote, chunks=(3, 10, 32, 3), compressors=CODECS[codec], overwrite=True)
    assert all((pixels(step, "front") == wrote[number]).all() for number, step in enumerate(steps(source(path))))


def test_shards_order_and_words_of_any_length(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr", version=3, instruction=None)
    wrote, root = zarrs.buffer([5, 7, 4]), zarr.open_group(str(path), mode="a")
    root.create_array("data/front", data=wrote["data/front"], chunks=(2, 24, 32, 3), shards=(8, 24, 32, 3), overwrite=True)
    root.create_array("data/action", data=wrote["data/action"], chunks=(3, 7), order="F", overwrite=True)
    words = root.create_array("data/language", shape=(16,), dtype=str, chunks=(4,))
    words[:] = np.array([f"do {'it ' * number}" for number in range(16)], dtype=object)
    for number, step in enumerate(steps(source(path))):
        assert (pixels(step, "front") == wrote["data/front"][number]).all() and (step.action == wrote["data/action"][number]).all()
        assert step.instruction == f"do {'it ' * number}"


def test_objects_of_words(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr", instruction=None)
    root = zarr.open_group(str(path), mode="a")
    words = root.create_array("meta/task", shape=(3,), dtype=str, chunks=(3,))
    words[:] = np.array(["ä", "lift", ""], dtype=object)
    assert json.loads((path / "meta/task/.zarray").read_text())["dtype"] == "|O"
    assert [step.instruction for step in steps(source(path)) if step.is_first] == ["ä", "lift", ""]


def test_words_that_the_recipe_gives(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    assert {step.instruction for step in steps(source(path, text="push the T"))} == {"push the T"}
    with pytest.raises(ValueError, match="not both"):
        source(path, text="push", instruction="meta/instruction")


def test_floats_that_are_bytes(tmp_path: Path) -> None:
    """As in the PushT data: float32 from 0 to 255."""
    whole = zarrs.buffer([5, 7, 4])["data/front"].astype(np.float32)
    path = zarrs.write(tmp_path / "arm.zarr", front=whole)
    assert all((pixels(step, "front") == whole[number]).all() for number, step in enumerate(steps(source(path))))
    scaled = zarrs.write(tmp_path / "scaled.zarr", front=whole / 255)
    with pytest.raises(ImageFault, match="whole numbers"):
        pixels(steps(source(scaled))[0], "front")


def test_success(tmp_path: Path) -> None:
    path = zarrs.write_arrays(tmp_path / "arm.zarr", zarrs.buffer([5, 7]) | {"meta/success": np.array([True, False])})
    assert [step.success for step in steps(source(path)) if step.is_last] == [True, False]
    path = zarrs.write_arrays(tmp_path / "per_step.zarr", zarrs.buffer([5, 7]) | {"data/success": np.arange(12) == 3})
    assert [step.success for step in steps(source(path)) if step.is_last] == [True, False]


def test_parts_of_features(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    wrote = zarrs.buffer([5, 7, 4])
    found = steps(source(path, "generic_nd", action=["data/state[1:3]", "data/action[:2]"], camera_features={"eye": "data/wrist"}))
    expected = np.concatenate([wrote["data/state"][:, 1:3], wrote["data/action"][:, :2]], axis=1).astype(np.float32)
    assert all((step.action == expected[number]).all() for number, step in enumerate(found))
    assert {image.camera for step in found for image in step.images} == {"eye"}


# Cost


def test_a_chunk_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    calls = Counter[str]()
    asked = reading.Values._read
    monkeypatch.setattr(reading, "BLOCK", 1)
    monkeypatch.setattr(reading.Values, "_read", lambda self, array, *at: (calls.update([array.path]), asked(self, array, *at))[1])
    for step in steps(source(path)):
        pixels(step, "front")
    assert calls["data/front"] == 4 and calls["data/wrist"] == 0


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """Of one long episode, and of many."""
    script = (
        "import sys; from rt2data.read.zarr.source import Zarr\n"
        "found = Zarr(path=sys.argv[1], action_space='generic_nd')\n"
        "for unit in found.units():\n"
        "    for step in found.read(unit):\n"
        "        for image in step.images: image.content()\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for count in (300, 3000):
        frames = np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
        arrays = {"data/img": frames, "data/action": np.ones((count, 2), np.float32), "meta/episode_ends": np.array([count])}
        path = zarrs.write_arrays(tmp_path / f"{count}.zarr", arrays, rows=32)
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 25, f"MB: {peaks}"


# Damage


def test_a_store_that_does_not_fit_together(tmp_path: Path) -> None:
    for name, ends, said in (
        ("falls", [5, 3, 16], "does not rise: 3 of episode 1 follows 5"),
        ("negative", [-1, 3, 16], "does not rise"),
        ("beyond", [5, 12, 17], "has 16 entries, and the last episode ends behind step 17"),
    ):
        path = zarrs.write(tmp_path / name, episode_ends=np.array(ends))
        with pytest.raises(DataError, match=said):
            source(path).units()


def test_a_cut_array(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr", state=np.zeros((9, 4)))
    with pytest.raises(DataError, match="data/state has 9 entries"):
        source(path).units()


def test_steps_that_no_episode_has(tmp_path: Path) -> None:
    found = records(source(zarrs.write(tmp_path / "arm.zarr", [5, 0, 4], behind=3)))
    rejects = {each.reason: each for each in found if isinstance(each, Reject)}
    assert rejects.keys() == {"empty_episode", "unfinished_episode"} and rejects["unfinished_episode"].count == 3


DAMAGE = [(how, codec) for how in ("cut", "a byte short", "flipped", "empty") for codec in CODECS]


@pytest.mark.parametrize(("how", "codec"), [each for each in DAMAGE if each != ("flipped", "none")])  # no checksum is there
def test_a_damaged_chunk_costs_what_it_holds(how: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a library reads on behind a chunk's end."""
    monkeypatch.setattr(reading, "BLOCK", 1)
    path = zarrs.write(tmp_path / "arm.zarr", compressor=CODECS[codec])
    for name in ("data/front/2.0.0.0", "data/action/0.0"):
        raw = (path / name).read_bytes()
        (path / name).write_bytes(
            {"cut": raw[: len(raw) // 2], "a byte short": raw[:-1], "flipped": bytes(16) + raw[16:], "empty": b""}[how]
        )
    found = records(source(path))
    lost = [each for each in found if isinstance(each, Reject)]
    assert [(each.reason, each.count) for each in lost] == [("corrupt_chunk", 5)]
    for number, step in enumerate(each for each in found if isinstance(each, Step)):
        if 8 <= number + 5 < 12:
            with pytest.raises(ImageFault) as caught:
                pixels(step, "front")
            assert caught.value.reason == "corrupt_chunk"
        else:
            pixels(step, "front")


def test_chunks_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of numbers stand for zeros, as zarr has it, and are counted; an image is not made up."""
    monkeypatch.setattr(reading, "BLOCK", 1)
    path = zarrs.write(tmp_path / "arm.zarr")
    for name in ("data/front/1.0.0.0", "data/action/0.0"):
        (path / name).unlink()
    found = records(source(path))
    assert [each for each in found if isinstance(each, Fact)] == [Fact(ABSENT, 1)]
    made = [each for each in found if isinstance(each, Step)]
    assert not made[0].action.any() and made[4].action.any()
    with pytest.raises(ImageFault) as caught:
        pixels(made[4], "front")
    assert caught.value.reason == "absent_chunk"
    assert pixels(made[3], "front").any()


@pytest.mark.parametrize("text", ["{", "[1]", '{"shape": [2]}', "\xff", '{"a": ' * 100_000, '{"shape": ["x"]}'])
def test_damaged_metadata(text: str, tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    (path / "data/action/.zarray").write_text(text, "latin-1")
    with pytest.raises(DataError, match="damaged metadata"):
        source(path).units()


def test_an_array_larger_than_memory(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    edit(path / "data/action/.zarray", shape=[1 << 40, 7])
    edit(path / "data/front/.zarray", chunks=[1 << 40, 24, 32, 3])
    with pytest.raises(UsageError, match="chunks are larger than 2 GiB"):
        source(path).units()
    (path / "data/front/.zarray").unlink()
    ends = zarr.open_array(str(path / "meta/episode_ends"), mode="a")
    ends[:] = [5, 12, 1 << 40]
    for name in ("state", "timestamp", "reward", "wrist"):
        edit(path / f"data/{name}/.zarray", shape=[1 << 40, *json.loads((path / f"data/{name}/.zarray").read_text())["shape"][1:]])
    rejects = [each for each in records(source(path)) if isinstance(each, Reject)]
    assert [(each.reason, each.count) for each in rejects] == [("corrupt_chunk", (1 << 40) - 12)]
    assert "more than 1 GiB" in rejects[0].detail


# What is refused


def test_codecs_that_are_not_read_are_named(tmp_path: Path) -> None:
    """As UMI packs images."""
    path = zarrs.write(tmp_path / "umi.zarr")
    edit(path / "data/front/.zarray", compressor={"id": "imagecodecs_jpegxl", "level": 99})
    with pytest.raises(UsageError, match="data/front cannot be read: it is packed by imagecodecs_jpegxl"):
        source(path).units()
    (tmp_path / "x.yaml").write_text(f"robot_frac: 1\nrobot: {{a: {{kind: zarr, path: {path}, action_space: widowx_bridge}}}}")
    with pytest.raises(RecipeError, match="imagecodecs_jpegxl"):
        read_recipe(tmp_path / "x.yaml", check=True)
    assert len(steps(source(path, camera_features={"wrist": "data/wrist"}))) == 16


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("codec", ["pickle", "json2", "msgpack2", "vlen-bytes", "vlen-array"])
@pytest.mark.parametrize("where", ["meta/task", "data/action"])
def test_objects_are_never_read(codec: str, where: str, tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr", instruction=None)
    shutil.rmtree(path / where, ignore_errors=True)
    (path / where).mkdir()
    mark = tmp_path / "was_run"
    said = {"zarr_format": 2, "dtype": "|O", "filters": [{"id": codec}], "compressor": None, "order": "C", "fill_value": None}
    length = 3 if where.startswith("meta") else 16
    (path / where / ".zarray").write_text(json.dumps({**said, "shape": [length], "chunks": [length]}))
    (path / where / "0").write_bytes(pickle.dumps(Payload(mark)))
    settings: dict[str, Any] = {} if where.startswith("meta") else {"action": "data/state", "instruction": where}
    with pytest.raises(UsageError, match=f"{where} cannot be read: .*pickle" if codec == "pickle" else codec):
        records(source(path, "generic_nd", **settings))
    assert not mark.exists()


def test_links_are_refused(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    (path / "data/action/0.0").rename(tmp_path / "secret")
    (path / "data/action/0.0").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"holds a link.*0\.0"):
        source(path).files()
    shutil.move(path / "data/state", tmp_path / "state")
    (path / "data/state").symlink_to(tmp_path / "state")
    assert "data/state" not in {column.path for column in source(path).columns()}


def test_per_episode_numbers_are_no_action(tmp_path: Path) -> None:
    path = zarrs.write_arrays(tmp_path / "arm.zarr", zarrs.buffer([5, 7]) | {"meta/goal": np.zeros((2, 7))})
    with pytest.raises(UsageError, match="an entry for each episode, not for each step"):
        source(path, action="meta/goal").units()


def hostile_zips(folder: Path) -> dict[str, Callable[[zipfile.ZipFile], None]]:
    def link(archive: zipfile.ZipFile) -> None:
        member = zipfile.ZipInfo("data/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")

    def device(archive: zipfile.ZipFile) -> None:
        member = zipfile.ZipInfo("data/device")
        member.external_attr = (stat.S_IFCHR | 0o666) << 16
        archive.writestr(member, "")

    def twice(archive: zipfile.ZipFile) -> None:
        with pytest.warns(UserWarning):
            archive.writestr(".zgroup", "{}")

    return {
        "leads out of it: '../x": lambda archive: archive.writestr("../x", "x"),
        "leads out of it: 'data/../../x": lambda archive: archive.writestr("data/../../x", "x"),
        "leads out of it: '/etc": lambda archive: archive.writestr("/etc/x", "x"),
        "leads out of it: 'c:": lambda archive: archive.writestr("c:x", "x"),
        "leads out of it: 'a": lambda archive: archive.writestr("a\\x", "x"),
        "is a link": link,
        "is a link or a device": device,
        "is there twice": twice,
        "unpacks to 100,000,000 bytes": lambda archive: archive.writestr("x", bytes(100_000_000), zipfile.ZIP_DEFLATED),
        "a method that is not read": lambda archive: archive.writestr("x", b"x", zipfile.ZIP_LZMA),
    }


@pytest.mark.parametrize("said", hostile_zips(Path()))
def test_hostile_archives(said: str, tmp_path: Path) -> None:
    path = zarrs.zipped(zarrs.write(tmp_path / "arm.zarr"))
    with zipfile.ZipFile(path, "a") as archive:
        hostile_zips(tmp_path)[said](archive)
    before = {each.name for each in tmp_path.iterdir()}
    with pytest.raises(DataError, match=said):
        source(path).units()
    assert recognize(path) is not None
    assert {each.name for each in tmp_path.iterdir()} == before


def test_archives_that_say_too_much_or_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zarrs.zipped(zarrs.write(tmp_path / "arm.zarr"))
    raw = path.read_bytes()
    end = raw.rindex(b"PK\5\6")
    many = struct.pack("<4s2xHHHIIH", b"PK\5\6", 0, 65535, 65535, 2**32 - 2, 0, 0)
    big = struct.pack("<4sQ12xQQQQ", b"PK\6\6", 44, 10**7, 10**7, 0, 0)
    (tmp_path / "many.zarr.zip").write_bytes(raw[:end] + big + many)
    with pytest.raises(DataError, match="10,000,000 members"):
        source(tmp_path / "many.zarr.zip").units()
    (tmp_path / "cut.zarr.zip").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="not a whole zip archive"):
        source(tmp_path / "cut.zarr.zip").units()
    monkeypatch.setattr(zipped, "MAX_MEMBERS", 5)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="members: 5 are read"):
        source(path).units()


def test_a_flipped_byte_in_an_archive(tmp_path: Path) -> None:
    path = zarrs.zipped(zarrs.write(tmp_path / "arm.zarr"))
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("data/action/1.0").header_offset + 60
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    assert {each.reason for each in records(source(path)) if isinstance(each, Reject)} == {"corrupt_chunk"}


# Names and growth


def test_what_is_recognized(tmp_path: Path) -> None:
    path = zarrs.write(tmp_path / "only" / "arm.zarr")
    for given in (path, path.parent):
        found = Zarr.recognize(given)
        assert found is not None and found.settings == {"path": str(path)} and found.name == "arm"
    shutil.copytree(path, tmp_path / "two" / "b.zarr")
    shutil.copytree(path, tmp_path / "two" / "a.zarr")
    archive = zarrs.zipped(tmp_path / "two" / "a.zarr")
    assert Zarr.recognize(tmp_path / "two") is None and Zarr.recognize(archive) is not None
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    for given, what in (
        (path, "a zarr store"),
        (path / "data", "a part of a zarr store"),
        (archive, "a zarr store"),
        (tmp_path / "two", "a folder of zarr stores"),
        (tmp_path / "other.zarr", "a zarr store without meta/episode_ends"),
    ):
        told = recognize(given)
        assert told is not None and told.what == what and told.do
    with pytest.raises(UsageError, match=r"no array meta/episode_ends"):
        source(tmp_path / "other.zarr").units()
    with pytest.raises(UsageError, match="not a zarr store"):
        source(tmp_path).units()


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zarrs.write(tmp_path / "arm.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert Zarr.recognize(path) is not None
    with pytest.raises(UsageError, match=r"pip install 'rt2data\[zarr\]'"):
        source(path).units()


def test_a_store_that_grows_is_read_where_it_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", 1)
    path = zarrs.write(tmp_path / "arm.zarr", [8, 8, 6])
    found = source(path)
    before = {unit.start: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    root, more = zarr.open_group(str(path), mode="a"), zarrs.buffer([8, 8, 6, 5])
    for name, values in more.items():
        if name.startswith("data/"):
            root[name].append(values[22:])
    root["meta/episode_ends"].append(np.array([27]))
    root["meta/instruction"].append(np.array(["lift block 3"]))
    after = {unit.start: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    assert [number for number in after if after[number] != before.get(number)] == [2, 3]  # the last chunk was not full


def test_a_mixture(tmp_path: Path) -> None:
    (zarrs.write(tmp_path / "arm.zarr") / "data/action/1.0").unlink()
    recipe = parse_recipe(
        "robot_frac: 1\nstore: store\nrobot: {arm: {kind: zarr, path: arm.zarr, action_space: widowx_bridge, cameras: all}}",
        "x",
        tmp_path,
    )
    manifest = build_plainly(recipe, Site(tmp_path / "out"))
    assert not verify(tmp_path / "out").faults
    assert manifest.plan.sources[0].rows == 15  # the last action of the first episode is zero now, and so dropped
    assert (
        "1 chunks of numbers are not in the zarr store"
        in {warn.code: warn.what for warn in manifest.plan.warnings}["absent_chunks"]
    )


def test_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(RtError):
        source(tmp_path / "nothing").units()
