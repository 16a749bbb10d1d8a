"""Our options as Beam options, Dataflow's defaults where the user sets nothing, and Beam's complaints as our errors.

This imports Beam: import it late.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
import xxhash
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
    _BeamArgumentParser,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from rt2data.beam.deployed import MIXTURE, STATS, Pipeline
from rt2data.errors import UsageError
from rt2data.io.words import closest

MACHINE = "n2-standard-4"
"""The machine that `rt2data plan --runner dataflow` assumes. Dataflow's own default has one core and 3.75 GB."""


class MixtureOptions(PipelineOptions):  # type: ignore[misc]
    """Options of `build_mixture`, for Beam's --help and the options that a job displays."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        _add(MIXTURE, parser)


class StatsOptions(PipelineOptions):  # type: ignore[misc]
    """Options of `mixture_stats`, likewise."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        _add(STATS, parser)


def _add(pipeline: Pipeline, parser: argparse.ArgumentParser) -> None:
    """Add options, skipping duplicates: Beam puts the options of all pipelines into one parser."""
    for option in pipeline.options:
        with suppress(argparse.ArgumentError):
            option.add_to(parser, plain=True)


def new_pipeline(arguments: Sequence[str], out: Path, fingerprint: str) -> Any:
    """A pipeline for the runner named in the options; by default Beam's in-memory runner, on this machine.

    `out` is the output, `fingerprint` identifies the input. Raises UsageError for wrong options and missing packages.
    """
    _refuse_wrong(arguments)
    options = PipelineOptions(list(arguments))
    runner = options.view_as(StandardOptions).runner
    if _is_dataflow(runner):
        _require_packages()
        _set_defaults(options, out, fingerprint)
    try:
        return beam.Pipeline(runner=runner or FnApiRunner(), options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(" ".join(str(error).split()), f"--runner={runner}", "see Beam's documentation of its runners") from error


def only_staged(options: Any) -> bool:
    """Whether the runner is told to run nothing now: only to write a template, or a dry run."""
    return bool(options.view_as(GoogleCloudOptions).template_location or options.view_as(TestOptions).dry_run)


def page_of(result: Any, options: Any) -> str:
    """The web page that shows a job; empty if the runner has none."""
    if not getattr(result, "has_job", False):
        return ""
    cloud = options.view_as(GoogleCloudOptions)
    return f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{result.job_id()}?project={cloud.project}"


def _is_dataflow(runner: str | None) -> bool:
    return (runner or "").rpartition(".")[2].lower() in ("dataflow", "dataflowrunner")


class _Parser(_BeamArgumentParser):  # type: ignore[misc]
    """Beam's parser, with errors as UsageError."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"Beam's options: {message}", do="--help after -- lists them")


def _refuse_wrong(arguments: Sequence[str]) -> None:
    """Raises UsageError for options that Beam refuses, and for misspelled ones, which it would ignore.

    Options unlike any known one are kept: job servers of Flink and Spark have options of their own.
    """
    parser = _Parser(allow_abbrev=False)
    for kind in {str(each): each for each in PipelineOptions.__subclasses__()}.values():
        kind._add_argparse_args(parser)
    known = [flag for action in parser._actions for flag in action.option_strings]
    for name in (each.split("=")[0] for each in parser.parse_known_args(arguments)[1] if each.startswith("--")):
        if near := closest(name, known, cutoff=0.9):
            raise UsageError(f"Beam has no option {name}", do=f"did you mean {near}?")


def _require_packages() -> None:
    """Raises UsageError if Beam's extra for Google Cloud is not installed."""
    try:
        import apache_beam.io.gcp.gcsio
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "the Dataflow runner needs packages that are not installed", str(error), "pip install 'rt2data[gcp]'"
        ) from error


def _set_defaults(options: Any, out: Path, fingerprint: str) -> None:
    """Set Dataflow's options where the user sets nothing."""
    cloud, workers, debug = (options.view_as(kind) for kind in (GoogleCloudOptions, WorkerOptions, DebugOptions))
    workers.machine_type = workers.machine_type or MACHINE
    # One order per core: orders are CPU-bound, and each holds up to 0.3 GB. More threads would only hold more.
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or _cores(workers.machine_type)
    # Dataflow refuses a second job with an active job's name: one job per output, even if its launcher is gone.
    cloud.job_name = cloud.job_name or job_name(out)
    # Costs and logs can be found by what was built. A user's label comes last and takes precedence.
    cloud.labels = [f"rt2data-recipe={fingerprint[:32]}", *(cloud.labels or ())]


def _cores(machine: str) -> int | None:
    """vCPUs of a Compute Engine machine, from its name: n2-standard-4, n2-custom-8-16384. Unknown for e2-medium and the like."""
    found = re.search(r"(?:^|-)custom-(\d+)-|-(\d+)(?:-lssd)?$", machine)
    return int(found[1] or found[2]) if found else None


def job_name(out: Path) -> str:
    """A job name that is the same for the same output: letters, digits and hyphens."""
    plain = re.sub(r"[^a-z0-9]+", "-", out.name.lower()).strip("-")[:32].strip("-")
    return "-".join(filter(None, ("rt2data", plain, xxhash.xxh3_64_hexdigest(str(out).encode())[:8])))
