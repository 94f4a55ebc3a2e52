import re
from pathlib import Path

import pytest

from verydeep.studies.pages import fill

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))
def test_the_library_does_what_the_page_shows(block, capsys):
    exec(compile(block, "docs/serve.md", "exec"), {})
    assert "200 classes" in capsys.readouterr().out


def test_a_measured_time_stands_in_a_table(tmp_path):
    (tmp_path / "serve.json").write_text(
        '{"net": "tiny-imagenet", "photograph": "640 × 427 px", "times": 20, "median": 0.517, "least": 0.4832, '
        '"most": 0.8324, "threads": 2, "machine": {"processor": "A processor", "cores": 2}}',
        encoding="utf-8",
    )
    *_, row, _ = fill("<!-- serve: serve.json -->\n<!-- end -->", tmp_path).splitlines()
    assert row == "| tiny-imagenet | 640 × 427 px | 0.52 (0.48–0.83) | 20 | A processor, 2 threads |"
