import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "eel")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Class folders, five pictures a class."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for number in range(5):
            picture = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / name / f"{number}.png")
    return root
