"""Descriptors and a whole transfer, beside what their users write with torchvision and scikit-learn, same weights.

    python benchmarks/transfer.py descriptors --folder PHOTOS --output docs/results/speed/descriptors.json
    python benchmarks/transfer.py descriptors --folder PHOTOS --net vgg-d --pictures 50 --output …/descriptors-d.json
    python benchmarks/transfer.py photographs --folder PHOTOS --output docs/results/speed/photographs.json

PHOTOS holds class folders. `descriptors` describes photographs at three scales: here; by a loop over pictures as people
write it (Pillow, torchvision's Resize, one picture and its mirror image at a time); and by that loop tuned
(channels_last, worker processes that decode). `photographs` takes thirty pictures of ten classes and measures `verydeep
transfer`, start to report, beside a script of torchvision's preset (resize, centre crop) and scikit-learn's logistic
regression over the same folds. Each way in turn in a process of its own; the best round of each counts. Ten minutes of
two cores each.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dense import versions
from machine import describe_machine

WAYS = {"descriptors": ("ours", "loop", "tuned"), "photographs": ("ours", "loop")}
ROUNDS, CLASSES, EACH = 2, 10, 30


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=WAYS)
    arguments.add_argument("--folder", type=Path, required=True, help="Class folders of photographs.")
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--net", default="tiny-imagenet", help="A name; without trained weights random ones.")
    arguments.add_argument("--pictures", type=int, default=1000, help="Of `descriptors`.")
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--part", help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.part:
        measure = {"descriptors": measure_descriptors, "photographs": measure_photographs}[chosen.what]
        print(json.dumps(measure(chosen)))
        return
    with tempfile.TemporaryDirectory() as desk:
        if chosen.what == "photographs":
            chosen.folder = choose_photographs(chosen.folder, Path(desk) / "photographs")
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS[chosen.what]}
        for _ in range(chosen.rounds):
            for way, found in rounds.items():
                command = [sys.executable, __file__, chosen.what, "--folder", chosen.folder, "--net", chosen.net]
                command += ["--pictures", str(chosen.pictures), "--part", way]
                found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
                print(way, found[-1], file=sys.stderr)
    best = {way: min(found, key=lambda row: row["seconds"]) for way, found in rounds.items()}
    peers = min(row["seconds"] for way, row in best.items() if way != "ours")
    result = {
        "machine": describe_machine(), **versions(), "net": chosen.net, **best,
        "times_faster": round(best["loop"]["seconds"] / best["ours"]["seconds"], 2),
        "times_faster_than_the_best_peer": round(peers / best["ours"]["seconds"], 2),
        "seconds_of_rounds": {way: [row["seconds"] for row in found] for way, found in rounds.items()},
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


def choose_photographs(folder: Path, target: Path) -> Path:
    """Thirty pictures of each of ten classes, spread over those that have as many."""
    classes = sorted(each for each in folder.iterdir() if len(list(each.glob("*.jp*g"))) >= EACH)
    for place in np.linspace(0, len(classes) - 1, CLASSES).round().astype(int):
        files = sorted(classes[place].glob("*.jp*g"))
        (target / classes[place].name).mkdir(parents=True)
        for file in np.linspace(0, len(files) - 1, EACH).round().astype(int):
            shutil.copy(files[file], target / classes[place].name)
    return target


def measure_descriptors(chosen: argparse.Namespace) -> dict[str, Any]:
    """One way over the photographs; ours then once more, from the cache."""
    from verydeep.data.open import open_dataset
    from verydeep.nets.registry import load_net
    from verydeep.transfer.descriptors import describe, way_of

    data = open_dataset(chosen.folder)
    data = data.subset(np.linspace(0, len(data) - 1, min(chosen.pictures, len(data))).round().astype(int))
    net, _ = load_net(chosen.net)
    scales = way_of(net).scales
    row: dict[str, Any] = {"images": len(data), "scales": list(scales)}
    if chosen.part == "ours":
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            first = describe(net, data, cache=cache)
            row["seconds"] = time.perf_counter() - began
            began = time.perf_counter()
            again = describe(net, data, cache=cache)
            row["seconds_from_cache"] = time.perf_counter() - began
        assert again.tobytes() == first.tobytes()
        row["cache_times_faster"] = round(row["seconds"] / row["seconds_from_cache"], 1)
        found = first
    else:
        peer, normalise = as_torchvision(net)
        began = time.perf_counter()
        files = [str(data.path(index)) for index in range(len(data))]
        found = loop(peer, normalise, files, scales, tuned=chosen.part == "tuned")
        row["seconds"] = time.perf_counter() - began
    row["images_per_second"] = round(len(data) / row["seconds"], 2)
    row["checksum"] = float(np.abs(found).sum(axis=1).mean())  # the same for all, but for the decoder and the resize
    return row


def as_torchvision(net: Any) -> tuple[nn.Module, Any]:
    """The layers up to the penultimate one as torchvision has them, all of them convolutions; its preset."""
    from torchvision.transforms import Normalize

    from verydeep.transfer.layer import describing_layer

    layers: list[nn.Module] = []
    for name, layer in net.named_children():
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.dim() == 4:
            fully = name.startswith("fc")
            padding = (0, 0) if fully else layer.padding
            plain: nn.Module = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding)
            plain.load_state_dict(layer.state_dict())
        elif isinstance(layer, nn.BatchNorm2d):
            plain = layer
        elif isinstance(layer, nn.ReLU):
            plain = nn.ReLU(inplace=True)
        elif isinstance(layer, nn.MaxPool2d):
            plain = nn.MaxPool2d(2, 2)
        else:
            plain = nn.Dropout()
        layers.append(plain)
        if name == describing_layer(net):
            break
    peer = nn.Sequential(*layers).eval()
    return peer, Normalize((net.mean.flatten() / 255).tolist(), (net.std.flatten() / 255).tolist())


class Photographs(torch.utils.data.Dataset):
    """Photographs at several scales, as torchvision's users prepare them."""

    def __init__(self, files: list[str], scales: tuple[int, ...], normalise: Any) -> None:
        from torchvision import transforms

        self.files = files
        self.transforms = [
            transforms.Compose([transforms.Resize(scale), transforms.ToTensor(), normalise]) for scale in scales
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        from PIL import Image

        picture = Image.open(self.files[index]).convert("RGB")
        return [transform(picture) for transform in self.transforms]


@torch.inference_mode()
def loop(peer: nn.Module, normalise: Any, files: list[str], scales: tuple[int, ...], tuned: bool) -> np.ndarray:
    """Descriptors a picture at a time."""
    data = Photographs(files, scales, normalise)
    if tuned:
        peer = peer.to(memory_format=torch.channels_last)
    workers = torch.get_num_threads() if tuned else 0
    rows = []
    for pictures in torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers):
        found = []
        for pixels in pictures:
            both = torch.stack([pixels, pixels.flip(-1)])
            if tuned:
                both = both.contiguous(memory_format=torch.channels_last)
            found.append(peer(both).mean((0, 2, 3)))
        mean = torch.stack(found).mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.array(rows)


