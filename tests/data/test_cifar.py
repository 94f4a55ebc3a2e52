import pickle
import shutil

import numpy as np
import pytest

from verydeep.data.cifar import BATCHES, CIFAR_10
from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


def batch(count, classes, seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, count), generator.integers(0, 256, (count, 3072), np.uint8)


@pytest.fixture
def ten(write):
    """CIFAR-10 of 3 and 2 pictures a file, as binary and python version."""
    for seed, name in enumerate((*BATCHES, "test_batch")):
        labels, rows = batch(3 if name in BATCHES else 2, 10, seed)
        records = np.concatenate([labels[:, None].astype(np.uint8), rows], axis=1)
        write(f"bin/{name}.bin", records.tobytes())
        root = write(f"py/{name}", pickle.dumps({b"data": rows, b"labels": labels.tolist()}, 2)).parent.parent
    write("bin/batches.meta.txt", "\n".join(CIFAR_10) + "\n\n")
    write("py/batches.meta", pickle.dumps({"label_names": list(CIFAR_10)}))
    return root


@pytest.fixture
def hundred(write):
    names = [f"class {number}" for number in range(100)]
    for seed, name in enumerate(("train", "test")):
        fine, rows = batch(4, 100, seed)
        records = np.concatenate([(fine[:, None] // 5), fine[:, None], rows], axis=1).astype(np.uint8)
        write(f"bin/{name}.bin", records.tobytes())
        batch_of_all = {b"data": rows, b"fine_labels": fine.tolist(), b"coarse_labels": (fine // 5).tolist()}
        root = write(f"py/{name}", pickle.dumps(batch_of_all)).parent.parent
    write("bin/fine_label_names.txt", "\n".join(names))
    write("py/meta", pickle.dumps({b"fine_label_names": names, b"coarse_label_names": names[:20]}))
    return root


@pytest.mark.parametrize(("split", "seeds", "each"), [("train", range(5), 3), ("test", [5], 2)])
def test_cifar_10_is_its_records_in_the_order_of_the_files(ten, split, seeds, each):
    binary, python = open_dataset(ten / "bin", split), open_dataset(ten / "py", split)
    labels, rows = (np.concatenate(parts) for parts in zip(*(batch(each, 10, seed) for seed in seeds), strict=True))
    for dataset in (binary, python):
        assert (dataset.kind, dataset.split, dataset.classes) == ("cifar-10", split, CIFAR_10)
        assert dataset.labels.tolist() == labels.tolist()
        assert dataset.pixels.shape == (len(labels), 32, 32, 3)
        for index in range(len(dataset)):
            for y, x, colour in ((0, 0, 0), (3, 17, 1), (31, 31, 2)):
                assert dataset.picture(index)[y, x, colour] == rows[index, 1024 * colour + 32 * y + x]
    assert binary.images[1] == ("data_batch_1.bin[1]" if split == "train" else "test_batch.bin[1]")
    assert python.images[1] == ("data_batch_1[1]" if split == "train" else "test_batch[1]")
    assert len(set(binary.images)) == len(labels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar_100_has_the_fine_classes(hundred, split):
    fine, rows = batch(4, 100, split == "test")
    for version in ("bin", "py"):
        dataset = open_dataset(hundred / version, split)
        assert (dataset.kind, len(dataset.classes), dataset.classes[7]) == ("cifar-100", 100, "class 7")
        assert dataset.labels.tolist() == fine.tolist()
        np.testing.assert_array_equal(dataset.pixels.transpose(0, 3, 1, 2).reshape(4, -1), rows)


def test_validation_is_the_test_split_and_says_so(ten):
    val, test = open_dataset(ten / "bin", "val"), open_dataset(ten / "bin", "test")
    assert val.split == "test"
    assert val.fingerprint() == test.fingerprint()
    assert val.remarks == ("CIFAR has no validation split of its own: this is its test split",)
    with pytest.raises(DatasetError, match="cifar-10 has no split 'all'; it has train and test"):
        open_dataset(ten / "bin", "all")


def test_a_short_or_missing_file_is_named(ten):
    path = ten / "bin" / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        DatasetError, match=r"data_batch_3\.bin: ends at byte 9218, 3072 bytes into record 2 of 3073 bytes"
    ):
        open_dataset(ten / "bin", "train")
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"data_batch_3\.bin: ends at byte 0, 0 bytes into record 0"):
        open_dataset(ten / "bin", "train")
    path.unlink()
    with pytest.raises(DatasetError, match=r"data_batch_3\.bin: cannot be read \(no such file"):
        open_dataset(ten / "bin", "train")
    assert len(open_dataset(ten / "bin", "test")) == 2


def test_an_impossible_label_is_named(ten):
    path = ten / "bin" / "test_batch.bin"
    records = bytearray(path.read_bytes())
    records[3073] = 10
    path.write_bytes(records)
    with pytest.raises(DatasetError, match=r"test_batch\.bin: record 1, at byte 3073, has label 10 of 10 classes"):
        open_dataset(ten / "bin", "test")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({b"labels": [1]}, "has no entry data"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "has no entry labels"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]}, "has 2 labels for 1 rows of 3072 bytes"),
        ({b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]}, "has 1 labels for 1 rows of 3071 bytes"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}, "record 0 has label -1"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [2**80]}, "labels is not a list of numbers"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": "1"}, "labels is not a list of numbers"),
        ({b"data": np.zeros((1, 3072)), b"labels": [1]}, "holds no matrix of bytes"),
        ({b"data": [1], b"labels": [1]}, "holds no matrix of bytes"),
        ([1], "has no entry data"),
    ],
)
def test_a_pickle_of_something_else_is_said(ten, write, value, message):
    write("py/test_batch", pickle.dumps(value))
    with pytest.raises(DatasetError, match=f"test_batch: {message}"):
        open_dataset(ten / "py", "test")


def test_names_that_cannot_be_are_said(ten, write):
    write("bin/batches.meta.txt", "cat\ncat\n")
    with pytest.raises(DatasetError, match=r"batches\.meta\.txt: names no classes, or one twice"):
        open_dataset(ten / "bin")
    write("py/batches.meta", pickle.dumps({b"label_names": 7}))
    with pytest.raises(DatasetError, match=r"batches\.meta: label_names is not a list of names"):
        open_dataset(ten / "py")


def test_the_names_of_cifar_10_are_known_where_its_meta_file_is_missing(ten):
    (ten / "bin" / "batches.meta.txt").unlink()
    assert open_dataset(ten / "bin").classes == CIFAR_10


def test_a_folder_without_cifar_is_said(tmp_path, ten):
    with pytest.raises(DatasetError, match=r"has none of CIFAR's files, such as data_batch_1\.bin"):
        open_dataset(tmp_path, kind="cifar-10")
    shutil.rmtree(ten / "bin")
    assert open_dataset(ten / "py", kind="cifar-10").kind == "cifar-10"
