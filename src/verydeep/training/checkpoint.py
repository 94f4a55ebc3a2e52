"""All of a run's state in one file, from which it goes on to the bit."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from verydeep.errors import WeightsError
from verydeep.nets.vgg import VGG
from verydeep.training.average import WeightAverage
from verydeep.training.loop import Progress
from verydeep.training.schedule import Plateau
from verydeep.weights.files import load, put, save


def save_checkpoint(
    path: Path,
    net: VGG,
    optimizer: Optimizer,
    average: WeightAverage,
    plateau: Plateau,
    progress: Progress,
    card: dict[str, Any],
) -> None:
    """Write the state of a run to a file, atomically; `card` is what else must come back."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        if "momentum_buffer" in optimizer.state[parameter]:
            tensors[f"velocity.{name}"] = optimizer.state[parameter]["momentum_buffer"]
    if average.net is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.net.state_dict().items()}
    state = {name: value for name, value in vars(progress).items() if name != "sums"}
    watched = {name: value for name, value in asdict(plateau).items() if name != "schedule"}
    save(path, tensors | {"sums": progress.sums}, {
        **card, "progress": state, "plateau": watched, "updates": average.updates,
    })  # fmt: skip


def load_checkpoint(
    path: Path, net: VGG, optimizer: Optimizer, average: WeightAverage, plateau: Plateau
) -> tuple[Progress, dict[str, Any]]:
    """Put the state of a run back into its parts; the progress and the card come back.

    Raises:
        WeightsError: the file is damaged, or of another net.
    """
    tensors, card = load(path)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    put(net, part("net."), str(path))
    if average.net is not None:
        put(average.net, part("average."), str(path))
    parameters, velocities = dict(net.named_parameters()), part("velocity.")
    try:
        for name, velocity in velocities.items():
            optimizer.state[parameters[name]]["momentum_buffer"] = torch.empty_like(parameters[name]).copy_(velocity)
        for name, value in card["plateau"].items():
            setattr(plateau, name, value)
        average.updates = card["updates"]
        return Progress(**card["progress"], sums=tensors["sums"]), card
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: is not a checkpoint of this run ({error}); remove it to begin again") from error
