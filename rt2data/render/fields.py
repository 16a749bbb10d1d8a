"""The fields of a training example, in one table from which everything else that knows the record is derived.

Each line of `ExampleRecord` is a field: its Python type, and a `Field` with its column type, the value that replaces null in
formats without null, what it means, and how its values come from a batch of rows. JSON, the columns of every format, the reader's
arrays and the checks of `verify` follow from the table; a new field is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from rt2data.errors import InternalError
from rt2data.records import Chunks, Message, Note, Region, Rendered, Rows, Slot, Span

Type = Literal["string", "int64", "int32", "uint8", "float32", "float64", "bool"]
Shape = Literal["one", "list", "vector", "pads", "chunk", "messages", "notes", "regions"]
"""`list` has any number of values per row, `vector` one per action dimension, `pads` one per action of a chunk, `chunk` a vector
per action of a chunk; `messages`, `notes` and `regions` have any number of structs, defined in `PARTS`."""
PARTS: dict[Shape, tuple[tuple[str, Type], ...]] = {
    "messages": (("role", "string"), ("content", "string")),
    "notes": (("name", "string"), ("text", "string")),
    "regions": (
        ("image", "int32"),
        ("x0", "float32"),
        ("y0", "float32"),
        ("x1", "float32"),
        ("y1", "float32"),
        ("label", "string"),
    ),
}
"""The parts of structs."""


class RegionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A box or a point in an image, in fractions of its width and height. A point is a box without size."""

    image: Annotated[int, msgspec.Meta(ge=0)]  # index among the example's images
    x0: float
    y0: float
    x1: float
    y1: float
    label: str

    @classmethod
    def of(cls, region: Region) -> RegionRecord:
        """A region as records hold it."""
        x0, y0, x1, y1 = region.coords if region.is_box else region.coords * 2
        return cls(region.image, x0, y0, x1, y1, region.label)

    @property
    def region(self) -> Region:
        """Inverse of `of`."""
        point, corner = (self.x0, self.y0), (self.x1, self.y1)
        return Region(self.image, point if point == corner else point + corner, self.label)


@dataclass(frozen=True, slots=True)
class Labels:
    """What all records of one source share, including sizes common to the whole mixture."""

    split: str
    action_space: str | None
    action_dim: int  # of this source
    padded_dim: int  # of the mixture
    horizon: int  # of the mixture
    codec: str | None  # name/version
    slots: tuple[Slot, ...] = ()
    loss_weight: float = 1.0


