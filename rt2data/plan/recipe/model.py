"""The types of a recipe, the model made from them and the table of sources, and the canonical form."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, Union

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rt2data.formats.base import BLENDED, FORMATS, LARGEST
from rt2data.io.location import path_of
from rt2data.order import MAX_EXAMPLES
from rt2data.read.source import SOURCES, RobotSource, Source, WebSource, source_class, source_classes
from rt2data.records import SOURCE, Kind
from rt2data.render.action_tokens import WordRule
from rt2data.render.codecs.table import CODECS
from rt2data.render.templates import TEMPLATES
from rt2data.render.tokenizer import TokenizerKind
from rt2data.settings import PathStr, Positive, Settings, Share, default_store_root

SourceName = Annotated[str, StringConstraints(pattern=f"^{SOURCE}$")]
if TYPE_CHECKING:
    FormatName = str
    CodecName = str
    TemplateName = str
else:
    FormatName, CodecName, TemplateName = Literal[tuple(FORMATS)], Literal[tuple(CODECS)], Literal[tuple(TEMPLATES)]

_UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BYTES = r"([1-9][0-9]*)\s*(" + "|".join(_UNITS) + ")"


def _parse_bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(_BYTES, value.strip())
    if found is None or len(found[1]) > 18:
        raise ValueError(f"must be a number of bytes such as 256MB or 64MiB, got {value!r}")
    return int(found[1]) * _UNITS[found[2]]


ByteCount = Annotated[
    int,
    Field(ge=1, le=2**50),
    BeforeValidator(
        _parse_bytes, json_schema_input_type=Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=f"^{_BYTES}$")]
    ),
]


class Size(Settings):
    """How many examples: a number of epochs of one source, or a number of examples."""

    epochs: Positive = Field(default=1, validate_default=True)
    """Epochs of the source named by `of`."""
    of: str = "longest"
    """A source, or `longest` (every row of every source is used), or `shortest` (no row is repeated)."""
    num_examples: Annotated[int, Field(ge=1, le=MAX_EXAMPLES)] | None = None
    """The number of examples, instead of `epochs` and `of`."""


class TokenizerFile(Settings):
    """A tokenizer and its file."""

    kind: TokenizerKind
    """`byte` is built in; `hf` reads a tokenizer.json; `sentencepiece` reads a .model."""
    path: PathStr | None = None
    """The local file; nothing is downloaded."""

    @model_validator(mode="after")
    def _path_fits_kind(self) -> TokenizerFile:
        if self.kind == "byte" and self.path is not None:
            raise ValueError("byte is built in and takes no path")
        if self.kind != "byte" and self.path is None:
            raise ValueError(f"{self.kind} needs the path of its file")
        return self


class ShardSettings(Settings):
    """How the output is split into files."""

    bytes: ByteCount = 256_000_000
    """Approximate size of a shard: bytes, or 256MB, 1GB, 64MiB."""
    format: FormatName = "webdataset"
    """File format of the shards."""
    materialize: Literal["repeats", "once"] = "repeats"
    """`repeats`: a row is written as often as it is drawn, in the order of training; `once`: each row is written once, in a folder
    for each source, with weights for a reader that mixes."""

    @model_validator(mode="after")
    def _bytes_fit_format(self) -> ShardSettings:
        largest = LARGEST.get(self.format, self.bytes)
        if self.bytes > largest:
            raise ValueError(f"{self.format} shards may have at most {largest >> 30}GiB, got {self.bytes:,} bytes")
        return self

    @model_validator(mode="after")
    def _readers_mix(self) -> ShardSettings:
        if self.materialize == "once" and self.format not in BLENDED:
            raise ValueError(f"materialize once is for {' and '.join(BLENDED)}, whose readers mix by weight, not for {self.format}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit a default that older versions did not have: outputs hold their recipe, and their bytes stay the same."""
        found: dict[str, Any] = write(self)
        return {name: value for name, value in found.items() if name != "materialize" or value != "repeats"}


def named_tokenizer(value: Any) -> Any:
    """A tokenizer from `byte` or from a path, whose suffix determines its kind."""
    if not isinstance(value, str):
        return value
    if value == "byte":
        return {"kind": "byte"}
    for ending, kind in ((".json", "hf"), (".model", "sentencepiece")):
        if value.endswith(ending):
            return {"kind": kind, "path": value}
    raise ValueError(f"must be byte or a path that ends in .json or .model, got {value!r}")


_by_name = BeforeValidator(named_tokenizer, json_schema_input_type=str | TokenizerFile)


