"""The types of a recipe, the model built from them and the table of sources, and the canonical form."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Never, Union

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rt2data.formats.base import BLENDED, FORMATS, LARGEST
from rt2data.io.location import path_of
from rt2data.order import MAX_EXAMPLES
from rt2data.plan.recipe.groups import RULES, is_group, is_ruled, written_sources
from rt2data.plan.recipe.messages import GROUP, MEMBERS, SIDE, SOURCE_MARK
from rt2data.plan.recipe.presets import Maximum, Temperature, Weighting
from rt2data.read.source import SOURCES, RobotSource, Source, WebSource, source_class
from rt2data.records import SOURCE, Compact, Kind
from rt2data.render.action_tokens import WordRule
from rt2data.render.codecs.table import CODECS
from rt2data.render.regions.table import RegionSetting, RegionText
from rt2data.render.templates import TEMPLATES
from rt2data.render.tokenizer import TokenizerKind
from rt2data.settings import (
    NameOrPath,
    PathStr,
    Positive,
    Settings,
    Share,
    Weight,
    WrittenPathStr,
    default_store_root,
    frozen_lists,
)

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

    later: ClassVar[frozenset[str]] = frozenset({"materialize"})

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


class Side(Settings):
    """A side of the mixture with its own rules: its sources and groups are under `sources`."""

    weighting: Weighting | None = None
    """How the weights of the members become shares; by default the recipe's `weighting`."""
    temperature: Temperature | None = None
    """With `weighting: temperature`: 1 keeps sizes, 2 takes their square roots."""
    maximum: Maximum | None = None
    """With `weighting: temperature`: upper limit of rows x weight, applied before the power."""
    weights: NameOrPath | None = None
    """A published mixture that gives the weights by name: one of schemas/mixtures, or the path of your own .toml."""
    sources: dict[SourceName, Any]
    """The members by name: sources, or groups of them."""


class Group(Side):
    """Sources, or groups of them, that divide the group's share."""

    weight: Weight = Field(default=1, validate_default=True)
    """Its weight among its siblings, as their `weighting` reads it; its rows are the sum of its members' rows. 0 leaves it out."""
    sources: dict[SourceName, Any]
    """The members by name: sources, or groups of them."""


class Recipe(Settings):
    """What to build: which sources, in which shares, and how to write them. Read with `read_recipe`."""

    model_config = ConfigDict(title="rt2data recipe")
    later: ClassVar[frozenset[str]] = frozenset({"compact", "temperature", "maximum", "allow_licenses", "regions"})

    robot_frac: Share
    """The fraction of examples that are robot steps: 0.66, 2/3 or 50%."""
    size: Size = Size()
    """How many examples to draw."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Determines all order; the same seed gives the same bytes."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """Split of the sources whose rows are drawn."""
    weighting: Weighting = "rows"
    """`rows`: a weight multiplies the number of rows, as in the Open X mixtures; `share`: a weight is a share of its side, or of
    its group; `temperature`: min(rows x weight, `maximum`) to the power of 1/`temperature`, as in seqio."""
    temperature: Temperature | None = None
    """With `weighting: temperature`: 1 keeps sizes, 2 takes their square roots."""
    maximum: Maximum | None = None
    """With `weighting: temperature`: upper limit of rows x weight, applied before the power."""
    tokenizer: Annotated[TokenizerFile, _by_name] = TokenizerFile(kind="byte")
    """`byte`, or the path of a tokenizer.json or .model."""
    template: TemplateName = "rt2"
    """Template that turns instructions and questions into prompts."""
    codec: CodecName = "rt2"
    """Codec that turns actions into text. `rt1` encodes as `rt2` does and decodes to the left edge of a bin, as RT-1 does."""
    regions: RegionSetting = RegionText()
    """How boxes and points are written, by target model family: `plain`, `qwen2`, `qwen2.5`, `qwen3`, `paligemma` or `molmo`."""
    action_words: WordRule = "text"
    """Round trip that action words must survive: `text` to ids and back, or `ids` only, for trainers that read input_ids."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longer examples are rejected; nothing is truncated."""
    shards: ShardSettings = ShardSettings()
    """Size and format of the shards."""
    store: WrittenPathStr | None = None
    """Folder of prepared stores; by default $RT2DATA_STORE, or rt2data/store in the user's cache."""
    compact: Compact = "auto"
    """Whether prepared stores get a copy of the images in row order, which shards read in long runs: `auto` if a source has more
    than 2e7 images in an object store; `never`; `spill`, through the store's folder, on any runner; `runner`, through the shuffle
    of a Beam runner elsewhere. The mixture has the same bytes."""
    max_bad: Share = Field(default="2%", validate_default=True)
    """Allowed fraction of faulty rows per source."""
    max_epochs: Positive | None = None
    """Fail if a source without its own `max_epochs` would be repeated more often than this."""
    allow_licenses: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    """Allowed SPDX licences of sources: others, and sources without `license`, are refused. Empty: any."""
    robot: dict[SourceName, RobotSource | Group] | Side = Field(default_factory=dict)
    """Robot logs, or groups of them, by name; with `sources`, a side with its own rules."""
    web: dict[SourceName, WebSource | Group] | Side = Field(default_factory=dict)
    """Corpora of images with questions, or groups of them, by name; with `sources`, a side with its own rules."""

    def side(self, kind: Kind) -> Side:
        """A side, in whichever form it is written."""
        written = self.robot if kind == "robot" else self.web
        return written if isinstance(written, Side) else Side.model_construct(sources=written)

    @property
    def sources(self) -> dict[str, Source]:
        """All sources by name, including those in groups, robot first."""
        return {**_sources(self.side("robot")), **_sources(self.side("web"))}

    @property
    def store_folder(self) -> Path:
        """The folder of prepared stores."""
        return path_of(self.store) if self.store else default_store_root()

    def __reduce__(self) -> tuple[Callable[[bytes], Recipe], tuple[bytes]]:
        return from_canonical, (canonical(self),)


