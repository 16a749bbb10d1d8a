"""Units by content: a unit's name is derived from what it reads, and nothing is read twice.

The units of a source are in ROOT/units/NAME-FINGERPRINT, for all stores with the same settings. When the source has grown, the new
data forms new units, and a new store is gathered from old and new units. `known.parquet` says what the units of the last store were
read from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location import produce_whole
from rt2data.io.stamps import Stamp
from rt2data.io.tables import read_parquet
from rt2data.prepare.store import STORE_VERSION, readable
from rt2data.read.action_space import SPACE, load_space
from rt2data.read.source import Growing, RobotSource, Source
from rt2data.records import Unit

UNITS = "units"
"""Folder of all units, next to the stores."""
KNOWN = "known.parquet"
_OF_UNIT = re.compile(r"(?:blobs|fragment|lost|rejects|unit)-([0-9a-f]{32})\.(?:bin|parquet|json)")
_PART = ("path", "split", "start", "stop", "first", "bytes")
_KNOWN = pa.schema(
    [("unit", pa.int64()), ("name", pa.string()), *((field, pa.string() if field in _PART[:2] else pa.int64()) for field in _PART)]
)
"""Parts of units: number of the unit, name of the part, and what a source needs to read it."""


def settings_of(source: Source) -> list[Any]:
    """Everything except files that determines what is read from a source: plain JSON values."""
    space = SPACE.dump_python(load_space(source.action_space), mode="json") if isinstance(source, RobotSource) else None
    return [STORE_VERSION, source.prepare_settings(), space]


def units_folder(root: Path, name: str, source: Source) -> Path:
    """The folder of a source's units."""
    return root / UNITS / f"{name}-{_hash([name, settings_of(source), getattr(source, 'horizon', 1)])[:16]}"


def blob_name(unit: str) -> str:
    """The file of the images that a unit had to convert."""
    return f"blobs-{unit}.bin"


def is_blob(path: str) -> bool:
    """Whether this is a unit's image file rather than a source file."""
    return Path(path).parent.parent.name == UNITS and Path(path).name.startswith("blobs-")


def unit_of(path: str) -> str:
    """The unit that a file belongs to, as FOLDER/UNIT; "" if none."""
    folder, found = Path(path).parent, _OF_UNIT.fullmatch(Path(path).name)
    return f"{folder.name}/{found[1]}" if found and folder.parent.name == UNITS else ""


def fragment_name(unit: str) -> str:
    """The file of a unit's rows, sorted by hash. Image files have a `file_id` instead of a number."""
    return f"fragment-{unit}.parquet"


def rejects_name(unit: str) -> str:
    """The file of a unit's rejects."""
    return f"rejects-{unit}.parquet"


def lost_name(unit: str) -> str:
    """The file of what filters dropped, by task; only for sources with filters."""
    return f"lost-{unit}.parquet"


def summary_name(unit: str) -> str:
    """The file that marks a unit as done; written last."""
    return f"unit-{unit}.json"


class NamedUnit(NamedTuple):
    """A unit, or a part of one, with its name, derived from what it reads."""

    name: str
    unit: Unit


def name_units(source: Source, stamps: Sequence[Stamp], folder: Path) -> list[NamedUnit]:
    """All units of a source whose files have these stamps. Units known in `folder` are kept; the rest forms new ones."""
    if not isinstance(source, Growing):
        return name_alike(source.units(), stamps)
    files, known = {stamp.path: stamp for stamp in stamps}, _read_known(folder)
    parts = _named(source, source.parts(_unchanged(source, chain.from_iterable(known), files)), files)
    there = {part.name for part in parts}
    kept = [unit for unit in known if all(part.name in there for part in unit)]
    taken = {part.name for unit in kept for part in unit}
    new = [part for part in parts if part.name not in taken]
    units = [unit for each in (*kept, new) for unit in source.units_of([part.unit for part in each])]
    places = {_place(part.unit): number for number, part in enumerate(parts)}
    units.sort(key=lambda unit: places[_place(unit)])
    return [
        NamedUnit(_hash([parts[places[_place(part)]].name for part in unit.each]), replace(unit, index=index))
        for index, unit in enumerate(units)
    ]


def name_alike(units: Sequence[Unit], stamps: Sequence[Stamp]) -> list[NamedUnit]:
    """Units that each depend on all files of their source."""
    files = _hash([_stamped(stamp) for stamp in stamps])
    return [NamedUnit(_hash([files, *(_place(part) for part in unit.each)]), unit) for unit in units]


def _unchanged(source: Growing, known: Iterable[NamedUnit], files: Mapping[str, Stamp]) -> dict[str, list[Unit]]:
    """The known parts of each file that has not changed since."""
    there = [part for part in known if part.unit.path in files]
    found = defaultdict[str, list[Unit]](list)
    for part, now in zip(there, _named(source, [part.unit for part in there], files), strict=True):
        if part.name == now.name:
            found[part.unit.path].append(part.unit)
    return found


def _named(source: Growing, parts: Sequence[Unit], files: Mapping[str, Stamp]) -> list[NamedUnit]:
    """Parts with their names."""
    return [
        NamedUnit(_hash([_stamped(files[part.path]), _place(part), basis]), part)
        for part, basis in zip(parts, source.bases(parts), strict=True)
    ]


def _place(part: Unit) -> tuple[str, str, int, int, int]:
    """Identity of a unit: for several parts, that of the first."""
    first = part.each[0]
    return (first.split, first.path, first.start, first.stop, first.first)


def _stamped(stamp: Stamp) -> tuple[str, int, str]:
    return str(location.absolute(stamp.path)), stamp.size, stamp.version


def _hash(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(content, order="deterministic"))


def write_known(folder: Path, source: Source, stamps: Sequence[Stamp], units: Sequence[NamedUnit]) -> None:
    """Record, for the next store, what the units of this one were read from."""
    if not isinstance(source, Growing):
        return
    numbers = [each.unit.index for each in units for _ in each.unit.each]
    parts = _named(source, [part for each in units for part in each.unit.each], {stamp.path: stamp for stamp in stamps})
    columns = {field: [getattr(part.unit, field) for part in parts] for field in _PART}
    table = pa.table({"unit": numbers, "name": [part.name for part in parts], **columns}, schema=_KNOWN)
    produce_whole(folder / KNOWN, lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True))


def _read_known(folder: Path) -> list[list[NamedUnit]]:
    """The parts of each known unit; none if there is no record or it cannot be read."""
    try:
        with readable(folder / KNOWN):
            rows = read_parquet(folder / KNOWN, schema=_KNOWN, page_checksum_verification=True).to_pylist()
    except DataError:
        return []
    found = defaultdict[int, list[NamedUnit]](list)
    for row in rows:
        found[row["unit"]].append(NamedUnit(row["name"], Unit(0, **{field: row[field] for field in _PART})))
    return list(found.values())