class Recipe(Settings):
    """What to build: which sources, in which shares, and how to write them. Read with `read_recipe`."""

    model_config = ConfigDict(title="rt2data recipe")

    robot_frac: Share
    """The fraction of examples that are robot steps: 0.66, 2/3 or 50%."""
    size: Size = Size()
    """How many examples to draw."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides all order; the same seed gives the same bytes."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """Split of the sources whose rows are drawn."""
    weighting: Literal["rows", "share"] = "rows"
    """`rows`: a weight multiplies the number of rows, as in the Open X mixtures; `share`: a weight is a share of its side."""
    tokenizer: Annotated[TokenizerFile, _by_name] = TokenizerFile(kind="byte")
    """`byte`, or the path of a tokenizer.json or .model."""
    template: TemplateName = "rt2"
    """Template that makes prompts of instructions and questions."""
    codec: CodecName = "rt2"
    """Codec that makes text of actions. `rt1` encodes as `rt2` does and decodes to the left edge of a bin, as RT-1 does."""
    action_words: WordRule = "text"
    """Round trip that action words must survive: `text` to ids and back, or `ids` only, for trainers that read input_ids."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longer examples are rejected; nothing is truncated."""
    shards: ShardSettings = ShardSettings()
    """Size and format of the shards."""
    store: PathStr | None = None
    """Folder of prepared stores; by default $RT2DATA_STORE, or rt2data/store in the user's cache."""
    max_bad: Share = Field(default="2%", validate_default=True)
    """Faulty rows allowed, as a fraction of the rows of a source."""
    max_epochs: Positive | None = None
    """Fail if a source would be repeated more often than this."""
    robot: dict[SourceName, RobotSource] = Field(default_factory=dict)
    """Robot logs by name."""
    web: dict[SourceName, WebSource] = Field(default_factory=dict)
    """Corpora of images with questions, by name."""

    @property
    def sources(self) -> dict[str, Source]:
        """All sources by name, robot first."""
        return {**self.robot, **self.web}

    @property
    def store_folder(self) -> Path:
        """The folder of prepared stores."""
        return path_of(self.store) if self.store else default_store_root()

    def __reduce__(self) -> tuple[Callable[[bytes], Recipe], tuple[bytes]]:
        return from_canonical, (canonical(self),)


def recipe_model() -> type[Recipe]:
    """The Recipe whose `robot` and `web` know every source of the table."""
    return _recipe_model(tuple(SOURCES.items()))


@functools.lru_cache(maxsize=8)
def _recipe_model(table: tuple[tuple[str, str], ...]) -> type[Recipe]:
    sides: dict[str, Any] = {"robot": _side("robot"), "web": _side("web")}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, __module__=__name__, **sides)


def _side(side: Kind) -> tuple[Any, Any]:
    field: Any = Field(default_factory=dict, description=Recipe.model_fields[side].description)
    return dict[SourceName, _any_source(side)], field  # type: ignore[misc]


def _any_source(side: Kind) -> Any:
    """One of the side's sources, chosen by `kind`."""
    classes = source_classes(side)
    if not classes:
        return Never
    require_kind = BeforeValidator(functools.partial(_require_kind, side))
    one = Annotated[Union[classes], Field(discriminator="kind")] if len(classes) > 1 else classes[0]  # noqa: UP007
    return Annotated[one, require_kind]


def _require_kind(side: Kind, value: Any) -> Any:
    """A source without a known `kind` cannot be validated further: report that alone."""
    if not isinstance(value, dict):
        return value
    roles = {kind: source_class(kind).role for kind in SOURCES}
    known = [kind for kind, role in roles.items() if role == side]
    kind = value.get("kind")
    if kind not in known:
        home = roles.get(kind) if isinstance(kind, str) else None
        raise PydanticCustomError("source_kind", "unknown kind", {"kind": kind, "known": known, "home": home})
    return value


def canonical(recipe: Recipe) -> bytes:
    """The recipe as JSON, the same bytes however it was written: keys sorted, defaults filled in, fractions as text."""
    values = recipe.model_dump(mode="json")
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def from_canonical(data: bytes) -> Recipe:
    """The recipe `canonical` wrote down: an equal one."""
    return recipe_model().model_validate(frozen_lists(json.loads(data)))


def frozen_lists(value: Any) -> Any:
    """The same tree with tuples for lists, which is what strict, frozen settings hold."""
    if isinstance(value, dict):
        return {key: frozen_lists(each) for key, each in value.items()}
    return tuple(map(frozen_lists, value)) if isinstance(value, list) else value
