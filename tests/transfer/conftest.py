import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.data.open import open_dataset
from verydeep.nets.registry import create_net

COLOURS = {"ant": (200, 60, 40), "bee": (60, 190, 70), "cat": (50, 70, 210)}


def draw(path, colour, seed, height=40, width=52):
    """A picture of one colour with much noise."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 60, (height // 4, width // 4, 3))
    picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).resize((width, height)).save(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Class folders of pictures that a colour tells apart, of three shapes."""
    root = tmp_path_factory.mktemp("photos")
    for place, (name, colour) in enumerate(COLOURS.items()):
        for number in range(12):
            draw(root / name / f"{number:02}.png", colour, 100 * place + number, 40 + 4 * (number % 3), 52)
    return root


@pytest.fixture(scope="session")
def pictures(photos):
    return open_dataset(photos)


@pytest.fixture(scope="session")
def net():
    """A narrow net of the registry."""
    return create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=12, num_classes=5, start="he")


@pytest.fixture(scope="session")
def draw_picture():
    return draw


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
