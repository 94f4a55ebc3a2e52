"""The fields of a protobuf message, read where they lie: no schema, no copies, nothing that a length could ask for.

The few messages that Caffe's weights need: docs/decisions/091-caffe-without-protobuf.md.
"""

import struct
from collections.abc import Iterator, Mapping

Value = int | memoryview
Message = Mapping[int, list[Value]]

MOST_FIELDS = 100_000  # of one message; an honest net has a few hundred layers, and packs its numbers
FIXED = {1: 8, 5: 4}  # wire type → bytes


def read_message(encoded: memoryview) -> Message:
    """The values of each field by its number, in their order.

    Numbers written as varints come as such, everything else as the bytes themselves, a view and no copy.

    Raises:
        ValueError: the bytes are no whole message.

    Source: protobuf.dev/programming-guides/encoding.
    """
    message: dict[int, list[Value]] = {}
    for count, (number, value) in enumerate(_fields(encoded)):
        if count == MOST_FIELDS:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields")
        message.setdefault(number, []).append(value)
    return message


def messages(message: Message, number: int) -> Iterator[Message]:
    """The messages in a field."""
    return (read_message(_as_bytes(value)) for value in message.get(number, ()))


def text(message: Message, number: int) -> str:
    """The last string of a field; empty where there is none."""
    values = message.get(number)
    return str(_as_bytes(values[-1]), "utf-8", "replace") if values else ""


def packed(message: Message, number: int) -> bytes:
    """The numbers of a repeated field of fixed size, one after the other, whether they were packed or not."""
    return b"".join(_as_bytes(value) for value in message.get(number, ()))


def varints(message: Message, number: int) -> tuple[int, ...]:
    """The whole numbers of a field, whether they were packed or not."""
    found: list[int] = []
    for value in message.get(number, ()):
        if isinstance(value, int):
            found.append(value)
            continue
        place = 0
        while place < len(value):
            one, place = _varint(value, place)
            found.append(one)
    return tuple(found)


def floats(message: Message, number: int) -> tuple[float, ...]:
    """The few numbers of a field of single precision."""
    found = packed(message, number)
    return struct.unpack(f"<{len(found) // 4}f", found[: len(found) // 4 * 4])


def _fields(encoded: memoryview) -> Iterator[tuple[int, Value]]:
    place = 0
    while place < len(encoded):
        key, place = _varint(encoded, place)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has no number")
        if kind == 0:
            value, place = _varint(encoded, place)
            yield number, value
            continue
        if kind == 2:
            length, place = _varint(encoded, place)
        elif kind in FIXED:
            length = FIXED[kind]
        else:
            raise ValueError(f"field {number} is of the unknown type {kind}")
        if length > len(encoded) - place:
            raise ValueError(f"field {number} is cut off")
        yield number, encoded[place : place + length]
        place += length


def _varint(encoded: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        if place == len(encoded):
            raise ValueError("it ends within a number")
        byte = encoded[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number has no end")


def _as_bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where bytes should")
    return value
