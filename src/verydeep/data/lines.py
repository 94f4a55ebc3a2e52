"""The lines of a text file that belongs to a data set."""

import csv
from pathlib import Path

from verydeep.data.paths import printable
from verydeep.errors import DatasetError


def read_lines(path: Path) -> list[str]:
    """The lines, a byte-order mark left out."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: is not UTF-8 text; save it as that, or copy it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def read_csv(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, cut into stripped cells, each after its line's number."""
    reader = csv.reader(read_lines(path))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num} is not CSV ({error})") from None
    return [(number, cells) for number, cells in rows if any(cells)]


def unreadable(path: Path | str, error: OSError) -> DatasetError:
    """The line that says why a file or folder of a data set cannot be read."""
    return DatasetError(f"{printable(str(path))}: cannot be read ({(error.strerror or str(error)).lower()})")
