"""Options of deployed pipelines: one table, from which parsers, Beam's options and the metadata of templates follow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from apache_beam.options.pipeline_options import PipelineOptions

from rt2data.beam.deployed import MIXTURE, PIPELINES, STATS, Pipeline
from rt2data.beam.pipeline_options import MixtureOptions, StatsOptions, job_name, new_pipeline, only_staged
from rt2data.cli import schemagen
from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.io.installation import pipelines

OUT = Path("/data/mixture")
each_pipeline = pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda each: each.name)
GIVEN = {"path": "gs://bucket/a", "output": "gs://bucket/a", "flag": "true", "settings": "a.b=[1, 2]", "text": "2/3"}
"""A value of each kind."""


def metadata(pipeline: Pipeline) -> Any:
    return json.loads((pipelines() / f"{pipeline.name}.metadata.json").read_text())


@each_pipeline
def test_metadata_is_as_the_options_say(pipeline: Pipeline) -> None:
    assert schemagen.stale(pipelines(), [f"{pipeline.name}.metadata.json"]) == []
    assert (pipelines() / f"{pipeline.name}.py").is_file()


@each_pipeline
def test_metadata_is_what_the_dataflow_api_takes(pipeline: Pipeline) -> None:
    types = pytest.importorskip("google.cloud.dataflow_v1beta3.types", reason="google-cloud-dataflow-client is not installed")
    text = json.dumps(metadata(pipeline))
    found = types.TemplateMetadata.from_json(text, ignore_unknown_fields=False)
    assert found.name and found.description and not found.streaming
    for each in found.parameters:
        assert each.name and each.label and each.help_text
        assert all(re.compile(regex) for regex in each.regexes)


@each_pipeline
def test_parameters_and_options_are_the_same(pipeline: Pipeline) -> None:
    named = {each["name"] for each in metadata(pipeline)["parameters"]}
    parser = pipeline.parser(None)
    assert named == {action.dest for action in parser._actions} - {"help"}
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in named)


@each_pipeline
def test_what_a_template_takes_the_parser_takes(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.beam.deployed.path_of", Path)  # of any scheme
    for option, parameter in zip(pipeline.options, metadata(pipeline)["parameters"], strict=True):
        value = GIVEN[option.kind]
        assert all(re.fullmatch(regex, value) for regex in parameter.get("regexes", []))
        asked, rest = pipeline.parse([f"--{option.name}={value}"], None)
        assert rest == [] and getattr(asked, option.name) not in (None, False, [])


@pytest.mark.parametrize("value", ["mixture.yaml", "./a", ""])
def test_a_template_takes_no_relative_path(value: str) -> None:
    (regex,) = MIXTURE.options[0].regexes
    assert not re.fullmatch(regex, value) and re.fullmatch(regex, "/a") and re.fullmatch(regex, "s3://b/a")


def test_options_of_the_mixture_are_those_of_the_command() -> None:
    group: Any = typer.main.get_command(app)
    flags = {flag for parameter in group.commands["build-mixture"].params for flag in (*parameter.opts, f"--{parameter.name}")}
    missing = {option.name for option in MIXTURE.options if option.flags[0] not in flags}
    assert missing == {"failure_file"}, "of templates: nobody waits there"


def test_beam_knows_our_options() -> None:
    given = ["--recipe=gs://b/m.yaml", "--robot-frac=2/3", "--set=a=1", "--set=b=2", "--overwrite", "--project=some-project"]
    options = PipelineOptions(given)
    assert options.get_all_options(drop_default=True) == {
        "recipe": "gs://b/m.yaml",
        "robot_frac": "2/3",
        "set": ["a=1", "b=2"],
        "overwrite": True,
        "project": "some-project",
    }
    assert options.view_as(MixtureOptions).robot_frac == "2/3"
    assert PipelineOptions(["--path=gs://b/m"]).view_as(StatsOptions).path == "gs://b/m"


def test_beams_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        new_pipeline(["--help"], OUT, "")
    assert caught.value.code == 0
    told = capsys.readouterr().out
    for option in (*MIXTURE.options, *STATS.options):
        assert option.flags[0] in told
    assert "--max_num_workers" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--max_num_wokers=3", "Beam has no option --max_num_wokers -> did you mean --max_num_workers?"),
        ("--max_num_workers=x", "--max_num_workers: invalid int value: 'x'"),
        ("--runner=Nope", "Unexpected pipeline runner: Nope"),
        ("--runner=no.such.Runner", "No module named 'no'"),
    ],
)
def test_wrong_options_of_beam_are_wrong_usage(given: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_pipeline([given], OUT, "")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_options_of_job_servers_pass() -> None:
    assert new_pipeline(["--runner=PortableRunner", "--some_option_of_a_server=3"], OUT, "").runner


def test_what_only_stages() -> None:
    assert not only_staged(PipelineOptions([]))
    assert only_staged(PipelineOptions(["--template_location=gs://b/t"])) and only_staged(PipelineOptions(["--dry_run=True"]))


def test_names_of_jobs() -> None:
    names = [job_name(Path(path)) for path in ("/a/Mixture_1.0", "/b/Mixture_1.0", "/a/" + "x" * 200, "/a/Ä")]
    assert len(set(names)) == len(names) and names[0].startswith("rt2data-mixture-1-0-")
    assert all(re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names)
    assert job_name(Path("/a/m")) == job_name(Path("/a/m"))


DATAFLOW = (
    "--runner=DataflowRunner",
    *("--no_auth", "--project=some-project", "--region=r", "--temp_location=gs://b/t", "--staging_location=gs://b/s"),
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), ("n2-standard-4", 4)),
        (("--machine_type=n2-custom-8-16384",), ("n2-custom-8-16384", 8)),
        (("--worker_machine_type=c4-highcpu-16-lssd",), ("c4-highcpu-16-lssd", 16)),
        (("--machine_type=custom-2-8192",), ("custom-2-8192", 2)),
        (("--machine_type=e2-medium",), ("e2-medium", None)),
        (("--number_of_worker_harness_threads=1",), ("n2-standard-4", 1)),
    ],
    ids=str,
)
def test_what_dataflow_is_told(given: tuple[str, ...], found: tuple[str, int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.beam.pipeline_options._require_packages", lambda: None)
    monkeypatch.setattr("apache_beam.options.pipeline_options.GoogleCloudOptions.validate", lambda *_: [])
    options = new_pipeline([*DATAFLOW, *given], OUT, "ab" * 16).options.get_all_options()
    assert (options["machine_type"], options["number_of_worker_harness_threads"]) == found
    assert options["job_name"] == job_name(OUT)
    assert options["labels"] == [f"rt2data-recipe={'ab' * 16}"]


def test_other_runners_are_told_nothing() -> None:
    options = new_pipeline([], OUT, "ab").options.get_all_options()
    assert [options[name] for name in ("machine_type", "number_of_worker_harness_threads", "job_name", "labels")] == [None] * 4
