"""Predictions against cases worked by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from verydeep.errors import RecipeError
from verydeep.training.scaling import Costs, all_reduce_seconds, part_of, part_seconds, predict

CPU = Costs(
    batch=64,
    micro_batch=32,
    parts={8: 1.0, 16: 1.6, 32: 3.0},
    update=0.25,
    feed=0.01,
    beside=False,
    gradients=1_000_000,
    byte=1e-6,
    message=0.005,
    fixed=100,
    per_picture=3,
)
GPU = replace(CPU, beside=True)


def test_one_process_takes_its_parts_its_feed_and_the_new_weights():
    alone = predict(CPU, 1)
    assert alone.step == pytest.approx(2 * 3.0 + 0.25 + 64 * 0.01)
    assert (alone.pictures, alone.speed_up, alone.efficiency, alone.all_reduce) == (64, 1, 1, 0)
    assert alone.images_per_second == pytest.approx(64 / 6.89)
    assert alone.memory == 100 + 32 * 3
    assert alone.bottleneck == "computing"


def test_four_processes_take_a_quarter_each_and_average_in_a_ring():
    four = predict(CPU, 4)
    assert four.pictures == 16
    assert four.computing == pytest.approx(1.6 + 0.25)
    assert four.feed == pytest.approx(0.16)
    assert four.all_reduce == pytest.approx(2 * 3 * (250_000 * 1e-6 + 0.005))  # six pieces of a quarter: 1.53 s
    assert four.step == pytest.approx(1.85 + 0.16 + 1.53)
    assert four.speed_up == pytest.approx(6.89 / 3.54)
    assert four.efficiency == pytest.approx(6.89 / 3.54 / 4)
    assert four.memory == 100 + 16 * 3


def test_beside_a_gpu_the_feed_goes_on_meanwhile_and_the_way_back_hides_transfers():
    four = predict(GPU, 4)
    assert four.all_reduce == pytest.approx(1.53 - 2 / 3 * 1.6)
    assert four.step == pytest.approx(1.85 + 1.53 - 2 / 3 * 1.6)
    quick = predict(replace(GPU, byte=0.0, message=0.0), 4)
    assert quick.step == pytest.approx(1.85)
    assert quick.speed_up == pytest.approx((6 + 0.25) / 1.85)


def test_what_takes_most_of_a_step_is_named():
    assert predict(replace(CPU, gradients=0, message=0.0), 64).bottleneck == "small shares"  # 1.25 s, not 6.25 / 64
    assert predict(CPU, 2).bottleneck == "computing"
    assert predict(CPU, 8).bottleneck == "all-reduce"
    assert predict(replace(CPU, feed=1.0), 2).bottleneck == "feed"
    assert predict(replace(GPU, feed=1.0), 2).bottleneck == "feed"
    assert predict(replace(GPU, feed=1.0), 2).step == pytest.approx(32)
    assert predict(replace(GPU, feed=0.03), 4).bottleneck == "computing"


def test_the_busiest_process_decides_where_shares_are_not_equal():
    assert part_of(64, 32, 3) == (22, 22)
    assert part_of(64, 20, 1) == (64, 16)  # four parts that are alike
    assert part_of(5, 2, 5) == (1, 1)
    assert predict(CPU, 64).pictures == 1
    assert predict(CPU, 63).step >= predict(CPU, 64).step - 0.02  # one of them has two pictures still


def test_a_part_between_two_measured_ones_takes_as_long_in_proportion():
    assert part_seconds(CPU.parts, 16) == 1.6
    assert part_seconds(CPU.parts, 24) == pytest.approx(1.6 * 1.5)
    assert part_seconds(CPU.parts, 64) == pytest.approx(6.0)
    assert part_seconds(CPU.parts, 2) == 1.0  # no faster than what was measured


def test_a_batch_of_fewer_pictures_than_processes_is_refused():
    with pytest.raises(RecipeError, match=r"optimizer\.batch is 64, for 65 processes"):
        predict(CPU, 65)


@given(processes=some.integers(1, 64))
def test_nothing_is_faster_than_a_share_of_it_unless_small_parts_are(processes):
    costs = replace(CPU, parts={1: 0.1}, micro_batch=64)  # where every picture takes as long
    assert predict(costs, processes).efficiency <= 1 + 1e-9
    free = replace(costs, gradients=0, message=0.0, update=0.0)
    assert predict(free, processes).speed_up == pytest.approx(64 / -(-64 // processes))


def test_a_long_ring_sends_every_byte_twice_however_long_it_is():
    quick = replace(CPU, message=0.0)
    assert all_reduce_seconds(quick, 2) == pytest.approx(1.0)
    assert all_reduce_seconds(quick, 1000) == pytest.approx(2.0, rel=2e-3)