@dataclass(frozen=True)
class Batch:
    """n rows of one source with everything their records are made of."""

    rows: Rows
    rendered: Rendered
    keys: Sequence[str]
    labels: Labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def robot(self) -> bool:
        """Whether the rows have actions."""
        return self.rows.chunks is not None

    def same(self, value: Any) -> Sequence[Any]:
        """One value for every row."""
        return (value,) * len(self)

    def of_robot(self, values: Sequence[Any]) -> Sequence[Any]:
        """These values if the rows have actions, else null for every row."""
        return values if self.robot else self.same(None)

    @cached_property
    def chunks(self) -> Chunks | None:
        """The rows' chunks, padded to the mixture's horizon with the last action and to its dimensions with zeros."""
        found = self.rows.chunks
        if found is None:
            return None
        actions, (_, height, width) = found.actions, found.actions.shape
        if height < self.labels.horizon:
            actions = np.concatenate([actions, np.repeat(actions[:, -1:], self.labels.horizon - height, axis=1)], axis=1)
        if width < self.labels.padded_dim:
            actions = np.pad(actions, ((0, 0), (0, 0), (0, self.labels.padded_dim - width)))
        return Chunks(actions, found.real, found.ends)

    @cached_property
    def actions(self) -> Sequence[Any]:
        """Lists [H][D]; null if there are no actions."""
        return self.same(None) if self.chunks is None else self.chunks.actions.tolist()

    def action(self) -> Sequence[Any]:
        """Lists [D]: the first action of each chunk; null if there are no actions."""
        return self.same(None) if self.chunks is None else [chunk[0] for chunk in self.actions]

    def action_is_pad(self) -> Sequence[Any]:
        """Lists [H]; null if there are no actions."""
        if self.chunks is None:
            return self.same(None)
        found: list[Any] = self.chunks.is_pad.tolist()
        return found

    def action_mask(self) -> Sequence[Any]:
        """Lists [D]; null if there are no actions."""
        return self.of_robot(self.same(tuple(d < self.labels.action_dim for d in range(self.labels.padded_dim))))

    def bins(self) -> Sequence[Any]:
        """Lists with K bins per action; null if there are no actions."""
        return self.same(None) if self.rendered.bins is None else self.rendered.bins

    def states(self) -> Sequence[Any]:
        """Lists [S]; null if the source has no state."""
        return self.same(None) if self.rows.state is None else self.rows.state.tolist()

    def camera(self) -> Sequence[Any]:
        """The camera of each row's first image; null without actions or images."""
        images, starts = self.rows.images, self.rows.images.starts.tolist()
        return self.of_robot([images.camera[a] if a < b else None for a, b in pairwise(starts)]) if self.robot else self.same(None)

    def image_names(self) -> Sequence[Any]:
        """A name for every image place, filled or empty."""
        if len(self.labels.slots) > 1:
            return self.same(tuple(slot.camera for slot in self.labels.slots))
        images, starts = self.rows.images, self.rows.images.starts.tolist()
        if self.robot:
            return [tuple(images.camera[a:b]) for a, b in pairwise(starts)]
        return [_numbered(b - a) for a, b in pairwise(starts)]

    def image_offsets(self) -> Sequence[Any]:
        """Offset of every image place in control steps, 0 or negative."""
        if len(self.labels.slots) > 1:
            return self.same(tuple(slot.offset for slot in self.labels.slots))
        return [(0,) * count for count in np.diff(self.rows.images.starts).tolist()]

    def image_mask(self) -> Sequence[Any]:
        """Whether every image place is filled."""
        counts = np.diff(self.rows.images.starts).tolist()
        places = len(self.labels.slots)
        if places <= 1:
            return [_present(count) for count in counts]
        found = np.zeros((len(self), places), np.bool_)
        found[np.repeat(np.arange(len(self)), counts), self.rows.images.slot] = True
        masks: list[Any] = found.tolist()
        return masks

    def loss_weights(self) -> Sequence[Any]:
        """The source's weight, times the answer's weight if answers have one."""
        own, weights = self.labels.loss_weight, self.rendered.weights
        return self.same(own) if weights is None else [row_weight(own, weight) for weight in weights]

    def notes(self) -> Sequence[Any]:
        """Tuples of notes; null for a row without any."""
        return self.same(None) if self.rows.notes is None else self.rows.notes

    def originals(self) -> Sequence[Any]:
        """The log's own instruction; null if the row uses it."""
        return self.same(None) if self.rows.originals is None else self.rows.originals

    def regions(self) -> Sequence[Any]:
        """Tuples of boxes and points; null for a row without any."""
        if self.rows.regions is None:
            return self.same(None)
        return [tuple(map(RegionRecord.of, row)) or None for row in self.rows.regions]

    def masks(self) -> Sequence[Any]:
        """Lists as long as the ids."""
        return [loss_mask(tuple(spans)) for spans in self.rendered.spans]


def row_weight(source: float, answer: float) -> float:
    """Loss weight of a row: the weight of its source times that of its answer, as a float32."""
    return float(np.float32(source * answer))


@lru_cache(maxsize=64)
def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"image_{number}" for number in range(count))


@lru_cache(maxsize=64)
def _present(count: int) -> tuple[bool, ...]:
    return (True,) * count


