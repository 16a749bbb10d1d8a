"""The command line. Nothing heavy is imported here: each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from rt2data.cli.commands import WRITTEN, App, Quiet, accept_uris
from rt2data.cli.running import run
from rt2data.io.installation import VERSION

ENVIRONMENT = """\b
Precedence: command-line option, recipe, environment, default.

\b
Environment:
  RT2DATA_STORE      folder of prepared stores
  XDG_CACHE_HOME     without RT2DATA_STORE, stores are in rt2data/store below it; default ~/.cache
  RT2DATA_...        usable in a recipe's paths as ${RT2DATA_...}, like ${HOME}
  RT2DATA_DIRECT_IO  0 writes shards through the page cache
  TMPDIR             temporary files of stats and report
  COLUMNS, NO_COLOR  width of tables; no colors
  PAGER              pager of `rt2data view`; default less

\b
Exit codes: 0 done, 1 a bug or not enough memory, 2 wrong usage or recipe, 3 corrupt or unusable data, 4 too many rejects,
5 the output cannot be written, 6 another build holds the output, 7 a source changed, 130 and 143 interrupted.
"""

app = App(
    name="rt2data",
    help="Build co-training mixtures for vision-language-action models from robot logs and web corpora, with exact weights.",
    epilog=ENVIRONMENT,
    pretty_exceptions_enable=False,
)
store_app = App(help="Prepared stores: each source is read once and reused by every later build.")
app.add_typer(store_app, name="store")


class PoolChoice(StrEnum):
    """What the workers are."""

    processes = "processes"
    threads = "threads"


Force = Annotated[bool, typer.Option("--force", help="Replace a file that rt2data did not write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
RecipePath = Annotated[Path, typer.Argument(help="Recipe file.")]
RobotFrac = Annotated[str | None, typer.Option("--robot-frac", help="Fraction of examples that are robot steps: 0.5, 2/3 or 50%.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe: --set size.num_examples=1000."),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Number of workers; 0 runs in this process. Default: one per core.")]
Pool = Annotated[PoolChoice, typer.Option(help="Worker processes or threads.")]
AllowBad = Annotated[bool, typer.Option(help="Build even if more rows are faulty than max_bad allows.")]
AllowLicense = Annotated[
    list[str] | None,
    typer.Option("--allow-license", metavar="SPDX", help="Refuse sources with any other license, or with none. Repeatable."),
]
Seed = Annotated[int | None, typer.Option(help="Same as --set seed=SEED.")]
Runner = Annotated[
    str | None,
    typer.Option(
        metavar="RUNNER",
        help="Run on dataflow, flink, spark, portable, or any other Beam runner. Options after -- are passed to Beam. "
        "Default: local, on this machine, with --workers.",
    ),
]
BeamOptions = Annotated[list[str] | None, typer.Option("--beam-option", hidden=True, help="The same as an option after --.")]


def _asked(
    recipe: Path,
    robot_frac: str | None,
    overrides: list[str] | None,
    seed: int | None,
    workers: int | None,
    pool: PoolChoice,
    as_json: bool,
    quiet: bool,
    licenses: list[str] | None = None,
) -> Any:
    from rt2data.cli.build import BuildOptions

    said = [f"seed={seed}"] if seed is not None else []
    said += [f"allow_licenses={dumps(licenses)}"] if licenses else []
    return BuildOptions(recipe, robot_frac, (*(overrides or []), *said), workers, pool.value, as_json, quiet)


def _pool_asked(workers: int | None, pool: PoolChoice) -> bool:
    return workers is not None or pool is not PoolChoice.processes


@app.verb(epilog="Example: rt2data init path/to/log path/to/corpus -o mixture.yaml")
def init(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Robot logs and corpora. A single path that ends in .yaml is the file to write.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the recipe. Default: mixture.yaml."), WRITTEN
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a recipe for the given data and plan it, or write a commented template."""
    from rt2data.cli.init import init as write
    from rt2data.cli.init import init_from

    data = paths or []
    if len(data) == 1 and out is None and data[0].suffix in (".yaml", ".yml"):
        data, out = [], data[0]
    where = out or Path("mixture.yaml")
    if not data:
        write(where, force, json)
        return
    init_from(data, where, force, json)
    if not json:
        plan(where, quiet=quiet)


