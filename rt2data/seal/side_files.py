"""Files beside the shards, each whole or absent, and what was written: the manifest lists them with their hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rt2data.io import location
from rt2data.io.digest import digest_file, digest_of
from rt2data.io.location.folders import discard_folder, make_folder
from rt2data.write.shard import note_name


class SideFile(msgspec.Struct, frozen=True):
    """A file beside the shards."""

    bytes: int
    xxh3_128: str
    sha256: str


@dataclass(frozen=True)
class Sidecars:
    """Writes files beside the shards of a build folder. A name may have folders in it, parted by `/`."""

    folder: Path
    files: dict[str, SideFile] = field(default_factory=dict)
    outer: Path | None = None  # the build folder, where this is a folder in it
    first: int = 0  # number in the build of the folder's first shard

    @contextmanager
    def within(self, name: str, first: int) -> Iterator[Sidecars]:
        """Those of a folder in this one, whose shards are a part of the build's, from number `first` on."""
        inner = Sidecars(self.folder / name, outer=self.folder, first=first)
        yield inner
        self.files.update({f"{name}/{file}": written for file, written in inner.files.items()})

    def write(self, name: str, content: bytes) -> None:
        """A file whose content is at hand. Raises OutputError."""
        location.write_whole(self._place(name), content)
        self.files[name] = SideFile(*digest_of(content))

    def produce(self, name: str, produce: Callable[[Path], None]) -> None:
        """A file that a library writes under a name it is given. Raises OutputError."""
        location.produce_whole(self._place(name), produce)
        self.files[name] = SideFile(*digest_file(self.folder / name))

    def write_editable(self, name: str, content: bytes) -> None:
        """A file that its owner may edit or remove later: it is not listed. Raises OutputError."""
        location.write_whole(self._place(name), content)

    def notes(self, index: int) -> bytes:
        """What the writer of a shard noted."""
        return location.read_bytes((self.outer or self.folder) / note_name(self.first + index))

    def _place(self, name: str) -> Path:
        """Where a file goes. What a killed run left half written in a folder of its own is thrown away."""
        path = self.folder / name
        if path.parent != self.folder and not any(known.startswith(f"{path.parent.name}/") for known in self.files):
            discard_folder(path.parent)
            make_folder(path.parent)
        return path
