"""`make bench`: reading a gigabyte of questions in one JSON object, beside orjson. Memory must stay flat.

orjson holds all that it reads, ten bytes for each of the file, so it gets a smaller file, and its time is scaled.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.test_build import bench_folder

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
BYTES = 1 << 30


def write_questions(path: Path, size: int) -> int:
    """An object of about so many bytes, with the fields of GQA; how many questions it holds."""
    count = 0
    with path.open("w") as file:
        file.write("{")
        while file.tell() < size:
            file.write((", " if count else "") + f'"{count:08d}": ' + json.dumps(question(count)))
            count += 1
        file.write("}")
    return count


def question(number: int) -> dict[str, object]:
    thing, place = f"thing {number % 997}", f"place {number % 89}"
    steps = [("select", [], f"{thing} ({number})"), ("relate", [0], f"{place},in,s ({number})"), ("query", [1], "name")]
    return {
        "semantic": [{"operation": name, "dependencies": on, "argument": what} for name, on, what in steps],
        "entailed": [f"{number + n:08d}" for n in range(number % 4)],
        "equivalent": [f"{number:08d}"],
        "question": f"What is the {thing} in the {place}?",
        "imageId": str(2_300_000 + number // 10),
        "isBalanced": True,
        "groups": {"global": "thing", "local": f"14-{thing}"},
        "answer": f"a {thing}",
        "semanticStr": f"select: {thing} ({number}) [0]->relate: {place},in,s ({number}) [1]->query: name [2]",
        "annotations": {"answer": {"0": str(number)}, "question": {"4": str(number)}, "fullAnswer": {"1": str(number)}},
        "types": {"detailed": "relS", "semantic": "rel", "structural": "query"},
        "fullAnswer": f"The {place} has a {thing}.",
    }


def took(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.members", what, str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def test_a_gigabyte_of_questions_in_flat_memory(bench_folder: Path) -> None:
    pytest.importorskip("orjson")
    small, large = bench_folder / "questions-small.json", bench_folder / "questions-large.json"
    counts = {small: write_questions(small, BYTES // 16), large: write_questions(large, BYTES)}
    scale = large.stat().st_size / small.stat().st_size
    baseline = scale * took("whole", small)["seconds"]
    print(f"\norjson: {baseline:.1f} CPU-s for {counts[large]:,} questions, as it takes for {counts[small]:,}")
    for what in ("parts", "rows", "drafts"):
        little, much = took(what, small), took(what, large)
        ratio = much["seconds"] / baseline
        print(
            f"{what}: {much['seconds']:.1f} CPU-s, {ratio:.2f} x, {much['peak_mb']:.0f} MB ({little['peak_mb']:.0f} MB for 64 MB)"
        )
        assert what == "parts" or much["count"] == counts[large]
        assert much["peak_mb"] < little["peak_mb"] + 64  # 32 MB of hashes of keys, twice while they are sorted
