"""What the training examples share: losses by kind of target, what they are measured against, and actions only.

No framework is imported here; both trainers use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from loss_curves import NAMES, Losses
from numpy.typing import NDArray

from rt2data.loading import Mixture
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.tokenizer import Tokenizer, load_tokenizer

KINDS = ("robot", "web")
WINDOW = 20
"""Steps that a printed loss is the mean of."""
SPARE = 64
"""Positions beyond the longest example: a generated action may be longer than any that was read."""

WORD = -1
"""Marks the end of a word of an action; no token has this id."""

Following = Callable[[Any, list[int]], Sequence[float]]
"""Image and ids to scores of the token that follows."""


def unigram_losses(examples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Nats per loss token of the best predictor that ignores image, prompt and order: the entropy of targets, by kind."""
    targets: dict[str, list[NDArray[np.int32]]] = {kind: [] for kind in KINDS}
    for example in examples:
        targets[example["kind"]].append(example["input_ids"][example["loss_mask"]])
    return {kind: _entropy(np.concatenate(found)) for kind, found in targets.items() if found}


def _entropy(tokens: NDArray[np.int32]) -> float:
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float(-(share * np.log(share)).sum())


def summary(losses: Losses, unigram: Mapping[str, float]) -> str:
    """Two lines: where each loss began, where it ended, and the baseline."""
    return "\n".join(
        f"{NAMES[kind]:14} {np.mean(found[:3]):.3f} -> {np.mean(found[-WINDOW:]):.3f} nats (unigram {unigram[kind]:.3f})"
        for kind, found in losses.items()
        if kind in unigram
    )


class ActionsOnly:
    """Which tokens may come next in an action: as many words as the codec is wide, then the end token."""

    def __init__(self, mixture: Mixture, tokenizer_path: str | None = None) -> None:
        plan = mixture.contents.plan
        self.tokenizer: Tokenizer = load_tokenizer(plan.tokenizer["kind"], tokenizer_path)
        self.codec = codec_from_json(next(source.codec for source in plan.sources if source.codec))
        self.words, self.width = ActionWords(self.codec.token_map, self.tokenizer), self.codec.width
        self._tree: dict[int, Any] = {}
        for ids in self.words.spell(np.arange(256, dtype=np.int32)[:, None])[1]:
            branch = self._tree
            for token in ids:
                branch = branch.setdefault(token, {})
            branch[WORD] = {}

    def allowed(self, ids: Sequence[int]) -> list[int]:
        """Tokens that may follow `ids`, the beginning of an action; none when it is whole."""
        done, branch = 0, self._tree
        for token in ids:
            if token == self.tokenizer.eos_id:
                return []
            if token not in branch:  # a word is over, and this begins the next
                done, branch = done + 1, self._tree
            branch = branch[token]
        follow = [token for token in branch if token != WORD]
        if WORD not in branch:
            return follow
        last = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        return follow + (list(self._tree) if done + 1 < self.width else last)

    def bins(self, ids: Sequence[int]) -> NDArray[np.int32]:
        """int32[1, width] of a whole action; `codec.decode` takes it."""
        words = [token for token in ids if token != self.tokenizer.eos_id]
        return np.array([self.words.parse(words)], np.int32)


def show_actions(mixture: Mixture, only: ActionsOnly, following: Following, count: int = 8) -> float:
    """Print the actions of the model next to those of the log; gives the mean distance in bins.

    Of the tokens allowed the best is taken, so that every answer is an action.
    """
    far, robots = [], (example for example in mixture if example["kind"] == "robot")
    for example, _ in zip(robots, range(count), strict=False):
        bins = only.bins(_act(only, example, following))
        action, terminate = only.codec.decode(bins)
        asked = only.bins(example["input_ids"][example["loss_mask"]].tolist())
        far.append(np.abs(bins - asked).mean())
        print(f"{bins[0].tolist()} for {asked[0].tolist()}: {np.round(action[0], 4).tolist()}, ends {terminate[0]}")
    return float(np.mean(far))


def _act(only: ActionsOnly, example: Mapping[str, Any], following: Following) -> list[int]:
    prompt, said = example["input_ids"][~example["loss_mask"]].tolist(), list[int]()
    while allowed := only.allowed(said):
        said.append(max(allowed, key=following(example["image"], prompt + said).__getitem__))
    return said
