"""Where in a picture a net sees a class: its posterior at every position of the crop, and where the positions lie."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from verydeep.evaluation.average import Net, score_maps, testing
from verydeep.evaluation.room import make_room
from verydeep.nets.net import Net as OwnNet
from verydeep.nets.stack import Stack
from verydeep.pictures.preset import OURS, Preset

ACROSS = (2, 3, 4)  # crops side by side along the smaller side of the picture
MOST_PIXELS = 2**21  # of a rescaled picture; of a longer one the finer maps are left out


@dataclass(frozen=True, eq=False)
class PositionMap:
    """The posteriors of all classes at every position of the net's crop in a picture.

    Attributes:
        smallest_side: Q, of the rescaled picture, px.
        posteriors: a soft-max at each position.
        first: where the middle of the first position is, as shares of the picture's height and width.
        step: how far the next one is, down and across, as the same shares.
    """

    smallest_side: int
    posteriors: Float32[np.ndarray, "k u v"]
    first: tuple[float, float]
    step: tuple[float, float]


@torch.inference_mode()
def position_maps(net: Net, picture: UInt8[np.ndarray, "h w 3"], device: torch.device) -> list[PositionMap]:
    """Maps of a picture, from few large positions to many small ones, with the last pool at every offset if possible.

    Of somebody else's net, which does not say its stride, positions are taken to be spread evenly.

    Args:
        net: that has a score map; on the device.
        picture: upright.
        device: where to compute.

    Raises:
        DeviceError: there is too little memory.

    Source: section 3.2, whose score map this is before the averaging; Sermanet et al. 2014, "OverFeat: integrated
    recognition, localization and detection using convolutional networks", section 3.3.
    """
    preset: Preset = getattr(net, "preset", OURS)
    room, offsets = make_room(net, device), pool_offsets(net)
    maps: list[PositionMap] = []
    for across in ACROSS:
        side = across * net.crop
        height, width = preset.rescaled_size(picture.shape[0], picture.shape[1], side)
        if height * width > MOST_PIXELS and maps:
            break
        rescaled = torch.from_numpy(np.ascontiguousarray(preset.rescale(picture, side))).to(device)
        with testing(net):
            scores = torch.cat(
                list(score_maps(net, rescaled.permute(2, 0, 1)[None], room, "fine" if offsets > 1 else "everywhere"))
            )[0]
        posteriors = scores.float().softmax(dim=0).cpu().numpy()
        evenly = (side - net.crop) / max(1, min(posteriors.shape[1:]) - 1)
        stride = net.stride / offsets if isinstance(net, OwnNet) else evenly
        middle = net.crop / 2
        first, step = (middle / height, middle / width), (stride / height, stride / width)
        maps.append(PositionMap(side, posteriors, first, step))
    return maps


def pool_offsets(net: Net) -> int:
    """At how many offsets a net's last pool can be laid, down and across; 1 where that is not known."""
    pools = [layer.stride for layer in net.plan if layer.kind == "pool"] if isinstance(net, Stack) else []
    return pools[-1] if pools else 1
