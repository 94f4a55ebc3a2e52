"""Descriptors and a whole transfer, beside what people write with torchvision, timm and scikit-learn, same weights.

    python benchmarks/transfer.py descriptors --folder PHOTOS --output docs/results/speed/descriptors.json
    python benchmarks/transfer.py descriptors --folder PHOTOS --net vgg-d --pictures 50 --output …/descriptors-d.json
    python benchmarks/transfer.py photographs --folder PHOTOS --output docs/results/speed/photographs.json

PHOTOS holds class folders. `descriptors` describes photographs at three scales, whole, with their mirror images:

- `ours`, and `single`: the same in single precision where the other is not;
- `loop`: a loop as people write it: Pillow, torchvision's Resize, one picture and its mirror image at a time;
- `pooled`: that loop with torchvision's VGG as it is, which squeezes the last map into one window: less work, and
  other descriptors;
- `tuned`: `loop` in channels_last and in bfloat16 where this is what ours is computed in, decoding in other processes.

`photographs` takes thirty pictures of ten classes and measures `verydeep transfer`, start to report, beside a script of
timm's transforms and features and scikit-learn's logistic regression over the same folds, start to error; `quick` is
the command with the smaller two of its three scales.

Each way in turn in a process of its own; the best round of each counts. Ten minutes of two cores each; of net D forty.
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

WAYS = {"descriptors": ("ours", "single", "loop", "pooled", "tuned"), "photographs": ("ours", "quick", "timm")}
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
    arguments.add_argument("--desk", type=Path, help=argparse.SUPPRESS)  # where it leaves its descriptors
    chosen = arguments.parse_args()
    if chosen.part:
        measure = {"descriptors": measure_descriptors, "photographs": measure_photographs}[chosen.what]
        print(json.dumps(measure(chosen)))
        return
    with tempfile.TemporaryDirectory() as name:
        desk = Path(name)
        if chosen.what == "photographs":
            chosen.folder = choose_photographs(chosen.folder, desk / "photographs")
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS[chosen.what]}
        for _ in range(chosen.rounds):
            for way, found in rounds.items():
                command = [sys.executable, __file__, chosen.what, "--folder", chosen.folder, "--net", chosen.net]
                command += ["--pictures", str(chosen.pictures), "--part", way, "--desk", desk]
                found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
                print(way, found[-1], file=sys.stderr)
        best = {way: min(found, key=lambda row: row["seconds"]) for way, found in rounds.items()}
        differences = {}
        if chosen.what == "descriptors":
            differences = {
                "single_to_ours": difference(desk, "single", "ours"),  # of the data type alone
                "single_to_loop": difference(desk, "single", "loop"),  # of the decoder and the resize
                "loop_to_tuned": difference(desk, "loop", "tuned"),
            }
    result = {
        "machine": describe_machine(), **versions(), "net": chosen.net, **best,
        "times_faster": {way: round(best[way]["seconds"] / best["ours"]["seconds"], 2) for way in best},
        "one_less_cosine": differences,
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


def difference(desk: Path, one: str, other: str) -> dict[str, float]:
    """How far the descriptors of two ways are apart: 1 less the cosine, on average and at most."""
    apart = 1 - (np.load(desk / f"{one}.npy").astype(float) * np.load(desk / f"{other}.npy")).sum(axis=1)
    return {"mean": float(f"{apart.mean():.2g}"), "most": float(f"{apart.max():.2g}")}


def measure_descriptors(chosen: argparse.Namespace) -> dict[str, Any]:
    """One way over the photographs; ours then once more, from the cache."""
    from verydeep.data.open import open_dataset
    from verydeep.device import choose_device
    from verydeep.nets.registry import load_net
    from verydeep.transfer.descriptors import computed_in, describe, way_of

    data = open_dataset(chosen.folder)
    data = data.subset(np.linspace(0, len(data) - 1, min(chosen.pictures, len(data))).round().astype(int))
    net, _ = load_net(chosen.net)
    way = way_of(net)
    row: dict[str, Any] = {"images": len(data), "scales": list(way.scales)}
    if chosen.part in ("ours", "single"):
        wished = "auto" if chosen.part == "ours" else "float32"
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            found = describe(net, data, cache=cache, data_type=wished)
            row["seconds"] = time.perf_counter() - began
            began = time.perf_counter()
            again = describe(net, data, cache=cache, data_type=wished)
            row["seconds_from_cache"] = time.perf_counter() - began
        assert again.tobytes() == found.tobytes()
        row["cache_times_faster"] = round(row["seconds"] / row["seconds_from_cache"], 1)
        row["data_type"] = str(computed_in(net, way.layer, choose_device(), wished)).removeprefix("torch.")
    else:
        half = chosen.part == "tuned" and computed_in(net, way.layer, choose_device(), "auto") == torch.bfloat16
        trunk, head, normalise = as_torchvision(net)
        peer = {"pooled": pooled(trunk, head), "loop": sliding(trunk, head), "tuned": sliding(trunk, head)}[chosen.part]
        began = time.perf_counter()
        files = [str(data.path(index)) for index in range(len(data))]
        found = loop(peer, normalise, files, way.scales, tuned=chosen.part == "tuned", half=half)
        row["seconds"] = time.perf_counter() - began
        row["data_type"] = "bfloat16" if half else "float32"
    row["images_per_second"] = round(len(data) / row["seconds"], 2)
    np.save(chosen.desk / f"{chosen.part}.npy", found)
    return row


def as_torchvision(net: Any) -> tuple[nn.Sequential, list[nn.Module], Any]:
    """`features` of torchvision's VGG of the same shape, its fully connected layers but for the last; its preset."""
    from torchvision.models.vgg import make_layers
    from torchvision.transforms import Normalize

    trunk = make_layers(shape_of(net), batch_norm=has_norm(net))
    weighty = [layer for layer in trunk if layer.state_dict()]
    ours = [layer for layer in net.children() if layer.state_dict()]
    for mine, theirs in zip(ours, weighty, strict=False):
        theirs.load_state_dict(mine.state_dict())
    head = []
    for mine in ours[len(weighty) : -1]:
        theirs = nn.Linear(mine.weight[0].numel(), len(mine.weight))
        theirs.load_state_dict({"weight": mine.weight.detach().flatten(1), "bias": mine.bias.detach()})
        head.append(theirs)
    return trunk, head, Normalize((net.mean.flatten() / 255).tolist(), (net.std.flatten() / 255).tolist())


