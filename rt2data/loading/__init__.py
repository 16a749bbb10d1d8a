"""A reader of finished mixtures for training loops, with exact resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt2data.errors import UsageError
from rt2data.io.generations import current
from rt2data.io.location import path_of
from rt2data.loading.blending import make_layout
from rt2data.loading.examples import COLUMNS, Decode, ExampleView
from rt2data.loading.mixture import Mixture, require_rank
from rt2data.loading.sampling import Cursor, RankShare, Remainder, cut_at
from rt2data.loading.shards import PlanFacts, Shards, read_contents

__all__ = ["Mixture", "load"]


def load(
    path: str | Path,
    *,
    rank: int = 0,
    world: int = 1,
    epochs: int | None = 1,
    decode: Decode | None = "rgb",
    resize: int | tuple[int, int] | None = None,
    slots: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    remainder: Remainder = "drop",
    start: int = 0,
    state: dict[str, Any] | None = None,
) -> Mixture:
    """Open a finished mixture for rank `rank` of `world`: an iterable of dictionaries, one per example.

    Each holds the fields of the record (`columns`; numeric lists as numpy arrays, None for null) and its image as `image`, prepared
    by `decode` and `resize` (see `ExampleView`; one number means a square). One iteration is a pass of `epochs` epochs; None never
    ends.

    If examples have places for several images, `images` uint8[N, height, width, 3] has one for each place (or for each of `slots`,
    counted from 0, in that order), and `image_mask` bool[N] is False for empty places, which are zeros. `image_names` and
    `image_offsets` have N entries too. Images of different sizes need `resize`. `slots` gives a mixture with one image per example
    the same form.

    No example comes twice in an epoch over all ranks, and all come except the `remainder`: fewer than `world` examples at its end
    that ranks cannot share evenly. "drop" drops them, so all ranks get equally many; "keep" gives them to some ranks, which then
    have one more: every example exactly once; "pad" repeats some to make the ranks even. Shards hold examples in mixed random
    order, read without a shuffle buffer; with `shuffle` each epoch takes the shards in a new order keyed by `seed`, so a single
    shard has the same order in all epochs. Ranks get stretches of whole blocks of 16 examples, the unit in which a build is exact.

    If each row is written once (`materialize: once`), an epoch is the draws of the plan, mixed here by the same arithmetic and just
    as exactly; each source is read through as often as its share needs, and a record's `epoch` is always 0.

    `start` skips that many examples, counted over all ranks; `state` resumes where a `state_dict` was taken, with any number of
    ranks.

    Raises DataError if the output is incomplete or damaged or a shard is missing or has the wrong size, UsageError for invalid
    arguments and for a URI that cannot be opened, such as hdfs://.
    """
    folder = current(path_of(path))
    contents = read_contents(folder)
    plan, shards = contents.plan, contents.shards
    layout = make_layout([shard.examples for shard in shards], plan.sides(), [p.shards for p in plan.parts], seed, shuffle)
    require_rank(rank, world, layout.total)
    _require_arguments(epochs, start, remainder)
    share = RankShare(layout, rank, world, epochs, remainder)
    names = (*COLUMNS, *plan.more) if columns is None else tuple(columns)
    size = (resize, resize) if isinstance(resize, int) else resize
    view = ExampleView(decode, size and (size[0], size[1]), names, _slots(plan, slots))
    mixture = Mixture(contents, share, Shards(folder, shards), view, Cursor(cut_at(start, layout.total)))
    if state is not None:
        mixture.load_state_dict(state)
    return mixture


def _require_arguments(epochs: int | None, start: int, remainder: str) -> None:
    if epochs is not None and epochs < 1:
        raise UsageError(f"epochs={epochs}", do="give 1 or more, or None to read without end")
    if start < 0:
        raise UsageError(f"start={start}", do="give the number of examples to skip")
    if remainder not in ("drop", "pad", "keep"):
        raise UsageError(f"remainder={remainder!r}", do='give "drop", "pad" or "keep"')


def _slots(plan: PlanFacts, slots: Sequence[int] | None) -> tuple[int, ...] | None:
    """Places to show: all by default; None if every example has exactly one image. Raises UsageError for invalid ones."""
    if slots is None:
        return None if plan.images is None else tuple(range(plan.images))
    found = tuple(slots)
    if not found or len(set(found)) < len(found) or not all(0 <= slot < plan.places for slot in found):
        cameras = [f"{source.name}: {', '.join(map(str, source.slots))}" for source in plan.sources if source.slots]
        do = "; ".join([f"give different numbers from 0 to {plan.places - 1}", *cameras])
        raise UsageError(f"slots={list(found)} of {plan.places} places for images", do=do)
    return found
