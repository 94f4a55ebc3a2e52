import pickle
import pickletools
import re
import shutil

import numpy as np
import pytest

from verydeep.data.cifar import BATCHES, CIFAR_10
from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError

ONE = np.zeros((1, 3072), np.uint8)


def batch(count, classes, seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, count), generator.integers(0, 256, (count, 3072), np.uint8)


def lengthen(path, length):
    """Make a file longer by zeros that take no room: pictures of class 0."""
    with path.open("r+b") as file:
        file.truncate(length)


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
    with pytest.raises(DatasetError, match=r"test_batch\.bin: record 1 has label 10 of 10 classes, at byte 3073; "):
        open_dataset(ten / "bin", "test")


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(("folder", "key", "classes"), [("ten", b"labels", 10), ("hundred", b"fine_labels", 100)])
def test_an_impossible_label_of_the_python_version_is_found_in_the_file(request, folder, key, classes, protocol):
    path = request.getfixturevalue(folder) / "py" / ("test_batch" if folder == "ten" else "test")
    rows = np.zeros((3, 3072), np.uint8)
    path.write_bytes(pickle.dumps({b"data": rows, key: [1, classes, 2]}, protocol))
    steps = pickletools.genops(path.read_bytes())
    start = next(at for step, number, at in steps if step.name in ("INT", "BININT1") and number == classes)
    message = f"{path.name}: record 1 has label {classes} of {classes} classes, at byte {start}; "
    with pytest.raises(DatasetError, match=message):
        open_dataset(path.parent, "test")


def test_an_impossible_fine_label_is_named_by_its_byte(hundred):
    path = hundred / "bin" / "test.bin"
    records = bytearray(path.read_bytes())
    records[2 * 3074 + 1] = 100
    path.write_bytes(records)
    with pytest.raises(DatasetError, match=r"test\.bin: record 2 has label 100 of 100 classes, at byte 6149; "):
        open_dataset(hundred / "bin", "test")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({b"labels": [1]}, "has no entry data"),
        ({b"data": ONE}, "has no entry labels"),
        ({b"data": ONE, b"labels": [1, 2]}, "has 2 labels, at byte BYTE, for 1 rows of 3072 bytes, at byte BYTE, "),
        ({b"data": ONE[:, 1:], b"labels": [1]}, "has 1 labels, at byte BYTE, for 1 rows of 3071 bytes, at byte BYTE, "),
        ({b"data": ONE[:0], b"labels": []}, "has 0 labels, at byte BYTE, for 0 rows"),
        ({b"data": ONE, b"labels": [-1]}, "record 0 has label -1 of 10 classes, at byte BYTE; "),
        ({b"data": ONE, b"labels": [2**80]}, "labels is not a list of numbers, see byte BYTE; "),
        ({b"data": ONE, b"labels": "1"}, "labels, at byte BYTE, is not a list of numbers"),
        ({b"data": ONE.astype(float), b"labels": [1]}, "holds no matrix of bytes at byte BYTE, "),
        ({b"data": [1], b"labels": [1]}, "holds no matrix of bytes at byte BYTE, "),
        ([1], "has no entry data"),
    ],
)
def test_a_pickle_of_something_else_is_said(ten, write, value, message):
    write("py/test_batch", pickle.dumps(value))
    with pytest.raises(DatasetError, match=f"test_batch: {message.replace('BYTE', '[1-9][0-9]*')}"):
        open_dataset(ten / "py", "test")


def test_the_entries_of_a_pickle_are_named_by_the_bytes_at_which_they_begin(ten):
    path = ten / "py" / "test_batch"
    path.write_bytes(pickle.dumps({b"labels": [1, 2], b"data": ONE}, 3))
    with pytest.raises(DatasetError) as caught:
        open_dataset(ten / "py", "test")
    labels, data = (int(found) for found in re.findall(r"at byte (\d+),", str(caught.value)))
    steps = [(opcode.name, argument, at) for opcode, argument, at in pickletools.genops(path.read_bytes())]
    assert next(at for name, _, at in steps if name == "EMPTY_LIST") == labels
    assert next(at for name, _, at in steps if name == "GLOBAL") == data


