"""The built-in data: handwritten digits on photographs, made on the spot from what scikit-learn ships.

A picture is a piece of one of scikit-learn's two photographs, 96 x 72 to 160 x 128 px or the same upright, with one
labelled digit and its box, and up to four smaller digits of no label. The labelled digit is 0.5 to 0.75 of the smallest
side tall, brighter than what is behind it, and no further than an eighth of the smallest side off the middle; the
others are 0.15 to 0.25 tall and keep off its box. Train and val are made of different handwritten digits and different
parts of the photographs.

Whole numbers alone decide the pixels, drawn from the raw output of Philox (Salmon et al. 2011), which no version of
numpy changes; so the same seed gives the same pictures everywhere, up to the JPEG encoder.
"""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import Int64, UInt8

from verydeep.data.dataset import PictureFiles
from verydeep.data.folders import open_folders
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

VERSION = 2  # raised whenever the same seed would give other pictures, or another number of them
TRAIN, VAL = 4000, 2000
CARD = "digits.json"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # each 427 x 640
COLUMNS = {"train": slice(0, 456), "val": slice(464, 640)}  # of the photographs
HANDWRITTEN = {"train": slice(0, 1400), "val": slice(1400, 1797)}  # in the order in which scikit-learn has them
LUMA = np.array([77, 150, 29])  # of 256, for R, G, B
CONTRAST = 90  # that a digit's luma is above the mean of what is behind it, of 255; darkened pieces leave room for it
BRIGHT = 200  # luma that is always enough: small digits may lie on each other


def make_digits(folder: Path | str, *, train: int = TRAIN, val: int = VAL, seed: int = 0, threads: int = 2) -> Path:
    """Write the digits as JPEG files in class folders, boxes beside them as ILSVRC writes them; all of it or nothing.

    Args:
        folder: to be made; it must not hold anything yet.
        train: pictures of the training split.
        val: pictures of the validation split.
        seed: decides everything.
        threads: that make them.

    Returns:
        The folder.

    Raises:
        DatasetError: the folder holds something already, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder}: is there already and not empty; remove it, or name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        for split, count in (("train", train), ("val", val)):
            _write_split(unfinished, split, count, seed, threads)
        card = {"verydeep": "digits", "version": VERSION, "seed": seed, "train": train, "val": val}
        (unfinished / CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp's is for the user alone
        unfinished.rename(folder)
    except OSError as error:
        if (folder / CARD).is_file():  # another process was faster
            return folder
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def open_digits(root: Path | None = None, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureFiles:
    """A split of the digits in a folder, or of those in the user's cache folder, made on first use."""
    if root is None:
        root = cache_folder()
        if not (root / CARD).is_file():
            make_digits(root)
    return replace(
        open_folders(root, split, max_megapixels),
        kind="digits",
        names={str(digit): name for digit, name in enumerate(NAMES)},
        orientation="ignore",
        remarks=(),
    )


def cache_folder(seed: int = 0) -> Path:
    """Where the built-in set is kept: $XDG_CACHE_HOME/verydeep/ or ~/.cache/verydeep/."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "verydeep" / f"digits-{VERSION}-{seed}"


def is_digits(root: Path) -> bool:
    """Whether `make_digits` made the folder."""
    return (root / CARD).is_file()


class Box(NamedTuple):
    """Rows and columns of a digit's ink in its picture, the ends left out."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Made:
    """A picture, its digit, where that lies, and the quality at which it is to be saved."""

    picture: UInt8[np.ndarray, "h w 3"]
    digit: int
    box: Box
    quality: int


