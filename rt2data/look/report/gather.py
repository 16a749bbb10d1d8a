"""Everything a page shows of one path besides its statistics: pictures, episodes, what was left out, how it came to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import command
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
    """Of prepared stores. `count` is how many pictures of each camera are shown."""
    places = {(source.name, source.split) for source in stats.sources}
    each = [(store, [split for split in store.info.splits if (store.info.name, split) in places]) for store in stores]
    albums = [found for store, splits in each for found in store_albums(store, splits, count)]
    films = [film for store, splits in each for split in splits if (film := store_film(store, split))]
    return _report(stats, albums, films, [row for store in stores for row in lost_rows(store)], _origin_of_stores(stats, stores))


def mixture_report(stats: Stats, out: Path, root: Path | None, count: int) -> Report:
    """Of a finished mixture: pictures with what is trained on; other cameras and whole episodes from the stores it came from.

    Stores are looked for in `root`, or where the mixture's recipe says.
    """
    sight = InspectedMixture(out)
    split, stores = sight.manifest.plan.split, mixture_stores(sight.manifest, root)
    albums = mixture_albums(stats, sight.tiles(max(count, MEASURED) * len(stats.sources)), count)
    albums += [found for store in stores for found in store_albums(store, [split], count) if found.camera != store.info.camera]
    whole = [film for store in stores if (film := store_film(store, split))]
    told = {film.source for film in whole}
    films = [*whole, *(film for film in mixture_films(sight) if film.source not in told)]
    lost = [row for store in stores for row in lost_rows(store)]
    legends = {source.name: legend_of(source) for source in sight.manifest.plan.sources}
    return replace(_report(stats, albums, films, lost, _origin_of_mixture(sight.manifest, out)), legends=legends)


def _report(stats: Stats, albums: list[Album], films: Any, lost: Any, origin: Origin) -> Report:
    """With the warnings that pictures gave reason for among the others."""
    seen = [warn for each in albums for warn in each.warnings]
    order = {(source.name, source.split): number for number, source in enumerate(stats.sources)}
    albums.sort(key=lambda each: (order.get((each.source, each.split), 0), not each.used, each.camera))
    told = msgspec.structs.replace(stats, warnings=worst_first((*stats.warnings, *seen)))
    return Report(told, tuple(albums), tuple(films), tuple(lost), origin)


def mixture_albums(stats: Stats, tiles: Iterable[Tile], count: int) -> list[Album]:
    """The pictures that are trained on, by source."""
    found: dict[str, list[Tile]] = {}
    for tile in tiles:
        if not len(tile.picture):
            continue  # a text-only example
        found.setdefault(tile.source, []).append(tile)
    named: dict[str, SourceStats] = {source.name: source for source in stats.sources}
    return [album(name, named[name].split, named[name].kind, named[name].camera, True, found[name], count) for name in found]


def mixture_stores(manifest: Manifest, root: Path | None) -> list[Store]:
    """The stores that hold the very rows that a mixture was made of, as far as they are still there."""
    digests = {source.name: source.digest for source in manifest.plan.sources}
    kept = kept_stores(root or Path(manifest.recipe.get("store") or default_store_root()))
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