_BOTH: tuple[Kind, ...] = ("robot", "web")


def recipe_model(tree: Any = None) -> type[Recipe]:
    """The Recipe class that accepts every source of the table; for a `tree`, only those in it, which is faster to build."""
    kinds = _kinds(tree)
    return _recipe_model(tuple((kind, place) for kind, place in SOURCES.items() if kind in kinds), tuple(SOURCES))


def _kinds(tree: Any) -> Collection[str]:
    """The kinds of source in a recipe as written; all known kinds if one is unknown or on the wrong side."""
    if not isinstance(tree, dict):
        return SOURCES
    found: set[str] = set()
    for side in _BOTH:
        for settings in written_sources(tree.get(side)).values():
            kind = settings.get("kind") if isinstance(settings, dict) else None
            if not isinstance(kind, str) or kind not in SOURCES or source_class(kind).role != side:
                return SOURCES
            found.add(kind)
    return found


@functools.lru_cache(maxsize=512)
def _recipe_model(table: tuple[tuple[str, str], ...], known: tuple[str, ...]) -> type[Recipe]:
    classes = [source_class(kind) for kind, _ in table]
    for cls in classes:
        cls.model_rebuild()  # first, as it becomes part of the recipe's schema and is also used on its own
    sides: dict[str, Any] = {side: _side(side, tuple(cls for cls in classes if cls.role == side)) for side in _BOTH}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, __module__=__name__, **sides)


def _side(side: Kind, classes: tuple[type[Source], ...]) -> tuple[Any, Any]:
    """The members of a side by name, or the side with its own rules."""
    group: Any = _group_model(side, classes)
    members: Any = group.model_fields["sources"].annotation
    name = f"{side.title()}Side"
    ruled: Any = create_model(name, __base__=Side, __doc__=Side.__doc__, __module__=__name__, sources=members)
    either: Any = Annotated[members, Tag(MEMBERS)] | Annotated[ruled, Tag(SIDE)]
    chosen = Discriminator(lambda side: SIDE if _is_ruled(side) else MEMBERS)
    checked: Any = Annotated[either, chosen, BeforeValidator(_misplaced_rules)]
    return checked, Field(default_factory=dict)


def _group_model(side: Kind, classes: tuple[type[Source], ...]) -> type[Group]:
    """The group whose members are sources of this side, or groups like itself."""
    name = f"{side.title()}Group"
    either: Any = Union[Annotated[_any_source(side, classes), Tag(SOURCE_MARK)], Annotated[name, Tag(GROUP)]]  # noqa: UP007
    member: Any = Annotated[either, Discriminator(lambda value: GROUP if _is_group(value) else SOURCE_MARK)]
    sources: Any = dict[SourceName, member]
    return create_model(name, __base__=Group, __doc__=Group.__doc__, __module__=__name__, sources=sources)


def _is_group(value: Any) -> bool:
    return isinstance(value, Group) or is_group(value)


def _is_ruled(side: Any) -> bool:
    return isinstance(side, Side) or is_ruled(side)


def _misplaced_rules(side: Any) -> Any:
    """Refuses a rule written among the names of a side: rules need the members under `sources`."""
    rules = [key for key in RULES if key in side and not isinstance(side[key], dict)] if isinstance(side, dict) else []
    if rules and not is_ruled(side):
        raise ValueError(f"has {rules[0]} among its sources: put the sources under `sources`, beside it")
    return side


def _any_source(side: Kind, classes: tuple[type[Source], ...]) -> Any:
    """Any source of the side, chosen by `kind`."""
    if not classes:
        return Never
    require_kind = BeforeValidator(functools.partial(_require_kind, side))
    one = Annotated[Union[classes], Field(discriminator="kind")] if len(classes) > 1 else classes[0]  # noqa: UP007
    return Annotated[one, require_kind]


def _require_kind(side: Kind, value: Any) -> Any:
    """A source without a known `kind` cannot be validated further: report only that."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if isinstance(kind, str) and kind in SOURCES and source_class(kind).role == side:
        return value
    roles = {kind: source_class(kind).role for kind in SOURCES}
    known = [kind for kind, role in roles.items() if role == side]
    home = roles.get(kind) if isinstance(kind, str) else None
    raise PydanticCustomError("source_kind", "unknown kind", {"kind": kind, "known": known, "home": home})


def unlimited(recipe: Recipe) -> Recipe:
    """The recipe without any `max_epochs`."""
    sides = {kind: _unlimited(getattr(recipe, kind)) for kind in ("robot", "web")}
    return recipe.model_copy(update={"max_epochs": None, **sides})


def _unlimited(member: Any) -> Any:
    if isinstance(member, Side):
        return member.model_copy(update={"sources": _unlimited(member.sources)})
    if isinstance(member, Source):
        return member.model_copy(update={"max_epochs": None})
    return {name: _unlimited(each) for name, each in member.items()}


def _sources(side: Side) -> dict[str, Source]:
    """The sources of a side or a group by name; a group's sources come at its position."""
    found: dict[str, Source] = {}
    for name, member in side.sources.items():
        found |= _sources(member) if isinstance(member, Side) else {name: member}
    return found


def canonical(recipe: Recipe) -> bytes:
    """The recipe as JSON, always the same bytes: keys sorted, defaults filled in, fractions as text."""
    values = recipe.model_dump(mode="json")
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def from_canonical(data: bytes) -> Recipe:
    """The recipe that `canonical` wrote."""
    tree = frozen_lists(json.loads(data))
    return recipe_model(tree).model_validate(tree, context={"read_back": True})
