"""The whole program as plain Python: prepare, plan, write, seal. Beam wires the same functions; both give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.errors import DataError, LockedError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.disk import Need, bytes_in, require_space
from rt2data.io.location.folders import discard_folder, make_folder, remove_empty_folder
from rt2data.io.location.whole import output_errors
from rt2data.io.publish import exclusively, is_complete, publish_folder, put_back, refuse_foreign, remove_temporaries
from rt2data.io.stamps import require_unchanged
from rt2data.plan.decide import decide
from rt2data.plan.job import Job, adopt, read_job
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.prepare.merge_rows import gather_orders, gather_rows, seal_store
from rt2data.prepare.store import Store
from rt2data.prepare.unit import UnitOrder, begin, prepare_unit, ready_store, staging_folder, store_folder
from rt2data.read.source import Source
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.seal.seal import seal
from rt2data.write.shard import ShardInfo, ShardOrder, write_shard

WAIT_S = 1.0
"""How often a build that waits for a store looks whether it is ready."""


@dataclass(frozen=True)
class Site:
    """Where a mixture is built: the output's name, and the staging folder beside it that takes its name when complete.

    `restart` discards an unfinished build, and builds a finished one of the same mixture again.
    """

    out: Path
    overwrite: bool = False
    restart: bool = False

    @property
    def staging(self) -> Path:
        return self.out.with_name(f".{self.out.name}.partial")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the output while it is built. Raises UsageError, OutputError or LockedError before anything is read."""
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
        """Where an unfinished build's sources turn out to have changed, say which files; soon their old stamps are gone."""
        changed = _changed_files(_begun(self.staging))
        try:
            yield
        except SourceChangedError as error:
            if changed and error.where == str(self.staging):
                more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
                raise SourceChangedError(error.what, changed[0] + more, error.do) from None
            raise

    def _tidy(self) -> None:
        """Nothing half written stays, and no empty folder."""
        with suppress(OSError):
            remove_temporaries(self.staging)
            if not any(location.children(self.staging)):
                remove_empty_folder(self.staging)

    def finished(self, job: Job) -> Manifest | None:
        """The manifest where this very mixture is here already. Raises UsageError where another one is and may not be replaced."""
        if not is_complete(self.out):
            return None
        with suppress(DataError):  # a damaged one is another mixture
            manifest = read_manifest(self.out)
            if manifest.plan.fingerprint == job.plan.fingerprint and not self.restart:
                return manifest
        if not self.overwrite:
            raise UsageError(
                "another mixture is here already", str(self.out), "choose another place, or replace it with --overwrite"
            )
        return None

    def publish(self) -> None:
        """Give the finished staging folder the output's name."""
        publish_folder(self.staging, self.out)


def _begun(staging: Path) -> Job | None:
    """The job of an unfinished build that can be gone on with: not one that was sealed, nor one that cannot be read."""
    try:
        return read_job(staging)
    except (OSError, msgspec.MsgspecError):
        return None


def _changed_files(job: Job | None) -> list[str]:
    """Files of a job's sources that changed since they were prepared, as far as it can still be told."""
    found: list[str] = []
    for folder in job.stores.values() if job else ():
        with suppress(DataError):
            found += Store(Path(folder)).changed_files()
    return found


@dataclass(frozen=True)
class Preparation:
    """What there is to do for one source: nothing where its store is ready."""

    name: str
    source: Source
    folder: Path
    units: tuple[UnitOrder, ...]

    @property
    def ready(self) -> bool:
        return not self.units

    @property
    def store(self) -> Store:
        return Store(self.folder)


@dataclass(frozen=True)
class Waiting:
    """Whoever watches hears this when another build is preparing a source that this one needs."""

    name: str


@contextmanager
def preparations(recipe: Recipe, root: Path, on_wait: Callable[[Waiting], None] = lambda _: None) -> Iterator[list[Preparation]]:
    """What there is to do for each needed source; the stores that are to be written are held meanwhile.

    What preparing does not need, but the plan will, is looked at here: nobody waits for hours to hear of it.
    """
    load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    with ExitStack() as stack:
        found = []
        for name, source in needed_sources(recipe).items():
            folder = store_folder(root, name, source)
            _hold(stack, folder, name, on_wait)
            ready = ready_store(folder) is not None
            found.append(Preparation(name, source, folder, () if ready else tuple(begin(name, source, folder))))
        yield found


def _hold(stack: ExitStack, folder: Path, name: str, on_wait: Callable[[Waiting], None]) -> None:
    """Hold a store that is to be written, or wait until another build, which holds it to its end, has made it ready."""
    lock, told = folder.with_name(f".{folder.name}.lock"), False
    while ready_store(folder) is None:
        try:
            stack.enter_context(exclusively(lock, f"the store of {name}", wait_s=WAIT_S if told else 0))
        except LockedError:
            if not told:
                on_wait(Waiting(name))
            told = True
        else:
            stack.callback(remove_temporaries, staging_folder(folder))
            return


def prepare_plainly(todo: Preparation) -> Store:
    """Prepare one source in this process."""
    if not todo.ready:
        units = [prepare_unit(order) for order in todo.units]
        rows = [gather_rows(order) for order in gather_orders(todo.name, Path(todo.units[0].folder), units)]
        seal_store(todo.name, todo.source, todo.folder, units, rows)
    return todo.store


def begin_mix(site: Site, recipe: Recipe, stores: Mapping[str, Store], allow_bad: bool = False) -> tuple[Job, list[ShardOrder]]:
    """Decide, and lay out the shards' work orders; none where this very mixture is here already.

    Raises OutputError where the disk has too little room for what is still to be written.
    """
    job = decide(recipe, stores, allow_bad)
    if site.finished(job) is not None:
        return job, []
    require_space(Need("the output", site.out, job.plan.bytes - bytes_in(site.staging)))
    adopt(site.staging, job)
    return job, [ShardOrder(str(site.staging), job.plan.fingerprint, index) for index in range(job.plan.shards)]


def finish(site: Site, job: Job, shards: Sequence[ShardInfo]) -> None:
    """Seal and publish, if the sources are still what was planned. Raises SourceChangedError."""
    for source in job.plan.sources:
        store = Store(Path(job.stores[source.name]))
        require_unchanged(source.name, store.changed_files())
        if store.info.digest != source.digest:
            require_unchanged(source.name, [str(store.path)])
    seal(site.staging, job, shards)
    site.publish()


def build_plainly(recipe: Recipe, site: Site, allow_bad: bool = False) -> Manifest:
    """Build a mixture in this process, one unit after another."""
    with site.held():
        with preparations(recipe, location.absolute(recipe.store_folder)) as todo:
            stores = {p.name: prepare_plainly(p) for p in todo}
        job, orders = begin_mix(site, recipe, stores, allow_bad)
        if orders:
            finish(site, job, [write_shard(order) for order in orders])
    return read_manifest(site.out)
