"""The start of a deep net from a shallow one: layers of the same name take its weights."""

from dataclasses import dataclass

from torch import nn

from verydeep.errors import NetError
from verydeep.nets.net import Net

CONVOLUTIONS = ("conv1_1", "conv2_1", "conv3_1", "conv3_2")  # of A; all fit B, C, D and E


@dataclass(frozen=True)
class Graft:
    """Which layers took the shallow net's weights, and which stayed random."""

    taken: tuple[str, ...]
    random: tuple[str, ...]

    def __str__(self) -> str:
        return f"from the shallow net: {', '.join(self.taken)}; random: {', '.join(self.random) or 'none'}"


def graft(net: Net, shallow: Net, layers: tuple[str, ...] | None = None) -> Graft:
    """Copy the shallow net's layers into those of the same name of a deeper net, in place.

    Args:
        net: the deeper net; it takes the shallow one's mean and deviation too.
        shallow: a trained net.
        layers: names; by default the first four convolutions of A (by name, since by place they would not fit) and the
            fully connected layers that both have; of the 5 × 5 control the latter alone. A convolution brings its
            normalisation.

    Raises:
        NetError: a layer is in one of the nets only, or has other shapes or classes, or a normalisation in one only.

    Source: section 3.1; docs/decisions/004-start-of-the-weights.md.
    """
    if layers is None:
        read = [{layer.name for layer in each.plan if layer.kind == "fc"} for each in (net, shallow)]
        layers = (*(() if "5x5" in net.name else CONVOLUTIONS), *sorted(read[0] & read[1]))
    pairs = [(_parts(net, layer), _parts(shallow, layer)) for layer in layers]
    for layer, (ours, theirs) in zip(layers, pairs, strict=True):
        if ours.keys() != theirs.keys():
            names = (net.name, shallow.name) if len(ours) > len(theirs) else (shallow.name, net.name)
            raise NetError(f"graft: {layer} is normalised in {names[0]}, not in {names[1]}; use nets of a kind")
        shapes = [parts[layer].get_parameter("weight").shape for parts in (ours, theirs)]
        if shapes[0] != shapes[1]:
            sizes = ["×".join(map(str, shape)) for shape in shapes]
            raise NetError(
                f"graft: {layer} is {sizes[0]} in {net.name} and {sizes[1]} in {shallow.name}; use the same width, "
                "crop, hidden units and classes"
            )
    heads = [head for head in net.heads if head in layers]
    if net.classes != shallow.classes and heads:
        raise NetError(
            f"graft: {net.name} and {shallow.name} have other classes, or in another order; leave out {heads[0]}"
        )
    net.mean.copy_(shallow.mean)
    net.std.copy_(shallow.std)
    for ours, theirs in pairs:
        for name, module in ours.items():
            module.load_state_dict(theirs[name].state_dict())
    weighty = (layer.name for layer in net.plan if layer.has_weights)
    return Graft(tuple(layers), tuple(layer for layer in weighty if layer not in layers))


def _parts(net: Net, layer: str) -> dict[str, nn.Module]:
    """A layer with weights, and its normalisation where it has one, by name."""
    modules = dict(net.named_children())
    if not isinstance(modules.get(layer), nn.Conv2d):
        raise NetError(f"graft: {net.name} has no layer {layer} with weights; name layers that both nets have")
    return {name: modules[name] for name in (layer, layer.replace("conv", "norm")) if name in modules}
