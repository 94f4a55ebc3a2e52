import subprocess
import sys
from importlib import import_module

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
    assert "lazy_loader" in modules
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


@pytest.mark.parametrize("room", ["localisation", "serve", "transfer"])
def test_every_name_of_a_room_is_there(room):
    module = import_module(f"verydeep.{room}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="verydeep attribute evalute"):
        _ = verydeep.evalute


def test_the_face_stays_a_function_where_a_module_has_its_name():
    import_module("verydeep.localisation.localise")
    assert callable(verydeep.localise)
    assert callable(import_module("verydeep.localisation").score)