def measure_photographs(chosen: argparse.Namespace) -> dict[str, Any]:
    """One way from the folder to an error; ours by its command, to the report."""
    began = time.perf_counter()
    if chosen.part == "ours":
        with tempfile.TemporaryDirectory() as desk:
            command = [sys.executable, "-m", "verydeep", "transfer", str(chosen.folder), "--net", chosen.net]
            command += ["--out", f"{desk}/model", "--cache", f"{desk}/cache", "--json", f"{desk}/row.json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (row,) = json.loads(Path(desk, "row.json").read_text())
        return {"seconds": time.perf_counter() - began, "error": row["top1_error"], "images": row["images"]}
    return {**by_their_users(chosen), "seconds": time.perf_counter() - began}


@torch.inference_mode()
def by_their_users(chosen: argparse.Namespace) -> dict[str, Any]:
    """Resize, centre crop, penultimate layer, logistic regression, over the same folds."""
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from torchvision import transforms

    from verydeep.data.open import open_dataset
    from verydeep.nets.registry import load_net
    from verydeep.transfer.folds import folds

    data = open_dataset(chosen.folder)
    net, _ = load_net(chosen.net)
    peer, normalise = as_torchvision(net)
    prepare = transforms.Compose(
        [
            transforms.Resize(round(net.crop * 256 / 224)),
            transforms.CenterCrop(net.crop),
            transforms.ToTensor(),
            normalise,
        ]
    )
    rows = []
    for start in range(0, len(data), 32):
        indices = range(start, min(start + 32, len(data)))
        batch = torch.stack([prepare(Image.open(data.path(index)).convert("RGB")) for index in indices])
        rows.append(peer(batch).flatten(1))
    values = torch.cat(rows).numpy()
    which = folds(data.labels, np.arange(len(data)))
    wrong = np.zeros(len(data), bool)
    for fold in range(which.max() + 1):
        tests = which == fold
        machine = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
            values[~tests], data.labels[~tests]
        )
        wrong[tests] = machine.predict(values[tests]) != data.labels[tests]
    return {"error": float(wrong.mean()), "images": len(data)}


if __name__ == "__main__":
    main()
