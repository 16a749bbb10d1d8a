"""Rows to what a trainer learns from: prompts, targets, ids. Pure and batched; how rows are batched changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import InternalError, UsageError
from rt2data.records import Rendered, Rows
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import Codec
from rt2data.render.templates import Template
from rt2data.render.tokenizer import Ids, Tokenizer
from rt2data.standardize.answers import AnswerRule, choose_answer

Made = TypeVar("Made")

MEMO_CHARS = 4 << 20


class Memo(Generic[Made]):
    """What was made of recent texts: instructions and answers repeat. Bounded by their length; travels empty."""

    def __init__(self, limit: int = MEMO_CHARS) -> None:
        self._limit, self._chars = limit, 0
        self._known: dict[str, Made] = {}

    def get(self, texts: Sequence[str], make: Callable[[list[str]], Sequence[Made]]) -> list[Made]:
        """What `make` gives for each text; it is asked only for those not known."""
        known = self._known
        found = {text: known.get(text) for text in texts}
        missing = [text for text, made in found.items() if made is None]
        fresh = dict(zip(missing, make(missing), strict=True)) if missing else {}
        self._keep(fresh)
        return [made if (made := found[text]) is not None else fresh[text] for text in texts]

    def _keep(self, fresh: dict[str, Made]) -> None:
        """Starting over when full is simpler than forgetting the oldest, and the common texts are back at once."""
        chars = sum(map(len, fresh))
        if self._chars + chars > self._limit:
            self._known, self._chars = {}, 0
        self._known.update(fresh)
        self._chars += chars

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, (self._limit,)


@dataclass(frozen=True, eq=False)
class Renderer:
    """How rows of one source become prompts, targets and ids.

    `codec` and `words` are for robot rows, `answers` is for web rows. Ids are `[begin] prompt target [end]`; the space
    before a target that is text belongs to the target's first token, as vocabularies write it, and a space before
    action ids to the prompt: so the ids are those of the whole text.
    """

    template: Template
    tokenizer: Tokenizer
    codec: Codec | None = None
    words: ActionWords | None = None
    answers: AnswerRule = "majority"
    seed: int = 0
    max_tokens: int | None = None
    _steps: Memo[tuple[str, Ids]] = field(default_factory=Memo, init=False, repr=False)
    _questions: Memo[tuple[str, Ids]] = field(default_factory=Memo, init=False, repr=False)
    _targets: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)

    def __post_init__(self) -> None:
        codec, words = self.codec, self.words
        if words and (words.cue != self.template.cue or words.tokenizer.sha256 != self.tokenizer.sha256):
            raise InternalError("action words of another template or tokenizer", where=words.tokenizer.name)
        if codec and (words is None or words.token_map != codec.token_map):
            raise InternalError("action words of another codec", where=codec.name)

    def render(self, rows: Rows) -> Rendered:
        """Prompts, targets and ids of n rows, in their order.

        Raises UsageError naming the first row whose ids are more than `max_tokens`: a target is never cut.
        """
        bins, targets, target_ids = self._actions(rows) if rows.kind == "robot" else self._answers(rows)
        prompts = self._prompts(rows)
        end = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        ids = [[*prompt, *target, *end] for (_, prompt), target in zip(prompts, target_ids, strict=True)]
        self._refuse_long(rows, ids)
        return Rendered([text for text, _ in prompts], targets, ids, [len(prompt) for _, prompt in prompts], bins)

    def _actions(self, rows: Rows) -> tuple[NDArray[np.int32], list[str], list[Ids]]:
        if self.codec is None or self.words is None or rows.action is None:
            raise InternalError("robot rows need actions, a codec and its words", where=rows.source)
        bins = self.codec.encode(rows.action, rows.terminate)
        return bins, *self.words.spell(bins)

    def _answers(self, rows: Rows) -> tuple[None, list[str], list[Ids]]:
        columns = zip(rows.answers, rows.keys, rows.epochs.tolist(), rows.picks.tolist(), strict=True)
        chosen = [choose_answer(answers, self.answers, key, epoch, pick, self.seed) for answers, key, epoch, pick in columns]
        return None, chosen, self._targets.get(chosen, self._encode_targets)

    def _encode_targets(self, texts: list[str]) -> list[Ids]:
        return self.tokenizer.encode_after(self.template.cue, [" " + text for text in texts])

    def _prompts(self, rows: Rows) -> list[tuple[str, Ids]]:
        if rows.kind == "robot":
            return self._steps.get(rows.text, self._robot_prompts)
        return self._questions.get(rows.text, self._web_prompts)

    def _robot_prompts(self, texts: list[str]) -> list[tuple[str, Ids]]:
        space = " " if self.words is not None and self.words.token_map == "last_n" else ""
        return self._with_ids([self.template.robot_prompt(text) for text in texts], space)

    def _web_prompts(self, texts: list[str]) -> list[tuple[str, Ids]]:
        return self._with_ids([self.template.web_prompt(text) for text in texts], "")

    def _with_ids(self, prompts: list[str], space: str) -> list[tuple[str, Ids]]:
        begin = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        encoded = self.tokenizer.encode_batch([prompt.rstrip() + space for prompt in prompts])
        return [(prompt, begin + ids) for prompt, ids in zip(prompts, encoded, strict=True)]

    def _refuse_long(self, rows: Rows, ids: list[Ids]) -> None:
        if self.max_tokens is None:
            return
        for key, each in zip(rows.keys, ids, strict=True):
            if len(each) > self.max_tokens:
                what = f"{len(each)} tokens, more than max_tokens {self.max_tokens}"
                raise UsageError(what, f"{rows.source}, {key}", "raise max_tokens; targets are never cut")
