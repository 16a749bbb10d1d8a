"""The whole program in plain Python: prepare, plan, write, seal, with any engine. Beam runs the same functions; same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rt2data.engines.base import Engine, InTurn, Listener, Reporting, stopping_reported
from rt2data.errors import DataError, LockedError, RtError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.disk import Need, bytes_in, require_space
from rt2data.io.generations import LEASE, current, generation_name, publish_generation, refuse_foreign_objects
from rt2data.io.location import path_of
from rt2data.io.location.folders import discard_folder, make_folder, remove_empty_folder
from rt2data.io.location.whole import output_errors
from rt2data.io.publish import exclusively, is_complete, publish_folder, put_back, refuse_foreign, remove_temporaries
from rt2data.io.stamps import require_unchanged
from rt2data.plan.decide import decide
from rt2data.plan.job import Job, RldsJob, adopt, read_job
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.prepare.begin import begin, ready_store, staging_folder, store_folder
from rt2data.prepare.compact import SPILL, may_compact, wanted_orders
from rt2data.prepare.gather import gather_orders, gather_rows, merge_orders
from rt2data.prepare.runs import write_run
from rt2data.prepare.seal import seal_store
from rt2data.prepare.store import Store
from rt2data.prepare.unit import UnitOrder, prepare_unit
from rt2data.prepare.units import units_folder
from rt2data.read.source import Source
from rt2data.records import Compact
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.manifest import read_manifest
from rt2data.seal.seal import remove_job, seal
from rt2data.write.shard import ShardInfo, ShardOrder, shard_orders, write_shard

if TYPE_CHECKING:
    from rt2data.plan.episodes import RldsOptions

WAIT_S = 1.0
"""How often, in seconds, a build that waits for a store checks whether it is ready."""


@dataclass(frozen=True)
class Site:
    """Where an output is built: its path, and the staging folder next to it that is renamed to this path when complete.

    `restart` discards an unfinished build, and rebuilds a finished one of the same plan.
    """

    out: Path
    overwrite: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError if `out` is not a place that can be written."""
        location.writable(self.out)

    @property
    def remote(self) -> bool:
        """Whether `out` is in an object store, where a build writes a generation of the output: see `io.generations`."""
        return location.is_remote(self.out)

    @property
    def staging(self) -> Path:
        """Where a local output is written until it is complete."""
        return self.out.with_name(f".{self.out.name}.partial")

    def folder(self, fingerprint: str) -> Path:
        """The folder that the output of a plan is written to."""
        return self.out / generation_name(fingerprint) if self.remote else self.staging

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the output while it is built. Raises UsageError, OutputError or LockedError before anything is read."""
        if self.remote:
            refuse_foreign_objects(self.out)
            with exclusively(self.out / LEASE, str(self.out)):
                yield
            return
        with output_errors(self.out):
            refuse_foreign(self.out)
        with exclusively(self.out.with_name(f".{self.out.name}.lock"), str(self.out)):
            put_back(self.out)
            if self.restart or _begun(self.staging) is None:
                discard_folder(self.staging)
            make_folder(self.staging)
            with output_errors(self.staging):
                remove_temporaries(self.staging)
            try:
                with self._changes_named():
                    yield
            finally:
                self._tidy()

    @contextmanager
    def _changes_named(self) -> Iterator[None]:
        """If the sources of an unfinished build have changed, name the files in the error; their old stamps are soon gone."""
        changed = _changed_files(_begun(self.staging))
        try:
            yield
        except SourceChangedError as error:
            if changed and error.where == str(self.staging):
                more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
                raise SourceChangedError(error.what, changed[0] + more, error.do) from None
            raise

    def _tidy(self) -> None:
        """Remove temporary files, and the staging folder if it is empty."""
        with suppress(OSError):
            remove_temporaries(self.staging)
            if not any(location.children(self.staging)):
                remove_empty_folder(self.staging)

    def finished(self, fingerprint: str, output: Output) -> bool:
        """Whether this plan's output exists already. Raises UsageError if a different one is here and may not be replaced."""
        here = current(self.out)
        if not is_complete(here):
            return False
        with suppress(DataError):  # a damaged one counts as a different output
            if output.read(here).plan.fingerprint == fingerprint and not self.restart:
                return True
        if not self.overwrite:
            raise UsageError(
                "another output is here already", str(self.out), "choose another place, or replace it with --overwrite"
            )
        return False

    def brought_back(self, folder: Path, fingerprint: str, output: Output) -> bool:
        """Whether an earlier generation of the output could be made current again. What cannot be resumed is discarded."""
        if not self.remote:
            return False
        complete = is_complete(folder)
        if complete and not self.restart:
            with suppress(DataError):
                if output.read(folder).plan.fingerprint == fingerprint:
                    remove_job(folder)  # left behind if a build is killed after writing the manifest
                    self.publish(folder)
                    return True
        if complete or self.restart:
            discard_folder(folder)
        return False

    def publish(self, folder: Path) -> None:
        """Make a finished folder the output."""
        if self.remote:
            publish_generation(self.out, folder.name)
        else:
            publish_folder(folder, self.out)


