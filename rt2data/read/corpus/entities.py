"""Flickr30k Entities: the captions of an image in one file, the boxes of their phrases in another.

`Sentences/36979.txt` has one caption per line, in which `[/EN#12/people Two men]` is the phrase of entity 12;
`Annotations/36979.xml` has the boxes of the entities. Each pair of files is one row.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.json_stream import JsonFault
from rt2data.io.location import path_of
from rt2data.read.corpus.table import Part, RawRow, Table

ENTITIES = "_entities"
"""A column that only these rows have: a list of captions, each a list of pieces with `text`, and `boxes` if the piece is a
phrase."""
_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s\]]*)? ([^\]]*)\]")
_MOST = 1 << 20  # bytes of one of the files
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def entity_files(name: str) -> list[str]:
    """The caption files, in order, of a folder with `Sentences` and `Annotations`; empty for any other folder."""
    folder = path_of(name)
    if not (location.is_folder(folder / "Sentences") and location.is_folder(folder / "Annotations")):
        return []
    found = (entry.name for entry in location.children(folder / "Sentences") if entry.is_file())
    return [str(folder / "Sentences" / each) for each in sorted(found) if each.endswith(".txt") and not each.startswith(".")]


def box_files(name: str) -> list[str]:
    """The box files of such a folder."""
    folder = path_of(name) / "Annotations"
    return (
        [str(folder / entry.name) for entry in location.children(folder) if entry.name.endswith(".xml")]
        if entity_files(name)
        else []
    )


def boxes_beside(path: str) -> str:
    """The box file that belongs to a caption file."""
    found = path_of(path)
    return str(found.parent.parent / "Annotations" / f"{found.stem}.xml")


@dataclass(frozen=True)
class Entities(Table):
    """The captions of one image. Raises DataError if a file is larger than 1 MB or cannot be read."""

    def parts(self) -> list[Part]:
        """One."""
        return [Part(0, 1, location.stat(self.path).size)]

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """One row, with the columns `image`, `width`, `height`, and the captions."""
        yield RawRow("0", self.path, self._values())

    def _values(self) -> dict[str, Any] | JsonFault:
        if not location.is_file(boxes_beside(self.path)):
            return JsonFault("no_boxes", f"there is no {boxes_beside(self.path)}")
        try:
            text, root = _read(self.path).decode(), _parsed(_read(boxes_beside(self.path)))
        except UnicodeDecodeError:
            return JsonFault("bad_text", "its captions are not Unicode")
        except (ET.ParseError, ValueError, LookupError) as error:
            return JsonFault("bad_xml", f"{boxes_beside(self.path)}: {error}")
        boxes = _boxes(root)
        width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
        said = [list(_pieces(line, boxes)) for line in text.splitlines() if line.strip()]
        return {"image": f"{path_of(self.path).stem}.jpg", "width": width, "height": height, ENTITIES: said}


def _read(path: str) -> bytes:
    found = location.read_head(path, _MOST + 1)
    if len(found) > _MOST:
        raise DataError("a file of captions or boxes of more than 1 MB", path, "fetch it again")
    return found


def _parsed(content: bytes) -> ET.Element:
    """Parse XML. Raises ParseError, or ValueError if it declares entities, which can grow without bound or name other files."""
    if b"<!" in content.replace(b"<!--", b""):
        raise ValueError("it has a DOCTYPE or declares entities, which is refused")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content:
        raise ValueError("it is not UTF-8")
    return ET.fromstring(content)


def _boxes(root: ET.Element) -> dict[str, list[list[Any]]]:
    """The boxes of each entity: xmin, ymin, xmax, ymax in pixels. A box that names several entities belongs to each."""
    found: dict[str, list[list[Any]]] = defaultdict(list)
    for each in root.iter("object"):
        if (box := each.find("bndbox")) is not None:
            corners = [_number(box.findtext(corner)) for corner in _CORNERS]
            for name in each.iter("name"):
                found[(name.text or "").strip()].append(corners)
    return found


def _number(text: str | None) -> Any:
    """The text as a number; the text itself if it is not one."""
    try:
        return float(text or "")
    except ValueError:
        return text


def _pieces(line: str, boxes: dict[str, list[list[Any]]]) -> Iterator[dict[str, Any]]:
    at = 0
    for found in _PHRASE.finditer(line):
        yield {"text": line[at : found.start()], "boxes": []}
        yield {"text": found[2], "boxes": boxes.get(found[1], [])}
        at = found.end()
    yield {"text": line[at:], "boxes": []}
