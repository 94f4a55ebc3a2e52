import sys

import pytest

from verydeep.training.run import train
from verydeep.training.tensorboard import tensorboard


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with tensorboard(tmp_path / "tensorboard", 0) as draw:
        draw({"kind": "step", "step": 1, "loss": 0.5})
    assert not list(tmp_path.iterdir())


def test_with_tensorboard_the_curves_are_those_of_the_metrics(small, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(small(), run=tmp_path / "run")
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    drawn = [(event.step, event.value) for event in events.Scalars("epoch/loss")]
    assert drawn == [(line["step"], pytest.approx(line["loss"])) for line in run.metrics if line["kind"] == "epoch"]
