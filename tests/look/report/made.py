"""Statistics, images and reports as a page may be given them: made from a few numbers, any field to be replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.episode import Film
from rt2data.look.report.images import LostRow, album, shoot
from rt2data.look.report.page import Origin, Report
from rt2data.look.stats.model import (
    Actions,
    Camera,
    Dimension,
    Distribution,
    Dropped,
    EncodedDimension,
    Episodes,
    Gripper,
    Leak,
    MixtureStats,
    Motion,
    Share,
    SourceStats,
    Stats,
    Text,
    Tokens,
    Warn,
    Window,
)
from tests.contract.toy import jpeg

DIMS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
HOSTILE = (
    "<script>window.hurt = 1</script>",
    "</script><script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "<!-- <script>",
    "]]></svg><svg onload='window.hurt = 1'>",
    '" onmouseover="window.hurt = 1" x="',
    "' autofocus onfocus='window.hurt = 1",
    "javascript:window.hurt = 1",
    '=HYPERLINK("http://evil.example/","x")',
    "{{7*7}}{% raw %}${7*7}",
    "[/][red]bold[/red]",
    "\x1b[2J\x1b]0;title\x07\x00",
    "\u202eesrever\u2066\u200f\u2028line\u2029end",
    "&lt;b&gt;&#60;script&#62; </style><style>*{display:none}</style> " + "W" * 3000,
)
"""Words that would run, break out, rule a terminal, turn a line round or never end. After RELIABILITY's list."""


def spread(values: Sequence[float] = (1, 2, 3, 4)) -> Distribution:
    found = np.array(values, np.float64)
    p05, p50, p95, p99 = np.quantile(found, (0.05, 0.5, 0.95, 0.99)).tolist()
    return Distribution(
        count=len(found), total=float(found.sum()), mean=float(found.mean()), min=float(found.min()),
        p05=p05, p50=p50, p95=p95, p99=p99, max=float(found.max()),
    )  # fmt: skip


def numbers(name: str, values: np.ndarray, unit: str = "m") -> Dimension:
    q = np.quantile(values, (0.01, 0.05, 0.5, 0.95, 0.99)).tolist()
    return Dimension(
        name=name, unit=unit, count=len(values), not_finite=0, mean=float(values.mean()), std=float(values.std()),
        min=float(values.min()), max=float(values.max()), q01=q[0], q05=q[1], q50=q[2], q95=q[3], q99=q[4],
        zeros=float((values == 0).mean()), top=0.1, dead=bool(values.min() == values.max()), sparse=False,
    )  # fmt: skip


def coded(name: str, values: np.ndarray) -> EncodedDimension:
    bins = np.bincount(np.clip((values + 1) / 2 * 255, 0, 255).astype(int), minlength=256)
    share = bins[bins > 0] / bins.sum()
    return EncodedDimension(
        name=name, lo=-1.0, hi=1.0, bins=tuple(bins.tolist()), entropy=float(-(share * np.log2(share)).sum()),
        clipped_low=float((values < -1).mean()), clipped_high=float((values > 1).mean()),
        edge=float((bins[0] + bins[-1]) / bins.sum()),
        rmse=0.0023, worst=0.0078, zero_offset=-0.0039, drift=-0.0195, drift_unit="m/s",
    )  # fmt: skip


def actions(dims: Sequence[str] = DIMS, rows: int = 2000) -> Actions:
    rng = np.random.default_rng(5)
    values = {name: rng.normal(0, 0.4, rows) for name in dims}
    if dims:
        values[dims[-1]] = rng.integers(0, 2, rows).astype(float)
    found = np.corrcoef(list(values.values())) if len(dims) > 1 else np.ones((len(dims), len(dims)))
    return Actions(
        space="widowx_bridge", codec="rt2/1", dims=tuple(numbers(n, v) for n, v in values.items()),
        coded=tuple(coded(n, v) for n, v in values.items()), noop=0.031, absolute=False, terminate=24, repeated=0.004,
        gripper=Gripper(name=dims[-1], values={"1": 1200, "0": 800}, binary=0.99, transitions=spread((1, 2, 2, 4)), agrees=0.81,
                        measured="gripper_width") if dims else None,
        motion=(Motion(action="x", state="x", delta=0.93, absolute=0.2, lag=0, wraps=0),),
        correlation=tuple(map(tuple, found.tolist())), unpaired=tuple(dims[1:2]),
    )  # fmt: skip


def text(rows: int = 100, top: Sequence[tuple[str, int]] = (("put the pot on the stove", 60), ("close the drawer", 40))) -> Text:
    return Text(rows=rows, unique=len(top), blank=0, non_ascii=1, characters=spread((16, 24)), words=spread((3, 6)), top=tuple(top))


