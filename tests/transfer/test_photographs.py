import shutil

import numpy as np
import pytest

from verydeep.errors import DatasetError, TransferError
from verydeep.evaluation.compare import paired_difference
from verydeep.nets.registry import save_net
from verydeep.transfer.photographs import Learned, transfer_photographs, would_more_help
from verydeep.transfer.tune import tune_photographs


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_net(path, net, {"data": "noise"})
    return str(path)


def learn(folder, file, **options):
    return transfer_photographs(folder, file, **{"layer": "pool1", "scales": [32], "device": "cpu", **options})


def table(path, root, lines, columns="file,label,group"):
    path.write_text("\n".join([columns, *(f"{root}/{line}" for line in lines)]) + "\n")
    return path


def test_every_picture_is_tested_by_a_classifier_that_has_not_seen_it(photos, file, pictures):
    said = []
    found = learn(photos, file, say=said.append)
    assert said[0].startswith(f"uses {file}: vgg-a-bn, 5 classes, trained on noise; nothing is downloaded; pool1 at Q")
    assert (found.row["images"], found.row["folds"], found.row["split"]) == (36, 5, "cross-validated")
    np.testing.assert_allclose(found.posteriors.sum(axis=1), 1, rtol=1e-5)
    wrong = found.posteriors.argmax(axis=1) != pictures.labels
    assert found.row["top1_error"] == wrong.mean() < 0.3
    assert found.row["top1_interval"][0] <= wrong.mean() <= found.row["top1_interval"][1]
    assert found.row["most_frequent_class_error"] == pytest.approx(2 / 3)
    assert [round(point.images, 1) for point in found.curve] == sorted({round(p.images, 1) for p in found.curve})
    assert found.curve[-1].images == pytest.approx(9.6)
    assert found.verdict


def test_labels_that_mean_nothing_are_found_to_mean_nothing(photos, file, tmp_path):
    generator = np.random.default_rng(0)
    names = [f"{name}/{number:02}.png" for name in ("ant", "bee", "cat") for number in range(12)]
    labels = generator.permutation(np.arange(36) % 2)
    lines = [f"{name},{'ab'[label]}" for name, label in zip(names, labels, strict=True)]
    found = learn(table(tmp_path / "t.csv", photos, lines, "file,label"), file)
    assert found.row["top1_interval"][0] <= 0.5 <= found.row["top1_interval"][1] + 0.1


def test_pictures_of_a_group_are_not_tested_by_each_other(photos, file, tmp_path):
    # Labels of groups alone: whoever sees one picture of a group knows the others, whoever does not can only guess.
    names = {"ant": 0, "bee": 1, "cat": 2}
    lines = [f"{name}/{n:02}.png,{'xy'[(place + n % 2) % 2]},{name}{n % 2}" for name, place in names.items()
             for n in range(12)]  # fmt: skip
    grouped = learn(table(tmp_path / "t.csv", photos, lines), file)
    assert grouped.row["top1_interval"][1] - grouped.row["top1_interval"][0] > 0.35  # as of six, not of 36


