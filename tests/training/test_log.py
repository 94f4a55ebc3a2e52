import json

import pytest

from verydeep.errors import TrainingError
from verydeep.training.folder import Run
from verydeep.training.log import Log


def test_lines_are_added_and_what_came_after_a_length_is_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Log(path, 0) as log:
        log.add({"step": 1, "loss": 0.5})
        length = log.sync()
        log.add({"step": 2, "loss": 0.25})
    assert length == len(path.read_bytes().splitlines(keepends=True)[0])
    with Log(path, length) as log:
        log.add({"step": 3, "loss": 0.125})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_one_process_at_a_time_writes(tmp_path):
    with Log(tmp_path / "metrics.jsonl", 0) as log:
        log.add({"step": 1})
        with pytest.raises(TrainingError, match="another process trains here"):
            Log(tmp_path / "metrics.jsonl", 0)
    assert Run(tmp_path).metrics == [{"step": 1}]
    with Log(tmp_path / "metrics.jsonl", 0):
        pass


def test_a_line_that_was_cut_off_is_not_read(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert Run(tmp_path).metrics == [{"step": 1}]


def test_a_run_that_logged_nothing_has_no_metrics(tmp_path):
    assert Run(tmp_path).metrics == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
        Log(tmp_path / "metrics.jsonl", 0)