def _begun(staging: Path) -> Job | RldsJob | None:
    """The job of an unfinished build that can be resumed: None if it was sealed or cannot be read."""
    try:
        return read_job(staging)
    except (OSError, msgspec.MsgspecError):
        return None


def _changed_files(job: Job | RldsJob | None) -> list[str]:
    """Files of a job's sources that changed since they were prepared, as far as still known."""
    found: list[str] = []
    for folder in job.stores.values() if job else ():
        with suppress(DataError):
            found += Store(path_of(folder)).changed_files()
    return found


@dataclass(frozen=True)
class Preparation:
    """The work for one source: none if its store is ready."""

    name: str
    source: Source
    folder: Path
    units: tuple[UnitOrder, ...]
    compact: Compact = "never"

    @property
    def ready(self) -> bool:
        return not self.units

    @property
    def store(self) -> Store:
        return Store(self.folder)


@dataclass(frozen=True)
class Listing:
    """The work for the sources of a recipe: `known` already, or found on demand with `find`."""

    recipe: Recipe
    root: Path
    known: tuple[Preparation, ...] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the sources needed."""
        return list(needed_sources(self.recipe))

    def compacts(self, *how: Compact) -> bool:
        """Whether any source may be compacted in one of these ways."""
        if self.known is not None:
            return any(each.compact in how for each in self.known)
        return any(may_compact(self.recipe.compact, source) in how for source in needed_sources(self.recipe).values())

    def find(self, name: str) -> Preparation:
        """The work for one source. Nothing is locked: two builds at once would write the same bytes.

        Raises UsageError if the recipe names something that does not exist, DataError if the source cannot be read.
        """
        load_tokenizer(self.recipe.tokenizer.kind, self.recipe.tokenizer.path)
        source = needed_sources(self.recipe)[name]
        for setting, message, nearest in source.invalid_settings():
            where = ".".join(map(str, (source.role, name, *setting)))
            raise UsageError(message, where, f"did you mean {nearest}?" if nearest else "change the recipe")
        with location.one_look():
            folder = store_folder(self.root, name, source, self.recipe.compact)
            ready = ready_store(folder) is not None
        units = () if ready else tuple(begin(name, source, folder))
        return Preparation(name, source, folder, units, may_compact(self.recipe.compact, source))


@dataclass(frozen=True)
class Waiting:
    """A progress event: another build is preparing a source that this one needs."""

    name: str


@contextmanager
def preparations(recipe: Recipe, root: Path, on_wait: Callable[[Waiting], None] = lambda _: None) -> Iterator[list[Preparation]]:
    """The work for each needed source; stores that must be written are locked meanwhile.

    What only the plan needs is checked here too, so that mistakes show before hours of preparing.
    """
    load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    with ExitStack() as stack:
        found = []
        for name, source in needed_sources(recipe).items():
            with location.one_look():
                folder = store_folder(root, name, source, recipe.compact)
                ready = ready_store(folder) is not None
            if not ready:
                _hold(stack, folder, units_folder(root, name, source), name, on_wait)
                ready = ready_store(folder) is not None
            units = () if ready else tuple(begin(name, source, folder))
            found.append(Preparation(name, source, folder, units, may_compact(recipe.compact, source)))
        yield found


def _hold(stack: ExitStack, folder: Path, units: Path, name: str, on_wait: Callable[[Waiting], None]) -> None:
    """Lock a store that must be written, and its units; or wait until the build that holds them has finished the store."""
    wait_s = 0.0
    while ready_store(folder) is None:
        try:
            with ExitStack() as held:
                for each, grows in ((folder, staging_folder(folder)), (units, units)):
                    held.enter_context(exclusively(each.with_name(f".{each.name}.lock"), f"the store of {name}", wait_s))
                    remove_temporaries(grows)
                    held.callback(remove_temporaries, grows)
                stack.push(held.pop_all())
                return
        except LockedError:
            if not wait_s:
                on_wait(Waiting(name))
            wait_s = WAIT_S


def prepare_plainly(todo: Preparation) -> Store:
    """Prepare one source in this process."""
    return prepare_by(InTurn(), [todo])[todo.name]


def prepare_by(engine: Engine, todo: Sequence[Preparation]) -> dict[str, Store]:
    """Prepare the sources that are not ready, side by side; return all stores by name."""
    fresh = [(p, staging_folder(p.folder)) for p in todo if not p.ready]
    units = _by_name(engine.map(prepare_unit, [order for p, _ in fresh for order in p.units]))
    merging = [order for p, staging in fresh for order in merge_orders(p.name, staging, units[p.name], p.compact)]
    runs = _by_name(engine.map(write_run, merging))
    gathering = [order for p, staging in fresh for order in gather_orders(p.name, staging, units[p.name], runs[p.name], p.compact)]
    rows = _by_name(engine.map(gather_rows, gathering))
    compacting = [order for p, _ in fresh for order in wanted_orders(p.compact, p.name, p.source, p.folder, rows[p.name])]
    for kind, work in SPILL:
        blobs = list(engine.map(work, [order for order in compacting if isinstance(order, kind)]))
    of_source = _by_name(blobs)
    for p, _ in fresh:
        in_order = sorted(units[p.name], key=lambda unit: unit.unit)
        seal_store(p.name, p.source, p.folder, in_order, rows[p.name], of_source[p.name])
    return {p.name: p.store for p in todo}


def _by_name(summaries: Iterable[Any]) -> dict[str, list[Any]]:
    """Summaries grouped by source."""
    found = defaultdict[str, list[Any]](list)
    for summary in summaries:
        found[summary.name].append(summary)
    return found


class Decided(NamedTuple):
    """What will be done: the job, roughly how many bytes it writes, and the work orders of all phases."""

    job: Any
    bytes: int
    orders: Callable[[Path], list[Any]]  # takes the folder to write to


@dataclass(frozen=True)
class Output:
    """A kind of output: how to plan, write and seal it. All fields can be pickled."""

    decide: Callable[[Recipe, Mapping[str, Store], bool], Decided]  # the last argument is allow_bad
    phases: tuple[tuple[type, Callable[[Any], Any]], ...]  # order types and their work, in sequence
    seal: Callable[[Path, Any, Sequence[ShardInfo]], Any]  # takes the results of the last phase
    read: Callable[[Path], Any]  # reads the manifest, which has a plan


def _decide_mixture(recipe: Recipe, stores: Mapping[str, Store], allow_bad: bool) -> Decided:
    job = decide(recipe, stores, allow_bad)
    return Decided(job, job.plan.bytes, lambda folder: shard_orders(folder, job))


def _decide_episodes(options: RldsOptions, recipe: Recipe, stores: Mapping[str, Store], allow_bad: bool) -> Decided:
    from rt2data.plan.episodes import decide_episodes
    from rt2data.write.episodes import regroup_orders

    job, index = decide_episodes(recipe, stores, options, allow_bad)
    splits = [(stores[name], split, found) for name, each in index.items() for split, found in each.items()]

    def orders(folder: Path) -> list[Any]:
        regrouping = [order for store, split, found in splits for order in regroup_orders(folder, store, split, found)]
        return [*regrouping, *shard_orders(folder, job)]

    return Decided(job, sum(int(found.sizes.sum()) for *_, found in splits), orders)


MIXTURE = Output(_decide_mixture, ((ShardOrder, write_shard),), seal, read_manifest)
"""Examples of all sources, mixed."""


def rlds_output(options: RldsOptions) -> Output:
    """Each source as an RLDS dataset of whole episodes. Its imports are here, so that a mixture does not need them."""
    from rt2data.seal.episodes import read_rlds_manifest, seal_episodes
    from rt2data.write.episodes import RegroupOrder, regroup, write_episodes

    phases = ((RegroupOrder, regroup), (ShardOrder, write_episodes))
    return Output(partial(_decide_episodes, options), phases, seal_episodes, read_rlds_manifest)


def nothing_new(site: Site, recipe: Recipe, allow_bad: bool = False, output: Output = MIXTURE) -> Any | None:
    """The manifest of the existing output, if the sources can be seen from here and would give that same output; reads no data."""
    root, here = location.absolute(recipe.store_folder), current(site.out)
    if site.restart or not is_complete(here):
        return None
    with suppress(RtError, OSError):  # what cannot be seen from here may still be visible to workers
        manifest, stores = output.read(here), dict[str, Store]()
        for name, source in needed_sources(recipe).items():
            with location.one_look():
                store = ready_store(store_folder(root, name, source, recipe.compact))
            if store is None:
                return None
            stores[name] = store
        if output.decide(recipe, stores, allow_bad).job.plan.fingerprint == manifest.plan.fingerprint:
            return manifest
    return None


def begin_build(
    site: Site, recipe: Recipe, stores: Mapping[str, Store], allow_bad: bool = False, output: Output = MIXTURE
) -> tuple[Any, list[Any]]:
    """Plan: the job and its work orders; no orders if this output exists already.

    Raises OutputError if the disk has too little space for what remains to be written.
    """
    job, size, orders = output.decide(recipe, stores, allow_bad)
    if site.finished(job.plan.fingerprint, output):
        return job, []
    folder = site.folder(job.plan.fingerprint)
    if site.brought_back(folder, job.plan.fingerprint, output):
        return job, []
    require_space(Need("the output", site.out, size - bytes_in(folder)))
    adopt(folder, job)
    return job, orders(folder)


def finish(site: Site, folder: Path, job: Job | RldsJob, shards: Sequence[ShardInfo], output: Output = MIXTURE) -> None:
    """Seal and publish, if the sources are still as planned. Raises SourceChangedError."""
    for name, digest in job.digests.items():
        store = Store(path_of(job.stores[name]))
        require_unchanged(name, store.changed_files())
        if store.info.digest != digest:
            require_unchanged(name, [str(store.path)])
    remove_temporaries(folder)  # of workers that were killed and whose orders others carried out
    output.seal(folder, job, shards)
    site.publish(folder)


def build_plainly(recipe: Recipe, site: Site, allow_bad: bool = False, output: Output = MIXTURE) -> Any:
    """Build in this process, one work order after another; return the manifest."""
    return build_by(nullcontext(InTurn()), recipe, site, allow_bad=allow_bad, output=output)


def build_by(
    starting: AbstractContextManager[Engine],
    recipe: Recipe,
    site: Site,
    on_result: Listener = lambda _: None,
    allow_bad: bool = False,
    before: Callable[[list[Preparation]], None] = lambda _: None,
    output: Output = MIXTURE,
) -> Any:
    """Build with an engine and return the manifest; `before` may refuse before anything is read. Errors keep their types.

    The engine starts once output and stores are locked, and stops before they are released: nothing is written afterwards.
    """
    prepared = preparations(recipe, location.absolute(recipe.store_folder), on_result)
    with site.held(), prepared as todo:
        before(todo)
        with starting as engine, stopping_reported(on_result):
            on_result(tuple(todo))
            _carry_out(Reporting(engine, on_result), recipe, site, todo, allow_bad, output)
    return output.read(current(site.out))


def _carry_out(engine: Reporting, recipe: Recipe, site: Site, todo: Sequence[Preparation], allow_bad: bool, output: Output) -> None:
    """Prepare, plan, write, seal."""
    job, orders = begin_build(site, recipe, prepare_by(engine, todo), allow_bad, output)
    if orders:
        engine.on_result(job.plan)
        for kind, work in output.phases:
            done = list(engine.map(work, [order for order in orders if isinstance(order, kind)]))
        finish(site, site.folder(job.plan.fingerprint), job, done, output)
