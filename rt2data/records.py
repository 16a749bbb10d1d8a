"""The records that flow from folder to folder: Step and Example in, Rows on, Reject and Warn aside. All are frozen."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

Kind = Literal["robot", "web"]
Compact = Literal["auto", "never", "spill", "runner"]
"""Whether a prepared store has its images in the order of its rows, and how they come there: see `prepare.compact`."""
Role = Literal["system", "user", "assistant"]
AnswerRule = Literal["majority", "sample", "all", "soft"]
"""Which of the answers given to a question becomes the target: see `standardize.answers`."""
Agreement = Literal["case", "vqa"]
"""Which answers count as the same."""
F32 = NDArray[np.float32]


class Place(NamedTuple):
    """A byte range of a file that holds one encoded image."""

    path: str
    offset: int
    length: int


class End(IntFlag):
    """Marks of an episode, one bit each."""

    SUCCESS = 1  # the source marks it a success
    FAILURE = 2
    REWARDED = 4  # its sparse reward is above 0 at the end
    UNREWARDED = 8
    TERMINAL = 16  # `is_terminal` is set at the end
    TRUNCATED = 32
    WANTED = 64  # the recipe keeps it only if it is a success


NO_MARKS = End(0)


Content = bytes | memoryview | NDArray[np.uint8]
"""Of an image: encoded bytes, or pixels uint8[height, width, 1, 3 or 4] in RGB or RGBA."""


class Deferred(ABC):
    """The content of an image that is made when it is needed, as a video's frames are. Those of one camera of an episode are asked
    for in the order of the steps, each once or never.
    """

    __slots__ = ()  # there is one for each step of an episode

    @abstractmethod
    def read(self) -> Content:
        """Make it. Raises ImageFault where it is damaged, OSError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of one camera, as the source holds it.

    `data` is the encoded bytes (any bytes-like; it may be a view that dies with the record it came from) or, where the source has
    no encoded bytes, pixels; or what makes them. `place` says where the encoded bytes are, if they are in a file as they are; then
    nothing needs to be copied. `turn` says what nothing in the bytes does: by how many degrees, clockwise, it must be turned to be
    upright.
    """

    camera: str
    data: Content | Deferred
    place: Place | None = None
    turn: Literal[0, 90, 180, 270] = 0

    def content(self) -> Content:
        """Bytes or pixels. Raises what `Deferred.read` raises."""
        return self.data.read() if isinstance(self.data, Deferred) else self.data


class Turn(NamedTuple):
    """One turn of a conversation. `<image>` in its text is the place of the next image of the example."""

    role: Role
    text: str
    loss: bool = True  # whether an assistant's words have a loss


Frame = Literal["upright", "stored"]
"""What regions were measured in: the image as people see it, or its pixels as the file stores them. They differ only where EXIF
says that the image is to be turned."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box or a point of an image, in fractions of its width and height from the upper left corner.

    `<region>` in a text is the place of the next region of the example.
    """

    image: int  # position among the example's images
    coords: tuple[float, ...]  # x0, y0, x1, y1 of a box, x, y of a point; each from 0 to 1
    label: str = ""  # what is there; empty where the text around it says so

    @property
    def is_box(self) -> bool:
        """A box has four numbers, a point two."""
        return len(self.coords) == 4


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn, as conversations are exchanged between tools."""

    role: Role
    content: str


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something said about a step: its plan, the sub-task, a thought before the action."""

    name: str
    text: str


class Slot(NamedTuple):
    """A fixed place for one image of an example: a camera, and when, in control steps from the example's own (0, or below it)."""

    camera: str
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.camera} {self.offset}" if self.offset else self.camera


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a robot episode: what was seen and the action taken after it."""

    episode: str  # unique in the source; [A-Za-z0-9_-]
    step: int  # 0-based position in the episode
    steps: int  # length of the episode as recorded
    split: str
    instruction: str
    action: F32  # [D] in the source's units
    images: tuple[Image, ...]
    state: F32 | None = None  # [S]
    is_first: bool = False
    is_last: bool = False
    is_terminal: bool = False
    success: bool | None = None  # whether the source marks the episode that ends here as a success; None where it says nothing
    reward: float | None = None
    timestamp: float | None = None  # seconds
    origin: str = ""  # where the episode comes from, in the log's own words; empty where it does not say
    number: str = ""  # of the episode in its origin, where the log says so
    notes: tuple[Note, ...] = ()  # from annotations beside the log, in their order
    pool: tuple[str, ...] = ()  # instructions to choose from; empty where the log's own is the only one


@dataclass(frozen=True, slots=True)
class Example:
    """One web example: a question with every answer that was given, or a conversation; about no, one or several images.

    With `turns` it is a conversation: `question` and `answers` stay empty, and its turns have one `<image>` for each image.

    With `regions` its words have one `<region>` for each, in order; of several answers each has those that the question leaves.
    Without, `<region>` is a word like any other.
    """

    key: str  # unique in the source; [A-Za-z0-9_-]
    group: str  # what must not be torn between splits: the image's id
    split: str
    question: str = ""
    answers: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    turns: tuple[Turn, ...] = ()
    regions: tuple[Region, ...] = ()
    frame: Frame = "upright"  # of its regions


@dataclass(frozen=True, slots=True)
class Row:
    """What a Step and an Example become: text, an answer or an action, images. After this there is one kind of record."""

    key: str  # unique in the source; [A-Za-z0-9_-]
    group: str  # episode or image id: what must not be torn between splits
    split: str
    text: str  # instruction or question; of a conversation the first words of the user
    images: tuple[Image, ...]
    step: int = -1
    steps: int = -1
    answers: tuple[str, ...] = ()
    pick: int = -1  # which distinct answer this row stands for; -1 where the answer rule decides
    turns: tuple[Turn, ...] = ()  # of a conversation
    action: F32 | None = None  # [D] in the action space's units and polarity
    state: F32 | None = None  # [S]
    terminate: bool = False  # the task ends here, unless the marks of the episode speak against it
    marks: End = NO_MARKS
    timestamp: float | None = None  # seconds
    regions: tuple[Region, ...] = ()
    frame: Frame = "upright"  # of its regions
    notes: tuple[Note, ...] = ()
    pool: tuple[str, ...] = ()  # instructions to choose from when the row is drawn


@dataclass(frozen=True, slots=True)
class Reject:
    """Something dropped, with its reason.

    `fault` is True for what is wrong with the data (it counts against the recipe's `max_bad`), False for what the recipe asked to
    drop. `count` is the number of steps or examples lost with it (1 where it is not known).
    """

    reason: str  # a short snake_case word: bad_crc, corrupt_image, nan_action, blank_instruction, ...
    where: str  # file, episode, step, byte: whatever finds it again
    detail: str = ""
    fault: bool = True
    count: int = 1
    tasks: tuple[tuple[str, int], ...] = field(default=(), compare=False)  # lost steps of each instruction; not stored with it


@dataclass(frozen=True, slots=True)
class Fact:
    """Something worth counting that is not lost: how a row was joined, what an episode's end rests on.

    Counts of one name are added up over a source and stand in its store as `facts`; `source_notes` puts them into words.
    """

    name: str  # dotted: join.same_bytes, ends.success, ...
    count: int = 1


SourceRecord = Step | Example | Fact | Reject
"""What a source reads."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A work order to read: one raw file, a range of it, or several small ones. Small; the same for the same files.

    `start`, `stop` and `first` mean what the source wants them to mean (byte range and number of the first record for RLDS).
    """

    index: int  # position among the source's units: 0, 1, 2, ...
    path: str
    split: str
    start: int = 0
    stop: int = 0
    first: int = 0
    bytes: int = 0  # how much there is to read, for progress
    shared: str = ""  # folder of what the source's units have in common; empty where none was written
    parts: tuple[Unit, ...] = ()  # small files that are read together, in order: units of one part each

    @property
    def each(self) -> tuple[Unit, ...]:
        """Its parts, or itself where it has none."""
        return self.parts or (self,)

    @property
    def label(self) -> str:
        more = f" and {len(self.parts) - 1} more" if self.parts else ""
        return f"{self.path}[{self.start}:{self.stop}]{more}"


@dataclass(frozen=True, slots=True)
class Images:
    """Where the images of n rows are, m in all: row i has those from `starts[i]` to `starts[i + 1]`."""

    starts: NDArray[np.int64]  # n + 1
    slot: NDArray[np.int32]  # m: the place of each in its row, rising
    camera: Sequence[str]  # m
    file: NDArray[np.int32]  # m: number in the store's files
    offset: NDArray[np.int64]  # m
    length: NDArray[np.int32]  # m
    xxh3: NDArray[np.uint64]  # m: of the encoded bytes
    format: Sequence[str]  # m
    sizes: NDArray[np.int32] | None = None  # [m, 2]: width and height; None where no row of the source has regions

    def __len__(self) -> int:
        return len(self.format)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The actions of n robot rows, H to a row, the first its own."""

    actions: F32  # [n, H, D]; behind the last action of an episode that one is repeated
    real: NDArray[np.int32]  # n: how many of the H are actions of the episode; the others are padding
    ends: NDArray[np.int32]  # n: which of them ends the task, -1 where none does

    @property
    def is_pad(self) -> NDArray[np.bool_]:
        """bool[n, H]"""
        found: NDArray[np.bool_] = np.arange(self.actions.shape[1]) >= self.real[:, None]
        return found


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of prepared rows of one source, as columns, in the order they are drawn. n rows.

    Robot rows have `text` = instruction and no answers; web rows have `text` = question and no action, or `turns`.
    """

    source: str
    kind: Kind
    keys: Sequence[str]  # n row keys, unique in the source
    groups: Sequence[str]  # n episode or image ids
    steps: NDArray[np.int32]  # n step numbers; -1 for web
    lengths: NDArray[np.int32]  # n: steps of the episode; -1 for web
    timestamps: Sequence[float | None]  # n, seconds
    images: Images
    text: Sequence[str]  # n
    answers: Sequence[Sequence[str]]  # n; empty for robot
    picks: NDArray[np.int32]  # n: which distinct answer this row stands for; -1 where the answer rule decides
    turns: Sequence[Sequence[Turn] | None]  # n; None but for conversations
    chunks: Chunks | None
    state: F32 | None  # [n, S]
    terminate: NDArray[np.bool_]  # n: the step that ends the task
    epochs: NDArray[np.int64]  # n: how many times the source had been read through before this draw
    regions: Sequence[Sequence[Region]] | None = None  # n; None where no row of the source has regions
    notes: Sequence[Sequence[Note] | None] | None = None  # n; None where the source has no annotations
    originals: Sequence[str | None] | None = None  # n: the log's own instruction where `text` is another; None without pools

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def action(self) -> F32 | None:
        """[n, D]: each row's own action."""
        return None if self.chunks is None else self.chunks.actions[:, 0]


class Span(NamedTuple):
    """A part of an example's token ids."""

    start: int
    stop: int
    loss: bool
    what: Literal["prompt", "target"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a trainer learns from a batch of n rows. End tokens belong to targets, a begin token to the first prompt."""

    prompts: Sequence[str]  # all text before the last target
    targets: Sequence[str]  # the last target
    input_ids: Sequence[Sequence[int]]
    spans: Sequence[Sequence[Span]]  # of each row's ids, in order, without gaps
    messages: Sequence[Sequence[Message]]  # what was said, without the template's words; `<image>` where images are
    bins: Sequence[Sequence[int]] | None = None  # n: the codec's integers, K to an action; None for web
    weights: Sequence[float] | None = None  # n: of each row's loss, against others of its source; None: all 1
    info: dict[str, Any] = field(default_factory=dict)


SOURCE = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
"""Open X's own have up to 52 letters: nyu_franka_play_dataset_converted_externally_to_rlds."""
_IN_KEYS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@lru_cache(maxsize=4096)
def key_name(source: str) -> str:
    """How a source's name begins the keys of its examples: 32 characters at most, none of them `-`, which ends it.

    So name, row, epoch and an ending fit the 100 bytes that tar has for a name. A name that is longer, or has a `-`, is cut and
    identified by its hash.
    """
    if _IN_KEYS.fullmatch(source):
        return source
    return f"{source[:23].replace('-', '_')}_{xxhash.xxh3_64_hexdigest(source.encode())[:8]}"


Level = Literal["error", "warning", "note"]
RANK: dict[str, int] = {"error": 0, "warning": 1, "note": 2}


class Warn(msgspec.Struct, frozen=True):
    """One finding. `error`: training on it is a mistake; `warning`: look before you train; `note`: good to know."""

    code: str  # snake_case, stable: dead_dimension, inverted_gripper, blank_text, black_camera, ...
    level: Level
    source: str  # empty where it is about the whole
    what: str  # one plain sentence
    do: str

    def __str__(self) -> str:
        about = f"{self.source}: " if self.source else ""
        advice = f" -> {self.do}" if self.do else ""
        return f"{self.level}: {about}{self.what}{advice} [{self.code}]"


def worst_first(found: Iterable[Warn]) -> tuple[Warn, ...]:
    """Errors, then warnings, then notes, each in the order given; duplicates once."""
    once = {(warn.code, warn.source, warn.what): warn for warn in found}
    return tuple(sorted(once.values(), key=lambda warn: RANK[warn.level]))
