"""One way of reading the images of shards from a stand-in of an object store: `python -m tests.bench.remote WAY ...`.

Prints seconds, bytes and the peak of its resident memory as JSON. `bare` is a loop over obstore and nothing else.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from rt2data.build import Site, begin_build, preparations, prepare_plainly
from rt2data.io import location
from rt2data.io.location.folders import make_folder
from rt2data.io.location.open_files import OpenFiles
from rt2data.order import EpochOrder
from rt2data.plan.recipe import read_recipe
from rt2data.prepare.store import Store
from rt2data.write.shard import write_shard

RUN = 8 << 20
SHARDS = 5
SCATTERED, TOGETHER = 64, 8
"""Requests of the bare loop that are under way at once."""


def shards(recipe: str, out: str) -> None:
    """Write the first shards of a mixture, one after another; of all but the first, seconds and the bytes of their images.

    Each takes its rows from one window or two, so that one may take more requests than another.
    """
    asked = read_recipe(recipe)
    with preparations(asked, location.absolute(asked.store_folder)) as todo:
        stores = {each.name: each.store for each in todo if each.ready}
        assert len(stores) == len(todo)
    site = Site(Path(out))
    make_folder(site.staging)
    _, orders = begin_build(site, asked, stores)
    write_shard(orders[0])  # what a worker does once: open the store and connect
    began = time.monotonic()
    written = [write_shard(order) for order in orders[1 : 1 + SHARDS]]
    size = sum(each.image_bytes for info in written for each in info.sources.values())
    say(time.monotonic() - began, size, digests=[info.sha256 for info in written])


def prepare(recipe: str) -> None:
    """Prepare the sources of a recipe; all of their images count."""
    asked = read_recipe(recipe)
    began = time.monotonic()
    with preparations(asked, location.absolute(asked.store_folder)) as todo:
        stores = [prepare_plainly(each) for each in todo]
    say(time.monotonic() - began, sum(split.image_bytes for store in stores for split in store.info.splits.values()))


def bare(recipe: str, examples: str, way: str) -> None:
    """The same images, `scattered`: each by itself; or as many bytes of blobs, `together` in runs of 8 MB."""
    asked = read_recipe(recipe)
    with preparations(asked, location.absolute(asked.store_folder)) as todo:
        store = todo[0].store
    wanted, at_once = (
        (drawn(store, asked.seed, int(examples)), SCATTERED) if way == "scattered" else (runs(store, int(examples)), TOGETHER)
    )
    opened, get = open_store(), getter()
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as threads:
        sizes = list(threads.map(lambda each: len(get(opened, each[0], start=each[1], length=each[2])), wanted))
    say(time.monotonic() - began, sum(sizes))


def read(recipe: str, examples: str) -> None:
    """The images of so many rows in the order of the store, as a shard reads them, each checked."""
    asked = read_recipe(recipe)
    with preparations(asked, location.absolute(asked.store_folder)) as todo:
        store = todo[0].store
    numbers = np.arange(int(examples))
    images = store.rows("train", numbers, np.zeros_like(numbers)).images
    files, room = OpenFiles(store.info.name, store.stamps), memoryview(bytearray(int(images.length.max())))
    began = time.monotonic()
    files.will_need(images)
    places = (each.tolist() for each in (images.file, images.offset, images.length, images.xxh3))
    for file, offset, length, digest in zip(*places, strict=True):
        files.read_into(room[:length], file, offset, digest, "")
    say(time.monotonic() - began, int(images.length.sum()))


def drawn(store: Store, seed: int, examples: int) -> list[tuple[str, int, int]]:
    rows, epochs = EpochOrder(store.info.splits["train"].rows, seed, store.info.name).draw(0, examples)
    images = store.rows("train", rows, epochs).images
    names = [key_of(store.stamps[file].path) for file in images.file.tolist()]
    return list(zip(names, images.offset.tolist(), images.length.tolist(), strict=True))


def runs(store: Store, examples: int) -> list[tuple[str, int, int]]:
    """Runs of 8 MB from the blobs on, until there are as many bytes as so many images have."""
    split, found = store.info.splits["train"], list[tuple[str, int, int]]()
    left = split.image_bytes * examples // split.rows
    for stamp in (stamp for stamp in store.stamps if "/images-" in stamp.path):
        for start in range(0, min(stamp.size, left), RUN):
            found.append((key_of(stamp.path), start, min(RUN, stamp.size - start, left - start)))
        left -= min(left, stamp.size)
    return found


def key_of(uri: str) -> str:
    return uri.split("/", 3)[3]


def getter() -> Any:
    from obstore import get_range

    return get_range


def open_store() -> Any:
    from obstore.store import from_url

    return from_url("gs://bucket/", client_options={"allow_http": True}, retry_config={"retry_timeout": timedelta(minutes=1)})


def say(seconds: float, size: int, **more: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "bytes": size, "peak": peak, "cpu": cpu.ru_utime + cpu.ru_stime, **more}))


def main(arguments: Sequence[str]) -> None:
    {"shards": shards, "prepare": prepare, "read": read, "bare": bare}[arguments[0]](*arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
