"""Something to look at before paying: one type and one order for plan, stats, report and card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["error", "warning", "note"]
RANK: dict[str, int] = {"error": 0, "warning": 1, "note": 2}


class Warn(msgspec.Struct, frozen=True):
    """One finding. `error`: training on it is a mistake; `warning`: look before you train; `note`: good to know."""

    code: str  # snake_case, stable: dead_dimension, inverted_gripper, blank_text, black_camera, ...
    level: Level
    source: str  # empty where it is about the whole
    what: str  # one plain sentence
    do: str

    def __str__(self) -> str:
        about = f"{self.source}: " if self.source else ""
        advice = f" -> {self.do}" if self.do else ""
        return f"{self.level}: {about}{self.what}{advice} [{self.code}]"


def worst_first(found: Iterable[Warn]) -> tuple[Warn, ...]:
    """Errors, then warnings, then notes, each in the order given; the same one twice is told once."""
    once = {(warn.code, warn.source, warn.what): warn for warn in found}
    return tuple(sorted(once.values(), key=lambda warn: RANK[warn.level]))
