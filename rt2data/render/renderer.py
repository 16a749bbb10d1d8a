"""Turns rows into what a trainer learns from: turns, prompts, targets, ids and spans. Pure; batching changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from rt2data.errors import InternalError, UsageError
from rt2data.records import Agreement, AnswerRule, Message, Rendered, Rows, Span, Turn
from rt2data.render.action_tokens import ActionWords
from rt2data.render.codecs.codec import Codec
from rt2data.render.reasoning import NO_DROPOUT, Dropout, lead_of
from rt2data.render.regions.convention import Convention
from rt2data.render.regions.places import filled
from rt2data.render.templates import Template
from rt2data.render.tokenizer import Ids, Tokenizer
from rt2data.standardize.answers import choose_answer, consensus
from rt2data.standardize.conversation import IMAGE

Made = TypeVar("Made")

MEMO_CHARS = 4 << 20


class Memo(Generic[Made]):
    """A cache of results for recent texts, as instructions and answers repeat. Bounded by text length; pickled empty."""

    def __init__(self, limit: int = MEMO_CHARS) -> None:
        self._limit, self._chars = limit, 0
        self._known: dict[str, Made] = {}

    def get(self, texts: Sequence[str], make: Callable[[list[str]], Sequence[Made]]) -> list[Made]:
        """The result of `make` for each text; `make` gets only texts that are not cached."""
        known = self._known
        found = {text: known.get(text) for text in texts}
        missing = [text for text, made in found.items() if made is None]
        fresh = dict(zip(missing, make(missing), strict=True)) if missing else {}
        self._keep(fresh)
        return [made if (made := found[text]) is not None else fresh[text] for text in texts]

    def _keep(self, fresh: dict[str, Made]) -> None:
        """Cache new results. Clearing when full is simpler than evicting the oldest, and common texts are soon back."""
        chars = sum(map(len, fresh))
        if self._chars + chars > self._limit:
            self._known, self._chars = {}, 0
        self._known.update(fresh)
        self._chars += chars

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, (self._limit,)


class Prompt(NamedTuple):
    """What precedes a target: text and ids of the prompt, and the user's words without the template's."""

    prompt: str
    ids: Ids
    words: str


class Targets(NamedTuple):
    """The targets, row by row."""

    texts: Sequence[str]
    ids: Sequence[Ids]
    bins: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class Renderer:
    """Turns rows of one source into turns, prompts, targets and ids.

    `codec` and `words` are for rows with actions, `answers` is for questions, `regions` for boxes and points. Ids are `[begin]
    prompt target [end]`, and for a conversation `[begin] prompt target [end] prompt target [end] ...`; the space before a text
    target belongs to its first token, as vocabularies have it, and a space before action ids to the prompt: so the ids are those of
    the whole text.
    """

    template: Template
    tokenizer: Tokenizer
    codec: Codec | None = None
    words: ActionWords | None = None
    answers: AnswerRule = "majority"
    agreement: Agreement = "case"
    seed: int = 0
    max_tokens: int | None = None
    regions: Convention | None = None
    dropout: Dropout = NO_DROPOUT
    _steps: Memo[Prompt] = field(default_factory=Memo, init=False, repr=False)
    _questions: Memo[Prompt] = field(default_factory=Memo, init=False, repr=False)
    _targets: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)
    _leads: Memo[Ids] = field(default_factory=Memo, init=False, repr=False)

    def __post_init__(self) -> None:
        codec, words = self.codec, self.words
        if words and (words.cue != self.template.before_action or words.tokenizer.sha256 != self.tokenizer.sha256):
            raise InternalError("action words of another template or tokenizer", where=words.tokenizer.name)
        if codec and (words is None or words.token_map != codec.token_map):
            raise InternalError("action words of another codec", where=codec.name)

    def render(self, rows: Rows) -> Rendered:
        """Turns, prompts, targets, ids and spans of n rows, in order.

        Raises UsageError naming the first row with more ids than `max_tokens`, as targets are never cut, or with regions that the
        convention cannot write.
        """
        said = rows if self.regions is None or rows.regions is None else filled(self._settled(rows), self.regions)
        found = self._single(said) if all(turns is None for turns in said.turns) else self._conversations(said)
        self._refuse_long(rows, found.input_ids)
        return replace(found, weights=[self._weight(rows, at) for at in range(len(rows))]) if self.answers == "soft" else found

    def _settled(self, rows: Rows) -> Rows:
        """Each question reduced to its one answer, chosen before region numbers are filled in, by the source's own words."""
        answers = [(self._answer(rows, at),) if turns is None else () for at, turns in enumerate(rows.turns)]
        return replace(rows, answers=answers, picks=np.zeros_like(rows.picks))

    def _weight(self, rows: Rows, at: int) -> float:
        """The consensus on a row's answer; 1 for a conversation."""
        if rows.turns[at] is not None:
            return 1.0
        return float(consensus(rows.answers[at], self._answer(rows, at), self.agreement))

    # One question, one target

    def _single(self, rows: Rows) -> Rendered:
        targets = self._actions(rows) if rows.chunks is not None else self._answers(rows)
        asked = self._asked(rows)
        end = self._end
        ids = [[*each.ids, *target, *end] for each, target in zip(asked, targets.ids, strict=True)]
        images = np.diff(rows.images.starts).tolist()
        return Rendered(
            prompts=[each.prompt for each in asked],
            targets=targets.texts,
            input_ids=ids,
            spans=[_two_spans(len(each.ids), len(whole)) for each, whole in zip(asked, ids, strict=True)],
            messages=[
                (_question(each.words, count), Message("assistant", target))
                for each, target, count in zip(asked, targets.texts, images, strict=True)
            ],
            bins=targets.bins,
        )

    @property
    def _end(self) -> Ids:
        return [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]

    @property
    def _begin(self) -> Ids:
        return [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]

    def _actions(self, rows: Rows) -> Targets:
        if self.codec is None or self.words is None or rows.chunks is None:
            raise InternalError("robot rows need actions, a codec and its words", where=rows.source)
        bins = self.codec.encode_chunks(rows.chunks)
        texts, ids = self.words.spell(bins)
        return self._led(rows, texts, ids, bins) if self.template.action_cue else Targets(texts, ids, bins)

    def _led(self, rows: Rows, texts: list[str], ids: list[Ids], bins: Sequence[Sequence[int]]) -> Targets:
        """Targets of actions preceded by what is said before them."""
        notes = rows.notes or [None] * len(rows)
        columns = zip(notes, rows.keys, rows.epochs.tolist(), strict=True)
        leads = [lead_of(self.template, each, key, epoch, self.dropout) for each, key, epoch in columns]
        before = self._leads.get(leads, self._encode_leads)
        return Targets(
            [f"{lead} {text}" for lead, text in zip(leads, texts, strict=True)],
            [[*lead, *action] for lead, action in zip(before, ids, strict=True)],
            bins,
        )

    def _encode_leads(self, texts: list[str]) -> list[Ids]:
        return self.tokenizer.encode_after(self.template.before_thoughts, [f" {text}{self._space}" for text in texts])

    @property
    def _space(self) -> str:
        """The space between an action's words and what precedes them, if it is not part of the words."""
        return " " if self.words is not None and self.words.token_map == "last_n" else ""

    def _answers(self, rows: Rows) -> Targets:
        chosen = [self._answer(rows, at) for at in range(len(rows))]
        return Targets(chosen, self._targets.get(chosen, self._encode_targets))

    def _encode_targets(self, texts: list[str]) -> list[Ids]:
        return self.tokenizer.encode_after(self.template.cue, [" " + text for text in texts])

    def _asked(self, rows: Rows) -> list[Prompt]:
        if rows.chunks is not None:
            return self._steps.get(rows.text, self._ask_robot)
        return self._questions.get(rows.text, self._ask_web)

    def _ask_robot(self, texts: list[str]) -> list[Prompt]:
        space = "" if self.template.action_cue else self._space
        return self._with_ids([self.template.robot_question(text) for text in texts], space, robot=True)

    def _ask_web(self, texts: list[str]) -> list[Prompt]:
        return self._with_ids([self.template.web_question(text) for text in texts], "")

    def _with_ids(self, questions: list[str], space: str, robot: bool = False) -> list[Prompt]:
        prompts = [self.template.prompt(question, robot) for question in questions]
        encoded = self.tokenizer.encode_batch([prompt.rstrip() + space for prompt in prompts])
        return [
            Prompt(prompt, self._begin + ids, question) for prompt, ids, question in zip(prompts, encoded, questions, strict=True)
        ]

    # Conversations

    def _conversations(self, rows: Rows) -> Rendered:
        """Questions in the batch become conversations of two turns; their ids are the same as on their own."""
        prompts, targets, ids, spans = list[str](), list[str](), list[Ids](), list[tuple[Span, ...]]()
        talks = [turns if turns is not None else self._as_turns(rows, at) for at, turns in enumerate(rows.turns)]
        for turns, own in zip(talks, rows.turns, strict=True):
            pieces = self.template.pieces(turns)
            if own is None:
                pieces[0] = pieces[0]._replace(text=pieces[0].text.replace(f"{IMAGE}\n", ""))
            said = self._piece_ids([piece.text for piece in pieces])
            edges = np.cumsum([0, *map(len, said)]).tolist()
            kinds = [(piece.loss, "target" if piece.target else "prompt") for piece in pieces]
            spans.append(tuple(Span(a, b, loss, what) for (a, b), (loss, what) in zip(pairwise(edges), kinds, strict=True)))  # type: ignore[arg-type]
            ids.append([each for piece in said for each in piece])
            prompts.append("".join(piece.text for piece in pieces[:-1]))
            targets.append(pieces[-1].text.removeprefix(" "))
        messages = [tuple(Message(turn.role, turn.text) for turn in turns) for turns in talks]
        return Rendered(prompts, targets, ids, spans, messages)

    def _as_turns(self, rows: Rows, at: int) -> Sequence[Turn]:
        """A question and its answer."""
        images = int(rows.images.starts[at + 1] - rows.images.starts[at])
        return Turn("user", _places(images) + self.template.web_question(rows.text[at])), Turn("assistant", self._answer(rows, at))

    def _answer(self, rows: Rows, at: int) -> str:
        """The answer of a row in its epoch."""
        key, epoch, pick = rows.keys[at], int(rows.epochs[at]), int(rows.picks[at])
        return choose_answer(rows.answers[at], self.answers, key, epoch, pick, self.seed, self.agreement)

    def _piece_ids(self, texts: list[str]) -> list[Ids]:
        """Ids of alternating prompts and targets: the first begins the text, targets follow the cue, later prompts an end token."""
        first = self._begin + self.tokenizer.encode(texts[0].rstrip())
        targets = self._targets.get(texts[1::2], lambda some: self.tokenizer.encode_after(self.template.cue, some))
        prompts = self._questions_after(texts[2::2])
        found: list[Ids] = [first]
        for at, target in enumerate(targets):
            found.append([*target, *self._end])
            if at < len(prompts):
                found.append(prompts[at])
        return found

    def _questions_after(self, texts: list[str]) -> list[Ids]:
        return self.tokenizer.encode_after(self.template.cue, [text.rstrip() for text in texts]) if texts else []

    def _refuse_long(self, rows: Rows, ids: Sequence[Sequence[int]]) -> None:
        if self.max_tokens is None:
            return
        for key, each in zip(rows.keys, ids, strict=True):
            if len(each) > self.max_tokens:
                what = f"{len(each)} tokens, more than max_tokens {self.max_tokens}"
                raise UsageError(what, f"{rows.source}, {key}", "raise max_tokens; targets are never cut")


@lru_cache(maxsize=4096)
def _two_spans(prompt: int, whole: int) -> tuple[Span, ...]:
    return Span(0, prompt, False, "prompt"), Span(prompt, whole, True, "target")


@lru_cache(maxsize=4096)
def _question(words: str, images: int) -> Message:
    return Message("user", _places(images) + words)


@lru_cache(maxsize=64)
def _places(images: int) -> str:
    """The image places that precede a question."""
    return f"{IMAGE}\n" * images
