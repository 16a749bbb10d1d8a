"""Disk space for a plan: of its output, and of the stores that are still to be prepared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rt2data.build import Preparation
from rt2data.forecast.estimate import seed_of, sketch
from rt2data.forecast.outlook import Outlook
from rt2data.io import location
from rt2data.io.disk import Need, require_space
from rt2data.io.location.folders import free_bytes
from rt2data.plan.recipe import Recipe


def needs_of(found: Outlook, out: Path, store: Path) -> tuple[Need, Need]:
    """What a build will write, and where: the store and the output may lie on different disks."""
    stores = sum(each.store_bytes for each in found.estimates.values())
    return Need("the output", location.absolute(out), found.bytes), Need("the store", location.absolute(store), stores)


def require_store_space(recipe: Recipe, todo: Sequence[Preparation]) -> None:
    """Before sources are prepared. Raises OutputError where their stores will not fit.

    A store is smaller than its source: only where the disk could not hold that much is a sample read to know more.
    """
    fresh = [p for p in todo if not p.ready]
    root = location.absolute(recipe.store_folder)
    if not fresh or free_bytes(root) > sum(order.unit.bytes for p in fresh for order in p.units):
        return
    found = [sketch(p.name, p.source, p.folder, recipe.split, seed_of(recipe.seed, p.name)) for p in fresh]
    require_space(Need("the store", root, sum(each.estimate.store_bytes for each in found)))
