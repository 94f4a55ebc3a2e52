import re
from pathlib import Path

import pytest

from verydeep.training.recipe import recipes

PAGE = (Path(__file__).parents[2] / "docs" / "localisation.md").read_text(encoding="utf-8")


@pytest.mark.slow  # it makes the digits where they are not there yet
@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))
def test_the_library_does_what_the_page_shows(block, capsys):
    exec(compile(block, "docs/localisation.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_recipes_of_the_page_are_there():
    assert {"ilsvrc-d-256-boxes", "ilsvrc-d-384-boxes", "tiny-imagenet-boxes"} <= set(
        re.findall(r"`([\w-]+)`", PAGE)
    ) & set(recipes())
