"""The same tiny vision-language-action model and training as train_torch.py, in plain JAX.

    python examples/train_jax.py mixture --out run
    python examples/train_jax.py mixture --out run --stop 100     # as if interrupted after step 100
    python examples/train_jax.py mixture --out run --resume       # continues there and ends with the same weights

A mixture is a plain iterator of numpy arrays. Batches are padded to the longest example, so a step is compiled once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from loss_curves import Losses, draw_losses
from target_losses import KINDS, SPARE, WINDOW, ActionsOnly, show_actions, summary, unigram_losses

import rt2data
from rt2data.loading import Mixture

SIDE, PATCHES, WIDTH, LAYERS, HEADS = 64, 16, 96, 3, 4
COLUMNS = ("key", "kind", "input_ids", "loss_mask")
RATE, DECAY = 2e-3, 0.01
Weights = dict[str, Any]


def initial(vocabulary: int, longest: int, seed: int) -> Weights:
    """Weights f32 by name."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, std: float | None = None) -> Any:
        return jnp.asarray(random.normal(0, std or shape[-2] ** -0.5, shape), jnp.float32)

    made = {"tokens": normal(vocabulary, WIDTH, std=0.1), "places": normal(PATCHES + longest, WIDTH, std=0.02)}
    made |= {"eye0": normal(48, 32), "eye1": normal(128, 64), "eye2": normal(256, WIDTH)}
    for layer in range(LAYERS):
        made |= {f"attend{layer}": normal(WIDTH, 3 * WIDTH), f"join{layer}": normal(WIDTH, WIDTH)}
        made |= {f"think{layer}": normal(WIDTH, 4 * WIDTH), f"say{layer}": normal(4 * WIDTH, WIDTH)}
    return made


def scores(weights: Weights, images: Any, ids: Any) -> Any:
    """f32[B, T, vocabulary]: scores of the token that follows each of ids[B, T], given images uint8[B, 64, 64, 3]."""
    whole = jnp.concatenate([_see(weights, images), weights["tokens"][ids]], 1)
    whole = whole + weights["places"][: whole.shape[1]]
    for layer in range(LAYERS):
        whole = whole + _attend(_normed(whole) @ weights[f"attend{layer}"]) @ weights[f"join{layer}"]
        whole = whole + jax.nn.gelu(_normed(whole) @ weights[f"think{layer}"]) @ weights[f"say{layer}"]
    return _normed(whole)[:, PATCHES:] @ weights["tokens"].T