@lru_cache(maxsize=4096)
def loss_mask(spans: tuple[Span, ...]) -> tuple[int, ...]:
    """1 where the loss counts, 0 elsewhere; as long as the example's ids."""
    return tuple(int(span.loss) for span in spans for _ in range(span.start, span.stop))


@dataclass(frozen=True)
class Field:
    """One field, in addition to its Python type."""

    about: str
    of: Callable[[Batch], Sequence[Any]]  # its values, one per row
    type: Type = "string"
    shape: Shape = "one"
    fill: Any = None  # replaces null in formats without null (for a vector, per dimension); None: it is never null
    name: str = ""  # set by the table

    @property
    def parts(self) -> tuple[tuple[str, Type], ...]:
        """Names and types of the parts of its structs; none if its values are not structs."""
        return PARTS.get(self.shape, ())

    @property
    def nullable(self) -> bool:
        """Whether a row may lack a value: web rows have no robot values."""
        return self.fill is not None


Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,90}$")]
Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ExampleRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One training example: a question about images, and the target to learn: an answer, or an action written as one."""

    key: Annotated[Key, Field("unique in the output", lambda b: b.keys)]
    kind: Annotated[Literal["robot", "web"], Field("which side of the mixture it comes from", lambda b: b.same(b.rows.kind))]
    source: Annotated[str, Field("name of the source in the recipe", lambda b: b.same(b.rows.source))]
    split: Annotated[str, Field("split of the source it was drawn from", lambda b: b.same(b.labels.split))]
    group: Annotated[str, Field("episode or image id: never in two splits", lambda b: b.rows.groups)]
    episode: Annotated[str | None, Field("episode id; null for web", lambda b: b.of_robot(b.rows.groups), fill="")]
    step: Annotated[
        int | None,
        Field("step in the episode, from 0; null for web", lambda b: b.of_robot(b.rows.steps.tolist()), "int64", fill=-1),
    ]
    episode_length: Annotated[
        int | None,
        Field("steps of the episode as recorded; null for web", lambda b: b.of_robot(b.rows.lengths.tolist()), "int64", fill=-1),
    ]
    timestamp: Annotated[
        float | None,
        Field("seconds, where the source has them; else null", lambda b: b.of_robot(b.rows.timestamps), "float64", fill=-1.0),
    ]
    camera: Annotated[str | None, Field("camera of the first image; null for web", Batch.camera, fill="")]
    image_names: Annotated[
        Sequence[str], Field("camera (robot) or image_0.. (web) of every place of an image", Batch.image_names, shape="list")
    ]
    image_offsets: Annotated[
        Sequence[int],
        Field("when each was seen, in control steps from this one: 0 or below", Batch.image_offsets, "int32", "list"),
    ]
    image_mask: Annotated[
        Sequence[bool],
        Field("false where a place is empty: no such camera, or too early", Batch.image_mask, "bool", "list"),
    ]
    epoch: Annotated[
        Count, Field("how often the source had been read through before this example", lambda b: b.rows.epochs.tolist(), "int64")
    ]
    text: Annotated[str, Field("the instruction or question as the source has it", lambda b: b.rows.text)]
    answers: Annotated[
        Sequence[str], Field("every answer given; empty for robot", lambda b: [a or () for a in b.rows.answers], shape="list")
    ]
    messages: Annotated[
        Sequence[Message],
        Field(
            "the conversation without the template's words; <image> is an image's place",
            lambda b: b.rendered.messages,
            shape="messages",
        ),
    ]
    prompt: Annotated[str, Field("what the model is given beside the images", lambda b: b.rendered.prompts)]
    target: Annotated[str, Field("what the model is to say", lambda b: b.rendered.targets)]
    input_ids: Annotated[
        Sequence[int], Field("token ids of prompt, target and end", lambda b: b.rendered.input_ids, "int32", "list")
    ]
    loss_mask: Annotated[
        Sequence[Bit], Field("1 where the loss counts: target and end; as long as input_ids", Batch.masks, "uint8", "list")
    ]
    loss_weight: Annotated[float, Field("how much this example's loss counts against others'", Batch.loss_weights, "float32")]
    action: Annotated[
        Sequence[float] | None,
        Field("the first action of `actions`; null for web", Batch.action, "float32", "vector", fill=0.0),
    ]
    actions: Annotated[
        Sequence[Sequence[float]] | None,
        Field(
            "the chunk [H][D] in the action space's units: behind the last action it is repeated, dimensions are padded with 0; "
            "null for web",
            lambda b: b.actions,
            "float32",
            "chunk",
            fill=0.0,
        ),
    ]
    action_is_pad: Annotated[
        Sequence[bool] | None,
        Field("[H]: true where `actions` repeats the last action; null for web", Batch.action_is_pad, "bool", "pads", fill=True),
    ]
    action_mask: Annotated[
        Sequence[bool] | None,
        Field("[D]: false where `action` is padding; null for web", Batch.action_mask, "bool", "vector", fill=False),
    ]
    action_bins: Annotated[
        Sequence[int] | None,
        Field(
            "the codec's integers, 0..255, of every action that is no padding; null for web",
            Batch.bins,
            "int32",
            "list",
            fill=(),
        ),
    ]
    terminate: Annotated[
        bool | None,
        Field("whether this step ends the task; null for web", lambda b: b.of_robot(b.rows.terminate.tolist()), "bool", fill=False),
    ]
    state: Annotated[
        Sequence[float] | None,
        Field("proprioception as the source has it; null where there is none", Batch.states, "float32", "list", fill=()),
    ]
    action_space: Annotated[
        str | None, Field("name of the action space; null for web", lambda b: b.same(b.labels.action_space), fill="")
    ]
    codec: Annotated[
        str | None,
        Field(
            "name/version of the action codec; its bounds are in the manifest; null for web",
            lambda b: b.same(b.labels.codec),
            fill="",
        ),
    ]
    notes: Annotated[
        Sequence[Note] | None,
        Field(
            "what annotations say of the step, in their order; null without any. Only where a source has annotations",
            Batch.notes,
            shape="notes",
            fill=(),
        ),
    ] = None
    original: Annotated[
        str | None,
        Field(
            "the log's own instruction where `text` is another one of its pool; else null. Only where a source has pools",
            Batch.originals,
            fill="",
        ),
    ] = None
    regions: Annotated[
        Sequence[RegionRecord] | None,
        Field(
            "boxes and points of the images, in the order of the text; null without any. Only where a source has some",
            Batch.regions,
            shape="regions",
            fill=(),
        ),
    ] = None


def _fields() -> tuple[Field, ...]:
    """The table, built from the lines of the record."""
    found = []
    for name, hint in get_type_hints(ExampleRecord, include_extras=True).items():
        marks = [mark for mark in get_args(hint) if isinstance(mark, Field)] if get_origin(hint) is Annotated else []
        if len(marks) != 1:
            raise InternalError(f"field {name} of the record needs one `Field`")
        field = marks[0]
        found.append(Field(field.about, field.of, field.type, field.shape, field.fill, name))
    return tuple(found)


_ALL = _fields()
_MORE = {field.name for field in msgspec.structs.fields(ExampleRecord) if not field.required}
FIELDS = tuple(field for field in _ALL if field.name not in _MORE)
"""Fields that every example has, in the order of ExampleRecord."""
MORE_FIELDS = tuple(field for field in _ALL if field.name in _MORE)
"""Fields that only some mixtures have; absent from JSON if null."""


@cache
def fields_of(more: tuple[str, ...]) -> tuple[Field, ...]:
    """The fields of a mixture with the optional fields `more`."""
    return (*FIELDS, *(field for field in MORE_FIELDS if field.name in more))
