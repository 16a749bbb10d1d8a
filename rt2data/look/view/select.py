"""Which examples are shown, and their images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from rt2data.images.ready import ImageFault, ImageRule, make_ready, read_header
from rt2data.look.inspect.examples import Examples, ImageData, Seen


@dataclass(frozen=True)
class Filter:
    """Conditions on an example; an empty value matches everything. `text` is searched for in prompt, target, key and answers."""

    source: str = ""
    kind: str = ""
    text: str = ""

    def scan(self, examples: Examples, numbers: Iterable[int]) -> Iterator[tuple[int, bool]]:
        """Each number, and whether its example matches, up to the end. Reads no images, and no records of other sources."""
        for number in numbers:
            if examples.total is not None and number >= examples.total:
                return
            source = examples.source_of(number)
            try:
                wanted = source is None or self._may_match(source, examples.sources.get(source, ""))
                yield number, wanted and self._matches(examples.at(number, whole=False))
            except IndexError:
                return

    def _matches(self, seen: Seen) -> bool:
        texts = (seen.prompt, seen.target, seen.key, *seen.answers)
        return self._may_match(seen.source, seen.kind) and self.text.casefold() in "\n".join(texts).casefold()

    def _may_match(self, source: str, kind: str) -> bool:
        return self.source in ("", source) and self.kind in ("", kind)


EVERYTHING = Filter()


def images_of(seen: Seen) -> list[tuple[str, ImageData]]:
    """The existing images of an example, in order, with their names: a camera, and how many steps back."""
    return list(seen.images)


def image_size(image: ImageData) -> tuple[int, int] | None:
    """Width and height; None if the image is damaged."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    with suppress(ImageFault):
        header = read_header(image)
        return header.width, header.height
    return None


def encoded(image: ImageData) -> tuple[str, bytes]:
    """`jpg` or `png`, and the bytes: the image's own bytes where browsers can show them. Raises ImageFault."""
    ready = make_ready(image, ImageRule(), decode=False)
    content = bytes(image) if ready.data is None else ready.data
    return "png" if ready.header.format == "png" else "jpg", content
