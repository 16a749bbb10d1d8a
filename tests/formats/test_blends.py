"""Real rows, each written once and read by weight: the readers people use give the robot share that was asked for."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.formats.base import make_format
from rt2data.look.verify import verify
from rt2data.render.record import decode_record
from rt2data.seal.blend import how_to_read
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import examples
from tests.formats.test_mds import by_streaming
from tests.packages import need

ASKED, DRAWS = 0.9, 2000
ONCE = ("shards.materialize=once", "robot_frac=9/10", f"size.num_examples={DRAWS}")
SAMPLING = 5 * (ASKED * (1 - ASKED) / DRAWS) ** 0.5
"""Five standard deviations of a binomial of as many draws."""


@pytest.fixture(scope="module")
def out(mixture: Callable[..., Path]) -> Path:
    return mixture("webdataset", *ONCE)


def test_twenty_fold_robot_rows_take_no_more_room(mixture: Callable[..., Path], out: Path) -> None:
    """They are there once; with repeats they are there as often as they are drawn."""
    assert verify(out).faults == ()
    once, repeats = read_manifest(out), read_manifest(mixture("webdataset", *ONCE[1:]))
    robot = once.plan.sources[0]
    assert robot.epochs > 15
    assert once.examples == sum(source.rows for source in once.plan.sources) < 0.06 * DRAWS
    assert once.bytes < 0.1 * repeats.bytes
    assert once.robot_frac == repeats.robot_frac == ASKED


def test_random_mix_gives_the_share(out: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    random.seed(3)  # RandomMix draws by Python's own generator
    call = how_to_read(make_format("webdataset"), out, read_manifest(out)).call
    found = [decode_record(each["json"]) for each in eval(call, {"itertools": __import__("itertools"), "webdataset": webdataset})]
    assert len(found) == DRAWS
    assert abs(sum(record.kind == "robot" for record in found) / DRAWS - ASKED) < SAMPLING
    assert {record.key for record in found} == {record.key for _, record in examples(out)}


SCRIPT = """
import itertools, json, sys
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset
dataset = get_train_dataset(
    sys.argv[1], worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0), batch_size=1,
    shuffle_buffer_size=None, max_samples_per_sequence=None,
)
found = []
for batch in itertools.islice(get_savable_loader(dataset), int(sys.argv[2])):
    found.append([batch.__key__[0], batch.context[0], batch.answers[0], list(batch.image.shape)])
print(json.dumps(found))
"""


@pytest.mark.trainers
def test_energon_reads_the_metadataset(out: Path) -> None:
    need("megatron.energon")
    run = subprocess.run([sys.executable, "-c", SCRIPT, out / "metadataset.yaml", str(DRAWS)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    wanted = {record.key: record for _, record in examples(out)}
    seen = Counter(key.rpartition("/")[2] for key, *_ in found)
    assert len(found) == DRAWS and seen.keys() == wanted.keys()
    for key, context, answers, shape in found:
        record = wanted[key.rpartition("/")[2]]
        assert (context, answers, shape[1]) == (record.prompt, record.target, 3)
    robot = sum(count for key, count in seen.items() if wanted[key].kind == "robot")
    assert abs(robot / DRAWS - ASKED) < SAMPLING


STREAMS = """
import json
found = [str(example["source"]) for example in CALL]
print(json.dumps(found))
"""


def test_streaming_draws_the_very_share(mixture: Callable[..., Path]) -> None:
    """A stream for each source, proportions by weight: its draws are the plan's, to one."""
    out = mixture("mds", *ONCE)
    assert verify(out).faults == ()
    call = how_to_read(make_format("mds"), out, read_manifest(out)).call
    found = Counter(json.loads(by_streaming(STREAMS.replace("CALL", call)).splitlines()[-1]))
    assert sum(found.values()) == DRAWS
    assert abs(found["bridge"] - ASKED * DRAWS) <= 1
