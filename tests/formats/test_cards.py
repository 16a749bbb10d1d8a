"""What an output says of itself is true, and the tools that read cards take it."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS, make_format
from rt2data.look.verify import verify
from rt2data.plan.recipe import Recipe
from rt2data.seal.dataset_card import shard_glob
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import examples
from tests.packages import need

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


@pytest.fixture(params=list(FORMATS))
def out(request: pytest.FixtureRequest, toy_recipe: Recipes, tmp_path: Path) -> Path:
    build_plainly(toy_recipe(shards__format=request.param, robot__arm__license="CC-BY-4.0"), Site(tmp_path / "out"))
    return tmp_path / "out"


def front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(card.split("---\n")[1])
    return found


def test_a_card_tells_licences_shares_and_how_to_read(out: Path) -> None:
    card, manifest = (out / "README.md").read_text(), read_manifest(out)
    front = front_matter(card)
    assert front["license"] == ["cc-by-4.0"]
    assert front["task_categories"] == ["robotics", "visual-question-answering"]
    assert "| arm | robot | toy_robot | 48 | 50.0000% | 48 | 1 | CC-BY-4.0 |" in card
    assert "| qa | web | toy_web | 48 | 50.0000% | 9 | 5.333 | not given |" in card
    assert manifest.plan.fingerprint in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert front.get("configs", []) == [] or front["configs"][0]["data_files"][0]["path"] == shard_glob(manifest)


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_the_configuration_is_named_after_the_fingerprint(toy_recipe: Recipes, tmp_path: Path, name: str) -> None:
    """Hugging Face's datasets caches by the card alone: a mixture built again must have another, whatever its owner wrote there."""
    seen = []
    for share in ("1/2", "3/4"):
        build_plainly(toy_recipe(shards__format=name, robot_frac=share), Site(tmp_path / "out", overwrite=True))
        front, fingerprint = (
            front_matter((tmp_path / "out/README.md").read_text()),
            read_manifest(tmp_path / "out").plan.fingerprint,
        )
        (config,) = front["configs"]
        assert (config["config_name"], config["default"]) == (f"mixture-{fingerprint[:12]}", True)
        assert front.get("dataset_info", config)["config_name"] == config["config_name"]
        seen.append(config["config_name"])
        (tmp_path / "out/README.md").write_text("ours now")
    assert len(set(seen)) == 2


@pytest.mark.trainers
@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_datasets_reads_what_lies_there_now(
    toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One cache for a mixture that is built again, and for another folder of the same name."""
    library = need("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for folder, share in (("one/mix", "1/2"), ("two/mix", "1/4"), ("one/mix", "3/4")):
        out = tmp_path / folder
        out.parent.mkdir(exist_ok=True)
        build_plainly(toy_recipe(shards__format=name, robot_frac=share), Site(out, overwrite=True))
        rows = library.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
        kinds = [row["kind"] for row in rows["json"]] if name == "webdataset" else list(rows["kind"])
        assert kinds == [record.kind for _, record in examples(out)]


NULLS = (
    "action 7 x 0.0, actions 1 x 7 x 0.0, action_is_pad 1 x true, action_mask 7 x false, action_bins [], terminate false, state []"
)


def test_a_card_tells_what_stands_for_null(out: Path) -> None:
    """In formats that have none, column by column."""
    card, form = (out / "README.md").read_text(), make_format(read_manifest(out).plan.format)
    assert (NULLS in card) == (not form.has_null)
    assert form.has_null == (form.extension in ("tar", "parquet"))


def test_a_card_may_be_edited(out: Path) -> None:
    (out / "README.md").write_text("ours now")
    assert verify(out).ok


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum command")
def test_sha256sum_checks_every_file(out: Path) -> None:
    """But the manifest, which is written last, and the card."""
    run = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    checked = {line.removesuffix(": OK") for line in run.stdout.splitlines()}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there - checked == {"SHA256SUMS", "manifest.json", "README.md"}
    with (out / read_manifest(out).shards[0].name).open("r+b") as shard:
        shard.write(b"?")
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, capture_output=True).returncode == 1


def test_the_pattern_matches_all_shards_and_nothing_else(out: Path) -> None:
    manifest = read_manifest(out)
    names = [path.relative_to(out).as_posix() for path in out.rglob("*")]
    assert sorted(fnmatch.filter(names, shard_glob(manifest))) == [shard.name for shard in manifest.shards]


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("total", [1, 2, 11, 21, 1_001])
def test_a_pattern_has_no_digit_of_a_number_that_changes(name: str, total: int) -> None:
    form = make_format(name)
    names = [form.shard_name(index, total, "train") for index in range(total)]
    manifest: Any = SimpleNamespace(shards=[SimpleNamespace(name=each) for each in names])
    assert fnmatch.filter(names, shard_glob(manifest)) == names


@pytest.mark.trainers
def test_mlcroissant_validates_it(out: Path) -> None:
    issues = need("mlcroissant").Dataset(str(out / "croissant.json")).metadata.ctx.issues
    assert list(issues.errors) == []


def test_statistics_are_those_of_the_emitted_actions(toy_recipe: Recipes, tmp_path: Path) -> None:
    """Every row is drawn once, so that they can be taken of the output."""
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    records = [record for _, record in examples(tmp_path / "out") if record.kind == "robot"]
    actions = np.array([record.action for record in records], np.float32).astype(np.float64)
    octo, openpi, lerobot = (
        json.loads((tmp_path / "out" / "statistics" / f"{name}.json").read_text()) for name in ("octo", "openpi_arm", "lerobot_arm")
    )
    assert octo["arm"]["num_transitions"] == lerobot["action"]["count"][0] == len(actions)
    for found, names in ((octo["arm"]["action"], ("p01", "p99")), (openpi["norm_stats"]["actions"], ("q01", "q99"))):
        np.testing.assert_allclose(found["mean"], actions.mean(0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found["std"], actions.std(0), rtol=1e-6, atol=1e-9)
        for name, q in zip(names, (0.01, 0.99), strict=True):
            np.testing.assert_allclose(found[name], np.quantile(actions, q, axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(lerobot["action"]["min"], actions.min(0))
    np.testing.assert_array_equal(lerobot["action"]["max"], actions.max(0))


def test_statistics_for_openpi_say_what_they_fit(toy_recipe: Recipes, tmp_path: Path) -> None:
    """openpi's own are over chunks, after its transforms; its loader takes `norm_stats` and passes over other keys."""
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    found = json.loads((tmp_path / "out/statistics/openpi_arm.json").read_text())
    assert found.keys() == {"about", "norm_stats"}
    assert "single steps" in found["about"] and "compute_norm_stats" in found["about"]
    assert "fits openpi only where its transforms change no number" in (tmp_path / "out/README.md").read_text()


def test_no_robot_no_statistics(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(robot_frac=0), Site(tmp_path / "out"))
    assert not (tmp_path / "out" / "statistics").exists()
    assert verify(tmp_path / "out").ok
