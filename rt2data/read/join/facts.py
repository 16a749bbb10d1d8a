"""Summary of a join of questions, annotations and images: the same text in plan, inspect, stats, report and card."""

from __future__ import annotations

from collections.abc import Mapping

IMAGES = {
    "join.image_by_number": "matched by number",
    "join.image_by_pattern": "matched by `name`",
    "join.image_by_name": "matched by path",
    "join.image_by_base_name": "matched by file name alone",
    "join.missing_image": "missing",
    "join.unclear_image_name": "with names of several numbers",
}
SETTLED = {
    "join.same_bytes": "of several files with the same bytes",
    "join.first_folder": "of several files that differ, taken from the first of image_dirs",
}
WRITTEN = {
    "ids.text": "ids are strings",
    "ids.float": "ids are floats",
    "answers.multiple_choice_answer": "multiple_choice_answer is the one answer",
    "answers.answer": "`answer` stands alone",
    "answers.numbers": "answers are numbers",
    "answers.weights": "answers have weights",
}


def join_line(facts: Mapping[str, int]) -> str:
    """A line on questions, annotations and images, and how they were joined. Empty if nothing was."""
    if "join.questions" not in facts:
        return ""
    alone = facts.get("join.by_question_id_alone", 0)
    by = f" ({alone:,} by question_id alone)" if alone else ""
    images = _listed(facts, IMAGES) or "none"
    settled = _listed(facts, SETTLED)
    answered = f"{facts.get('join.annotations', 0):,} of {facts['join.questions']:,} questions have annotations{by}"
    return "; ".join([answered, f"images: {images}", *([settled] if settled else [])])


def written_line(facts: Mapping[str, int]) -> str:
    """A line on ids and answers that were read although not written as in VQAv2. Empty if there are none."""
    found = [f"{words} ({facts[name]:,})" for name, words in WRITTEN.items() if facts.get(name)]
    return ", ".join(found)


def _listed(facts: Mapping[str, int], names: Mapping[str, str]) -> str:
    return ", ".join(f"{facts[name]:,} {words}" for name, words in names.items() if facts.get(name))
