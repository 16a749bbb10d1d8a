"""An output's descriptions for people and catalogues: README.md, croissant.json, statistics in other trainers' formats.

Everything follows from the manifest. The owner may edit README.md; the other files are listed in the manifest with their hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from string import digits
from typing import Any

import msgspec

from rt2data.formats.base import Dataset, Format, Sizes, image_name
from rt2data.formats.flat import no_null
from rt2data.plan.recipe.groups import written_sources
from rt2data.render.fields import Field, fields_of
from rt2data.seal.blend import alone, how_to_read
from rt2data.seal.manifest import Manifest
from rt2data.seal.side_files import Sidecars
from rt2data.seal.trainer_statistics import statistics_files

CARD, CROISSANT = "README.md", "croissant.json"
_TAGS = ("robotics", "vla", "vision-language-action", "co-training", "rt2data")


def write_cards(beside: Sidecars, manifest: Manifest, form: Format) -> None:
    """Write all of them. Raises OutputError."""
    beside.write_editable(CARD, card(manifest, form).encode())
    beside.write(CROISSANT, _json(croissant(manifest, form)))
    for name, content in sorted(statistics_files(manifest.plan, manifest.statistics).items()):
        beside.write(f"statistics/{name}.json", _json(content))


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


# Card


def card(manifest: Manifest, form: Format) -> str:
    """README.md: front matter for Hugging Face, then what is here, how to read it and what was changed."""
    reading = how_to_read(form, Path(), manifest)
    parts = (
        "\n".join(_front_matter(manifest, form)),
        f"# {title(manifest)}",
        f"{manifest.examples:,} examples in {len(manifest.shards):,} shards ({manifest.plan.format}, {manifest.bytes:,} bytes); "
        f"{_of_which(manifest)} are robot steps, their actions written as text. Each has images, a prompt and a target.",
        "\n".join(_source_table(manifest)),
        f"## Reading it\n\n{_order(manifest)}{_nulls(manifest, form)}\n\n```python\n{reading}```",
        "## What was changed\n\n" + "\n".join(_changes(manifest)),
        f"## How it was made\n\n{_making(manifest)}",
    )
    return "\n\n".join(parts) + "\n"


def _of_which(manifest: Manifest) -> str:
    return f"{manifest.robot_frac:.4%}" + (" of what is read by weight" if manifest.plan.parts else "")


def _order(manifest: Manifest) -> str:
    if not manifest.plan.parts:
        return "The examples are shuffled and mixed already."
    return (
        "Every source is in a folder of its own, shuffled, each row once: a reader mixes them by the weights of `weights.json`, "
        "whose shares are exact. The epochs of a source say how often a row is read."
    )


def _nulls(manifest: Manifest, form: Format) -> str:
    return "" if form.has_null else f"\n\n{no_null(manifest.plan.sizes)}"


def _making(manifest: Manifest) -> str:
    plan = manifest.plan
    return (
        f"rt2data {manifest.tool_version}: seed {plan.seed}, split {plan.split}, template {plan.template}, codec {plan.codec}, "
        f"{plan.tokenizer.get('kind')} tokenizer. `manifest.json` holds the recipe, the plan, the action codec with its bounds, "
        f"and a hash of every shard. `statistics/` holds those of actions and states, step by step as they are written: "
        f"`openpi_*.json` fits openpi only where its transforms change no number, as its `about` says. "
        f"Fingerprint `{plan.fingerprint}`."
    )


def title(manifest: Manifest) -> str:
    """Names of the sources."""
    return "A co-training mixture of " + " and ".join(source.name for source in manifest.plan.sources)


def licences(manifest: Manifest) -> dict[str, str]:
    """SPDX expressions by source, for sources that have one in the recipe."""
    sides = (written_sources(manifest.recipe.get(side) or {}) for side in ("robot", "web"))
    asked = {name: source.get("license") for side in sides for name, source in side.items()}
    return {source.name: asked[source.name] for source in manifest.plan.sources if asked.get(source.name)}


def _front_matter(manifest: Manifest, form: Format) -> Iterator[str]:
    kinds = {source.kind for source in manifest.plan.sources}
    given = sorted({each.lower() for each in licences(manifest).values()})
    yield "---"
    if given:
        yield "license:"
        yield from (f"- {each}" for each in given)
    yield "task_categories:"
    yield from (f"- {task}" for kind, task in (("robot", "robotics"), ("web", "visual-question-answering")) if kind in kinds)
    yield "tags:"
    yield from (f"- {tag}" for tag in _TAGS)
    if form.media_type in (PARQUET, TAR):
        yield from ("configs:", f"- config_name: {config_name(manifest)}", "  default: true", "  data_files:")
        yield f"  - split: {manifest.plan.split.replace('-', '_')}"
        yield f'    path: "{shard_glob(manifest.dataset)}"'
    if form.media_type == TAR:
        yield from ("dataset_info:", f"  config_name: {config_name(manifest)}", *_features(manifest.plan.sizes))
    yield "---"


def config_name(manifest: Manifest) -> str:
    """Name of the only configuration for Hugging Face's datasets.

    Its cache is keyed by the folder name and this card, not by the files: the fingerprint prevents a rebuilt mixture, or another
    folder with the same name, from being mistaken for data read earlier (huggingface/datasets#2956, #6465).
    """
    return f"mixture-{manifest.plan.fingerprint[:12]}"


def _features(sizes: Sizes) -> Iterator[str]:
    """Hugging Face's datasets would infer them from the first five examples, where images, actions or answers may be missing."""
    yield "  features:"
    for slot in range(1 if sizes.images is None else sizes.images):
        for extension in ("jpg", "png"):
            yield from (f"  - name: {image_name(slot, extension, sizes.images is None)}", "    dtype: image")
    yield from ("  - name: json", "    struct:", *(line for field in fields_of(sizes.more) for line in _feature(field)))


def _feature(field: Field) -> Iterator[str]:
    yield f"    - name: {field.name}"
    match field.shape:
        case "one":
            yield f"      dtype: {field.type}"
        case "chunk":
            yield from ("      list:", f"        list: {field.type}")
        case "messages" | "notes" | "regions":
            yield from (
                "      list:",
                *(line for part, kind in field.parts for line in (f"      - name: {part}", f"        dtype: {kind}")),
            )
        case _:
            yield f"      list: {field.type}"


def _source_table(manifest: Manifest) -> Iterator[str]:
    given = licences(manifest)
    counted = "draws" if manifest.plan.parts else "examples"
    yield f"| source | side | raw format | {counted} | share | rows | epochs | licence |"
    yield "|---|---|---|---:|---:|---:|---:|---|"
    for source in manifest.plan.sources:
        share, licence = source.draws / manifest.plan.num_examples, given.get(source.name, "not given")
        numbers = f"{source.draws:,} | {share:.4%} | {source.rows:,} | {source.epochs:.4g}"
        yield f"| {source.name} | {source.place} | {source.source} | {numbers} | {licence} |"


def _changes(manifest: Manifest) -> Iterator[str]:
    for source in manifest.plan.sources:
        made = {what: count for what, count in sorted(manifest.conversions.get(source.name, {}).items()) if count}
        images = ", ".join(f"{count:,} {what}" for what, count in made.items()) or "copied byte for byte"
        yield f"- {source.name}: images {images}."
        if source.camera_line:
            yield f"  - {source.camera_line}"
        for lost in manifest.rejects.get(source.name, ()):
            yield f"  - dropped: {lost.count:,} {lost.reason}{'' if lost.fault else ' (as asked)'}"
        for warn in manifest.plan.warnings:
            if warn.source == source.name and warn.code != "cameras":
                yield f"  - {warn.level}: {warn.what}"


# Croissant


def croissant(manifest: Manifest, form: Format) -> dict[str, Any]:
    """Croissant 1.0 metadata: the shards as one file set, and their columns if the files have columns."""
    found: dict[str, Any] = {"@context": _CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0"}
    found |= {"name": "mixture", "description": title(manifest), "version": "1.0.0"}
    if given := licences(manifest):
        found["license"] = sorted(set(given.values()))
    found["distribution"] = [
        {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": form.media_type, "includes": pattern}
        for name, pattern in _file_sets(manifest).items()
    ]
    if form.media_type == PARQUET:
        found["recordSet"] = [_record_set(manifest.plan.images is None, manifest.plan.sizes.more)]
    return found


def _file_sets(manifest: Manifest) -> dict[str, str]:
    """File patterns by name: all shards, or those of each part."""
    parts = {f"{each.folder}-shards": f"{each.folder}/{shard_glob(each.dataset)}" for each in alone(manifest)}
    return parts or {"shards": shard_glob(manifest.dataset)}


PARQUET, TAR = "application/vnd.apache.parquet", "application/x-tar"


def shard_glob(dataset: Dataset) -> str:
    """A pattern that matches all shards and nothing else."""
    names = [dataset.shards[0].name, dataset.shards[-1].name]
    if names[0] == names[1]:
        return names[0]
    start, end = _common(*names), _common(names[0][::-1], names[1][::-1])[::-1]
    return f"{start}*{end.lstrip(digits)}"


def _common(one: str, other: str) -> str:
    """The common prefix."""
    return "".join(here for here, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _record_set(single: bool, more: tuple[str, ...]) -> dict[str, Any]:
    image = _field("image" if single else "images", "sc:ImageObject") | ({} if single else {"repeated": True})
    image["source"]["transform"] = {"jsonPath": "bytes"}
    columns = [_record_field(field) for field in fields_of(more)]
    return {"@type": "cr:RecordSet", "@id": "examples", "name": "examples", "field": [image, *columns]}


def _record_field(field: Field) -> dict[str, Any]:
    if field.parts:
        parts = [_field(f"{field.name}/{part}", _DATA_TYPES[kind]) for part, kind in field.parts]
        return {"@type": "cr:Field", "@id": f"examples/{field.name}", "name": field.name, "repeated": True, "subField": parts}
    return _field(field.name, _DATA_TYPES[field.type]) | ({} if field.shape == "one" else {"repeated": True})


def _field(name: str, kind: str) -> dict[str, Any]:
    source = {"fileSet": {"@id": "shards"}, "extract": {"column": name}}
    return {"@type": "cr:Field", "@id": f"examples/{name}", "name": name, "dataType": kind, "source": source}


_DATA_TYPES = dict.fromkeys(("int64", "int32", "uint8"), "sc:Integer")
_DATA_TYPES |= {"string": "sc:Text", "float32": "sc:Float", "float64": "sc:Float", "bool": "sc:Boolean"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The terms of Croissant 1.0, as listed in its specification."""
