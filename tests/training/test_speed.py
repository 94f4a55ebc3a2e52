import time

import pytest
import torch

from verydeep.training.loop import Epoch, Step
from verydeep.training.speed import Speed


def step(number, waited=0.0):
    return Step(epoch=(number - 1) // 2, step=number, steps=2, learning_rate=0.1, loss=torch.zeros(()),
                wrong=torch.zeros(()), pictures=10, waited=waited, skipped=())  # fmt: skip


def test_speed_waiting_and_time_left_are_those_of_the_clock():
    speed = Speed(pictures=20, steps=2, epochs=3, every=1)
    for number in (1, 2):
        time.sleep(0.1)
        moment = speed.take(step(number, waited=0.05))
    assert moment.images_per_second == pytest.approx(100, rel=0.2)  # the clock of a busy machine
    assert moment.waiting == pytest.approx(0.5, rel=0.2)
    assert moment.seconds_left == pytest.approx(0.4, rel=0.2)  # forty pictures
    time.sleep(0.3)
    validation = {"top1_error": 0.5, "top5_error": 0.1}
    moment = speed.take(Epoch(0, 2, 0.1, 1.0, 0.5, validation, 0))
    assert moment.images_per_second == pytest.approx(100, rel=0.2)  # of training, not of validation
    assert moment.seconds_left == pytest.approx(0.4 + 2 * 0.3, rel=0.2)


def test_nothing_is_left_at_the_end():
    speed = Speed(pictures=20, steps=2, epochs=1, every=1)
    speed.take(step(1))
    speed.take(step(2))
    assert speed.take(Epoch(0, 2, 0.1, 1.0, 0.5, {}, 0)).seconds_left == 0
