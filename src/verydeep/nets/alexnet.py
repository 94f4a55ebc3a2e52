"""AlexNet, whose two groups of channels are the two graphics cards that it was trained on.

Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks".
"""

from dataclasses import replace

import torch
from torch import Generator

from verydeep.nets.description import NetDescription
from verydeep.nets.initialise import gaussian
from verydeep.nets.net import Net
from verydeep.nets.trunk import Conv, Lrn, Pool, Row, build

ROWS: tuple[Row, ...] = (  # Source: Krizhevsky et al. 2012, section 3.5 and figure 2
    Conv(96, 11, stride=4), Lrn(), Pool(3, 2),
    Conv(256, 5, padding=2, groups=2), Lrn(), Pool(3, 2),
    Conv(384, 3, padding=1),
    Conv(384, 3, padding=1, groups=2),
    Conv(256, 3, padding=1, groups=2), Pool(3, 2),
)  # fmt: skip
UNGROUPED = tuple(replace(row, groups=1) if isinstance(row, Conv) else row for row in ROWS)
CAFFE: tuple[Row, ...] = (  # Source: Caffe's bvlc_alexnet
    Conv(96, 11, stride=4), Lrn("caffe"), Pool(3, 2, ceil=True),
    Conv(256, 5, padding=2, groups=2), Lrn("caffe"), Pool(3, 2, ceil=True),
    Conv(384, 3, padding=1),
    Conv(384, 3, padding=1, groups=2),
    Conv(256, 3, padding=1, groups=2), Pool(3, 2, ceil=True),
)  # fmt: skip
TORCHVISION: tuple[Row, ...] = (  # Source: Krizhevsky 2014, "One weird trick", as torchvision has it
    Conv(64, 11, stride=4, padding=2), Pool(3, 2),
    Conv(192, 5, padding=2), Pool(3, 2),
    Conv(384, 3, padding=1),
    Conv(256, 3, padding=1),
    Conv(256, 3, padding=1), Pool(3, 2),
)  # fmt: skip
BIASES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # those that the paper starts at 1. Source: section 5
BIAS = 0.1  # in place of 1: docs/decisions/081-what-authors-start-from.md


@torch.no_grad()
def draw(net: Net, generator: Generator) -> None:
    """Weights of a deviation of 0.01; biases above 0 where they feed ReLUs that might be dead else.

    Source: Krizhevsky et al. 2012, section 5.
    """
    gaussian(net, generator)
    for name in BIASES:
        net.get_parameter(f"{name}.bias").fill_(BIAS)


def _alexnet(
    suffix: str, rows: tuple[Row, ...], crop: int, source: str, **published: tuple[float, float]
) -> NetDescription:
    errors = {f"{method.replace('_', '-')}@256": pair for method, pair in published.items()}
    return NetDescription(f"alexnet{suffix}", build(rows), crop, source, errors, draw=draw)


PAPER = "Krizhevsky, Sutskever & Hinton 2012"
NETS = (
    _alexnet("", ROWS, 227, f"{PAPER}, section 3.5", ten_crop=(0.407, 0.182)),
    _alexnet("-224", (Conv(96, 11, stride=4, padding=2), *ROWS[1:]), 224, f"{PAPER}, with the crop of its text"),
    _alexnet("-ungrouped", UNGROUPED, 227, f"{PAPER}, with convolutions that see all channels"),
    _alexnet("-caffe", CAFFE, 227, "Caffe's bvlc_alexnet", centre=(0.429, 0.198)),
    _alexnet("-torchvision", TORCHVISION, 224, "Krizhevsky 2014, as torchvision has it"),
    _alexnet("-small", (Conv(96, 5, stride=2), *ROWS[1:]), 56, f"{PAPER}, a quarter as large, for pictures of 64 px"),
)
