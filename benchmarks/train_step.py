"""How long a training step of net D takes on a CPU: ours, torchvision's vgg16, and an expert's torchvision.

    python benchmarks/train_step.py --output docs/results/speed/train-step.json

takes about four minutes on two cores. Each contestant is a process of its own, since settings of memory act on a whole
process; they take turns, and the best step of each counts. All train net D (torchvision's vgg16), 1000 classes, on 16
pictures of 224 × 224, by gradient descent with momentum and weight decay.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CROP, CLASSES = 224, 1000
ROUNDS, SECONDS = 3, 6.0  # processes of each contestant; seconds of steps in each, after the two that warm up
CONTESTANTS = {
    "ours": "verydeep, single precision",
    "peer": "torchvision's vgg16 and torch's SGD as shipped, single precision",
    "tuned_peer": "the same, channels_last, with pages kept as ours are, fused SGD",
    "ours_bfloat16": "verydeep, autocast to bfloat16",
    "tuned_peer_bfloat16": "the tuned peer, autocast to bfloat16",
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--batch", type=int, default=16, help="Pictures a step.")
    arguments.add_argument("--contestant", help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.contestant:
        print(json.dumps(take_part(chosen.contestant, chosen.batch)))
        return
    facts = run("machine", chosen.batch)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for number in range(ROUNDS):
        for name in CONTESTANTS:
            rounds[name].append(run(name, chosen.batch))
            seconds, busy = rounds[name][-1]["seconds"], rounds[name][-1]["busy"]
            doubt = "" if busy > 0.85 else f", with {busy:.0%} of its cores; is something else running?"
            print(f"round {number + 1}, {name}: {seconds:.2f} s{doubt}", file=sys.stderr)
    text = json.dumps(report(facts, rounds, chosen.batch), indent=2)
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text + "\n")
    print(text)


# ---- The comparison ----


def run(name: str, batch: int) -> dict[str, Any]:
    """What one contestant measured in a process of its own."""
    command = [sys.executable, __file__, "--contestant", name, "--batch", str(batch)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def report(facts: dict[str, Any], rounds: dict[str, list[dict[str, Any]]], batch: int) -> dict[str, Any]:
    """The result file's content."""
    best = {name: min(taken["seconds"] for taken in results) for name, results in rounds.items()}
    own = {"float32": best["ours"], "bfloat16": best["ours_bfloat16"]}
    default = facts["default"]
    limits = {kind: facts["operations"] / facts["peak"][kind] / 1e9 for kind in own}
    return {
        "what": f"seconds of a training step of net D, {batch} pictures of {CROP} × {CROP}; the best step of {ROUNDS} "
        "processes of each contestant, in turn",
        "ratios_are": "theirs to ours; `ratio` and `tuned_peer_ratio` compare single precision with single precision",
        "contestants": CONTESTANTS,
        "ratio": round(best["peer"] / best["ours"], 3),
        "tuned_peer_ratio": round(best["tuned_peer"] / best["ours"], 3),
        "share_of_limit": round(limits["float32"] / best["ours"], 3),
        **{name: round(seconds, 3) for name, seconds in best.items()},
        "default": {
            "is": f"what training chooses by itself on this machine: {default}",
            "why": facts["why"],
            "seconds": round(own[default], 3),
            "ratio": round(best["peer"] / own[default], 3),
            "tuned_peer_ratio": round(min(best["tuned_peer"], best["tuned_peer_bfloat16"]) / own[default], 3),
        },
        "bfloat16": {
            "ratio_to_peer_in_float32": round(best["peer"] / own["bfloat16"], 3),
            "tuned_peer_ratio": round(best["tuned_peer_bfloat16"] / own["bfloat16"], 3),
            "share_of_limit": round(limits["bfloat16"] / own["bfloat16"], 3),
        },
        "limit": {
            "is": "the step's convolutions, done directly, at the fastest rate seen of a 3 × 3 convolution forward, "
            "and nothing else; in single precision ours needs fewer multiplications than the direct way, so that its "
            "share may exceed 1",
            "convolution_peak_gflop_per_second": {kind: round(rate) for kind, rate in facts["peak"].items()},
            "convolutions_gflop": round(facts["operations"] / 1e9),
            "seconds": {kind: round(seconds, 3) for kind, seconds in limits.items()},
        },
        "peak_memory_gb": {
            name: round(max(taken["memory"] for taken in results) / 1e9, 2) for name, results in rounds.items()
        },
        "page_faults_a_step": {name: min(taken["faults"] for taken in results) for name, results in rounds.items()},
        "rounds": {name: [round(taken["seconds"], 3) for taken in results] for name, results in rounds.items()},
        "machine": facts["machine"],
        "torch": facts["torch"],
        "torchvision": facts["torchvision"],
    }


