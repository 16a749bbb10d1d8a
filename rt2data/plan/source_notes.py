"""Notes about a prepared source before it is mixed: how it was joined, read and changed. One function per subject.

`plan`, `build-mixture`, `stats`, `report` and the card all show these; a new subject is one function and one line in `SUBJECTS`.
What a kind of source counts is named in the `facts.py` of its folder, which imports nothing of its reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rt2data.plan.joined import matches
from rt2data.plan.model import SourcePlan
from rt2data.prepare.row_builder import ABSENT, CUT, REGIONS_CLIPPED
from rt2data.prepare.row_table import BOXES, POINTS
from rt2data.prepare.store import StoreInfo
from rt2data.read.bridge_raw.facts import LATE, MORE_WORDS
from rt2data.read.corpus.facts import CUT as CUT_BOXES
from rt2data.read.corpus.facts import UNKNOWN_ROTATION, left_out_line
from rt2data.read.filters import LISTS
from rt2data.read.join.facts import join_line, written_line
from rt2data.read.lerobot.facts import FOUND, WORDS
from rt2data.read.ros.facts import commands_line, times_line
from rt2data.read.source import RobotSource, Source
from rt2data.read.zarr.facts import ABSENT as ABSENT_CHUNKS
from rt2data.records import End, Level, Warn
from rt2data.standardize.answers import DROPPED as DROPPED_ANSWERS
from rt2data.standardize.answers import FEW, LONG, UNANSWERABLE
from rt2data.standardize.conversions import ABSENT_STEPS, ASSUMED_OPEN, BETWEEN, CLIPPED, JUMPS, WRAPPED
from rt2data.standardize.end_marks import DROPPED, fact_name, refuted, tells_success
from rt2data.standardize.filters import KNOWN, MISSING, UNKNOWN
from rt2data.standardize.words import PLACEHOLDERS

Note = tuple[str, Level, str, str]
"""Code, level, what, what to do."""
NAMED = 8
"""How many dimensions or episodes a note names."""
MATCHED = 0.95
"""If keep_ranges knows a smaller share of the episodes, its keys are doubtful."""


def source_notes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Warn]:
    """All notes about one source. `info` may be an estimate; `planned` holds its codec."""
    for subject in SUBJECTS:
        for code, level, what, do in subject(source, info, planned):
            yield Warn(code, level, info.name, what, do)


def cameras(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which of several cameras the mixture uses."""
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


