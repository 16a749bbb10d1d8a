"""Pictures: real ones are kept as they are, strange ones are converted by a named rule, bad ones are refused quickly."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError

from rt2data.images.ready import ImageFault, ImageHeader, ImageRule, Ready, ViewRule, make_ready, only_point, read_header
from tests.laws import tries

RULE = ImageRule()
AS_JPEG = ImageRule(png="jpeg")


def scene(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A smooth picture with corners that can be told apart."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 127 + 120 * np.sin(x * y / 300)], axis=-1).astype(np.uint8)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(*size)).convert(mode).save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, bits: int = 8, colour: int = 2, pixels: bytes = b"", extra: bytes = b"", late: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(pixels)) + late + chunk(b"IEND", b"")


def reason(data: bytes, rule: ImageRule = RULE, decode: bool = True) -> str:
    with pytest.raises(ImageFault) as caught:
        make_ready(data, rule, decode)
    return caught.value.reason


def decoded(data: bytes | None) -> NDArray[np.uint8]:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((shared_data / "coco_web").glob("*2017/*.jpg"))]


# --- kept as they are -------------------------------------------------------------------------------------------------------------


def test_real_photographs_are_kept_byte_for_byte(photographs: list[bytes]) -> None:
    greys = 0
    for data in photographs:
        ready = make_ready(data, RULE, decode=True)
        with Image.open(io.BytesIO(data)) as oracle:
            assert (ready.header.width, ready.header.height) == oracle.size
            assert ready.header.channels == len(oracle.getbands())
        assert ready.data is None
        assert ready.conversion is None
        greys += ready.header.channels == 1
    assert greys == 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_upright_jpegs_are_kept(mode: str, progressive: bool) -> None:
    data = encoded("JPEG", mode, progressive=progressive, exif=exif(1))
    assert make_ready(memoryview(data), RULE, decode=True).data is None


@pytest.mark.parametrize("behind", [b"\0" * 200_000, b"trailer" * 1000, b"\xff"])
def test_padding_and_short_trailers_may_follow_the_end(behind: bytes) -> None:
    assert make_ready(encoded("JPEG") + behind, RULE, decode=True).data is None


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_is_kept_byte_for_byte_by_default(mode: str) -> None:
    data = encoded("PNG", mode)
    assert make_ready(data, RULE, decode=True) == Ready(ImageHeader("png", 64, 48, 1 if mode == "L" else 3))
    assert make_ready(data, AS_JPEG, decode=True).conversion == "png_to_jpeg"


@pytest.mark.parametrize(
    ("mode", "conversion"), [("RGBA", "+alpha_on_white"), ("P", "+palette_to_rgb"), ("1", ""), ("I;16", "+sixteen_bit_to_eight")]
)
def test_png_that_loaders_read_differently_is_converted(mode: str, conversion: str) -> None:
    out = io.BytesIO()
    grey = Image.fromarray(scene()[:, :, 0].astype(np.uint16) * 256)
    (grey if mode == "I;16" else Image.fromarray(scene()).convert(mode)).save(out, "PNG")
    assert make_ready(out.getvalue(), RULE, decode=True).conversion == f"png_to_jpeg{conversion}"
    assert only_point(out.getvalue(), decode=True).data is None


def test_rgba_pixels_and_an_rgba_png_give_the_same_image() -> None:
    layered = np.dstack([scene(), np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))])
    out = io.BytesIO()
    Image.fromarray(layered).save(out, "PNG")
    raw, encoded_too = make_ready(layered, RULE, decode=False), make_ready(out.getvalue(), RULE, decode=False)
    assert raw.data == encoded_too.data
    assert (raw.conversion, encoded_too.conversion) == ("raw_to_jpeg+alpha_on_white", "png_to_jpeg+alpha_on_white")


def test_the_old_name_of_the_setting_is_refused_with_the_new_one() -> None:
    for old, new in ((True, "png: keep"), (False, "png: jpeg")):
        with pytest.raises(ValidationError, match=new):
            ImageRule.model_validate({"keep_png": old})


# --- conversions ------------------------------------------------------------------------------------------------------------------

LOSSLESS_OR_NEAR: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "png": ("PNG", "RGB", {}, "png_to_jpeg"),
    "png_grey": ("PNG", "L", {}, "png_to_jpeg"),
    "png_bilevel": ("PNG", "1", {}, "png_to_jpeg"),
    "png_palette": ("PNG", "P", {}, "png_to_jpeg+palette_to_rgb"),
    "webp": ("WEBP", "RGB", {"lossless": True}, "webp_to_jpeg"),
    "webp_lossy": ("WEBP", "RGB", {"quality": 95}, "webp_to_jpeg"),
    "gif": ("GIF", "P", {}, "gif_to_jpeg+palette_to_rgb"),
    "bmp": ("BMP", "RGB", {}, "bmp_to_jpeg"),
    "cmyk": ("JPEG", "CMYK", {"quality": 95}, "cmyk_to_rgb"),
}


@pytest.mark.parametrize("name", LOSSLESS_OR_NEAR)
def test_other_kinds_become_jpeg_by_a_named_rule(name: str) -> None:
    kind, mode, options, conversion = LOSSLESS_OR_NEAR[name]
    data = encoded(kind, mode, **options)
    ready = make_ready(data, ImageRule(quality=100, png="jpeg"), decode=True)
    grey = mode in ("L", "1")
    assert ready.conversion == conversion
    assert ready.header == ImageHeader("jpeg", 64, 48, 1 if grey else 3)
    assert ready.data is not None
    assert read_header(ready.data) == ready.header
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("L" if grey else "RGB")).astype(int)
    assert np.abs(decoded(ready.data).astype(int) - wanted).max() <= 8
    assert make_ready(data, ImageRule(quality=100, png="jpeg"), decode=True).data == ready.data
    assert not Image.open(io.BytesIO(ready.data)).getexif()


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    data = encoded(kind, exif=exif(orientation), quality=95)
    assert read_header(data).orientation == orientation
    ready = make_ready(data, RULE, decode=False)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert ready.conversion is not None
    assert ready.conversion.endswith("exif_upright")
    assert (ready.header.height, ready.header.width, ready.header.orientation) == (*wanted.shape[:2], 1)
    assert np.abs(decoded(ready.data).astype(int) - wanted).mean() < 2


def test_sixteen_bits_become_the_high_byte() -> None:
    high = scene()[:, :, 0]
    out = io.BytesIO()
    Image.fromarray(high.astype(np.uint16) * 256 + 200).save(out, "PNG")
    ready = make_ready(out.getvalue(), ImageRule(quality=100), decode=True)
    assert ready.conversion == "png_to_jpeg+sixteen_bit_to_eight"
    assert np.abs(decoded(ready.data).astype(int) - high).max() <= 2


def test_sixteen_bits_of_colour_too() -> None:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in scene().astype(np.uint16) * 256 + 99)
    ready = make_ready(png(64, 48, bits=16, pixels=rows), ImageRule(quality=100), decode=True)
    assert ready.conversion == "png_to_jpeg+sixteen_bit_to_eight"
    assert np.abs(decoded(ready.data).astype(int) - scene()).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_laid_on_white(kind: str) -> None:
    layered = np.dstack([scene(), np.zeros((48, 64), np.uint8)])
    layered[:, 32:, 3] = 255
    out = io.BytesIO()
    Image.fromarray(layered).save(out, kind, lossless=True)
    ready = make_ready(out.getvalue(), ImageRule(quality=100), decode=True)
    assert ready.conversion == f"{kind.lower()}_to_jpeg+alpha_on_white"
    assert decoded(ready.data)[:, :24].min() >= 250
    assert np.abs(decoded(ready.data)[:, 40:].astype(int) - scene()[:, 40:]).max() <= 8


def test_transparent_palette_is_laid_on_white() -> None:
    ready = make_ready(encoded("PNG", "P", transparency=0), RULE, decode=True)
    assert ready.conversion == "png_to_jpeg+palette_to_rgb+alpha_on_white"


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        red, _, blue = decoded(make_ready(out.getvalue(), AS_JPEG, decode=True).data)[10, 10].tolist()
        assert red > 240
        assert blue < 15


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_become_jpeg(channels: int) -> None:
    pixels = scene()[:, ::-1, :channels]  # not contiguous
    ready = make_ready(pixels, ImageRule(quality=100), decode=False)
    assert (ready.conversion, ready.header) == ("raw_to_jpeg", ImageHeader("jpeg", 64, 48, channels))
    assert np.abs(decoded(ready.data).reshape(pixels.shape).astype(int) - pixels).max() <= 8


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (np.zeros((4, 4, 3), np.float32), "bad_pixels"),
        (np.zeros((4, 4), np.uint8), "bad_pixels"),
        (np.zeros((4, 4, 2), np.uint8), "bad_pixels"),
        (np.zeros((0, 4, 3), np.uint8), "zero_size"),
        (np.zeros((1, 70_000, 1), np.uint8), "too_many_pixels"),
        (np.zeros((100, 101, 1), np.uint8), "too_many_pixels"),
    ],
)
def test_pixels_of_a_wrong_form_are_refused(pixels: Any, word: str) -> None:
    with pytest.raises(ImageFault) as caught:
        make_ready(pixels, RULE if pixels.shape[1] > 60_000 else ImageRule(max_pixels=10_000), decode=False)
    assert caught.value.reason == word


# --- resizing ---------------------------------------------------------------------------------------------------------------------


def test_resize_takes_the_centre_square(photographs: list[bytes]) -> None:
    for data in photographs[:6]:
        ready = make_ready(data, ImageRule(resize=96), decode=True)
        assert ready.conversion == "resized"
        assert (ready.header.width, ready.header.height) == (96, 96)
        source = Image.open(io.BytesIO(data))
        wanted = np.asarray(ImageOps.fit(source, (96, 96), Image.Resampling.LANCZOS)).astype(float)
        assert np.abs(decoded(ready.data) - wanted).mean() < 6


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (96, 96), (192, 192), (97, 95), (16, 16)])
def test_resize_from_any_shape(size: tuple[int, int]) -> None:
    ready = make_ready(encoded("JPEG", size=size), ImageRule(resize=96), decode=True)
    assert (ready.header.width, ready.header.height) == (96, 96)
    assert (ready.data is None) == (size == (96, 96))
    assert ready.conversion == (None if size == (96, 96) else "resized")


def test_causes_are_joined() -> None:
    rule = ImageRule(resize=32)
    assert make_ready(encoded("JPEG", exif=exif(6)), rule, decode=True).conversion == "exif_upright+resized"
    assert make_ready(encoded("JPEG", "CMYK", exif=exif(3)), rule, decode=True).conversion == "cmyk_to_rgb+exif_upright+resized"
    assert make_ready(scene(), rule, decode=True).conversion == "raw_to_jpeg+resized"
    assert make_ready(encoded("PNG"), rule, decode=True).conversion == "png_to_jpeg+resized"


# --- refused ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty_image"),
        (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
        (b"not found", "not_an_image"),
        (b"BM is no bitmap, it is a sentence that goes on", "not_an_image"),
        (b"II*\0" + bytes(100), "not_an_image"),
        (b"\xff\xd8\xff", "truncated_image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "corrupt_image"),
        (b"\xff\xd8" + b"\xff" * 10_000, "corrupt_image"),
        (b"\xff\xd8\xff\xd9", "corrupt_image"),
        (b"\x89PNG\r\n\x1a\n", "truncated_image"),
        (png(0, 5), "zero_size"),
        (png(5, 5, colour=7), "corrupt_image"),
        (png(5, 5, extra=chunk(b"tEXt", b"") * 70_000), "corrupt_image"),
        (png(5, 5), "corrupt_image"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, word: str) -> None:
    assert reason(data) == word


def test_jpegs_that_trainers_cannot_read_are_refused() -> None:
    for marker in (0xC3, 0xC9):  # lossless, arithmetic coding
        data = bytearray(encoded("JPEG"))
        data[data.index(b"\xff\xc0") + 1] = marker
        assert reason(bytes(data)) == "unsupported_image"
    data = bytearray(encoded("JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert reason(bytes(data)) == "unsupported_image"


def test_every_truncation_of_a_jpeg_is_noticed_without_decoding(photographs: list[bytes]) -> None:
    for data in [encoded("JPEG"), encoded("JPEG", progressive=True, exif=exif(1)), photographs[0][:3000] + photographs[0][-3000:]]:
        for length in range(1, len(data) - 1):
            with pytest.raises(ImageFault):
                read_header(data[:length])
            with pytest.raises(ImageFault):
                read_header(data[:length] + b"\0" * 40)


def test_a_preview_does_not_hide_a_truncation() -> None:
    preview = encoded("JPEG", size=(16, 16))
    body = b"Exif\0\0" + preview
    data = encoded("JPEG", size=(300, 300))
    with_preview = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    assert read_header(with_preview).width == 300
    assert reason(with_preview[:-500], decode=False) == "truncated_image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_every_truncation_of_other_kinds_is_noticed(kind: str) -> None:
    data = encoded(kind, "P" if kind == "GIF" else "RGB")
    for length in range(0, len(data) - 20, 7):
        with pytest.raises(ImageFault):
            make_ready(data[:length], RULE, decode=True)


def flips(data: bytes, count: int) -> Iterator[bytes]:
    """One flipped bit each, in the entropy-coded bytes."""
    rng = np.random.default_rng(5)
    start = data.index(b"\xff\xda") + 14
    for at in rng.integers(start, len(data) - 2, count):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)


def test_the_scaled_check_finds_what_a_full_decode_finds(photographs: list[bytes]) -> None:
    found = 0
    for data in (photographs[0], photographs[3], encoded("JPEG", size=(320, 240), progressive=True, quality=95)):
        for flipped in flips(data, 40):
            try:
                simplejpeg.decode_jpeg(flipped, strict=True)
                full = False
            except ValueError:
                full = True
            try:
                make_ready(flipped, RULE, decode=True)
                scaled = False
            except ImageFault as fault:
                assert fault.reason in ("corrupt_image", "truncated_image")
                scaled = True
            assert scaled == full
            found += scaled
    assert found > 10


def test_damage_to_real_photographs_is_found(photographs: list[bytes]) -> None:
    """A lost half always; overwritten bytes nearly always: a code may by chance mean as many blocks as what it replaced."""
    overwritten = 0
    for data in photographs:
        middle = len(data) // 2
        lost = data[:middle] + data[-2:]
        assert reason(lost) == "corrupt_image"
        assert reason(lost, ImageRule(resize=224)) == "corrupt_image"
        assert make_ready(lost, RULE, decode=False).data is None
        try:
            make_ready(data[:middle] + b"\xff\x00" * 200 + data[middle + 400 :], RULE, decode=True)
        except ImageFault as fault:
            overwritten += fault.reason == "corrupt_image"
    assert overwritten >= 0.9 * len(photographs)


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum() -> None:
    data = bytearray(encoded("PNG"))
    data[data.index(b"IDAT") + 40] ^= 1
    assert reason(bytes(data), AS_JPEG) == "corrupt_image"
    assert reason(bytes(data)) == "corrupt_image"


BOMBS = """
import re, sys, time
from pathlib import Path
from rt2data.images.ready import ImageFault, ImageRule, make_ready

