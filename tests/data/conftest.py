import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data.dataset import PictureArray
from verydeep.data.uses import Made, Use


@pytest.fixture(scope="session")
def noise():
    """A picture of noise, of this height and width."""
    return lambda height, width, seed=0: np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="session")
def encode():
    """Picture → bytes of a file."""

    def encode(picture, format="JPEG", **options) -> bytes:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format, **options)
        return file.getvalue()

    return encode


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes into a file under tmp_path."""

    def write(name, content="") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def put(tmp_path, write, encode, noise):
    """Writes a small JPEG under each name, unlike the others, and returns tmp_path."""

    def put(*names) -> Path:
        for seed, name in enumerate(names):
            write(name, encode(noise(24 + seed % 3, 32, seed)))
        return tmp_path

    return put


@pytest.fixture(scope="session")
def small_pictures():
    """Pictures of noise, all in memory."""

    def make(count=40, side=12) -> PictureArray:
        pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        return PictureArray(
            kind="noise", root=Path(), split="train", classes=("a", "b"), names={"a": "a", "b": "b"},
            images=tuple(map(str, range(count))), labels=np.arange(count) % 2, pixels=pixels,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def made():
    """What training views make of some pictures at a use."""

    def make(views, data, indices, seed=3, epoch=0) -> Made:
        rows = Made(
            np.full((len(indices), views.crop, views.crop, 3), 7, np.uint8),
            np.full((len(indices), 3), np.nan, np.float32),
            np.empty((len(indices), 0), np.float32),
        )
        assert views.fill(data, np.asarray(indices), Use(seed, epoch), rows) == []
        return rows

    return make
