from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from verydeep.data.dataset import Dataset
from verydeep.errors import PictureError


class SlidingNet(nn.Conv2d):
    """One convolution without padding, so that a score map is the scores of every window in turn."""

    def __init__(self, crop: int = 32, stride: int = 8, classes: Sequence[str] = "abcdefg") -> None:
        super().__init__(3, len(classes), crop, stride)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.weight.normal_(std=1e-3, generator=generator)
            self.bias.normal_(generator=generator)
        self.name, self.crop, self.classes = "sliding", crop, tuple(classes)
        self.shown = []  # shape of every batch

    def score_map(self, pixels):
        self.shown.append(tuple(pixels.shape))
        return super().forward(pixels.float())

    def forward(self, pixels):
        assert pixels.shape[-2:] == (self.crop, self.crop)
        return self.score_map(pixels).flatten(1)


@dataclass(frozen=True, eq=False, kw_only=True)
class MadeData(Dataset):
    """Pictures of noise; one without pixels cannot be decoded."""

    pictures: tuple[np.ndarray, ...]

    def picture(self, index, at_least=None):
        if self.pictures[index].size == 0:
            raise PictureError(f"made/{self.images[index]}: is empty; remove it")
        return self.pictures[index]

    def size(self, index):
        return self.pictures[index].shape[:2]


def make_data(shapes, classes="abcdefg", labels=None, seed=0) -> MadeData:
    """Labelled pictures of these heights and widths."""
    generator = np.random.default_rng(seed)
    return MadeData(
        kind="made",
        root=Path("made"),
        split="val",
        classes=tuple(classes),
        names={},
        images=[f"{i}.png" for i in range(len(shapes))],
        labels=np.array([i % len(classes) for i in range(len(shapes))] if labels is None else labels, np.int64),
        pictures=tuple(generator.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes),
    )


@pytest.fixture(scope="session", name="make_data")
def make_data_fixture():
    return make_data


@pytest.fixture(scope="session")
def make_net():
    return SlidingNet
