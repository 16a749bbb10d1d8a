"""`make bench`: shards whose images of 50 kB are in an object store, 30 ms to the first byte, scattered and compacted; each beside
a bare loop over obstore in the same run. Prints; asserts only exactness. The stand-in runs on the same cores: what it can serve is
what the bare loop gets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.generate import write_corpus
from tests.bench.test_build import ROUNDS, _keep, bench_folder
from tests.conftest import ROOT

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.stand_in import StandIn, stand_in

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
PICTURE, PICTURES = 50_000, 8_000
"""Each an object of its own, with two questions: 16,000 rows are about two windows."""
DELAY_MS = 30
EXAMPLES = 4_900
"""Of one shard of 256 MB."""


def recipe(folder: Path, how: str) -> str:
    path = folder / f"{how}.yaml"
    place = "gs://bucket/corpus"
    source = f"kind: vqav2, questions: {place}/questions.json, annotations: {place}/annotations.json, image_dirs: {place}/images"
    path.write_text(
        f"robot_frac: 0\nsize: {{epochs: 3}}\nstore: gs://bucket/store-{how}\ncompact: {how}\nweb: {{qa: {{{source}}}}}\n"
    )
    return str(path)


def child(store: StandIn, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.remote", *words]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | store.env("gs"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def store(bench_folder: Path) -> Iterator[StandIn]:
    place = bench_folder / "objects"
    if not (place / "bucket").exists():
        write_corpus(place / "bucket" / "corpus", PICTURES, PICTURE)
    with stand_in(place) as found:
        yield found


def test_shards_from_an_object_store(bench_folder: Path, store: StandIn, tmp_path: Path) -> None:
    figures, digests = {}, set()
    for how, way in (("never", "scattered"), ("spill", "together")):
        store.set(delay_ms=0)
        said = recipe(tmp_path, how)
        told("prepare, " + how, child(store, "prepare", said), store)
        store.set(delay_ms=DELAY_MS)
        for turn in range(ROUNDS):
            bare = told(f"{way}, bare loop", child(store, "bare", said, str(EXAMPLES), way), store)
            read = told(f"{way}, read in the order of the rows", child(store, "read", said, str(EXAMPLES)), store)
            ours = told(f"{way}, five shards", child(store, "shards", said, str(tmp_path / f"{how}-{turn}")), store)
            digests.add(tuple(ours["digests"]))
            rates = {"bare": rate(bare), "read": rate(read), "shard": rate(ours), "peak_mb": ours["peak"] / 1e6}
            figures |= {f"{way} {name}": value for name, value in rates.items()}
    assert len(digests) == 1
    _keep(bench_folder, "remote", figures)


def rate(found: dict[str, Any]) -> float:
    """MB/s of images."""
    return float(found["bytes"] / found["seconds"] / 1e6)


def told(what: str, found: dict[str, Any], store: StandIn) -> dict[str, Any]:
    """The same, printed with what the stand-in counted."""
    counted = store.counters()
    store.reset()
    print(
        f"\n  {what}: {rate(found):,.0f} MB/s of images in {found['seconds']:.2f} s, {found['cpu']:.1f} s of processor time, "
        f"peak {found['peak'] / 1e6:,.0f} MB; {counted.requests['get']:,} GETs of {counted.bytes_out / 1e6:,.0f} MB"
    )
    return found