def _see(weights: Weights, images: Any) -> Any:
    """Sixteen tokens of an image: patches of 4, 2 and 2 neighbours, each through a layer."""
    seen = images.astype(jnp.float32) / 127.5 - 1
    for name, size in (("eye0", 4), ("eye1", 2), ("eye2", 2)):
        rows, side, _, depth = seen.shape
        parts = seen.reshape(rows, side // size, size, side // size, size, depth).swapaxes(2, 3)
        seen = parts.reshape(rows, side // size, side // size, -1) @ weights[name]
        seen = seen if name == "eye2" else jax.nn.gelu(seen)
    return seen.reshape(len(seen), PATCHES, WIDTH)


def _normed(x: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def _attend(three: Any) -> Any:
    rows, length, _ = three.shape
    query, key, value = jnp.moveaxis(three.reshape(rows, length, 3, HEADS, -1), 2, 0)
    return jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(rows, length, WIDTH)


def losses_of(weights: Weights, batch: Weights) -> tuple[Any, Any]:
    """The mean over all loss tokens; and sums of losses and counts of tokens of each row, f32[2, B]."""
    ids, counted = batch["input_ids"], batch["loss_mask"][:, 1:]
    chances = jax.nn.log_softmax(scores(weights, batch["image"], ids[:, :-1]))
    each = -jnp.take_along_axis(chances, ids[:, 1:, None], -1)[..., 0] * counted
    return each.sum() / counted.sum(), jnp.stack([each.sum(1), counted.sum(1)])


@partial(jax.jit, donate_argnums=0)
def step(state: Weights, batch: Weights, rate: Any) -> tuple[Weights, Any]:
    """One step of AdamW (Loshchilov and Hutter 2019, algorithm 2) on clipped gradients."""
    (_, rows), slopes = jax.value_and_grad(losses_of, has_aux=True)(state["weights"], batch)
    length = jnp.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    slopes = jax.tree.map(lambda slope: slope * jnp.minimum(1, 1 / length), slopes)
    count = state["count"] + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["mean"], slopes)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, state["square"], slopes)

    def moved(w: Any, m: Any, s: Any) -> Any:
        return w - rate * (m / (1 - 0.9**count) / (jnp.sqrt(s / (1 - 0.999**count)) + 1e-8) + DECAY * w)

    weights = jax.tree.map(moved, state["weights"], mean, square)
    return {"weights": weights, "mean": mean, "square": square, "count": count}, rows


@dataclass
class Training:
    """Everything that changes while training, and so everything a checkpoint holds."""

    mixture: Mixture
    steps: int
    done: int = 0
    losses: Losses = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def __post_init__(self) -> None:
        contents = self.mixture.contents
        weights = initial(contents.plan.tokenizer["vocab_size"], contents.longest + SPARE, seed=0)
        still = jax.tree.map(jnp.zeros_like, weights)
        self.state: Weights = {"weights": weights, "mean": still, "square": jax.tree.map(jnp.copy, still), "count": jnp.zeros(())}

    def run(self, until: int, size: int) -> None:
        """Steps up to `until`."""
        batches = self.mixture.batches(size, length=self.mixture.contents.longest)
        while self.done < until:
            batch = next(batches)
            rate = RATE * min(1.0, (self.done + 1) / 20) * max(0.5 + 0.5 * math.cos(math.pi * self.done / self.steps), 0.05)
            arrays = {name: batch[name] for name in ("image", "input_ids", "loss_mask")}
            self.state, rows = step(self.state, arrays, rate)
            self._note(np.array(batch["kind"]), np.asarray(rows))
            self.done += 1
            if self.done % WINDOW == 0:
                print(self.done, *(f"{kind} {np.mean(found[-WINDOW:]):.3f}" for kind, found in self.losses.items()), flush=True)

    def _note(self, kinds: Any, rows: Any) -> None:
        for kind in KINDS:
            total, tokens = rows[:, kinds == kind].sum(1)
            if tokens:
                self.losses[kind].append(float(total / tokens))

    def save(self, path: Path) -> None:
        """A checkpoint: arrays, numbers and text."""
        leaves = {f"leaf{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.state))}
        rest = json.dumps([self.done, self.losses, self.mixture.state_dict()])
        np.savez(path, rest=np.array(rest), **leaves)  # type: ignore[arg-type]

    def restore(self, path: Path) -> None:
        """Resume from a checkpoint."""
        with np.load(path, allow_pickle=False) as found:
            leaves = [jnp.asarray(found[name]) for name in sorted(found) if name != "rest"]
            self.done, self.losses, where = json.loads(str(found["rest"]))
        self.state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)
        self.mixture.load_state_dict(where)

    def digest(self) -> str:
        """sha256 of all weights."""
        return hashlib.sha256(b"".join(np.asarray(w).tobytes() for w in jax.tree.leaves(self.state["weights"]))).hexdigest()

    def following(self, image: Any, ids: list[int]) -> list[float]:
        """Scores of each token to follow `ids`; filled up, so that it is compiled once."""
        filled = np.zeros((1, self.mixture.contents.longest + SPARE), np.int32)
        filled[0, : len(ids)] = ids
        found: list[float] = _compiled(self.state["weights"], image[None], filled)[0, len(ids) - 1].tolist()
        return found


_compiled = jax.jit(scores)


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description="Co-fine-tune a tiny vision-language-action model with JAX.")
    parser.add_argument("mixture", type=Path)
    parser.add_argument("--out", type=Path, default=Path("run"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--stop", type=int, help="stop after this step and save a checkpoint")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    training = Training(rt2data.load(options.mixture, epochs=None, resize=(SIDE, SIDE), columns=COLUMNS), options.steps)
    if options.resume:
        training.restore(options.out / "checkpoint.npz")
    training.run(options.stop or options.steps, options.batch)
    training.save(options.out / "checkpoint.npz")
    unigram = unigram_losses(rt2data.load(options.mixture, decode=None, columns=COLUMNS))
    draw_losses(training.losses, unigram, options.out / "losses.png")
    print(summary(training.losses, unigram))
    shown = rt2data.load(options.mixture, resize=(SIDE, SIDE), columns=COLUMNS)
    far = show_actions(shown, ActionsOnly(shown), training.following)
    result = {"step": training.done, "weights": training.digest(), "losses": training.losses, "unigram": unigram, "bins_off": far}
    (options.out / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
