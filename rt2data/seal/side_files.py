"""Files next to the shards, each whole or absent, recorded for the manifest with their hashes."""

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
    """A file next to the shards."""

    bytes: int
    xxh3_128: str
    sha256: str


@dataclass(frozen=True)
class Sidecars:
    """Writes files next to the shards of a build folder. A name may contain folders, separated by `/`."""

    folder: Path
    files: dict[str, SideFile] = field(default_factory=dict)
    outer: Path | None = None  # the build folder, if this is a subfolder of it
    first: int = 0  # build-wide number of the folder's first shard

    @contextmanager
    def within(self, name: str, first: int) -> Iterator[Sidecars]:
        """Sidecars of a subfolder, whose shards are those of the build from number `first` on."""
        inner = Sidecars(self.folder / name, outer=self.folder, first=first)
        yield inner
        self.files.update({f"{name}/{file}": written for file, written in inner.files.items()})

    def write(self, name: str, content: bytes) -> None:
        """Write a file whose content is in memory. Raises OutputError."""
        location.write_whole(self._place(name), content)
        self.files[name] = SideFile(*digest_of(content))

    def produce(self, name: str, produce: Callable[[Path], None]) -> None:
        """Write a file through a library that takes its path. Raises OutputError."""
        location.produce_whole(self._place(name), produce)
        self.files[name] = SideFile(*digest_file(self.folder / name))

    def write_editable(self, name: str, content: bytes) -> None:
        """Write a file that its owner may edit or remove later, so it is not listed. Raises OutputError."""
        location.write_whole(self._place(name), content)

    def notes(self, index: int) -> bytes:
        """The notes left by the writer of a shard."""
        return location.read_bytes((self.outer or self.folder) / note_name(self.first + index))

    def _place(self, name: str) -> Path:
        """Path of a file. A subfolder left half-written by a killed run is discarded first."""
        path = self.folder / name
        if path.parent != self.folder and not any(known.startswith(f"{path.parent.name}/") for known in self.files):
            discard_folder(path.parent)
            make_folder(path.parent)
        return path
