"""What the terminate word of a target means, in words shown with targets."""

from __future__ import annotations

from rt2data.render.codecs.codec import Codec


def terminate_legend(codec: Codec) -> str:
    """`word 1: 1 = go on, 0 = end of the task`; nothing where the codec writes no terminate word."""
    found = codec.terminate
    if found is None:
        return ""
    return f"word {found['position'] + 1}: {found['continues']} = go on, {found['terminates']} = end of the task"
