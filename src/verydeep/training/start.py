"""What a recipe's run starts from: a net with its first weights, and an optimiser over what is trained."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from verydeep.data.statistics import Statistics
from verydeep.nets.graft import graft
from verydeep.nets.initialise import initialise
from verydeep.nets.net import Net
from verydeep.nets.registry import NETS, create_net, load_own_net
from verydeep.training.log import Say
from verydeep.training.muon import Muon
from verydeep.training.recipe import Recipe
from verydeep.weights.files import put


def start_net(
    recipe: Recipe, classes: Sequence[str], say: Say, *, resumes: bool = False,
    draw_last: Callable[[Net], None] = lambda net: None,
) -> Net:  # fmt: skip
    """The recipe's net with its first weights.

    Random ones by the recipe's law; or another net's of the same kind, whose last layer stays random where its classes
    are others; or a shallower one's in the layers that the paper grafts. Source: section 3.1.

    Args:
        recipe: whose `start` counts.
        classes: of the training pictures.
        say: is told which layers took whose weights.
        resumes: whether the weights will come from a checkpoint, so that no other file is needed any more.
        draw_last: gives the last layer its first weights, where the law does not: those of boxes.

    Raises:
        NetError: the net is unknown, or the shallower one does not fit.
        WeightsError: the weights are damaged, or of another net.
    """
    net = create_net(
        recipe.net, width=recipe.width, crop=recipe.crop, hidden=recipe.hidden,
        dropout=recipe.regularisation.dropout, classes=classes,
    )  # fmt: skip
    if recipe.regularisation.side_heads:
        net.add_side_heads()
    law, generator = recipe.start.law, torch.Generator().manual_seed(recipe.seed)
    initialise(net, law, generator, recipe.start.deviation, own=NETS[net.name].draw)
    if resumes:
        return net
    draw_last(net)
    if recipe.start.graft:
        say(f"{recipe.net}: {graft(net, load_own_net(recipe.start.graft)[0])}")
    if recipe.start.weights:
        source = load_own_net(recipe.start.weights)[0]
        weights, own = source.state_dict(), net.state_dict()
        weights |= {name: value for name, value in own.items() if name not in net.tested()}  # side heads
        random, why = stays_random(net, source, recipe)
        weights |= {name: value for name, value in own.items() if name.partition(".")[0] in random}
        put(net, weights, recipe.start.weights)
        but = f", but for {', '.join(random)}: random, since {why}" if random else ""
        say(f"{recipe.net}: starts from {recipe.start.weights}{but}")
    return net


def stays_random(net: Net, source: Net, recipe: Recipe) -> tuple[tuple[str, ...], str]:
    """The layers that do not start from another net's weights, and why."""
    if recipe.start.layers == "convolutional":
        return tuple(layer.name for layer in net.plan if layer.kind == "fc"), "only convolutions are taken"
    return (net.heads, "the classes are others") if source.classes != net.classes else ((), "")


def choose_trained(net: Net, recipe: Recipe) -> None:
    """Mark what is trained: every layer, the fully connected ones, or the last. Source: section 4.4 of version 1."""
    chosen = {
        "all": {layer.name for layer in net.plan},
        "fully-connected": {layer.name for layer in net.plan if layer.kind == "fc"},
        "last": {*net.heads},
    }[recipe.start.train]
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] in chosen)


def set_colours(net: Net, recipe: Recipe, statistics: Statistics) -> None:
    """Give a net the mean of its training pixels, unless it has another net's, or its authors', whatever the pixels."""
    if recipe.start.graft or recipe.start.weights or NETS[net.name].mean:
        return
    net.mean.copy_(torch.from_numpy(statistics.mean)[:, None, None])
    if recipe.start.standardise:
        deviations = statistics.covariance.diagonal() ** 0.5
        net.std.copy_(torch.from_numpy(deviations).clamp(min=1)[:, None, None])  # pictures of one colour deviate by 0


def make_optimizer(net: Net, recipe: Recipe) -> Optimizer:
    """Gradient descent with momentum, with L2 on the weights and by choice on the rest.

    Source: section 3.1. Decision: docs/decisions/051-weight-decay-and-velocity.md.
    """
    settings = recipe.optimizer
    kinds = {layer.name: layer.kind for layer in net.plan}
    groups: dict[Group, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            layer, matrix = name.partition(".")[0], parameter.dim() > 1  # biases, scales and shifts have one axis
            is_shift = kinds.get(layer) == "norm" and name.endswith(".bias")
            group = Group(
                times=settings.last_layer if layer in net.heads else settings.shifts if is_shift else 1.0,
                weight_decay=settings.weight_decay * (matrix or settings.decay_biases)
                / (settings.shifts if is_shift else 1),
                orthogonal=settings.kind == "muon" and matrix and layer not in net.heads,
            )  # fmt: skip
            groups.setdefault(group, []).append(parameter)
    found = [{"params": some, **group._asdict()} for group, some in groups.items()]
    if settings.kind == "muon":
        return Muon(found, lr=settings.learning_rate, momentum=settings.momentum)
    return SGD(
        found, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov,
        fused=supports_fused(net),
    )  # fmt: skip


class Group(NamedTuple):
    """What parameters that are moved alike have in common: the rate in multiples of the net's, the decay, the way."""

    times: float
    weight_decay: float
    orthogonal: bool


def class_weights(labels: Int64[np.ndarray, " n"], classes: int, recipe: Recipe) -> Float32[Tensor, " k"] | None:
    """What a picture of each class counts, 1 on average, where all classes are to count alike."""
    if not recipe.regularisation.balanced:
        return None
    counts = np.bincount(labels, minlength=classes).clip(min=1)
    return torch.from_numpy(len(labels) / classes / counts).float()


def supports_fused(net: nn.Module) -> bool:
    """Whether torch has a one-pass step for where the weights are."""
    return next(net.parameters()).device.type in ("cpu", "cuda", "mps")
