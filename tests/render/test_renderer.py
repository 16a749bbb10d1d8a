"""Rendering is a pure function of the row: ids are prompt, target and ends, and the target parses back."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import InternalError, UsageError
from rt2data.records import Chunks, Images, Message, Rendered, Rows, Turn
from rt2data.render.action_tokens import ActionWords, TokenMap
from rt2data.render.fields import loss_mask
from rt2data.render.renderer import Memo, Renderer
from rt2data.render.templates import TEMPLATES, find_template
from rt2data.render.tokenizer import Tokenizer, load_tokenizer
from tests.laws import tries
from tests.render import tiny

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
SPOKEN = TEXTS.filter(lambda text: bool(text.strip()))
BYTE = load_tokenizer("byte")


@dataclasses.dataclass(frozen=True)
class Grid:
    """A stand-in for a codec: whole numbers of 0..255 are their own bins."""

    token_map: TokenMap = "digits"
    name: str = "grid"
    width: int = 4

    def encode_chunks(self, chunks: Chunks) -> list[list[int]]:
        found: list[list[int]] = np.column_stack([chunks.ends[:, None] != 0, chunks.actions[:, 0]]).astype(np.int32).tolist()
        return found


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return tiny.kinds(tmp_path_factory.mktemp("tokenizers"))


def one_image_each(n: int, camera: str) -> Images:
    starts, zeros = np.arange(n + 1), np.zeros(n, np.int32)
    return Images(starts, zeros, [camera] * n, zeros, np.zeros(n, np.int64), zeros, np.zeros(n, np.uint64), ["jpeg"] * n)


def robot_rows(texts: Sequence[str], actions: Sequence[Sequence[int]], terminate: Sequence[bool] | None = None) -> Rows:
    n, ends = len(texts), list(terminate or [False] * len(texts))
    return Rows(
        source="arm",
        kind="robot",
        keys=[f"k{i}" for i in range(n)],
        groups=["e"] * n,
        steps=np.arange(n, dtype=np.int32),
        lengths=np.full(n, n, np.int32),
        timestamps=[None] * n,
        images=one_image_each(n, "front"),
        text=texts,
        answers=[()] * n,
        picks=np.full(n, -1, np.int32),
        turns=[None] * n,
        chunks=Chunks(np.array(actions, np.float32).reshape(n, 1, 3), np.ones(n, np.int32), np.where(ends, 0, -1).astype(np.int32)),
        state=None,
        terminate=np.array(ends, np.bool_),
        epochs=np.zeros(n, np.int64),
    )


def web_rows(texts: Sequence[str], answers: Sequence[Sequence[str]], picks: Sequence[int] | None = None) -> Rows:
    n = len(texts)
    empty = robot_rows(texts, [[0, 0, 0]] * n)
    picked = np.array(picks or [-1] * n, np.int32)
    return dataclasses.replace(empty, source="web", kind="web", chunks=None, answers=answers, picks=picked)


def renderer(tokenizer: Tokenizer = BYTE, template: str = "rt2", token_map: TokenMap = "digits", **more: Any) -> Renderer:
    form = find_template(template)
    words = ActionWords(token_map, tokenizer, form.before_action)
    return Renderer(form, tokenizer, Grid(token_map), words, **more)  # type: ignore[arg-type]


def one(rendered: Rendered) -> tuple[str, str, list[int], int]:
    return rendered.prompts[0], rendered.targets[0], list(rendered.input_ids[0]), rendered.spans[0][0].stop


def test_a_robot_row_is_rt2s_question_and_answer() -> None:
    rows = robot_rows(["pick_up the can."], [[128, 91, 255]], [True])
    prompt, target, ids, prompt_len = one(renderer().render(rows))
    assert prompt == "Q: what action should the robot take to pick up the can? A:"
    assert target == "0 128 91 255"
    assert bytes(i - 3 for i in ids[:-1]).decode() == f"{prompt} {target}"
    assert ids[-1] == BYTE.eos_id
    assert prompt_len == len(prompt)


def test_a_web_row_is_its_question_and_the_commonest_answer() -> None:
    rendered = renderer().render(web_rows(["is it red"], [("no", "yes", "yes")]))
    prompt, target, ids, prompt_len = one(rendered)
    assert (prompt, target) == ("Q: is it red? A:", "yes")
    assert BYTE.decode(ids[prompt_len:]) == " yes</s>"
    assert rendered.bins is None


def test_openvla_leaves_the_space_to_the_prompt_for_ids_and_to_the_target_for_words(kinds: dict[str, Tokenizer]) -> None:
    """As Llama's vocabulary has it: `Out`, `:`, `▁`, action ids; but `Out`, `:`, `▁yes`."""
    llama = kinds["llama"]
    made = renderer(llama, "openvla", "last_n")
    prompt, target, ids, prompt_len = one(made.render(robot_rows(["Pick it."], [[0, 127, 255]])))
    assert prompt == "In: What action should the robot take to pick it?\nOut: "
    assert [llama.token(i) for i in ids[prompt_len - 2 : prompt_len]] == [":", "▁"]
    assert ids[prompt_len:] == [*(llama.vocab_size - 1 - b for b in (1, 0, 127, 255)), llama.eos_id]
    assert ids[0] == llama.bos_id
    assert [llama.bos_id, *llama.encode(prompt + target), llama.eos_id] == ids
    _, _, ids, prompt_len = one(made.render(web_rows(["What is it?"], [("a cup",)])))
    assert llama.token(ids[prompt_len - 1]) == ":"
    assert llama.decode(ids[prompt_len:]) == " a cup</s>"


