"""Co-fine-tune a tiny vision-language-action model on a finished mixture with PyTorch, about a minute on a CPU.

    python examples/train_torch.py mixture --out run
    python examples/train_torch.py mixture --out run --stop 100     # as if interrupted after step 100
    python examples/train_torch.py mixture --out run --resume       # continues there and ends with the same weights

One model, one loss: the mean over all loss tokens, answers and actions alike. A robot's next action is then generated token by
token out of action words only, and decoded by the codec in the manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from loss_curves import Losses, draw_losses
from target_losses import KINDS, SPARE, WINDOW, ActionsOnly, show_actions, summary, unigram_losses
from torch import Tensor, nn
from torch.utils.data import DataLoader

import rt2data
from rt2data.loading import Mixture
from rt2data.loading.torch import TorchMixture

SIDE, PATCHES, WIDTH, LAYERS, HEADS = 64, 16, 96, 3, 4
COLUMNS = ("key", "kind", "input_ids", "loss_mask")


class Block(nn.Module):
    """Causal attention, then a small network, each on normed input and added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """f32[B, T, WIDTH] to the same."""
        query, key, value = self.attend(self.first(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.join(F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2))
        found: Tensor = x + self.think(self.second(x))
        return found


class TinyVLA(nn.Module):
    """Images become 16 tokens by three strided convolutions; a causal transformer reads them, then the text."""

    def __init__(self, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.eye = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, 4), nn.GELU(), nn.Conv2d(32, 64, 2, 2), nn.GELU(), nn.Conv2d(64, WIDTH, 2, 2), nn.Flatten(2))
        )
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.1)
        self.places = nn.Parameter(torch.randn(PATCHES + longest, WIDTH) * 0.02)
        self.body = nn.Sequential(*(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH))

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Scores f32[B, T, vocabulary] of the token that follows each of ids[B, T], given images uint8[B, 64, 64, 3]."""
        seen = self.eye(images.permute(0, 3, 1, 2).float() / 127.5 - 1).transpose(1, 2)
        whole = torch.cat([seen, self.tokens(ids)], 1)
        found: Tensor = self.body(whole + self.places[: whole.shape[1]])[:, PATCHES:] @ self.tokens.weight.T
        return found


@dataclass
class Training:
    """Everything that changes while training, and so everything a checkpoint holds."""

    mixture: Mixture
    batch: int
    steps: int
    seed: int = 0
    done: int = 0
    losses: Losses = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.resume: dict[str, Any] = self.mixture.state_dict()
        self.model = TinyVLA(self.mixture.contents.plan.tokenizer["vocab_size"], self.mixture.contents.longest + SPARE)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3, weight_decay=0.01)

    def batches(self, workers: int) -> Iterator[dict[str, Any]]:
        """Batches without end from where the training stands."""
        dataset = TorchMixture(self.mixture, self.batch)
        dataset.load_state_dict(self.resume)
        yield from DataLoader(dataset, batch_size=None, num_workers=workers)

    def run(self, until: int, workers: int) -> None:
        """Steps up to `until`."""
        for batch in self.batches(workers):
            if self.done >= until:
                return
            self.step(batch)
            if self.done % WINDOW == 0:
                print(self.done, *(f"{kind} {np.mean(found[-WINDOW:]):.3f}" for kind, found in self.losses.items()), flush=True)

    def step(self, batch: dict[str, Any]) -> None:
        """One step of AdamW with a short warm-up and a cosine."""
        warm, left = min(1.0, (self.done + 1) / 20), 0.5 + 0.5 * math.cos(math.pi * self.done / self.steps)
        self.optimizer.param_groups[0]["lr"] = 2e-3 * warm * max(left, 0.05)
        ids = batch["input_ids"].long()
        scores = self.model(batch["image"], ids[:, :-1])
        each = F.cross_entropy(scores.transpose(1, 2), ids[:, 1:], reduction="none")
        counted = batch["loss_mask"][:, 1:].float()
        self.optimizer.zero_grad()
        ((each * counted).sum() / counted.sum()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._note(batch["kind"], each.detach() * counted, counted)
        self.done, self.resume = self.done + 1, batch["resume"]

    def _note(self, kinds: list[str], each: Tensor, counted: Tensor) -> None:
        for kind in KINDS:
            rows = torch.tensor([k == kind for k in kinds])
            if rows.any():
                self.losses[kind].append(float(each[rows].sum() / counted[rows].sum()))

    def save(self, path: Path) -> None:
        """A checkpoint: tensors, numbers and text."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"rest": json.dumps([self.done, self.losses, self.resume])}, path)

    def restore(self, path: Path) -> None:
        """Resume from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.losses, self.resume = json.loads(state["rest"])

    @torch.no_grad()
    def following(self, image: Any, ids: list[int]) -> list[float]:
        """Scores of each token to follow `ids`."""
        found: list[float] = self.model(torch.from_numpy(image)[None], torch.tensor([ids]))[0, -1].tolist()
        return found

    def digest(self) -> str:
        """sha256 of all weights."""
        return hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in self.model.state_dict().values())).hexdigest()


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("--out", type=Path, default=Path("run"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--stop", type=int, help="stop after this step and save a checkpoint")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    mixture = rt2data.load(options.mixture, epochs=None, resize=(SIDE, SIDE), columns=COLUMNS)
    training = Training(mixture, options.batch, options.steps)
    if options.resume:
        training.restore(options.out / "checkpoint.pt")
    training.run(options.stop or options.steps, options.workers)
    training.save(options.out / "checkpoint.pt")
    unigram = unigram_losses(rt2data.load(options.mixture, decode=None, columns=COLUMNS))
    draw_losses(training.losses, unigram, options.out / "losses.png")
    print(summary(training.losses, unigram))
    shown = rt2data.load(options.mixture, resize=(SIDE, SIDE), columns=COLUMNS)
    far = show_actions(shown, ActionsOnly(shown), training.following)
    result = {"step": training.done, "weights": training.digest(), "losses": training.losses, "unigram": unigram, "bins_off": far}
    (options.out / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
