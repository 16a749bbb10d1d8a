"""`rt2data store`: list, prune, rejects, keep-ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.cli.console import say_json, table, talk
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.publish import require_writable
from rt2data.io.words import number, plural, size
from rt2data.plan.recipe import read_recipe
from rt2data.prepare.catalog import CatalogEntry, find_store, is_store, kept_stores, read_rejects, remove_all, select
from rt2data.prepare.kept_ranges import kept_ranges
from rt2data.prepare.store import Store
from rt2data.read.text import one_line
from rt2data.settings import default_store_root

SHOWN = 50
"""Maximum rejects printed; `--json` gives all."""
COLUMNS = ("source", "state", "side", "kind", "folder", "splits", "rows", "size", "age")
DROP = ("splits", "folder", "kind", "side", "age", "rows", "size", "state")
"""Columns dropped on a narrow terminal, first to last."""
DEFAULT_RECIPE = Path("mixture.yaml")


@dataclass(frozen=True)
class StoreRoot:
    """The folder of stores: the given one, else the recipe's, else the default."""

    store: Path | None = None
    recipe: Path | None = None

    def find(self) -> Path:
        """The folder, printed with the reason. Raises UsageError for a given recipe that cannot be read."""
        if self.store is not None:
            return self.store
        if self.recipe is None and not location.is_file(DEFAULT_RECIPE):
            return _found(default_store_root(), "the default; choose another with --recipe or --store")
        chosen = self.recipe or DEFAULT_RECIPE
        try:
            return _found(read_recipe(chosen).store_folder, f"the store of {chosen}")
        except UsageError:
            if self.recipe is not None:
                raise
            return _found(default_store_root(), f"the default: {chosen} is not a readable recipe")


def _found(root: Path, why: str) -> Path:
    talk(f"stores in {root}, {why}")
    return root


def list_stores(place: StoreRoot, as_json: bool) -> None:
    """Print all prepared stores, with their size and whether a build can still use them."""
    root = place.find()
    kept = kept_stores(root)
    if as_json:
        say_json({"root": str(root), "stores": [store.to_json() for store in kept]})
    elif not kept:
        talk(f"no prepared stores in {root}")
    else:
        _show(kept)
        print(f"{size(sum(store.bytes for store in kept))} in {root}")


def prune(place: StoreRoot, names: Sequence[str], everything: bool, older: float | None, yes: bool, as_json: bool) -> None:
    """Remove the named stores, or those that no build will use again; without `yes` only list them."""
    root = location.writable(place.find())
    chosen = select(kept_stores(root), names, older, everything)
    gone, busy = remove_all(chosen) if yes else ([], [])
    if as_json:
        lists = {"chosen": chosen, "removed": gone, "in_use": busy}
        say_json({"root": str(root)} | {key: [store.to_json() for store in stores] for key, stores in lists.items()})
        return
    if not chosen:
        talk(f"nothing to prune in {root}")
        return
    _show(chosen)
    for store in busy:
        talk(f"kept, because a build is preparing it: {store.path}")
    freed = size(sum(store.bytes for store in (gone if yes else chosen)))
    print(
        f"{plural(len(gone), 'store')} removed, {freed} freed"
        if yes
        else f"{plural(len(chosen), 'store')}, {freed}: nothing was removed; add --yes to remove"
    )


def _show(kept: Sequence[CatalogEntry]) -> None:
    rows = [
        (
            store.name,
            store.state,
            store.kind,
            store.source,
            one_line(store.path.name),
            one_line(_splits(store), 60),
            number(store.rows),
            size(store.bytes),
            f"{store.age_days:.1f} d",
        )
        for store in kept
    ]
    table(COLUMNS, rows, left=6, drop=DROP)
    for store in kept:
        if store.why:
            talk(f"{store.path.name} is {store.state}: {one_line(store.why)}")


def _splits(store: CatalogEntry) -> str:
    return ", ".join(f"{split} {rows:,}" for split, rows in (store.splits or {}).items())


def rejects(place: StoreRoot, name: str, as_json: bool) -> None:
    """Print what was dropped from a source, and why."""
    store = find_store(Path() if is_store(name) else place.find(), name)
    found = read_rejects(store)
    lost: Counter[tuple[str, bool]] = Counter()
    for row in found:
        lost[row["reason"], row["fault"]] += row["count"]
    by_reason = [{"reason": reason, "count": count, "fault": fault} for (reason, fault), count in lost.most_common()]
    if as_json:
        say_json({"store": str(store), "by_reason": by_reason, "rejects": found})
    elif not found:
        talk(f"nothing was dropped from {store}")
    else:
        _show_rejects(found, lost)


def keep_ranges(place: StoreRoot, name: str, out: Path, force: bool, as_json: bool) -> None:
    """Write which steps of each episode a store has. Raises UsageError if the store is not of a robot source."""
    require_writable(out, force=force)
    store = Store(find_store(Path() if is_store(name) else place.find(), name))
    if not store.info.has_actions:
        raise UsageError("only the store of a robot has episodes", str(store.path))
    found = kept_ranges(store)
    location.write_whole(out, msgspec.json.encode(found))
    counts = {
        "episodes": len(found),
        "ranges": sum(map(len, found.values())),
        "steps": sum(s.rows for s in store.info.splits.values()),
    }
    if as_json:
        say_json({"store": str(store.path), "out": str(out), **counts})
    else:
        print(", ".join(plural(count, what.removesuffix("s")) for what, count in counts.items()), f"in {out}")


def _show_rejects(found: Sequence[dict[str, object]], lost: Counter[tuple[str, bool]]) -> None:
    why = {True: "a fault of the data", False: "as the recipe asks"}
    table(
        ("reason", "why", "rows"),
        [(one_line(reason), why[fault], number(n)) for (reason, fault), n in lost.most_common()],
        left=2,
        drop=("why",),
    )
    print()
    rows = [tuple(one_line(str(row[key]), 160) for key in ("reason", "where", "detail")) for row in found[:SHOWN]]
    table(("reason", "where", "detail"), rows, left=3, drop=("reason",), wrap="detail")
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN:,} more: --json gives all")
