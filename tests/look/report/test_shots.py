"""Images of a page: small, whole, and honest about how they look."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.images import SIDE, Shot, album, fewer, image_warnings, shoot, tint
from rt2data.read.rlds.source import RLDS
from tests.contract.toy import jpeg
from tests.look.report import made


def shot(pixels: np.ndarray | bytes) -> Shot:
    return shoot(Tile(pixels, "arm", "robot", "pick", "1 2", "step 3"))


def plain_color(*color: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*size, 3), color, np.uint8)


def codes(*shots: Shot, used: bool = True) -> dict[str, str]:
    return {warn.code: warn.level for warn in image_warnings("arm", "front", used, shots)}


def decoded(found: Shot) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(found.uri.removeprefix("data:image/jpeg;base64,"))))


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (64, 64), (3, 900)])
def test_a_image_becomes_a_small_jpeg_of_its_proportions(size: tuple[int, int]) -> None:
    found = shot(np.random.default_rng(1).integers(0, 255, (*size, 3)).astype(np.uint8))
    image = decoded(found)
    assert image.format == "JPEG" and image.size == (found.width, found.height)
    assert max(image.size) == min(SIDE, max(size))
    assert abs(image.width - size[1] * min(1, SIDE / max(size))) <= 1
    assert len(found.uri) < 60_000 and found.alt == "arm, step 3, pick"


def test_colours_are_those_of_the_image() -> None:
    found = tint(plain_color(255, 128, 0))
    assert (found.red, found.green, found.blue) == pytest.approx((1, 128 / 255, 0))
    assert found.contrast == pytest.approx(0, abs=1e-9) and found.vivid == 1 and found.cool == 0
    assert found.brightness == pytest.approx(0.299 + 0.587 * 128 / 255)
    assert tint(plain_color(0, 128, 255)).cool == 1 and tint(plain_color(90, 90, 90)).vivid == 0
    assert np.asarray(decoded(shot(plain_color(255, 128, 0)))).mean(axis=(0, 1)) == pytest.approx([255, 128, 0], abs=4)


def test_a_image_that_cannot_be_decoded_says_why() -> None:
    found = shot(b"<html>")
    assert found.uri == "" and found.tint is None and found.fault == "not_an_image"
    assert codes(found, shot(jpeg(1))) == {"unreadable_image": "error"}


def test_black_and_flat_cameras_are_named() -> None:
    black, flat, good = shot(plain_color(2, 2, 2)), shot(plain_color(120, 118, 121)), shot(jpeg(4))
    assert codes(black, black) == {"black_camera": "error"} and codes(black, used=False) == {"black_camera": "note"}
    assert codes(flat, flat) == {"flat_camera": "error"}
    assert codes(black, good) == codes(flat, good) == codes(good) == codes() == {}
    (warn,) = image_warnings("arm", "front", True, [black, black])
    assert warn.what == "Camera front is black in all 2 sampled images." and "another camera" in warn.do


def test_red_and_blue_that_are_swapped_are_noticed_on_real_images(shared_data: Path) -> None:
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((shared_data / "coco_web").glob("*2017/*.jpg"))]
    assert len(photos) > 20
    assert codes(*map(shot, photos)) == {}
    assert codes(*(shot(np.ascontiguousarray(photo[:, :, ::-1])) for photo in photos)) == {"bgr_camera": "note"}


LOGS = {
    "rlds_bridge/bridge_dataset": {"image_3": {"black_camera": "error"}},
    "sim_quadrotor_rlds/sim_pyflyt_quad": {"image": {"bgr_camera": "note"}},
}
"""What is said of their cameras: one is black, one flies over a blue floor; of all others there is nothing to say."""


@pytest.mark.parametrize("log", LOGS)
def test_cameras_of_real_logs(shared_data: Path, log: str) -> None:
    source = RLDS(path=str(shared_data / log / "1.0.0"), action_space="generic_nd")
    found: dict[str, list[Shot]] = {}
    for record in source.read(source.units()[0]):
        for image in getattr(record, "images", ()) if getattr(record, "step", 1) % 3 == 0 else ():
            found.setdefault(image.camera, []).append(shoot(Tile(image.data, "arm", "robot", "", "")))
        if sum(map(len, found.values())) > 80:
            break
    assert found.keys() >= LOGS[log].keys()
    assert {camera: codes(*shots) for camera, shots in found.items() if codes(*shots)} == LOGS[log]


def test_cameras_that_are_not_used_take_less_room() -> None:
    tiles = [made.tile(n) for n in range(10)]
    used, other = (album("arm", "train", "robot", "c", used, tiles, 9) for used in (True, False))
    assert (len(used.shots), len(other.shots)) == (9, 5) and used.tint == other.tint
    assert [len(each.shots) for each in fewer([used, other])] == [4, 2]
