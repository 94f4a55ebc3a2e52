import math

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from verydeep.weights.protobuf import MOST_FIELDS, floats, messages, packed, read_message, text, varints


@given(
    name=st.text(max_size=20),
    numbers=st.lists(st.integers(0, 2**31 - 1), max_size=5),
    values=st.lists(st.text(max_size=8), max_size=5),
)
def test_what_the_protobuf_package_writes_is_read(name, numbers, values):
    written = descriptor_pb2.FileDescriptorProto(name=name, public_dependency=numbers, dependency=values)
    written.message_type.add(name="inner").field.add(number=7)
    message = read_message(memoryview(written.SerializeToString()))
    assert text(message, 1) == name
    assert varints(message, 10) == tuple(numbers)
    assert [str(value, "utf-8") for value in message.get(3, [])] == values
    [inner] = messages(message, 4)
    assert text(inner, 1) == "inner"
    assert [varints(field, 3) for field in messages(inner, 2)] == [(7,)]


@given(values=st.lists(st.floats(width=32, allow_nan=False), max_size=9), where=st.integers(0, 9))
def test_numbers_are_read_packed_or_not(values, where):
    import struct

    one, other = values[:where], values[where:]
    encoded = b"".join(b"\x2d" + struct.pack("<f", value) for value in one)
    encoded += b"\x2a" + bytes([4 * len(other)]) + struct.pack(f"<{len(other)}f", *other)
    message = read_message(memoryview(encoded))
    assert floats(message, 5) == tuple(values)
    assert len(packed(message, 5)) == 4 * len(values)
    assert varints(read_message(memoryview(b"\x0a\x03\x01\x96\x01\x08\x05")), 1) == (1, 150, 5)


@given(encoded=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_value_error(encoded):
    try:
        message = read_message(memoryview(encoded))
        for number in message:
            varints(message, number)
        reason = "none"
    except ValueError as error:
        reason = str(error)
    assert reason


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"\x0a", "ends within a number"),
        (b"\x0a\x05ab", "field 1 is cut off"),
        (b"\x0d\x00\x00", "field 1 is cut off"),
        (b"\x0b", "unknown type 3"),
        (b"\x02\x00", "no number"),
        (b"\xff" * 11, "has no end"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "field 1 is cut off"),
        (b"\x08\x00" * (MOST_FIELDS + 1), "more than 100,000 fields"),
    ],
)
def test_damaged_messages_are_refused(encoded, reason):
    with pytest.raises(ValueError, match=reason):
        read_message(memoryview(encoded))


def test_a_number_in_place_of_bytes_is_refused():
    message = read_message(memoryview(b"\x08\x01"))
    for read in (text, packed, floats):
        with pytest.raises(ValueError, match="a number stands where bytes should"):
            read(message, 1)
    assert math.isclose(floats(read_message(memoryview(b"\x0d\x00\x00\x80\x3f")), 1)[0], 1)
