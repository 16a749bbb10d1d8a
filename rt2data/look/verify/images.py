"""Checks of the images of one example: their headers, and the fields that say which there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rt2data.formats.base import Member
from rt2data.images.ready import ImageFault, read_header
from rt2data.look.verify.expected import Checked
from rt2data.write.shard import EXTENSIONS


def image_bytes(member: Member) -> int:
    """Bytes of all images of an example."""
    return sum(len(image.data) for image in member.images)


def image_faults(member: Member) -> Iterator[str]:
    """The header of each image against its extension."""
    for image in member.images:
        name = "its image" if len(member.images) == 1 else f"its image_{image.slot}"
        try:
            seen = read_header(image.data)
        except ImageFault as fault:
            yield f"{name} cannot be used: {fault.reason}" + (f", {fault.detail}" if fault.detail else "")
            continue
        if EXTENSIONS.get(seen.format) != image.extension:
            yield f"{name} is {seen.format}, its name says .{image.extension}"
        if seen.width < 1 or seen.height < 1:
            yield f"{name} has {seen.width} x {seen.height} pixels"


def image_names(names: Any, checked: Checked) -> str:
    """Cameras of the plan's slots, or image_0, image_1, ... of a web example."""
    wanted = [name for name, _ in _places(checked)]
    return "" if list(names) == wanted else f"image_names are {_listed(names)}, not {_listed(wanted)}"


def image_offsets(offsets: Any, checked: Checked) -> str:
    """Those of the plan's slots; 0 for all images of a web example."""
    wanted = [offset for _, offset in _places(checked)]
    return "" if list(offsets) == wanted else f"image_offsets are {_listed(offsets)}, not {_listed(wanted)}"


def _places(checked: Checked) -> Sequence[tuple[str, int]]:
    """Names and offsets of an example's images, absent ones too. A single one is of any camera: not all steps have the same."""
    if not checked.source.robot:
        return [(f"image_{i}", 0) for i in range(len(checked.member.images))]
    slots = checked.source.plan.slots
    return slots if len(slots) > 1 else [(checked.record.camera or "", 0)]


def image_mask(mask: Any, checked: Checked) -> str:
    """True for the places whose images are there, and for no others; none is of a step before the episode."""
    record, there = checked.record, [image.slot for image in checked.member.images]
    if len(mask) != len(record.image_names):
        return f"image_mask has {len(mask)} entries for {len(record.image_names)} image_names"
    if (said := [place for place, present in enumerate(mask) if present]) != there:
        return f"image_mask says images {_listed(said)}, there are {_listed(there)}"
    if len(there) > (most := checked.expected.plan.images or 1):
        return f"it has {len(there)} images, the plan's most are {most}"
    early = [
        i for i in said if record.step is not None and i < len(record.image_offsets) and record.step + record.image_offsets[i] < 0
    ]
    return f"image_{early[0]} is of a step before its episode" if early else ""


def camera(camera: Any, checked: Checked) -> str:
    """The one of the first image that is there."""
    cameras = checked.source.plan.cameras
    if camera not in cameras:
        return f"camera is {camera}, the plan has {', '.join(cameras) or 'none'}"
    there = [image.slot for image in checked.member.images]
    names = [name for name, _ in _places(checked)]
    if not there or there[0] >= len(names):
        return "a robot example without an image that the plan has"
    return "" if camera == names[there[0]] else f"camera is {camera}, its first image is of {names[there[0]]}"


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) or "none"