def test_copies_stay_together_and_are_said(photos, file, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    shutil.copy(root / "ant" / "00.png", root / "ant" / "copy.png")
    assert "1 pictures are there twice" in learn(root, file).remarks[0]
    shutil.copy(root / "ant" / "00.png", root / "bee" / "copy.png")
    with pytest.raises(TransferError, match=r"ant/00\.png and bee/copy\.png are the same picture in two classes"):
        learn(root, file)


def divided(photos, root, test=("test",)):
    for name in ("ant", "bee", "cat"):
        for number in range(12):
            part = test[0] if number >= 8 else "train"
            (root / part / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / name / f"{number:02}.png", root / part / name)
    return root


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_divided_folder_is_tested_on_its_own_test_pictures(photos, file, tmp_path, name):
    found = learn(divided(photos, tmp_path / "d", (name,)), file)
    assert (found.row["split"], found.row["images"], found.row["trained_on"], found.row["folds"]) == (name, 12, 24, 1)


def test_a_leak_is_named_and_can_be_gone_on_with(photos, file, tmp_path):
    root = divided(photos, tmp_path / "d")
    shutil.copy(root / "train" / "ant" / "00.png", root / "test" / "ant" / "again.png")
    with pytest.raises(
        DatasetError, match=r"a leak: test/ant/again\.png, to be tested, is the same picture as train/ant/"
    ):
        learn(root, file)
    assert "a leak that was allowed: 1 of 13" in learn(root, file, allow_leaks=True).remarks[-1]
    with pytest.raises(DatasetError, match="a leak: "):
        tune_photographs(root, file, run=tmp_path / "run")


def test_a_damaged_test_folder_is_not_passed_over(photos, file, tmp_path):
    root = divided(photos, tmp_path / "d")
    (root / "test" / "bee" / "empty").mkdir()
    for path in (root / "test" / "bee").glob("*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match="bee"):
        learn(root, file)


def test_pictures_of_any_number_of_classes_are_refused(file, tmp_path):
    main = tmp_path / "VOC2007" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name, text in {"train": "a\nb\n", "cat_train": "a 1\nb -1\n", "dog_train": "a 1\nb 1\n"}.items():
        (main / f"{name}.txt").write_text(text)
    for look in (lambda: learn(tmp_path, file), lambda: tune_photographs(tmp_path, file, run=tmp_path / "run")):
        with pytest.raises(TransferError, match=r"its pictures show any number of classes; use verydeep\.fit_transfer"):
            look()


@pytest.mark.parametrize(
    ("lines", "columns", "words"),
    [
        (["ant/00.png,a", "bee/00.png,b", "bee/01.png,b"], "file,label", "class a has one picture; add more"),
        (["ant/00.png,a", "ant/01.png,a"], "file,label", "has fewer than two classes"),
        (["ant/00.png,a,x", "ant/01.png,a,x", "bee/00.png,b,", "bee/01.png,b,"], "file,label,group",
         "the 2 pictures of class a are one group"),
        (["ant/00.png,a,train", "ant/01.png,a,train", "bee/00.png,b,train", "bee/01.png,b,train", "cat/00.png,c,test"],
         "file,label,split", "class c is tested and was never trained"),
        (["ant/00.png,a,train,x", "ant/01.png,a,train,", "bee/00.png,b,train,", "bee/01.png,b,train,",
          "ant/02.png,a,test,x"], "file,label,split,group", "group x is in train and in test; put it in one"),
        (["ant/00.png,a", "ant/01.png,a", "bee/00.png,b", "bee/01.png,"], "file,label",
         r"1 training pictures without a label, the first .*bee/01.png; label them"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_said_in_one_line(photos, file, tmp_path, lines, columns, words):
    with pytest.raises(TransferError, match=words) as caught:
        learn(table(tmp_path / "t.csv", photos, lines, columns), file)
    assert "\n" not in str(caught.value)


def test_what_is_no_classifier_is_said_before_a_picture_is_looked_at(file, tmp_path):
    with pytest.raises(TransferError, match=r"kind 'tree': is no linear classifier; use 'svm' or 'logistic'"):
        learn(tmp_path / "nowhere", file, kind="tree")


def point(images, wrong):
    return Learned(float(images), float(wrong.mean()), (0.0, 1.0), wrong)


def test_whether_more_pictures_would_help_is_said_by_what_half_of_them_do():
    wrong = np.arange(1000) < 200
    worse = np.arange(1000) < 300
    verdict = would_more_help([point(5, worse), point(10, wrong)])
    _, low, high = paired_difference(worse, wrong)
    assert verdict.startswith(
        "More pictures would help: with 5 pictures a class in place of 10 the error is +10.0 points"
    )
    assert f"({100 * low:+.1f} to {100 * high:+.1f})" in verdict
    assert "hardly help" in would_more_help([point(5, wrong), point(10, wrong)])
    few = np.arange(10) < 3
    assert "cannot be told from so few" in would_more_help([point(5, np.roll(few, 2)), point(10, few)])
    assert "too few pictures" in would_more_help([point(1, few)])
