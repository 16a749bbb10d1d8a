"""Protocol buffer messages as plain values, decoded with the definitions in the log."""

from __future__ import annotations

from typing import Any

import numpy as np

from rt2data.read.ros.values import DEEPEST, LONGEST_DEFINITION, Decode, MessageFault, Stamp, UnreadableError, Value


def protobuf_decoder(name: str, definition: bytes) -> Decode:
    """The decoder for messages of a type; `definition` is a FileDescriptorSet. Raises UnreadableError."""
    from google.protobuf.message import DecodeError

    kind = _message_class(name, definition)

    def decode(data: memoryview) -> dict[str, Value]:
        try:
            message = kind.FromString(bytes(data))
        except DecodeError as error:
            raise MessageFault(f"not {name}: {error}") from None
        found: dict[str, Value] = _of_protobuf(message, 0)
        return found

    return decode


def _message_class(name: str, definition: bytes) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    if len(definition) > LONGEST_DEFINITION:
        raise UnreadableError(f"a definition of {len(definition):,} bytes is not read")
    pool = descriptor_pool.DescriptorPool()
    try:
        for file in descriptor_pb2.FileDescriptorSet.FromString(definition).file:
            pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except (DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableError(f"its definition cannot be read: {str(error)[:200]}") from None


def _of_protobuf(message: Any, depth: int) -> Any:
    """A message as plain values; unset values get their defaults, unset messages are left out."""
    kind = message.DESCRIPTOR
    if kind.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        return Stamp(message.seconds * 10**9 + message.nanos)
    if depth > DEEPEST:
        raise MessageFault("it is nested too deep")
    there = [field for field in kind.fields if field.message_type is None or _is_repeated(field) or message.HasField(field.name)]
    return {field.name: _of_field(field, getattr(message, field.name), depth) for field in there}


def _of_field(field: Any, value: Any, depth: int) -> Value:
    """A field's value; maps are left out."""
    if field.message_type is None:
        return _of_scalars(field, value)
    if not _is_repeated(field):
        return _of_protobuf(value, depth + 1)
    return [] if field.message_type.GetOptions().map_entry else [_of_protobuf(each, depth + 1) for each in value]


def _of_scalars(field: Any, value: Any) -> Value:
    if _is_repeated(field):
        return list(value) if field.type in (field.TYPE_STRING, field.TYPE_BYTES) else np.array(value, np.float64)
    return np.frombuffer(value, np.uint8) if field.type == field.TYPE_BYTES else value


def _is_repeated(field: Any) -> bool:
    known = getattr(field, "is_repeated", None)  # since protobuf 6.31, which warns of `label`
    return bool(field.label == field.LABEL_REPEATED if known is None else known)