@app.verb(epilog="Example: rt2data init-space path/to/log -o my_robot.toml")
def init_space(
    path: Annotated[Path, typer.Argument(help="A robot log.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the action space."), WRITTEN] = Path("my_robot.toml"),
    name: Annotated[str | None, typer.Option(help="Name of the action space. Default: the file name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write an action space (TOML) for a robot log: its dimensions by name, with what the data shows about each."""
    from rt2data.cli.init import new_space

    new_space(path, out, name, force, json)


class RunnerChoice(StrEnum):
    """Where the build runs."""

    local = "local"
    dataflow = "dataflow"


@app.verb(epilog="Example: rt2data plan --robot-frac 2/3 --canary 1%")
def plan(
    recipe: RecipePath = Path("mixture.yaml"),
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    seed: Seed = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="First prepare sources that are not prepared yet, so that all figures are exact.")
    ] = False,
    canary: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Build a sample, such as 1% or 64MB, and predict the time of the full build."),
    ] = None,
    runner: Annotated[RunnerChoice, typer.Option(help="Where the build will run; dataflow adds its cost.")] = RunnerChoice.local,
    machine: Annotated[str, typer.Option(help="Dataflow machine type.")] = "n2-standard-4",
    region: Annotated[str, typer.Option(help="Dataflow region.")] = "us-central1",
    prices: Annotated[Path | None, typer.Option(help="A price table of your own, like schemas/prices/dataflow.toml.")] = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    allow_bad: AllowBad = False,
    allow_license: AllowLicense = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a build would write and cost, without building: draws, epochs, bytes, shards, time."""
    from rt2data.cli.plan import ForecastOptions
    from rt2data.cli.plan import plan as show

    wanted = ForecastOptions(prepare, canary, runner is RunnerChoice.dataflow, machine, region, prices)
    show(_asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet, allow_license), wanted, allow_bad)


class EngineChoice(StrEnum):
    """Clusters that are not Beam's."""

    ray = "ray"
    spark = "spark"


@app.verb(beam=True, epilog="Example: rt2data build-mixture --robot-frac 0.5")
def build_mixture(
    recipe: RecipePath = Path("mixture.yaml"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder. Default: the recipe's name without its suffix."), WRITTEN
    ] = None,
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    seed: Seed = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    engine: Annotated[EngineChoice | None, typer.Option(help="Build on a Ray or Spark cluster. Default: this machine.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a different complete mixture in the output folder.")] = False,
    restart: Annotated[
        bool, typer.Option(help="Discard an unfinished build; with --overwrite also rebuild a finished one.")
    ] = False,
    allow_bad: AllowBad = False,
    allow_license: AllowLicense = None,
    runner: Runner = None,
    beam_options: BeamOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the mixture. Run the same command again to resume an interrupted build.

    On Dataflow: rt2data build-mixture -o gs://BUCKET/mixture --runner dataflow -- --project=PROJECT --region=REGION
    --temp_location=gs://BUCKET/tmp --sdk_container_image=IMAGE. Options after -- are passed to Beam.
    """
    from rt2data.cli.build import build_mixture as build
    from rt2data.cli.runners import elsewhere, require_alone

    asked = _asked(recipe, robot_frac, overrides, seed, workers, pool, json, quiet, allow_license)
    if engine:
        require_alone(engine.value, runner, _pool_asked(workers, pool))
    beams = elsewhere(runner, beam_options or (), _pool_asked(workers, pool))
    build(asked, out, overwrite, restart, allow_bad, beams, engine.value if engine else None)


class LayoutChoice(StrEnum):
    """Layouts of RLDS datasets."""

    plain = "plain"
    bridge = "bridge"
    libero = "libero"


@app.verb(epilog="Example: rt2data write-rlds -o rlds --layout bridge --name tabletop=bridge_dataset")
def write_rlds(
    recipe: RecipePath = Path("mixture.yaml"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder. Default: the recipe's name with -rlds."), WRITTEN
    ] = None,
    layout: Annotated[
        LayoutChoice, typer.Option(help="Layout of the steps: plain, or one that OpenVLA and Octo recognize.")
    ] = LayoutChoice.plain,
    tokens: Annotated[bool, typer.Option("--tokens", help="Add prompts, targets and token ids to each step.")] = False,
    cameras: Annotated[
        list[str] | None,
        typer.Option("--camera", metavar="[FEATURE=]CAMERA", help="Cameras to write. Default: the source's `cameras`, or all."),
    ] = None,
    names: Annotated[list[str] | None, typer.Option("--name", metavar="SOURCE=DATASET", help="Name of a source's dataset.")] = None,
    dataset_version: Annotated[str, typer.Option(help="Version of the datasets.")] = "1.0.0",
    robot_frac: RobotFrac = None,
    overrides: Overrides = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    overwrite: Annotated[bool, typer.Option(help="Replace different complete datasets in the output folder.")] = False,
    restart: Annotated[bool, typer.Option(help="Discard unfinished datasets in the output folder.")] = False,
    allow_bad: AllowBad = False,
    allow_license: AllowLicense = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the recipe's sources as RLDS: TFDS datasets of episodes, for tensorflow-datasets, OpenVLA and Octo."""
    from rt2data.cli.rlds import write_rlds as write

    asked = _asked(recipe, robot_frac, overrides, None, workers, pool, json, quiet, allow_license)
    write(asked, out, layout.value, tokens, cameras or (), names or (), dataset_version, overwrite, restart, allow_bad)


@app.verb(epilog="Example: rt2data verify mixture")
def verify(
    out: Annotated[Path, typer.Argument(help="A finished mixture.")] = Path("mixture"),
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a finished mixture: hashes, counts, order, schema, fractions, tokens. Exits with 3 if anything is wrong."""
    from rt2data.look.verify.episodes import is_rlds

    if is_rlds(out):
        from rt2data.cli.rlds import verify_rlds

        raise typer.Exit(verify_rlds(out, workers, pool.value, json))
    from rt2data.cli.verify import verify as check

    raise typer.Exit(check(out, workers, pool.value, json, quiet))


@app.verb(epilog="Example: rt2data check path/to/log --action-space widowx_bridge")
def check(
    path: Annotated[Path, typer.Argument(help="A raw robot log, or a recipe.")],
    source: Annotated[str | None, typer.Option(help="Check only this source of the recipe. Default: all robot sources.")] = None,
    action_space: Annotated[
        str | None, typer.Option(help="What the numbers mean. Default: the recipe's, or the one that fits the log.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=0, help="Read at most this many episodes, spread by seed; 0 reads all.")] = 1000,
    json: Json = False,
) -> None:
    """Check a raw robot log: units, signs, lags, gripper, cameras, words. Exits with 3 if a check fails."""
    from rt2data.cli.check import check as judge

    raise typer.Exit(judge(path, source, action_space, episodes, json))


@app.verb(epilog="Example: rt2data overlaps mixture.yaml --near 4")
def overlaps(
    recipe: RecipePath = Path("mixture.yaml"),
    near: Annotated[
        int | None,
        typer.Option(metavar="BITS", help="Also find near-duplicate images, whose hashes differ in at most BITS of 64. Try 4."),
    ] = None,
    pixels: Annotated[bool, typer.Option("--pixels", help="Also find images with the same pixels but different bytes.")] = False,
    overrides: Overrides = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find images and episodes that several sources share. Exits with 3 if training data is also held out."""
    from rt2data.cli.overlaps import OverlapOptions
    from rt2data.cli.overlaps import overlaps as find

    asked = _asked(recipe, None, overrides, None, workers, pool, json, quiet)
    raise typer.Exit(find(asked, OverlapOptions(near, pixels)))


@app.verb(epilog="Example: rt2data inspect mixture --png sheet.png")
def inspect(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a mixture or a recipe.")],
    png: Annotated[Path | None, typer.Option(help="Write a contact sheet to this file."), WRITTEN] = None,
    tiles: Annotated[int, typer.Option(min=1, max=400, help="Images on the contact sheet.")] = 12,
    suggest: Annotated[bool, typer.Option(help="Print the recipe section that reads it.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show what a path holds: splits, features, cameras, shares, tokens, rejects."""
    from rt2data.cli.inspect import inspect as show

    show(path, png, tiles, suggest, json, force)


@app.verb(epilog="Example: rt2data view mixture --at 1000")
def view(
    path: Annotated[Path, typer.Argument(help="A mixture, a prepared store or a raw source.")],
    at: Annotated[int, typer.Option(min=0, help="The first example to show, counted from 0.")] = 0,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Print at most this many, without a pager.")] = None,
    source: Annotated[str, typer.Option(help="Show only examples of this source.")] = "",
    search: Annotated[str, typer.Option(help="Show only examples with this text in the prompt, target, answers or key.")] = "",
    save: Annotated[Path | None, typer.Option(help="Write the images of the printed examples into this folder."), WRITTEN] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show them in a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 takes a free one.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Let --save replace other files.")] = False,
    json: Json = False,
) -> None:
    """Show examples: image, prompt, target, action, tokens. Uses $PAGER on a terminal."""
    from rt2data.cli.view import view as show
    from rt2data.look.view.select import Filter

    show(path, at, count, save, port if serve else None, json, force, Filter(source, text=search))


@app.verb(epilog="Example: rt2data diff mixture m2 --exit-code")
def diff(
    before: Annotated[Path, typer.Argument(help="A recipe, a prepared store or a mixture.")],
    after: Annotated[Path, typer.Argument(help="Another of the same kind; a recipe and a mixture can also be compared.")],
    quick: Annotated[bool, typer.Option("--quick", help="Compare metadata only; read no rows and no shards.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 3 if they differ.")] = False,
    json: Json = False,
) -> None:
    """Show what differs between two recipes, stores or mixtures: settings, rows, statistics, shares, examples, bytes."""
    from rt2data.cli.diff import diff as show

    raise typer.Exit(show(before, after, quick, exit_code, json))


StoreRoot = Annotated[
    Path | None, typer.Option("--store", help="Folder of prepared stores. Default: the recipe's, $RT2DATA_STORE, or the cache.")
]
StoreRecipe = Annotated[
    Path | None, typer.Option("--recipe", help="Recipe that names the folder of stores. Default: mixture.yaml, if it exists.")
]


Split = Annotated[str | None, typer.Option(help="Use only this split. Default: all.")]
TokenRecipe = Annotated[Path | None, typer.Option(help="Recipe whose template, codec and tokenizer render the rows of a store.")]


class ShapeChoice(StrEnum):
    """Whose statistics."""

    openvla = "openvla"
    octo = "octo"
    openpi = "openpi"
    lerobot = "lerobot"


@app.verb(beam=True, epilog="Example: rt2data stats mixture")
def stats(
    path: Annotated[Path, typer.Argument(help="A source, a prepared store, a recipe or a mixture.")] = Path("mixture.yaml"),
    split: Split = None,
    codec: Annotated[str | None, typer.Option(help="Action codec. Default: the recipe's, or rt2.")] = None,
    recipe: TokenRecipe = None,
    shape: Annotated[
        ShapeChoice | None,
        typer.Option("--as", help="Print statistics in the format of this trainer; for the train split unless --split is given."),
    ] = None,
    store: StoreRoot = None,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    runner: Runner = None,
    beam_options: BeamOptions = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="With --runner: the JSON file to write, where workers can reach it."),
        WRITTEN,
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print statistics of actions, episodes, text, images, tokens and shares, with warnings first."""
    from rt2data.cli.runners import elsewhere
    from rt2data.cli.stats import Elsewhere, StatsOptions
    from rt2data.cli.stats import stats as show
    from rt2data.look.stats.subject import Question

    question = Question(path, split, codec, recipe, store)
    beam = Elsewhere.asked(elsewhere(runner, beam_options or (), _pool_asked(workers, pool)), out, force)
    show(StatsOptions(question, shape.value if shape else None, workers, pool.value, json, quiet, beam))


@app.verb(epilog="Example: rt2data report mixture -o report.html")
def report(
    paths: Annotated[list[Path], typer.Argument(help="Sources, prepared stores, recipes or mixtures; all go on one page.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file to write."), WRITTEN] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="Also write a Markdown summary to this file."), WRITTEN] = None,
    tiles: Annotated[int, typer.Option(min=0, max=400, help="Images per camera.")] = 12,
    split: Split = None,
    recipe: TokenRecipe = None,
    store: StoreRoot = None,
    force: Force = False,
    workers: Workers = None,
    pool: Pool = PoolChoice.processes,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one offline HTML page: warnings, mixture, actions, episodes, text, tokens, images, cost."""
    from rt2data.cli.report import ReportOptions
    from rt2data.cli.report import report as write
    from rt2data.look.stats.subject import Question

    questions = [Question(path, split, None, recipe, store) for path in paths]
    write(questions, ReportOptions(out, markdown, tiles, workers, pool.value, json, quiet, force))


@store_app.verb("list", epilog="Example: rt2data store list")
def store_list(store: StoreRoot = None, recipe: StoreRecipe = None, json: Json = False) -> None:
    """List the prepared stores, with their size and whether a build can still use them."""
    from rt2data.cli.store import StoreRoot, list_stores

    list_stores(StoreRoot(store, recipe), json)


@store_app.verb("prune", epilog="Example: rt2data store prune --older 30 --yes")
def store_prune(
    names: Annotated[
        list[str] | None, typer.Argument(help="Stores to remove. Default: those that no build will use again.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all stores.")] = False,
    older: Annotated[float | None, typer.Option(min=0, help="Remove stores not used for this many days.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without --yes they are only listed.")] = False,
    store: StoreRoot = None,
    recipe: StoreRecipe = None,
    json: Json = False,
) -> None:
    """Remove prepared stores; without --yes only list them."""
    from rt2data.cli.store import StoreRoot, prune

    prune(StoreRoot(store, recipe), names or (), everything, older, yes, json)


@store_app.verb("rejects", epilog="Example: rt2data store rejects bridge")
def store_rejects(
    name: Annotated[str, typer.Argument(help="Name of a source, or path of a store.")],
    store: StoreRoot = None,
    recipe: StoreRecipe = None,
    json: Json = False,
) -> None:
    """Show what was dropped from a prepared source, with reason, place and detail."""
    from rt2data.cli.store import StoreRoot, rejects

    rejects(StoreRoot(store, recipe), name, json)


@store_app.verb("keep-ranges", epilog="Example: rt2data store keep-ranges bridge -o bridge_ranges.json")
def store_keep_ranges(
    name: Annotated[str, typer.Argument(help="Name of a robot source, or path of its store.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write."), WRITTEN],
    store: StoreRoot = None,
    recipe: StoreRecipe = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write which steps of each episode the filters keep, as openpi's keep_ranges, keyed by episode name."""
    from rt2data.cli.store import StoreRoot, keep_ranges

    keep_ranges(StoreRoot(store, recipe), name, out, force, json)


@app.verb(epilog="Example: rt2data demo demo && cd demo && rt2data build-mixture --robot-frac 0.5")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to create."), WRITTEN] = Path("demo"),
    episodes: Annotated[int, typer.Option(min=2, help="Robot episodes.")] = 24,
    scenes: Annotated[int, typer.Option(min=1, help="Images with questions.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    workers: Workers = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Create a small robot log (RLDS) and a VQA corpus (VQAv2 layout), with a recipe that mixes them. Works offline."""
    from rt2data.cli.demo import demo as make

    make(folder, episodes, scenes, seed, force, workers, json, quiet)


@app.verb(epilog="Example: rt2data schema example > example.schema.json")
def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="example, manifest, plan, recipe or stats; an action space such as widowx_bridge; "
            "build_mixture or mixture_stats for the metadata of a Flex template."
        ),
    ] = "example",
    json: Json = False,
) -> None:
    """Print a JSON schema, the TOML of an action space, or the metadata of a Dataflow Flex template."""
    from rt2data.cli.schemagen import schema as show

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
