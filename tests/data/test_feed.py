import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.data.dataset import PictureArray
from verydeep.data.feed import Feed
from verydeep.data.folders import open_folders
from verydeep.data.training_views import TrainingViews
from verydeep.errors import PictureError
from verydeep.pictures.colour import IMAGENET

VIEWS = TrainingViews(crop=16, smallest_side=(20, 28), rgb_shift=IMAGENET)


@pytest.fixture
def pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (53, 24, 30, 3), dtype=np.uint8)
    return PictureArray(
        kind="array", root=Path("made"), split="train", classes=("a", "b"), names={"a": "a", "b": "b"},
        images=[str(i) for i in range(53)], labels=np.arange(53) % 2, pixels=pixels,
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    """Two class folders, one file of which is no picture."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("RGB", (40, 30), (50 * number, 90, 10)).save(tmp_path / name / f"{number}.jpg")
    (tmp_path / "b" / "2.jpg").write_text("no picture")
    return open_folders(tmp_path)


def batches(feed, epoch, first=0):
    try:
        return list(feed.batches(epoch, first))
    finally:
        feed.close()


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("views", "shifts", "labels"))


@pytest.mark.parametrize("random_resized", [False, True])
def test_batches_are_the_same_for_one_thread_and_four(pictures, random_resized):
    views = TrainingViews(16, (20, 28), random_resized=random_resized, rgb_shift=IMAGENET)
    one, four = (batches(Feed(pictures, views, 20, seed=5, threads=threads), epoch=2) for threads in (1, 4))
    assert len(one) == len(four) == 3
    assert all(map(same, one, four))


def test_batches_from_the_middle_of_an_epoch_are_those_of_the_whole(pictures):
    whole = batches(Feed(pictures, VIEWS, 10, seed=5), epoch=1)
    rest = batches(Feed(pictures, VIEWS, 10, seed=5, threads=3), epoch=1, first=4)
    assert len(whole) == 6
    assert len(rest) == 2
    assert all(map(same, whole[4:], rest))


def test_each_picture_comes_once_an_epoch_in_batches_alike(pictures):
    feed = Feed(pictures, VIEWS, 10)
    first, second = feed.order(0), feed.order(1)
    feed.close()
    assert sorted(first) == sorted(second) == list(range(53))
    assert (first != second).any()
    assert sorted(len(batch) for batch in batches(Feed(pictures, VIEWS, 10), epoch=0)) == [8, 9, 9, 9, 9, 9]


def test_a_batch_larger_than_the_data_set_is_all_of_it(pictures):
    assert [len(batch) for batch in batches(Feed(pictures, VIEWS, 1000), epoch=0)] == [53]


def test_a_view_depends_on_its_picture_and_not_on_the_batch(pictures):
    shifts = []
    for batch in (53, 7):
        feed = Feed(pictures, VIEWS, batch, seed=2)
        shifts.append(torch.cat([each.shifts.flatten(1) for each in batches(feed, epoch=3)]))
    assert torch.equal(*shifts)


def test_epochs_and_seeds_give_a_picture_other_views(pictures):
    feeds = [(0, 0), (0, 1), (1, 0)]
    found = [batches(Feed(pictures, VIEWS, 53, seed=seed), epoch)[0] for seed, epoch in feeds]
    shifts = [{tuple(shift) for shift in batch.shifts.flatten(1).tolist()} for batch in found]
    assert all(len(each) == 53 for each in shifts)
    assert not shifts[0] & shifts[1]
    assert not shifts[0] & shifts[2]


def test_labels_stay_with_their_pictures():
    pixels = np.repeat(np.arange(40, dtype=np.uint8), 20 * 20 * 3).reshape(40, 20, 20, 3)  # each of its own grey
    data = PictureArray(kind="array", root=Path("made"), split="train", classes=tuple("abcd"), names={},
                        images=[str(i) for i in range(40)], labels=np.arange(40) % 4, pixels=pixels)  # fmt: skip
    for batch in batches(Feed(data, TrainingViews(16, (20, 20)), 7), epoch=0):
        assert (batch.views[:, 0, 0, 0] % 4 == batch.labels).all()


def test_the_shift_of_colours_is_added_to_every_pixel_and_not_clipped():
    white = np.full((8, 20, 20, 3), 255, np.uint8)
    data = PictureArray(kind="array", root=Path("made"), split="train", classes=("a",), names={},
                        images=[str(i) for i in range(8)], labels=np.zeros(8, np.int64), pixels=white)  # fmt: skip
    views = TrainingViews(16, (20, 20), rgb_shift=IMAGENET, sigma=1.0)
    (batch,) = batches(Feed(data, views, 8), epoch=0)
    ((pixels, _),) = batch.parts(8, torch.device("cpu"))
    assert torch.equal(pixels, (255 + batch.shifts).expand(8, 3, 16, 16))
    assert pixels.max() > 255


def test_parts_together_are_the_batch(pictures):
    (batch,) = batches(Feed(pictures, VIEWS, 53), epoch=0)
    parts = list(batch.parts(20, torch.device("cpu")))
    assert [len(labels) for _, labels in parts] == [20, 20, 13]
    assert torch.equal(torch.cat([pixels for pixels, _ in parts]), batch.views.float() + batch.shifts)
    assert torch.equal(torch.cat([labels for _, labels in parts]), batch.labels)


def test_half_of_the_views_are_mirrored_where_that_is_wanted():
    ramp = np.broadcast_to(np.arange(20, dtype=np.uint8)[None, :, None], (400, 20, 20, 3)).copy()
    data = PictureArray(kind="array", root=Path("made"), split="train", classes=("a",), names={},
                        images=[str(i) for i in range(400)], labels=np.zeros(400, np.int64), pixels=ramp)  # fmt: skip
    for mirror, least, most in ((True, 0.4, 0.6), (False, 0, 0)):
        (batch,) = batches(Feed(data, TrainingViews(16, (20, 20), mirror=mirror), 400), epoch=0)
        mirrored = (batch.views[:, 0, 0, 0] > batch.views[:, 0, 0, -1]).float().mean()
        assert least <= mirrored <= most  # 400 fair throws: 0.1 is four deviations


def test_a_bad_picture_stops_the_feed_and_is_named(photos):
    with pytest.raises(PictureError, match=r"b/2\.jpg"):
        batches(Feed(photos, VIEWS, 4), epoch=0)


def test_a_bad_picture_is_skipped_and_named_where_that_is_wanted(photos):
    found = batches(Feed(photos, VIEWS, 4, bad_pictures="skip"), epoch=0)
    assert [name for batch in found for name in batch.skipped] == ["b/2.jpg"]
    assert sum(len(batch) for batch in found) == 9
    for batch in found:
        assert len(batch.views) == len(batch.shifts) == len(batch.labels)


def test_a_picture_smaller_than_the_crop_is_enlarged(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("RGB", (5, 3), (200, 100, 0)).save(tmp_path / name / "0.png")
    (batch,) = batches(Feed(open_folders(tmp_path), TrainingViews(32, (36, 40)), 4), epoch=0)
    assert batch.views.shape == (2, 3, 32, 32)
    assert (batch.views[:, :, 0, 0] == torch.tensor([200, 100, 0])).all()


def test_a_feed_that_is_left_early_does_not_finish_what_it_began(pictures):
    made = []

    class Slow(TrainingViews):
        def make(self, dataset, index, generator, side=None):
            time.sleep(0.02)
            made.append(index)
            return super().make(dataset, index, generator)

    feed = Feed(pictures, Slow(16, (20, 28)), 4, threads=1)
    left = feed.batches(0)
    next(left)  # three more are begun
    left.close()
    next(feed.batches(1))
    feed.close()
    assert len(made) < 5 * 4  # the first, at most two that were under way, the one after, and the next's beginning


@pytest.mark.parametrize("random_resized", [False, True])
def test_decoding_no_further_down_than_the_view_changes_nothing_in_it(tmp_path, random_resized):
    (tmp_path / "a").mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(
            tmp_path / "a" / f"{number}.jpg", subsampling=0
        )  # whose colours are not stored coarser
    data = open_folders(tmp_path)
    found = []
    for coarse in (True, False):
        views = TrainingViews(32, (64, 90), random_resized=random_resized, area=(0.3, 0.9), coarse_decode=coarse)
        found.append(batches(Feed(data, views, 6, seed=1), epoch=0)[0])
    assert same(*found)


def test_the_streams_of_two_pictures_do_not_overlap():
    from verydeep.data.uses import generator

    draws = [generator(7, epoch, index).integers(2**63, size=64) for epoch in range(4) for index in range(8)]
    assert len(np.unique(np.concatenate(draws))) == 4 * 8 * 64


def test_two_sizes_are_shown_an_epoch_each_in_turn_and_show_the_same_windows(pictures):
    whole = TrainingViews(16, (20, 28), rgb_shift=IMAGENET)
    turns = TrainingViews(16, (20, 28), rgb_shift=IMAGENET, sides=(16, 12))
    for epoch, side in ((0, 16), (1, 12), (2, 16), (7, 12)):
        large, shown = (batches(Feed(pictures, views, 20, seed=5), epoch) for views in (whole, turns))
        assert {batch.views.shape[2:] for batch in shown} == {(side, side)}
        for one, other in zip(large, shown, strict=True):
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.shifts, other.shifts)
            # The mean of a window is the same at any size but for the filter's edges: it is resized, not cut smaller.
            means = (each.views.float().mean((2, 3)) for each in (one, other))
            torch.testing.assert_close(*means, atol=6, rtol=0)


def test_the_size_of_an_epoch_depends_on_seed_and_epoch_alone(pictures):
    views = TrainingViews(16, (20, 28), side_jitter=(12, 16))
    one, other = (Feed(pictures, views, 20, seed=seed, threads=1) for seed in (5, 6))
    drawn = [one.side(epoch) for epoch in range(40)]
    assert set(drawn) == {12, 13, 14, 15, 16}
    assert drawn != [other.side(epoch) for epoch in range(40)]
    other.close()
    assert [batch.views.shape[-1] for epoch in (3, 8) for batch in one.batches(epoch, first=1)] == 2 * [
        drawn[3]
    ] + 2 * [drawn[8]]
    one.close()


@pytest.mark.parametrize("random_resized", [False, True])
def test_views_of_another_size_are_their_windows_resized_in_one_step(pictures, random_resized):
    views = TrainingViews(16, (24, 24), random_resized=random_resized, area=(1.0, 1.0), mirror=False)
    large, small = (views.make(pictures, 0, np.random.default_rng(3), side)[0] for side in (16, 8))
    assert large.shape == (16, 16, 3)
    assert small.shape == (8, 8, 3)
    halved = torch.nn.functional.interpolate(
        torch.from_numpy(large.copy()).permute(2, 0, 1)[None].float(), (8, 8), mode="bilinear", antialias=True
    )
    by_hand = halved[0].permute(1, 2, 0).numpy()[1:-1, 1:-1]
    # Noise of deviation 74: a different window would differ by that much.
    assert np.abs(small[1:-1, 1:-1] - by_hand).mean() < 25