def shape_of(net: Any) -> list[int | str]:
    """What torchvision and timm make their VGGs of: channels of convolutions, M for a pool."""
    return ["M" if layer.kind == "pool" else layer.outputs for layer in net.plan if layer.kind in ("conv", "pool")]


def has_norm(net: Any) -> bool:
    return any(layer.kind == "norm" for layer in net.plan)


def window(trunk: nn.Sequential, head: list[nn.Module]) -> int:
    """The side of the map that the first fully connected layer takes."""
    channels = [layer for layer in trunk if isinstance(layer, nn.Conv2d)][-1].out_channels
    return round((head[0].in_features / channels) ** 0.5)


def pooled(trunk: nn.Sequential, head: list[nn.Module]) -> nn.Module:
    """The VGG of torchvision as it is, without its last layer."""
    layers = [each for linear in head for each in (linear, nn.ReLU(inplace=True), nn.Dropout())]
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(window(trunk, head)), nn.Flatten(), *layers).eval()


def sliding(trunk: nn.Sequential, head: list[nn.Module]) -> nn.Module:
    """The same with convolutions in place of linear layers, which give every window of a picture a descriptor."""
    layers: list[nn.Module] = []
    side = window(trunk, head)
    for linear in head:
        conv = nn.Conv2d(linear.in_features // side**2, linear.out_features, side)
        conv.load_state_dict({"weight": linear.weight.detach().view_as(conv.weight), "bias": linear.bias.detach()})
        layers += [conv, nn.ReLU(inplace=True), nn.Dropout()]
        side = 1
    return nn.Sequential(trunk, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


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
def loop(
    peer: nn.Module, normalise: Any, files: list[str], scales: tuple[int, ...], *, tuned: bool, half: bool
) -> np.ndarray:
    """Descriptors a picture at a time, since whole pictures differ in shape."""
    data = Photographs(files, scales, normalise)
    if tuned:
        peer = peer.to(memory_format=torch.channels_last)
    if half:
        peer = peer.to(torch.bfloat16)
    workers = torch.get_num_threads() if tuned else 0
    rows = []
    for pictures in torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers):
        found = []
        for pixels in pictures:
            both = torch.stack([pixels, pixels.flip(-1)])
            if tuned:
                both = both.to(torch.bfloat16 if half else torch.float32, memory_format=torch.channels_last)
            found.append(peer(both).float().mean(0))
        mean = torch.stack(found).mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.array(rows)


def measure_photographs(chosen: argparse.Namespace) -> dict[str, Any]:
    """One way from the folder to an error, in a new process: ours by its command, to the report."""
    with tempfile.TemporaryDirectory() as desk:
        row = Path(desk, "row.json")
        if chosen.part != "timm":
            command = [sys.executable, "-m", "verydeep", "transfer", chosen.folder, "--net", chosen.net]
            command += ["--out", f"{desk}/model", "--cache", f"{desk}/cache", "--json", row]
            if chosen.part == "quick":
                command += ["--scales", ",".join(map(str, two_scales(chosen.net)))]
        else:
            prepare_timm(chosen, Path(desk))
            command = [sys.executable, "-c", AS_TIMMS_USERS, chosen.folder, f"{desk}/peer.pt", row]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        (found,) = json.loads(row.read_text())
    return {"seconds": seconds, "error": found["top1_error"], "images": found["images"]}


def two_scales(name: str) -> tuple[int, ...]:
    """The scales that a net describes by, but for the largest."""
    from verydeep.nets.registry import load_net
    from verydeep.transfer.descriptors import way_of

    return way_of(load_net(name)[0]).scales[:-1]


AS_TIMMS_USERS = """
import json, sys
import timm, torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

folder, file, row = sys.argv[1:]
saved = torch.load(file, weights_only=False)
model = saved["model"].eval()
data = ImageFolder(folder, create_transform(**saved["config"], is_training=False))
with torch.inference_mode():
    features = torch.cat([
        model.forward_head(model.forward_features(pixels), pre_logits=True)
        for pixels, _ in DataLoader(data, batch_size=64, num_workers=2)
    ])
machine = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
predicted = cross_val_predict(machine, features.numpy(), data.targets, cv=PredefinedSplit(saved["folds"]))
error = 1 - accuracy_score(data.targets, predicted)
json.dump([{"top1_error": error, "images": len(data)}], open(row, "w"))
"""


def prepare_timm(chosen: argparse.Namespace, desk: Path) -> None:
    """Keep timm's VGG of the net's shape with the net's weights, its preset, and the folds that ours uses."""
    from timm.layers import ClassifierHead
    from timm.models.vgg import VGG, ConvMlp

    from verydeep.data.open import open_dataset
    from verydeep.nets.registry import load_net
    from verydeep.transfer.folds import folds

    net, _ = load_net(chosen.net)
    first, second, last = (layer for layer in net.plan if layer.kind == "fc")
    assert first.outputs == second.outputs
    model = VGG(shape_of(net), len(net.classes), norm_layer=nn.BatchNorm2d if has_norm(net) else None)
    model.pre_logits = ConvMlp(first.inputs, first.outputs, first.kernel)
    model.head = ClassifierHead(last.inputs, last.outputs)
    ours, theirs = ([each for each in one.modules() if not [*each.children()] and each.state_dict()]
                    for one in (net, model))  # fmt: skip
    for mine, other in zip(ours, theirs, strict=True):
        other.load_state_dict({key: value.view_as(other.state_dict()[key]) for key, value in mine.state_dict().items()})
    pixels = torch.randint(0, 256, (2, 3, net.crop, net.crop))
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(net.prepared(pixels)), net(pixels), rtol=1e-3, atol=1e-3)
    mean, std = ((each.flatten() / 255).tolist() for each in (net.mean, net.std))
    config = {"input_size": (3, net.crop, net.crop), "interpolation": "bilinear", "crop_pct": 0.875,
              "mean": mean, "std": std}  # fmt: skip
    data = open_dataset(chosen.folder)
    which = folds(data.labels, np.arange(len(data)))
    torch.save({"model": model, "config": config, "folds": which.tolist()}, desk / "peer.pt")


if __name__ == "__main__":
    main()
