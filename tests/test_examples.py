import re
import runpy
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_style_transfer_paints_and_comes_nearer_to_the_style(tmp_path, monkeypatch, capsys):
    out = tmp_path / "painted.png"
    monkeypatch.setattr(sys, "argv", ["style_transfer.py", str(out), "--side", "40", "--steps", "8"])
    runpy.run_path(str(EXAMPLES / "style_transfer.py"), run_name="__main__")
    with Image.open(out) as picture:
        assert picture.size == (60, 40)
    losses = [float(loss) for loss in re.findall(r"style ([\d.]+)", capsys.readouterr().out)]
    assert losses[-1] < 0.8 * losses[0]


def test_every_example_fits_a_screen():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 64
