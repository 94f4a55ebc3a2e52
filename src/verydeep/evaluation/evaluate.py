"""A net, a data set, protocols → a table of errors."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.errors import DatasetError, PosteriorsError, ProtocolError
from verydeep.evaluation.average import Net
from verydeep.evaluation.classes import labels_of
from verydeep.evaluation.cost import costs, describe, forecast
from verydeep.evaluation.error_table import ErrorTable, add_differences, error_row, mark_cheapest
from verydeep.evaluation.every import every_protocol, means_every
from verydeep.evaluation.outcome import Outcome, outcome
from verydeep.evaluation.parts import origin
from verydeep.evaluation.posteriors import Posteriors, Remark, ignore, name_of, posteriors
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.sample import stratified
from verydeep.evaluation.share import Mean, Shares, shared_tests
from verydeep.pictures.preset import OURS, Preset


def evaluate(
    net: Net,
    data: Dataset,
    protocols: str | Protocol | Sequence[str | Protocol] = ("centre", "dense"),
    *,
    images: int | None = None,
    seed: int = 0,
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

    Several protocols are compared with the centre crop, or else with the first, over the same pictures, and the
    cheapest is marked that is not significantly worse than the best. What they have in common is tested once. A
    protocol that needs a score map, for a net that has none, gets a row that says why.

    Args:
        net: an `nn.Module` with `name`, `classes`, `crop` and `score_map`.
        data: its classes are matched to the net's by key, wnid or name; it may have only some of them.
        protocols: such as `["centre", "dense@256,384,512"]`; `"all"`, or `"all@256,384,512"`, puts centre crop, ten
            crops, dense, dense at several scales, many crops and both side by side, and first remarks what each takes.
        images: how many to test, of every class its share; by default all.
        seed: which of them.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: crops' worth of pixels at once; see `posteriors`.
        memory: gigabytes that views and maps may take at once; see `posteriors`.
        threads: that decode pictures meanwhile.
        posteriors_folder: where a file of posteriors is left for each test; made if there is none. Files that lie
            there already are taken as they are, and a test that was killed goes on; see `posteriors`.
        progress: called with the protocol, the number of pictures done and of all.
        remark: called with a line for a person.
        weights: what the net's weights are called, for the record.

    Raises:
        ProtocolError: a protocol does not exist or does not fit the net.
        DatasetError: the data set has a class that the net does not know, or pictures without a label.

    Source: section 4, "Evaluation": top-1 and top-5 error.
    """
    preset: Preset = getattr(net, "preset", OURS)
    asked = [protocols] if isinstance(protocols, str | Protocol) else protocols
    wanted = list(dict.fromkeys(each for protocol in asked for each in read(protocol, net, preset)))
    reason = getattr(net, "no_score_map", "")
    possible = [each for each in wanted if not (reason and each.needs_score_map(net.crop, preset))]
    if not possible:
        raise ProtocolError(f"{wanted[0]}: {net.name} has no score map ({reason}); use a protocol of crops")
    labels = labels_of(net, data)
    if (labels == UNLABELLED).any():
        raise DatasetError(f"{data.root}: pictures of split {data.split} have no label; use a split that has them all")
    stem, part = f"{net.name}-{name_of(data)}-{data.split}", {}
    if images is not None and images < 1:
        raise DatasetError(f"{data.root}: {images} images cannot be tested; give 1 or more")
    if images is not None and images < len(data):
        stem, part = f"{stem}-{images}-of-{len(data)}-seed-{seed}", {"of_images": len(data), "seed": seed}
        data = data.subset(stratified(labels, images, seed))
    folder = None if posteriors_folder is None else Path(posteriors_folder)
    if folder:
        make_folder(folder)
    tests = shared_tests(possible)
    how: dict[str, Any] = {"device": device, "batch": batch, "memory": memory, "threads": threads}
    if any(map(means_every, asked)):
        for line in describe(forecast(net, data, tests, **how), len(data)):
            remark(line)
        if folder and any(folder.iterdir()):
            remark(f"less what {folder} has of them already")

    def file(protocol: Protocol) -> Path | None:
        name = re.sub(r'[<>:"/\\|?*]', "-", f"{stem}-{protocol}.safetensors")  # what some file system or other refuses
        return folder / name if folder else None

    def test(protocol: Protocol) -> Posteriors:
        told = partial(progress, protocol.text) if progress else None
        return posteriors(
            net, data, protocol, **how, file=file(protocol), progress=told, remark=remark, weights=weights
        )

    def keep(protocol: Protocol, mean: Posteriors) -> None:
        if path := file(protocol):
            replace(mean, made_of=origin(net, data, protocol, preset)).save(path)

    found = carry_out(tests, test, keep)
    cost = costs(net, data, possible)
    about = {"net": net.name, "weights": weights, "data": name_of(data), "split": data.split}
    rows: list[dict[str, Any]] = [
        error_row(found[protocol], protocol) | {"cost_ratio": cost[protocol]} | part
        if protocol in found
        else {**about, "classes": len(net.classes), "protocol": protocol.text, "note": f"not applicable: {reason}"}
        for protocol in wanted
    ]
    if len(possible) > 1:
        measured = [row for row in rows if "top1_error" in row]
        centre = next((place for place, each in enumerate(possible) if each.name == "centre"), 0)
        add_differences(measured, [found[protocol] for protocol in possible], against=centre)
        mark_cheapest(measured)
    return ErrorTable(rows, {protocol.text: each for protocol, each in found.items()})


def read(protocol: str | Protocol, net: Net, preset: Preset) -> Sequence[Protocol]:
    """The protocols that are meant: several by `all`."""
    if means_every(protocol):
        assert isinstance(protocol, str)
        return [parse(each, net.crop, net.name, preset) for each in every_protocol(protocol, net.crop, preset)]
    return [parse(protocol, net.crop, net.name, preset)]


def carry_out(
    tests: Mapping[Protocol, Shares],
    test: Callable[[Protocol], Posteriors],
    keep: Callable[[Protocol, Posteriors], None],
) -> dict[Protocol, Outcome]:
    """What came of every test, and of every protocol that is a mean of several, which is kept."""
    found: dict[Protocol, Outcome] = {}
    means = [Mean(protocol, shares) for protocol, shares in tests.items() if protocol not in shares]
    for single in dict.fromkeys(single for shares in tests.values() for single in shares):
        said = test(single)
        found[single] = outcome(said)
        for mean in means:
            whole = mean.add(single, said)
            if whole is not None:
                keep(mean.protocol, whole)
                found[mean.protocol] = outcome(whole)
                mean.values = None  # which is as large as the posteriors
    return found


def make_folder(path: Path) -> None:
    """Make a folder before anything is computed for it.

    Raises:
        PosteriorsError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PosteriorsError(f"{path}: cannot be made a folder ({error.strerror}); give another") from None
