"""Memory for annotations does not grow with the length of their texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import re, sys
from pathlib import Path
from rt2data.read.annotations.contents import read_notes
from rt2data.read.annotations.index import build_index
from rt2data.read.annotations.settings import ECoT, StepTable

def peak():  # of this program alone; ru_maxrss remembers the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

path = sys.argv[1]
joined = ECoT(path=path) if path.endswith(".json") else StepTable(path=path)
before = peak()
index = build_index(joined)
print(index.episodes, len(read_notes(joined, index.places(index.find_first("file-7"))).steps), peak() - before)
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"),
]
STEPS = 20


def write_ecot(path: Path, episodes: int, words: int) -> None:
    text = "x" * words
    with path.open("w") as file:
        file.write("{")
        for number in range(episodes):
            reasoning = {str(step): {"task": text, "plan": text} for step in range(STEPS)}
            file.write(f'{"," if number else ""}"file-{number}": ' + json.dumps({"0": {"reasoning": reasoning}}))
        file.write("}")


def write_steps(path: Path, episodes: int, words: int) -> None:
    with path.open("w") as file:
        for number in range(episodes):
            for step in range(STEPS):
                file.write(json.dumps({"episode": f"file-{number}", "step": step, "plan": "x" * 2 * words}) + "\n")


def measured(path: Path) -> tuple[int, int, int]:
    """Episodes, steps of one of them, and kilobytes that memory grew by."""
    found = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True).stdout
    episodes, steps, kilobytes = map(int, found.split())
    return episodes, steps, kilobytes


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_ten_times_the_text_takes_the_same_memory(tmp_path: Path, kind: str) -> None:
    write = write_ecot if kind == "json" else write_steps
    grown = []
    for name, words in (("small", 400), ("large", 4000)):
        write(tmp_path / f"{name}.{kind}", 2000, words)
        episodes, steps, kilobytes = measured(tmp_path / f"{name}.{kind}")
        assert (episodes, steps) == (2000, STEPS)
        grown.append(kilobytes)
    assert (tmp_path / f"large.{kind}").stat().st_size > 300_000_000
    assert grown[1] < 20_000 and grown[1] - grown[0] < 8_000
