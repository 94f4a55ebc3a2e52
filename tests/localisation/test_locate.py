from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import verydeep
from verydeep.data.annotations import Boxes
from verydeep.data.boxes import areas
from verydeep.data.dataset import PictureArray
from verydeep.errors import LocalisationError
from verydeep.localisation.head import UNIT, outputs_of
from verydeep.localisation.locate import Localiser, best_box, locate
from verydeep.localisation.measure import best_single_box, is_right, right_always, right_with_known_class
from verydeep.pictures.resize import rescale, rescaled_size

CLASSES = ("cat", "dog", "eel")
CROP = 32


def data_of(height, width, count=3):
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    return PictureArray(
        kind="array", root=Path("made"), split="val", classes=CLASSES, names={}, labels=np.arange(count) % 3,
        images=tuple(f"{i}" for i in range(count)), pixels=pixels,
    )  # fmt: skip


def net_of(classes, seed=0):
    net = verydeep.create_net("vgg-a", classes=classes, width=1 / 64, crop=CROP, hidden=8, start="he", seed=seed)
    with torch.no_grad():
        net.fc8.weight.mul_(0.1)
        net.fc8.bias.uniform_(0.3 / UNIT, 0.7 / UNIT, generator=torch.Generator().manual_seed(seed))
    return net.eval()


@torch.inference_mode()
def by_hand(net, picture, label, side, mirror):
    """The boxes of all windows of a picture, one at a time."""
    height, width, _ = picture.shape
    small = rescale(picture, side)
    rows, columns = rescaled_size(height, width, side)
    boxes = []
    for mirrored in (False, True) if mirror else (False,):
        shown = np.ascontiguousarray(small[:, ::-1]) if mirrored else small
        for top in range(0, rows - CROP + 1, 32):
            for left in range(0, columns - CROP + 1, 32):
                # The surroundings of a window count, so a cell of the map, not the window alone.
                maps = net.score_map(torch.from_numpy(shown).permute(2, 0, 1)[None])[0, :, top // 32, left // 32]
                x, y, w, h = (UNIT * maps).reshape(-1, 4)[label % (len(maps) // 4)].tolist()
                x0, x1 = (CROP * (x - w / 2) + left, CROP * (x + w / 2) + left)
                if mirrored:
                    x0, x1 = columns - x1, columns - x0
                y0, y1 = CROP * (y - h / 2) + top, CROP * (y + h / 2) + top
                boxes.append([x0 * width / columns, y0 * height / rows, x1 * width / columns, y1 * height / rows])
    boxes = np.clip(boxes, 0, [width, height, width, height])
    return boxes[areas(boxes) > 0]


@pytest.mark.parametrize("regression", ["scr", "pcr"])
@pytest.mark.parametrize("mirror", [False, True])
def test_every_cell_gives_a_box_in_the_picture(regression, mirror):
    data, net = data_of(50, 90), net_of(outputs_of(CLASSES, regression))
    protocol = f"dense@40,72{'' if mirror else '-mirror'}"
    found = locate([Localiser(net, protocol)], data, data.labels[:, None], CLASSES, threshold=10, device="cpu")
    for i in range(len(data)):
        boxes = np.concatenate([by_hand(net, data.pixels[i], int(data.labels[i]), side, mirror) for side in (40, 72)])
        np.testing.assert_allclose(found.boxes[i, 0], boxes.mean(0), atol=1e-2)  # all merged, each counts alike
        assert found.scores[i, 0] == len(boxes)


def test_the_centre_crop_gives_one_box():
    data, net = data_of(40, 70), net_of(outputs_of(CLASSES, "pcr"))
    found = locate([Localiser(net, "centre@36")], data, data.labels[:, None], CLASSES, device="cpu")
    assert (found.scores == 1).all()
    columns = rescaled_size(40, 70, 36)[1]
    top, left = (36 - CROP) // 2, (columns - CROP) // 2
    for i in range(3):
        crop = rescale(data.pixels[i], 36)[top : top + CROP, left : left + CROP]
        with torch.inference_mode():
            numbers = net(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None]).reshape(3, 4)[i]
        x, y, w, h = (CROP * UNIT * numbers).tolist()
        box = np.array([x - w / 2 + left, y - h / 2 + top, x + w / 2 + left, y + h / 2 + top])
        box = np.clip(box * [70 / columns, 40 / 36, 70 / columns, 40 / 36], 0, [70, 40, 70, 40])
        np.testing.assert_allclose(found.boxes[i, 0], box, atol=1e-3)


def test_boxes_of_several_localisers_are_put_together():
    data = data_of(50, 90)
    localisers = [Localiser(net_of(outputs_of(CLASSES, "pcr"), seed), "dense@40-mirror") for seed in (0, 1)]

    def located(*some):
        return locate(some, data, data.labels[:, None], CLASSES, threshold=10, device="cpu")

    alone, both = [located(one) for one in localisers], located(*localisers)
    np.testing.assert_allclose(both.boxes, (alone[0].boxes + alone[1].boxes) / 2, atol=1e-3)


def test_boxes_count_by_the_posterior_of_their_crop():
    data, net, scorer = data_of(50, 90), net_of(outputs_of(CLASSES, "scr")), net_of(CLASSES, 3)
    wanted = np.array([[0, 1, 2]] * 3)
    found = locate([Localiser(net, "dense@64-mirror")], data, wanted, CLASSES, scorer, threshold=10, device="cpu")
    for i in range(3):
        with torch.inference_mode():
            pixels = torch.from_numpy(rescale(data.pixels[i], 64)).permute(2, 0, 1)[None]
            posteriors = scorer.score_map(pixels).softmax(1)[0]
        np.testing.assert_allclose(found.scores[i], posteriors.sum((1, 2)), rtol=1e-4)


def test_the_weights_choose_the_box_and_no_box_is_the_whole_picture():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 70, 70], [51, 50, 70, 70]], np.float32)
    box, score = best_box(boxes, np.array([0.9, 0.3, 0.5], np.float32), 0.5, (80, 90))
    assert (box.tolist(), score) == ([0, 0, 10, 10], pytest.approx(0.9))
    box, score = best_box(boxes, np.array([0.7, 0.3, 0.5], np.float32), 0.5, (80, 90))
    assert (box.tolist(), score) == ([50.5, 50, 70, 70], pytest.approx(0.8))
    empty, score = best_box(boxes[:, [2, 1, 0, 3]], np.ones(3, np.float32), 0.5, (80, 90))
    assert (empty.tolist(), score) == ([0, 0, 90, 80], 0)


