"""What one pass over the data costs: steps, tokens, time, and how fast it must be read."""

from __future__ import annotations

from dataclasses import dataclass

from rt2data.look.report import views
from rt2data.look.stats.model import Stats

BATCHES = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one pass costs, for a batch and some GPUs to begin with; the page reckons it anew for others."""

    examples: int
    tokens: int | None
    learned: int | None
    bytes: int
    batch: int = 256
    gpus: int = 8
    rate: float = 50.0  # examples that one GPU takes in a second

    @property
    def each(self) -> float | None:
        return self.bytes / self.examples if self.examples else None

    @property
    def steps(self) -> int:
        return -(-self.examples // self.batch)

    @property
    def per_step(self) -> float | None:
        return self._per_step(self.batch)

    @property
    def seconds(self) -> float:
        return self.examples / (self.gpus * self.rate)

    @property
    def reading(self) -> float | None:
        return self.each and self.each * self.gpus * self.rate

    @property
    def table(self) -> list[tuple[int, int, float | None]]:
        """Batch, steps, tokens a step; no batch is larger than the whole."""
        fitting = [batch for batch in BATCHES if batch <= self.examples] or BATCHES[:1]
        return [(batch, -(-self.examples // batch), self._per_step(batch)) for batch in fitting]

    def _per_step(self, batch: int) -> float | None:
        return self.tokens / self.examples * batch if self.tokens and self.examples else None


def cost(stats: Stats) -> Cost:
    """Of one pass."""
    return Cost(views.examples(stats), views.tokens(stats), views.learned(stats), views.read_bytes(stats))
