"""Damaged files of CIFAR: one line that names the file and the byte, exit status 2."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from verydeep.cli.app import run

BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


class Hostile:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        return os.system, ("touch HERE",)


@pytest.fixture
def root(tmp_path):
    """Both data sets in both versions, four pictures a file."""
    rows, labels = np.zeros((4, 3072), np.uint8), [0, 1, 2, 3]
    for folder, names, key, label_bytes in (
        ("cifar-10", [*BATCHES, "test_batch"], b"labels", 1),
        ("cifar-100", ["train", "test"], b"fine_labels", 2),
    ):
        for version in ("bin", "py"):
            (tmp_path / folder / version).mkdir(parents=True)
        for name in names:
            records = np.concatenate([np.array([labels] * label_bytes, np.uint8).T, rows], axis=1)
            (tmp_path / folder / "bin" / f"{name}.bin").write_bytes(records.tobytes())
            (tmp_path / folder / "py" / name).write_bytes(pickle.dumps({b"data": rows, key: labels}, 2))
    classes = [f"class {number}" for number in range(100)]
    (tmp_path / "cifar-100" / "bin" / "fine_label_names.txt").write_text("\n".join(classes))
    (tmp_path / "cifar-100" / "py" / "meta").write_bytes(pickle.dumps({b"fine_label_names": classes}))
    return tmp_path


def cut(length):
    """Keep so many bytes."""
    return lambda encoded: encoded[:length]


def put(byte, value):
    """Write a byte."""
    return lambda encoded: encoded[:byte] + bytes([value]) + encoded[byte + 1 :]


def after(mark, value):
    """Write a byte in the place of the one behind a mark."""
    return lambda encoded: put(encoded.index(mark) + len(mark), value)(encoded)


def hostile(encoded):
    """Name a function to be called."""
    return pickle.dumps(pickle.loads(encoded) | {b"filenames": Hostile()}, 2)


SECOND_LABEL = b"(K\x00K"  # of a pickled list that begins with 0
DAMAGES = [
    ("cifar-10/bin/data_batch_3.bin", cut(3073 + 7), "ends at byte 3080, 7 bytes into record 1 of 3073 bytes"),
    ("cifar-10/bin/data_batch_3.bin", cut(3 * 3073), "ends at byte 9219, after 3 pictures; beside data_batch_1.bin"),
    ("cifar-10/bin/data_batch_3.bin", cut(0), "ends at byte 0"),
    ("cifar-10/bin/data_batch_3.bin", put(3073, 10), "record 1 has label 10 of 10 classes, at byte 3073"),
    ("cifar-10/bin/data_batch_3.bin", None, "cannot be read (no such file or directory)"),
    ("cifar-10/py/data_batch_3", cut(1000), "is not a whole pickle (at byte "),
    ("cifar-10/py/data_batch_3", after(SECOND_LABEL, 10), "record 1 has label 10 of 10 classes, at byte "),
    ("cifar-10/py/data_batch_3", hostile, "refused, at byte "),
    ("cifar-10/py/data_batch_3", None, "cannot be read (no such file or directory)"),
    ("cifar-100/bin/train.bin", cut(3074 + 7), "ends at byte 3081, 7 bytes into record 1 of 3074 bytes"),
    ("cifar-100/bin/train.bin", put(3074 + 1, 100), "record 1 has label 100 of 100 classes, at byte 3075"),
    ("cifar-100/bin/train.bin", None, "cannot be read (no such file or directory)"),
    ("cifar-100/py/train", cut(1000), "is not a whole pickle (at byte "),
    ("cifar-100/py/train", after(SECOND_LABEL, 100), "record 1 has label 100 of 100 classes, at byte "),
    ("cifar-100/py/train", hostile, "refused, at byte "),
    ("cifar-100/py/train", None, "cannot be read (no such file or directory)"),
]


@pytest.mark.parametrize(("file", "damage", "words"), DAMAGES)
def test_a_damaged_file_is_named_in_one_line_with_the_byte_and_status_2(root, file, damage, words, capsys, monkeypatch):
    path = root / file
    monkeypatch.chdir(root)
    assert run(["data", "stats", str(path.parent)]) == 0
    capsys.readouterr()
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    for command in (["data", "check", str(path.parent), "--split", "train"], ["train", "cifar-fast", str(path.parent)]):
        assert run(command) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert shown.err.startswith(f"{path}: {words}")
    assert not (root / "HERE").exists()


@pytest.mark.slow  # another process imports torch
def test_the_status_of_the_process_is_2(root):
    path = root / "cifar-10" / "py" / "test_batch"
    path.write_bytes(hostile(path.read_bytes()))
    command = [sys.executable, "-m", "verydeep", "data", "check", str(path.parent)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{path}: refused, at byte ")
    assert result.stderr.count("\n") == 1
    assert not Path("HERE").exists()
