"""The rules for conversations: turns that a template can render, with a place for every image."""

from __future__ import annotations

from rt2data.records import Example

IMAGE = "<image>"
"""The place of an image in the text of a turn."""


def conversation_fault(example: Example) -> tuple[str, str, str] | None:
    """Reason, place and detail of what is wrong with a conversation; None where nothing is, or it is a question with answers."""
    turns = example.turns
    if not turns:
        return None
    spoken = [turn for turn in turns if turn.role != "system"]
    order = [turn.role for turn in spoken]
    if any(turn.role == "system" for turn in turns[1:]) or order != ["user", "assistant"] * (len(spoken) // 2) or not spoken:
        return "turn_order", example.key, "roles are " + ", ".join(turn.role for turn in turns)
    if any(not turn.text.strip() for turn in spoken):
        return "blank_turn", example.key, f"turn {[not turn.text.strip() for turn in turns].index(True)}"
    if not any(turn.loss for turn in spoken if turn.role == "assistant"):
        return "no_loss", example.key, "no turn of the assistant has a loss"
    places = sum(turn.text.count(IMAGE) for turn in turns)
    if places != len(example.images):
        return "image_places", example.key, f"{places} places for {len(example.images)} images"
    return None
