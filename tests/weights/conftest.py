import pytest
import torch
from sklearn.datasets import load_sample_image


@pytest.fixture
def photograph():
    """A window of a real photograph, in colour: a function of its side."""
    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)

    def window(side):
        return picture[None, :, 100 : 100 + side, 200 : 200 + side]

    return window


@pytest.fixture
def refused():
    """A function that reads what must be refused, and gives the one line that says why."""
    from verydeep.errors import WeightsError

    def line(read, *arguments):
        with pytest.raises(WeightsError) as error:
            read(*arguments)
        assert "\n" not in str(error.value)
        assert str(error.value).isprintable()
        return str(error.value)

    return line