def peak():  # of this program alone; ru_maxrss remembers the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

make_ready(Path(sys.argv[1]).read_bytes(), ImageRule(), True)  # warm
for path in map(Path, sys.argv[2:]):
    data = path.read_bytes()
    before = peak()
    for png in ("jpeg", "keep"):
        start = time.perf_counter()
        try:
            make_ready(data, ImageRule(png=png), True)
            word = "let_in"
        except ImageFault as fault:
            word = fault.reason
        taken = time.perf_counter() - start
        print(path.stem, word, taken * 1000, peak() - before)
"""


def _deflated(kind: bytes, head: bytes) -> bytes:
    return chunk(kind, head + zlib.compress(bytes(60_000_000)))


def _gif_frame_beyond_its_screen() -> bytes:
    data = bytearray(encoded("GIF", "P"))
    at = data.index(b"\x2c\0\0\0\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    return bytes(data)


def _sized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _scans() -> bytes:
    """A small file that asks for thousands of passes over its picture."""
    data = encoded("JPEG", "L", size=(2000, 2000), progressive=True, quality=5)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at : at + 20] * 5000 + data[at:]


BOMB_MAKERS: dict[str, Callable[[], bytes]] = {
    "png_180_mp": lambda: png(13400, 13400, bits=1, colour=0, pixels=bytes(13400 * (13400 // 8 + 1))),
    "png_1e9_px": lambda: png(31623, 31623),
    "png_2e31": lambda: png(2**31 - 1, 2**31 - 1),
    "iccp": lambda: png(8, 8, pixels=bytes(8 * 25), extra=_deflated(b"iCCP", b"x\0\0")),
    "ztxt": lambda: png(8, 8, pixels=bytes(8 * 25), extra=_deflated(b"zTXt", b"x\0\0")),
    "itxt": lambda: png(8, 8, pixels=bytes(8 * 25), extra=_deflated(b"iTXt", b"x\0\1\0en\0x\0")),
    "ztxt_behind": lambda: png(8, 8, pixels=bytes(8 * 25), late=_deflated(b"zTXt", b"x\0\0")),
    "ztxt_many": lambda: png(8, 8, pixels=bytes(200), extra=chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000))) * 50),
    "jpeg_4e9_px": lambda: _sized_jpeg(65_000, 65_000),
    "jpeg_scans": _scans,
    "gif_4e9_px": lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + encoded("GIF", "P")[10:],
    "gif_frame": _gif_frame_beyond_its_screen,
    "webp_2e28_px": lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0",
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_bombs_are_refused_in_50_ms_and_50_mb(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.bin" for name in BOMB_MAKERS]
    for path, make in zip(paths, BOMB_MAKERS.values(), strict=True):
        path.write_bytes(make())
    (tmp_path / "fine.png").write_bytes(encoded("PNG"))
    command = [sys.executable, "-c", BOMBS, str(tmp_path / "fine.png"), *map(str, paths)]
    lines = [line.split() for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    assert len(lines) == 2 * len(BOMB_MAKERS)
    for name, word, milliseconds, megabytes in lines:
        assert word in ("too_many_pixels", "text_bomb", "corrupt_image"), name
        assert float(milliseconds) < 50, name
        assert float(megabytes) < 50, name


def test_an_honest_profile_is_no_bomb() -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(np.random.default_rng(0).bytes(500_000)))
    assert make_ready(png(8, 8, pixels=bytes(8 * 25), extra=profile), RULE, decode=False).data is None


# --- any bytes --------------------------------------------------------------------------------------------------------------------

SEEDS = {
    "jpeg": encoded("JPEG", exif=exif(6)),
    "progressive": encoded("JPEG", progressive=True),
    "cmyk": encoded("JPEG", "CMYK"),
    "png": encoded("PNG", "P", transparency=0, exif=exif(3)),
    "webp": encoded("WEBP", "RGBA", exif=exif(8)),
    "webp_lossless": encoded("WEBP", lossless=True),
    "gif": encoded("GIF", "P"),
    "bmp": encoded("BMP"),
}


@tries(300)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_fuzzed_headers_give_a_header_or_a_fault(name: str, data: st.DataObject) -> None:
    fuzzed = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(0, 6))):
        fuzzed[data.draw(st.integers(0, min(len(fuzzed) - 1, 700)))] = data.draw(st.integers(0, 255))
    cut = bytes(fuzzed[: data.draw(st.integers(0, len(fuzzed)))] if data.draw(st.booleans()) else fuzzed)
    start = time.process_time()
    for view in (cut, memoryview(cut)):
        try:
            found = read_header(view)
            assert min(found.width, found.height) > 0
            assert 1 <= found.orientation <= 8
        except ImageFault as fault:
            assert fault.reason.isidentifier()
    assert time.process_time() - start < 0.5
    try:
        ready = make_ready(cut, ImageRule(max_pixels=1_000_000), decode=True)
        assert ready.data is None or read_header(ready.data) == ready.header
    except ImageFault:
        pass


@tries(200)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x04\0\0\0WEBP", b"GIF89a", b"BM", b""]), st.binary(max_size=300)
)
def test_noise_behind_a_magic_gives_a_header_or_a_fault(magic: bytes, noise: bytes) -> None:
    try:
        assert read_header(magic + noise).width > 0
    except ImageFault as fault:
        assert fault.reason.isidentifier()


TURNS = {0: 0, 90: 3, 180: 2, 270: 1}
"""Degrees clockwise, and how often numpy turns by 90 degrees to the left."""


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("flip", ["none", "vertical", "horizontal"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_camera_that_stands_otherwise_is_set_right(turn: Any, flip: Any, channels: Any) -> None:
    """Pixels are turned, then flipped, then get their red and blue back; as PNG nothing is lost."""
    rule = ImageRule(turn=turn, flip=flip, channels=channels, encode="png")
    ready = make_ready(scene(), rule, decode=False)
    assert ready.data is not None
    wanted = np.rot90(scene(), TURNS[turn])
    wanted = {"none": wanted, "vertical": np.flipud(wanted), "horizontal": np.fliplr(wanted)}[flip]
    wanted = wanted[..., ::-1] if channels == "bgr" else wanted
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(ready.data))), wanted)
    assert (ready.header.format, ready.header.width, ready.header.height) == ("png", wanted.shape[1], wanted.shape[0])
    done = [*(["turned_" + str(turn)] if turn else []), *([f"flipped_{flip}"] if flip != "none" else [])]
    assert (ready.conversion or "").split("+") == ["raw_to_png", *done, *(["bgr_to_rgb"] if channels == "bgr" else [])]


@pytest.mark.parametrize("rule", [ImageRule(turn=180), ImageRule(flip="vertical"), ImageRule(channels="bgr")])
def test_an_encoded_image_that_stands_otherwise_is_encoded_anew(rule: ImageRule) -> None:
    for kind in ("JPEG", "PNG"):
        data = encoded(kind)
        ready = make_ready(data, rule, decode=False)
        assert ready.data is not None and ready.conversion and read_header(ready.data).format == "jpeg"
        before = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        wanted = before[::-1, ::-1] if rule.turn else before[::-1] if rule.flip == "vertical" else before[..., ::-1]
        assert np.abs(np.asarray(Image.open(io.BytesIO(ready.data))).astype(int) - wanted).mean() < 2


def test_one_camera_may_have_a_rule_of_its_own() -> None:
    rule = ImageRule(turn=90, resize=32, cameras={"wrist": ViewRule(channels="bgr")})
    assert rule.of("front") is rule
    assert (rule.of("wrist").turn, rule.of("wrist").channels, rule.of("wrist").resize) == (0, "bgr", 32)


def test_chroma_of_a_made_jpeg() -> None:
    sizes = {}
    for chroma in ("444", "422", "420"):
        data = make_ready(scene(), ImageRule(chroma=chroma), decode=False).data  # type: ignore[arg-type]
        assert data is not None
        with Image.open(io.BytesIO(data)) as found:
            sizes[chroma] = found.layer[0][1:3]  # type: ignore[attr-defined]
    assert sizes == {"444": (1, 1), "422": (2, 1), "420": (2, 2)}


def test_settings_that_are_left_out_are_not_written() -> None:
    """Stores and outputs hold them: their bytes stay those of versions that did not know them."""
    assert set(ImageRule().model_dump()) == {"resize", "png", "check", "quality", "max_pixels"}
    assert set(ImageRule(turn=90).model_dump()) - set(ImageRule().model_dump()) == {"turn"}
