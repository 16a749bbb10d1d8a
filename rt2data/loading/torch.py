"""The mixture as a PyTorch IterableDataset. Only this file of rt2data imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from rt2data.loading.mixture import Mixture
from rt2data.loading.sampling import Cursor, Taken, Turns
from rt2data.order import BLOCK

RESUME = "resume"
"""Key under which a batch holds the state to resume after it."""
torch: Any = import_module("torch")
workers: Any = import_module("torch.utils.data")


class TorchMixture(workers.IterableDataset):  # type: ignore[misc]
    """Batches of a mixture, as made by `Collate`, with tensors for arrays.

    Use it as `DataLoader(TorchMixture(mixture, 32), batch_size=None, num_workers=4)`. Worker w of W reads batches w, w + W, ... of
    the rank and DataLoader takes one from each in turn, so the batches and their order are the same for any number of workers. Each
    batch has a state in `resume`: `load_state_dict` resumes after that batch, whatever workers had read ahead, with any number of
    workers and ranks.

    Without `batch_size` it yields single examples, 16 in turn from each worker, without `resume`.

    torchdata's StatefulDataLoader uses `state_dict` and `load_state_dict` in each worker. Workers start from the dataset of the
    main process: call `set_epoch` before each pass, or give `load` all epochs as one pass.
    """

    def __init__(
        self, mixture: Mixture, batch_size: int | None = None, *, drop_last: bool = False, length: int | None = None
    ) -> None:
        super().__init__()
        self.mixture, self.batch_size, self.drop_last = mixture, batch_size, drop_last
        self.collate = mixture.collate(length)
        self._begin()

    def _begin(self) -> None:
        self._offset, self._ended, self._restored = 0, False, False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._ended and not self._restored:  # start the next pass; but a state restored at its end has just finished
            self._begin()
        turns, self._restored = self._turns(), False
        while not self._ended:
            skip, count = turns.next(self._offset)
            passed = self.mixture.share.take(self.mixture.cursor, skip)
            ahead = Taken([], passed.cursor, True) if passed.ended else self.mixture.share.take(passed.cursor, count)
            yield from self._batch(ahead, skip) if self.batch_size else self._examples(passed.cursor, ahead, skip)
            self._move(ahead.cursor, 0, ahead.ended)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0."""
        self.mixture.set_epoch(epoch)
        self._begin()

    def state_dict(self) -> dict[str, Any]:
        """The position of this dataset in this worker."""
        return {"mixture": self.mixture.state_dict(), "offset": self._offset, "ended": self._ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where a state was taken: from `state_dict`, the `resume` of a batch, or a Mixture."""
        own: dict[str, Any] = state if "offset" in state else {"mixture": state, "offset": 0, "ended": False}
        self.mixture.load_state_dict(own["mixture"])
        self._offset, self._ended, self._restored = int(own["offset"]), bool(own["ended"]), True

    def _turns(self) -> Turns:
        here = workers.get_worker_info()
        unit = self.batch_size or BLOCK
        return Turns(here.id, here.num_workers, unit) if here else Turns(unit=unit)

    def _move(self, cursor: Cursor, count: int, ended: bool) -> None:
        self.mixture.cursor = cursor
        self._offset += count
        self._ended = ended

    def _batch(self, ahead: Taken, skip: int) -> Iterator[dict[str, Any]]:
        self._move(ahead.cursor, skip + ahead.examples, ahead.ended)
        if ahead.examples == self.batch_size or (ahead.examples and not self.drop_last):
            yield tensors(self.collate(list(self.mixture.read(ahead)))) | {RESUME: self.mixture.state_dict()}

    def _examples(self, first: Cursor, ahead: Taken, skip: int) -> Iterator[dict[str, Any]]:
        self._move(first, skip, False)
        for number, example in enumerate(self.mixture.read(ahead), 1):
            last = number == ahead.examples
            self._move(ahead.cursor if last else self.mixture.share.take(first, number).cursor, 1, last and ahead.ended)
            yield tensors(example)


def tensors(found: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary with tensors for arrays, sharing their memory."""
    return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in found.items()}