def tokens(limit: int | None = 128) -> Tokens:
    return Tokens(prompt=spread((60, 80)), target=spread((20, 30)), whole=spread((80, 110)), limit=limit, over=0,
                  target_lengths=((20, 4), (22, 9), (24, 3)), whole_lengths=((80, 3), (90, 12), (100, 5), (110, 1)))  # fmt: skip


def camera(name: str = "image_0", used: bool = True) -> Camera:
    sizes = ((640, 480, 90), (480, 640, 8), (64, 64, 2))
    return Camera(
        name=name,
        used=used,
        images=100,
        unique=97,
        commonest=2,
        kinds={"jpeg": 98, "png": 2},
        sizes=sizes,
        bytes=spread((3e4, 5e4)),
    )


def robot(**changes: Any) -> SourceStats:
    lengths = ((30, 2), (35, 9), (40, 11), (45, 2))
    found = SourceStats(
        name="bridge", kind="robot", source="rlds", split="train", rows=2000, groups=24, image_bytes=4_000_000, digest="c0ffee" * 5,
        camera="image_0", actions=actions(), state=(numbers("x", np.linspace(0, 1, 50)),),
        episodes=Episodes(count=24, steps=spread((30, 38, 45)), lengths=lengths, short=0, incomplete=1, fps=5.0, jitter=0.02,
                          backwards=0, gaps=3),
        text=text(), answers=None, answers_each=None, tokens=tokens(), cameras=(camera(), camera("image_3", used=False)),
        lost=(Dropped(reason="nan_action", count=4, fault=True, example="train.tfrecord, record 3"),
              Dropped(reason="first_step", count=24, fault=False)),
        conversions={},
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def web(**changes: Any) -> SourceStats:
    asked = (("What colour is the cup?", 12), ("How many dogs are there?", 3))
    found = SourceStats(
        name="coco", kind="web", source="vqav2", split="train", rows=900, groups=300, image_bytes=45_000_000, digest="beef" * 8,
        camera="", actions=None, state=(), episodes=None, text=text(900, asked), answers=text(900, (("red", 20), ("2", 10))),
        answers_each=spread((10, 10)), tokens=tokens(), cameras=(camera(""),), lost=(), conversions={"png_to_jpeg": 2},
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def share(name: str, kind: Any, asked: float, **changes: Any) -> Share:
    found = Share(source=name, kind=kind, asked=asked, examples=round(4000 * asked), tokens=round(400_000 * asked),
                  loss_tokens=100_000, image_bytes=9_000_000, epochs=1.5, unseen=0, unique=1800)  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def mixture(**changes: Any) -> MixtureStats:
    points = tuple((n, 0.5 + 3 / n * (-1) ** (n // 40)) for n in range(40, 4001, 40))
    found = MixtureStats(
        examples=4000, shards=4, bytes=60_000_000, asked_robot=0.5,
        shares=(share("bridge", "robot", 0.5), share("coco", "web", 0.5)),
        windows=tuple(Window(examples=n, worst=1 / n, mean=0.3 / n) for n in (64, 256, 1024)), shard_worst=0.0004, running=points,
        format="webdataset", template="rt2", codec="rt2", tokenizer="byte", seed=0, fingerprint="9f" * 16,
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def warn(**changes: Any) -> Warn:
    found = Warn(code="dead_dimension", level="warning", source="bridge", what="Dimension roll never moves.", do="See why.")
    return msgspec.structs.replace(found, **changes)


def stats(**changes: Any) -> Stats:
    found = Stats(
        version=1, tool_version="0.0", what="mixture", path="mixture", sources=(robot(), web()), mixture=mixture(),
        leaks=(Leak(what="image", here="coco/train", there="coco/val", count=3, example="000000000139.jpg"),),
        warnings=(warn(),),
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def tile(number: int = 0, **changes: str) -> Tile:
    words = {
        "source": "bridge",
        "kind": "robot",
        "prompt": "put the pot on the stove",
        "target": "1 127 140 119",
        "note": f"step {number}",
    }
    return Tile(jpeg(number), **(words | changes))  # type: ignore[arg-type]


def report(found: Stats | None = None, words: str = "put the pot on the stove", **changes: Any) -> Report:
    """A report with something in each of its parts; `words` stand wherever words of the data do."""
    shot = shoot(tile(prompt=words, target=words, note=words))
    tiles = [tile(n, prompt=words, target=words, note=words) for n in range(6)]
    film = Film("bridge", "train", words, words, words, 40, 38, (shot,) * 5, (tuple(np.sin(np.arange(40) / 6).tolist()),) * 7)
    parts: dict[str, Any] = {
        "albums": (album("bridge", "train", "robot", "image_0", True, tiles, 6), album("coco", "train", "web", "", True, tiles, 4)),
        "films": (film,),
        "lost": (LostRow("bridge", words, words, words, True, 1, shot), LostRow("coco", words, words, words, False, 1, None)),
        "origin": Origin((words,), ((words, words),), ((words, words),), words),
    }
    return Report(found or stats(), **(parts | changes))
