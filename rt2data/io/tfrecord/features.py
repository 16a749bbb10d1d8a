"""Reads and writes TFDS's features.json: the tree of features as a flat list of leaves.

Every node of the tree names its Python class and has one member for its kind: featuresDict, sequence (Dataset and Sequence), image,
tensor (also Scalar), text, classLabel. The older form, {"type", "content"}, is also read. Source:
tensorflow_datasets/core/features/*.py and core/proto/feature.proto, 4.9.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rt2data.errors import DataError

LeafKind = Literal["image", "tensor", "scalar", "text", "ragged", "other"]
Json = Any

STEPS = "steps"
_CLASSES = "tensorflow_datasets.core.features."
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Leaf:
    """One feature at the end of a path: `key` is its name in the Example, such as steps/observation/image_0.

    `dtype` is numpy's name, `string` for bytes, or `bfloat16`. `shape` is that of one step; None stands for any size. `encoding` is
    none, bytes or zlib for numbers, and jpeg, png or "" (unknown) for images. Kind `other` cannot become a column, such as a
    sequence inside a step. Kind `ragged` is such a sequence, of scalars or strings, for writing only.
    """

    key: str
    kind: LeafKind
    dtype: str
    shape: tuple[int | None, ...] = ()
    encoding: str = "none"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The key relative to `steps`, as used in recipes."""
        return self.key.removeprefix(f"{STEPS}/")

    @property
    def per_step(self) -> bool:
        """Whether it has a value per step, not one for the whole episode."""
        return self.key.startswith(f"{STEPS}/")

    @property
    def width(self) -> int | None:
        """Numbers per step, None if the shape does not fix it."""
        width = 1
        for size in self.shape:
            if size is None:
                return None
            width *= size
        return width

    def __str__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.path}: {self.kind} {self.dtype}[{shape}]"


# Decode


def decode_features(tree: Json, where: str = "features.json") -> tuple[Leaf, ...]:
    """Leaves of the tree in a features.json, sorted by key. Raises DataError for any other JSON."""
    try:
        return tuple(sorted(_leaves(tree, "", 0), key=lambda leaf: leaf.key))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"not a tree of TFDS features: {error}", where, "it was written by another program, or by hand") from error


def _leaves(node: Json, key: str, sequences: int, depth: int = 0) -> Iterator[Leaf]:
    """Leaves below a node. `sequences` counts the enclosing sequences: values inside two of them are ragged."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    member, content = _content(node)
    if member == "featuresDict":
        for name, child in content.get("features", {}).items():
            yield from _leaves(child, f"{key}/{name}" if key else name, sequences, depth + 1)
    elif member == "sequence":
        yield from _leaves(content["feature"], key, sequences + 1, depth + 1)
    else:
        leaf = _leaf(key, member, content)
        yield leaf if sequences < 2 else Leaf(key, "other", leaf.dtype, leaf.shape, "ragged")


def _content(node: Json) -> tuple[str, Json]:
    """The kind of a node, and its settings."""
    if "type" in node:
        return _old_content(node)
    for member in _MEMBERS:
        if member in node:
            return member, node[member]
    return node.get("pythonClassName", "").rpartition(".")[2], {}


def _old_content(node: Json) -> tuple[str, Json]:
    """The same for TFDS up to 4.4, which named only the class; its content depended on that, as JSON or as JSON in a string."""
    member = _OLD_MEMBERS.get(node["type"].rpartition(".")[2], "")
    content = node["content"]
    if isinstance(content, str):
        content = json.loads(content)
    if member == "featuresDict" and "proto_cls" not in node:
        content = {"features": content}
    return member, content


def _leaf(key: str, member: str, content: Json) -> Leaf:
    """A leaf of each kind."""
    if member == "text":
        return Leaf(key, "text", "string")
    if member == "classLabel":
        return Leaf(key, "scalar", "int64")
    shape = _shape(content.get("shape") or ())
    if member == "image":
        return Leaf(key, "image", content.get("dtype") or "uint8", shape, _encoding(content, ""))
    if member == "tensor":
        dtype = content["dtype"]
        kind: LeafKind = "text" if dtype == "string" and not shape else "tensor" if shape else "scalar"
        return Leaf(key, kind, dtype, shape, str(content.get("encoding") or "none").lower())
    return Leaf(key, "other", member)


def _encoding(content: Json, default: str) -> str:
    return content.get("encodingFormat") or content.get("encoding_format") or default


def _shape(shape: Json) -> tuple[int | None, ...]:
    """A shape given as {"dimensions": ["64", "-1"]} or [64, null]."""
    sizes = shape.get("dimensions", ()) if isinstance(shape, Mapping) else shape
    return tuple(None if size is None or int(size) < 0 else int(size) for size in sizes)


_MEMBERS = ("featuresDict", "sequence", "image", "tensor", "text", "classLabel")
_OLD_MEMBERS = {
    "FeaturesDict": "featuresDict",
    "Dataset": "sequence",
    "Sequence": "sequence",
    "Image": "image",
    "Tensor": "tensor",
    "Scalar": "tensor",
    "Text": "text",
    "ClassLabel": "classLabel",
}


# Encode


def encode_features(leaves: Iterable[Leaf]) -> Json:
    """The tree of a features.json with these leaves; everything under `steps` becomes a Dataset. Inverse of `decode_features`.

    Raises ValueError for a leaf of kind `other`.
    """
    tree: dict[str, Any] = {}
    for leaf in leaves:
        *path, name = leaf.key.split("/")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[name] = leaf
    return _dict_node(tree, top=True)


def _dict_node(tree: Mapping[str, Any], top: bool = False) -> Json:
    children = {name: _node(child) for name, child in sorted(tree.items())}
    if top and STEPS in children:
        children[STEPS] = {
            "pythonClassName": f"{_CLASSES}dataset_feature.Dataset",
            "sequence": {"feature": children[STEPS], "length": "-1"},
        }
    return {"pythonClassName": f"{_CLASSES}features_dict.FeaturesDict", "featuresDict": {"features": children}}


def _node(child: Mapping[str, Any] | Leaf) -> Json:
    if not isinstance(child, Leaf):
        return _dict_node(child)
    if child.kind == "text":
        return {"pythonClassName": f"{_CLASSES}text_feature.Text", "text": {}}
    if child.kind == "image":
        return {"pythonClassName": f"{_CLASSES}image_feature.Image", "image": _image_member(child)}
    if child.kind == "ragged":
        inner = Leaf(child.key, "text" if child.dtype == "string" else "scalar", child.dtype)
        return {"pythonClassName": f"{_CLASSES}sequence_feature.Sequence", "sequence": {"feature": _node(inner), "length": "-1"}}
    if child.kind == "other":
        raise ValueError(f"cannot write {child}")
    tensor = {"shape": _shape_member(child), "dtype": child.dtype, "encoding": child.encoding}
    return {
        "pythonClassName": _CLASSES + ("scalar.Scalar" if child.kind == "scalar" else "tensor_feature.Tensor"),
        "tensor": tensor,
    }


def _image_member(leaf: Leaf) -> Json:
    member = {"shape": _shape_member(leaf), "dtype": leaf.dtype}
    return member | ({"encodingFormat": leaf.encoding} if leaf.encoding else {})


def _shape_member(leaf: Leaf) -> Json:
    return {"dimensions": [str(-1 if size is None else size) for size in leaf.shape]} if leaf.shape else {}