# ---- One process ----


def take_part(name: str, batch: int) -> dict[str, Any]:
    """What one process measures: the machine, or the steps of a contestant."""
    if name == "machine":
        return describe(batch)
    data_type = "bfloat16" if name.endswith("bfloat16") else "float32"
    step = {
        "ours": lambda: ours(batch, data_type),
        "peer": lambda: torchvision(batch),
        "tuned": lambda: tuned_torchvision(batch, data_type),
    }[name.split("_")[0]]()
    seconds, faults, start_busy = [], [], 0.0
    while len(seconds) < 3 or sum(seconds[2:]) < SECONDS:
        if len(seconds) == 2:
            start_busy = time.process_time()
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    busy = (time.process_time() - start_busy) / sum(seconds[2:]) / len(os.sched_getaffinity(0))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": min(seconds[2:]), "faults": min(faults[2:]), "memory": memory, "busy": busy}


def describe(batch: int) -> dict[str, Any]:
    """The machine, how fast it convolves, what training chooses on it, and what a step's convolutions need."""
    import torch
    import torchvision

    import verydeep
    from machine import describe_machine
    from verydeep.device import choose_compute, convolution_peak, keep_pages
    from verydeep.nets.layers import place

    keep_pages()
    with torch.device("meta"):
        net = verydeep.create_net("vgg-d")
    first, *others = (placed.macs for placed in place(net.plan, CROP) if placed.layer.kind == "conv")
    compute = choose_compute("cpu")
    return {
        "machine": describe_machine(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "default": str(compute.data_type).removeprefix("torch."),
        "why": compute.why,
        "peak": {
            str(kind).removeprefix("torch."): convolution_peak(torch.device("cpu"), kind)
            for kind in (torch.float32, torch.bfloat16)
        },
        "operations": 2 * batch * (3 * sum(others) + 2 * first),  # the pixels need no gradient
    }


# ---- The contestants: what trains for one step ----


def ours(batch: int, data_type: str) -> Callable[[], Any]:
    """The step of the training loop."""
    import torch

    from verydeep.data.feed import Batch
    from verydeep.device import choose_compute, keep_pages
    from verydeep.nets.registry import create_net
    from verydeep.training.average import WeightAverage
    from verydeep.training.loop import accumulate_gradients
    from verydeep.training.recipe import Recipe
    from verydeep.training.schedule import Plateau
    from verydeep.training.start import make_optimizer
    from verydeep.training.state import Progress, State

    keep_pages()  # as training does
    recipe = Recipe(net="vgg-d")
    compute = choose_compute("cpu", data_type, "channels_last")
    net = create_net("vgg-d").to(memory_format=compute.layout).train()
    progress = Progress(micro_batch=batch)
    state = State(net, make_optimizer(net, recipe), Plateau(recipe.schedule), WeightAverage(net, 0), progress)
    views = torch.randint(0, 256, (batch, 3, CROP, CROP), dtype=torch.uint8)
    pictures = Batch(
        views.contiguous(memory_format=torch.channels_last),
        torch.zeros(batch, 3, 1, 1),
        torch.randint(0, CLASSES, (batch,)),
    )

    def step() -> None:
        accumulate_gradients(state, pictures, recipe, compute)
        state.optimizer.step()

    return step


def torchvision(batch: int) -> Callable[[], Any]:
    """The loop of torchvision's references/classification."""
    import torch
    from torch.nn import functional as F
    from torchvision.models import vgg16

    net = vgg16().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    pixels, labels = torch.randn(batch, 3, CROP, CROP), torch.randint(0, CLASSES, (batch,))

    def step() -> None:
        loss = F.cross_entropy(net(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def tuned_torchvision(batch: int, data_type: str) -> Callable[[], Any]:
    """The same with what torch offers to make it fast: memory layout, data type, fused SGD, kept pages."""
    import torch
    from torch.nn import functional as F
    from torchvision.models import vgg16

    from verydeep.device import keep_pages

    keep_pages()
    net = vgg16().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    pixels = torch.randn(batch, 3, CROP, CROP).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=data_type == "bfloat16"):
            scores = net(pixels)
        loss = F.cross_entropy(scores.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
