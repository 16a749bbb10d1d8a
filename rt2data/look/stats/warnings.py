"""Things to check before training, from the statistics alone: one line per finding, with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import hypot, sqrt
from typing import NamedTuple

from rt2data.errors import command
from rt2data.look.stats.model import Actions, Leak, MixtureStats, Motion, SourceStats, Stats
from rt2data.look.stats.summary import follow_the_state
from rt2data.plan.plan import draw_warnings
from rt2data.records import Level, Warn, worst_first

BLANK = 0.05
CLIPPED = 0.02
NOOPS = 0.2
REPEATS = 0.2
SHORT = 0.05
LITTLE = 1.0  # bits
FEW_BINS = 16
DRIFT = 0.02  # of a typical action
JITTER = 0.25
CHATTER = 20  # gripper changes per episode
SURE = 4.0  # standard errors of a correlation
OF_EPISODES = frozenset({"short_episodes", "gripper_never_moves"})
"""Codes that need whole episodes: a mixture may draw a few steps of each."""


class Finding(NamedTuple):
    """A warning about a given source."""

    code: str
    level: Level
    what: str
    do: str

    def about(self, source: str, split: str = "") -> Warn:
        what = f"{self.what} (split {split})" if split else self.what
        return Warn(code=self.code, level=self.level, source=source, what=what, do=self.do)


Found = Iterator[Finding]


def warnings_of(stats: Stats, notes: Mapping[str, str] | None = None) -> tuple[Warn, ...]:
    """All warnings, the worst first. `notes` say why a row set (source/split) has no codec."""
    names = [source.name for source in stats.sources]
    found = [
        each.about(source.name, source.split if names.count(source.name) > 1 else "")
        for source in stats.sources
        for check in CHECKS
        for each in check(source)
    ]
    found += [each.about("") for leak in stats.leaks for each in _leak(leak)]
    found += [_no_codec(note).about(place.split("/")[0]) for place, note in (notes or {}).items()]
    found += list(_rates(stats))
    if stats.mixture is not None:
        found += _mixture(stats.mixture)
    partial = {share.source for share in stats.mixture.shares if share.unseen} if stats.mixture else set()
    return worst_first(warn for warn in found if not (warn.source in partial and warn.code in OF_EPISODES))


def _no_codec(note: str) -> Finding:
    return Finding("no_codec", "error", f"its actions cannot be encoded: {note}", "fix them, or give their dimensions bounds")


def dimensions(source: SourceStats) -> Found:
    """Dimensions that never move, or hardly ever."""
    kept = {each.name for each in source.actions.coded if each.lo < each.hi} if source.actions else set()
    for dim in source.actions.dims if source.actions else ():
        if dim.not_finite:
            yield Finding("not_finite", "error", f"action {dim.name} is NaN or Inf {dim.not_finite:,} times", "fix the source")
        if dim.dead and source.rows > 1:
            what = f"action {dim.name} is {dim.min:g} in every step"
            yield Finding("dead_dimension", "warning", what, "remove it, or find out why the robot never used it")
        if dim.sparse and dim.name not in kept:
            what = f"action {dim.name} is {dim.q50:g} in 98 % of the steps or more, but ranges from {dim.min:g} to {dim.max:g}"
            do = "give it bounds = [lo, hi] in its action space: with quantile bounds it is constant"
            yield Finding("sparse_dimension", "warning", what, do)


def codes(source: SourceStats) -> Found:
    """The effects of the codec on the actions."""
    numbers = {dim.name: dim for dim in source.actions.dims} if source.actions else {}
    for each in source.actions.coded if source.actions else ():
        clipped, used = each.clipped_low + each.clipped_high, sum(1 for count in each.bins if count)
        dim = numbers[each.name]
        if clipped > CLIPPED + 3 * sqrt(CLIPPED / source.rows) + 2 / source.rows:  # few rows may exceed it by chance
            what = f"{clipped:.1%} of action {each.name} is outside the codec's bounds, {each.lo:g} to {each.hi:g}"
            yield Finding("clipped", "warning", what, "widen its bounds, or check that its unit is what the action space says")
        if dim.dead or dim.sparse or dim.top > 0.5 or each.lo == each.hi:
            continue
        if each.entropy < LITTLE:
            what = f"action {each.name} carries {each.entropy:.2f} bits: it uses little of {each.lo:g} to {each.hi:g}"
            yield Finding("unused_range", "warning", what, "narrow its bounds, or bound it by q01q99")
        elif used < min(FEW_BINS, dim.count) and dim.q99 - dim.q01 < 0.1 * (each.hi - each.lo):
            what = f"action {each.name} uses {used} of 256 bins"
            yield Finding("few_bins", "note", what, "narrow its bounds if it needs to be finer")


def drift(source: SourceStats) -> Found:
    """Dimensions in which a zero action moves the robot."""
    numbers = {dim.name: dim for dim in source.actions.dims} if source.actions else {}
    found = []
    for each in source.actions.coded if source.actions else ():
        typical = hypot(numbers[each.name].mean, numbers[each.name].std)
        if each.drift is not None and each.lo < each.hi and abs(each.zero_offset) > DRIFT * typical > 0:
            found.append(f"{each.name} {each.drift:+.2g} {each.drift_unit}")
    if found:
        what = f"a zero action makes the robot drift: {', '.join(found)}"
        yield Finding("drift", "note", what, "give these bounds that are symmetric about 0, and decode to bin centers")


def gripper(source: SourceStats) -> Found:
    """A gripper that disagrees with the state, never moves or chatters."""
    found = source.actions.gripper if source.actions else None
    if found is None or source.actions is None or source.episodes is None:
        return
    steps = max((m.steps for m in source.actions.motion), default=0)
    if found.agrees is not None and _sure(found.agrees, steps) and found.agrees < 0:
        what = f"when {found.name} is commanded to open, {found.measured} falls (correlation {found.agrees:.2f})"
        do = "set gripper_open for this source; nothing is wrong if the state measures how closed it is"
        yield Finding("inverted_gripper", "error", what, do)
    if source.episodes.count > 1 and found.transitions.max == 0 and source.rows > source.episodes.count:
        what = f"{found.name} neither opens nor closes in any of {source.episodes.count:,} episodes"
        yield Finding("gripper_never_moves", "warning", what, "check whether it is recorded, and in which range")
    if found.transitions.p50 > CHATTER:
        what = f"{found.name} opens or closes {found.transitions.p50:.0f} times in half of the episodes"
        yield Finding("gripper_chatters", "warning", what, "check whether it is a noisy measurement and not a command")


def _sure(correlation: float, steps: int) -> bool:
    """Whether a correlation is clear: well away from 0, in itself and in standard errors."""
    return abs(correlation) > 0.1 and abs(correlation) * sqrt(steps) > SURE


def motion(source: SourceStats) -> Found:
    """Actions against the measured state: shifted, delta or absolute."""
    actions = source.actions
    if actions is None or not actions.motion:
        return
    yield from _lag(actions)
    sure = [m for m in actions.motion if m.steps > 50]
    follows = bool(sure) and follow_the_state(sure, actions.dims)
    if follows and not actions.absolute:
        what = "actions follow the state itself and not its change: they look like positions"
        do = "if they are, say `absolute` in the title of the action space; else check the state"
        yield Finding("absolute_as_delta", "warning", what, do)
    if actions.absolute and sure and not follows and _deltas(sure):
        what = "actions follow the change of the state and not the state: they look like displacements"
        yield Finding("delta_as_absolute", "warning", what, "check that the action space is the right one")


def unpaired(source: SourceStats) -> Found:
    """Actions that correlate with no measurement."""
    if source.actions and source.actions.unpaired and not source.actions.motion and source.rows > 50:
        what = f"no action correlates with any of the {len(source.state)} state dimensions: lag, units and gripper are not checked"
        yield Finding("not_paired", "note", what, "check that action and state are of the same robot and the same steps")


def _deltas(found: list[Motion]) -> bool:
    return sum(abs(m.delta) > abs(m.absolute) + 0.3 and _sure(m.delta, m.steps) for m in found) * 2 > len(found)


def _lag(actions: Actions) -> Found:
    """Most dimensions with a clear correlation agree on a shift, each by a clear margin."""
    clear = [m for m in actions.motion if abs(m.best) > 0.4 and _sure(m.best, m.steps)]
    shifts = [m.lag for m in clear if m.lag and abs(m.best) > abs(m.delta) + 0.15]
    common = max(set(shifts), key=shifts.count, default=0)
    if common and shifts.count(common) * 2 > len(clear) and len(clear) * 3 >= len(actions.motion) + len(actions.unpaired):
        step = "step" if abs(common) == 1 else "steps"
        what = f"actions correlate best with the motion {abs(common)} {step} {'later' if common > 0 else 'earlier'}"
        yield Finding("lag", "warning", what, "check whether actions and observations of this source are shifted")


def wraps(source: SourceStats) -> Found:
    """Angles that jump from pi to -pi."""
    for state in source.state:
        if 0 < state.wraps < 0.05 * state.count and -6.5 < state.min < -3 and 3 < state.max < 6.5:
            what = f"{state.name} jumps by more than pi {state.wraps:,} times: an angle that wraps"
            yield Finding("wraps", "warning", what, "take differences around the circle: a - b as ((a - b + pi) mod 2 pi) - pi")


def steps(source: SourceStats) -> Found:
    """No-op steps, repeated actions, short episodes, irregular timestamps."""
    actions, episodes = source.actions, source.episodes
    if actions and actions.noop > NOOPS:
        yield Finding("noops", "warning", f"{actions.noop:.0%} of the steps are no-ops", "drop them: filters: {noop: 0.0001}")
    if actions and actions.repeated > REPEATS and actions.repeated > actions.noop + 0.1:
        what = f"{actions.repeated:.0%} of the steps repeat the previous action"
        yield Finding("repeated_actions", "note", what, "check whether actions were recorded more slowly than images")
    if episodes and episodes.short > SHORT * episodes.count:
        what = f"{episodes.short:,} of {episodes.count:,} episodes have fewer than two steps"
        yield Finding("short_episodes", "warning", what, "set filters: {min_steps: ...}")
    if episodes and (episodes.backwards or (episodes.jitter or 0) > JITTER):
        what = f"step intervals vary by {episodes.jitter or 0:.0%}, and time does not advance {episodes.backwards:,} times"
        yield Finding("jitter", "warning", what, "check the timestamps: a policy assumes steps of equal length")


def texts(source: SourceStats) -> Found:
    """Blank and uninformative texts."""
    text, name = source.text, "instruction" if source.has_actions else "question"
    if text.blank:
        share = text.blank / max(text.rows, 1)
        level: Level = "warning" if share > BLANK else "note"
        yield Finding("blank_text", level, f"{share:.1%} of the rows have a blank {name}", "drop them, or give them text")
    if text.unique == 1 and not text.blank and source.rows > 1 and (not source.has_actions or source.groups > 1):
        what = f"all {source.groups:,} have one {name}"
        yield Finding("one_instruction", "note", what, "a model learns to ignore text that never changes")
    answers = source.answers
    if answers and answers.blank:
        yield Finding("blank_text", "warning", f"{answers.blank:,} of {answers.rows:,} answers are blank", "drop them")


def images(source: SourceStats) -> Found:
    """Cameras that show nothing, and repeated images."""
    for camera in source.cameras:
        several = camera.images > 1 and (source.has_actions or source.groups > 1)  # questions may share an image
        if several and camera.unique == 1:
            level: Level = "error" if camera.used else "note"
            what = f"all {camera.images:,} images of camera {camera.name} have the same bytes"
            do = "choose another camera" if camera.used else "do not choose it: it shows nothing"
            yield Finding("same_image", level, what, do)
        elif source.has_actions and camera.used and camera.images - camera.unique > 0.2 * camera.images:
            share = 1 - camera.unique / camera.images
            what = f"{share:.0%} of the images of camera {camera.name} have the same bytes as another"
            yield Finding("duplicates", "warning", what, "check for a frozen camera, or duplicate episodes")


def tokens(source: SourceStats) -> Found:
    """Examples longer than the recipe allows."""
    if source.tokens and source.tokens.over:
        what = f"{source.tokens.over:,} of {source.tokens.whole.count:,} examples have more than {source.tokens.limit:,} tokens"
        yield Finding("over_limit", "error", what, "raise max_tokens: targets are never cut, and the build would stop")


def rejects(source: SourceStats) -> Found:
    """What was dropped as faulty."""
    for lost in source.lost:
        if lost.fault:
            place = f", such as {lost.example}" if lost.example else ""
            what = f"{lost.count:,} dropped as faulty: {lost.reason}{place}"
            yield Finding("rejects", "warning", what, f"list them: {command('store', 'rejects', source.name)}")


CHECKS: tuple[Callable[[SourceStats], Found], ...] = (
    dimensions,
    codes,
    drift,
    gripper,
    motion,
    unpaired,
    wraps,
    steps,
    texts,
    images,
    tokens,
    rejects,
)


def _leak(leak: Leak) -> Found:
    apart = leak.here.split("/")[1] != leak.there.split("/")[1]
    level: Level = "warning" if apart else "note"
    things = {"group": "episodes or images", "image": "images", "text_and_image": "pairs of text and image"}[leak.what]
    what = f"{leak.here} and {leak.there} share {things}: {leak.count:,}, such as {leak.example}"
    yield Finding("leak", level, what, "keep them in one split" if apart else "they count twice")


def _rates(stats: Stats) -> Iterator[Warn]:
    """Robots with different control rates."""
    found = {s.name: s.episodes.fps for s in stats.sources if s.episodes and s.episodes.fps}
    if found and max(found.values()) > 1.2 * min(found.values()):
        rates = ", ".join(f"{name} {fps:.3g}" for name, fps in sorted(found.items()))
        what, do = f"robots step at different rates: {rates} Hz", "say the rate in the prompt, or resample"
        yield Finding("mixed_rates", "note", what, do).about("")


def _mixture(mixture: MixtureStats) -> Iterator[Warn]:
    """Sources drawn too often or hardly at all, and shards whose robot share deviates."""
    for share in mixture.shares:
        yield from draw_warnings(share.source, share.epochs, share.unseen, share.unseen + share.unique)
        if share.epochs < 0.1:
            what = f"only {share.epochs:.1%} of its rows are drawn"
            yield Finding("little_drawn", "warning", what, "raise its weight, or the size of the mixture").about(share.source)
    limit = 1 / max(min(mixture.examples // max(mixture.shards, 1), 1 << 20), 1)
    if mixture.shard_worst > limit + 1e-9:
        what = f"a shard's robot share deviates by {mixture.shard_worst:.2%} from what was asked"
        yield Finding("robot_share_strays", "warning", what, "verify the mixture: that names every fault").about("")
