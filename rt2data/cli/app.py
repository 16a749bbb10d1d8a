"""The command line. Nothing heavy is imported here: each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rt2data.cli.commands import App, Quiet
from rt2data.cli.paths import accept_uris
from rt2data.cli.running import run
from rt2data.io.installation import VERSION

ENVIRONMENT = """\b
Precedence: an option of the command line, then the recipe, then the environment, then the default.

\b
Environment:
  RT2DATA_STORE      folder of prepared stores
  XDG_CACHE_HOME     without RT2DATA_STORE they lie in rt2data/store below it; its default is ~/.cache
  RT2DATA_...        any other may stand in a recipe's paths as ${RT2DATA_...}, and HOME as ${HOME}
  RT2DATA_DIRECT_IO  0 writes shards through the page cache
  TMPDIR             where stats and report keep what they need while they run
  COLUMNS, NO_COLOR  width of tables; no colours

\b
Exit codes: 0 done, 1 a bug or too little memory, 2 wrong usage or recipe, 3 data that cannot be trusted, 4 too many rejects,
5 the output cannot be written, 6 another build holds the output, 7 a source changed, 130 and 143 interrupted.
"""

app = App(
    name="rt2data",
    help="Co-training mixtures for vision-language-action models: robot logs and web VQA in, exactly mixed shards out.",
    epilog=ENVIRONMENT,
    pretty_exceptions_enable=False,
)
store_app = App(help="The prepared stores: each source is read once and kept for every later build.")
app.add_typer(store_app, name="store")


class PoolChoice(StrEnum):
    """Who does the work."""

    processes = "processes"
    threads = "threads"


Force = Annotated[bool, typer.Option("--force", help="Replace a file that rt2data did not write.")]
Json = Annotated[bool, typer.Option("--json", help="Print data for programs on stdout.")]
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


@app.verb(epilog="Example: rt2data init && $EDITOR mixture.yaml")
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("mixture.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write a commented recipe to start from."""
    from rt2data.cli.init import init as write

    write(path, force, json)


class RunnerChoice(StrEnum):
    """Where the build is to run."""

    local = "local"
    dataflow = "dataflow"


@app.verb(epilog="Example: rt2data plan --robot-frac 2/3 --canary 1%")
def plan(
    recipe: RecipePath = Path("mixture.yaml"),
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    seed: Seed = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Prepare what is not prepared yet: then all figures are exact.")
    ] = False,
    canary: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Try a part, 1% or 64MB, for real, and tell how long the whole takes.")
    ] = None,
    runner: Annotated[RunnerChoice, typer.Option(help="Tell the cost of a job on Dataflow, too.")] = RunnerChoice.local,
    machine: Annotated[str, typer.Option(help="Dataflow's machine type.")] = "n2-standard-4",
    region: Annotated[str, typer.Option(help="Dataflow's region.")] = "us-central1",
    prices: Annotated[Path | None, typer.Option(help="A table of prices of your own, like schemas/prices/dataflow.toml.")] = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    allow_bad: AllowBad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a build would write and cost, without writing it: draws, epochs, bytes, shards, time."""
    from rt2data.cli.plan import Foresee
    from rt2data.cli.plan import plan as show

    wanted = Foresee(prepare, canary, runner is RunnerChoice.dataflow, machine, region, prices)
    show(_asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet), wanted, allow_bad)


@app.verb(epilog="Example: rt2data build-mixture --robot-frac 0.5")
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
    restart: Annotated[
        bool, typer.Option(help="Discard an unfinished build; with --overwrite also build a finished one again.")
    ] = False,
    allow_bad: AllowBad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the mixture. Run the same command again to resume an interrupted build."""
    from rt2data.cli.build import build_mixture as build

    build(_asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet), out, overwrite, restart, allow_bad)


class SkinChoice(StrEnum):
    """Whose layout."""

    plain = "plain"
    bridge = "bridge"
    libero = "libero"


@app.verb(epilog="Example: rt2data write-rlds -o rlds --skin bridge --name tabletop=bridge_dataset")
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


