"""What all ways of making training views have in common: a use of pictures goes in, rows of views come out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from verydeep.data.dataset import Dataset
from verydeep.errors import PictureError


class Use(NamedTuple):
    """Which use of the pictures it is: with a picture's index, all that random draws depend on."""

    seed: int
    epoch: int


class Made(NamedTuple):
    """Where the views of some pictures go, a row each.

    Attributes:
        views: RGB, 0 to 255.
        shifts: to be added to R, G and B.
        numbers: that a net is to say of each view, besides the picture's class.
    """

    views: UInt8[np.ndarray, "n side side 3"]
    shifts: Float32[np.ndarray, "n 3"]
    numbers: Float32[np.ndarray, "n m"]


Bad = list[tuple[int, PictureError]]


@dataclass(frozen=True)
class Views(ABC):
    """What a picture becomes at each use in training.

    Attributes:
        crop: side of the net's window, px.
    """

    crop: int

    @property
    def numbers(self) -> int:
        """How many numbers a net is to say of a view, besides the picture's class."""
        return 0

    @property
    def at_once(self) -> int:
        """How many pictures a thread makes at a time."""
        return 16

    def side(self, epoch: int, generator: np.random.Generator) -> int:
        """The side of all views of an epoch, px."""
        return self.crop

    @abstractmethod
    def fill(self, dataset: Dataset, indices: Int64[np.ndarray, " n"], use: Use, made: Made) -> Bad:
        """Make the views of some pictures, and name those that cannot be decoded, by their place in `indices`.

        What becomes of a picture depends on the use and its index alone, not on the pictures beside it.
        """


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one picture at one use: a stream of Philox of its own (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64), counter=[0, 0, index, epoch]))
