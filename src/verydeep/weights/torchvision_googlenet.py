"""torchvision's layout of its GoogLeNet, which is another net than the paper's: `googlenet-torchvision`."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import Colours, Found

HALF: Colours = (127.5, 127.5, 127.5)  # what `transform_input` makes of the preset that the published weights come with
STEM = {"conv1": "conv1/7x7_s2", "conv2": "conv2/3x3_reduce", "conv3": "conv2/3x3"}
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
BRANCHES = {
    "branch1": "1x1",
    "branch2.0": "3x3_reduce",
    "branch2.1": "3x3",
    "branch3.0": "5x5_reduce",
    "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}
SIDE_HEADS = ("aux1.", "aux2.")  # for training only


def _layers() -> Iterator[tuple[str, str]]:
    """The name of each layer in torchvision, and ours, in the order of the data."""
    modules = {f"inception{each}.{theirs}": f"inception_{each}/{ours}" for each in MODULES
               for theirs, ours in BRANCHES.items()}  # fmt: skip
    for theirs, ours in {**STEM, **modules}.items():
        block, _, layer = ours.removesuffix("_s2").rpartition("/")
        yield f"{theirs}.conv", ours
        yield f"{theirs}.bn", f"{block}/norm_{layer}"
    yield "fc", "loss3/classifier"


LAYERS = dict(_layers())


def from_torchvision_googlenet(tensors: Mapping[str, Tensor], where: str) -> Found | None:
    """The weights of torchvision's GoogLeNet, without its side heads; None if the names are not torchvision's.

    Raises:
        WeightsError: a name is none of that net's.
    """
    if not {"inception3a.branch1.conv.weight", "fc.weight"} <= tensors.keys():
        return None
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, word = name.rpartition(".")
        if name.startswith(SIDE_HEADS):
            continue
        if layer not in LAYERS:
            raise WeightsError(f"{where}: {name} is not of torchvision's GoogLeNet; name the net that it is of")
        found[f"{LAYERS[layer]}.{word}"] = tensor[..., None, None] if name == "fc.weight" else tensor
    return Found("torchvision", found, HALF, HALF, net="googlenet-torchvision")
