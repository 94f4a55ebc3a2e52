import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verydeep.evaluation.cost import cost_of_view, costs, describe, duration, forecast, macs, spread
from verydeep.evaluation.protocol import parse
from verydeep.nets.layers import count_macs
from verydeep.nets.registry import NETS, create_net

GMACS = {224: (15.47, 20.65), 256: (20.54, 27.50), 384: (49.55, 67.55), 512: (92.54, 125.03)}  # square and 4:3


@pytest.mark.parametrize("side", GMACS)
def test_multiply_adds_of_net_d_are_those_worked_out_for_squares_and_for_4_to_3(side):
    found = macs(NETS["vgg-d"].plan, side, side), macs(NETS["vgg-d"].plan, side, round(side * 4 / 3))
    assert [round(each / 1e9, 2) for each in found] == list(GMACS[side])


@given(name=st.sampled_from(sorted(NETS)), side=st.integers(224, 400))
def test_multiply_adds_of_squares_are_those_of_the_net_tables(name, side):
    assert macs(NETS[name].plan, side, side) == count_macs(NETS[name].plan, side)


def test_150_crops_cost_5_36_times_as_much_as_dense_at_three_scales_of_4_to_3(make_data):
    with torch.device("meta"):
        net = create_net("vgg-d")
    data = make_data([(480, 640)])
    dense, crops, both, centre, ten = (
        parse(text, 224)
        for text in (
            "dense@256,384,512",
            "multi-crop@256,384,512",
            "dense+multi-crop@256,384,512",
            "centre",
            "ten-crop",
        )
    )
    found = costs(net, data, [dense, crops, both, centre, ten])
    assert (found[centre], found[ten], found[crops]) == (1, 10, 150)
    assert found[crops] / found[dense] == pytest.approx(5.27, abs=0.01)
    assert found[both] == pytest.approx(found[dense] + found[crops])


def test_costs_are_the_mean_over_pictures_and_go_by_pixels_where_layers_are_not_known(make_net, make_data):
    net = make_net()  # has a crop of 32
    assert cost_of_view(net, 32, 64) == 2
    wide, square = make_data([(32, 64)]), make_data([(50, 50)])
    mixed = make_data([(32, 64), (50, 50)])
    (dense,) = protocols = [parse("dense@32", 32)]
    assert costs(net, wide, protocols)[dense] == 2 * 2
    assert costs(net, square, protocols)[dense] == 2 * 1
    assert costs(net, mixed, protocols)[dense] == 3
    assert costs(net, mixed, [parse("dense@32-mirror", 32)]) == {parse("dense@32-mirror", 32): 1.5}


@given(images=st.integers(1, 1000), count=st.integers(1, 100))
def test_a_few_pictures_are_spread_over_all(images, count):
    places = spread(images, count)
    assert len(places) == min(images, count)
    assert places[0] == 0
    assert count == 1 or places[-1] == images - 1
    steps = [after - before for before, after in pairwise(places)]
    assert not steps or max(steps) - min(steps) <= 1


def test_a_forecast_is_a_measurement_times_arithmetic(make_net, make_data):
    class SlowNet(make_net().__class__):
        def score_map(self, pixels):
            n, _, height, width = pixels.shape
            time.sleep(0.002 * n * height * width / 32**2)
            return super().score_map(pixels)

    net, data = SlowNet(), make_data([(40, 40)] * 100)
    centre, ten, dense, both = (parse(text, 32) for text in ("centre@40", "ten-crop@40", "dense@40", "centre+dense@40"))
    tests = {centre: [centre], ten: [ten], both: [centre, dense]}
    found = {each.protocol: each for each in forecast(net, data, tests, device="cpu", threads=1)}
    assert [found[protocol].cost for protocol in tests] == [1, 10, 1 + 2 * 40**2 / 32**2]
    assert 0.2 <= found[centre].seconds <= 0.6  # 100 pictures of 2 ms, and what they take to come
    assert 2.0 <= found[ten].seconds <= 3.5
    assert 0.8 <= found[both].seconds <= 2.0
    assert found[ten].added == found[ten].seconds
    assert found[both].added == pytest.approx(found[both].seconds - found[centre].seconds)
    lines = describe(list(found.values()), 100)
    assert lines[0].startswith("3 protocols on 100 pictures will take about ")
    assert "10.0 crops a picture, about" in lines[2]
    assert lines[3].endswith("of it not done by then")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59.0, "59 s"), (61.0, "1 min"), (3599.0, "1 h 00 min"), (7500.0, "2 h 05 min")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_what_lies_behind_the_last_pool_costs_as_often_as_it_has_offsets():
    plan = NETS["overfeat-accurate"].plan
    head = sum(layer.macs_per_cell for layer in plan if layer.kind == "fc")
    once = macs(plan, 245, 245)  # a map of 5 × 5 cells behind the last pool: one cell of scores for each offset
    assert macs(plan, 245, 245, "fine") == once + 8 * head
