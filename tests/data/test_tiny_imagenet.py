import pytest

from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError

WNIDS = ("n01443537", "n02124075", "n07749582")


@pytest.fixture
def tiny(put, write):
    root = put(
        *(f"train/{wnid}/images/{wnid}_{number}.JPEG" for wnid in WNIDS for number in (0, 1, 10)),
        *(f"val/images/val_{number}.JPEG" for number in range(11)),
        *(f"test/images/test_{number}.JPEG" for number in range(2)),
    )
    write("wnids.txt", "\n".join(reversed(WNIDS)))
    write("words.txt", "n01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat")
    write("val/val_annotations.txt", "".join(f"val_{n}.JPEG\t{WNIDS[n % 3]}\t0\t0\t63\t62\n" for n in range(11)))
    for wnid in WNIDS:
        write(f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t63\t62\n")
    return root


def test_labels_are_ranks_of_sorted_wnids_in_every_split(tiny):
    train, val, test = (open_dataset(tiny, split) for split in ("train", "val", "test"))
    assert train.kind == val.kind == test.kind == "tiny-imagenet"
    assert train.classes == val.classes == test.classes == WNIDS
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(train.images[:3]) == [f"train/n01443537/images/n01443537_{number}.JPEG" for number in (0, 1, 10)]
    assert test.labels.tolist() == [-1, -1]
    for image, label in zip(val.images, val.labels, strict=True):
        assert label == int(image.removeprefix("val/images/val_").removesuffix(".JPEG")) % 3
    assert val.names == {"n01443537": "goldfish, Carassius auratus", "n02124075": "Egyptian cat", "n07749582": WNIDS[2]}
    assert val.orientation == "ignore"
    assert val.picture(10).shape == (*val.size(10), 3)


def test_val_alone_takes_its_classes_from_its_annotations(put, write):
    root = put("val/images/val_0.JPEG", "val/images/val_1.JPEG")
    write("val/val_annotations.txt", "val_0.JPEG\tn02124075\t0\t0\t1\t1\nval_1.JPEG\tn01443537\t0\t0\t1\t1\n")
    val = open_dataset(root)
    assert (val.classes, val.labels.tolist()) == (WNIDS[:2], [1, 0])


def test_annotations_that_do_not_fit_are_named(tiny, write):
    annotations = tiny / "val" / "val_annotations.txt"
    whole = annotations.read_text()
    annotations.write_text(whole.replace("val_7.JPEG", "val_77.JPEG"))
    with pytest.raises(DatasetError, match=r"val_annotations.txt: has no line for val_7\.JPEG"):
        open_dataset(tiny)
    annotations.write_text(whole + "val_11.JPEG\tn01443537\t0\t0\t1\t1\n")
    with pytest.raises(DatasetError, match=r"val_annotations.txt: val_11\.JPEG is not in val/images"):
        open_dataset(tiny)
    annotations.write_text(whole.replace("n07749582", "n00000001"))
    with pytest.raises(DatasetError, match=r"val_2\.JPEG is of n00000001, which has no folder"):
        open_dataset(tiny)
    annotations.write_text("val_0.JPEG\n")
    with pytest.raises(DatasetError, match=r"val_annotations.txt: line 1 is not"):
        open_dataset(tiny)
    annotations.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"val_annotations.txt: is not UTF-8"):
        open_dataset(tiny)


def test_missing_parts_are_named(tiny):
    for path in (tiny / "train" / WNIDS[1] / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"n02124075/images/?: a class folder without pictures"):
        open_dataset(tiny, "train")
    with pytest.raises(DatasetError, match="no split 'valid'; it has train, val and test"):
        open_dataset(tiny, "valid")
    for path in (tiny / "test" / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="test: has no pictures"):
        open_dataset(tiny, "test")
