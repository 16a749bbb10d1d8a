"""The features of a dataset: the columns of its data files, with names from info.json; its videos; its task texts."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.errors import DataError
from rt2data.read.lerobot.dataset import Dataset
from rt2data.read.lerobot.info import Feature
from rt2data.read.lerobot.rows import holds_numbers, is_list, opened
from rt2data.read.log import Column

TASK = "task"
"""The text of each step's task. The files do not hold it as a column, only a task number."""
TASK_INDEX, TIME, EPISODE, FRAME = "task_index", "timestamp", "episode_index", "frame_index"
DONE = "next.done"
ANNOTATION = "annotation."
"""Prefix of GR00T columns whose integers refer to texts in the table of tasks."""
_BOOKKEEPING = frozenset({TASK_INDEX, TIME, EPISODE, FRAME, "index"})
_DEPTH = 3  # levels of lists whose lengths are examined


def columns_of(dataset: Dataset) -> list[Column]:
    """The columns of the first file, then the videos, then the tasks. Raises DataError if there is no file, or it is truncated."""
    first = next(iter(dataset.data), None)
    if first is None:
        raise DataError("there are no data files", dataset.root, "fetch its folder `data`")
    with opened(first) as file:
        found = [column for field in file.schema_arrow if (column := _column(dataset, file, field))]
    there = {column.path for column in found}
    found += [_video(dataset, camera) for camera in dataset.cameras if camera not in there]
    if dataset.tasks and TASK not in there:
        found.append(Column(TASK, "words", detail=f"{len(dataset.tasks)} tasks"))
    return found


def _column(dataset: Dataset, file: pq.ParquetFile, field: pa.Field) -> Column | None:
    """A column that a recipe can name; None for bookkeeping and unsupported types."""
    if field.name in _BOOKKEEPING:
        return None
    said = dataset.info.features.get(field.name, Feature("", ()))
    if is_image(field.type) or (pa.types.is_binary(field.type) and said.dtype == "image"):
        return Column(field.name, "images", detail=f"image {_size(said)}".rstrip())
    if is_words(field) and (dataset.tasks or not pa.types.is_integer(field.type)):
        return Column(field.name, "words", detail=str(field.type))
    if not holds_numbers(field.type):
        return None
    width = _width(file, field)
    kind = _scalar(field.type)
    names = said.names if width is not None and len(said.names) == width else ()
    return Column(field.name, "numbers", width, f"{kind}[{'?' if width is None else width}]", names)


def is_image(kind: pa.DataType) -> bool:
    """Whether each value has bytes and a path, Hugging Face's format for images."""
    return bool(pa.types.is_struct(kind)) and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def is_words(field: pa.Field) -> bool:
    """Whether a column is text, or numbers that refer to texts."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    stands = pa.types.is_integer(kind) and field.name.startswith(ANNOTATION)
    return bool(stands or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _video(dataset: Dataset, camera: str) -> Column:
    said = dataset.info.features.get(camera, Feature("video", ()))
    return Column(camera, "images", detail=" ".join(filter(None, ("video", said.codec, _size(said)))))


def _size(said: Feature) -> str:
    """Width and height according to info.json, whose shape has the channels first or last."""
    if len(said.shape) != 3:
        return ""
    height, width = said.shape[1:] if said.shape[0] in (1, 3, 4) else said.shape[:2]
    return f"{width}x{height}"


def _scalar(kind: pa.DataType) -> str:
    while is_list(kind):
        kind = kind.value_type
    return str(kind)


def _width(file: pq.ParquetFile, field: pa.Field) -> int | None:
    """Numbers per step: fixed by the schema, or else those of the first step; None for a file without steps."""
    kind, width = field.type, 1
    while pa.types.is_fixed_size_list(kind):
        width, kind = width * kind.list_size, kind.value_type
    if not is_list(kind):
        return width
    try:
        first = next(file.iter_batches(1, columns=[field.name]), None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"a damaged Parquet file: {error}", do="fetch the file again") from None
    return None if first is None or not first.num_rows else sum(1 for _ in _leaves(first.column(field.name)[0].as_py()))


def _leaves(value: object, depth: int = 0) -> Iterator[object]:
    if isinstance(value, list) and depth <= _DEPTH:
        for each in value:
            yield from _leaves(each, depth + 1)
    else:
        yield value