def make_picture(split: str, index: int, seed: int = 0) -> Made:
    """The picture with this number: it depends on split, number and seed alone."""
    draw = Draw(seed, split, index)
    picture = _background(draw, split)
    height, width = picture.shape[:2]
    side = min(height, width)
    digit, ink = _handwriting(draw, split, draw.between(side * 50 // 100, side * 75 // 100))
    top, left = (
        min(max((length - extent) // 2 + draw.between(-(side // 8), side // 8), 0), length - extent)
        for length, extent in zip((height, width), ink.shape, strict=True)
    )
    box = Box(left, top, left + ink.shape[1], top + ink.shape[0])
    for _ in range(draw.between(0, 4)):
        _, small = _handwriting(draw, split, draw.between(side * 15 // 100, side * 25 // 100))
        place = draw.between(0, height - small.shape[0]), draw.between(0, width - small.shape[1])
        if not _meet(box, Box(place[1], place[0], place[1] + small.shape[1], place[0] + small.shape[0])):
            _lay(draw, picture, small, *place)
    _lay(draw, picture, ink, top, left)
    return Made(picture, digit, box, draw.between(80, 95))


class Draw:
    """Whole numbers from Philox's raw output, a stream of its own for each picture."""

    def __init__(self, seed: int, split: str, index: int) -> None:
        stream = 2 * index + (split == "val")
        self._raw = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=[0, 0, 0, stream])

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + (int(self._raw.random_raw()) >> 32) * (high - low + 1) // (1 << 32)


def _background(draw: Draw, split: str) -> UInt8[np.ndarray, "h w 3"]:
    """A piece of a photograph, perhaps mirrored, darkened, the order of its colours perhaps changed."""
    width = draw.between(96, 160)
    height = draw.between(max(72, width * 65 // 100), min(128, width))
    if draw.between(0, 3) == 0:
        height, width = width, height
    photograph = _photographs()[draw.between(0, len(PHOTOGRAPHS) - 1)][:, COLUMNS[split]]
    top, left = (
        draw.between(0, room - length) for room, length in zip(photograph.shape, (height, width), strict=False)
    )
    piece = photograph[top : top + height, left : left + width, :: (-1, 1)[draw.between(0, 1)]]
    piece = piece[:, :: (-1, 1)[draw.between(0, 1)]].astype(np.int64)
    return (piece * draw.between(30, 60) // 100).astype(np.uint8)


def _handwriting(draw: Draw, split: str, height: int) -> tuple[int, Int64[np.ndarray, "rows columns"]]:
    """One handwritten digit and its ink, 0 to 255, of this height, slanted, cut close around it."""
    images, digits = _digits()
    index = draw.between(HANDWRITTEN[split].start, HANDWRITTEN[split].stop - 1)
    width = height * draw.between(85, 110) // 100
    values = _weights(height) @ images[index] @ _weights(width).T  # 0 to 16, times ONE for each axis
    slant = draw.between(-height * 3 // 10, height * 3 // 10)  # px that the top lies to the right of the bottom
    shift = (slant * (height - 1 - np.arange(height)) * 256) // height  # in 256ths of a px
    values = _shear(values, shift - min(0, 256 * slant))
    faint = draw.between(4, 6)  # of 16: where ink begins; it is full 5 above
    ink = (255 * (values - faint * ONE**2) // (5 * ONE**2)).clip(0, 255)
    rows, columns = (np.flatnonzero((ink > 127).any(axis=axis)) for axis in (1, 0))
    return int(digits[index]), ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


ONE = 2 * 64**3  # what the weights below sum to between the values


@cache
def _weights(length: int) -> Int64[np.ndarray, "length 8"]:
    """Weights of 8 values for `length` positions between and around them: Keys' cubic, so that nothing is jagged.

    Distances are rounded to 64ths of the step between two values. Source: Keys 1981, equation 8.
    """
    position = (2 * np.arange(length) + 1) * 8 * 64 // (2 * length) - 32  # of the centres, in 64ths
    d = np.abs(position[:, None] - 64 * np.arange(8)).clip(max=128)
    near = 3 * d**3 - 5 * 64 * d**2 + ONE
    far = -(d**3) + 5 * 64 * d**2 - 8 * 64**2 * d + 2 * ONE
    weights: Int64[np.ndarray, "length 8"] = np.where(d < 64, near, far)
    return weights


def _shear(
    values: Int64[np.ndarray, "rows columns"], shift: Int64[np.ndarray, " rows"]
) -> Int64[np.ndarray, "rows wider"]:
    """Each row moved to the right by its shift, in 256ths of a px, between two columns by its parts of both."""
    whole, part = shift // 256, (shift % 256)[:, None]
    columns = values.shape[1]
    padded = np.pad(values, ((0, 0), (1, 1)))  # what lies outside has no ink
    source = np.arange(columns + int(whole.max()) + 1)[None] - whole[:, None]
    rows = np.arange(len(values))[:, None]
    here, before = (padded[rows, (source + offset).clip(0, columns + 1)] for offset in (1, 0))
    sheared: Int64[np.ndarray, "rows wider"] = (here * (256 - part) + before * part) // 256
    return sheared


def _lay(
    draw: Draw, picture: UInt8[np.ndarray, "h w 3"], ink: Int64[np.ndarray, "rows columns"], top: int, left: int
) -> None:
    """Put ink of one colour, brighter than what is behind it, onto the picture."""
    behind = picture[top : top + ink.shape[0], left : left + ink.shape[1]].astype(np.int64)
    luma = int((behind @ LUMA * ink).sum() // (256 * ink.sum()))
    while True:
        colour = np.array([draw.between(0, 255) for _ in range(3)])
        if int(colour @ LUMA) // 256 >= min(luma + CONTRAST, BRIGHT):
            break
    cover = (ink * draw.between(220, 255) // 255)[:, :, None]
    behind = (behind * (255 - cover) + colour * cover + 127) // 255
    picture[top : top + ink.shape[0], left : left + ink.shape[1]] = behind


def _meet(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


@cache
def _photographs() -> tuple[UInt8[np.ndarray, "427 640 3"], ...]:
    from sklearn.datasets import load_sample_image

    return tuple(load_sample_image(name) for name in PHOTOGRAPHS)


@cache
def _digits() -> tuple[Int64[np.ndarray, "1797 8 8"], Int64[np.ndarray, " 1797"]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.int64), digits.target.astype(np.int64)


def _write_split(folder: Path, split: str, count: int, seed: int, threads: int) -> None:
    for digit in range(10):
        (folder / split / str(digit)).mkdir(parents=True)
        (folder / "Annotations" / split / str(digit)).mkdir(parents=True)
    _photographs()  # read once, before the threads
    _digits()
    with ThreadPoolExecutor(threads, thread_name_prefix="digits") as pool:
        list(pool.map(partial(_write, folder, split, seed), range(count)))


def _write(folder: Path, split: str, seed: int, index: int) -> None:
    made = make_picture(split, index, seed)
    name = f"digits_{split}_{index:08d}"
    encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(made.picture), made.quality, "RGB", "420", fastdct=False)
    (folder / split / str(made.digit) / f"{name}.JPEG").write_bytes(encoded)
    xml = _xml(made, str(made.digit), name)
    (folder / "Annotations" / split / str(made.digit) / f"{name}.xml").write_text(xml, encoding="utf-8")


def _xml(made: Made, folder: str, name: str) -> str:
    """The box as ILSVRC writes it: whole pixels, counted from 0, the far ones included."""
    height, width, depth = made.picture.shape
    left, top, right, bottom = made.box
    return f"""<annotation>
	<folder>{folder}</folder>
	<filename>{name}</filename>
	<source>
		<database>verydeep digits {VERSION}</database>
	</source>
	<size>
		<width>{width}</width>
		<height>{height}</height>
		<depth>{depth}</depth>
	</size>
	<segmented>0</segmented>
	<object>
		<name>{made.digit}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>0</difficult>
		<bndbox>
			<xmin>{left}</xmin>
			<ymin>{top}</ymin>
			<xmax>{right - 1}</xmax>
			<ymax>{bottom - 1}</ymax>
		</bndbox>
	</object>
</annotation>
"""


def _unwritable(folder: Path, error: OSError) -> DatasetError:
    reason = (error.strerror or str(error)).lower()
    return DatasetError(f"{folder}: cannot be written ({reason}); make room, or name another folder by XDG_CACHE_HOME")
