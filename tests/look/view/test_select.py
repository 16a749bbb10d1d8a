"""Which examples match a filter, and their images in a form to show."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np

from rt2data.look.inspect import recognize
from rt2data.look.view.select import EVERYTHING, Filter, encoded, images_of
from tests.contract.toy import jpeg


def test_images_keep_their_bytes() -> None:
    assert encoded(jpeg(1)) == ("jpg", jpeg(1))
    assert encoded(np.zeros((4, 6, 3), np.uint8))[0] == "jpg"


def test_filters_match_what_they_say(mixture: Path) -> None:
    examples = recognize(mixture).examples()
    all_seen = [examples.at(number) for number in range(96)]
    for only, wanted in {
        EVERYTHING: list(range(96)),
        Filter(source="arm"): [seen.number for seen in all_seen if seen.source == "arm"],
        Filter(kind="web"): [seen.number for seen in all_seen if seen.kind == "web"],
        Filter(text="HOW many? 3"): [seen.number for seen in all_seen if "How many? 3" in seen.prompt],
        Filter(text=all_seen[7].key): [seen.number for seen in all_seen if all_seen[7].key in seen.key],
        Filter(source="arm", kind="web"): [],
    }.items():
        assert [number for number, matches in only.scan(examples, count()) if matches] == wanted


def test_images_have_the_names_of_their_cameras(mixture: Path) -> None:
    examples = recognize(mixture).examples()
    names = {(seen.kind, name) for seen in map(examples.at, range(20)) for name, _ in images_of(seen)}
    assert names == {("robot", "front"), ("web", "image")}
