"""What a model says before it acts: a step's notes in a template's words, with some parts left out by a keyed choice."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rt2data.order import key64
from rt2data.records import Note
from rt2data.render.templates import Template


class Dropout(NamedTuple):
    """Leaves out a share of the parts, each independently, by row, epoch and seed."""

    share: Fraction = Fraction(0)
    seed: int = 0

    def keeps(self, form: str, key: str, epoch: int) -> bool:
        """Whether a part of a row is kept in an epoch."""
        return not self.share or key64("reasoning", self.seed, key, epoch, form) >= self.share * 2**64


NO_DROPOUT = Dropout()


def lead_of(template: Template, notes: Sequence[Note] | None, key: str, epoch: int, dropout: Dropout) -> str:
    """Text between the prompt of a robot step and its action, ending with the template's action cue. Empty without a cue."""
    if not template.action_cue:
        return ""
    said = (text for form, text in template.say(notes or ()) if dropout.keeps(form, key, epoch))
    return " ".join([*said, template.action_cue])
