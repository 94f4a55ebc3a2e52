"""How much faster two processes on two cores are than one on one core, and than one with two threads; and the plan.

    python benchmarks/processes.py --output docs/results/speed/processes.json

takes ten minutes on two cores. Training: net D at crop 56, batches of 128 of the built-in digits, so that each of two
processes has 64 as each of the paper's four GPUs had, gloo between them. Testing: the same net, dense, both mirror
images. Each contestant is started anew, bound to its cores; they take turns, and the best round of each counts.
`efficiency` is what two processes that share the work do against two that do not, each on a core of its own, at once;
section 3.3 of the paper has 3.75 of 4, which is 0.94.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

ROUNDS = 2
BATCH, STEPS, IMAGES = 128, 6, 160
PROTOCOL = "dense@64"
CONTESTANTS = {  # processes, threads of each
    "one_core": (1, 1),
    "two_alone": (1, 1),
    "two_processes": (2, 1),
    "two_threads": (1, 2),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--width", type=float, default=1.0, help="Of net D, for a trial of the program.")
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--part", help=argparse.SUPPRESS)  # in one of the processes
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)  # the first that it may have
    chosen = arguments.parse_args()
    if chosen.part:
        measured = take_part(chosen.part, chosen.folder, chosen.width, chosen.core)
        if first():
            print(json.dumps(measured))
        return
    found: dict[str, dict[str, list[float]]] = {what: {name: [] for name in CONTESTANTS} for what in ("train", "test")}
    with tempfile.TemporaryDirectory() as folder:
        facts = run("machine", 1, 1, folder, chosen.width)
        run("digits", 1, 1, folder, chosen.width)
        for number in range(chosen.rounds):
            for name, (processes, threads) in CONTESTANTS.items():
                for what, rates in found.items():
                    alone = (0, 1) if name == "two_alone" else (0,)
                    with ThreadPoolExecutor(len(alone)) as pool:
                        each = pool.map(partial(run, what, processes, threads, folder, chosen.width), alone)
                        rates[name].append(sum(measured["images_per_second"] for measured in each))
                    print(f"round {number + 1}, {what}, {name}: {rates[name][-1]:.2f} images/s", file=sys.stderr)
        plan = run("plan", 1, 1, folder, chosen.width)
    text = json.dumps(report(found, plan, facts), indent=1)
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text + "\n")
    print(text)


def report(found: dict[str, dict[str, list[float]]], plan: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The result file's content."""
    rows = {}
    for what, rates in found.items():
        best = {name: max(each) for name, each in rates.items()}
        rows[what] = {
            **{name: round(rate, 2) for name, rate in best.items()},
            "efficiency": round(best["two_processes"] / best["two_alone"], 3),
            "against_threads": round(best["two_processes"] / best["two_threads"], 3),
        }
    return {
        "what": f"images a second of net D at crop 56: training, {BATCH} a step; testing by {PROTOCOL}; best round",
        **rows,
        "plan": {name: round(value, 3) for name, value in plan.items()},
        "plan_is": "what `verydeep train --plan --processes 2` predicts on one core for the same training",
        "rounds": {what: {name: [round(rate, 2) for rate in each] for name, each in rates.items()}
                   for what, rates in found.items()},
        **facts,
    }  # fmt: skip


def run(what: str, processes: int, threads: int, folder: str, width: float, core: int = 0) -> dict[str, Any]:
    """What a contestant prints."""
    start: Sequence[str] = () if processes == 1 else (
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))  # fmt: skip
    command = [sys.executable, *start, __file__, "--part", what, "--folder", folder, "--width", str(width)]
    command += ["--core", str(core)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return json.loads(next(line for line in reversed(ended.stdout.splitlines()) if line))


# ---- One process ----


def first() -> bool:
    """Whether this process is the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def take_part(part: str, folder: Path, width: float, core: int) -> dict[str, Any]:
    """What one process measures."""
    cores = sorted(os.sched_getaffinity(0))
    threads, rank = int(os.environ["OMP_NUM_THREADS"]), int(os.environ.get("RANK", "0"))
    if part == "machine":
        import torch

        from machine import describe_machine

        return {"machine": describe_machine(), "torch": torch.__version__}
    if threads < len(cores):
        os.sched_setaffinity(0, {cores[(core + rank) % len(cores)]})  # before torch starts its threads
    from verydeep.data.digits import make_digits

    data = folder / "digits"
    if not data.exists():
        make_digits(data, train=BATCH * STEPS, val=IMAGES)
    return {} if part == "digits" else {"train": train, "test": test, "plan": plan}[part](data, folder, width)


def recipe_of(data: Path, width: float) -> Any:
    """A recipe of two short epochs."""
    from verydeep.training.recipe import parse_recipe

    return parse_recipe({
        "net": "vgg-d", "data": str(data), "crop": 56, "width": width, "start": {"law": "he"},
        "optimizer": {"batch": BATCH, "learning_rate": 1e-4, "micro_batch": BATCH},
        "schedule": {"kind": "cosine", "epochs": 2}, "validation": {"images": 10},
        "compute": {"device": "cpu", "data_type": "float32", "layout": "channels_last", "threads": 1},
    })  # fmt: skip


def train(data: Path, folder: Path, width: float) -> dict[str, float]:
    """The median step, the first three of each epoch left out: they start threads and prepare kernels."""
    from verydeep.training.loop import Step
    from verydeep.training.run import train

    times: list[tuple[int, float]] = []

    def show(moment: Any) -> None:
        if isinstance(moment.measured, Step):
            times.append((moment.measured.step, time.perf_counter()))

    with tempfile.TemporaryDirectory() as own:
        shared = Path(folder) / f"run-{os.environ.get('TORCHELASTIC_RUN_ID', Path(own).name)}"
        train(recipe_of(data, width), run=shared, show=show)
    steps = [later - earlier for (_, earlier), (step, later) in pairwise(times)
             if (step - 1) % STEPS > 3]  # fmt: skip
    return {"images_per_second": BATCH / statistics.median(steps)} if steps else {}


def test(data: Path, folder: Path, width: float) -> dict[str, float]:
    """Dense testing of all pictures, the second time."""
    import verydeep
    from verydeep.processes import processes

    net = verydeep.create_net("vgg-d", crop=56, width=width, num_classes=10, start="he")
    pictures = verydeep.open_dataset(data)
    seconds = []
    for _ in range(2):
        processes().wait()
        start = time.perf_counter()
        verydeep.posteriors(net, pictures, PROTOCOL, device="cpu", threads=1)
        seconds.append(time.perf_counter() - start)
    return {"images_per_second": len(pictures) / seconds[-1]}


def plan(data: Path, folder: Path, width: float) -> dict[str, float]:
    """What the plan says of one process and of two."""
    from verydeep.training.costs import measure_costs
    from verydeep.training.scaling import predict

    costs = measure_costs(recipe_of(data, width), [1, 2])
    one, two = predict(costs, 1), predict(costs, 2)
    return {"one_core": one.images_per_second, "two_processes": two.images_per_second, "efficiency": two.efficiency}


if __name__ == "__main__":
    main()
