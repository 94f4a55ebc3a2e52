import os
import pickle
import pickletools
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.data.pickles import Object, read_pickle, uint8_array
from verydeep.errors import DatasetError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)
BATCH = {b"data": np.arange(24, dtype=np.uint8).reshape(4, 6), b"labels": [3, 1, 2, 0], b"filenames": ["a", "b"] * 2}


class Hostile:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@given(PLAIN, st.integers(0, 4))
def test_plain_data_comes_back(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol), name="p") == value


@given(st.lists(st.integers() | st.lists(st.text())), st.integers(0, 4))
def test_each_item_begins_where_its_first_step_does(value, protocol):
    encoded = pickle.dumps({"here": value, "there": 1}, protocol)
    found = read_pickle(encoded, name="p")
    assert len(found["here"].starts) == len(value)
    assert [found.starts["here"], *found["here"].starts, found.starts["there"]] == sorted(
        {found.starts["here"], *found["here"].starts, found.starts["there"]}
    )
    for start, item in zip(found["here"].starts, found["here"], strict=True):
        if type(item) is int:
            assert next(pickletools.genops(encoded[start:] + b"."))[1] == item


def test_shared_parts_and_long_lists_come_back():
    shared = ["x" * 300, 2**31 - 1, -1]
    value = [shared, (shared, shared), {1: shared}, list(range(3000))]
    for protocol in range(5):
        assert read_pickle(pickle.dumps(value, protocol), name="p") == value


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_of_bytes_comes_back(protocol, order):
    matrix = np.asarray(np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8), order=order)
    value = read_pickle(pickle.dumps({"data": matrix}, protocol), name="p")["data"]
    assert isinstance(value, Object)  # parts, and nothing made of them
    np.testing.assert_array_equal(uint8_array(value, name="p"), matrix)


def test_a_pickle_of_python_2_comes_back():
    encoded = b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x06K\x09eU\x04nameq\x04T\x03\x00\x00\x00\xff\x00au."
    assert read_pickle(encoded, name="p") == {b"labels": [6, 9], b"name": b"\xff\x00a"}


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    ("hostile", "called"),
    [
        (Hostile(os.system, "touch HERE"), f"{os.system.__module__}.system"),
        (Hostile(eval, "open('HERE', 'w')"), "eval"),
        (Hostile(exec, "open('HERE', 'w')"), "exec"),
        (Hostile(getattr, "a", "upper"), "getattr"),
        (Hostile(np.load, "HERE"), "numpy.*load"),
        (Hostile(np.frombuffer, b"1234"), "numpy.*frombuffer"),
    ],
)
def test_a_call_is_refused_by_name_and_not_made(tmp_path, monkeypatch, hostile, called, protocol):
    monkeypatch.chdir(tmp_path)
    for value in (hostile, [1, hostile], BATCH | {b"filenames": hostile}):
        with pytest.raises(
            DatasetError, match=rf"data_batch_1: refused, at byte [0-9]+ this pickle would call .*{called}"
        ):
            read_pickle(pickle.dumps(value, protocol), name="data_batch_1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00HERE\x85R.",  # GLOBAL, REDUCE
        b"(S'touch HERE'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch HERE'\no.",  # OBJ
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00HERE\x85\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93X\x04\x00\x00\x00HERE\x85R.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02X\x02\x00\x00\x00idQ.",  # BINPERSID
        b"Pid\n.",  # PERSID
    ],
)
def test_every_opcode_that_calls_or_imports_is_refused(tmp_path, monkeypatch, encoded):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="refused"):
        read_pickle(encoded, name="p")
    assert list(tmp_path.iterdir()) == []


def test_what_numpy_is_named_for_is_not_called_either():
    reconstruct = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
    huge = reconstruct + b"cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x10\x85C\x01b\x87R."  # 2**36 elements
    made = read_pickle(huge, name="p")
    assert isinstance(made, Object)
    with pytest.raises(DatasetError, match="holds no matrix of bytes"):
        uint8_array(made, name="p")


def lying_array(**lies):
    """What a pickled array is read as, with one part of it changed."""
    dtype = Object("numpy dtype", (lies.get("dtype", b"u1"), 0, 1))
    state = (1, lies.get("shape", (2, 3)), dtype, False, lies.get("data", bytes(6)))
    return Object(lies.get("maker", "numpy.core.multiarray _reconstruct"), (), lies.get("state", state))


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": (2**40, 2**20)},
        {"shape": (-2, -3)},
        {"shape": (6,)},
        {"shape": (2.0, 3.0)},
        {"shape": "23"},
        {"dtype": b"O8"},
        {"data": bytes(5)},
        {"data": "123456"},
        {"data": None},
        {"state": None},
        {"state": (1, 2)},
        {"maker": "numpy dtype"},
    ],
)
def test_an_array_that_lies_about_itself_is_refused(lie):
    assert uint8_array(lying_array(), name="p").shape == (2, 3)
    with pytest.raises(DatasetError, match="holds no matrix of bytes"):
        uint8_array(lying_array(**lie), name="p")


@given(st.data())
@settings(max_examples=100)
def test_a_damaged_pickle_is_read_or_refused_and_nothing_else(data):
    encoded = bytearray(pickle.dumps(BATCH, data.draw(st.integers(0, 4))))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DatasetError):
        value = read_pickle(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]), name="p")
        uint8_array(value[b"data"] if isinstance(value, dict) and b"data" in value else value, name="p")


@given(st.lists(st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes]), max_size=30))
@settings(max_examples=100)
def test_any_row_of_opcodes_is_read_or_refused(codes):
    with suppress(DatasetError):
        read_pickle(b"".join(codes) + b"\x00\x00\x00\x01\n.", name="p")


@pytest.mark.parametrize(
    ("encoded", "start"),
    [
        (b"\x80\x02]q\x00(K\x01K\x02e", 11),  # ends before its end
        (b"\x80\x02]q\x00(K\x01K", 8),  # in a number
        (b"\x80\x02U\x05abc", 2),  # in a string
        (b"\x80\x02]q\x00K\x01\xff.", 7),  # no opcode
        (b"\x80\x02K\x01K\x02a.", 6),  # appends to a number
    ],
)
def test_damage_is_named_by_the_byte_of_the_step_that_fails(encoded, start):
    with pytest.raises(DatasetError, match=rf"p: is not a whole pickle \(at byte {start} of {len(encoded)}: "):
        read_pickle(encoded, name="p")


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b".",
        b"not a pickle",
        b"\x80\x02]",
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # says 2 GB, has 3 bytes
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x10abc.",  # says 2**60 bytes
        b"\x80\x02Nr\xff\xff\xff\x7f0h\x00.",  # a place in the memo that a list of that length would hold
        b"\x80\x02K\x01K\x02a.",  # appends to a number
        b"I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_damage_and_lying_lengths_are_said_in_one_line(encoded):
    with pytest.raises(DatasetError, match=rf"p: is not a whole pickle \(at byte \d+ of {len(encoded)}: ") as caught:
        read_pickle(encoded, name="p")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
