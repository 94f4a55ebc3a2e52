import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image


@pytest.fixture(scope="session")
def photo():
    """A real photograph, 427 x 640."""
    return np.array(load_sample_image("china.jpg"))


@pytest.fixture(scope="session")
def small(photo):
    """A piece of it, 60 x 80."""
    return np.array(Image.fromarray(photo).resize((80, 60), Image.Resampling.BILINEAR, box=(100, 60, 420, 300)))


@pytest.fixture(scope="session")
def encode():
    """Picture or Pillow image → bytes of a file."""

    def encode(picture, format, **options):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    return encode