@app.verb(epilog="Example: rt2data verify mixture")
def verify(
    out: Annotated[Path, typer.Argument(help="A finished mixture.")] = Path("mixture"),
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Re-check everything: hashes, counts, order, schema, fractions, tokens. Exits with 3 for any fault."""
    from rt2data.rlds.verify import is_rlds

    if is_rlds(out):
        from rt2data.cli.rlds import verify_rlds

        raise typer.Exit(verify_rlds(out, workers, pool.value, json))
    from rt2data.cli.verify import verify as check

    raise typer.Exit(check(out, workers, pool.value, json, quiet))


@app.verb(epilog="Example: rt2data inspect mixture --png sheet.png")
def inspect(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a mixture or a recipe.")],
    png: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this file.")] = None,
    tiles: Annotated[int, typer.Option(min=1, max=400, help="Images on the contact sheet.")] = 12,
    suggest: Annotated[bool, typer.Option(help="Print the fragment of a recipe that would read it.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show what is at a path: splits, features, cameras, shares, tokens, rejects."""
    from rt2data.cli.inspect import inspect as show

    show(path, png, tiles, suggest, json, force)


@app.verb(epilog="Example: rt2data view mixture --at 1000")
def view(
    path: Annotated[Path, typer.Argument(help="A mixture, a prepared store or a raw source.")],
    at: Annotated[int, typer.Option(min=0, help="The first example to show, counted from 0.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="Print so many and end, also on a terminal.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the images of what is printed into this folder.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show them in a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 takes one that is free.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Let --save replace other files.")] = False,
    json: Json = False,
) -> None:
    """Show examples one by one: image, prompt, target, action, tokens. Interactive on a terminal."""
    from rt2data.cli.view import view as show

    show(path, at, count, save, port if serve else None, json, force)


@app.verb(epilog="Example: rt2data diff mixture m2 --exit-code")
def diff(
    before: Annotated[Path, typer.Argument(help="A recipe, a prepared store or a mixture.")],
    after: Annotated[Path, typer.Argument(help="Another; a recipe goes with a mixture too.")],
    quick: Annotated[bool, typer.Option("--quick", help="Compare what is written about them; read no rows and no shards.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 3 where they differ.")] = False,
    json: Json = False,
) -> None:
    """Show what changed between two: settings, rows, statistics, shares, examples, bytes."""
    from rt2data.cli.diff import diff as show

    raise typer.Exit(show(before, after, quick, exit_code, json))


StoreRoot = Annotated[
    Path | None, typer.Option("--store", help="Folder of prepared stores. Default: the recipe's, $RT2DATA_STORE, or the cache.")
]
StoreRecipe = Annotated[
    Path | None, typer.Option("--recipe", help="The recipe whose store is meant. Default: mixture.yaml, if there is one here.")
]


class ShapeChoice(StrEnum):
    """Whose statistics."""

    openvla = "openvla"
    octo = "octo"
    openpi = "openpi"
    lerobot = "lerobot"


@app.verb(epilog="Example: rt2data stats mixture")
def stats(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a recipe or a mixture.")] = Path("mixture.yaml"),
    split: Annotated[str | None, typer.Option(help="Only this split. Default: all.")] = None,
    codec: Annotated[str | None, typer.Option(help="Codec for actions. Default: the recipe's, or rt2.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe that says how the rows of a store become tokens.")] = None,
    shape: Annotated[
        ShapeChoice | None,
        typer.Option("--as", help="Print statistics as this trainer reads them: of split train, unless --split says another."),
    ] = None,
    store: StoreRoot = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print statistics of actions, episodes, text, images, tokens and shares, with warnings first."""
    from rt2data.cli.stats import Asked
    from rt2data.cli.stats import stats as show
    from rt2data.look.stats.find import Question

    question = Question(path, split, codec, recipe, store)
    show(Asked(question, shape.value if shape else None, workers, pool.value, json, quiet))


@app.verb(epilog="Example: rt2data report mixture -o report.html")
def report(
    paths: Annotated[list[Path], typer.Argument(help="Sources, prepared stores, recipes or mixtures: one page for all.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="Write a summary into this file, to paste in a pull request.")] = None,
    tiles: Annotated[int, typer.Option(min=0, max=400, help="Images of each camera.")] = 12,
    split: Annotated[str | None, typer.Option(help="Only this split. Default: all.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe that says how the rows of a store become tokens.")] = None,
    store: StoreRoot = None,
    force: Force = False,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one offline HTML page: warnings, mixture, actions, episodes, text, tokens, images, cost."""
    from rt2data.cli.report import Wanted
    from rt2data.cli.report import report as write
    from rt2data.look.stats.find import Question

    questions = [Question(path, split, None, recipe, store) for path in paths]
    write(questions, Wanted(out, markdown, tiles, workers, pool.value, json, quiet, force))


@store_app.verb("list", epilog="Example: rt2data store list")
def store_list(store: StoreRoot = None, recipe: StoreRecipe = None, json: Json = False) -> None:
    """List the prepared stores, with their size and whether a build can still use them."""
    from rt2data.cli.store import Place, list_stores

    list_stores(Place(store, recipe), json)


@store_app.verb("prune", epilog="Example: rt2data store prune --older 30 --yes")
def store_prune(
    names: Annotated[
        list[str] | None, typer.Argument(help="Stores to remove; by default those that no build will use again.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all.")] = False,
    older: Annotated[float | None, typer.Option(min=0, help="Remove those not used for so many days.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
    store: StoreRoot = None,
    recipe: StoreRecipe = None,
    json: Json = False,
) -> None:
    """Remove prepared stores; without --yes only say which."""
    from rt2data.cli.store import Place, prune

    prune(Place(store, recipe), names or (), everything, older, yes, json)


@store_app.verb("rejects", epilog="Example: rt2data store rejects bridge")
def store_rejects(
    name: Annotated[str, typer.Argument(help="A source's name, or the path of a store.")],
    store: StoreRoot = None,
    recipe: StoreRecipe = None,
    json: Json = False,
) -> None:
    """Show what was dropped from a prepared source: reason, place, detail."""
    from rt2data.cli.store import Place, rejects

    rejects(Place(store, recipe), name, json)


@app.verb(epilog="Example: rt2data demo demo && cd demo && rt2data build-mixture --robot-frac 0.5")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    episodes: Annotated[int, typer.Option(min=2, help="Robot episodes.")] = 24,
    scenes: Annotated[int, typer.Option(min=1, help="Images with questions.")] = 150,
    seed: Annotated[int, typer.Option(help="Another seed, other scenes.")] = 0,
    workers: Workers = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a small robot log (RLDS) and a VQA corpus (VQAv2 layout) with a recipe that mixes them. Works offline."""
    from rt2data.cli.demo import demo as make

    make(folder, episodes, scenes, seed, force, workers, json, quiet)


@app.verb(epilog="Example: rt2data schema example > example.schema.json")
def schema(
    name: Annotated[
        str, typer.Argument(help="example, manifest, plan, recipe, stats; or an action space such as widowx_bridge.")
    ] = "example",
    json: Json = False,
) -> None:
    """Print a schema, which is JSON, or an action space, which is TOML."""
    from rt2data.cli.schema import schema as show

    show(name, json)


def _version(asked: bool) -> None:
    if asked:
        print(f"rt2data {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of all commands."""


accept_uris(app)


def main() -> None:
    """Run a command; its failure becomes one line and an exit code."""
    run(app)
