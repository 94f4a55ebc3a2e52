"""The values in a pickle of plain data and numpy arrays, read without running it.

Python's own reader calls what the file tells it to call. This one has nothing to call: it steps through the opcodes
that `pickletools` (standard library) takes apart, builds numbers, strings, lists and dicts, and knows the names under
which numpy writes an array. See docs/decisions/010-pickles-are-read-not-run.md.
"""

import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from verydeep.errors import DatasetError

RECONSTRUCT = frozenset({"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"})
NAMES = RECONSTRUCT | {"numpy ndarray", "numpy dtype", "_codecs encode", "__builtin__ bytes"}
VALUES = frozenset(  # opcodes whose argument is the value
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    SHORT_BINBYTES BINBYTES BINBYTES8""".split()
)
OLD_STRINGS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})  # Python 2's str: bytes
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
SHORT_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


@dataclass(frozen=True)
class Name:
    """What the pickle would import; here a word and nothing else."""

    name: str


@dataclass
class Object:
    """What the pickle would make by a call; here the parts it names."""

    maker: str
    arguments: Any
    state: Any = None


def read_pickle(encoded: bytes, *, name: str) -> Any:
    """The value in a pickle, arrays as `Object` for `uint8_array`.

    Args:
        encoded: the file.
        name: what to call it in errors.

    Raises:
        DatasetError: it is damaged, or asks for anything but plain data and arrays.
    """
    try:
        return _read(encoded, name)
    except DatasetError:
        raise
    except Exception as error:  # a damaged file may trip over anything
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise DatasetError(f"{name}: is not a whole pickle ({reason}); copy it again") from None


def uint8_array(value: Any, *, name: str) -> UInt8[np.ndarray, "rows columns"]:
    """The matrix of bytes that a pickled array holds, its sizes checked against the bytes that are there."""
    complaint = DatasetError(f"{name}: holds no matrix of bytes where its pictures should be; copy it again")
    try:
        if value.maker not in RECONSTRUCT:
            raise complaint
        _, shape, dtype, columns_first, data = value.state
        rows, columns = shape
        if (dtype.maker, dtype.arguments[0]) not in (("numpy dtype", b"u1"), ("numpy dtype", "u1")):
            raise complaint
        if not isinstance(data, bytes) or min(rows, columns) < 0 or rows * columns != len(data):
            raise complaint
        return np.frombuffer(data, np.uint8).reshape((rows, columns), order="F" if columns_first else "C")
    except (AttributeError, IndexError, TypeError, ValueError):
        raise complaint from None


def _read(encoded: bytes, name: str) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def pop(count: int) -> list[Any]:
        start = len(stack) - count
        if start < 0:
            raise ValueError("it takes more than it has")
        items = stack[start:]
        del stack[start:]
        return items

    def pop_to_mark() -> list[Any]:
        count = next(count for count, value in enumerate(reversed(stack)) if value is MARK)
        items = pop(count)
        stack.pop()
        return items

    def top(kind: type) -> Any:
        if not isinstance(stack[-1], kind):
            raise ValueError(f"it fills a {type(stack[-1]).__name__} as a {kind.__name__}")
        return stack[-1]

    argument: Any
    for opcode, argument, position in pickletools.genops(encoded):
        match opcode.name:
            case "STOP":
                return stack.pop()
            case "PROTO" | "FRAME":
                pass
            case value if value in VALUES:
                stack.append(argument)
            case value if value in OLD_STRINGS:
                stack.append(argument.encode("latin-1"))
            case value if value in CONSTANTS:
                stack.append(CONSTANTS[value])
            case "MARK":
                stack.append(MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(pop_to_mark())
            case "APPEND":
                items = pop(1)
                top(list).extend(items)
            case "APPENDS":
                items = pop_to_mark()
                top(list).extend(items)
            case value if value in SHORT_TUPLES:
                stack.append(tuple(pop(SHORT_TUPLES[value])))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = pop_to_mark()
                stack.append(dict(zip(items[::2], items[1::2], strict=True)))
            case "SETITEM":
                key, item = pop(2)
                top(dict)[key] = item
            case "SETITEMS":
                items = pop_to_mark()
                top(dict).update(zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_name(argument, position, name))
            case "STACK_GLOBAL":
                module, attribute = pop(2)
                stack.append(_name(f"{module} {attribute}", position, name))
            case "REDUCE":
                maker, arguments = pop(2)
                stack.append(_made(maker, arguments))
            case "BUILD":
                [state] = pop(1)
                top(Object).state = state
            case other:
                raise DatasetError(
                    f"{name}: refused, at byte {position} of this pickle is {other}, which plain data has no need of"
                )
    raise ValueError("it has no end")


def _name(asked: str, position: int | None, name: str) -> Name:
    if asked not in NAMES:
        shown = ".".join(asked.split())[:80]
        raise DatasetError(
            f"{name}: refused, at byte {position} this pickle would call {shown}; pictures need no such thing"
        )
    return Name(asked)


def _made(maker: Any, arguments: Any) -> Any:
    if not isinstance(maker, Name):
        raise ValueError(f"it calls a {type(maker).__name__}")
    match maker.name, arguments:  # the first two: how Python 3 writes bytes in its older protocols
        case "_codecs encode", (str(text), "latin1" | b"latin1"):
            return text.encode("latin-1")
        case "__builtin__ bytes", ():
            return b""
        case _:
            return Object(maker.name, arguments)