def test_nets_that_do_not_fit_are_refused_in_a_line():
    data, net = data_of(50, 90), net_of(outputs_of(CLASSES[:2], "pcr"))
    with pytest.raises(LocalisationError, match="has no box for class eel"):
        locate([Localiser(net, "centre@40")], data, data.labels[:, None], CLASSES, device="cpu")
    scorer = verydeep.create_net("vgg-a", classes=CLASSES, width=1 / 64, crop=64)
    good = Localiser(net_of(outputs_of(CLASSES, "scr")), "dense@72")
    with pytest.raises(LocalisationError, match="sees other crops"):
        locate([good], data, data.labels[:, None], CLASSES, scorer, device="cpu")
    with pytest.raises(LocalisationError, match="resizes parts"):
        locate([Localiser(good.net, "googlenet-144@40")], data, data.labels[:, None], CLASSES, device="cpu")


def saying(*numbers):
    """A localiser that says the same of every crop."""
    net = net_of(outputs_of(CLASSES, "scr"))
    with torch.no_grad():
        net.fc8.weight.zero_()
        net.fc8.bias.copy_(torch.tensor(numbers) / UNIT)
    return Localiser(net, "centre@32")


def test_known_class_errors_and_baselines():
    truth = Boxes(
        np.array([[0.0, 0, 40, 40], [0, 0, 20, 40], [0, 0, 10, 10], [20, 20, 40, 40]]), np.array([0, 1, 2, 4]),
        np.array([[40, 40]] * 3),
    )  # fmt: skip
    assert right_always(np.array([0.0, 0, 1, 1]), truth).tolist() == [True, True, False]
    corner = replace(truth, values=np.array([[0.0, 0, 40, 40], [0, 0, 20, 20], [0, 0, 19, 20], [9, 9, 12, 12]]))
    assert right_always(np.array([0.0, 0, 1, 1]), corner).sum() == 1
    assert right_always(best_single_box(corner), corner).sum() == 2
    data = data_of(40, 40)
    right = right_with_known_class([saying(0.5, 0.5, 1.0, 1.0)], data, truth, device="cpu")
    assert right.tolist() == [True, True, False]
    found = locate([saying(0.75, 0.75, 0.5, 0.5)], data, data.labels[:, None], CLASSES, device="cpu")
    assert is_right(found, truth)[:, 0].tolist() == [False, False, True]  # the second of its boxes
