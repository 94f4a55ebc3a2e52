"""Scores of pictures by their best view: what machines say of each window of a picture, and the largest of it.

Decision: docs/decisions/127-the-largest-margin-over-windows.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

from verydeep.data.dataset import Dataset
from verydeep.device import choose_device
from verydeep.evaluation.average import in_parts, testing
from verydeep.evaluation.looks import group_by_shape, looks
from verydeep.evaluation.posteriors import default_threads
from verydeep.evaluation.protocol import Protocol
from verydeep.evaluation.room import make_room
from verydeep.nets.canvas import filled
from verydeep.pictures.preset import OURS
from verydeep.processes import processes
from verydeep.transfer.descriptors import AnyNet, Way
from verydeep.transfer.layer import describer


def largest_scores(
    net: AnyNet,
    data: Dataset,
    way: Way,
    weights: Float64[np.ndarray, "k d"],
    shift: Float64[np.ndarray, " k"],
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float64[np.ndarray, "n k"]:
    """Of each picture and class the largest score over positions, mirror image and scales; each descriptor of length 1.

    Args:
        net: that describes windows.
        data: pictures.
        way: layer, scales and mirror; windows are not combined, whatever it says.
        weights: of machines that were trained on descriptors of whole pictures, averaged over scales.
        shift: of the machines.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: so many crops' worth of pixels at a time; see `posteriors`.
        threads: that decode pictures meanwhile.
        progress: called with the number of views done and of all.

    Raises:
        PictureError: a picture cannot be decoded.

    Source: Wei et al. 2014, "CNN: single-label to multi-label", section 3.1.
    """
    we, where = processes(), choose_device(device)
    maps_of = describer(net.to(where), way.layer)
    rows, shifts = (torch.from_numpy(np.asarray(each, np.float32)).to(where) for each in (weights, shift))

    def best(views: Tensor) -> Float[Tensor, "n k"]:
        cells = normalize(maps_of(filled(views)).maps.float(), dim=1)
        return torch.einsum("ncuv,kc->nkuv", cells, rows).amax((2, 3)) + shifts

    mine = range(we.rank, len(data), we.count)
    found = np.full((len(data), len(weights)), -np.inf, np.float32)
    done = 0
    with testing(net), torch.inference_mode():
        room = make_room(net, where, batch)
        views = Protocol("dense", way.scales, way.mirror)
        preset: Any = getattr(net, "preset", OURS)
        seen = looks(data, views, net.crop, threads or default_threads(), preset, mine)
        for group in group_by_shape(seen, room.pixels):
            pixels = torch.from_numpy(np.stack([look.picture for look in group])).to(where).permute(0, 3, 1, 2)
            shown = torch.cat([pixels, pixels.flip(-1)]) if way.mirror else pixels
            scores = torch.cat([each for _, each in in_parts(best, shown, room, net.name)])
            of_group = scores.unflatten(0, (-1, len(pixels))).amax(dim=0).cpu().numpy()
            for look, each in zip(group, of_group, strict=True):
                found[look.image] = np.maximum(found[look.image], each)
            done += len(group)
            if progress:
                progress(done, len(mine) * len(way.scales))
    others = np.ones(len(data), bool)
    others[np.asarray(mine, np.int64)] = False
    found[others] = 0
    return we.sum(torch.from_numpy(found)).numpy().astype(np.float64)
