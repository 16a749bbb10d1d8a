"""Names of sources. Statistics and manifests carry them as the recipe has them: for OpenVLA they are the `unnorm_key`.

Where they are part of something with rules of its own, a key or a TFDS dataset, they take a form that fits.
"""

from __future__ import annotations

import re
from functools import lru_cache

import xxhash

SOURCE = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
"""Open X's own have up to 52 letters: nyu_franka_play_dataset_converted_externally_to_rlds."""
_IN_KEYS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@lru_cache(maxsize=4096)
def key_name(source: str) -> str:
    """How a source's name begins the keys of its examples: 32 characters at most, none of them `-`, which ends it.

    So name, row, epoch and an ending fit the 100 bytes that tar has for a name. A name that is longer, or has a `-`, is cut and
    told apart by its hash.
    """
    if _IN_KEYS.fullmatch(source):
        return source
    return f"{source[:23].replace('-', '_')}_{xxhash.xxh3_64_hexdigest(source.encode())[:8]}"


def tfds_name(source: str) -> str:
    """The name as TFDS can have it: lower-case letters, digits and _."""
    return source.lower().replace("-", "_")
