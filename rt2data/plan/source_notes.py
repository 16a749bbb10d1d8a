"""What a prepared source says of itself before it is mixed: how it was joined, read and changed. One function for each subject.

`plan`, `build-mixture`, `stats`, `report` and the card all show these; a new subject is one function and one line in `SUBJECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rt2data.plan.plan import SourcePlan
from rt2data.prepare.store import StoreInfo
from rt2data.prepare.unit import ABSENT, CUT
from rt2data.read.join.images import join_line, written_line
from rt2data.read.source import RobotSource, Source
from rt2data.records import End, Level, Warn
from rt2data.standardize.end_marks import DROPPED, fact_name, refuted, tells_success
from rt2data.standardize.words import PLACEHOLDERS

Note = tuple[str, Level, str, str]
"""code, level, what, what to do."""
NAMED = 8
"""Dimensions that a note names."""


def source_notes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Warn]:
    """All notes about one source. `info` may be an estimate; `planned` holds its codec."""
    for subject in SUBJECTS:
        for code, level, what, do in subject(source, info, planned):
            yield Warn(code, level, info.name, what, do)


def cameras(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which of several cameras the mixture takes."""
    if planned.camera_line:
        dropped = "dropped" in planned.camera_line
        yield (
            "cameras",
            "note",
            planned.camera_line,
            "set `camera` to take another, or `cameras` to take several" if dropped else "",
        )
    absent = {name.removeprefix(ABSENT): count for name, count in info.facts.items() if name.startswith(ABSENT)}
    if absent:
        listed = ", ".join(f"{name} in {count:,} rows" for name, count in absent.items())
        yield "absent_camera", "warning", f"cameras that rows do not have: {listed}", "their image_mask is false there"


def windows(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """What an example holds of other steps, and where that ends early."""
    if planned.window_line:
        yield "windows", "note", planned.window_line, ""
    rows, episodes = (sum(getattr(split, what) for split in info.splits.values()) for what in ("rows", "groups"))
    back = -min((slot.offset for slot in planned.slots), default=0)
    if episodes and max(planned.horizon - 1, back) * episodes > rows:
        what = f"windows are longer than a mean episode of {rows / episodes:,.1f} steps: most of what they hold is padding or empty"
        yield "long_windows", "warning", what, "set a smaller `horizon`, or `history` less far back"
    if cut := info.facts.get(CUT):
        what = f"{cut:,} windows end early at a gap, where steps were dropped"
        yield "windows_at_gaps", "warning", what, "set `gaps: join` to go over gaps, or drop no steps there"


def join(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """By what questions, answers and images were put together, and what was read that is written another way."""
    line = join_line(info.facts)
    if line:
        about = "" if info.digest else "in a sample, "
        chosen = info.facts.get("join.first_folder")
        do = "check that these are the images you want" if chosen else ""
        yield "join", "warning" if chosen else "note", f"{about}{line}", do
    written = written_line(info.facts)
    if written:
        yield "read_as", "note", written, ""


def held(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Dimensions that the codec writes as one value, whatever the robot did."""
    dims = planned.codec["dims"] if planned.codec else []
    still = [f"{dim['name']} at {dim['lo']:g}" for dim in dims if dim["lo"] == dim["hi"]]
    if still:
        listed = ", ".join(still[:NAMED]) + (f" and {len(still) - NAMED} more" if len(still) > NAMED else "")
        what = f"{len(still)} of {len(dims)} action dimensions are held, as they hardly ever move: {listed}"
        yield "held", "warning", what, "if one matters, give it bounds = [lo, hi] in the action space"


def ends(source: Source, info: StoreInfo, planned: SourcePlan | None = None) -> Iterator[Note]:
    """What the terminate tokens rest on, and ends that were cut out of episodes."""
    if not isinstance(source, RobotSource):
        return
    facts, count = info.facts, sum(info.facts.get(fact_name(mark), 0) for mark in (End.TERMINAL, End.TRUNCATED))
    believed = {said: facts.get(fact_name(mark), 0) for mark, said in AGAINST.items() if mark in refuted(facts)}
    against = ", ".join(f"{number:,} {said}" for said, number in believed.items() if number)
    if source.terminate == "auto" and count and not tells_success(facts):
        what = f"no end of the {count:,} episodes is marked a success or a failure: all are taken for successes"
        yield "ends_assumed", "warning", what, "if that is so set terminate: last_step, else never"
    elif source.terminate == "last_step" and against:
        what = f"the last step of every episode ends the task, but of {count:,} episodes {against}"
        yield "ends_not_believed", "warning", what, "set terminate: auto"
    elif against:
        yield "ends", "note", f"of {count:,} episodes {against}: they carry no terminate token", ""
    if facts.get(DROPPED):
        what = f"{facts[DROPPED]:,} episodes lost the step that ends the task"
        yield "ends_dropped", "warning", what, "look at drop_last and at the steps that were rejected"


def episodes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Records that hold several episodes, and episodes with steps missing in the middle."""
    cuts, gaps = info.facts.get("episodes.cut_at_is_first", 0), info.facts.get("episodes.with_gaps", 0)
    if cuts:
        what = f"is_first is set {cuts:,} times inside a record: each begins an episode of its own"
        yield "cut_at_is_first", "warning", what, "check that is_first marks episodes in this source"
    if gaps:
        what = f"{gaps:,} episodes have steps missing in the middle"
        yield "gaps", "note", what, "a mixture of single steps is not affected; write-rlds follows `gaps`"


def words(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Placeholders for instructions, and steps without words."""
    found = {kind: info.facts.get(f"placeholder.{kind}", 0) for kind in PLACEHOLDERS}
    if any(found.values()):
        said = ", ".join(f"{count:,} like {PLACEHOLDERS[kind]}" for kind, count in found.items() if count)
        what = f"{sum(found.values()):,} steps have a placeholder for an instruction: {said}"
        yield "placeholders", "warning", what, "drop them with filters.instruction, or fix the source"
    blank = sum(lost.count for lost in info.rejects if lost.reason == "blank_instruction" and not lost.fault)
    if blank:
        share = blank / (blank + sum(split.rows for split in info.splits.values()))
        level: Level = "warning" if share > 0.5 else "note"
        yield "blank_dropped", level, f"{blank:,} steps without words were dropped", "set blank_instruction: keep to keep them"


def reencoded(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which images are not the source's own bytes."""
    count = sum(info.conversions.values())
    if count:
        rules = ", ".join(
            f"{rule} {times:,}" for rule, times in sorted(info.conversions.items(), key=lambda rule: (-rule[1], rule[0]))
        )
        of = "images are" if info.digest else "sampled images are"  # a quick scan's counts are those of its sample
        what = f"{count:,} {of} re-encoded as JPEG, quality {source.images.quality}: {rules}"
        yield "reencoded_images", "note", what, "see `images` in the recipe: `quality`, `resize`, `png`"


AGAINST = {End.FAILURE: "are marked as failures", End.UNREWARDED: "end without a reward", End.TRUNCATED: "are truncated"}
"""Marks that speak against success, in words."""
SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (
    cameras,
    windows,
    join,
    held,
    ends,
    episodes,
    words,
    reencoded,
)
