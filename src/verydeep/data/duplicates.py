"""The same picture twice: among those to train on and those to test it is a leak."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.errors import DatasetError


def contents(data: Dataset, threads: int = 2) -> list[bytes]:
    """A hash of every picture, equal where two are the same."""
    with ThreadPoolExecutor(threads, thread_name_prefix="contents") as pool:
        return list(pool.map(data.content, range(len(data)), chunksize=16))


def leaks(train: Sequence[bytes], test: Sequence[bytes]) -> list[tuple[int, int]]:
    """Of every picture to test that is trained on, too: its place there, and its place here."""
    places = {content: place for place, content in reversed(list(enumerate(train)))}
    return [(places[content], place) for place, content in enumerate(test) if content in places]


def refuse_leaks(train: Dataset, test: Dataset, threads: int = 2) -> None:
    """Refuse pictures to test that are trained on, too.

    Raises:
        DatasetError: the first of them is named.
    """
    found = leaks(contents(train, threads), contents(test, threads))
    if found:
        raise DatasetError(leak_line(train, test, found))


def leak_line(train: Dataset, test: Dataset, found: Sequence[tuple[int, int]]) -> str:
    """The line that names a leak."""
    one, other = printable(train.images[found[0][0]]), printable(test.images[found[0][1]])
    others = f", and so are {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{test.root}: a leak: {other}, to be tested, is the same picture as {one}, which is trained on{others}; "
        "remove them from one side, or go on with --allow-leaks (allow_leaks=True)"
    )
