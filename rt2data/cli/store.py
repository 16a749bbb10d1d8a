"""`rt2data store`: list, prune, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rt2data.cli.console import number, say_json, size, talk
from rt2data.cli.tables import table
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.plan.recipe import read_recipe
from rt2data.prepare.catalog import Kept, find_store, is_store, kept_stores, read_rejects, remove_all, select
from rt2data.read.text import one_line
from rt2data.settings import default_store_root

SHOWN = 50
"""Rejects printed; `--json` gives all."""
COLUMNS = ("source", "state", "side", "kind", "folder", "splits", "rows", "size", "age")
DROP = ("splits", "folder", "kind", "side", "age", "rows", "size", "state")
"""Columns that a narrow terminal does without, first to last."""
DEFAULT_RECIPE = Path("mixture.yaml")


@dataclass(frozen=True)
class Place:
    """Which folder of stores is meant: the one named, else that of a recipe, else the one that no recipe names."""

    store: Path | None = None
    recipe: Path | None = None

    def find(self) -> Path:
        """The folder; says which it is, and why. Raises UsageError for a recipe that was named and cannot be read."""
        if self.store is not None:
            return self.store
        if self.recipe is None and not location.is_file(DEFAULT_RECIPE):
            return _said(default_store_root(), "the default; --recipe or --store names another")
        chosen = self.recipe or DEFAULT_RECIPE
        try:
            return _said(read_recipe(chosen).store_folder, f"the store of {chosen}")
        except UsageError:
            if self.recipe is not None:
                raise
            return _said(default_store_root(), f"the default: {chosen} cannot be read as a recipe")


def _said(root: Path, why: str) -> Path:
    talk(f"stores in {root}, {why}")
    return root


def list_stores(place: Place, as_json: bool) -> None:
    """All prepared stores, with their size and whether a build can still use them."""
    root = place.find()
    kept = kept_stores(root)
    if as_json:
        say_json({"root": str(root), "stores": [store.to_json() for store in kept]})
    elif not kept:
        talk(f"no prepared stores in {root}")
    else:
        _show(kept)
        print(f"{size(sum(store.bytes for store in kept))} in {root}")


def prune(place: Place, names: Sequence[str], everything: bool, older: float | None, yes: bool, as_json: bool) -> None:
    """Take stores away that no build will use again, or those that are named; without `yes` only say which."""
    root = place.find()
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
        talk(f"left alone, a build is preparing it: {store.path}")
    freed = size(sum(store.bytes for store in (gone if yes else chosen)))
    print(
        f"{len(gone)} stores removed, {freed} freed"
        if yes
        else f"{len(chosen)} stores, {freed}: nothing was removed, add --yes to do so"
    )


def _show(kept: Sequence[Kept]) -> None:
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


def _splits(store: Kept) -> str:
    return ", ".join(f"{split} {rows:,}" for split, rows in (store.splits or {}).items())


def rejects(place: Place, name: str, as_json: bool) -> None:
    """What was dropped from a source, and why."""
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
