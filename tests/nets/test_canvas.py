import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from verydeep.nets.canvas import Canvas, filled, lay, roomy, run_on_canvas, sees_canvas
from verydeep.nets.local_response import LocalResponseNorm, NormaliseWithin
from verydeep.nets.pool import Pool
from verydeep.nets.pyramid import Pyramid
from verydeep.nets.stack import run


def alone(layers, canvas):
    """What layers make of each picture by itself."""
    return [
        run(layers, maps[None, :, :height, :width].clone())[0]
        for maps, (height, width) in zip(canvas.maps, canvas.sizes.tolist(), strict=True)
    ]


def check(layers, canvas, atol):
    due = alone(layers, canvas)
    found = run_on_canvas(layers, Canvas(canvas.maps.clone(), canvas.sizes))
    means = found.mean()
    for place, maps in enumerate(due):
        height, width = found.sizes[place].tolist()
        assert maps.shape[1:] == (height, width)
        torch.testing.assert_close(found.maps[place, :, :height, :width], maps, atol=atol, rtol=0)
        torch.testing.assert_close(means[place], maps.mean((1, 2)), atol=atol, rtol=0)


LAYERS = [
    st.builds(
        lambda kernel, stride, padding, dilation: nn.Conv2d(2, 2, kernel, stride, padding, dilation),
        st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2),
    ),
    st.builds(lambda kernel, stride: Pool(kernel, stride), st.integers(1, 3), st.integers(1, 3)),
    st.builds(lambda kernel, stride: nn.AvgPool2d(kernel, stride), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([nn.ReLU(), nn.GELU(), LocalResponseNorm(3)]),
]  # fmt: skip


@settings(deadline=None)
@given(layers=st.lists(st.one_of(LAYERS), min_size=1, max_size=5), data=st.data())
@torch.no_grad()
def test_on_a_canvas_each_picture_is_seen_as_if_it_were_alone(layers, data):
    sizes = np.array(data.draw(st.lists(st.tuples(st.integers(9, 20), st.integers(9, 20)), min_size=1, max_size=4)))
    canvas = Canvas(torch.randn(len(sizes), 2, *(sizes.max(axis=0) + 3).tolist()), sizes)
    try:
        alone(layers, canvas)
    except RuntimeError:
        return  # a map has become too small for a layer
    assert sees_canvas(layers)
    check(layers, canvas, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg-a-lrn", "vgg-b-5x5", "vgg-d-bn", "alexnet"])
@torch.no_grad()
def test_nets_see_a_canvas_of_photographs_and_mirror_images(name, narrow):
    net = narrow(name, crop=227 if name == "alexnet" else 64, width=1 / 8).eval()
    layers = [*net.children()][:-1]
    side = net.crop
    generator = np.random.default_rng(0)
    shapes = [(side, side + 3), (side, side + 31), (side, side + 17)]
    pictures = [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    shown = lay(pictures, step=32, mirror=True)
    assert shown.shape == (6, 3, side, side + 32)
    for place, picture in enumerate(pictures):
        for canvas, due in ((shown.maps[place], picture), (shown.maps[3 + place], picture[:, ::-1])):
            assert np.array_equal(canvas[:, : due.shape[0], : due.shape[1]].permute(1, 2, 0), due)
    if sees_canvas(layers):
        check(layers, Canvas(net.prepared(shown.maps), shown.sizes), atol=1e-4)
    else:
        assert name == "alexnet"


def test_layers_that_look_further_than_is_known_see_no_canvas():
    for layer in (Pyramid((2, 1), 4), NormaliseWithin(), Pool(3, 2, ceil_mode=True), Pool(2, 2, 1), nn.Identity()):
        assert not sees_canvas([nn.ReLU(), layer])
    assert not sees_canvas([nn.Conv2d(1, 1, 3, padding="same")])
    assert not sees_canvas([nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")])


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40))
def test_a_canvas_is_as_small_as_steps_allow(height, width, step):
    canvas = roomy(height, width, step)
    for side, room in zip((height, width), canvas, strict=True):
        assert side <= room < side + step
        assert (room - min(height, width)) % step == 0
    assert roomy(height, width, 1) == (height, width)


def test_a_part_of_a_full_canvas_keeps_its_sizes():
    canvas = filled(torch.arange(24.0).view(4, 1, 2, 3))
    assert canvas[1:3].sizes.tolist() == [[2, 3], [2, 3]]
    assert torch.equal(canvas.mean(), canvas.maps.mean((2, 3)))
