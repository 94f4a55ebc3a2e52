import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.data.dataset import PictureArray
from verydeep.data.folders import open_folders
from verydeep.data.statistics import BLOCK, Statistics, gram, measure
from verydeep.errors import DatasetError, PictureError


def array(pixels):
    return PictureArray(
        kind="array",
        root=Path("array"),
        split="all",
        classes=("a",),
        names={"a": "a"},
        images=tuple(map(str, range(len(pixels)))),
        labels=np.zeros(len(pixels), np.int64),
        pixels=pixels,
    )


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.integers(0, 9))
@settings(max_examples=30)
def test_mean_and_covariance_are_numpys_on_all_pixels_at_once(count, height, width, brightest, seed):
    pixels = np.random.default_rng(seed).integers(0, brightest, (count, height, width, 3), np.uint8, endpoint=True)
    pixels[..., 1] //= 2  # so that colours differ
    found = measure(array(pixels), threads=2)
    flat = pixels.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), rtol=1e-13)
    # numpy subtracts a rounded mean: products of 255 with rounding of some 1e-14 each
    np.testing.assert_allclose(found.covariance, np.cov(flat.T, bias=True), rtol=1e-11, atol=1e-10)
    assert (found.images, found.pixels) == (count, len(flat))


def test_files_of_many_sizes_weigh_by_their_pixels(put):
    dataset = open_folders(put(*(f"a/{number}.jpg" for number in range(7))))
    pixels = np.concatenate([dataset.picture(index).reshape(-1, 3) for index in range(7)]).astype(np.float64)
    found = measure(dataset)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(pixels.T, bias=True), rtol=1e-11)


def test_threads_and_order_change_no_bit(noise):
    pixels = np.stack([noise(7, 5, seed) for seed in range(150)])
    one, many = measure(array(pixels), threads=1), measure(array(pixels[::-1].copy()), threads=4)
    assert one.to_dict() == many.to_dict()


def test_the_whitest_large_picture_is_summed_exactly():
    picture = np.full((3, BLOCK + 5, 3), 255, np.uint8)
    count = picture.size // 3
    assert gram(picture).tolist() == [[255 * 255 * count] * 3 + [255 * count]] * 3 + [[255 * count] * 3 + [count]]
    assert measure(array(picture[None])).covariance.tolist() == [[0] * 3] * 3


def test_a_sample_is_the_seeds_and_all_is_all(noise):
    dataset = array(np.stack([noise(2, 2, seed) for seed in range(50)]))
    sample = measure(dataset, images=10, seed=3)
    assert sample.images == 10
    assert sample.to_dict() == measure(dataset, images=10, seed=3, threads=1).to_dict()
    assert sample.to_dict() != measure(dataset, images=10, seed=4).to_dict()
    assert measure(dataset, images=51).to_dict() == measure(dataset).to_dict()


def test_statistics_go_through_json_unchanged(noise):
    found = measure(array(noise(9, 9)[None]))
    again = Statistics.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.mean.tolist() == found.mean.tolist()
    assert again.covariance.dtype == np.float64


def test_a_bad_picture_stops_or_is_skipped(put, write):
    dataset = open_folders(put("a/1.jpg", "a/2.jpg"))
    good = measure(dataset.subset([0]))
    write("a/2.jpg", "no picture")
    with pytest.raises(PictureError, match=r"a/2\.jpg"):
        measure(dataset)
    assert measure(dataset, bad_pictures="skip").to_dict() == good.to_dict()
    write("a/1.jpg", "")
    with pytest.raises(DatasetError, match="no picture that can be decoded"):
        measure(dataset, bad_pictures="skip")


def test_progress_ends_with_all(noise):
    calls = []
    measure(array(np.stack([noise(2, 2)] * 130)), progress=lambda *call: calls.append(call))
    assert calls == [(64, 130), (128, 130), (130, 130)]
