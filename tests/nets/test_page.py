import re
from pathlib import Path

from verydeep.nets.registry import NETS

PAGE = (Path(__file__).parents[2] / "docs" / "nets.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_on_nets_runs(capsys):
    exec("".join(re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "410 32"
    assert printed[1].endswith("[1, 10, 3, 2])")
    assert printed[2] == "torch.Size([2, 3]) torch.Size([6, 9])"
    assert printed[3:5] == ["torch.Size([1, 5, 3, 2])", "torch.Size([1, 8, 16, 12])"]
    assert printed[5:] == ["torch.Size([2, 5]) torch.Size([2, 5])", "torch.Size([1, 5, 5, 1])"]


def test_the_page_on_nets_has_them_all():
    assert set(re.findall(r"^\| `([^`]+)` \| \d", PAGE, flags=re.MULTILINE)) == set(NETS)
