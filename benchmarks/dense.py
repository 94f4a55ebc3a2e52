"""How fast and in how much memory whole pictures are tested densely.

    python benchmarks/dense.py --folder PHOTOS --output docs/results/speed/dense.json

PHOTOS holds class folders of photographs of many sizes. Net D at its full width tests 120 of them, spread over the
folder, at three scales, with mirror images; beside it stands the rate of the same net on a batch of crops. Then a
narrow D tests every photograph at the three scales together, and the memory of the process is watched. Weights are
random: neither time nor memory depends on them. Each part is a process of its own. Fifteen minutes of two cores.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verydeep.cli.lean import SETTINGS

PICTURES, SCALES = 120, (256, 384, 512)
NARROW = 1 / 16  # width
CROPS, ROUNDS = 10, 5  # as many pixels as a group on a CPU has; the best round counts
SETTLED = 100  # photographs after which memory should not grow


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, required=True, help="Class folders of photographs.")
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--pictures", type=int, default=PICTURES, help="Of the folder, for the full-width net.")
    arguments.add_argument("--part", help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.part:
        print(json.dumps(PARTS[chosen.part.split("@")[0]](chosen.folder, chosen.part, chosen.pictures)))
        return
    parts = {}
    several = ",".join(map(str, SCALES))
    for part in ("crops", *(f"dense@{scale}" for scale in SCALES), f"watched@{several}", f"lean@{several}"):
        command = [sys.executable, __file__, "--folder", chosen.folder, "--pictures", str(chosen.pictures)]
        environment = os.environ | (SETTINGS if part.startswith("lean") else {})
        done = subprocess.run([*command, "--part", part], check=True, stdout=subprocess.PIPE, env=environment)
        parts[part] = json.loads(done.stdout)
        print(part, {key: value for key, value in parts[part].items() if key != "rss_mib"}, file=sys.stderr)
    crops, *dense, watched, lean = parts.values()
    for row in dense:
        row["share_of_crops"] = round(row["gflop_per_second"] / crops["gflop_per_second"], 3)
    from machine import describe_machine

    result = {"machine": describe_machine(), **versions(), "crops": crops, "dense": dense, "memory": watched}
    result["lean_memory"] = {"settings": SETTINGS, **lean}
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"torch": version("torch"), "python": platform.python_version()}


def measure_crops(folder: Path, part: str, pictures: int) -> dict[str, Any]:
    """The rate of the same net on one batch of crops, over and over: what dense testing is held against."""
    import torch

    from verydeep.device import keep_pages
    from verydeep.nets.registry import create_net

    keep_pages()
    net = create_net("vgg-d")
    pixels = torch.randint(0, 256, (CROPS, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    seconds = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            net(pixels)
            seconds.append(time.perf_counter() - start)
    rate = CROPS * 2 * count_macs(net.plan, 224, 224) / min(seconds)
    return {"batch": CROPS, "gflop_per_second": round(rate / 1e9, 1)}


def measure_dense(folder: Path, part: str, pictures: int) -> dict[str, Any]:
    """Net D over some photographs at one scale, decoding and rescaling included."""
    from verydeep.data.open import open_dataset
    from verydeep.evaluation.posteriors import posteriors
    from verydeep.nets.registry import create_net
    from verydeep.pictures.resize import rescaled_size

    data = open_dataset(folder)
    data = data.subset([i * len(data) // pictures for i in range(pictures)])
    net = create_net("vgg-d")
    scale = int(part.split("@")[1])
    sizes = [rescaled_size(*data.size(i), scale) for i in range(len(data))]
    flop = sum(2 * 2 * count_macs(net.plan, *size) for size in sizes)  # 2 a multiply-add, and the mirror image
    seconds = posteriors(net, data, part, device="cpu").seconds
    return {
        "protocol": part,
        "images": len(data),
        "shapes": len(set(sizes)),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(data) / seconds, 3),
        "gflop_per_second": round(flop / seconds / 1e9, 1),
        "peak_memory_mib": peak_mib(),
        "weights_mib": round(sum(weight.nbytes for weight in net.parameters()) / 2**20),
    }


def watch_memory(folder: Path, part: str, pictures: int) -> dict[str, Any]:
    """The memory of a process in which a narrow net D tests every photograph of the folder."""
    from verydeep.data.open import open_dataset
    from verydeep.evaluation.posteriors import posteriors
    from verydeep.nets.registry import create_net

    samples: dict[int, float] = {}

    def sample(done: int, of: int) -> None:
        samples[done] = rss_mib()

    data = open_dataset(folder)
    protocol = "dense@" + part.split("@")[1]
    seconds = posteriors(create_net("vgg-d", width=NARROW), data, protocol, device="cpu", progress=sample).seconds
    early = max(rss for done, rss in samples.items() if done <= SETTLED)
    late = max(rss for done, rss in samples.items() if done > SETTLED)
    return {
        "protocol": protocol,
        "width": NARROW,
        "images": len(data),
        "seconds": round(seconds, 1),
        "most_in_first_100_mib": early,
        "most_after_that_mib": late,
        "growth_mib": round(late - early, 1),
        "peak_memory_mib": peak_mib(),
        "rss_mib": {done: rss for done, rss in samples.items() if done % 50 == 0},
    }


PARTS = {"crops": measure_crops, "dense": measure_dense, "watched": watch_memory, "lean": watch_memory}


def count_macs(plan: Sequence[Any], height: int, width: int) -> int:
    """Multiply-adds of a net's convolutions for a picture of any size, biases left out."""
    macs = 0
    for layer in plan:
        height, width = layer.side(height), layer.side(width)
        macs += layer.has_weights * height * width * layer.kernel**2 * layer.inputs * layer.outputs
    return macs


def peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)  # bytes there, KiB elsewhere


def rss_mib() -> float:
    if sys.platform != "linux":
        return peak_mib()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


if __name__ == "__main__":
    main()
