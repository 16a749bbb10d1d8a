"""The deployed pipeline of statistics: the same graph with Beam's own options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rt2data.io.installation import pipelines
from tests.beam.test_pipeline import load_main
from tests.look.stats.test_run import some_store

MAIN = pipelines() / "mixture_stats.py"


def test_it_writes_what_the_command_prints(tmp_path: Path) -> None:
    store, out = some_store(tmp_path / "s"), tmp_path / "stats.json"
    options = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    load_main(MAIN).run(["--path", str(store), "--out", str(out), "--split", "val", *options])
    (source,) = json.loads(out.read_text())["sources"]
    assert (source["split"], source["rows"]) == ("val", 60)


def test_slips_do_not_pass_as_options_of_beam(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_main(MAIN).parse(["--splt=val"])
    assert "did you mean --split?" in capsys.readouterr().err


def test_a_failure_is_one_line_and_a_code(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, MAIN, "--path", "gone"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mixture_stats: nothing is there [gone]") and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
