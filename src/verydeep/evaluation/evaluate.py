"""A net, a data set, protocols → a table of errors."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.errors import DatasetError, PosteriorsError
from verydeep.evaluation.average import Net
from verydeep.evaluation.error_table import ErrorTable, error_row
from verydeep.evaluation.posteriors import Remark, ignore, labels_of, name_of, posteriors
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.pictures.preset import OURS


def evaluate(
    net: Net,
    data: Dataset,
    protocols: Sequence[str | Protocol] = ("centre", "dense"),
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
    posteriors_folder: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    remark: Remark = ignore,
    weights: str = "",
) -> ErrorTable:
    """Top-1 and top-5 errors of a net on labelled pictures, a row for each protocol.

    Args:
        net: an `nn.Module` with `name`, `classes`, `crop` and `score_map`.
        data: its classes are matched to the net's by key, wnid or name; it may have only some of them.
        protocols: such as `["centre", "dense@256,384,512"]`.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: crops' worth of pixels at once; see `posteriors`.
        memory: gigabytes that views and maps may take at once; see `posteriors`.
        threads: that decode pictures meanwhile.
        posteriors_folder: where a file of posteriors is left for each protocol; made if there is none. Files that lie
            there already are taken as they are, and a test that was killed goes on; see `posteriors`.
        progress: called with the protocol, the number of pictures done and of all.
        remark: called with a line for a person.
        weights: what the net's weights are called, for the record.

    Raises:
        ProtocolError: a protocol does not exist or does not fit the net.
        DatasetError: the data set has a class that the net does not know, or pictures without a label.

    Source: section 4, "Evaluation": top-1 and top-5 error.
    """
    preset = getattr(net, "preset", OURS)
    parsed = [parse(protocol, net.crop, net.name, preset) for protocol in protocols]
    if (labels_of(net, data) == UNLABELLED).any():
        raise DatasetError(f"{data.root}: pictures of split {data.split} have no label; use a split that has them all")
    folder = None if posteriors_folder is None else Path(posteriors_folder)
    if folder:
        make_folder(folder)
    rows = []
    for protocol in parsed:
        found = posteriors(
            net,
            data,
            protocol,
            device=device,
            batch=batch,
            memory=memory,
            threads=threads,
            file=folder / f"{net.name}-{name_of(data)}-{data.split}-{protocol}.safetensors" if folder else None,
            progress=partial(progress, protocol.text) if progress else None,
            remark=remark,
            weights=weights,
        )
        rows.append(error_row(found, protocol))
    return ErrorTable(rows)


def make_folder(path: Path) -> None:
    """Make a folder before anything is computed for it.

    Raises:
        PosteriorsError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PosteriorsError(f"{path}: cannot be made a folder ({error.strerror}); give another") from None
