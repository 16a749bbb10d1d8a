"""Which steps of each episode a prepared store holds, in openpi's keep_ranges form: {"EPISODE": [[start, stop], ...]}."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rt2data.prepare.store import Store


def kept_ranges(store: Store) -> dict[str, list[tuple[int, int]]]:
    """The kept steps of each episode of a robot store, as ordered ranges [start, stop); sorted by episode name.

    An episode without kept steps is absent. Raises DataError if the store cannot be read.
    """
    splits = store.info.splits
    groups = pa.chunked_array([chunk for split in splits for chunk in store.column(split, "group").chunks], pa.string())
    steps = np.concatenate([np.empty(0, np.int32), *(store.column(split, "step").to_numpy() for split in splits)])
    coded = groups.combine_chunks().dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    order = np.lexsort((steps, codes))
    codes, steps = codes[order], steps[order]
    breaks = np.flatnonzero((np.diff(codes) != 0) | (np.diff(steps) != 1)) + 1
    starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(steps)]])
    found: dict[str, list[tuple[int, int]]] = {}
    for first, last in zip(starts.tolist(), (stops - 1).tolist(), strict=True) if len(steps) else ():
        found.setdefault(names[codes[first]], []).append((int(steps[first]), int(steps[last]) + 1))
    return dict(sorted(found.items()))
