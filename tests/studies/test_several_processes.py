"""A study under torchrun: every training and every test shared, every file written once."""

import json
import os
import subprocess
import sys

import pytest

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "verydeep")


@pytest.mark.slow
def test_two_processes_do_a_study_as_one_does(done, small, digits, tmp_path):
    folder, table, _ = done
    command = [*TORCHRUN, "reproduce", small, "--data", digits, "--folder", tmp_path / "both", "--device", "cpu"]
    ended = subprocess.run([*map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                           text=True, timeout=280)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("a.0 is next") == 1
    rows = json.loads((tmp_path / "both" / "errors.json").read_text())
    assert [(row["run"], row["seed"], row["test"]) for row in rows] == [
        (row["run"], row["seed"], row["test"]) for row in table.rows
    ]
    for ours, theirs in zip(rows, table.rows, strict=True):
        assert ours["top1_error"] == pytest.approx(theirs["top1_error"], abs=2 / 40)  # rounding, of forty pictures
    files, others = (
        sorted(str(path.relative_to(root)) for path in root.rglob("*") if "work" not in path.parts)
        for root in (folder, tmp_path / "both")
    )
    assert [file for file in files if not file.endswith(".toml")] == others
