"""Checking what lies in the folder beside the shards: nothing that was written is missing or changed, and nothing else is there."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path, PurePosixPath

from rt2data.formats.base import make_format
from rt2data.io.digest import sized_hash
from rt2data.look.verify.expected import parts_add_up
from rt2data.look.verify.findings import MANIFEST, STATISTICS, Fault
from rt2data.seal.blend import once_files
from rt2data.seal.manifest import Manifest

CARD = "README.md"
"""Its owner may edit or remove it."""
KNOWN = frozenset({MANIFEST, STATISTICS, CARD})


def sidecar_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """Files that the manifest lists against their sizes and hashes."""
    for name, said in manifest.files.items():
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            yield Fault(MANIFEST, f"files.{name}", "leads out of the folder")
            continue
        try:
            size, digest = sized_hash(out / name)
        except OSError as error:
            yield Fault(name, "", "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}")
            continue
        if (size, digest) != (said.bytes, said.xxh3_128):
            yield Fault(name, "", f"is not as it was written: {size:,} bytes with xxh3-128 {digest}")


def once_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """Weights, and what readers mix by, against the plan."""
    if not parts_add_up(manifest.plan):
        return  # the manifest's own check says so
    for name, wanted in once_files(make_format(manifest.plan.format), manifest).items():
        if name not in manifest.files:
            yield Fault(MANIFEST, "files", f"do not list {name}")
        with suppress(OSError):  # missing files are named already
            if (out / name).read_bytes() != wanted:
                yield Fault(name, "", "does not say what the plan does")


def unknown_files(out: Path, names: Set[str]) -> Iterator[Fault]:
    """Whatever lies in the folder and belongs to no output. Lock files are hidden and may stay."""
    files = KNOWN | names
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    yield from _unknown(out, "", files, folders)


def _unknown(out: Path, folder: str, files: Set[str], folders: Set[str]) -> Iterator[Fault]:
    for path in sorted((out / folder).iterdir()):
        name = path.relative_to(out).as_posix()
        if name in files:
            if not path.is_file():
                yield Fault(name, "", "is not a file")
        elif name in folders and path.is_dir() and not path.is_symlink():
            yield from _unknown(out, name, files, folders)
        elif not (path.name.startswith(".") and path.name.endswith(".lock")):
            yield Fault(name, "", "does not belong here: the manifest does not know it")
