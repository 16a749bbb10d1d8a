"""The command line. Nothing heavy is imported here: each command imports what it needs when it is called."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from rt2data import __version__
from rt2data.errors import OutputError, RtError

app = typer.Typer(
    name="rt2data",
    help="Co-training mixtures for vision-language-action models: robot logs and web VQA in, exactly mixed shards out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
store_app = typer.Typer(help="The prepared stores: each source read once, kept for every later build.", no_args_is_help=True)
app.add_typer(store_app, name="store")


class PoolChoice(StrEnum):
    """Who does the work."""

    processes = "processes"
    threads = "threads"


Json = Annotated[bool, typer.Option("--json", help="Print data for programs on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RecipePath = Annotated[Path, typer.Argument(help="The recipe.")]
RobotFrac = Annotated[str | None, typer.Option("--robot-frac", help="Share of examples that are robot steps: 0.5, 2/3 or 50%.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe: --set size.num_examples=1000."),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Workers; 0 works in this process. Default: one for each core.")]
Pool = Annotated[PoolChoice, typer.Option(help="Worker processes or threads.")]
AllowBad = Annotated[bool, typer.Option(help="Build even where more rows are faulty than max_bad allows.")]
Seed = Annotated[int | None, typer.Option(help="Same as --set seed=...")]


def _asked(
    recipe: Path,
    robot_frac: str | None,
    overrides: list[str] | None,
    seed: int | None,
    workers: int | None,
    pool: PoolChoice,
    as_json: bool,
    quiet: bool,
) -> Any:
    from rt2data.cli.build import Asked

    seeded = [f"seed={seed}"] if seed is not None else []
    return Asked(recipe, robot_frac, (*(overrides or []), *seeded), workers, pool.value, as_json, quiet)


@app.command(epilog="Example: rt2data init && $EDITOR mixture.yaml")
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("mixture.yaml"),
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    from rt2data.cli.init import init as write

    write(path, force)


@app.command(epilog="Example: rt2data plan --robot-frac 2/3")
def plan(
    recipe: RecipePath = Path("mixture.yaml"),
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    seed: Seed = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    allow_bad: AllowBad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a build would write: draws, epochs, bytes, shards. Prepares sources not yet prepared; writes no shard."""
    from rt2data.cli.build import plan as show

    show(_asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet), allow_bad)


