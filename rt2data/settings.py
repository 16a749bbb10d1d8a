"""The basis of settings: the base class of everything in a recipe, exact fractions, and paths."""

from __future__ import annotations

import ast
import inspect
import math
import os
import pwd
import re
import textwrap
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    model_serializer,
)

from rt2data.errors import UsageError
from rt2data.io.location import absolute, is_remote, path_of, writable


def _describe(schema: dict[str, Any], model: type[Settings]) -> None:
    for name, text in model.meanings().items():
        schema["properties"][name].setdefault("description", text)


class Settings(BaseModel):
    """Base class of everything in a recipe: frozen, strictly typed, unknown keys refused.

    Fields that hold paths are `PathStr`, lists are `tuple[X, ...]`; a docstring under each field is its help in editors.

    A worker process imports every class but validates nothing: validators are built at first use, docstrings read on demand.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        defer_build=True,
        json_schema_extra=_describe,
    )
    later: ClassVar[frozenset[str]] = frozenset()
    """Settings added in later versions: written only if they differ from their defaults, so that existing stores and outputs keep
    their bytes."""

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """The docstrings under fields, by field name, including those of base classes."""
        models = [each for each in reversed(cls.__mro__) if issubclass(each, Settings)]
        return {name: text for each in models for name, text in _docstrings(each).items() if name in cls.model_fields}

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        return {name: value for name, value in found.items() if name not in self.later or not self._is_default(name)}

    def _is_default(self, name: str) -> bool:
        field = type(self).model_fields[name]
        return bool(getattr(self, name) == field.get_default(call_default_factory=True))


@cache
def _docstrings(model: type[Settings]) -> dict[str, str]:
    """The docstrings under the fields of one class. Empty if its source is unknown, as for a generated class."""
    try:
        source = inspect.getsource(model)
    except (OSError, TypeError):
        return {}
    (found,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def frozen_lists(value: Any) -> Any:
    """The same tree with tuples in place of lists, as strict, frozen settings require."""
    if isinstance(value, dict):
        return {key: frozen_lists(each) for key, each in value.items()}
    return tuple(map(frozen_lists, value)) if isinstance(value, list) else value


# Exact fractions: shares and weights are never floats, so draws add up exactly.

_DECIMAL = r"((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)"
_TEXT = rf"{_DECIMAL}\s*(/\s*[1-9][0-9]*|%)?"
_SIGNED = rf"[+-]?{_DECIMAL}([eE][+-]?[0-9]{{1,3}})?"
_NUMBER = re.compile(rf"(?P<number>{_SIGNED})\s*(/\s*(?P<over>[1-9][0-9]*)|(?P<percent>%))?")
_TOO_LONG = 10**30  # keeps sums of many fractions short, and refuses weights like 1e300


def parse_fraction(value: Any) -> Fraction:
    """`0.66`, `"2/3"`, `"50%"`, `1` -> Fraction, exactly as written.

    A float stands for its decimal text, `str(value)`. Exponents are read in floats only, leading zeros never: anything ambiguous is
    refused. Raises ValueError for everything else, including NaN and infinities.
    """
    if isinstance(value, Fraction):
        return value
    found = _NUMBER.fullmatch(_text(value))
    if found is None:
        raise ValueError(f"must be a finite number, a fraction or a percentage, got {short(value)}")
    fraction = Fraction(found["number"]) / (100 if found["percent"] else int(found["over"] or 1))
    if max(abs(fraction.numerator), fraction.denominator) > _TOO_LONG:
        raise ValueError(f"must be a number of ordinary size, got {short(value)}")
    return fraction


def short(value: Any) -> str:
    """`repr` in at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _text(value: Any) -> str:
    """Text for `_NUMBER` to match; empty if the type, the size or an exponent in text rules out a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    text = str(value).strip()
    return "" if len(text) > 80 or (isinstance(value, str) and "e" in text.lower()) else text


def _share(value: Any) -> Fraction:
    found = parse_fraction(value)
    if not 0 <= found <= 1:
        raise ValueError(f"must be between 0 and 1, got {short(value)}")
    return found


def _weight(value: Any) -> Fraction:
    found = parse_fraction(value)
    if found < 0:
        raise ValueError(f"must not be negative, got {short(value)}")
    return found


def _positive(value: Any) -> Fraction:
    found = parse_fraction(value)
    if found <= 0:
        raise ValueError(f"must be above 0, got {short(value)}")
    return found


def _schema(**bounds: int) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^\s*{_TEXT}\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "number", **bounds}, text]})


_AS_TEXT = PlainSerializer(str, return_type=str)

Share = Annotated[Fraction, BeforeValidator(_share), _AS_TEXT, _schema(minimum=0, maximum=1)]
"""A fraction between 0 and 1."""
Weight = Annotated[Fraction, BeforeValidator(_weight), _AS_TEXT, _schema(minimum=0)]
"""A fraction of at least 0."""
Positive = Annotated[Fraction, BeforeValidator(_positive), _AS_TEXT, _schema(exclusiveMinimum=0)]
"""A fraction above 0."""


# Paths

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ALLOWED = re.compile(r"HOME|RT2DATA_[A-Z0-9_]+")


def _resolve(text: str, info: ValidationInfo) -> str:
    """Absolute path. Without a `folder` in the validation context (a recipe read back) the text is unchanged."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    folder: Path | None = (info.context or {}).get("folder")
    if folder is None:
        return text
    found = _VARIABLE.sub(_variable, text)
    try:
        path = path_of(found)
    except UsageError as error:
        raise ValueError(f"{error.where}: {error.what} -> {error.do}") from None
    if is_remote(path):
        return str(path)
    return str(folder / (_home() + found[1:] if found == "~" or found.startswith("~/") else path))


