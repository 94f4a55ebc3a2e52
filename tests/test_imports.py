import subprocess
import sys

import pytest

import verydeep

HEAVY = {"torch", "torchvision", "matplotlib", "sklearn", "scipy"}


def imports(*arguments):
    """The modules that a command loads, and the seconds that it takes for them."""
    command = [sys.executable, "-X", "importtime", *arguments]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")]
    rows = [row for row in rows if "self" not in row[0]]  # headings: the command begins its process anew
    return {name.strip() for _, _, name in rows}, sum(int(alone) for alone, _, _ in rows) / 1e6


def best_of_three(*arguments):
    """The same, in the best of three runs: the machine may have something else to do."""
    return min((imports(*arguments) for _ in range(3)), key=lambda result: result[1])


def test_importing_verydeep_is_quick_and_loads_nothing_heavy():
    modules, seconds = best_of_three("-c", "import verydeep")
    assert "verydeep.errors" in modules
    assert not modules & HEAVY
    assert seconds < 0.3


def test_asking_for_help_is_quick_and_loads_nothing_heavy():
    modules, seconds = best_of_three("-m", "verydeep", "--help")
    assert "typer" in modules
    assert not modules & HEAVY
    assert seconds < 0.5


def test_this_check_can_fail():
    modules, seconds = imports("-c", "import verydeep; verydeep.create_net")
    assert modules & HEAVY == {"torch"}
    assert seconds > 0.3


@pytest.mark.parametrize("name", verydeep.__all__)
def test_every_public_name_is_there(name):
    assert getattr(verydeep, name) is not None
    assert name in dir(verydeep)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = verydeep.evalute


def test_the_public_names_are_where_the_face_says():
    assert set(verydeep.HOMES) == set(verydeep.__all__) - {"VerydeepError"}
