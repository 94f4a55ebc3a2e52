import pytest

from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


def test_a_table_gives_each_split_its_rows(put, write):
    root = put("x/1.jpg", "x/2.jpg", "3.jpg", "4.jpg")
    table = write(
        "table.csv", "file,label,split\nx/2.jpg,dog,train\nx/1.jpg,cat,train\n3.jpg,dog,val\n./4.jpg , ,test\n"
    )
    train, val, test = (open_dataset(table, split) for split in ("train", "val", "test"))
    assert (train.kind, train.root, train.split) == ("table", root, "train")
    assert train.images == ("x/1.jpg", "x/2.jpg")
    assert (train.classes, train.labels.tolist()) == (("cat", "dog"), [0, 1])
    assert (val.classes, val.labels.tolist(), val.images) == (("dog",), [0], ("3.jpg",))
    assert (test.classes, test.labels.tolist(), test.images) == (("cat", "dog"), [-1], ("4.jpg",))
    assert train.picture(1).shape == (*train.size(1), 3)
    with pytest.raises(DatasetError, match=r"table\.csv: has no split 'extra'; it has test, train, val"):
        open_dataset(table, "extra")


def test_without_a_column_of_splits_every_row_comes(put, write):
    put("1.jpg", "2.jpg")
    table = write("t.csv", '\ufeffLabel,width,FILE\r\n"dog, small",32,2.jpg\r\n\r\ncat,32,1.jpg\r\n')
    dataset = open_dataset(table, "train")
    assert (dataset.split, dataset.images) == ("all", ("1.jpg", "2.jpg"))
    assert dataset.classes == ("cat", "dog, small")


def test_an_absolute_path_is_meant(put, write, tmp_path):
    put("deep/1.jpg")
    table = write("tables/t.csv", f"file,label\n{tmp_path}/deep/1.jpg,cat\n")
    dataset = open_dataset(table)
    assert dataset.path(0) == tmp_path / "deep" / "1.jpg"
    assert dataset.picture(0).shape == (24, 32, 3)


@pytest.mark.parametrize("file", ["../secret.jpg", "x/../../secret.jpg", "x/.."])
def test_a_path_that_climbs_is_refused(write, file):
    table = write("t.csv", f"file,label\n1.jpg,cat\n{file},dog\n")
    with pytest.raises(DatasetError, match=r"t\.csv: line 3: .* leaves the table's folder by '\.\.'"):
        open_dataset(table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column 'file'; its first line must be file,label"),
        ("1.jpg,cat\n", "has no column 'file'"),
        ("file,class\n1.jpg,cat\n", "has no column 'label'"),
        ("file,label\n", "names no pictures"),
        ("file,label\n1.jpg,cat,train\n", "line 2 has 3 columns, the first has 2"),
        ("file,label\n1.jpg\n", "line 2 has 1 columns, the first has 2"),
        ("file,label\n,cat\n", "line 2 names no file"),
        ("file,label\n1.jpg,cat\nx,y\n./1.jpg,dog\n", r"1\.jpg stands there twice"),
        (f"file,label\n{'x' * 200_000},cat\n", "line 2 is not CSV"),
        (b"file,label\n\xff\xfe.jpg,cat\n", "is not UTF-8"),
    ],
)
def test_a_bad_table_is_said_in_one_line(write, content, message):
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(write("t.csv", content))
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_another_file_is_no_data_set(write):
    with pytest.raises(DatasetError, match=r"photo\.jpg: is a file; a data set is a folder, or a \.csv"):
        open_dataset(write("photo.jpg"))
