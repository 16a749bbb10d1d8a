"""Checking texts: the ids of a prompt and of an answer are those the tokenizer gives for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rt2data.errors import DataError
from rt2data.look.verify.expected import Example, ExpectedSource, Texts


def text_faults(waiting: Sequence[Example], source: ExpectedSource, texts: Texts) -> Iterator[tuple[int, str]]:
    """Place and fault of every record whose ids say something else than its text."""
    space = " " if source.codec is not None and source.codec.token_map == "last_n" else ""
    try:
        prompts = texts.prompts([record.prompt for _, record, _ in waiting], space)
        answers = [] if source.robot else texts.answers([record.target for _, record, _ in waiting])
    except DataError as error:
        yield waiting[0].at, f"one of the {len(waiting)} examples of {source.plan.name} from here cannot be tokenized: {error}"
        return
    for (at, record, learned), prompt in zip(waiting, prompts, strict=True):
        if record.input_ids[: len(record.input_ids) - learned] != prompt:
            yield at, "its input_ids are not those of its prompt"
    for (at, record, learned), answer in zip(waiting, answers, strict=False):
        if record.input_ids[len(record.input_ids) - learned :] != answer:
            yield at, "its input_ids are not those of its target"
