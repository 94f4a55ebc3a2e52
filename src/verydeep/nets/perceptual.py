"""How far apart pictures are in the layers of a net: in what they show, and in how they are painted."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn import functional as F

from verydeep.errors import NetError
from verydeep.nets.features import layer_maps
from verydeep.nets.net import Net
from verydeep.nets.wrap import Wrapped


def perceptual_loss(
    net: Net | Wrapped,
    pixels: Real[Tensor, "n 3 h w"],
    target: Real[Tensor, "n 3 _ _"],
    layers: Sequence[str] | Mapping[str, float] = ("relu3_3",),
) -> Float[Tensor, ""]:
    """The squared difference of the maps of pictures and of their targets: mean of a layer's numbers, sum over layers.

    The gradient goes to `pixels`, not to `target`. Where it is not to go to the net's weights as well, which costs time
    and memory, say `net.requires_grad_(False)` once.

    Args:
        net: in eval mode; the paper takes vgg-d.
        pixels: RGB, 0 to 255.
        target: as many, of the same size.
        layers: names, or a weight for each name.

    Raises:
        NetError: a layer does not exist, or the pictures are of other sizes.

    Source: Johnson et al. 2016, section 3.2, feature reconstruction loss.
    """
    if pixels.shape != target.shape:
        shapes = " and ".join(str(list(pictures.shape)) for pictures in (pixels, target))
        raise NetError(f"perceptual_loss: pictures and targets are {shapes}; rescale one to the other's size")
    weights = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0)
    with torch.no_grad():
        due = dict(layer_maps(net, target, [*weights]))
    terms = [weights[name] * F.mse_loss(maps, due[name]) for name, maps in layer_maps(net, pixels, [*weights])]
    return torch.stack(terms).sum()


def gram(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c c"]:
    """Which channels go together in a map, wherever: products of two channels, summed over cells, over c × h × w.

    Gatys et al. (2015) do not divide; for a picture and a style of one size their loss of a layer,
    Σ (G − A)² / (4 c² (h w)²), is a quarter of the summed squares of the difference of these.

    Source: Johnson et al. 2016, section 3.2, style reconstruction loss.
    """
    cells = maps.flatten(2)
    return cells @ cells.mT / cells[0].numel()