@app.command(epilog="Example: rt2data build-mixture --robot-frac 0.5")
def build_mixture(
    recipe: RecipePath = Path("mixture.yaml"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder. Default: the recipe's name without its ending.")
    ] = None,
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    seed: Seed = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    overwrite: Annotated[bool, typer.Option(help="Replace another complete mixture at the output.")] = False,
    restart: Annotated[bool, typer.Option(help="Throw away an unfinished build at the output.")] = False,
    allow_bad: AllowBad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the mixture. Interrupted, the same command goes on where it stopped."""
    from rt2data.cli.build import build_mixture as build

    build(_asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet), out, overwrite, restart, allow_bad)


class SkinChoice(StrEnum):
    """Whose layout."""

    plain = "plain"
    bridge = "bridge"
    libero = "libero"


@app.command(epilog="Example: rt2data write-rlds -o rlds --skin bridge --name tabletop=bridge_dataset")
def write_rlds(
    recipe: RecipePath = Path("mixture.yaml"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output folder. Default: the recipe's name with -rlds.")] = None,
    skin: Annotated[
        SkinChoice, typer.Option(help="Layout of the steps: ours, or one that OpenVLA's and Octo's loaders know.")
    ] = SkinChoice.plain,
    tokens: Annotated[bool, typer.Option("--tokens", help="Write prompts, targets and token ids with each step.")] = False,
    cameras: Annotated[list[str] | None, typer.Option("--camera", metavar="[FEATURE=]CAMERA", help="Cameras to write.")] = None,
    names: Annotated[list[str] | None, typer.Option("--name", metavar="SOURCE=DATASET", help="Name of a source's dataset.")] = None,
    dataset_version: Annotated[str, typer.Option(help="Version of the datasets.")] = "1.0.0",
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    overwrite: Annotated[bool, typer.Option(help="Replace other complete datasets at the output.")] = False,
    restart: Annotated[bool, typer.Option(help="Throw away unfinished ones at the output.")] = False,
    allow_bad: AllowBad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the recipe's sources as RLDS: TFDS directories with steps in episodes, for tensorflow-datasets, OpenVLA and Octo."""
    from rt2data.cli.rlds import write_rlds as write

    asked = _asked(recipe, robot_frac, overrides, None, workers, pool, json, quiet)
    write(asked, out, skin.value, tokens, cameras or (), names or (), dataset_version, overwrite, restart, allow_bad)


@app.command(epilog="Example: rt2data verify mixture")
def verify(
    out: Annotated[Path, typer.Argument(help="A finished mixture.")] = Path("mixture"),
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check everything again: hashes, counts, order, schema, fractions, tokens. Names every fault; exit code 3 for any."""
    from rt2data.rlds.verify import is_rlds

    if is_rlds(out):
        from rt2data.cli.rlds import verify_rlds

        raise typer.Exit(verify_rlds(out, workers, pool.value, json))
    from rt2data.cli.verify import verify as check

    raise typer.Exit(check(out, workers, pool.value, json, quiet))


@app.command(epilog="Example: rt2data inspect mixture --png sheet.png")
def inspect(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a mixture or a recipe.")],
    png: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this file.")] = None,
    tiles: Annotated[int, typer.Option(min=1, max=400, help="Pictures on the contact sheet.")] = 12,
    suggest: Annotated[bool, typer.Option(help="Print the fragment of a recipe that would read it.")] = False,
    json: Json = False,
) -> None:
    """Say what is there: splits, features, cameras, shares, tokens, rejects."""
    from rt2data.cli.inspect import inspect as show

    show(path, png, tiles, suggest, json)


StoreRoot = Annotated[Path | None, typer.Option("--store", help="Folder of prepared stores. Default: $RT2DATA_STORE or the cache.")]


class ShapeChoice(StrEnum):
    """Whose statistics."""

    openvla = "openvla"
    octo = "octo"
    openpi = "openpi"
    lerobot = "lerobot"


@app.command(epilog="Example: rt2data stats mixture")
def stats(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a recipe or a mixture.")] = Path("mixture.yaml"),
    split: Annotated[str | None, typer.Option(help="Only this split. Default: all.")] = None,
    codec: Annotated[str | None, typer.Option(help="Codec for actions. Default: the recipe's, or rt2.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe that says how the rows of a store become tokens.")] = None,
    shape: Annotated[ShapeChoice | None, typer.Option("--as", help="Print statistics as this trainer reads them.")] = None,
    store: StoreRoot = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what it looks like in numbers: actions, episodes, text, pictures, tokens, shares; and what to look at before paying."""
    from rt2data.cli.stats import Asked
    from rt2data.cli.stats import stats as show

    show(Asked(path, split, codec, recipe, store, shape.value if shape else None, workers, pool.value, json, quiet))


@store_app.command("list", epilog="Example: rt2data store list")
def store_list(store: StoreRoot = None, json: Json = False) -> None:
    """List the prepared stores, with their size and whether a build can still use them."""
    from rt2data.cli.store import list_stores

    list_stores(store, json)


@store_app.command("prune", epilog="Example: rt2data store prune --older 30 --yes")
def store_prune(
    names: Annotated[list[str] | None, typer.Argument(help="Stores to remove; by default those no build will use again.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all.")] = False,
    older: Annotated[float | None, typer.Option(min=0, help="Remove those not used for so many days.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
    store: StoreRoot = None,
    json: Json = False,
) -> None:
    """Remove prepared stores; without --yes only say which."""
    from rt2data.cli.store import prune

    prune(store, names or (), everything, older, yes, json)


@store_app.command("rejects", epilog="Example: rt2data store rejects bridge")
def store_rejects(
    name: Annotated[str, typer.Argument(help="A source's name, or the path of a store.")],
    store: StoreRoot = None,
    json: Json = False,
) -> None:
    """Show what was left out of a prepared source: reason, place, detail."""
    from rt2data.cli.store import rejects

    rejects(store, name, json)


@app.command(epilog="Example: rt2data demo demo && cd demo && rt2data build-mixture --robot-frac 0.5")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    episodes: Annotated[int, typer.Option(min=2, help="Robot episodes.")] = 24,
    scenes: Annotated[int, typer.Option(min=1, help="Pictures with questions.")] = 150,
    seed: Annotated[int, typer.Option(help="Another seed, other scenes.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace an earlier demo.")] = False,
) -> None:
    """Make a small robot log (RLDS) and a VQA corpus (VQAv2 layout) with a recipe that mixes them. Works offline."""
    from rt2data.cli.demo import demo as make

    make(folder, episodes, scenes, seed, force)


@app.command(epilog="Example: rt2data schema example > example.schema.json")
def schema(
    name: Annotated[str, typer.Argument(help="example, manifest, recipe; or an action space such as widowx_bridge.")] = "example",
) -> None:
    """Print a schema or an action space this version ships."""
    from rt2data.cli.schema import schema as show

    show(name)


def _version(asked: bool) -> None:
    if asked:
        print(f"rt2data {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of all commands."""


OPEN_FILES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """SIGINT or SIGTERM, as an exception, so that everything is let go in order."""


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """The first signal stops in order, the next one at once: workers end with this process."""
    for number in SIGNALS:
        signal.signal(number, _end)
    raise Stopped(128 + signum)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + signum)


def _open_streams() -> None:
    """Nothing else may take the number of a standard stream that was closed: a library's warning would end up in a shard."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _allow_open_files() -> None:
    """As many as the system lets us have: each worker keeps some hundred files of each source open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Run a command; its failure becomes one line and an exit code."""
    _open_streams()
    _allow_open_files()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # a shell's background job is to ignore Ctrl-C
            signal.signal(number, _stop)
    code = _run()
    code = _flush() or code
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(code)  # an interrupted run may have left threads that wait for work
    sys.exit(code)


def _run() -> int:
    try:
        return app(standalone_mode=False) or 0  # a command gives nothing, or has left with an exit code
    except RtError as error:
        return _failed(error)
    except SystemExit as stop:
        unheard = isinstance(stop.__context__, BrokenPipeError)  # of which typer makes an exit
        return 0 if unheard else int(stop.code or 0)
    except Exception as error:
        return _other(error)


def _failed(error: RtError) -> int:
    """Say what failed, if anybody listens."""
    from rt2data.cli.console import report_failure

    with suppress(OSError):
        report_failure(error, "--json" in sys.argv)
    return error.code


def _flush() -> int:
    """Say what is still to be said. Whoever reads may have gone, as `head` does."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 0 if isinstance(error, BrokenPipeError) else _other(error)
    return 0


def _other(error: Exception) -> int:
    """Wrong usage is the command line library's to tell; anything else but a full disk is a bug, told with its trace."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _failed(OutputError(f"cannot write: {error.strerror}", str(error.filename or "standard output"), "free some space"))
    raise error
