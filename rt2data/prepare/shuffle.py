"""Compaction through a runner's shuffle: images travel from ranges of the sources to the blobs as elements.

For runners whose shuffle is a service, such as Dataflow's. On others, and in memory, `spill` does the same through files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from rt2data.errors import InternalError
from rt2data.prepare.blobs import BlobsSummary, Copies, each_image, open_blobs
from rt2data.prepare.compact import (
    BlobsOrder,
    SpillOrder,
    blob_copies,
    blob_names,
    close_group,
    finish_blobs,
    group_layouts,
    is_finished,
    range_images,
)

Group = tuple[str, int]
"""Name of the source, number of a group of its files of rows."""
Placed = tuple[int, int, bytes]
"""File number, offset and content of an image."""


def group_of(order: BlobsOrder) -> Group:
    """The group whose blobs an order writes."""
    return order.task.name, order.number


def read_images(order: SpillOrder, _places: object = None) -> Iterator[tuple[Group, Placed]]:
    """The images of a range of the sources, one for each group that needs it; runs once all places are written.

    Raises the same errors as `write_spill`.
    """
    files, numbers, copies = range_images(order)
    for at, content in each_image(files, copies):
        yield (order.task.name, int(copies.into[at])), (int(numbers[copies.file[at]]), int(copies.offset[at]), bytes(content))


def write_groups(named: tuple[Group, Iterable[Placed | None]], orders: Mapping[Group, BlobsOrder]) -> list[BlobsSummary]:
    """The blobs of a group collected by the shuffle. Raises the same errors as `write_group`."""
    return [write_group(orders[named[0]], named[1])]


def write_group(order: BlobsOrder, images: Iterable[Placed | None]) -> BlobsSummary:
    """Write the blobs of a group from its images, in any order. Raises InternalError if one is missing, OutputError."""
    if not is_finished(order):
        layouts = group_layouts(order)
        copies = blob_copies(order, layouts)
        with open_blobs(blob_names(order, layouts)) as put:
            left = _by_place(copies)
            for image in images:
                for at in left.pop(image[:2], ()) if image else ():
                    put(int(copies.into[at]), int(copies.at[at]), image[2])  # type: ignore[index]
            if left:
                raise InternalError(f"{len(left):,} images did not come through the shuffle", order.label)
        finish_blobs(order, layouts)
    return close_group(order)


def _by_place(copies: Copies) -> dict[tuple[int, int], list[int]]:
    """The copies of each image, by file and offset."""
    found = defaultdict(list)
    for at, place in enumerate(zip(copies.file.tolist(), copies.offset.tolist(), strict=True)):
        found[place].append(at)
    return dict(found)
