"""The values in a pickle of plain data and numpy arrays, read without running it.

Python's own reader calls what the file tells it to call. This one has nothing to call: it steps through the opcodes
that `pickletools` (standard library) takes apart, builds numbers, strings, lists and dicts, and knows the names under
which numpy writes an array. See docs/decisions/010-pickles-are-read-not-run.md.
"""

import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

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
T = TypeVar("T")


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


class Items(list[Any]):
    """A list with the byte of its pickle at which each item begins."""

    def __init__(self, values: Iterable[Any] = (), starts: Iterable[int] = ()) -> None:
        super().__init__(values)
        self.starts = list(starts)

    def add(self, items: "Items") -> None:
        """Append items."""
        self.extend(items)
        self.starts.extend(items.starts)


class Entries(dict[Any, Any]):
    """A dict with the byte of its pickle at which the value of each key begins."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[Any, int] = {}

    def add(self, items: Items) -> None:
        """Take keys and values, in turn."""
        self.update(zip(items[::2], items[1::2], strict=True))
        self.starts.update(zip(items[::2], items.starts[1::2], strict=True))


def read_pickle(encoded: bytes, *, name: str) -> Any:
    """The value in a pickle: lists as `Items`, dicts as `Entries`, arrays as `Object` for `uint8_array`.

    Args:
        encoded: the file.
        name: what to call it in errors.

    Raises:
        DatasetError: it is damaged, or asks for anything but plain data and arrays.
    """
    machine = Machine(name)
    try:
        return machine.run(encoded)
    except DatasetError:
        raise
    except Exception as error:  # a damaged file may trip over anything
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        place = f"at byte {machine.at} of {len(encoded)}"
        raise DatasetError(f"{name}: is not a whole pickle ({place}: {reason}); copy it again") from None


def uint8_array(value: Any, *, name: str, start: int = 0) -> UInt8[np.ndarray, "rows columns"]:
    """The matrix of bytes that a pickled array holds, its sizes checked against the bytes that are there.

    Args:
        value: as `read_pickle` gives it.
        name: what to call the file in errors.
        start: the byte at which the array begins there.

    Raises:
        DatasetError: it is anything else.
    """
    complaint = DatasetError(
        f"{name}: holds no matrix of bytes at byte {start}, where its pictures should be; copy it again"
    )
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


class Machine:
    """What steps through a pickle: a stack, the byte at which each of its values begins, and what is kept for later.

    Attributes:
        name: what to call the file in errors.
        at: the byte at which the step begins that is being read or done.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.at = 0
        self.stack: list[Any] = []
        self.starts: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, encoded: bytes) -> Any:
        """The value that the steps come to."""
        file = BytesIO(encoded)
        for opcode, argument, position in pickletools.genops(file):
            self.at = position or 0
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
            del self.starts[len(self.stack) :]  # a value made of others begins where the first of them did
            self.starts += [self.at] * (len(self.stack) - len(self.starts))
            self.at = file.tell()
        raise ValueError("it has no end")

    def pop(self, count: int) -> Items:
        """The last values, taken away."""
        start = len(self.stack) - count
        if start < 0:
            raise ValueError("it takes more than it has")
        items = Items(self.stack[start:], self.starts[start : len(self.stack)])
        del self.stack[start:]
        return items

    def pop_to_mark(self) -> Items:
        """The values behind the last mark, taken away with it."""
        items = self.pop(next(count for count, value in enumerate(reversed(self.stack)) if value is MARK))
        self.stack.pop()
        return items

    def top(self, kind: type[T]) -> T:
        """The last value, to be filled."""
        last = self.stack[-1]
        if not isinstance(last, kind):
            raise ValueError(f"it fills {type(last).__name__} as if it were {kind.__name__}")
        return last

    def step(self, opcode: str, argument: Any) -> None:
        """Do what an opcode says."""
        stack = self.stack
        match opcode:
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
                self.pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "EMPTY_LIST":
                stack.append(Items())
            case "LIST":
                stack.append(self.pop_to_mark())
            case "APPEND":
                items = self.pop(1)
                self.top(Items).add(items)
            case "APPENDS":
                items = self.pop_to_mark()
                self.top(Items).add(items)
            case value if value in SHORT_TUPLES:
                stack.append(tuple(self.pop(SHORT_TUPLES[value])))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "EMPTY_DICT":
                stack.append(Entries())
            case "DICT":
                items = self.pop_to_mark()
                stack.append(Entries())
                self.top(Entries).add(items)
            case "SETITEM":
                items = self.pop(2)
                self.top(Entries).add(items)
            case "SETITEMS":
                items = self.pop_to_mark()
                self.top(Entries).add(items)
            case "GLOBAL":
                stack.append(_name(argument, self.at, self.name))
            case "STACK_GLOBAL":
                module, attribute = self.pop(2)
                stack.append(_name(f"{module} {attribute}", self.at, self.name))
            case "REDUCE":
                maker, arguments = self.pop(2)
                stack.append(_made(maker, arguments))
            case "BUILD":
                [state] = self.pop(1)
                self.top(Object).state = state
            case other:
                place = f"at byte {self.at} of this pickle"
                raise DatasetError(f"{self.name}: refused, {place} is {other}, which plain data has no need of")


def _name(asked: str, position: int, name: str) -> Name:
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
