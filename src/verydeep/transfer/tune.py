"""One's own photographs by fine-tuning: the last layer of a net trained anew, or all of it, in the visible loop.

A fifth of the pictures is tested at the end and seen by nothing before: training watches pictures that are held out of
the other four. Decision: docs/decisions/114-fine-tuning.md.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from verydeep.data.dataset import Dataset
from verydeep.data.duplicates import contents
from verydeep.data.open import open_dataset
from verydeep.errors import TransferError
from verydeep.evaluation.error_table import ErrorTable
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.posteriors import Remark, default_threads, ignore
from verydeep.nets.net import Net
from verydeep.nets.registry import load_own_net, read_net
from verydeep.processes import processes
from verydeep.training.plan import batch_size, passes
from verydeep.training.recipe import Recipe, parse_recipe
from verydeep.training.run import Moment, train
from verydeep.transfer.descriptors import way_of
from verydeep.transfer.fit import check_classes
from verydeep.transfer.folds import folds
from verydeep.transfer.photographs import (
    NET,
    groups_of,
    leak_remarks,
    name_net,
    open_divided,
    refuse_lonely,
    refuse_straddling,
)
from verydeep.weights.files import write_atomically

Tuned = Literal["last", "all"]
RATES = {"last": (0.05, 1.0), "all": (0.01, 10.0)}  # for a batch of 64, and the last layer's in multiples of it


def tune_photographs(
    folder: str | Path,
    net: str = NET,
    *,
    run: str | Path,
    tune: Tuned = "all",
    balanced: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    allow_leaks: bool = False,
    device: str = "auto",
    say: Remark = ignore,
    show: Callable[[Moment], None] = lambda moment: None,
) -> ErrorTable:
    """Fine-tune a net of ours on the pictures in a folder; its errors on pictures that nothing has seen.

    Args:
        folder: as for `transfer_photographs`.
        net: a net of ours with weights.
        run: the run's folder, whose net can be used wherever a net is asked for. A table of what is trained on and what
            is tested lies beside it.
        tune: whether the last layer alone is trained, or all, the last faster than the rest.
        balanced: whether all classes count alike.
        epochs: by default as many as show the net some ten thousand pictures.
        seed: of the division and of the training.
        allow_leaks: whether to go on where a test picture is trained on, too.
        device: where to compute.
        say: gets a line for each thing that a person should know.
        show: gets every step and epoch.

    Raises:
        TransferError: there are too few pictures of a class, or the net is not one of ours.
        DatasetError: it is no data set, or a test picture is trained on, too.
    """
    loaded, card = load_own_net(net)
    say(f"{name_net(net, loaded, card, way_of(loaded)).partition(';')[0]}; trains {tune_text(tune)}")
    data, test = open_divided(folder)
    check_classes(data, test)
    hashes = contents(data, default_threads())
    if test is None:
        groups, line = groups_of(data, hashes)
        refuse_lonely(data, groups)
        which = folds(data.labels, groups, seed=seed)
        data, test = data.subset(np.flatnonzero(which != 0)), data.subset(np.flatnonzero(which == 0))
        for each in (line, f"{len(test)} pictures, of every class its fifth, are kept for the test, {len(data)} train"):
            say(each) if each else None
    else:
        refuse_straddling(data, test)
        for each in leak_remarks(data, test, hashes, contents(test, default_threads()), allow_leaks):
            say(each)
    table = Path(run).with_name(f"{Path(run).name}-pictures.csv")
    parts = {"train": data, "test": test}
    processes().from_first(lambda: write_table(table, parts))
    recipe = tuning_recipe(
        loaded, net, table, len(data), tune, epochs=epochs, seed=seed, balanced=balanced, device=device
    )
    done = train(recipe, run=run, say=say, show=show)
    tuned, tuned_card = read_net(done.net)
    tested = open_dataset(table, "test")
    found = evaluate(tuned, tested, ["centre", "dense"], device=device, weights=str(done.folder))
    return ErrorTable(
        [{**row, "tuned": tune, "epochs": tuned_card.get("epochs")} for row in found.rows], found.outcomes
    )


def tuning_recipe(
    loaded: Net,
    weights: str,
    table: Path,
    images: int,
    tune: Tuned,
    *,
    epochs: int | None = None,
    seed: int = 0,
    balanced: bool = False,
    device: str = "auto",
) -> Recipe:
    """By what a net of ours is tuned on the training pictures of a table, a fifth of which is watched.

    Args:
        loaded: the net.
        weights: where it comes from.
        table: of the pictures.
        images: how many of them are trained on or watched.
        tune: whether the last layer alone is trained, or all, the last faster than the rest.
        epochs: by default as many as show the net some ten thousand pictures.
        seed: of the training.
        balanced: whether all classes count alike.
        device: where to compute.
    """
    batch = batch_size(images)
    rate, last = RATES[tune]
    epochs = passes(images, 10, 40, 10_000) if epochs is None else epochs
    return parse_recipe({
        "net": loaded.name, "width": loaded.width, "crop": loaded.crop, "hidden": loaded.hidden, "seed": seed,
        "data": str(table), "start": {"weights": weights, "train": tune},
        "optimizer": {"learning_rate": rate * batch / 64, "batch": batch, "last_layer": last},
        "schedule": {"kind": "one-cycle", "epochs": epochs, "warm_up": epochs / 10},
        "views": {"scale_jitter": (loaded.crop, round(loaded.crop * 9 / 7))},
        "regularisation": {"dropout": 0.2, "label_smoothing": 0.1, "balanced": balanced},
        "validation": {"held_out": 0.2}, "compute": {"device": device},
    }, "transfer")  # fmt: skip


def tune_text(tune: Tuned) -> str:
    """What is trained, for a person."""
    return "its last layer anew" if tune == "last" else "all of it, the last layer anew and ten times as fast"


def write_table(path: Path, parts: dict[str, Dataset]) -> None:
    """Write a table of pictures that the loop can read.

    Raises:
        TransferError: the pictures are not in files, or the table cannot be written.
    """
    text = io.StringIO()
    rows: Any = csv.writer(text)
    rows.writerow(["file", "label", "split"])
    for split, data in parts.items():
        for index in range(len(data)):
            if not hasattr(data, "path"):
                raise TransferError(f"{data.root}: its pictures are not in files of their own; use --tune none")
            rows.writerow([data.path(index).resolve(), data.classes[data.labels[index]], split])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))
