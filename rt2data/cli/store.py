"""`rt2data store`: list, prune, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rt2data.cli.console import number, say_json, size, talk
from rt2data.cli.tables import table
from rt2data.paths import default_store_root
from rt2data.shelf import Kept, find_store, kept_stores, read_rejects, remove_all, select
from rt2data.text.clean import one_line

SHOWN = 50
"""Rejects printed; `--json` gives all."""
COLUMNS = ("source", "state", "side", "kind", "folder", "splits", "rows", "size", "age")
DROP = ("splits", "folder", "kind", "side", "age", "rows", "size", "state")
"""Columns that a narrow terminal does without, first to last."""


def list_stores(root: Path | None, as_json: bool) -> None:
    """All prepared stores, with their size and whether a build can still use them."""
    root = root or default_store_root()
    kept = kept_stores(root)
    if as_json:
        say_json({"root": str(root), "stores": [store.to_json() for store in kept]})
    elif not kept:
        talk(f"no prepared stores in {root}")
    else:
        _show(kept)
        print(f"{size(sum(store.bytes for store in kept))} in {root}")


def prune(root: Path | None, names: Sequence[str], everything: bool, older: float | None, yes: bool, as_json: bool) -> None:
    """Take stores away that no build will use again, or those that are named; without `yes` only say which."""
    root = root or default_store_root()
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


def rejects(root: Path | None, name: str, as_json: bool) -> None:
    """What was left out of a source, and why."""
    store = find_store(root or default_store_root(), name)
    found = read_rejects(store)
    lost: Counter[tuple[str, bool]] = Counter()
    for row in found:
        lost[row["reason"], row["fault"]] += row["count"]
    by_reason = [{"reason": reason, "count": count, "fault": fault} for (reason, fault), count in lost.most_common()]
    if as_json:
        say_json({"store": str(store), "by_reason": by_reason, "rejects": found})
    elif not found:
        talk(f"nothing was left out of {store}")
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
