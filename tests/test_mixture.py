"""What a mixture promises, on toy data: exact shares, no row lost or repeated out of turn, order by seed, nothing read twice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, UsageError
from rt2data.formats.base import make_format
from rt2data.images.ready import read_header
from rt2data.look.verify import verify
from rt2data.order import apportion
from rt2data.plan.plan import draws
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.plan.recipe.model import Size
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.manifest import Manifest, read_manifest
from tests.contract import toy
from tests.render.tiny import byte_level_bpe

STEPS, QUESTIONS, PICTURES = 48, 9, 5  # of the toys; two questions share a picture


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory, toys: None) -> Path:
    """Two robots and two corpora of different sizes, with one store for all tests."""
    folder = tmp_path_factory.mktemp("mixture")
    toy.write_robot(folder / "arm"), toy.write_robot(folder / "leg", episodes=2)
    toy.write_web(folder / "qa"), toy.write_web(folder / "cap", pictures=20)
    path = folder / "mixture.yaml"
    path.write_text(
        """
robot_frac: 0.5
shards: {bytes: 400kB}
store: store
robot:
  arm: {kind: toy_robot, path: arm, action_space: widowx_bridge}
  leg: {kind: toy_robot, path: leg, action_space: widowx_bridge, weight: 0}
web:
  qa: {kind: toy_web, path: qa}
  cap: {kind: toy_web, path: cap, weight: 0}
