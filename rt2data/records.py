"""The records passed between folders: Step and Example from readers, then Rows; Reject and Warn on the side. All are frozen."""

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
"""Whether the images of a prepared store are copied into row order, and how: see `prepare.compact`."""
Role = Literal["system", "user", "assistant"]
AnswerRule = Literal["majority", "sample", "all", "soft"]
"""Which of a question's answers becomes the target: see `standardize.answers`."""
Agreement = Literal["case", "vqa"]
"""Which answers count as equal."""
F32 = NDArray[np.float32]


class Place(NamedTuple):
    """A byte range of a file that holds one encoded image."""

    path: str
    offset: int
    length: int


class End(IntFlag):
    """Marks found at the end of an episode, one bit each."""

    SUCCESS = 1  # the source marks it a success
    FAILURE = 2
    REWARDED = 4  # its sparse reward is above 0 at the end
    UNREWARDED = 8
    TERMINAL = 16  # `is_terminal` is set at the end
    TRUNCATED = 32
    WANTED = 64  # the recipe keeps it only if it is a success


NO_MARKS = End(0)


Content = bytes | memoryview | NDArray[np.uint8]
"""Content of an image: encoded bytes, or pixels uint8[height, width, 1, 3 or 4] in RGB or RGBA."""


class Deferred(ABC):
    """Image content that is made on demand, such as a video frame.

    The images of one camera of an episode are read in step order, each at most once.
    """

    __slots__ = ()  # one is created for each step of an episode

    @abstractmethod
    def read(self) -> Content:
        """Make the content. Raises ImageFault if it is damaged, OSError if it cannot be read."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of one camera, as the source holds it.

    `data` is the encoded bytes (any bytes-like object, possibly a view valid only as long as its record); pixels, if the source has
    no encoded bytes; or a `Deferred` that makes either. `place` locates the encoded bytes if they lie unchanged in a file, so that
    nothing is copied. `turn` is the clockwise rotation in degrees that makes the image upright, where the bytes themselves do not
    say it.
    """

    camera: str
    data: Content | Deferred
    place: Place | None = None
    turn: Literal[0, 90, 180, 270] = 0

    def content(self) -> Content:
        """Bytes or pixels. Raises the same errors as `Deferred.read`."""
        return self.data.read() if isinstance(self.data, Deferred) else self.data


class Turn(NamedTuple):
    """One turn of a conversation. `<image>` in the text marks where the example's next image goes."""

    role: Role
    text: str
    loss: bool = True  # whether an assistant turn contributes to the loss


Frame = Literal["upright", "stored"]
"""The frame that regions were measured in: the upright image, or its pixels as stored. They differ only for images with EXIF
rotation."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box or a point in an image, in fractions of its width and height from the upper left corner.

    `<region>` in a text marks where the example's next region goes.
    """

    image: int  # index among the example's images
    coords: tuple[float, ...]  # box: x0, y0, x1, y1; point: x, y; each from 0 to 1
    label: str = ""  # what it shows; empty if the surrounding text says so

    @property
    def is_box(self) -> bool:
        """Whether this is a box (four numbers) and not a point (two)."""
        return len(self.coords) == 4


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn, in the format that tools exchange."""

    role: Role
    content: str


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something said about a step: its plan, the sub-task, a thought before the action."""

    name: str
    text: str


