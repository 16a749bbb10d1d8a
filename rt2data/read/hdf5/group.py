"""The group of one episode: its datasets and attributes by recipe path, and texts stored around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from rt2data.io import location
from rt2data.io.hdf5 import LARGEST, Hdf5Fault, Hdf5File, is_words, require_inside, require_size, text_of
from rt2data.io.location import path_of

ATTRIBUTE = "@"
"""Prefix of the path of an attribute of the episode, or of a parent group; after a dot, a member of its JSON."""
BESIDE, NAME = "file:txt", "file:name"
"""Paths of the text in a text file with the log's name; and of the text in the log's name itself."""
UNUSED = ("next_obs", "next_observations")
"""Groups with the next observations, which duplicate the next steps."""
_LIBERO_SCENE = re.compile(r"^[A-Z][A-Z0-9_]*SCENE[0-9]+_")
_LONGEST = 1 << 20  # maximum bytes of a text file


Attributes = dict[str, str | bytes | float]


class EpisodeGroup:
    """One episode in a file: a group, or the whole file."""

    def __init__(self, file: Hdf5File, path: str) -> None:
        self.file, self.path = file, path

    @cached_property
    def group(self) -> Any:
        """The h5py group. Raises Hdf5Fault if it is missing, or in another file."""
        from h5py import Group

        found = self.file.find(self.path)
        if not isinstance(found, Group):
            raise Hdf5Fault("missing_episode", f"there is no group {self.path}")
        return found

    def dataset(self, path: str) -> Any:
        """The dataset at a path in the group; None if there is none. Raises Hdf5Fault for external links and contents."""
        from h5py import Dataset

        found = self.file.find(path, self.group)
        if not isinstance(found, Dataset):
            return None
        with self.file.reading():
            require_inside(found)
        return found

    def datasets(self) -> Iterator[tuple[str, Any]]:
        """All readable datasets, with their paths."""
        for path, found in self.file.datasets(self.group, UNUSED):
            try:
                with self.file.reading():
                    require_inside(found)
                    _ = found.shape, found.dtype
            except Hdf5Fault:
                continue  # reported when it is requested
            yield path, found

    @cached_property
    def _owners(self) -> list[Any]:
        """The groups whose attributes apply: its own, then the parent groups."""
        parts = [part for part in self.path.split("/") if part not in ("", ".")]
        above = [self.file.find("/".join(parts[:depth])) for depth in range(len(parts) - 1, 0, -1)]
        return [self.group, *above, *([self.file.root] if parts else [])]

    def attributes(self) -> Attributes:
        """All attributes that apply."""
        found: Attributes = {}
        for owner in reversed(self._owners):
            found |= self.file.attributes(owner)
        return found

    def attribute(self, path: str) -> str | bytes | float | None:
        """The value of an attribute, or of a member of a JSON attribute; None if there is none."""
        name = path.removeprefix(ATTRIBUTE)
        found = self._own(name)
        outer, dot, member = name.partition(".")
        if found is not None or not dot:
            return found
        return plain_member(self._own(outer), member)

    def _own(self, name: str) -> str | bytes | float | None:
        values = (self.file.attribute(owner, name) for owner in self._owners)
        return next((value for value in values if value is not None), None)

    def words(self, path: str) -> str | list[str] | None:
        """The text of the episode, or of each step. None if there is none. Raises Hdf5Fault."""
        if path in (BESIDE, NAME):
            return text_beside(self.file.path) if path == BESIDE else text_in_name(self.file.path)
        if path.startswith(ATTRIBUTE):
            value = self.attribute(path)
            return text_of(value) if isinstance(value, str | bytes) else None
        dataset = self.dataset(path)
        if dataset is None:
            return None
        with self.file.reading():
            if not is_words(dataset.dtype):
                raise Hdf5Fault("wrong_type", f"{dataset.name} holds {dataset.dtype}, no words")
            require_size(dataset, LARGEST >> 4)
            found = dataset[()]
        return text_of(found) if dataset.shape == () else [text_of(each) for each in found.reshape(-1).tolist()]


def json_object(value: Any) -> dict[str, Any]:
    """The members of a JSON object attribute; empty for any other."""
    try:
        found = json.loads(value) if isinstance(value, str | bytes) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def plain_member(value: Any, member: str) -> str | float | None:
    """A text or number in a JSON object attribute; a list of words becomes one text."""
    found = json_object(value).get(member)
    if isinstance(found, list) and all(isinstance(word, str) for word in found):
        return " ".join(found)
    return found if isinstance(found, str | int | float) else None


def beside(path: str) -> str:
    """The path of the text file that may accompany a log."""
    return str(path_of(path).with_suffix(".txt"))


def text_beside(path: str) -> str | None:
    """The content of the log's text file; None if there is none. Raises Hdf5Fault."""
    if not location.is_file(beside(path)):
        return None
    content = location.read_head(beside(path), _LONGEST)
    return text_of(content).strip()


def text_in_name(path: str) -> str:
    """The instruction in the name of a LIBERO file: KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5."""
    stem = path_of(path).stem.removesuffix("_demo")
    return _LIBERO_SCENE.sub("", stem).replace("_", " ").strip()
