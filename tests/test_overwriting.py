"""A command writes over a file only where rt2data wrote it, or with --force; asked before anything is read."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rt2data.beam import stats as beam_stats
from rt2data.cli.init import init
from rt2data.cli.inspect import inspect
from rt2data.cli.report import ReportOptions, report
from rt2data.cli.view import view
from rt2data.errors import UsageError
from rt2data.io.publish import MARKED, require_writable
from rt2data.look.report import contact_sheet, markdown, page
from rt2data.look.stats.subject import Question
from tests.contract.toy import jpeg
from tests.look.report import made

THESIS = b"<!DOCTYPE html>\n<p>A year of work.\n"


def write_report(out: Path, force: bool = False) -> None:
    report([Question(out.parent / "gone")], ReportOptions(out, workers=0, quiet=True, force=force))


def write_markdown(out: Path, force: bool = False) -> None:
    report([Question(out.parent / "gone")], ReportOptions(out.parent / "r.html", out, workers=0, quiet=True, force=force))


def write_statistics(out: Path, force: bool = False) -> None:
    beam_stats.stats_anywhere(Question(out.parent / "gone"), out, (), force)


def contents() -> dict[str, tuple[bytes, bytes]]:
    """What each writer writes, and its mark."""
    shown = made.stats()
    return {
        "report": (page.page([made.report()]), page.MARK),
        "markdown": (markdown.summary([shown]).encode(), markdown.MARK),
        "png": (contact_sheet.contact_sheet([made.tile()], title="x"), contact_sheet.MARK),
        "statistics": (json.dumps({"version": 1, "tool_version": "1"}, indent=2).encode(), beam_stats.MARK),
    }


@pytest.mark.parametrize("write", [write_report, write_markdown, write_statistics, init])
def test_a_file_of_somebody_stays(write: Callable[..., None], tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.write_bytes(THESIS)
    with pytest.raises(UsageError, match="--force") as caught:
        write(out)
    assert caught.value.code == 2 and caught.value.where == str(out)
    assert out.read_bytes() == THESIS
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


@pytest.mark.parametrize("write", [write_report, write_markdown, write_statistics])
def test_force_goes_on(write: Callable[..., None], tmp_path: Path) -> None:
    """To the next question, which is what to look at."""
    (tmp_path / "thesis").write_bytes(THESIS)
    with pytest.raises(UsageError, match="nothing is there"):
        write(tmp_path / "thesis", force=True)


@pytest.mark.parametrize("kind", ["report", "markdown", "png", "statistics"])
def test_what_we_wrote_is_written_again(kind: str, tmp_path: Path) -> None:
    content, mark = contents()[kind]
    assert mark in content[:MARKED]
    (tmp_path / "out").write_bytes(content)
    require_writable(tmp_path / "out", mark=mark)
    for other, (_, foreign) in contents().items():
        if other != kind:
            with pytest.raises(UsageError, match="did not write"):
                require_writable(tmp_path / "out", mark=foreign)


def test_the_mark_of_a_sheet_is_a_text_chunk() -> None:
    assert Image.open(io.BytesIO(contents()["png"][0])).info == {"Software": "rt2data"}


def test_sheets(shared_data: Path, tmp_path: Path) -> None:
    photo, png = tmp_path / "photo.png", tmp_path / "sheet.png"
    photo.write_bytes(jpeg(1))
    with pytest.raises(UsageError, match="--force"):
        inspect(shared_data / "coco_web", photo, 2, suggest=False, as_json=False)
    assert photo.read_bytes() == jpeg(1)
    for number in (1, 2):
        inspect(shared_data / "coco_web", png, number, suggest=False, as_json=False)
    inspect(shared_data / "coco_web", photo, 2, suggest=False, as_json=False, force=True)
    assert photo.read_bytes() == png.read_bytes()


def test_saved_images(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # the same bytes again
        view(shared_data / "coco_web", 0, 1, tmp_path, None, as_json=False)
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(b"mine")
    with pytest.raises(UsageError, match="another file is here already"):
        view(shared_data / "coco_web", 0, 1, tmp_path, None, as_json=False)
    assert saved.read_bytes() == b"mine"


def test_an_empty_file_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    require_writable(tmp_path / "new", mark=b"x")


def test_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for force in (False, True):
        with pytest.raises(UsageError, match="a device or a pipe"):
            require_writable(tmp_path / "pipe", mark=b"x", force=force)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_to_a_file_of_somebody(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_bytes(THESIS)
    (tmp_path / "report.html").symlink_to("thesis")
    with pytest.raises(UsageError, match="--force"):
        require_writable(tmp_path / "report.html", mark=page.MARK)
