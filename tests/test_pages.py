from pathlib import Path

import pytest

from verydeep.studies.pages import fill, pages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", pages([ROOT / "README.md", ROOT / "docs"]), ids=lambda page: page.name)
def test_every_figure_of_a_page_is_that_of_its_result_file(page):
    text = page.read_text(encoding="utf-8")
    assert fill(text, ROOT) == text, "run `make pages`"
