"""torchvision's layout of its GoogLeNet, which is another net than the paper's: `googlenet-torchvision`."""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import Colours, Found

HALF: Colours = (127.5, 127.5, 127.5)  # what `transform_input` makes of the preset that the published weights come with
STEM = {"conv1": "conv1/7x7_s2", "conv2": "conv2/3x3_reduce", "conv3": "conv2/3x3"}
BRANCHES = {
    "branch1": "1x1",
    "branch2.0": "3x3_reduce",
    "branch2.1": "3x3",
    "branch3.0": "5x5_reduce",
    "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}
SIDE_HEADS = ("aux1.", "aux2.")  # for training only
PART = re.compile(r"(?:inception(?P<module>\d\w)\.(?P<branch>branch\d(?:\.\d)?)|(?P<stem>conv\d))\.(?P<kind>conv|bn)")


def from_torchvision_googlenet(tensors: Mapping[str, Tensor], where: str) -> Found | None:
    """The weights of torchvision's GoogLeNet, without its side heads; None if the names are not torchvision's.

    Raises:
        WeightsError: a name is none of that net's.
    """
    if not {"inception3a.branch1.conv.weight", "fc.weight"} <= tensors.keys():
        return None
    found = dict(_renamed(tensors, where))
    return Found("torchvision", found, HALF, HALF, net="googlenet-torchvision")


def _renamed(tensors: Mapping[str, Tensor], where: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        part, _, word = name.rpartition(".")
        if name.startswith(SIDE_HEADS):
            continue
        if part == "fc":
            yield f"loss3/classifier.{word}", tensor[:, :, None, None] if word == "weight" else tensor
            continue
        match = PART.fullmatch(part)
        if not match or (match["stem"] or "conv1") not in STEM or (match["branch"] or "branch1") not in BRANCHES:
            raise WeightsError(f"{where}: {name} is not of torchvision's GoogLeNet; name the net that it is of")
        ours = STEM[match["stem"]] if match["stem"] else f"inception_{match['module']}/{BRANCHES[match['branch']]}"
        if match["kind"] == "bn":
            block, _, layer = ours.removesuffix("_s2").rpartition("/")
            ours = f"{block}/norm_{layer}"
        yield f"{ours}.{word}", tensor
