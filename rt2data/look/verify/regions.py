"""Checks of boxes and points: they must be inside their images, and occur in the texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rt2data.images.ready import ImageFault, read_header
from rt2data.look.verify.expected import Checked
from rt2data.render.fields import RegionRecord
from rt2data.render.regions.convention import Convention, Marked, Size
from rt2data.render.regions.places import Filler
from rt2data.standardize.conversation import REGION

_SQUARE = (1000, 1000)
"""An image size that suits every convention, used to parse coordinates from the text independently of the real size."""


def region_faults(regions: Any, checked: Checked) -> str:
    """Check that each region is inside its image, and all are in the messages, in order."""
    if regions is None:
        return ""
    if "regions" not in checked.expected.plan.sizes.more:
        return "it has regions, the plan has none"
    for number, region in enumerate(regions):
        if fault := _one_fault(region, len(checked.member.images)):
            return f"region {number} {fault}"
    return _unsaid(checked)


def _one_fault(region: RegionRecord, images: int) -> str:
    x0, y0, x1, y1 = region.x0, region.y0, region.x1, region.y1
    if region.image >= images:
        return f"is in image {region.image} of {images}"
    if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1) or (x0 == x1) != (y0 == y1):
        return f"is {x0:.6g}, {y0:.6g}, {x1:.6g}, {y1:.6g}: no box and no point within 0 and 1"
    return ""


def _unsaid(checked: Checked) -> str:
    """The first region missing from the messages. The messages may contain more: any text may have brackets and numbers."""
    convention = checked.expected.regions
    said = [message.content for message in checked.record.messages if message.role != "system"]
    if any(REGION in text for text in said):
        return f"its messages have {REGION} where a region belongs"
    if convention is None:
        return "the plan's way of writing regions is not known to this release"
    try:
        written = iter([steps for text in said for steps in _steps_in(text, convention)])
        wanted = [convention.steps(marked) for marked in _marked(checked)]
    except ValueError as error:
        return f"its messages have a region that cannot be read: {error}"
    missing = next((number for number, steps in enumerate(wanted) if steps not in written), None)
    return "" if missing is None else f"its messages do not say region {missing} where it belongs"


def _steps_in(text: str, convention: Convention) -> Iterator[list[int]]:
    units = convention.units(_SQUARE) * 2
    for marked in convention.parse(text, _SQUARE):
        yield [round(value * unit) for value, unit in zip(marked.coords, units, strict=False)]


def filled_text(text: str, checked: Checked) -> str:
    """A text of the source with the example's first regions filled in, as it should be rendered."""
    filler = _filler(checked)
    try:
        return filler.fill(text) if filler else text
    except (ValueError, IndexError):
        return text  # reported by the check of regions


def unfilled_targets(checked: Checked) -> list[str]:
    """The possible source texts of the target: some differ only in the space between two placeholders."""
    record, filler = checked.record, _filler(checked)
    if filler is None:
        return [record.target]
    try:
        filler.fill(record.text)
        return [each for each in record.answers if filler.answer(each).strip() == record.target]
    except (ValueError, IndexError):
        return []  # reported by the check of regions


def _filler(checked: Checked) -> Filler | None:
    """The filler for the example's placeholders; None if it has none."""
    convention, regions = checked.expected.regions, checked.record.regions
    if not regions or convention is None:
        return None
    return Filler(convention, [each.region for each in regions], _sizes(checked))


def _marked(checked: Checked) -> list[Marked]:
    sizes = _sizes(checked)
    found = [each.region for each in checked.record.regions or ()]
    return [Marked(region.coords, region.label, sizes[region.image]) for region in found]


def _sizes(checked: Checked) -> list[Size]:
    """The size of each image; unknown for a damaged one, which its own check reports."""
    found = list[Size]()
    for image in checked.member.images:
        try:
            header = read_header(image.data)
        except ImageFault:
            found.append(_SQUARE)
            continue
        found.append((header.width, header.height))
    return found
