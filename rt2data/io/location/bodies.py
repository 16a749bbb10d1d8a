"""Finds the implementation for a file outside the local file system. Each is imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rt2data.io.location.objects import Objects, objects_of
from rt2data.io.location.paths import OBJECT_STORES, Name, parted

if TYPE_CHECKING:
    from rt2data.io.location.https import Web
    from rt2data.io.location.hub import Repository


def remote_of(scheme: str, place: str) -> Objects | Web | Repository:
    """The location for one bucket, host or repository."""
    if scheme in OBJECT_STORES:
        return objects_of(scheme, place)
    if scheme == "hf":
        from rt2data.io.location.hub import repository_of

        return repository_of(place)
    from rt2data.io.location.https import web_of

    return web_of(scheme, place)


def remote_body(name: Name) -> Objects | Web | Repository:
    """The location that holds a remote file."""
    found = parted(str(name))
    assert found is not None
    return remote_of(*found[:2])
