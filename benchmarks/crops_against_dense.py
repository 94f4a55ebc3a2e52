"""How much faster dense testing at three scales is than 150 crops, on photographs of 4:3.

    python benchmarks/crops_against_dense.py --folder PHOTOS --output docs/results/speed/crops-against-dense.json

PHOTOS holds class folders of photographs. Net D at its full width tests twenty of them that are 4:3 or 3:4, both ways
in turn, each time in a process of its own, decoding and rescaling included; the best round of each counts. Weights are
random: time does not depend on them. Ten minutes of two cores.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dense import versions
from machine import describe_machine

PICTURES, ROUNDS = 20, 2
SCALES = "256,384,512"
WAYS = {"dense": f"dense@{SCALES}", "crops": f"multi-crop@{SCALES}"}
ASPECT, TOLERANCE = 4 / 3, 0.01


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, required=True, help="Class folders of photographs.")
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--pictures", type=int, default=PICTURES)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--part", help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.part:
        print(json.dumps(measure(chosen.folder, chosen.part, chosen.pictures)))
        return
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(chosen.rounds):
        for way, found in rounds.items():
            command = [sys.executable, __file__, "--folder", chosen.folder, "--pictures", str(chosen.pictures)]
            done = subprocess.run([*command, "--part", way], check=True, stdout=subprocess.PIPE)
            found.append(json.loads(done.stdout))
            print(way, found[-1], file=sys.stderr)
    best = {way: min(found, key=lambda row: row["seconds"]) for way, found in rounds.items()}
    result = {
        "machine": describe_machine(),
        **versions(),
        **best,
        "times_faster": round(best["crops"]["seconds"] / best["dense"]["seconds"], 2),
        "times_faster_by_arithmetic": round(best["crops"]["gflop"] / best["dense"]["gflop"], 2),
        "seconds_of_rounds": {way: [row["seconds"] for row in found] for way, found in rounds.items()},
    }
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


def measure(folder: Path, way: str, pictures: int) -> dict[str, Any]:
    """Net D over the photographs by one protocol."""
    from verydeep.data.open import open_dataset
    from verydeep.evaluation.cost import macs
    from verydeep.evaluation.posteriors import posteriors
    from verydeep.evaluation.protocol import parse
    from verydeep.nets.registry import create_net

    data = open_dataset(folder)
    fitting = [i for i in range(len(data)) if abs(max(data.size(i)) / min(data.size(i)) / ASPECT - 1) < TOLERANCE]
    if len(fitting) < pictures:
        raise SystemExit(f"{folder}: has {len(fitting)} photographs of 4:3 where {pictures} are needed")
    data = data.subset([fitting[i * len(fitting) // pictures] for i in range(pictures)])
    net = create_net("vgg-d")
    protocol = parse(WAYS[way], net.crop)
    flop = sum(  # 2 a multiply-add
        2 * (1 + shown.mirror) * macs(net.plan, *shown.view.shape)
        for i in range(len(data))
        for shown in protocol.views(*data.size(i), net.crop)
    )
    seconds = posteriors(net, data, protocol, device="cpu").seconds
    return {
        "protocol": protocol.text,
        "images": len(data),
        "seconds": round(seconds, 2),
        "gflop": round(flop / 1e9),
        "gflop_per_second": round(flop / seconds / 1e9, 1),
    }


if __name__ == "__main__":
    main()