class Slot(NamedTuple):
    """A fixed place for one image of an example: a camera, and an offset in control steps from the example's own step (0 or
    negative)."""

    camera: str
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.camera} {self.offset}" if self.offset else self.camera


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a robot episode: the observation and the action taken after it."""

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
    success: bool | None = None  # whether the source marks the episode ending here as a success; None if it does not say
    reward: float | None = None
    timestamp: float | None = None  # seconds
    origin: str = ""  # where the episode comes from, as written in the log; empty if not given
    number: str = ""  # the episode's number within `origin`, if the log gives one
    notes: tuple[Note, ...] = ()  # from annotations next to the log, in their order
    pool: tuple[str, ...] = ()  # instructions to choose from; empty if there is only the log's own


@dataclass(frozen=True, slots=True)
class Example:
    """One web example: a question with all its answers, or a conversation; with any number of images.

    With `turns` it is a conversation: `question` and `answers` stay empty, and the turns have one `<image>` per image.

    With `regions` its texts have one `<region>` per region, in order; each of several answers has all those that the question does
    not use. Without `regions`, `<region>` is ordinary text.
    """

    key: str  # unique in the source; [A-Za-z0-9_-]
    group: str  # image id: examples of one group stay in one split
    split: str
    question: str = ""
    answers: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    turns: tuple[Turn, ...] = ()
    regions: tuple[Region, ...] = ()
    frame: Frame = "upright"  # of `regions`


@dataclass(frozen=True, slots=True)
class Row:
    """What a Step or an Example becomes: text, an answer or an action, images. From here on there is only this kind of record."""

    key: str  # unique in the source; [A-Za-z0-9_-]
    group: str  # episode or image id: rows of one group stay in one split
    split: str
    text: str  # instruction or question; for a conversation, the user's first message
    images: tuple[Image, ...]
    step: int = -1
    steps: int = -1
    answers: tuple[str, ...] = ()
    pick: int = -1  # index of the distinct answer this row stands for; -1 if the answer rule decides
    turns: tuple[Turn, ...] = ()  # of a conversation; else empty
    action: F32 | None = None  # [D] in the action space's units and polarity
    state: F32 | None = None  # [S]
    terminate: bool = False  # the task ends here, unless the episode's marks contradict it
    marks: End = NO_MARKS
    timestamp: float | None = None  # seconds
    regions: tuple[Region, ...] = ()
    frame: Frame = "upright"  # of `regions`
    notes: tuple[Note, ...] = ()
    pool: tuple[str, ...] = ()  # instructions to choose from when the row is drawn


@dataclass(frozen=True, slots=True)
class Reject:
    """Something dropped, with the reason.

    `fault` is True for bad data (counted against the recipe's `max_bad`), False for what the recipe asked to drop. `count` is the
    number of steps or examples lost (1 if unknown).
    """

    reason: str  # a short snake_case word: bad_crc, corrupt_image, nan_action, blank_instruction, ...
    where: str  # file, episode, step, byte: enough to find it again
    detail: str = ""
    fault: bool = True
    count: int = 1
    tasks: tuple[tuple[str, int], ...] = field(default=(), compare=False)  # lost steps per instruction; not stored


@dataclass(frozen=True, slots=True)
class Fact:
    """Something counted without loss: how a row was joined, what an episode's end is based on.

    Counts of the same name are summed over a source and stored as its `facts`; `source_notes` puts them into words.
    """

    name: str  # dotted: join.same_bytes, ends.success, ...
    count: int = 1


SourceRecord = Step | Example | Fact | Reject
"""What a source yields when read."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A read order: one raw file, a range of one, or several small files. It is small, and the same for the same files.

    Each source defines the meaning of `start`, `stop` and `first` (for RLDS: a byte range and the number of the first record).
    """

    index: int  # index among the source's units: 0, 1, 2, ...
    path: str
    split: str
    start: int = 0
    stop: int = 0
    first: int = 0
    bytes: int = 0  # bytes to read, for progress
    shared: str = ""  # folder shared by all units of the source; empty if none was written
    parts: tuple[Unit, ...] = ()  # small files read together, in order, each as a unit without parts

    @property
    def each(self) -> tuple[Unit, ...]:
        """The parts, or the unit itself if it has none."""
        return self.parts or (self,)

    @property
    def label(self) -> str:
        more = f" and {len(self.parts) - 1} more" if self.parts else ""
        return f"{self.path}[{self.start}:{self.stop}]{more}"


@dataclass(frozen=True, slots=True)
class Images:
    """Where the m images of n rows are: row i has images `starts[i]` to `starts[i + 1]`."""

    starts: NDArray[np.int64]  # n + 1
    slot: NDArray[np.int32]  # m: index of each image within its row, rising
    camera: Sequence[str]  # m
    file: NDArray[np.int32]  # m: number of the file in the store's list
    offset: NDArray[np.int64]  # m
    length: NDArray[np.int32]  # m
    xxh3: NDArray[np.uint64]  # m: of the encoded bytes
    format: Sequence[str]  # m
    sizes: NDArray[np.int32] | None = None  # [m, 2]: width and height; None if no row of the source has regions

    def __len__(self) -> int:
        return len(self.format)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The actions of n robot rows, H per row, starting with the row's own."""

    actions: F32  # [n, H, D]; past the end of an episode, its last action repeated
    real: NDArray[np.int32]  # n: how many of the H actions are real; the rest is padding
    ends: NDArray[np.int32]  # n: index of the action that ends the task, -1 if none does

    @property
    def is_pad(self) -> NDArray[np.bool_]:
        """bool[n, H]: True for padding."""
        found: NDArray[np.bool_] = np.arange(self.actions.shape[1]) >= self.real[:, None]
        return found


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of n prepared rows of one source, as columns, in draw order.

    Robot rows: `text` is the instruction, no answers. Web rows: `text` is the question and there is no action, or they have
    `turns`.
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
    picks: NDArray[np.int32]  # n: index of the distinct answer each row stands for; -1 if the answer rule decides
    turns: Sequence[Sequence[Turn] | None]  # n; None unless a conversation
    chunks: Chunks | None
    state: F32 | None  # [n, S]
    terminate: NDArray[np.bool_]  # n: whether the step ends the task
    epochs: NDArray[np.int64]  # n: how often the source had been read through before this draw
    regions: Sequence[Sequence[Region]] | None = None  # n; None if no row of the source has regions
    notes: Sequence[Sequence[Note] | None] | None = None  # n; None if the source has no annotations
    originals: Sequence[str | None] | None = None  # n: the log's own instruction if `text` is a different one; None without pools

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def action(self) -> F32 | None:
        """[n, D]: each row's own action."""
        return None if self.chunks is None else self.chunks.actions[:, 0]


class Span(NamedTuple):
    """A range of an example's token ids."""

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
    spans: Sequence[Sequence[Span]]  # over each row's ids, in order, without gaps
    messages: Sequence[Sequence[Message]]  # the conversation without the template's words; `<image>` marks images
    bins: Sequence[Sequence[int]] | None = None  # n: the codec's integers, K per action; None for web
    weights: Sequence[float] | None = None  # n: loss weight of each row relative to others of its source; None: all 1
    info: dict[str, Any] = field(default_factory=dict)


SOURCE = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
"""Open X names have up to 52 letters: nyu_franka_play_dataset_converted_externally_to_rlds."""
_IN_KEYS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@lru_cache(maxsize=4096)
def key_name(source: str) -> str:
    """The source's name as a key prefix: at most 32 characters, without `-`, which separates it from the rest.

    So name, row, epoch and suffix fit into tar's 100-byte names. A longer name, or one with `-`, is cut and a hash appended.
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
    source: str  # empty if it concerns the whole mixture
    what: str  # one plain sentence
    do: str

    def __str__(self) -> str:
        about = f"{self.source}: " if self.source else ""
        advice = f" -> {self.do}" if self.do else ""
        return f"{self.level}: {about}{self.what}{advice} [{self.code}]"


def worst_first(found: Iterable[Warn]) -> tuple[Warn, ...]:
    """Errors, then warnings, then notes, each in the given order, without duplicates."""
    once = {(warn.code, warn.source, warn.what): warn for warn in found}
    return tuple(sorted(once.values(), key=lambda warn: RANK[warn.level]))
