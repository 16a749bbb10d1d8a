"""What the name of an image file says: whether it is one, and which number it has. Pure; no file is looked at.

The number of an image is the one whole number in its name: COCO_val2014_000000000042.jpg, 000000000042.jpg and 42_0054c913.jpg are
all image 42. A name without one has the number that ends it (img42.jpg). A name with several (000000000042_640.jpg) has none until
the recipe says with `name` which one counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_IMAGE = re.compile(r".*\.(?:jpe?g|png|webp|gif|bmp)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"[0-9]{1,18}")
_LAST = re.compile(r"(?<![0-9])[0-9]{1,18}$")
_FIELD = re.compile(r"\{id(?::(?:d|0([1-9]|1[0-8])d))?\}")
_UNDECODABLE = re.compile(r"[\ud800-\udfff]")


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is no part of a data set: hidden ones, macOS's resource forks, names that are not Unicode."""
    return name.startswith(".") or name == "__MACOSX" or _UNDECODABLE.search(name) is not None


def is_image(name: str) -> bool:
    """Whether a file's name ends like that of an image."""
    return _IMAGE.fullmatch(name) is not None


def numbers_of(name: str) -> tuple[int, ...]:
    """The numbers that an image of this name may have: one, none, or several where its name alone does not tell."""
    stem = name.rpartition(".")[0]
    whole = [int(word) for word in _WORD.findall(stem) if _NUMBER.fullmatch(word)]
    if whole:
        return tuple(dict.fromkeys(whole))
    last = _LAST.search(stem)
    return (int(last[0]),) if last else ()


@dataclass(frozen=True)
class NamePattern:
    """A recipe's `name`, such as COCO_train2014_{id:012d}.jpg: matched against the end of a path, in whole components."""

    text: str

    def number(self, inside: str) -> int | None:
        """The number of the image at a path below an image folder; None where it is not named like this."""
        found = _compiled(self.text).fullmatch(inside)
        return int(found[1]) if found and self._spelled(int(found[1])) == found[1] else None

    def _spelled(self, number: int) -> str:
        field = _FIELD.search(self.text)
        return f"{number:0{field[1]}d}" if field and field[1] else str(number)


@lru_cache(maxsize=16)
def _compiled(text: str) -> re.Pattern[str]:
    before, after = (re.escape(part) for part in _split(text))
    return re.compile(rf"(?:.*/)?{before}([0-9]{{1,18}}){after}", re.DOTALL)


def _split(text: str) -> tuple[str, str]:
    field = _FIELD.search(text)
    assert field is not None
    return text[: field.start()], text[field.end() :]


def checked_pattern(text: str) -> str:
    """The text of a NamePattern. Raises ValueError where it cannot be one."""
    if len(_FIELD.findall(text)) != 1 or set("{}") & set("".join(_split(text))):
        raise ValueError("must have one {id} or {id:012d} (any width from 1 to 18), and no other braces")
    parts = text.split("/")
    if "\\" in text or "\0" in text or any(part in ("", ".", "..") for part in parts):
        raise ValueError("must be a name, or a path below image_dirs, with / between its parts")
    if not is_image(parts[-1]):
        raise ValueError("must end in .jpg, .jpeg, .png, .webp, .gif or .bmp")
    return text


def suggested_pattern(name: str, number: int) -> str:
    """A pattern that gives an image of this name this number."""
    spelled = next(word for word in re.findall(r"[0-9]+", name) if int(word) == number)
    field = f"{{id:0{len(spelled)}d}}" if spelled.startswith("0") and len(spelled) > 1 else "{id}"
    return name.replace(spelled, field, 1)
