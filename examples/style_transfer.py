"""Paint one photograph in the style of another, after Gatys et al. 2015, "A neural algorithm of artistic style".

python examples/style_transfer.py painted.png --side 160 --steps 150
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import verydeep
from verydeep.pictures.resize import rescale

CONTENT, STYLE = "relu3_1", ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]


def pixels_of(name: str, smallest_side: int) -> torch.Tensor:
    """A file, or a photograph that scikit-learn ships, as pixels 1 3 h w from 0 to 255."""
    picture = np.asarray(Image.open(name).convert("RGB")) if Path(name).exists() else load_sample_image(name)
    return torch.tensor(rescale(picture, smallest_side)).permute(2, 0, 1)[None].float()


def apart(maps: torch.Tensor, due: torch.Tensor) -> torch.Tensor:
    """The squared difference, as a fraction of what there is: the same scale for every layer of every net."""
    return (maps - due).square().sum() / due.square().sum()


def paint(net: verydeep.Net, content: torch.Tensor, style: torch.Tensor, steps: int) -> torch.Tensor:
    """The content's pixels, changed until the Gram matrices of their layers are the style's."""
    net.requires_grad_(False)
    shown = verydeep.features(net, content, [CONTENT])[CONTENT]
    grams = {name: verydeep.gram(maps) for name, maps in verydeep.features(net, style, STYLE).items()}
    pixels = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=4)
    for step in range(1, steps + 1):
        maps = verydeep.features(net, pixels, [CONTENT, *STYLE])
        content_loss = apart(maps[CONTENT], shown)
        style_loss = torch.stack([apart(verydeep.gram(maps[name]), due) for name, due in grams.items()]).mean()
        optimizer.zero_grad()
        (content_loss + 10 * style_loss).backward()
        optimizer.step()
        pixels.data.clamp_(0, 255)
        print(f"step {step} of {steps}: content {content_loss:.3f}, style {style_loss:.3f}", end="\r", flush=True)
    return pixels.detach()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="the picture to write")
    parser.add_argument("--net", default="tiny-imagenet", help="such as a file of vgg-d's weights")
    parser.add_argument("--content", default="china.jpg", help="a file, or one of scikit-learn's photographs")
    parser.add_argument("--style", default="flower.jpg", help="likewise")
    parser.add_argument("--side", type=int, default=160, help="the smallest side, px")
    parser.add_argument("--steps", type=int, default=150)
    asked = parser.parse_args()
    net, _ = verydeep.load_net(asked.net)
    painted = paint(net, pixels_of(asked.content, asked.side), pixels_of(asked.style, asked.side), asked.steps)
    Image.fromarray(painted[0].permute(1, 2, 0).round().byte().numpy()).save(asked.out)
