import json
import re
import shlex
from pathlib import Path

import pytest

from verydeep.studies.pages import fill
from verydeep.training.recipe import recipes

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_what_two_processes_did_stands_beside_what_the_plan_said(tmp_path):
    measured = {"one_core": 10.04, "two_alone": 20.0, "two_processes": 19.0, "two_threads": 18.0, "efficiency": 0.95}
    planned = {"one_core": 10.1, "two_processes": 19.2, "efficiency": 0.95}
    found = {"train": measured, "test": measured, "plan": planned, "machine": {"processor": "A processor", "cores": 2}}
    (tmp_path / "processes.json").write_text(json.dumps(found))
    *_, train, test, plan, _ = fill("<!-- processes: processes.json -->\n<!-- end -->", tmp_path).splitlines()
    assert train == "| training | 10.0 | 20.0 | 19.0 | 18.0 | 95 % | A processor, 2 cores |"
    assert test.startswith("| dense testing | 10.0 |")
    assert plan == "| training, as planned | 10.1 |  | 19.2 |  | 95 % |  |"


@pytest.mark.parametrize("recipe", re.findall(r"verydeep train ([\w-]+)", PAGE))
def test_the_recipes_of_the_page_are_there(recipe):
    assert recipe in recipes()


def test_options_of_torchrun_on_the_page_are_torchruns():
    from torch.distributed.run import get_args_parser

    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    commands = re.findall(r"^torchrun (.*?)-m verydeep", PAGE.replace("\\\n", ""), flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert {word for word in shlex.split(command) if word.startswith("--")} <= known
