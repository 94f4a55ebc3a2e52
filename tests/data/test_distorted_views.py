import numpy as np
import pytest
from PIL import Image

from verydeep.data.distorted_views import DistortedViews
from verydeep.data.uses import generator

SIDE = 12
STILL = {"stretch": 0.0, "slant": 0.0, "shift": 0.0, "colour": (0.0, 0.0, 0.0), "mirror": False}


def test_nothing_done_leaves_the_picture(small_pictures, made):
    data = small_pictures()
    assert np.array_equal(made(DistortedViews(SIDE, **STILL), data, range(40)).views, data.pixels)


def test_mirroring_alone_gives_the_picture_or_its_mirror_image(small_pictures, made):
    data = small_pictures()
    found = made(DistortedViews(SIDE, **STILL | {"mirror": True}), data, range(40)).views
    mirrored = [np.array_equal(found[index], data.pixels[index][:, ::-1]) for index in range(40)]
    assert all(mirrored[index] or np.array_equal(found[index], data.pixels[index]) for index in range(40))
    assert 8 < sum(mirrored) < 32


def test_maps_are_those_of_another_library(small_pictures, made):
    data, views = small_pictures(), DistortedViews(SIDE, colour=(0.0, 0.0, 0.0), shift=2.0)
    found = made(views, data, range(40)).views.astype(float)
    scale = np.array([[SIDE / 2, 0, SIDE / 2], [0, SIDE / 2, SIDE / 2], [0, 0, 1]])  # from -1 to 1 → pixels
    for index in range(40):
        map = np.vstack([views.affine(generator(3, 0, index)), [0, 0, 1]])
        coefficients = (scale @ map @ np.linalg.inv(scale))[:2].flatten()
        size = (SIDE, SIDE)
        options = {"resample": Image.Resampling.BILINEAR, "fillcolor": (128, 128, 128)}
        theirs = np.array(
            Image.fromarray(data.pixels[index]).transform(size, Image.Transform.AFFINE, coefficients, **options)
        )
        inner = np.abs(found[index] - theirs)[theirs != 128]  # at the ground Pillow does not interpolate
        assert np.median(inner) <= 1


def test_what_moves_in_is_grey_ground(small_pictures, made):
    data = small_pictures()
    data.pixels[:] = 255
    found = made(DistortedViews(SIDE, **STILL | {"shift": 6.0}), data, range(40)).views
    assert (found.min(axis=(1, 2, 3)) >= 128).all()
    assert (found == 128).any(axis=(1, 2, 3)).mean() > 0.9


def test_colours_change_by_the_amounts_that_are_asked_for(small_pictures, made):
    data = small_pictures(3000)
    data.pixels[:] = 118
    found = made(DistortedViews(SIDE, **STILL | {"colour": (5.0, 0.0, 0.0)}), data, range(3000)).views.astype(float)
    assert found[:, 0, 0].std() == pytest.approx(5, rel=0.05)
    assert (found == found[:, :1, :1]).all()  # the whole channel alike
    found = made(DistortedViews(SIDE, **STILL | {"colour": (0.0, 0.2, 0.0)}), data, range(3000)).views.astype(float)
    assert (found[:, 0, 0] - 128).std() == pytest.approx(2, rel=0.1)
    found = made(DistortedViews(SIDE, **STILL | {"colour": (0.0, 0.0, 1.0)}), data, range(3000)).views.astype(float)
    assert (found[:, :, -1] - found[:, :, 0]).mean(axis=1).std() == pytest.approx(SIDE - 1, rel=0.1)
    assert (found[:, -1] - found[:, 0]).mean(axis=1).std() == pytest.approx(SIDE - 1, rel=0.1)


def test_pictures_do_not_depend_on_those_beside_them_and_the_last_epochs_are_plain(small_pictures, made):
    data, views = small_pictures(), DistortedViews(SIDE, until=5)
    together = made(views, data, range(40), 1, 4).views
    assert not np.array_equal(together, data.pixels)
    for index in (0, 7, 39):
        assert np.array_equal(made(views, data, [index], 1, 4).views[0], together[index])
    assert np.array_equal(made(views, data, range(40), 1, 5).views, data.pixels)