"""
    )
    return path


Build = Callable[..., tuple[Manifest, list[ExampleRecord]]]


@pytest.fixture
def build(recipe_file: Path, tmp_path: Path) -> Build:
    """Build with some values changed; gives the manifest, and all records in the order of the shards."""

    def run(out: str = "out", **values: object) -> tuple[Manifest, list[ExampleRecord]]:
        build_plainly(recipe(recipe_file, **values), Site(tmp_path / out))
        return read_manifest(tmp_path / out), records(tmp_path / out)

    return run


def recipe(path: Path, **values: object) -> Recipe:
    """`robot__arm__weight=2` overrides robot.arm.weight."""
    return read_recipe(path, overrides=[f"{key.replace('__', '.')}={value}" for key, value in values.items()])


def records(out: Path) -> list[ExampleRecord]:
    form = make_format("webdataset")
    return [decode_record(bytes(m.record)) for s in read_manifest(out).shards for m in form.read(out / s.name)]


def rows_of(found: Sequence[ExampleRecord], source: str) -> list[str]:
    """Rows of one source in order, without what tells their repeats apart."""
    return [record.key.removesuffix(f"-r{record.epoch}") for record in found if record.source == source]


def counts(found: Sequence[ExampleRecord]) -> dict[str, int]:
    return dict(sorted(Counter(record.source for record in found).items()))


# Shares


@pytest.mark.parametrize("asked", ["0", "1", "0.66", "2/3", "50%", "0.001", "0.999"])
@pytest.mark.parametrize("total", [997, 1])
def test_shares_are_exact(build: Build, asked: str, total: int) -> None:
    share = Fraction(asked[:-1]) / 100 if asked.endswith("%") else Fraction(asked)
    manifest, found = build(robot_frac=asked, size__num_examples=total)
    robot, web = apportion(total, [share, 1 - share])
    assert Counter(record.kind for record in found) == Counter({"robot": robot, "web": web})
    assert abs(robot - share * total) < 1
    assert manifest.examples == total
    assert manifest.robot_frac == robot / total
    assert manifest.plan.robot_examples == robot


def test_every_shard_has_its_share(build: Build) -> None:
    manifest, _ = build(robot_frac="2/3", size__num_examples=500, shards__bytes="20kB")
    assert len(manifest.shards) > 25
    for shard in manifest.shards:
        assert abs(shard.sources["arm"].examples - Fraction(2, 3) * shard.examples) < 2
    sizes = [shard.examples for shard in manifest.shards]
    assert max(sizes) - min(sizes) <= 1


def test_every_stretch_has_its_share(build: Build) -> None:
    """What a reader sees in any thousand examples in a row, wherever it begins."""
    _, found = build(robot_frac="0.66", size__num_examples=5000)
    robots = np.concatenate([[0], np.cumsum([record.kind == "robot" for record in found])])
    stretches = robots[1000:] - robots[:-1000]
    assert np.abs(stretches - 660).max() <= 6


def test_weights_multiply_rows(build: Build) -> None:
    _, found = build(robot__leg__weight=2, web__cap__weight="1/2", size__num_examples=2000)
    arm, leg, qa, cap = 48, 2 * 16, 9, 10
    want = {"arm": 1000 * arm / 80, "leg": 1000 * leg / 80, "qa": 1000 * qa / 19, "cap": 1000 * cap / 19}
    assert all(abs(counts(found)[name] - share) < 1 for name, share in want.items())


def test_weights_are_shares_of_a_side(build: Build) -> None:
    _, found = build(weighting="share", robot__leg__weight=3, web__cap__weight=1, size__num_examples=2000)
    assert counts(found) == {"arm": 250, "cap": 500, "leg": 750, "qa": 500}


def test_what_has_no_share_is_not_read(build: Build) -> None:
    """Its folder need not even be there."""
    gone = {"robot__leg__path": "/nowhere", "web__cap__path": "/nowhere"}
    _, found = build("a", **gone)
    assert counts(found) == {"arm": 48, "qa": 48}
    _, found = build("b", robot_frac=0, robot__arm__path="/nowhere", **gone)
    assert counts(found) == {"qa": 9}
    _, found = build("c", robot_frac=1, web__qa__path="/nowhere", **gone)
    assert counts(found) == {"arm": 48}


def test_a_side_without_rows_is_refused(build: Build, tmp_path: Path) -> None:
    """Never silently all of the other side."""
    (tmp_path / "empty").mkdir()
    for values in ({"robot__arm__filters": "{max_steps: 1}"}, {"web__qa__path": tmp_path / "empty"}, {"split": "test"}):
        with pytest.raises(DataError, match=r"side is to have 0\.5 of the examples but has a source without rows"):
            build(**values)
    with pytest.raises(DataError, match="source arm has nothing to read"):
        build(robot__arm__path=tmp_path / "empty")


# Size


def test_an_epoch_of_the_longest_shows_every_row(build: Build) -> None:
    _, found = build("one", robot_frac="2/3")
    assert counts(found) == {"arm": 48, "qa": 24}
    _, found = build("two", robot_frac="2/3", size__epochs=2)
    assert counts(found) == {"arm": 96, "qa": 48}
    _, found = build("web", robot_frac="0.99")
    assert counts(found) == {"arm": 891, "qa": 9}
    assert len(set(rows_of(found, "qa"))) == QUESTIONS


def test_an_epoch_of_the_shortest_repeats_nothing(build: Build) -> None:
    manifest, found = build(size__of="shortest")
    assert counts(found) == {"arm": 9, "qa": 9}
    assert {record.epoch for record in found} == {0}
    assert manifest.plan.sources[0].unseen == STEPS - 9


def test_epochs_of_a_named_source(build: Build) -> None:
    _, found = build("qa", size__of="qa", size__epochs="3/2", robot_frac="2/3")
    assert counts(found) == {"arm": 27, "qa": 14}
    with pytest.raises(UsageError, match="is not drawn"):
        build(size__of="leg")


shares = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=60)
sized = st.lists(st.integers(1, 400), min_size=1, max_size=3)
weights = st.lists(st.fractions(Fraction(1, 9), 9, max_denominator=9), min_size=3, max_size=3)


@given(share=shares, robot=sized, web=sized, weight=weights, rule=st.sampled_from(["rows", "share"]), epochs=st.integers(1, 3))
def test_longest_and_shortest_keep_their_word(
    share: Fraction, robot: list[int], web: list[int], weight: list[Fraction], rule: str, epochs: int
) -> None:
    rows = {f"r{i}": n for i, n in enumerate(robot)} | {f"w{i}": n for i, n in enumerate(web)}
    for of in ("longest", "shortest"):
        asked = _recipe(rows, weight, robot_frac=share, weighting=rule, size=Size(of=of, epochs=Fraction(epochs)))
        drawn = draws(asked, rows)
        if of == "longest":
            assert all(drawn[name] >= epochs * n for name, n in rows.items())
        else:
            assert sum(drawn.values()) == 1 or all(drawn[name] <= epochs * n for name, n in rows.items())


def _recipe(rows: dict[str, int], weight: list[Fraction], **values: Any) -> Recipe:
    """As a recipe file would give it: parsing thousands of them takes long."""
    robot = {n: toy.ToyRobot.model_construct(weight=weight[int(n[1])]) for n in rows if n[0] == "r"}
    web = {n: toy.ToyWeb.model_construct(weight=weight[int(n[1])]) for n in rows if n[0] == "w"}
    return Recipe.model_construct(robot=robot, web=web, **values)


# Order


def test_rows_are_drawn_without_replacement(build: Build) -> None:
    """Inside an epoch each row once; over all of them each row as often as any other, give or take one."""
    manifest, found = build(robot_frac="0.4", size__num_examples=500)
    assert len({record.key for record in found}) == len(found)
    for source in manifest.plan.sources:
        taken = Counter(rows_of(found, source.name))
        assert len(taken) == source.rows
        assert set(taken.values()) <= {source.draws // source.rows, -(-source.draws // source.rows)}
        by_epoch = Counter(record.epoch for record in found if record.source == source.name)
        full, rest = divmod(source.draws, source.rows)
        assert by_epoch == Counter(dict.fromkeys(range(full), source.rows) | ({full: rest} if rest else {}))
        in_order = [record.epoch for record in found if record.source == source.name]
        assert in_order == sorted(in_order)


def test_every_epoch_has_an_order_of_its_own(build: Build) -> None:
    _, found = build(size__epochs=3, size__of="arm")
    rows = rows_of(found, "arm")
    epochs = [rows[start : start + STEPS] for start in range(0, len(rows), STEPS)]
    assert len(epochs) == 3
    assert all(sorted(each) == sorted(epochs[0]) for each in epochs)
    for one, other in pairwise(epochs):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 8
    assert epochs[0] != sorted(epochs[0])


def test_steps_of_an_episode_are_far_apart(build: Build) -> None:
    _, found = build()
    episodes = [record.episode for record in found if record.kind == "robot"]
    assert sum(a == b for a, b in pairwise(episodes)) < len(episodes) / 3


def test_the_seed_decides_the_order_and_nothing_else(build: Build, tmp_path: Path) -> None:
    first, second, third = (build(out, seed=seed)[1] for out, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == second
    assert [r.key for r in first] != [r.key for r in third]
    assert [r.kind for r in first] != [r.kind for r in third]
    assert sorted(rows_of(first, "arm")) == sorted(rows_of(third, "arm"))
    assert {r.key: r for r in first if not r.epoch} == {r.key: r for r in third if not r.epoch}


def test_a_source_does_not_move_another(build: Build) -> None:
    """Which rows of one source come in which order depends on that source and the seed alone."""
    _, alone = build("a", robot_frac=1)
    _, mixed = build("b", robot_frac="1/3", web__cap__weight=2)
    assert rows_of(mixed, "arm")[:STEPS] == rows_of(alone, "arm")


# Splits


def groups(found: Sequence[ExampleRecord]) -> set[tuple[str, str]]:
    return {(record.source, record.group) for record in found}


def test_no_group_is_torn_between_splits(build: Build) -> None:
    held = {"robot__arm__holdout": "0.4", "web__qa__holdout": "0.4"}
    _, train = build("train", **held)
    _, val = build("val", split="val", **held)
    assert not groups(train) & groups(val)
    assert len(groups(train) | groups(val)) == 6 + PICTURES
    assert len(set(rows_of(train, "arm") + rows_of(val, "arm"))) == STEPS
    assert len(set(rows_of(train, "qa") + rows_of(val, "qa"))) == QUESTIONS
    assert {record.split for record in train} == {"train"}
    assert {record.split for record in val} == {"val"}


def test_the_holdout_is_stable_when_data_grows(build: Build, tmp_path: Path) -> None:
    toy.write_web(tmp_path / "small", 40)
    toy.write_web(tmp_path / "large", 120)
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for size in ("small", "large"):
        for split in ("train", "val"):
            values = {"robot_frac": 0, "web__qa__path": tmp_path / size, "web__qa__holdout": "1/4", "split": split}
            found[size, split] = groups(build(f"{size}-{split}", **values)[1])
    assert found["small", "train"] < found["large", "train"]
    assert found["small", "val"] < found["large", "val"]
    assert abs(len(found["large", "val"]) - 60 / 4) < 10


# Nothing is read twice


@contextmanager
def no_reading() -> Iterator[None]:
    """Raw logs must not be parsed in here."""

    def read(self: object, unit: object) -> None:
        raise AssertionError(f"{unit} is read again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy.ToyRobot, "read", read)
        patch.setattr(toy.ToyWeb, "read", read)
        yield


CHANGES: tuple[dict[str, object], ...] = (
    {"robot_frac": "0.9"},
    {"template": "openvla"},
    {"codec": "openvla", "action_words": "ids", "tokenizer": "TOKENIZER"},
    {"tokenizer": "TOKENIZER"},
    {"web__qa__answers": "sample"},
    {"seed": 7},
    {"weighting": "share", "robot__arm__weight": 5},
    {"size__num_examples": 300},
    {"shards__bytes": "90kB"},
    {"max_tokens": 400},
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "+".join(change))
def test_another_mixture_parses_no_log_again(build: Build, change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_bpe())
    change = {key: tmp_path / "tokenizer.json" if value == "TOKENIZER" else value for key, value in change.items()}
    first, _ = build("first")
    with no_reading():
        other, found = build("other", **change)
    assert other.plan.fingerprint != first.plan.fingerprint
    assert len(found) == other.examples


@pytest.mark.parametrize(
    "change", [{"web__qa__answers": "all"}, {"web__qa__holdout": "1/3"}, {"robot__arm__filters": "{drop_first: 1}"}]
)
def test_what_changes_rows_is_prepared_anew(build: Build, tmp_path: Path, change: dict[str, object]) -> None:
    store = tmp_path / "store"  # in that of all tests another one may have prepared the same
    build("first", store=store)
    with no_reading(), pytest.raises(AssertionError, match="is read again"):
        build("other", store=store, **change)


def test_an_action_space_is_what_its_file_says(build: Build, recipe_file: Path, tmp_path: Path) -> None:
    """A changed file of one's own is noticed, though its name is the same."""
    from rt2data.io.installation import schemas

    shipped = (schemas() / "actions" / "widowx_bridge.toml").read_text()
    (tmp_path / "mine.toml").write_text(shipped)
    values = {"robot_frac": 1, "robot__arm__action_space": tmp_path / "mine.toml", "robot__arm__gripper_open": 0}
    _, one = build("one", **values)
    (tmp_path / "mine.toml").write_text(shipped.replace("open = 1.0", "open = 0.0").replace("closed = 0.0", "closed = 1.0"))
    _, other = build("other", **values)
    first = {record.key: record.action for record in one}
    flipped = {record.key: record.action for record in other}
    assert all(
        a and b and a[6] == 1 - b[6] for a, b in zip(map(first.get, sorted(first)), map(flipped.get, sorted(first)), strict=True)
    )


