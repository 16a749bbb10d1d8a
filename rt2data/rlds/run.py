"""Write the sources of a recipe as episodes: prepare what is not prepared, decide, regroup, write, seal. Any pool does the work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from rt2data.build import Preparation, preparations
from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.io.publish import exclusively, is_complete, output_errors, publish_folder, put_back, refuse_foreign, remove_temporaries
from rt2data.io.stamps import require_unchanged
from rt2data.plan.recipe import Recipe
from rt2data.prepare.merge_rows import gather_orders, gather_rows, seal_store
from rt2data.prepare.store import Store
from rt2data.prepare.unit import prepare_unit
from rt2data.rlds.decide import Index, Wishes, decide_rlds
from rt2data.rlds.manifest import RldsManifest, read_rlds_manifest, seal_rlds
from rt2data.rlds.plan import RldsJob, read_job, write_job
from rt2data.rlds.regroup import regroup, split_orders
from rt2data.rlds.shard import RldsOrder, RldsShard, write_rlds_shard

Listener = Callable[[Any], None]


class Workers(Protocol):
    """Who carries out work orders: any pool of rt2data.beam.pool."""

    def submit(self, work: Callable[[Any], Any], order: Any) -> Future[Any]: ...

    def close(self, grace_s: float = 0) -> None: ...


@dataclass(frozen=True)
class RldsSite:
    """Where it is written: the output's name, and the staging folder beside it that takes its name when complete."""

    out: Path
    overwrite: bool = False
    restart: bool = False

    @property
    def staging(self) -> Path:
        return self.out.with_name(f".{self.out.name}.rlds.partial")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the output while it is written. Raises UsageError, OutputError or LockedError before anything is read."""
        refuse_foreign(self.out)
        with exclusively(self.out.with_name(f".{self.out.name}.lock"), str(self.out)):
            put_back(self.out)
            if self.restart or not _resumable(self.staging):
                shutil.rmtree(self.staging, ignore_errors=True)
            try:
                yield
            finally:
                self._tidy()

    def _tidy(self) -> None:
        """Nothing half written stays."""
        with suppress(OSError):
            for folder in (self.staging, *(path for path in self.staging.rglob("*") if path.is_dir())):
                remove_temporaries(folder)

    def finished(self, job: RldsJob) -> RldsManifest | None:
        """The manifest where these very datasets are here already. Raises UsageError where something else is."""
        if not is_complete(self.out):
            return None
        with suppress(DataError):
            found = read_rlds_manifest(self.out)
            if found.plan.fingerprint == job.plan.fingerprint and not self.restart:
                return found
        if not self.overwrite:
            raise UsageError(
                "another output is here already", str(self.out), "choose another place, or replace it with --overwrite"
            )
        return None

    def adopt(self, job: RldsJob) -> None:
        """Make the staging folder this job's, or go on with it where it already is. Raises UsageError where it is another's."""
        if _resumable(self.staging):
            if read_job(self.staging).plan.fingerprint == job.plan.fingerprint:
                return
            what = "an unfinished output of another recipe or version lies here"
            raise UsageError(what, str(self.staging), "run with --restart to discard it")
        with output_errors(self.staging):
            for folder in ("parts", "done", *(dataset.folder for dataset in job.plan.datasets)):
                (self.staging / folder).mkdir(parents=True, exist_ok=True)
        write_job(self.staging, job)


def _resumable(staging: Path) -> bool:
    """Whether an unfinished run left what can be gone on with: it was not sealed, and its job can be read."""
    try:
        read_job(staging)
    except (SourceChangedError, OSError, msgspec.MsgspecError):
        return False
    return not (staging / "manifest.json").exists()


def write_rlds(
    recipe: Recipe, site: RldsSite, wishes: Wishes, pool: Workers, on_result: Listener = lambda _: None, allow_bad: bool = False
) -> RldsManifest:
    """Write every needed source of a recipe as a TFDS dataset of episodes. The same bytes for any pool.

    `on_result` hears of the preparations, of each unit and shard, and of the plan. Raises the errors of rt2data.errors; a pool
    is closed when a run fails or is interrupted.
    """
    run = _Run(pool, on_result)
    with site.held():
        job, index = _decided(recipe, wishes, run, allow_bad)
        return site.finished(job) or _write(site, job, index, run)


@dataclass(frozen=True)
class _Run:
    pool: Workers
    on_result: Listener

    def all(self, work: Callable[[Any], Any], orders: Sequence[Any]) -> list[Any]:
        """Carry out work orders; results in their order. The first failure is raised as it was, once nothing more is written."""
        try:
            return [future.result() for future in self._submitted(work, orders)]
        except BaseException:
            self.pool.close()
            raise

    def _submitted(self, work: Callable[[Any], Any], orders: Sequence[Any]) -> list[Future[Any]]:
        futures: list[Future[Any]] = []
        for order in orders:
            futures.append(self.pool.submit(work, order))
            futures[-1].add_done_callback(self._hear)
            if futures[-1].done() and futures[-1].exception():
                break  # where the caller itself does the work
        return futures

    def _hear(self, done: Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.on_result(done.result())


def _decided(recipe: Recipe, wishes: Wishes, run: _Run, allow_bad: bool) -> tuple[RldsJob, Index]:
    with preparations(recipe, recipe.store_folder.absolute()) as todo:
        run.on_result(tuple(todo))
        stores = {each.name: prepared(each, run.all) for each in todo}
    return decide_rlds(recipe, stores, wishes, allow_bad)


def prepared(todo: Preparation, carry_out: Callable[[Any, Sequence[Any]], list[Any]]) -> Store:
    """The store of a source, prepared by whoever carries out the work orders if it is not ready."""
    if not todo.ready:
        units = carry_out(prepare_unit, todo.units)
        rows = carry_out(gather_rows, gather_orders(todo.name, Path(todo.units[0].folder), units))
        seal_store(todo.name, todo.source, todo.folder, units, rows)
    return todo.store


def _write(site: RldsSite, job: RldsJob, index: Index, run: _Run) -> RldsManifest:
    site.adopt(job)
    run.on_result(job.plan)
    run.all(regroup, list(_regrouping(site.staging, job, index)))
    shards: list[RldsShard] = run.all(write_rlds_shard, list(shard_orders(site.staging, job)))
    for dataset in job.plan.datasets:
        _require_same(Store(Path(job.stores[dataset.source])), dataset.digest)
    manifest = seal_rlds(site.staging, job, shards)
    publish_folder(site.staging, site.out)
    return manifest


def _regrouping(staging: Path, job: RldsJob, index: Index) -> Iterator[Any]:
    """Rows of robots are put in order; web rows are written as they lie."""
    for dataset in job.plan.datasets:
        if dataset.kind == "robot":
            store = Store(Path(job.stores[dataset.source]))
            for split, order in index[dataset.dataset].items():
                yield from split_orders(staging, store, dataset.dataset, split, order)


def shard_orders(staging: Path, job: RldsJob) -> Iterator[RldsOrder]:
    """A work order for each shard."""
    for dataset in job.plan.datasets:
        for split in dataset.splits:
            for number in range(len(split.shards)):
                yield RldsOrder(str(staging), job.plan.fingerprint, dataset.dataset, split.name, number)


def _require_same(store: Store, digest: str) -> None:
    """Raises SourceChangedError where a source is no longer what was planned."""
    require_unchanged(store.info.name, store.changed_files())
    if store.info.digest != digest:
        require_unchanged(store.info.name, [str(store.path)])