def as_recorded(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """What the log lacks or shifts."""
    if absent := info.facts.get(ABSENT_CHUNKS):
        what = f"{absent:,} chunks of numbers are not in the zarr store: they stand for its fill value"
        yield "absent_chunks", "warning", what, "if they should be there, fetch the store again"
    if late := info.facts.get(LATE):
        what = f"in {late:,} episodes each action goes with the observation after it, for cameras were one step late then"
        yield "camera_latency", "note", what, "set camera_latency: 0 if they were not"
    if more := info.facts.get(MORE_WORDS):
        yield "more_annotations", "note", f"{more:,} episodes were described more than once: the first line counts", ""


def windows(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """What an example holds of other steps, and where windows end early."""
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


def regions(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Boxes and points, and how many boxes cropping cut."""
    if info.has_regions:
        counts = ((BOXES, "boxes"), (POINTS, "points"))
        yield "regions", "note", " and ".join(f"{info.facts[fact]:,} {what}" for fact, what in counts if info.facts.get(fact)), ""
    if cut := info.facts.get(REGIONS_CLIPPED):
        yield "clipped_regions", "note", f"{cut:,} boxes are partly outside of the cropped images: what is inside counts", ""


def boxes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which boxes of a corpus were left out or cut."""
    if line := left_out_line(info.facts):
        yield "boxes", "note", line, "" if CUT_BOXES not in info.facts else "set a larger `max_regions` to have all"


def join(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """How questions, answers and images were joined, and which values were read in another form."""
    line = join_line(info.facts)
    if line:
        about = "" if info.digest else "in a sample, "
        chosen = info.facts.get("join.first_folder")
        do = "check that these are the images you want" if chosen else ""
        yield "join", "warning" if chosen else "note", f"{about}{line}", do
    written = written_line(info.facts)
    if written:
        yield "read_as", "note", written, ""
    if unknown := info.facts.get(UNKNOWN_ROTATION):
        what = f"{unknown:,} questions are about images that `rotations` does not know: these are not turned"
        yield "unknown_rotation", "warning", what, "name the CSV of the images' own part of Open Images"


def annotated(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """How many steps have annotations or pools joined to the log."""
    if not isinstance(source, RobotSource):
        return
    for found in matches(source, info):
        below = found.share < source.joined[found.setting].min_matched
        do = "correct the names before you build" if below else "a step without notes is an action alone" if found.bare else ""
        yield found.setting, "warning" if below else "note", f"{'' if info.digest else 'in a sample, '}{found.line}", do


def recordings(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """What the clocks of recorded messages are like, and whether commands fit the steps."""
    if line := times_line(info.facts):
        yield "clocks", "note", line, ""
    if line := commands_line(info.facts):
        do = "if they are displacements, let the steps be theirs: `clock_topic`"
        yield "commands", "warning", line, do


def held(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Dimensions that the codec always writes as one value."""
    dims = planned.codec["dims"] if planned.codec else []
    still = [f"{dim['name']} at {dim['lo']:g}" for dim in dims if dim["lo"] == dim["hi"]]
    if still:
        listed = ", ".join(still[:NAMED]) + (f" and {len(still) - NAMED} more" if len(still) > NAMED else "")
        what = f"{len(still)} of {len(dims)} action dimensions are held, as they hardly ever move: {listed}"
        yield "held", "warning", what, "if one matters, give it bounds = [lo, hi] in the action space"


def ends(source: Source, info: StoreInfo, planned: SourcePlan | None = None) -> Iterator[Note]:
    """What terminate tokens are based on, and ends that were cut off episodes."""
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


def differences(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Claims in a LeRobot dataset's metadata that its files contradict."""
    said = [f"{text} ({info.facts[FOUND + name]:,})" for name, text in WORDS.items() if info.facts.get(FOUND + name)]
    if said:
        yield (
            "log_differs",
            "warning",
            f"metadata and files differ: {'; '.join(said)}",
            "the files are believed: view a few",
        )


def words(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Placeholder instructions, and steps without words."""
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


def answers(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Answers that are not targets, and soft weights of questions with fewer than ten answers."""
    dropped = {reason: info.facts.get(f"{DROPPED_ANSWERS}{reason}", 0) for reason in NO_TARGETS}
    if any(dropped.values()):
        listed = ", ".join(f"{count:,} {NO_TARGETS[reason]}" for reason, count in dropped.items() if count)
        yield "answers_dropped", "note", f"answers that are no targets: {listed}", "their questions have others"
    if few := info.facts.get(FEW):
        what = f"{few:,} questions have two to nine answers: soft weights are made for ten"
        yield "few_answers", "warning", what, "if answers agree less often because few were asked, set answers: all"


def filters(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Listed episodes that the source lacks, and episodes that keep_ranges does not know."""
    for setting in LISTS:
        count, begin = info.facts.get(f"{MISSING}.{setting}", 0), f"{MISSING}.{setting}."
        if count:
            names = [fact.removeprefix(begin) for fact in info.facts if fact.startswith(begin)][:NAMED]
            listed = ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")
            yield "filter_names", "warning", f"filters.{setting} names episodes that there are not: {listed}", "correct the list"
    known, unknown = (info.facts.get(fact, 0) for fact in (KNOWN, UNKNOWN))
    if known or unknown:
        of = "" if info.digest else "sampled "
        what = f"filters.keep_ranges knows {known:,} of {known + unknown:,} {of}episodes; the others are dropped"
        doubtful = known < MATCHED * (known + unknown)
        yield "keep_ranges", "warning" if doubtful else "note", what, "check that its keys are of this log" if doubtful else ""


def conversions(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """What converting actions and states changed, and angles that jump."""
    said = [f"{info.facts[name]:,} {what}" for name, what in CONVERTED.items() if info.facts.get(name)]
    if said:
        yield "converted", "note", f"conversions: {', '.join(said)}", ""
    if jumps := info.facts.get(JUMPS):
        what = f"{jumps:,} changes of an angle are of more than half a circle: they stand for a turn the other way"
        yield "angle_jumps", "warning", what, "set `wrap: true` in the conversion, unless a trainer needs them as they are"


def reencoded(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which images do not have the source's own bytes."""
    count = sum(info.conversions.values())
    if count:
        rules = ", ".join(
            f"{rule} {times:,}" for rule, times in sorted(info.conversions.items(), key=lambda rule: (-rule[1], rule[0]))
        )
        of = "images are" if info.digest else "sampled images are"  # a quick scan counts only its sample
        what = f"{count:,} {of} re-encoded as JPEG, quality {source.images.quality}: {rules}"
        yield "reencoded_images", "note", what, "see `images` in the recipe: `quality`, `resize`, `png`"


AGAINST = {End.FAILURE: "are marked as failures", End.UNREWARDED: "end without a reward", End.TRUNCATED: "are truncated"}
"""Marks that contradict success, in words."""
CONVERTED = {
    WRAPPED: "angles of more than half a circle were wrapped",
    BETWEEN: "values of a gripper between open and closed became one of them",
    ABSENT_STEPS: "steps of the lower rate have no step of the log near them, and are left out",
    CLIPPED: "values were clipped",
    ASSUMED_OPEN: "episodes have a gripper that never changes, taken to be open",
}
"""Counts of conversions, in words."""
NO_TARGETS = {LONG: "too long", UNANSWERABLE: "that say the question cannot be answered"}
"""Why answers are not targets, in words."""
SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (
    cameras,
    as_recorded,
    windows,
    regions,
    boxes,
    join,
    annotated,
    recordings,
    held,
    ends,
    episodes,
    differences,
    words,
    answers,
    filters,
    conversions,
    reencoded,
)
