"""What somebody should look at before paying: read off the statistics alone, in plain words, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import hypot, sqrt

from rt2data.errors import command
from rt2data.look.stats.model import Actions, Leak, MixtureStats, Motion, SourceStats, Stats
from rt2data.look.stats.summary import follow_the_state
from rt2data.plan.plan import draw_warnings
from rt2data.records import Level, Warn, worst_first

Found = Iterator[tuple[str, Level, str, str]]
"""code, level, what, what to do."""
BLANK = 0.05
CLIPPED = 0.02
NOOPS = 0.2
REPEATS = 0.2
SHORT = 0.05
LITTLE = 1.0  # bits
FEW_BINS = 16
DRIFT = 0.02  # of a typical action
JITTER = 0.25
CHATTER = 20  # changes of the gripper in an episode
SURE = 4.0  # standard errors of a correlation
OF_EPISODES = frozenset({"short_episodes", "gripper_never_moves"})
"""What can only be said of whole episodes: a mixture may draw a few steps of each."""


def warnings_of(stats: Stats, notes: Mapping[str, str] | None = None) -> tuple[Warn, ...]:
    """Everything there is to look at, the worst first. `notes` say why a row set (source/split) has no codec."""
    names = [source.name for source in stats.sources]
    found = [
        _warn(source.name, each, source.split if names.count(source.name) > 1 else "")
        for source in stats.sources
        for look in LOOKS
        for each in look(source)
    ]
    found += [_warn("", each) for leak in stats.leaks for each in _leak(leak)]
    found += [_warn(place.split("/")[0], _refused(note)) for place, note in (notes or {}).items()]
    found += list(_rates(stats))
    if stats.mixture is not None:
        found += [_warn(name, each) for name, each in _mixture(stats.mixture)]
    torn = {share.source for share in stats.mixture.shares if share.unseen} if stats.mixture else set()
    return worst_first(warn for warn in found if not (warn.source in torn and warn.code in OF_EPISODES))


def _warn(source: str, found: tuple[str, Level, str, str], split: str = "") -> Warn:
    code, level, what, do = found
    said = f"{what} (split {split})" if split else what
    return Warn(code=code, level=level, source=source, what=said, do=do)


def _refused(note: str) -> tuple[str, Level, str, str]:
    return "no_codec", "error", f"its actions cannot be encoded: {note}", "mend the actions, or give their dimensions bounds"


def dimensions(source: SourceStats) -> Found:
    """Dimensions that never move, and those that hardly do."""
    kept = {each.name for each in source.actions.coded if each.lo < each.hi} if source.actions else set()
    for dim in source.actions.dims if source.actions else ():
        if dim.not_finite:
            yield "not_finite", "error", f"action {dim.name} is NaN or Inf {dim.not_finite:,} times", "mend the source"
        if dim.dead and source.rows > 1:
            what = f"action {dim.name} is {dim.min:g} in every step"
            yield "dead_dimension", "warning", what, "leave it out, or find out why the robot never used it"
        if dim.sparse and dim.name not in kept:
            what = (
                f"action {dim.name} is {dim.q50:g} in 98 % of the steps or more, though it reaches from {dim.min:g} to {dim.max:g}"
            )
            yield (
                "sparse_dimension",
                "warning",
                what,
                "give it bounds = [lo, hi] in its action space: by quantiles it is held still",
            )


def codes(source: SourceStats) -> Found:
    """What the codec does to the actions."""
    numbers = {dim.name: dim for dim in source.actions.dims} if source.actions else {}
    for each in source.actions.coded if source.actions else ():
        clipped, used = each.clipped_low + each.clipped_high, sum(1 for count in each.bins if count)
        dim = numbers[each.name]
        if clipped > CLIPPED + 3 * sqrt(CLIPPED / source.rows) + 2 / source.rows:  # what few rows may give by chance
            what = f"{clipped:.1%} of action {each.name} lies beyond what the codec reaches, {each.lo:g} to {each.hi:g}"
            yield "clipped", "warning", what, "widen its bounds, or see that its unit is what the action space says"
        if dim.dead or dim.sparse or dim.top > 0.5 or each.lo == each.hi:
            continue
        if each.entropy < LITTLE:
            what = f"action {each.name} carries {each.entropy:.2f} bits: it uses little of {each.lo:g} to {each.hi:g}"
            yield "unused_range", "warning", what, "narrow its bounds, or bound it by q01q99"
        elif used < min(FEW_BINS, dim.count) and dim.q99 - dim.q01 < 0.1 * (each.hi - each.lo):
            what = f"action {each.name} is written in {used} of 256 bins"
            yield "few_bins", "note", what, "narrow its bounds if it needs to be finer"


def drift(source: SourceStats) -> Found:
    """Dimensions in which a robot that is told to stand still does not."""
    numbers = {dim.name: dim for dim in source.actions.dims} if source.actions else {}
    found = []
    for each in source.actions.coded if source.actions else ():
        typical = hypot(numbers[each.name].mean, numbers[each.name].std)
        if each.drift is not None and each.lo < each.hi and abs(each.zero_offset) > DRIFT * typical > 0:
            found.append(f"{each.name} {each.drift:+.2g} {each.drift_unit}")
    if found:
        what = f"a robot told to stand still drifts: {', '.join(found)}"
        yield "drift", "note", what, "give these bounds that are symmetric about 0, and decode to the centers of bins"


def gripper(source: SourceStats) -> Found:
    """A gripper that disagrees, never moves or chatters."""
    found = source.actions.gripper if source.actions else None
    if found is None or source.actions is None or source.episodes is None:
        return
    steps = max((m.steps for m in source.actions.motion), default=0)
    if found.agrees is not None and _sure(found.agrees, steps) and found.agrees < 0:
        what = f"when {found.name} is told to open, {found.measured} falls (correlation {found.agrees:.2f})"
        yield (
            "inverted_gripper",
            "error",
            what,
            "set gripper_open for this source; nothing is wrong if the state counts how closed it is",
        )
    if source.episodes.count > 1 and found.transitions.max == 0 and source.rows > source.episodes.count:
        what = f"{found.name} neither opens nor closes in any of {source.episodes.count:,} episodes"
        yield "gripper_never_moves", "warning", what, "look whether it is recorded, and in which range"
    if found.transitions.p50 > CHATTER:
        what = f"{found.name} opens or closes {found.transitions.p50:.0f} times in half of the episodes"
        yield "gripper_chatters", "warning", what, "look whether it is a noisy measurement and not a command"


def _sure(correlation: float, steps: int) -> bool:
    """Whether a correlation is clear: well away from 0, as a share and in standard errors."""
    return abs(correlation) > 0.1 and abs(correlation) * sqrt(steps) > SURE


def motion(source: SourceStats) -> Found:
    """Commands against what was measured: shifted, delta or absolute."""
    actions = source.actions
    if actions is None or not actions.motion:
        return
    yield from _lag(actions)
    told = actions.absolute
    sure = [m for m in actions.motion if m.steps > 50]
    follows = bool(sure) and follow_the_state(sure, actions.dims)
    if follows and not told:
        what = "actions follow the state itself and not its change: they look like positions"
        yield (
            "absolute_as_delta",
            "warning",
            what,
            "if they are, say `absolute` in the title of the action space; else look at the state",
        )
    if told and sure and not follows and _deltas(sure):
        what = "actions follow the change of the state and not the state: they look like displacements"
        yield "delta_as_absolute", "warning", what, "see that the action space is the one of these actions"


def unpaired(source: SourceStats) -> Found:
    """Actions that go with nothing that was measured."""
    if source.actions and source.actions.unpaired and not source.actions.motion and source.rows > 50:
        what = f"no action goes with any of the {len(source.state)} state dimensions: lag, units and gripper are not checked"
        yield "not_paired", "note", what, "see that action and state are of the same robot and the same steps"


def _deltas(found: list[Motion]) -> bool:
    return sum(abs(m.delta) > abs(m.absolute) + 0.3 and _sure(m.delta, m.steps) for m in found) * 2 > len(found)


def _lag(actions: Actions) -> Found:
    """Most dimensions that tell anything agree on a shift, and each by a clear margin."""
    telling = [m for m in actions.motion if abs(m.best) > 0.4 and _sure(m.best, m.steps)]
    shifts = [m.lag for m in telling if m.lag and abs(m.best) > abs(m.delta) + 0.15]
    common = max(set(shifts), key=shifts.count, default=0)
    if common and shifts.count(common) * 2 > len(telling) and len(telling) * 3 >= len(actions.motion) + len(actions.unpaired):
        step = "step" if abs(common) == 1 else "steps"
        what = f"actions go best with the motion {abs(common)} {step} {'later' if common > 0 else 'earlier'}"
        yield "lag", "warning", what, "see whether actions and observations of this source are shifted against each other"


def wraps(source: SourceStats) -> Found:
    """Angles that jump from pi to -pi."""
    for state in source.state:
        if 0 < state.wraps < 0.05 * state.count and -6.5 < state.min < -3 and 3 < state.max < 6.5:
            what = f"{state.name} jumps by more than pi {state.wraps:,} times: an angle that wraps"
            yield "wraps", "warning", what, "take differences of it around the circle: a - b as ((a - b + pi) mod 2 pi) - pi"


def steps(source: SourceStats) -> Found:
    """Steps without motion, and episodes that are short or torn."""
    actions, episodes = source.actions, source.episodes
    if actions and actions.noop > NOOPS:
        yield "noops", "warning", f"{actions.noop:.0%} of the steps move nothing", "drop them: filters: {noop: 0.0001}"
    if actions and actions.repeated > REPEATS and actions.repeated > actions.noop + 0.1:
        what = f"{actions.repeated:.0%} of the steps repeat the action before"
        yield "repeated_actions", "note", what, "look whether actions were recorded more slowly than pictures"
    if episodes and episodes.short > SHORT * episodes.count:
        what = f"{episodes.short:,} of {episodes.count:,} episodes have fewer than two steps"
        yield "short_episodes", "warning", what, "set filters: {min_steps: ...}"
    if episodes and (episodes.backwards or (episodes.jitter or 0) > JITTER):
        what = f"time between steps strays by {episodes.jitter or 0:.0%}, and does not go forward {episodes.backwards:,} times"
        yield "jitter", "warning", what, "look at the time stamps: a policy takes steps to be equally long"


def words(source: SourceStats) -> Found:
    """Blank and uninformative texts."""
    text, what = source.text, "instruction" if source.kind == "robot" else "question"
    if text.blank:
        share = text.blank / max(text.rows, 1)
        level: Level = "warning" if share > BLANK else "note"
        yield "blank_text", level, f"{share:.1%} of the rows have a blank {what}", "leave them out, or give them words"
    if text.unique == 1 and not text.blank and source.rows > 1 and (source.kind == "web" or source.groups > 1):
        said = "one question" if source.kind == "web" else "one instruction"
        yield (
            "one_instruction",
            "note",
            f"all {source.groups:,} have {said}",
            "a model learns to pay no heed to words that never change",
        )
    answers = source.answers
    if answers and answers.blank:
        yield "blank_text", "warning", f"{answers.blank:,} of {answers.rows:,} answers are blank", "leave them out"


def pictures(source: SourceStats) -> Found:
    """Cameras that show nothing, and pictures that come again and again."""
    for camera in source.cameras:
        several = camera.pictures > 1 and (source.kind == "robot" or source.groups > 1)  # questions may share a picture
        if several and camera.unique == 1:
            level: Level = "error" if camera.used else "note"
            what = f"all {camera.pictures:,} pictures of camera {camera.name} are byte for byte the same"
            yield "same_picture", level, what, "choose another camera" if camera.used else "do not choose it: it shows nothing"
        elif source.kind == "robot" and camera.used and camera.pictures - camera.unique > 0.2 * camera.pictures:
            share = 1 - camera.unique / camera.pictures
            what = f"{share:.0%} of the pictures of camera {camera.name} are byte for byte the same as another"
            yield "duplicates", "warning", what, "look for a camera that froze, or episodes that are there twice"


def tokens(source: SourceStats) -> Found:
    """Examples that are longer than the recipe allows."""
    if source.tokens and source.tokens.over:
        what = f"{source.tokens.over:,} of {source.tokens.whole.count:,} examples have more than {source.tokens.limit:,} tokens"
        yield "over_limit", "error", what, "raise max_tokens: targets are never cut, and the build would stop"


def rejects(source: SourceStats) -> Found:
    """What was left out as faulty."""
    for lost in source.lost:
        if lost.fault:
            place = f", such as {lost.example}" if lost.example else ""
            yield (
                "rejects",
                "warning",
                f"{lost.count:,} dropped as faulty: {lost.reason}{place}",
                f"list them: {command('store', 'rejects', source.name)}",
            )


LOOKS: tuple[Callable[[SourceStats], Found], ...] = (
    dimensions,
    codes,
    drift,
    gripper,
    motion,
    unpaired,
    wraps,
    steps,
    words,
    pictures,
    tokens,
    rejects,
)


def _leak(leak: Leak) -> Found:
    apart = leak.here.split("/")[1] != leak.there.split("/")[1]
    level: Level = "warning" if apart else "note"
    things = {"group": "episodes or pictures", "picture": "pictures", "text_and_picture": "pairs of text and picture"}[leak.what]
    what = f"{leak.here} and {leak.there} have {things} in common: {leak.count:,}, such as {leak.example}"
    yield "leak", level, what, "keep them out of one split" if apart else "they count twice"


def _rates(stats: Stats) -> Iterator[Warn]:
    """Robots that step at different rates."""
    found = {s.name: s.episodes.fps for s in stats.sources if s.episodes and s.episodes.fps}
    if found and max(found.values()) > 1.2 * min(found.values()):
        said = ", ".join(f"{name} {fps:.3g}" for name, fps in sorted(found.items()))
        what, do = f"robots step at different rates: {said} Hz", "say the rate in the prompt, or resample"
        yield Warn(code="mixed_rates", level="note", source="", what=what, do=do)


def _mixture(mixture: MixtureStats) -> Iterator[tuple[str, tuple[str, Level, str, str]]]:
    """Sources that come too often or hardly at all, and a share that strays."""
    for share in mixture.shares:
        for warn in draw_warnings(share.source, share.epochs, share.unseen, share.unseen + share.unique):
            yield warn.source, (warn.code, warn.level, warn.what, warn.do)
        if share.epochs < 0.1:
            what = f"only {share.epochs:.1%} of its rows are drawn"
            yield share.source, ("little_drawn", "warning", what, "raise its weight, or the size of the mixture")
    limit = 1 / max(min(mixture.examples // max(mixture.shards, 1), 1 << 20), 1)
    if mixture.shard_worst > limit + 1e-9:
        what = f"a shard's robot share is {mixture.shard_worst:.2%} from what was asked"
        yield "", ("robot_share_strays", "warning", what, "verify it: every fault is named there")
