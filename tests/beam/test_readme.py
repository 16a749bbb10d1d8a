"""The page about deployment says what there is."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from apache_beam.options.pipeline_options import PipelineOptions

from rt2data.beam import pipeline_options
from rt2data.beam.graph import MIN_RAM, _figures
from rt2data.beam.pipeline_options import MACHINE
from rt2data.cli.app import app
from rt2data.io.installation import pipelines
from rt2data.io.location import traffic
from rt2data.prepare.unit import UnitSummary
from rt2data.write.shard import ShardInfo

TEXT = (pipelines() / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.M | re.S) for line in block.replace("\\\n", " ").splitlines()
]


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert found, title
    return found[1]


def flags_of_beam() -> set[str]:
    parser: Any = pipeline_options._Parser(allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    return {flag for action in parser._actions for flag in action.option_strings}


def test_commands_of_ours_have_options_that_there_are() -> None:
    group: Any = typer.main.get_command(app)
    seen = 0
    for words in (shlex.split(line) for line in COMMANDS if line.startswith("rt2data ")):
        cut = words.index("--") if "--" in words else len(words)
        known = {flag for parameter in group.commands[words[1]].params for flag in parameter.opts}
        assert {word.split("=")[0] for word in words[2:cut] if word.startswith("-")} <= known
        assert {word.split("=")[0] for word in words[cut + 1 :]} <= flags_of_beam()
        seen += 1
    assert seen >= 4


def test_options_for_workers_are_beams_and_the_defaults_ours() -> None:
    text = section("Options for workers")
    assert set(re.findall(r"--[a-z_]+", text)) <= flags_of_beam()
    assert f"--machine_type={MACHINE}" in text
    assert f"--number_of_worker_harness_threads={pipeline_options._cores(MACHINE)}" in text
    assert MIN_RAM.replace("GB", " GB of memory") in text


def test_counters_are_those_of_the_graph() -> None:
    counters = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", section("Watch it"), re.M))))
    unit = UnitSummary(
        name="x",
        unit=0,
        rows={},
        rejects=(),
        conversions={},
        action_dims=(),
        state_dims=(),
        cameras=(),
        bytes_read=0,
        blob_bytes=0,
    )
    shard = ShardInfo(name="x", index=0, examples=0, bytes=0, xxh3_128="", sha256="", sources={})
    assert counters == {*_figures(unit), *_figures(shard), *traffic.KINDS}


@pytest.mark.parametrize("name", re.findall(r"`([\w./*-]+\.(?:py|json|yaml|tf)|Dockerfile[\w.]*)`", TEXT))
def test_files_are_there(name: str) -> None:
    assert list(pipelines().glob(name))
