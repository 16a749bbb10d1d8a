"""`--runner`: a Beam runner, and the options passed on to it. `--engine` does not use Beam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rt2data.cli.console import say_json, talk
from rt2data.errors import UsageError

LOCAL = "local"
RUNNERS = {
    "dataflow": "DataflowRunner",
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "portable": "PortableRunner",
    "prism": "PrismRunner",
    "spark": "SparkRunner",
}
"""Short names, with Beam's names. All other names are passed to Beam."""


def elsewhere(runner: str | None, options: Sequence[str], pool_asked: bool) -> list[str] | None:
    """Beam's options for this runner; None if the work is done on this machine, by our own pool.

    Raises UsageError for contradictory options.
    """
    if runner in (None, LOCAL):
        if options:
            raise UsageError("only a runner of Beam takes options of Beam", " ".join(options), "name it with --runner")
        return None
    if pool_asked:
        raise UsageError("--workers and --pool are for this machine", f"--runner {runner}", "the runner has options like them")
    if any(each.split("=")[0] == "--runner" for each in options):
        raise UsageError("the runner is named twice", f"--runner {runner}", "leave out the one after --")
    return [f"--runner={RUNNERS.get(runner.lower(), runner)}", *options]


def require_alone(engine: str, runner: str | None, pool_asked: bool) -> None:
    """Raises UsageError for options that contradict `--engine`."""
    if runner is not None:
        where = f"--engine {engine}, --runner {runner}"
        raise UsageError("--engine and --runner both say what carries out the work", where, "leave one out")
    if pool_asked:
        raise UsageError(f"--engine {engine} has workers of its own", "--workers, --pool", "leave them out")


def tell_page(page: str) -> None:
    """Print where a job can be watched."""
    if page:
        talk(f"watch it: {page}\nCtrl-C cancels it; the same command goes on with what is done")


def tell_staged(out: Path, as_json: bool) -> None:
    """Print that nothing was built yet, because the options only stage the job."""
    if as_json:
        say_json({"out": str(out), "staged": True})
    else:
        talk(f"staged, as the options ask: {out} is not made yet")
