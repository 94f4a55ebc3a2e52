import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as theirs

from verydeep.errors import PictureError
from verydeep.pictures import resize, views
from verydeep.pictures.crop import take
from verydeep.pictures.preset import OURS, PillowPreset

SIDES = st.integers(1, 200)


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@given(height=SIDES, width=SIDES, smallest_side=st.integers(8, 40), crop=st.integers(1, 40))
def test_a_preset_gives_torchvisions_pixels(interpolation, height, width, smallest_side, crop):
    preset = PillowPreset("torchvision", interpolation=interpolation)
    crop = min(crop, smallest_side)
    picture = noise(height, width)
    image = theirs.resize(Image.fromarray(picture), [smallest_side], InterpolationMode(interpolation))
    rescaled = preset.rescale(picture, smallest_side)
    assert rescaled.shape[:2] == preset.rescaled_size(height, width, smallest_side)
    view = preset.centre_crop(*rescaled.shape[:2], crop)
    np.testing.assert_array_equal(take(rescaled, view), np.asarray(theirs.center_crop(image, [crop])))


@given(height=SIDES, width=SIDES, side=st.integers(8, 40))
def test_a_squashed_picture_is_torchvisions(height, width, side):
    picture = noise(height, width)
    image = theirs.resize(Image.fromarray(picture), [side, side], InterpolationMode.BICUBIC)
    squashed = PillowPreset("timm", interpolation="bicubic", squash=True).rescale(picture, side)
    np.testing.assert_array_equal(squashed, np.asarray(image))


@given(height=SIDES, width=SIDES)
def test_our_own_preset_is_our_own_resize_and_crop(height, width):
    rescaled = OURS.rescale(noise(height, width), 32)
    np.testing.assert_array_equal(rescaled, resize.rescale(noise(height, width), 32))
    assert OURS.rescaled_size(height, width, 32) == rescaled.shape[:2]
    assert OURS.centre_crop(*rescaled.shape[:2], 17) == views.centre_crop(*rescaled.shape[:2], 17)
    assert OURS.smallest_side is None


@pytest.mark.parametrize("preset", [OURS, PillowPreset("torchvision")])
def test_a_picture_that_would_become_too_long_is_refused(preset):
    with pytest.raises(PictureError, match="100000x1 px would become"):
        preset.rescaled_size(1, 100_000, 256)


@pytest.mark.parametrize("preset", [OURS, PillowPreset("torchvision")])
def test_a_picture_too_small_for_the_crop_is_refused(preset):
    with pytest.raises(PictureError, match="holds no crop of 224 px"):
        preset.centre_crop(223, 300, 224)