@tries(25)
@given(st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 255), min_size=3, max_size=3), st.booleans()), max_size=5))
def test_robot_targets_parse_back_and_the_loss_covers_them(kinds: dict[str, Tokenizer], rows: list[Any]) -> None:
    batch = robot_rows(*(list(column) for column in zip(*rows, strict=True))) if rows else robot_rows([], [])
    for name, template in ((name, template) for name in kinds for template in TEMPLATES):
        made = renderer(kinds[name], template)
        _obeys(made, batch, made.render(batch))


@tries(25)
@given(st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 255), min_size=3, max_size=3), st.booleans()), min_size=1))
def test_last_ids_obey_too(kinds: dict[str, Tokenizer], rows: list[Any]) -> None:
    batch = robot_rows(*(list(column) for column in zip(*rows, strict=True)))
    for name, template in ((name, template) for name in ("llama", "byte level") for template in TEMPLATES):
        made = renderer(kinds[name], template, "last_n")
        _obeys(made, batch, made.render(batch))


def _obeys(made: Renderer, rows: Rows, rendered: Rendered) -> None:
    """Ids are [begin] prompt target [end]; the target parses to the codec's bins by its ids and by its text."""
    assert made.words is not None and rendered.bins is not None and rows.action is not None
    tokenizer, words = made.tokenizer, made.words
    begin = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    for i, ids in enumerate(map(list, rendered.input_ids)):
        bins = [int(not rows.terminate[i]), *map(int, rows.action[i])]
        action = made.template.action_of(rendered.targets[i])
        led = bool(made.template.action_cue)
        lead = tokenizer.encode_after(
            made.template.before_thoughts, [f" {made.template.action_cue}{words.before[len(words.cue) :]}"]
        )
        target = ids[rendered.spans[i][0].stop + led * len(lead[0]) : -1]
        assert rendered.bins[i] == bins
        assert words.parse(target) == words.parse(action) == bins
        assert tokenizer.special_ids.isdisjoint(target) and ids[-1] == tokenizer.eos_id
        assert ids[: rendered.spans[i][0].stop] == begin + tokenizer.encode(
            rendered.prompts[i].rstrip() + ("" if led else words.before[len(words.cue) :])
        )
        assert ids[:-1] == begin + tokenizer.encode(rendered.prompts[i] + made.template.gap + rendered.targets[i])


@tries(25)
@given(st.lists(st.tuples(TEXTS, st.lists(SPOKEN, min_size=1, max_size=4)), min_size=1, max_size=4))
def test_web_targets_are_answers_that_were_given(kinds: dict[str, Tokenizer], rows: list[Any]) -> None:
    questions, answers = ([row[k] for row in rows] for k in (0, 1))
    for name in ("byte", "byte level", "llama"):
        for rule in ("majority", "sample"):
            rendered = renderer(kinds[name], answers=rule).render(web_rows(questions, answers))
            for target, given_, ids, start in zip(
                rendered.targets, answers, rendered.input_ids, [spans[0].stop for spans in rendered.spans], strict=True
            ):
                assert target in {answer.strip() for answer in given_}
                assert kinds[name].decode(list(ids)[start:-1]).strip() == target


