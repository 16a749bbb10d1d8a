"""RLDS: episodes in a TFDS directory of TFRecord files, read without TensorFlow. Images are byte ranges of the files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ValidationInfo, model_validator
from xxhash import xxh3_64_hexdigest

from rt2data.errors import DataError, RtError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.tfrecord.directory import Directory, NoVersionError, Shard, open_directory
from rt2data.io.tfrecord.example import Feature, decode_example
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.tfrecord.framing import FrameFault
from rt2data.io.tfrecord.reading import is_gzipped, read_gzipped, read_records
from rt2data.io.tfrecord.wire import MalformedError
from rt2data.read.features import FeaturePath, FeaturePaths, SplitNames
from rt2data.read.filters import Limits
from rt2data.read.known_formats import Recognized
from rt2data.read.recorded import EpisodeFault, described_step
from rt2data.read.rlds.episode import EpisodeRecord, read_steps
from rt2data.read.rlds.layout import (
    ORIGIN,
    Layout,
    WantedFeatures,
    choose_layout,
    find_origin,
    guess_action,
    guess_cameras,
    guess_instruction,
    guess_state,
    invalid_features,
    invalid_splits,
    invalid_widths,
    listed,
    name_cameras,
)
from rt2data.read.rlds.recognize import recognize_rlds, rlds_hint
from rt2data.read.rlds.registered import registered_path
from rt2data.read.rlds.units import Raw, all_parts, chosen_parts, survey_parts, survey_shards, unit_pieces, unit_records
from rt2data.read.sample import InvalidSetting, SamplePlan, shuffled
from rt2data.read.source import CameraNames, Growing, RobotSource, Suggestion, absent_folder, recognize
from rt2data.read.standards import load_standard
from rt2data.read.units import whole_units
from rt2data.records import Reject, SourceRecord, Step, Unit
from rt2data.settings import NameOrPath, PathStr, frozen_lists, resolve_file

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RLDS(RobotSource, Growing):
    """Robot episodes in RLDS format, as a TFDS dataset directory."""

    whole_records: ClassVar[frozenset[str]] = frozenset({"bad_crc", "bad_length", "malformed_example"})

    looks_for: ClassVar[str] = "a dataset_info.json in a folder or up to three levels below"

    mix_only: ClassVar[frozenset[str]] = RobotSource.mix_only | {"dataset"}
    """`dataset` only fills in other settings."""
    later: ClassVar[frozenset[str]] = RobotSource.later | {"dataset"}

    kind: Literal["rlds"] = "rlds"
    path: Annotated[PathStr, BeforeValidator(registered_path)]
    """The directory of one version, such as my_robot/1.0.0, or its parent if that has no other version; or `tfds:NAME`, a dataset
    that tensorflow-datasets knows and has prepared."""
    splits: SplitNames | None = None
    """Which splits to read; by default all."""
    action: FeaturePaths | None = None
    """Feature or features under `steps` that hold the action, joined in order; by default `action`. `name[0:3]` takes a range of
    the numbers; `zero[3]` and `one[1]` are constants."""
    state: FeaturePaths | None = None
    """Feature or features under `steps` that hold the robot's state; by default `observation/state`, if it exists."""
    instruction: FeaturePath | None = None
    """Feature that holds the instruction; by default `language_instruction` or another of the usual places."""
    success: FeaturePath | None = None
    """Feature that marks episodes as successes; by default `success` of steps, episode_metadata or the root."""
    camera_features: dict[str, FeaturePath] | None = None
    """Names of cameras and their features; by default every image under `observation`, named by its last name."""
    cameras: CameraNames | Literal["all", "none"] | dict[str, FeaturePath] | None = None  # type: ignore[assignment]
    """The cameras whose images go into the mixture, in this order, `all` of them, by name, or `none`; names with features are
    treated as `camera_features`."""

    dataset: NameOrPath | None = None
    """A dataset whose standard supplies missing settings: a name in schemas/datasets, or the path of your own .toml. `inspect`
    recognizes known datasets."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any, info: ValidationInfo) -> Any:
        """Fill in settings from the dataset's standard. A recipe that is read back already has them."""
        given = frozen_lists(given)
        if not isinstance(given, dict) or not isinstance(given.get("dataset"), str) or (info.context or {}).get("read_back"):
            return given
        try:
            return load_standard(resolve_file(given["dataset"], info)).fill(given)
        except UsageError as error:
            raise ValueError(f"dataset: {error}") from None

    @model_validator(mode="after")
    def _check_cameras(self) -> Self:
        if isinstance(self.cameras, dict) and self.camera_features is not None:
            raise ValueError("give features under `camera_features`, names under `cameras`")
        return self

    def _is_default(self, name: str) -> bool:
        """Whether a setting may be omitted as a default. With `dataset`, it would be filled in again."""
        return self.dataset is None and super()._is_default(name)

    @property
    def named_cameras(self) -> tuple[str, ...] | Literal["all"] | None:
        """As in the base class, but features under `cameras` define cameras and do not select any."""
        return None if isinstance(self.cameras, dict) else super().named_cameras

    @property
    def _chosen(self) -> tuple[tuple[str | int, ...], tuple[str, ...]]:
        """The setting that names the cameras of the mixture, and their names."""
        if self.camera is not None:
            return ("camera",), (self.camera,)
        return ("cameras",), self.named_cameras if isinstance(self.named_cameras, tuple) else ()

    @property
    def _features_of_cameras(self) -> dict[str, str] | None:
        return self.cameras if isinstance(self.cameras, dict) else self.camera_features

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """The TFDS version directory at a path or at most three levels below."""
        return recognize_rlds(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """Files of a TFDS dataset, and folders above one."""
        return rlds_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Settings that name a missing dataset, split or feature. Reads the two JSON files and, for images stored as strings, the
        first record.
        """
        yield from super().invalid_settings()
        found = [] if location.exists(self.path) else list(absent_folder(("path",), self.path))
        yield from found
        if not found:
            yield from self._invalid_dataset_settings()

    def _invalid_dataset_settings(self) -> Iterator[InvalidSetting]:
        try:
            directory = open_dataset(self.path)
        except UsageError as error:
            yield InvalidSetting(("path",), str(error))
            return
        yield from invalid_splits(self.splits or (), tuple(directory.splits))
        seen = {} if self._features_of_cameras else _seen_cameras(directory)
        yield from invalid_features(directory.leaves, self._wanted, seen, self._chosen)
        if self.filters.path is not None and not find_origin(directory.leaves):
            yield InvalidSetting(("filters", "path"), f"there is no {ORIGIN[-1]} to match: {listed(directory.leaves)}")
        yield from invalid_widths(directory.leaves, self.action, self.action_space, self.conversions)

    def split_names(self) -> tuple[str, ...]:
        """The splits that are read."""
        return tuple(self._splits(open_dataset(self.path)))

    def files(self) -> list[str]:
        """Both JSON files and the shards of the splits that are read. Raises UsageError, or DataError if one is missing."""
        directory = open_dataset(self.path)
        shards = [shard.path for split in self._splits(directory).values() for shard in split]
        _require_files(shards)
        return sorted([*directory.json_paths, *shards])

    def units(self) -> list[Unit]:
        """Ranges of whole records, or small files read together, about 64 MB each. Reads only headers, after checking that no file
        is missing.

        Raises UsageError if the recipe and the features disagree, DataError if a shard is missing, truncated, or has a different
        number of records than dataset_info.json says.
        """
        return self.units_of(self.parts({}))

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """Ranges of whole records, or whole files."""
        directory = open_dataset(self.path)
        self._layout(directory)
        splits = self._splits(directory)
        _require_files([shard.path for shards in splits.values() for shard in shards])
        found = all_parts(splits, known) if self.filters.limit is None else self._limited_parts(splits)
        if not found:
            raise DataError("there are no episodes", directory.path)
        return found

    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """Units of about 64 MB each."""
        return whole_units(parts)

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, and what dataset_info.json says about the file."""
        directory = open_dataset(self.path)
        layout = repr(self._layout(directory))
        return [[layout, *directory.declared(part.split, part.path), *self._limited(directory, part)] for part in parts]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Episode names, counted from dataset_info.json."""
        for split, shards in self._splits(open_dataset(self.path)).items():
            for number, shard in enumerate(shards):
                yield from ((split, _episode_name(split, number, record)) for record in range(shard.records))

    def _limited(self, directory: Directory, part: Unit) -> list[int]:
        """What else a part's records depend on: the records of the whole file that `filters.limit` keeps."""
        if self.filters.limit is None or part.start:
            return []
        number, _ = directory.declared(part.split, part.path) or (0, 0)
        return self._kept(part.split, number, directory.splits[part.split][number])

    def _limited_parts(self, splits: Mapping[str, tuple[Shard, ...]]) -> list[Unit]:
        """The records that `filters.limit` keeps, each as its own part."""
        kept = {split: [self._kept(split, number, shard) for number, shard in enumerate(splits[split])] for split in splits}
        return chosen_parts(splits, kept)

    def _kept(self, split: str, number: int, shard: Shard) -> list[int]:
        """The records of a file that `filters.limit` keeps."""
        return [at for at in range(shard.records) if self.limits.keep(split, _episode_name(split, number, at))]

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Steps of the episodes in a unit, and a Reject for each episode that is damaged or lost."""
        directory = open_dataset(self.path)
        layout = self._layout(directory)
        for part in unit.each:
            try:
                yield from _read_part(part, directory, layout, self.limits)
            except OSError as error:
                error.filename = error.filename or part.path  # a failed read has no name
                raise

    def sample_plan(self, split: str, seed: int = 0) -> SamplePlan:
        """Episode counts from dataset_info.json, and a sample of episodes spread over the files of the split.

        Raises the same errors as `units`, but checks only a few files.
        """
        directory = open_dataset(self.path)
        self._layout(directory)
        splits = self._splits(directory)
        _require_files([shard.path for shards in splits.values() for shard in shards])
        if self.filters.limit is not None:
            parts = self._limited_parts(splits)
            wanted = [part for part in parts if self.may_feed(part.split, split)]
            return survey_parts(shuffled(wanted, seed), len(self.units_of(parts)), sum(part.bytes for part in parts), self.read)
        return survey_shards(directory.path, splits, {name for name in splits if self.may_feed(name, split)}, seed, self.read)

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """Ranges of whole records; a compressed file is not split."""
        return unit_pieces(unit, size)

    def describe(self) -> dict[str, Any]:
        """Splits, features, guesses based on them, and a summary of the first episode."""
        directory = open_dataset(self.path)
        return {
            "kind": self.kind,
            "path": directory.path,
            "name": directory.name,
            "version": directory.version,
            "splits": {name: _describe_split(shards) for name, shards in self._splits(directory).items()},
            "features": [str(leaf) for leaf in directory.leaves],
            "guesses": _guesses(directory),
            "first_episode": self._describe_first(),
        }

    def _splits(self, directory: Directory) -> Mapping[str, tuple[Shard, ...]]:
        """The splits to read. Raises UsageError if one does not exist, or has a name that a recipe cannot contain."""
        wanted = tuple(directory.splits) if self.splits is None else self.splits
        for name in wanted:
            if name not in directory.splits:
                raise UsageError(f"there is no split `{name}`", directory.path, f"there is {', '.join(directory.splits)}")
            if not _SPLIT.fullmatch(name):
                what = f"a split is called {name[:80]!r}: only letters, digits, _ and - are read"
                raise UsageError(what, directory.path, "name the others in `splits`")
        return {name: directory.splits[name] for name in dict.fromkeys(wanted)}

    def _layout(self, directory: Directory) -> Layout:
        seen = {} if self._features_of_cameras else _seen_cameras(directory)
        return choose_layout(directory.leaves, self._wanted, seen)

    @property
    def _wanted(self) -> WantedFeatures:
        setting = "cameras" if isinstance(self.cameras, dict) else "camera_features"
        return WantedFeatures(self.action, self.state, self.instruction, self._features_of_cameras or None, self.success, setting)

    def _describe_first(self) -> dict[str, Any]:
        """Length, instruction and sizes of the first episode, or why it cannot be read."""
        try:
            found = next(iter(self.read(self.units()[0])))
        except RtError as error:
            return {"problem": str(error)}
        if not isinstance(found, Step):
            return {"problem": str(found)}
        return described_step(found)


def open_dataset(path: str) -> Directory:
    """The TFDS directory at `path`. Raises the same errors as `open_directory`; if something else is there, the error names it."""
    try:
        return open_directory(path)
    except NoVersionError as error:
        found = recognize(path_of(error.where))
        if found is None:
            raise
        raise UsageError(f"not an RLDS dataset: this is {found.what}", error.where, found.do) from None


def _episode_name(split: str, shard: int, record: int) -> str:
    return f"{_short(split)}-{shard:05d}-{record:06d}"


def _read_part(unit: Unit, directory: Directory, layout: Layout, limits: Limits) -> Iterator[SourceRecord]:
    """The records of one file, or of a range of it, that the limits keep."""
    number = directory.number(unit.split, unit.path)
    for found in unit_records(unit, directory.splits[unit.split][number]):
        if isinstance(found, Reject):
            yield found
        elif limits.keep(unit.split, episode := _episode_name(unit.split, number, found.number)):
            yield from _read_episode(found, EpisodeRecord(episode, unit.split, unit.path, found.offset), layout)


def _read_episode(raw: Raw, record: EpisodeRecord, layout: Layout) -> Iterator[Step | Reject]:
    """Steps of one record, or a Reject for it."""
    try:
        yield from read_steps(record, decode_example(raw.payload), layout)
    except EpisodeFault as fault:
        yield Reject(fault.reason, record.where, fault.detail, count=fault.steps)
    except MalformedError as error:
        yield Reject("malformed_example", record.where, str(error))


def _require_files(paths: list[str]) -> None:
    for path, stat in zip(paths, location.stats(paths), strict=True):
        if stat is None:
            raise DataError("a shard is missing", path, "fetch it, or name the other splits in `splits`")


def _short(split: str) -> str:
    """The name of a split as part of a key: a long one is shortened and gets a hash."""
    return split if len(split) <= 20 else f"{split[:11]}-{xxh3_64_hexdigest(split.encode())[:8]}"


def _describe_split(shards: tuple[Shard, ...]) -> dict[str, int]:
    sizes = [stat.size for stat in location.stats([shard.path for shard in shards]) if stat]
    episodes = sum(shard.records for shard in shards)
    return {"episodes": episodes, "shards": len(shards), "missing_shards": len(shards) - len(sizes), "bytes": sum(sizes)}


def _guesses(directory: Directory) -> dict[str, Any]:
    """The feature paths that are read if the recipe names nothing."""
    instruction = guess_instruction(directory.leaves)
    return {
        "action": list(guess_action(directory.leaves)),
        "state": list(guess_state(directory.leaves)),
        "instruction": instruction.path if instruction else None,
        "cameras": {name: leaf.path for name, leaf in _seen_cameras(directory).items()},
    }


def _seen_cameras(directory: Directory) -> dict[str, Leaf]:
    """Cameras known by their features, else strings under steps/observation that begin as JPEG or PNG in the first record."""
    found = guess_cameras(directory.leaves)
    strings = [leaf for leaf in directory.leaves if leaf.kind == "text" and leaf.path.startswith("observation/")]
    if found or not strings:
        return found
    features = _first_features(directory)
    return name_cameras([leaf for leaf in strings if leaf.key in features and _is_encoded_image(features[leaf.key])])


def _first_features(directory: Directory) -> dict[str, Feature]:
    """The features of the first record; empty if it is damaged."""
    for shard in (shard for shards in directory.splits.values() for shard in shards if location.is_file(shard.path)):
        for found in read_gzipped(shard.path) if is_gzipped(shard.path) else read_records(shard.path):
            try:
                return {} if isinstance(found, FrameFault) else decode_example(found[1])
            except MalformedError:
                return {}
    return {}


def _is_encoded_image(feature: Feature) -> bool:
    if feature.kind != "bytes":
        return False
    return any(bytes(feature.payload[start : start + 8]).startswith((_JPEG, _PNG)) for start, _ in feature.spans()[:1])