_opened: list[str] | None = None


def _listen(event: str, details: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(details[0]))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Every file that this process opens in here. (An audit hook cannot be taken out again: it rests.)"""
    global _opened
    if not getattr(sys, "_rt2data_listens", False):
        sys.addaudithook(_listen)
        sys._rt2data_listens = True  # type: ignore[attr-defined]
    found: list[str] = []
    _opened = found
    try:
        yield found
    finally:
        _opened = None


def test_resized_pictures_are_made_once(build: Build, recipe_file: Path, tmp_path: Path) -> None:
    small = {"robot__arm__images__resize": 16, "web__qa__images__resize": 16}
    manifest, _ = build("first", **small)
    assert manifest.conversions == {"arm": {"resized": STEPS}, "qa": {"resized": QUESTIONS}}
    with opened_files() as opened:
        build("second", robot_frac="2/3", **small)
    raw = [path for path in opened if Path(path).suffix in (".bin", ".jpg") and "blobs-" not in path]
    assert raw == []
    assert any("blobs-" in path for path in opened)
    form = make_format("webdataset")
    for shard in sorted((tmp_path / "second").glob("shard-*.tar")):
        for member in form.read(shard):
            seen = read_header(member.image)
            assert (seen.format, seen.width, seen.height) == ("jpeg", 16, 16)


def test_pictures_are_copied_from_where_they_lie(build: Build, recipe_file: Path) -> None:
    with opened_files() as opened:
        manifest, _ = build()
    assert manifest.conversions == {"arm": {}, "qa": {}}
    assert {Path(path).parent for path in opened if path.endswith((".bin", ".jpg"))} == {
        recipe_file.with_name("arm"),
        recipe_file.with_name("qa"),
    }


# Answers


def test_answers_are_chosen_as_asked(build: Build) -> None:
    """Everybody said `two` twice and `2` once."""
    picked = {}
    for rule in ("majority", "sample", "all"):
        manifest, found = build(rule, robot_frac=0, size__epochs=40, web__qa__answers=rule)
        picked[rule] = Counter(record.target for record in found)
        assert {tuple(record.answers) for record in found} == {("two", "two", "2")}
        assert manifest.plan.sources[0].rows == QUESTIONS * (2 if rule == "all" else 1)
    assert set(picked["majority"]) == {"two"}
    assert abs(picked["sample"]["2"] / 360 - 1 / 3) < 0.08
    assert picked["all"] == {"two": 360, "2": 360}


@pytest.mark.parametrize(("agreement", "weights"), [("case", {"two": 0.6, "2": 0.3}), ("vqa", {"two": 0.9})])
def test_soft_answers_carry_their_consensus(build: Build, tmp_path: Path, agreement: str, weights: dict[str, float]) -> None:
    """Two people said `two`, which VQA reads as the third's `2`; a source's own weight multiplies both."""
    change = {"web__qa__answers": "soft", "web__qa__agreement": agreement, "web__qa__loss_weight": "1/2"}
    manifest, found = build(f"soft-{agreement}", robot_frac=0, **change)
    assert {record.target: record.loss_weight for record in found} == {
        answer: float(np.float32(0.5 * weight)) for answer, weight in weights.items()
    }
    assert [warn.code for warn in manifest.plan.warnings if warn.code == "few_answers"]
    out = tmp_path / f"soft-{agreement}"
    assert verify(out).ok
    text = (out / "manifest.json").read_text()
    assert '"qa": "soft"' in text
    (out / "manifest.json").write_text(text.replace('"qa": "soft"', '"qa": "all"'))
    assert any("loss_weight is" in str(fault) and "the plan says 0.5" in str(fault) for fault in verify(out).faults)
