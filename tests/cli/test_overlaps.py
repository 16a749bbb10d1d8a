"""What `rt2data overlaps` prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.command import Warm
from tests.look.overlaps.corpora import corpus, picture, recipe


@pytest.mark.slow
def test_the_command_says_so_within_80_columns(warm: Warm, tmp_path: Path) -> None:
    sources = {"qa": corpus(tmp_path / "qa", {f"p{n}.jpg": picture(n // 2) for n in range(80)}) + ", holdout: 1/2"}
    path = recipe(tmp_path, sources)
    said = warm(tmp_path, "overlaps", str(path), "--workers", "0")
    assert said.code == 3
    table = [line for line in said.out.splitlines() if "/" in line and "images/" not in line]
    assert max(map(len, table)) <= 80
    assert "1 leak: what is trained on is held out too" in said.err
    as_json = json.loads(warm(tmp_path, "overlaps", str(path), "--workers", "0", "--json").out)
    assert not as_json["ok"]
    assert as_json["overlaps"][0]["what"] == "bytes"
    alone = recipe(tmp_path, {"qa": corpus(tmp_path / "other", {"a.jpg": picture(1), "b.jpg": picture(2)})})
    assert warm(tmp_path, "overlaps", str(alone), "--workers", "0", "--near", "4").code == 0
    assert warm(tmp_path, "overlaps", str(alone), "--near", "16").code == 2


def test_a_build_refuses_licences_that_are_not_allowed(warm: Warm, tmp_path: Path) -> None:
    sources = {name: corpus(tmp_path / name, {"p.jpg": picture(1)}) for name in ("open", "closed")}
    path = recipe(tmp_path, {"open": f"{sources['open']}, license: MIT", "closed": f"{sources['closed']}, license: CC-BY-NC-4.0"})
    for verb in (["plan", str(path)], ["build-mixture", str(path), "-o", str(tmp_path / "out")]):
        said = warm(tmp_path, *verb, "--workers", "0", "--allow-license", "MIT", "--allow-license", "CC-BY-4.0")
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert "web.closed.license: CC-BY-NC-4.0 is not allowed, only MIT, CC-BY-4.0" in said.err
    assert not (tmp_path / "out").exists()
    both = ["--allow-license", "MIT", "--allow-license", "CC-BY-NC-4.0"]
    assert warm(tmp_path, "build-mixture", str(path), "-o", str(tmp_path / "out"), "--workers", "0", *both).code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["recipe"]["allow_licenses"] == ["MIT", "CC-BY-NC-4.0"]
    assert manifest["recipe"]["web"]["closed"]["license"] == "CC-BY-NC-4.0"
    assert "| CC-BY-NC-4.0 |" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "croissant.json").read_text())["license"] == ["CC-BY-NC-4.0", "MIT"]
