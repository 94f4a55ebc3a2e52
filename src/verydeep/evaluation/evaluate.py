"""A net, a data set, protocols → a table of errors."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.errors import DatasetError
from verydeep.evaluation.error_table import ErrorTable, error_row
from verydeep.evaluation.posteriors import labels_of, posteriors
from verydeep.evaluation.protocol import Protocol, parse


def evaluate(
    net: nn.Module,
    data: Dataset,
    protocols: Sequence[str | Protocol] = ("centre", "dense"),
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    posteriors_folder: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    weights: str = "",
) -> ErrorTable:
    """Top-1 and top-5 errors of a net on labelled pictures, a row for each protocol.

    Args:
        net: has `name`, `classes`, `crop`, `score_map`.
        data: its classes are matched to the net's by key, wnid or name; it may have only some of them.
        protocols: such as `["centre", "dense@256,384,512"]`.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: crops' worth of pixels at once; see `posteriors`.
        threads: that decode pictures meanwhile.
        posteriors_folder: where a file of posteriors is left for each protocol; made if need be.
        progress: called with the protocol, the number of pictures done and of all.
        weights: what the net's weights are called, for the record.

    Raises:
        ProtocolError: a protocol does not exist or does not fit the net.
        DatasetError: the data set has a class that the net does not know, or pictures without a label.

    Source: section 4, "Evaluation": top-1 and top-5 error.
    """
    parsed = [parse(p, net.crop, net.name) if isinstance(p, str) else p for p in protocols]  # type: ignore[arg-type]
    if (labels_of(net, data) == UNLABELLED).any():  # type: ignore[arg-type]
        raise DatasetError(f"{data.root}: pictures of split {data.split} have no label; use a split that has them all")
    rows = []
    for protocol in parsed:
        found = posteriors(
            net,
            data,
            protocol,
            device=device,
            batch=batch,
            threads=threads,
            progress=partial(progress, protocol.text) if progress else None,
            weights=weights,
        )
        if posteriors_folder is not None:
            Path(posteriors_folder).mkdir(parents=True, exist_ok=True)
            found.save(Path(posteriors_folder) / f"{found.net}-{found.data}-{found.split}-{found.protocol}.safetensors")
        rows.append(error_row(found, protocol))
    return ErrorTable(rows)
