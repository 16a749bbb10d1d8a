"""The deployed pipeline runs the same graph as the command, with the same bytes. On Dataflow: test_dataflow.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, UsageError
from rt2data.io.installation import pipelines
from rt2data.plan.recipe import Recipe
from rt2data.seal.manifest import read_manifest
from tests.conftest import sha256_of

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]
MAIN = pipelines() / "build_mixture.py"


def load_main(path: Path) -> ModuleType:
    """A main of a pipeline, as a module."""
    spec = spec_from_file_location(f"{path.stem}_pipeline", path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pipeline() -> ModuleType:
    return load_main(MAIN)


@pytest.fixture
def plain(toy_recipe: Recipes, tmp_path: Path) -> str:
    """What the plain program writes."""
    build_plainly(toy_recipe(store=tmp_path / "store-plain"), Site(tmp_path / "plain"))
    return sha256_of(tmp_path / "plain")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",),
        ("--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    ],
    ids=str,
)
def test_it_writes_the_same_bytes(pipeline: ModuleType, plain: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    pipeline.run(["--recipe", str(tmp_path / "mixture.yaml"), "--out", str(tmp_path / "out"), *options])
    assert sha256_of(tmp_path / "out") == plain
    assert read_manifest(tmp_path / "out").plan == read_manifest(tmp_path / "plain").plan


def test_its_options_are_those_of_the_command(pipeline: ModuleType, toy_recipe: Recipes, tmp_path: Path) -> None:
    recipe = ["--recipe", str(tmp_path / "mixture.yaml")]
    pipeline.run([*recipe, "--robot-frac", "2/3", "--set", "seed=3"])
    manifest = read_manifest(tmp_path / "mixture")
    assert (manifest.plan.robot_frac, manifest.plan.seed) == ("2/3", 3)
    with pytest.raises(UsageError, match="--overwrite"):
        pipeline.run([*recipe, "--robot-frac", "1/3"])
    pipeline.run([*recipe, "--robot-frac", "1/3", "--overwrite"])
    assert read_manifest(tmp_path / "mixture").plan.robot_frac == "1/3"


def test_failures_keep_their_type(pipeline: ModuleType, toy_recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="7 dimensions, action space metaworld has 4"):
        pipeline.run(["--recipe", str(tmp_path / "mixture.yaml"), "--set", "robot.arm.action_space=metaworld"])
    assert not (tmp_path / "mixture").exists()


@pytest.mark.parametrize("slip", ["--robot_farc=0.3", "--overwite", "--reciep=x"])
def test_slips_do_not_pass_as_options_of_beam(pipeline: ModuleType, slip: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        pipeline.parse([slip])
    assert caught.value.code == 2
    assert "did you mean" in capsys.readouterr().err


def test_options_are_spelled_as_the_command_does_and_as_templates_do(pipeline: ModuleType) -> None:
    both = pipeline.parse(["--robot-frac=0.3", "--overwrite"]), pipeline.parse(["--robot_frac=0.3", "--overwrite=true"])
    assert both[0] == both[1]
    assert not pipeline.parse(["--overwrite=false"])[0].overwrite
    assert pipeline.parse(["--set=a=1\nb=x=2", "--set", "c=[1, 2]"])[0].set == ["a=1", "b=x=2", "c=[1, 2]"]
    with pytest.raises(SystemExit):
        pipeline.parse(["--overwrite=yes"])


def test_options_of_beam_are_left_to_it(pipeline: ModuleType) -> None:
    given = [
        "--runner=DataflowRunner",
        "--project=some-project",
        "--temp_location=gs://some-bucket/tmp",
        "--setup_file=./setup.py",
        "--sdk_container_image=image",
        "--max_num_workers=3",
        "--experiments=x",
    ]
    asked, rest = pipeline.parse(["--robot-frac", "0.5", *given])
    assert asked.robot_frac == "0.5"
    assert rest == given


def test_a_failure_is_one_line_and_a_code(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, MAIN, "--recipe", "gone.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "build_mixture: no recipe at gone.yaml -> run rt2data init, or name one\n"
