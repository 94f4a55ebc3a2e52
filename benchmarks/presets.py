"""Whether nets of torchvision and timm, tested here, say what they say under their own libraries' presets.

    python benchmarks/presets.py --folder PHOTOS --output docs/results/presets.json torchvision:vgg16 timm:resnet18

PHOTOS holds class folders of photographs; 120 of them, spread over the folder, are shown to each net by centre crop,
here and by the library's own transform. Counted: photographs whose pixels are the same in both, to the bit, and those
whose five best classes are the same, in their order. Where a net's weights are random, normalisation and last layer are
first set by the photographs, as else it would say nearly the same of all of them.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import verydeep
from verydeep.pictures.crop import take

PICTURES = 120


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("nets", nargs="+", help="Such as torchvision:vgg16 or timm:resnet18.a1_in1k.")
    arguments.add_argument("--folder", type=Path, required=True, help="Class folders of photographs.")
    arguments.add_argument("--output", type=Path, help="JSON file to write.")
    arguments.add_argument("--pictures", type=int, default=PICTURES, help="Of the folder.")
    chosen = arguments.parse_args()
    data = replace(verydeep.open_dataset(chosen.folder), orientation="ignore")  # as both libraries do
    photographs = data.subset(np.linspace(0, len(data) - 1, min(chosen.pictures, len(data))).round().astype(int))
    rows = []
    for name in chosen.nets:
        rows.append(compare(name, photographs))
        print(rows[-1], flush=True)
    if chosen.output:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")


@torch.no_grad()
def compare(name: str, data: verydeep.Dataset) -> dict[str, Any]:
    """One net on all photographs, both ways."""
    net, card = verydeep.load_net(name)
    transform = their_transform(name, net)
    theirs = [transform(Image.open(data.root / image).convert("RGB"))[None] for image in data.images]
    if card["weights"].startswith("random"):
        liven(net.module, torch.cat(theirs[:16]))
    found = verydeep.posteriors(net, data, "centre", device="cpu")
    same_pixels = same_best = 0
    bests = set()
    largest = 0.0
    for place, prepared in enumerate(theirs):
        rescaled = net.preset.rescale(data.picture(place), net.preset.smallest_side)
        ours = take(rescaled, net.preset.centre_crop(*rescaled.shape[:2], net.crop))
        same_pixels += net.prepared(torch.from_numpy(ours.copy()).permute(2, 0, 1)[None]).equal(prepared)
        posteriors = net.module(prepared).softmax(1)[0]
        largest = max(largest, float((posteriors - torch.from_numpy(found.values[place])).abs().max()))
        best = [net.classes[k] for k in posteriors.sort(descending=True, stable=True).indices[:5]]
        same_best += best == [key for key, _ in found.best(place)]
        bests.add(best[0])
    return {
        "net": name,
        "weights": card["weights"],
        "protocol": found.protocol,
        "photographs": len(data),
        "same_pixels": same_pixels,
        "same_five_best": same_best,
        "different_best_classes": len(bests),
        "largest_difference_of_a_posterior": largest,
    }


def liven(module: torch.nn.Module, pictures: torch.Tensor) -> None:
    """Change random weights, under which deep nets say the same of every picture, until they tell these apart."""
    *_, last = (part for part in module.modules() if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    torch.manual_seed(0)
    last.weight.normal_(std=0.02)  # a transformer's may be zero
    module.train()(pictures)
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda part, inputs, scores: seen.append(scores.transpose(0, 1).flatten(1)))
    module.eval()(pictures)
    hook.remove()
    mean = seen[0].mean(1)
    scale = 3 / (seen[0] - mean[:, None]).std()
    last.bias.sub_(mean).mul_(scale)
    last.weight.mul_(scale)


def their_transform(name: str, net: Any) -> Any:
    """What the library itself does to a picture."""
    library, _, rest = name.partition(":")
    if library == "torchvision":
        from torchvision import models

        plain, _, tag = rest.partition(".")
        weights = models.get_model_weights(plain)
        return (weights[tag] if tag else weights.DEFAULT).transforms()
    from timm.data import create_transform, resolve_model_data_config

    return create_transform(**resolve_model_data_config(net.module), is_training=False)


if __name__ == "__main__":
    main()
