"""Tables 11 and 12 with small nets: what descriptors of a net are worth on Caltech and on VOC, beside baselines.

python -m verydeep.studies.transfer_table caltech DATA docs/results/transfer-caltech-101.json [CACHE]
python -m verydeep.studies.transfer_table voc DATA docs/results/transfer-voc.json [CACHE]
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from verydeep.data.dataset import Dataset
from verydeep.data.open import open_dataset
from verydeep.data.splits import split_classes
from verydeep.data.voc import ManyLabels
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import write_rows
from verydeep.evaluation.protocol import in_proportion
from verydeep.nets.net import Net
from verydeep.nets.registry import create_net, load_own_net
from verydeep.pictures.resize import resize
from verydeep.studies.published import published
from verydeep.transfer.descriptors import SCALES, describe
from verydeep.transfer.fit import fit_transfer
from verydeep.transfer.linear import LinearTransfer
from verydeep.transfer.precision import RULES, mean_average_precision
from verydeep.transfer.recall import mean_class_recall

NET = "tiny-imagenet"
SPLITS, TRAIN, TEST = (
    3,
    30,
    50,
)  # random splits; pictures of a class to train on, and at most to test. Source: appendix B
CS = (0.1, 1.0, 10.0)  # to choose C from, fewer decades than by default: larger ones take minutes for 102 classes
FIVE = (256, 384, 512, 640, 768)  # px, for a crop of 224. Source: appendix B, for VOC
PAPERS_NETS = {"D": 12_288, "E": 12_288, "D and E": 24_576}  # with the length of their descriptors. Source: appendix B
PAPERS_WAY = f"Q = {', '.join(map(str, SCALES))}, stacked"
SIDE = 16  # px, of raw pixels

Row = Mapping[str, Any]
Describe = Callable[[Dataset], Float32[np.ndarray, "n d"]]


def caltech_rows(path: str | Path, cache: str | Path | None) -> Iterator[Row]:
    """Mean class recall on Caltech-101 over random splits: a trained net at one scale and several, beside baselines.

    Source: appendix B, table 11.
    """
    data = open_dataset(path)
    net = load_own_net(NET)[0]
    scales = tuple(in_proportion(side, net.crop) for side in SCALES)

    def by(each: Net, scales: Sequence[int], combine: str = "average") -> Describe:
        return lambda some: describe(each, some, scales=scales, combine=combine, cache=cache)

    ways: list[tuple[str, str, Describe]] = [
        (NET, f"Q = {scales[0]}", by(net, scales[:1])),
        (NET, f"Q = {', '.join(map(str, scales))}, averaged", by(net, scales)),
        (NET, f"Q = {', '.join(map(str, scales))}, stacked", by(net, scales, "stack")),
        ("the same net with random weights", f"Q = {scales[0]}", by(random_like(net), scales[:1])),
        ("no net", f"raw pixels, {SIDE} × {SIDE}", raw_pixels),
    ]
    for name, way, described in ways:
        began = time.perf_counter()
        recalls, chosen, images, dimensions = [], [], 0, 0
        for seed in range(SPLITS):
            train, test = split_classes(data, TRAIN, TEST, seed)
            values = described(train)
            machine = LinearTransfer(Cs=CS, seed=seed).fit(values, train.labels)
            recalls.append(mean_class_recall(test.labels, machine.predict(described(test))))
            chosen.append(machine.C_)
            images, dimensions = len(test), values.shape[1]
        yield {
            "net": name, "way": way, "data": data.kind, "classes": len(data.classes), "train": TRAIN, "test": TEST,
            "images": images, "dimensions": dimensions, "splits": recalls, "mean_class_recall": float(np.mean(recalls)),
            "deviation": float(np.std(recalls, ddof=1)), "C": chosen, "seconds": round(time.perf_counter() - began),
        }  # fmt: skip


def voc_rows(path: str | Path, cache: str | Path | None) -> Iterator[Row]:
    """Mean average precision on VOC by both rules: one scale and several, averaged and stacked.

    Source: appendix B, table 11.
    """
    train, test = open_dataset(path, "train"), open_dataset(path, "val")
    if not isinstance(train, ManyLabels) or not isinstance(test, ManyLabels):
        raise VerydeepError(f"{path}: is not VOC; give a folder with ImageSets/Main")
    net = load_own_net(NET)[0]
    for count, combine in ((1, "average"), (3, "average"), (3, "stack"), (5, "average"), (5, "stack")):
        scales = [in_proportion(side, net.crop) for side in FIVE[:count]]
        began = time.perf_counter()
        found = fit_transfer(net, train, test, scales=scales, combine=combine, Cs=CS, cache=cache)
        how = "" if count == 1 else {"average": ", averaged", "stack": ", stacked"}[combine]
        row: dict[str, Any] = {
            "net": NET, "way": f"Q = {', '.join(map(str, scales))}{how}",
            "data": Path(path).name, "classes": len(test.classes), "images": len(test), "trained_on": len(train),
            "C": found.C, "seconds": round(time.perf_counter() - began),
        }  # fmt: skip
        yield row | {rule: mean_average_precision(found.test_scores, test.presence, rule) for rule in RULES}


def random_like(net: Net) -> Net:
    """The same net as if it had never been trained, with the same mean."""
    found = create_net(net.name, width=net.width, crop=net.crop, hidden=net.hidden, classes=net.classes, start="he")
    found.mean.copy_(net.mean)
    found.std.copy_(net.std)
    return found


def raw_pixels(data: Dataset) -> Float32[np.ndarray, "n d"]:
    """Pictures as they are, squeezed to one small square, about grey, of length 1."""
    rows = [
        resize(data.picture(index), SIDE, SIDE).reshape(-1).astype(np.float32) - 127.5 for index in range(len(data))
    ]
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def caltech_lines(rows: Sequence[Row]) -> list[str]:
    """Mean class recall over splits, with its spread."""
    lines = [
        "| net | descriptor | numbers in it | mean class recall, % | of each split |",
        "| --- | --- | --: | --: | --- |",
    ]
    for row in rows:
        recall = f"{100 * row['mean_class_recall']:.1f} ± {100 * row['deviation']:.1f}"
        each = ", ".join(f"{100 * value:.1f}" for value in row["splits"])
        lines.append(f"| {row['net']} | {row['way']} | {row['dimensions']:,} | {recall} | {each} |")
    for theirs in published()["table-11"]["rows"]:
        if theirs["net"] in PAPERS_NETS:
            recall, deviation = theirs["caltech101"]
            cells = (f"the paper's {theirs['net']}", PAPERS_WAY, f"{PAPERS_NETS[theirs['net']]:,}")
            lines.append(f"| {' | '.join(cells)} | {recall} ± {deviation} | |")
    return lines


def voc_lines(rows: Sequence[Row]) -> list[str]:
    """Mean average precision by both rules."""
    lines = ["| net | descriptor | mean AP by 11 points, % | mean AP by area, % |", "| --- | --- | --: | --: |"]
    for row in rows:
        lines.append(f"| {row['net']} | {row['way']} | {100 * row['11-point']:.1f} | {100 * row['area']:.1f} |")
    return lines


ROWS = {"caltech": caltech_rows, "voc": voc_rows}


def main(table: str, data: str, file: str, cache: str | None = None) -> None:
    """Measure the rows of a table and leave them in a file, which has those that are done so far."""
    rows = []
    for row in ROWS[table](data, cache):
        rows.append(row)
        write_rows(file, rows)
        print(row, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
