"""Everything a page shows of one path besides its statistics: images, episodes, dropped rows, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import command
from rt2data.io.location import path_of
from rt2data.look.inspect.mixture import InspectedMixture, legend_of
from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.episode import mixture_films, store_film
from rt2data.look.report.images import MEASURED, Album, album, lost_rows, store_albums
from rt2data.look.report.page import Origin, Report
from rt2data.look.stats.model import SourceStats, Stats
from rt2data.prepare.catalog import kept_stores
from rt2data.prepare.store import Store
from rt2data.records import worst_first
from rt2data.seal.manifest import Manifest
from rt2data.settings import default_store_root


def stores_report(stats: Stats, stores: Sequence[Store], count: int) -> Report:
    """Report on prepared stores, showing `count` images of each camera."""
    places = {(source.name, source.split) for source in stats.sources}
    each = [(store, [split for split in store.info.splits if (store.info.name, split) in places]) for store in stores]
    albums = [found for store, splits in each for found in store_albums(store, splits, count)]
    films = [film for store, splits in each for split in splits if (film := store_film(store, split))]
    return _report(stats, albums, films, [row for store in stores for row in lost_rows(store)], _origin_of_stores(stats, stores))


def mixture_report(stats: Stats, out: Path, root: Path | None, count: int) -> Report:
    """Report on a finished mixture: its images and targets; other cameras and whole episodes come from its stores.

    Stores are searched for in `root`, or in the store folder of the mixture's recipe.
    """
    inspected = InspectedMixture(out)
    split, stores = inspected.manifest.plan.split, mixture_stores(inspected.manifest, root)
    albums = mixture_albums(stats, inspected.tiles(max(count, MEASURED) * len(stats.sources)), count)
    albums += [found for store in stores for found in store_albums(store, [split], count) if found.camera != store.info.camera]
    whole = [film for store in stores if (film := store_film(store, split))]
    complete = {film.source for film in whole}
    films = [*whole, *(film for film in mixture_films(inspected) if film.source not in complete)]
    lost = [row for store in stores for row in lost_rows(store)]
    legends = {source.name: legend_of(source) for source in inspected.manifest.plan.sources}
    return replace(_report(stats, albums, films, lost, _origin_of_mixture(inspected.manifest, out)), legends=legends)


def _report(stats: Stats, albums: list[Album], films: Any, lost: Any, origin: Origin) -> Report:
    """A report whose warnings include those about images."""
    seen = [warn for each in albums for warn in each.warnings]
    order = {(source.name, source.split): number for number, source in enumerate(stats.sources)}
    albums.sort(key=lambda each: (order.get((each.source, each.split), 0), not each.used, each.camera))
    checked = msgspec.structs.replace(stats, warnings=worst_first((*stats.warnings, *seen)))
    return Report(checked, tuple(albums), tuple(films), tuple(lost), origin)


def mixture_albums(stats: Stats, tiles: Iterable[Tile], count: int) -> list[Album]:
    """The training images, by source."""
    found: dict[str, list[Tile]] = {}
    for tile in tiles:
        if not len(tile.image):
            continue  # a text-only example
        found.setdefault(tile.source, []).append(tile)
    named: dict[str, SourceStats] = {source.name: source for source in stats.sources}
    return [album(name, named[name].split, named[name].kind, named[name].camera, True, found[name], count) for name in found]


def mixture_stores(manifest: Manifest, root: Path | None) -> list[Store]:
    """The stores that still hold exactly the rows of the mixture."""
    digests = {source.name: source.digest for source in manifest.plan.sources}
    kept = kept_stores(root or path_of(manifest.recipe.get("store") or default_store_root()))
    whole = [Store(each.path) for each in kept if each.state in ("complete", "stale") and each.name in digests]
    same = [store for store in whole if store.info.digest == digests[store.info.name]]
    return list({store.info.name: store for store in same}.values())


def _origin_of_mixture(manifest: Manifest, out: Path) -> Origin:
    return Origin(
        commands=(command("build-mixture", "recipe.yaml", "-o", out), command("verify", out)),
        facts=(("made with", f"rt2data {manifest.tool_version}"), ("split", manifest.plan.split)),
        hashes=tuple((shard.name, shard.xxh3_128) for shard in manifest.shards),
        recipe=_pretty(manifest.recipe),
    )


def _origin_of_stores(stats: Stats, stores: Sequence[Store]) -> Origin:
    settings = {store.info.name: store.info.settings for store in stores}
    facts = [(f"prepared with, {store.info.name}", f"rt2data {store.info.tool_version}") for store in stores]
    return Origin((command("report", stats.path),), tuple(facts), (), _pretty(settings))


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode()
