import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from verydeep.errors import DatasetError, PosteriorsError
from verydeep.evaluation import fuse as module
from verydeep.evaluation.error_table import top_k_error
from verydeep.evaluation.fuse import fit_weights, fuse, fusion
from verydeep.evaluation.posteriors import Posteriors


def made(n=20, k=4, seed=0, sharpness=1.0, **changes):
    """Posteriors of pictures of every class in turn, the sharper the better."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % k
    scores = generator.normal(size=(n, k)) + sharpness * np.eye(k)[labels]
    values = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    some = Posteriors(
        values=values.astype(np.float32),
        images=tuple(f"{i}.png" for i in range(n)),
        classes=tuple("abcdefghij"[:k]),
        labels=labels,
        net="vgg-a",
        weights=f"w{seed}",
        data="made",
        split="val",
        protocol="dense@256",
        seconds=2.0,
    )
    return replace(some, **changes)


def saved(folder, *posteriors):
    paths = [folder / f"{place}.safetensors" for place in range(len(posteriors))]
    for path, each in zip(paths, posteriors, strict=True):
        each.save(path)
    return paths


def test_of_files_and_of_values_the_mean_is_taken_by_weight(tmp_path):
    one, two, three = (made(seed=seed) for seed in range(3))
    path, _ = saved(tmp_path, one, two)
    by_hand = (1 * one.values + 2 * two.values + 5 * three.values) / 8
    np.testing.assert_allclose(fuse([path, two, three], [1, 2, 5]).values, by_hand, rtol=1e-6)
    np.testing.assert_allclose(fuse([str(path), two]).values, (one.values + two.values) / 2, rtol=1e-6)


@settings(deadline=None)
@given(data=st.data(), n=st.integers(1, 12), count=st.integers(1, 4))
def test_fusing_keeps_pictures_and_sums_and_does_not_mind_the_order(data, n, count):
    some = [made(n, seed=data.draw(st.integers(0, 9))) for _ in range(count)]
    weights = data.draw(st.lists(st.floats(0.1, 9), min_size=count, max_size=count))
    fused = fuse(some, weights)
    assert (fused.images, fused.classes) == (some[0].images, some[0].classes)
    assert (fused.labels == some[0].labels).all()
    np.testing.assert_allclose(fused.values.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(fused.values, fuse(some[::-1], weights[::-1]).values, atol=1e-6)
    np.testing.assert_allclose(fused.values, fuse(some, [7 * weight for weight in weights]).values, atol=1e-6)


def test_one_alone_and_one_with_all_the_weight_stay_as_they_are():
    one, two = made(seed=1), made(seed=2)
    assert fuse([one]).values.tobytes() == one.values.tobytes()
    assert fuse([one, two], [3, 0]).values.tobytes() == one.values.tobytes()


def test_rows_at_a_time_do_not_matter(tmp_path, monkeypatch):
    paths = saved(tmp_path, made(50, seed=1), made(50, seed=2))
    at_once, fitted = fuse(paths), fusion(paths, "fit")
    monkeypatch.setattr(module, "ROWS", 7)
    assert fuse(paths).values.tobytes() == at_once.values.tobytes()
    again = fusion(paths, "fit")
    assert again.weights == fitted.weights
    assert again.posteriors.values.tobytes() == fitted.posteriors.values.tobytes()


def test_a_fusion_says_what_it_was_made_of_and_can_be_kept(tmp_path):
    fused = fuse([made(), made(seed=1, net="vgg-b", protocol="multi-crop@256", weights="")], [1, 3])
    assert (fused.net, fused.data, fused.split) == ("vgg-a + vgg-b", "made", "val")
    assert fused.protocol == "dense@256 + multi-crop@256"
    assert fused.weights == "0.25 × w0 + 0.75 × vgg-b"
    assert fused.seconds == 4
    assert fuse([made(), made(seed=1), made()]).weights == "w0 + w1"
    without = fuse([made(), made(seed=1, protocol="centre@256"), made(seed=2)], [1, 0, 3])
    assert (without.protocol, without.weights) == ("dense@256", "0.25 × w0 + 0.75 × w2")
    fused.save(tmp_path / "fused.safetensors")
    assert Posteriors.load(tmp_path / "fused.safetensors").values.tobytes() == fused.values.tobytes()
    assert fuse([tmp_path / "fused.safetensors", made()]).values.shape == (20, 4)


@settings(deadline=None)
@given(m=st.integers(1, 4), n=st.integers(1, 40), seed=st.integers(0, 1000))
def test_fitted_weights_make_the_truth_as_likely_as_any_that_a_search_finds(m, n, seed):
    true = np.random.default_rng(seed).random((m, n)) ** 3
    weights = np.array(fit_weights(true))
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    sum_is_1 = {"type": "eq", "fun": lambda some: some.sum() - 1}
    unlikely = lambda some: -np.mean(np.log(np.maximum(some, 0) @ true + 1e-300))  # noqa: E731 - of use here only
    found = minimize(unlikely, np.full(m, 1 / m), bounds=[(0, 1)] * m, constraints=sum_is_1, method="SLSQP")
    assert unlikely(weights) <= found.fun + 1e-5


def test_pictures_that_no_source_knows_do_not_spoil_the_fit():
    assert fit_weights(np.zeros((2, 3))) == (0.5, 0.5)
    assert fit_weights(np.array([[0.9, 0.0], [0.1, 0.0]])) == pytest.approx((1, 0), abs=1e-3)


def test_fitted_weights_prefer_the_better_and_are_judged_on_pictures_that_did_not_choose_them():
    good, bad = made(500, seed=1, sharpness=3), made(500, seed=2, sharpness=0)
    found = fusion([bad, good], "fit", seed=4)
    assert found.weights[1] > 0.9
    assert found.fitted_on == 100
    rest = found.posteriors
    assert len(rest.images) == len(rest.labels) == len(rest.values) == 400
    assert all(np.bincount(rest.labels) == 100)  # of every class its share
    kept = [good.images.index(image) for image in rest.images]
    np.testing.assert_allclose(
        rest.values, found.weights[0] * bad.values[kept] + found.weights[1] * good.values[kept], atol=1e-6
    )
    # The weights are those of the fifth that is not in the result, and of nothing else.
    spoilt = bad.values.copy()
    spoilt[kept] = spoilt[kept][::-1]
    assert fusion([replace(bad, values=spoilt), good], "fit", seed=4).weights == found.weights
    assert fuse([bad, good], "fit", seed=5).images != rest.images


def test_outcomes_are_of_the_same_pictures_as_the_fusion():
    one, two = made(200, seed=1), made(200, seed=2)
    for weights in (None, "fit"):
        found = fusion([one, two], weights)
        kept = [one.images.index(image) for image in found.posteriors.images]
        for each, alone in zip(found.outcomes, (one, two), strict=True):
            assert each.error(1) == top_k_error(alone.values[kept], alone.labels[kept], 1)
            assert (each.confidence == alone.values[kept].max(axis=1)).all()
            assert each.weights == alone.weights


def test_the_table_has_each_and_the_fusion_against_the_best_of_them():
    bad, good = made(300, seed=1, sharpness=1), made(300, seed=2, sharpness=2, protocol="my own way", net="vgg-b")
    table = fusion([bad, good], [1, 3]).table()
    assert [row["top1_error"] for row in table.rows] == [
        top_k_error(each.values, each.labels, 1) for each in (bad, good, fuse([bad, good], [1, 3]))
    ]
    last = table.rows[-1]
    assert last["fused"] == [
        {"net": "vgg-a", "weights": "w1", "protocol": "dense@256", "fusion_weight": 0.25},
        {"net": "vgg-b", "weights": "w2", "protocol": "my own way", "fusion_weight": 0.75},
    ]
    assert [row.get("compared_with") for row in table.rows] == ["vgg-b w2 my own way", None, "vgg-b w2 my own way"]
    assert last["top1_difference"] == pytest.approx(last["top1_error"] - table.rows[1]["top1_error"])
    assert [row["scales"] for row in table.rows] == [[256], [], []]
    assert "weights_fitted_on_images" not in last
    fitted = fusion([bad, good], "fit").table().rows[-1]
    assert (fitted["weights_fitted_on_images"], fitted["images"]) == (60, 240)
    assert sum(each["fusion_weight"] for each in fitted["fused"]) == pytest.approx(1)
    both = fusion([bad, made(300, seed=3, protocol="multi-crop@256,288")]).table().rows[-1]
    assert both["scales"] == [256, 288]


def test_pictures_without_labels_are_fused_but_choose_no_weights():
    one, two = made(labels=None), made(seed=2, labels=None)
    found = fusion([one, two])
    assert found.posteriors.labels is None
    assert found.outcomes == ()
    with pytest.raises(DatasetError, match="have no label"):
        found.table()
    assert (fuse([one, made(seed=2)]).labels == made().labels).all()  # one of them knows
    with pytest.raises(PosteriorsError, match=r"posteriors 1 \(vgg-a, dense@256\): has pictures without a label; give"):
        fuse([one, two], "fit")
    with pytest.raises(PosteriorsError, match="too few pictures to fit weights"):
        fuse([made(2), made(2)], "fit")


other_labels = made().labels.copy()
other_labels[2] = 3
unlabelled = other_labels.copy()
unlabelled[2] = -1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"images": (*made().images[:4], "x.png", *made().images[5:])},
         "picture 5 is 4.png in the first and x.png in the second, of 20 and 20; fuse posteriors of one data set"),
        ({"classes": ("a", "b", "d", "c")},
         "class 3 is c in the first and d in the second, of 4 and 4; fuse posteriors of nets"),
        ({"labels": other_labels},
         "2.png is of class c in the first and d in the second; fuse posteriors of one data set"),
        ({"labels": unlabelled}, "2.png is of class c in the first and missing in the second"),
    ],
)  # fmt: skip
def test_posteriors_of_something_else_are_refused_with_both_files_and_the_first_difference(tmp_path, other, words):
    first, second = saved(tmp_path, made(), made(seed=1, **other))
    with pytest.raises(PosteriorsError) as refused:
        fuse([first, second])
    assert str(refused.value).startswith(f"{first} and {second}: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_fewer_pictures_are_a_difference_too(tmp_path):
    first, second = saved(tmp_path, made(20), made(19))
    with pytest.raises(
        PosteriorsError, match=r"picture 20 is 19.png in the first and missing in the second, of 20 and 19"
    ):
        fuse([first, second])
    with pytest.raises(PosteriorsError, match=r"class 4 is missing in the first and d in the second, of 3 and 4"):
        fuse([made(k=3), made(k=4)])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, 2, 3], "3 weights for 2 files of posteriors; give one for each"),
        ([1, -2], "-2 is not a weight; give a number from 0 upwards"),
        ([1, float("nan")], "nan is not a weight"),
        ([float("inf"), 1], "inf is not a weight"),
        ([0, 0], "all weights are 0; give one above"),
    ],
)
def test_impossible_weights_are_refused(weights, words):
    with pytest.raises(PosteriorsError, match=words):
        fuse([made(), made(seed=1)], weights)


def test_nothing_cannot_be_fused():
    with pytest.raises(PosteriorsError, match="nothing to fuse"):
        fuse([])


@pytest.mark.parametrize("harm", ["half", "byte", "label", "empty", "text", "missing"])
def test_a_damaged_file_is_refused_by_name_whatever_its_place(tmp_path, harm):
    good, bad = saved(tmp_path, made(seed=1), made(seed=2))
    content = bytearray(bad.read_bytes())
    length = int.from_bytes(content[:8], "little") + 8  # of the header; labels come first, then values
    match harm:
        case "half":
            bad.write_bytes(content[: len(content) // 2])
        case "byte":
            content[-2] ^= 1
            bad.write_bytes(content)
        case "label":
            content[length + 8] ^= 1
            bad.write_bytes(content)
        case "empty":
            bad.write_bytes(b"")
        case "text":
            bad.write_text("posteriors")
        case "missing":
            bad.unlink()
    for files in ([good, bad], [bad, good]):
        for weights in (None, "fit"):
            with pytest.raises(PosteriorsError, match=r"1\.safetensors") as refused:
                fuse(files, weights)
            assert "\n" not in str(refused.value)


WATCHED = """
import sys, time
from verydeep.evaluation.fuse import fuse
def peak():  # not ru_maxrss, in which the parent's memory counts too
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, start = peak(), time.process_time()
fuse(sys.argv[1:], "fit").save(sys.argv[1] + ".fused")
print(before, peak(), time.process_time() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say how much memory is taken")
def test_fifty_thousand_pictures_of_a_thousand_classes_take_seconds_and_less_than_a_gigabyte(tmp_path):
    n, k = 50_000, 1000
    values = np.random.default_rng(0).random((n, k), np.float32)
    images, classes = (tuple(f"ILSVRC2012_val_{i:08}.JPEG" for i in range(n)), tuple(f"n{i:08}" for i in range(k)))
    (path,) = saved(tmp_path, made(1, 1, values=values, images=images, classes=classes, labels=np.arange(n) % k))
    done = subprocess.run([sys.executable, "-c", WATCHED, *[path] * 3], capture_output=True, text=True, check=True)
    for file in tmp_path.iterdir():
        file.unlink()  # pytest would keep them for a while
    before, peak, seconds = map(float, done.stdout.split())
    assert 1024 * peak < 1e9
    assert 1024 * (peak - before) < 1.5 * values.nbytes  # the sum of all files, and some rows of one
    assert seconds < 30