def _writable(text: str) -> str:
    try:
        writable(path_of(text))
    except UsageError as error:
        raise ValueError(f"{error.where}: {error.what} -> {error.do}") from None
    return text


def resolve_file(text: str, info: ValidationInfo) -> str:
    """A bare name unchanged; a path resolved like `PathStr`. Raises ValueError."""
    return _resolve(text, info) if "/" in text or text.endswith(".toml") else text


def _variable(found: re.Match[str]) -> str:
    name = found[1]
    if not _ALLOWED.fullmatch(name):
        raise ValueError(f"{found[0]} is not allowed: only ${{HOME}} and ${{RT2DATA_...}} are")
    if name not in os.environ:
        raise ValueError(f"{found[0]} is not set")
    return os.environ[name]


def _home() -> str:
    try:
        return home()
    except (KeyError, OSError):
        raise ValueError("~ is unknown here: set HOME") from None


def home() -> str:
    """$HOME; if empty or not set, the home of this process's user. Raises KeyError or OSError if there is none."""
    return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


PathStr = Annotated[str, Field(min_length=1), AfterValidator(_resolve)]
"""A file or folder: a path or a URI such as file:///data/logs; an absolute path once the recipe is read."""
WrittenPathStr = Annotated[PathStr, AfterValidator(_writable)]
"""The same for something that is written."""
NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(resolve_file)]
"""A bare name of something we ship, left as it is, or the path of a .toml file."""


def default_store_root() -> Path:
    """Default folder of prepared stores: $RT2DATA_STORE, else rt2data/store in the user's cache.

    The cache is $XDG_CACHE_HOME if that is an absolute path, as its specification requires, else ~/.cache. Raises UsageError if no
    home is known, or if $RT2DATA_STORE cannot be written.
    """
    chosen, cache = os.environ.get("RT2DATA_STORE"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if chosen:
            return writable(absolute(home() + chosen[1:] if chosen == "~" or chosen.startswith("~/") else chosen))
        return (Path(cache) if Path(cache).is_absolute() else Path(home(), ".cache")) / "rt2data" / "store"
    except (KeyError, OSError):
        raise UsageError("no home folder is known for prepared stores", do="set RT2DATA_STORE, or `store` in the recipe") from None
