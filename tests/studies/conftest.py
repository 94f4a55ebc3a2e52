import json

import pytest


@pytest.fixture
def run_folder(tmp_path):
    """A run of three epochs of four steps, as training writes it."""
    run = tmp_path / "run"
    run.mkdir()
    records = []
    for epoch in range(3):
        for step in range(4 * epoch + 1, 4 * epoch + 5):
            records.append({"kind": "step", "step": step, "epoch": epoch, "loss": 3 / step, "learning_rate": 0.1})
        error = 0.9 - 0.1 * epoch
        records.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": 4 * epoch + 4,
                "loss": 3 / step,
                "top1_error": error,
                "validation_top1_error": error - 0.05,
                "validation_top5_error": error / 2,
                "learning_rate": 0.1,
                "seconds": 1.0,
            }
        )
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run
