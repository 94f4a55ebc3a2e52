"""Several processes under torchrun, and one alone, which needs none of it."""

import json
import os
import subprocess
import sys
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from verydeep.processes import ALONE, Processes, processes

SCRIPT = """
import json, sys, torch
from verydeep.errors import DatasetError, ProcessError
from verydeep.processes import processes

we = processes()
def mistaken():
    raise DatasetError("photos: is empty")

said = {"rank": we.rank, "count": we.count, "made": we.from_first(lambda: f"by {we.rank}")}
acts = {"mistake": lambda: we.from_first(mistaken), "data": lambda: we.agree("data", str(we.rank // 2))}
for name, act in acts.items():
    try:
        act()
    except (DatasetError, ProcessError) as error:
        said[name] = [type(error).__name__, str(error)]
mine = torch.tensor([we.rank, 1.0])
said |= {"sum": we.sum(mine).tolist(), "mine": mine.tolist(), "any": we.any(we.rank == 2), "none": we.any(False)}
we.agree("data", "the same")
we.wait()
with open(f"{sys.argv[1]}/{we.rank}.json", "w") as file:
    json.dump(said, file)
"""


@given(items=some.integers(0, 1000), count=some.integers(1, 70))
def test_shares_are_neighbours_make_the_whole_and_differ_by_one_at_most(items: int, count: int) -> None:
    shares = [list(range(items))[Processes(rank, count).share(items)] for rank in range(count)]
    assert list(chain(*shares)) == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_alone_tells_itself_everything(monkeypatch) -> None:
    assert processes() is ALONE
    assert ALONE.first
    assert ALONE.from_first(lambda: 7) == 7
    ones = torch.ones(2)
    assert ALONE.sum(ones) is ones
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    ALONE.agree("data", "mine")
    ALONE.wait()


@pytest.mark.slow
def test_three_processes_agree_or_say_who_does_not(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    subprocess.run([*command, script, tmp_path], check=True, capture_output=True, timeout=100)
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {
            "rank": rank, "count": 3, "made": "by 0", "mistake": ["DatasetError", "photos: is empty"],
            "data": ["ProcessError", "process 2 of 3: sees data 1, process 0 sees 0; give all of them the same"],
            "sum": [3.0, 3.0], "mine": [rank, 1.0], "any": True, "none": False,
        }  # fmt: skip


@pytest.mark.slow
def test_a_port_in_use_is_said(tmp_path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        clean = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        code = "from verydeep.processes import processes\nprocesses()"
        ended = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=100)
    assert "ProcessError: process 0 of 2: does not find the others" in ended.stderr
    assert "--master-port" in ended.stderr
