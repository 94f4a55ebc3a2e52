"""All of a run's state in one file, from which it goes on to the bit. Decision: docs/decisions/007-exact-resume.md."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.processes import ALONE, Processes
from verydeep.training.state import State
from verydeep.weights.files import load, put, save

SUMS = ("sums", "recent")  # the tensors of a run's progress


def save_checkpoint(path: Path, state: State, card: dict[str, Any]) -> None:
    """Write the state of a run to a file, atomically; `card` is what else must come back."""
    tensors = {f"net.{name}": tensor for name, tensor in state.net.state_dict().items()}
    for name, parameter in state.net.named_parameters():
        if "momentum_buffer" in state.optimizer.state[parameter]:
            tensors[f"velocity.{name}"] = state.optimizer.state[parameter]["momentum_buffer"]
    if state.average.net is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.net.state_dict().items()}
    tensors |= {name: getattr(state.progress, name) for name in SUMS}
    save(path, tensors, {
        **card,
        "progress": {name: value for name, value in vars(state.progress).items() if name not in SUMS},
        "plateau": {name: value for name, value in asdict(state.plateau).items() if name != "schedule"},
        "updates": state.average.updates,
    })  # fmt: skip


def load_checkpoint(path: Path, state: State, processes: Processes = ALONE) -> dict[str, Any]:
    """Put what a file keeps into the state of a run, in all processes; its card comes back.

    Raises:
        WeightsError: the file is damaged, or of another run.
    """
    tensors, card = processes.from_first(lambda: load(path))

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    put(state.net, part("net."), str(path))
    if state.average.net is not None:
        put(state.average.net, part("average."), str(path))
    parameters = dict(state.net.named_parameters())
    try:
        for name, velocity in part("velocity.").items():
            kept = torch.empty_like(parameters[name]).copy_(velocity)  # in the layout of what it moves
            state.optimizer.state[parameters[name]]["momentum_buffer"] = kept
        for name, value in card["plateau"].items():
            setattr(state.plateau, name, value)
        state.average.updates = card["updates"]
        for name, value in card["progress"].items():
            setattr(state.progress, name, value)
        for name in SUMS:
            kept = getattr(state.progress, name)
            setattr(state.progress, name, tensors[name].to(kept))
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: is not a checkpoint of this run ({error}); remove it to begin again") from error
    return card