@tries(25)
@given(st.data())
def test_batching_changes_nothing(kinds: dict[str, Tokenizer], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    texts = data.draw(st.lists(st.sampled_from(["pick it", "push the cup", "what?"]), min_size=n, max_size=n))
    cuts = sorted(data.draw(st.sets(st.integers(0, n))) | {0, n})
    name = data.draw(st.sampled_from(sorted(kinds)))
    actions = [[i, 2 * i, 255 - i] for i in range(n)]
    for rows in (robot_rows(texts, actions), web_rows(texts, [("a", "b", "c", "b")] * n)):
        made = renderer(kinds[name], answers="sample", seed=3)
        whole = made.render(rows)
        parts = [made.render(_cut(rows, a, b)) for a, b in pairwise(cuts)]
        for column in ("prompts", "targets", "input_ids", "spans", "messages"):
            assert [each for part in parts for each in getattr(part, column)] == list(getattr(whole, column))


def _cut(rows: Rows, a: int, b: int) -> Rows:
    columns = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    columns |= {"images": one_image_each(b - a, "front")}
    if rows.chunks is not None:
        columns["chunks"] = Chunks(rows.chunks.actions[a:b], rows.chunks.real[a:b], rows.chunks.ends[a:b])
    return Rows(**{k: v if isinstance(v, str | Images | Chunks | None) else v[a:b] for k, v in columns.items()})


def test_instructions_and_questions_of_one_renderer_stay_apart() -> None:
    made = renderer()
    steps, questions = robot_rows(["what?"], [[1, 2, 3]]), web_rows(["what?"], [("x",)])
    assert made.render(steps).prompts == ["Q: what action should the robot take to what? A:"]
    assert made.render(questions).prompts == ["Q: what? A:"]
    assert made.render(steps).prompts == renderer().render(steps).prompts


def test_picks_of_the_rule_all() -> None:
    rows = web_rows(["what?"] * 2, [("cat", "dog", "dog")] * 2, [0, 1])
    assert renderer(answers="all").render(rows).targets == ["dog", "cat"]


def test_a_soft_row_counts_by_the_consensus_on_its_answer() -> None:
    given = ("yes",) * 7 + ("no",) * 2 + ("maybe",)
    found = renderer(answers="soft").render(web_rows(["q?"] * 3, [given] * 3, picks=[0, 1, 2]))
    assert found.targets == ["yes", "no", "maybe"]
    assert found.weights == [1, 0.6, 0.3]
    assert renderer(answers="all").render(web_rows(["q?"], [given], picks=[0])).weights is None


def test_sampled_answers_change_with_epoch_and_seed() -> None:
    rows = web_rows(["what?"] * 64, [tuple("abcdefgh")] * 64)
    later = dataclasses.replace(rows, epochs=np.ones(64, np.int64))
    drawn = [renderer(answers="sample", seed=seed).render(r).targets for seed in (0, 1) for r in (rows, later)]
    assert len({tuple(targets) for targets in drawn}) == 4


def test_targets_are_never_cut() -> None:
    rows = robot_rows(["pick it", "pick it and put it into the drawer"], [[1, 2, 3]] * 2)
    long = max(map(len, renderer().render(rows).input_ids))
    assert renderer(max_tokens=long).render(rows)
    with pytest.raises(UsageError, match=rf"{long} tokens.*{long - 1}.*arm, k1"):
        renderer(max_tokens=long - 1).render(rows)


def test_an_empty_batch_renders_to_nothing() -> None:
    rendered = renderer().render(robot_rows([], []))
    assert list(rendered.input_ids) == [] and rendered.bins == []
    assert list(renderer().render(web_rows([], [])).targets) == []


def test_travels_to_another_process(kinds: dict[str, Tokenizer]) -> None:
    rows = robot_rows(["pick it"] * 3, [[1, 2, 3]] * 3)
    for tokenizer in kinds.values():
        made = renderer(tokenizer)
        first = made.render(rows)
        packed = pickle.dumps(made)
        assert len(packed) < 3000
        assert list(pickle.loads(packed).render(rows).input_ids) == list(first.input_ids)


def test_parts_that_do_not_belong_together_are_a_bug(kinds: dict[str, Tokenizer]) -> None:
    form, words = find_template("rt2"), ActionWords("digits", BYTE)
    for parts in (
        (find_template("openvla"), BYTE, Grid(), words),
        (form, kinds["llama"], Grid(), words),
        (form, BYTE, Grid("last_n"), words),
        (form, BYTE, Grid(), None),
    ):
        with pytest.raises(InternalError, match="another"):
            Renderer(*parts)  # type: ignore[arg-type]
    with pytest.raises(InternalError, match=r"need actions.*arm"):
        Renderer(form, BYTE).render(robot_rows(["pick it"], [[1, 2, 3]]))


@given(st.lists(st.lists(st.text(max_size=3), max_size=6), max_size=6), st.integers(0, 12))
def test_a_memo_gives_what_was_asked_and_stays_small(batches: list[list[str]], limit: int) -> None:
    memo: Memo[int] = Memo(limit)
    for batch in batches:
        assert memo.get(batch, lambda texts: [len(text) for text in texts]) == [len(text) for text in batch]
        assert sum(map(len, memo._known)) <= max(limit, sum(map(len, set(batch))))


def test_a_memo_asks_once() -> None:
    asked: list[str] = []
    memo: Memo[str] = Memo()
    for _ in range(2):
        memo.get(["a", "b", "a"], lambda texts: asked.extend(texts) or texts)
    assert asked == ["a", "b"]


class Ragged(Grid):
    """A codec whose chunks have any number of bins, as compressed ones do."""

    def encode_chunks(self, chunks: Chunks) -> list[list[int]]:
        return [[n % 256] * (n % 3 + 1) for n in range(len(chunks.real))]


def test_a_codec_may_give_any_number_of_bins() -> None:
    form = find_template("rt2")
    made = Renderer(form, BYTE, Ragged(), ActionWords("digits", BYTE, form.cue)).render(robot_rows(["a"] * 4, [[0, 0, 0]] * 4))  # type: ignore[arg-type]
    assert made.bins == [[0], [1, 1], [2, 2, 2], [3]] and made.targets == ["0", "1 1", "2 2 2", "3"]
    for ids, spans, target in zip(made.input_ids, made.spans, made.targets, strict=True):
        assert spans[-1].stop == len(ids) and BYTE.decode(ids[spans[-1].start :]) == f" {target}</s>"


def test_a_conversation_has_its_loss_on_what_the_assistant_says() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "<image>What is it?"), Turn("assistant", "a cup"))
    turns += (Turn("user", "Whose?"), Turn("assistant", "hers", loss=False), Turn("user", "Sure?"), Turn("assistant", "yes"))
    rows = dataclasses.replace(web_rows(["What is it?"], [()]), turns=[turns])
    made = renderer().render(rows)
    assert made.prompts == ["Be brief.\nQ: <image>What is it? A: a cup\nQ: Whose? A: hers\nQ: Sure? A:"] and made.targets == ["yes"]
    said = [(BYTE.decode(made.input_ids[0][span.start : span.stop]), span.loss) for span in made.spans[0]]
    assert said == [
        ("Be brief.\nQ: <image>What is it? A:", False),
        (" a cup</s>", True),
        ("\nQ: Whose? A:", False),
        (" hers</s>", False),
        ("\nQ: Sure? A:", False),
        (" yes</s>", True),
    ]
    assert loss_mask(tuple(made.spans[0])).count(1) == len(" a cup</s> yes</s>") - 6
    assert [message.role for message in made.messages[0]] == [turn.role for turn in turns]


def test_a_question_among_conversations_is_rendered_as_by_itself() -> None:
    alone = renderer().render(web_rows(["what?"], [("x",)]))
    both = dataclasses.replace(
        web_rows(["what?", "hm"], [("x",), ()]), turns=[None, (Turn("user", "<image>hm"), Turn("assistant", "so"))]
    )
    mixed = renderer().render(both)
    for column in ("prompts", "targets", "input_ids", "spans"):
        assert getattr(mixed, column)[0] == getattr(alone, column)[0]
    assert tuple(mixed.messages[0]) == tuple(
        Message(turn.role, turn.text) for turn in [Turn("user", "<image>\nwhat?"), Turn("assistant", "x")]
    )
