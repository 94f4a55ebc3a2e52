import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import verydeep
from verydeep.data.boxes import iou
from verydeep.errors import LocalisationError
from verydeep.localisation.head import (
    NUMBERS,
    UNIT,
    box_losses,
    corners,
    numbers_of,
    outputs_of,
    overlaps,
    regression_of,
    start_head,
)

CLASSES = ("cat", "dog", "eel")
part = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
numbers = st.tuples(part, part, part, part).map(lambda n: torch.tensor([n]))


def localiser(regression):
    return verydeep.create_net("vgg-a", classes=outputs_of(CLASSES, regression), width=1 / 64, crop=32, hidden=8)


def test_a_localiser_is_known_by_its_outputs():
    assert len(localiser("scr").classes) == 4
    assert len(localiser("pcr").classes) == 12
    assert regression_of(localiser("scr")) == ("scr", ())
    assert regression_of(localiser("pcr")) == ("pcr", CLASSES)
    with pytest.raises(LocalisationError, match="gives class scores, not boxes"):
        regression_of(verydeep.create_net("vgg-a", classes=[*"abcd"], width=1 / 64, crop=32))


@pytest.mark.parametrize(("outputs", "millions"), [(4, 134_276_932), (4000, 150_648_544)])
def test_number_of_parameters_of_net_d_with_boxes(outputs, millions):
    with torch.device("meta"):
        net = verydeep.create_net("vgg-d", num_classes=outputs)
    assert sum(parameter.numel() for parameter in net.parameters()) == millions


def test_the_numbers_of_a_picture_are_those_of_its_class():
    outputs = torch.arange(24.0).reshape(2, 12) / UNIT
    assert numbers_of(outputs, torch.tensor([1, 2])).tolist() == [[4, 5, 6, 7], [20, 21, 22, 23]]
    assert numbers_of(outputs[:, :4], torch.tensor([1, 2])).tolist() == [[0, 1, 2, 3], [12, 13, 14, 15]]
    maps = outputs[:, :, None, None].expand(2, 12, 3, 5)
    assert numbers_of(maps, torch.tensor([1, 2]))[1, :, 2, 4].tolist() == [20, 21, 22, 23]


def test_only_the_numbers_of_the_true_class_get_a_gradient():
    outputs = torch.randn(2, 12, requires_grad=True)
    box_losses(numbers_of(outputs, torch.tensor([1, 2])), torch.zeros(2, 4)).sum().backward()
    assert (outputs.grad.unflatten(1, (3, 4)).abs().sum(2) > 0).tolist() == [[False, True, False], [False, False, True]]
    torch.testing.assert_close(outputs.grad[0, 4:8], outputs.detach()[0, 4:8])  # of half the square, the difference


@given(numbers, numbers)
def test_overlaps_are_those_of_boxes(a, b):
    ours = overlaps(a, b).item()
    assert ours == pytest.approx(iou(*(corners(each).numpy().astype(np.float64) for each in (a, b)))[0, 0], abs=1e-3)


def test_the_loss_by_overlap_is_what_iou_lacks_to_1_and_sees_how_far_apart_boxes_are():
    a = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.5, 0.2, 0.2], [0.2, 0.5, 0.2, 0.2]])
    b = torch.tensor([[0.5, 0.5, 0.4, 0.2], [0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]])
    first, near, far = box_losses(a, b, "iou").tolist()
    assert first == pytest.approx(0.5)
    assert 1 < near < far < 2
    assert near == pytest.approx(1 + (0.5 * 0.2 - 2 * 0.04) / (0.5 * 0.2))
    numbers = a.clone().requires_grad_()
    box_losses(numbers, b, "iou").sum().backward()
    assert (numbers.grad[1:, 0] < 0).all()  # to the right


def test_the_soft_error_is_a_half_at_the_edge_of_right_and_draws_boxes_nearer_that_share_nothing():
    truth = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    for height, wrong in ((0.2, 0.5), (0.4, 1 / (1 + np.exp(5))), (0.24, 1 / (1 + np.exp(1)))):  # IoU 0.5, 1, 0.6
        box = torch.tensor([[0.5, 0.5, 0.4, height]])
        rest = box_losses(box, truth, "iou").item() / 2
        assert box_losses(box, truth, "soft-error").item() == pytest.approx(wrong + rest, abs=1e-6)
    far = torch.tensor([[0.1, 0.5, 0.1, 0.1]], requires_grad=True)
    box_losses(far, truth, "soft-error").sum().backward()
    assert far.grad[0, 0] < 0  # to the right


def test_a_side_below_zero_is_none():
    assert corners(torch.tensor([[0.5, 0.5, -1.0, 0.2]])).tolist()[0] == pytest.approx([0.5, 0.4, 0.5, 0.6])


@pytest.mark.parametrize("regression", ["scr", "pcr"])
def test_a_localiser_begins_at_the_mean_box(regression):
    net, mean = localiser(regression), torch.tensor([0.5, 0.4, 0.6, 0.3])
    start_head(net, mean, torch.Generator().manual_seed(0))
    found = net(torch.zeros(1, 3, 32, 32)).unflatten(1, (-1, 4))
    torch.testing.assert_close(UNIT * found, mean.expand_as(found), atol=0.05, rtol=0)
    assert net.fc8.weight.std().item() == pytest.approx(0.01, rel=0.3)


def test_the_numbers_have_names():
    assert outputs_of(("cat",), "pcr") == tuple(f"cat {number}" for number in NUMBERS)