@pytest.mark.parametrize("version", ["ten", "hundred"])
def test_a_pickle_that_was_cut_names_where(request, version):
    root = request.getfixturevalue(version) / "py"
    path = root / ("data_batch_2" if version == "ten" else "train")
    whole = path.read_bytes()
    steps = [at for _, _, at in pickletools.genops(whole)]
    for cut in (0, 1, 2, 100, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        begins = max(at for at in [*steps, len(whole)] if at <= cut)  # of the step that is not there as a whole
        with pytest.raises(
            DatasetError, match=rf"{path.name}: is not a whole pickle \(at byte {begins} of {cut}: .*copy it again$"
        ):
            open_dataset(root, "train")


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_training_batch_that_is_shorter_than_the_others_is_named_in_both_versions(ten, number):
    path = ten / "bin" / f"data_batch_{number}.bin"
    path.write_bytes(path.read_bytes()[: 2 * 3073])
    whole = 2 if number == 1 else 1
    message = f"{path.name}: ends at byte 6146, after 2 pictures; beside data_batch_{whole}.bin it should have 3; copy"
    with pytest.raises(DatasetError, match=message):
        open_dataset(ten / "bin", "train")
    assert len(open_dataset(ten / "bin", "test")) == 2
    path = ten / "py" / f"data_batch_{number}"
    path.write_bytes(pickle.dumps({b"data": ONE, b"labels": [1]}, 2))
    with pytest.raises(DatasetError, match=f"{path.name}: ends at byte {path.stat().st_size}, after 1 pictures; "):
        open_dataset(ten / "py", "train")


@pytest.mark.parametrize(
    ("folder", "file", "split", "whole", "pictures", "record"),
    [
        ("ten", "test_batch.bin", "test", "data_batch_1.bin", 10_000, 3073),
        ("ten", "data_batch_4.bin", "train", "data_batch_1.bin", 10_000, 3073),
        ("hundred", "test.bin", "test", "train.bin", 50_000, 3074),
        ("hundred", "train.bin", "train", "test.bin", 10_000, 3074),
    ],
)
def test_beside_a_file_of_the_published_length_all_must_have_theirs(
    request, folder, file, split, whole, pictures, record
):
    root = request.getfixturevalue(folder) / "bin"
    if folder == "ten":
        for name in {*BATCHES} - {"data_batch_4"}:
            lengthen(root / f"{name}.bin", pictures * record)
    lengthen(root / whole, pictures * record)
    path = root / file
    size = path.stat().st_size
    due = 50_000 if file == "train.bin" else 10_000
    message = rf"{file}: ends at byte {size}, after {size // record} pictures; beside {whole} it should have {due}; "
    with pytest.raises(DatasetError, match=message):
        open_dataset(root, split)
    lengthen(path, due * record)
    assert len(open_dataset(root, split)) == (50_000 if split == "train" else 10_000)


def test_names_that_cannot_be_are_said(ten, write):
    write("bin/batches.meta.txt", "cat\ncat\n")
    with pytest.raises(DatasetError, match=r"batches\.meta\.txt: names no classes, or one twice"):
        open_dataset(ten / "bin")
    write("py/batches.meta", pickle.dumps({b"label_names": 7}))
    with pytest.raises(DatasetError, match=r"batches\.meta: label_names, at byte 27, is not a list of names"):
        open_dataset(ten / "py")


def test_the_names_of_cifar_10_are_known_where_its_meta_file_is_missing(ten):
    (ten / "bin" / "batches.meta.txt").unlink()
    assert open_dataset(ten / "bin").classes == CIFAR_10


def test_a_folder_without_cifar_is_said(tmp_path, ten):
    with pytest.raises(DatasetError, match=r"has none of CIFAR's files, such as data_batch_1\.bin"):
        open_dataset(tmp_path, kind="cifar-10")
    shutil.rmtree(ten / "bin")
    assert open_dataset(ten / "py", kind="cifar-10").kind == "cifar-10"
