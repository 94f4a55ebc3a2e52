"""The example for Slurm, with everything but Slurm: torchrun, its rendezvous, two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train.slurm"
STUBS = {
    "scontrol": '[ "$*" = "show hostnames localhost" ] && echo localhost',
    "srun": 'shift 2\nexec "$@"',  # without its own option
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}


@pytest.mark.slow
def test_the_example_for_slurm_trains_with_two_processes(small, photos, tmp_path):
    (tmp_path / "bin").mkdir()
    for name, lines in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.write_text(f"#!/bin/sh\n{lines}\n")
        stub.chmod(0o755)
    recipe = tmp_path / "small.toml"
    recipe.write_text(small(schedule={"kind": "cosine", "epochs": 1}).to_toml())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slurm = {"JOB_NODELIST": "localhost", "NNODES": 1, "GPUS_ON_NODE": 2, "CPUS_PER_TASK": 2, "JOB_ID": 7,
             "SUBMIT_DIR": tmp_path}  # fmt: skip
    environment = os.environ | {f"SLURM_{name}": str(value) for name, value in slurm.items()}
    environment |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PORT": str(port)}
    ended = subprocess.run(["bash", EXAMPLE, recipe, photos], env=environment, capture_output=True, text=True,
                           timeout=200)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "2 processes" in ended.stderr
    assert (tmp_path / "runs" / "small" / "net.safetensors").is_file()


def test_every_line_for_slurm_is_an_option_with_its_value():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.startswith("#SBATCH")]
    assert len(lines) >= 5
    assert all(line.startswith("#SBATCH --") for line in lines)
