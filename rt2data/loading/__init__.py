"""A reader of finished mixtures for training loops, with exact resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt2data.errors import UsageError
from rt2data.io.location import path_of
from rt2data.loading.blending import make_layout
from rt2data.loading.contents import read_contents
from rt2data.loading.decode import Decode, View, chosen
from rt2data.loading.mixture import Mixture, require_rank
from rt2data.loading.sampling import Cursor, Remainder, Share, cut_at
from rt2data.loading.shards import Shards

__all__ = ["Mixture", "load"]


def load(
    path: str | Path,
    *,
    rank: int = 0,
    world: int = 1,
    epochs: int | None = 1,
    decode: Decode | None = "rgb",
    resize: tuple[int, int] | None = None,
    columns: Sequence[str] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    remainder: Remainder = "drop",
    start: int = 0,
    state: dict[str, Any] | None = None,
) -> Mixture:
    """Open a finished mixture for rank `rank` of `world`: an iterable of dictionaries, one for each example.

    Each holds the fields of the record (`columns`; lists as numpy arrays, None where a web row has none) and `picture` by
    `decode` and `resize` (see `View`). One iteration is a pass of `epochs` epochs; None never ends.

    No example comes twice in an epoch over all ranks, and all come but the `remainder`: fewer than `world` examples that cannot be
    shared out evenly at its end. "drop" leaves them out, so that all ranks get equally many; "keep" gives them to some ranks, which
    then have one more: every example exactly once; "pad" makes the ranks even by repeating some. Examples already lie in mixed
    random order and are read in it, without a shuffle buffer; with `shuffle` each epoch takes the shards in a new order keyed by
    `seed`. Ranks get blocks of 16 examples in turn, the unit in which a build is exact.

    Where each row was written once (`materialize: once`), an epoch is the draws of the plan, mixed here by the same arithmetic and
    as exactly; each source is read through as often as its share needs, and a record's `epoch` is always 0.

    `start` begins behind so many examples of all ranks together; `state` where a `state_dict` was taken, by any number of ranks.

    Raises DataError where the output is incomplete or damaged or a shard is missing or has the wrong size, UsageError for
    arguments that make no sense and for a URI that cannot be opened, such as gs://.
    """
    folder = path_of(path)
    contents = read_contents(folder)
    plan, shards = contents.plan, contents.shards
    layout = make_layout([shard.examples for shard in shards], plan.sides(), [p.shards for p in plan.parts], seed, shuffle)
    require_rank(rank, world, layout.total)
    if (epochs is not None and epochs < 1) or start < 0 or remainder not in ("drop", "pad", "keep"):
        raise UsageError(f"epochs={epochs}, start={start}, remainder={remainder!r}", do="see the docstring of load")
    share = Share(layout, rank, world, epochs, remainder)
    view = View(decode, resize and (resize[0], resize[1]), chosen(columns))
    mixture = Mixture(contents, share, Shards(folder, contents.shards), view, Cursor(cut_at(start, layout.total)))
    if state is not None:
        mixture.load_state_dict(state)
    return mixture
