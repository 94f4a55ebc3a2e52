"""The tables in README.md and docs/, made from the result files: `make pages`.

A page says which, and the table stands between two comments:

    <!-- errors: docs/results/tiny-imagenet.json -->
    <!-- end -->

Paths are those of the repository. A figure that was typed by hand is a defect, and tests/test_pages.py finds it.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import ErrorTable
from verydeep.nets.registry import NETS, load_own_net
from verydeep.studies.box_table import box_lines
from verydeep.studies.findings import try_findings
from verydeep.studies.net_tables import beside_lines, net_lines, pair
from verydeep.studies.protocol_table import cost_ratio_lines, protocol_lines
from verydeep.studies.results import Results
from verydeep.studies.tables import finding_sheet, leaderboard, machine_of
from verydeep.studies.transfer_table import caltech_lines, descriptor_lines, photograph_lines, voc_lines

MARKED = re.compile(r"(?P<start><!-- (?P<table>[a-z]+): (?P<files>[^>]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)

FEW = 100  # classes, among which it is too easy to choose for the paper's errors among 1000 to say anything

Row = Mapping[str, Any]


def fill(page: str, root: Path) -> str:
    """The page with its tables made anew from the files that it names, which lie in `root`.

    Raises:
        VerydeepError: it names a table that is not known, or a file that is damaged.
    """

    def table(marked: re.Match[str]) -> str:
        if marked["table"] in COUNTED:
            return marked["start"] + "\n".join(COUNTED[marked["table"]](marked["files"].split())) + "\n" + marked["end"]
        if marked["table"] not in TABLES.keys() | KEPT.keys():
            known = ", ".join((*TABLES, *KEPT, *COUNTED))
            raise VerydeepError(f"a page asks for a table {marked['table']!r}; write one of {known}")
        files = [root / name for name in marked["files"].split()]
        missing = [name for name, file in zip(marked["files"].split(), files, strict=True) if not file.exists()]
        if missing:
            return f"{marked['start']}*Not measured yet: {', '.join(missing)}.*\n{marked['end']}"
        if marked["table"] in KEPT:
            lines = [line for folder in files for line in KEPT[marked["table"]](folder)]
        else:
            lines = TABLES[marked["table"]]([row for file in files for row in read_rows(file)])
        return marked["start"] + "\n".join(lines) + "\n" + marked["end"]

    return MARKED.sub(table, page)


def read_rows(file: Path) -> Sequence[Row]:
    """The rows of a result file; a file of one result has one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VerydeepError(f"{file}: cannot be read ({error}); make it again") from error
    rows = content if isinstance(content, list) else [content]
    return [{"name": file.stem, **row} for row in rows]


def error_lines(rows: Sequence[Row]) -> list[str]:
    """Errors by net and protocol in per cent, beside what the paper has for such a protocol on its own data."""
    lines = [
        "| net | data | protocol | images | top-1 error, % | top-5 error, % | paper's on ILSVRC-2012 |",
        "| --- | --- | --- | --: | --: | --: | --: |",
    ]
    for row in rows:
        errors = (f"{100 * row[f'top{k}_error']:.1f} ({span(row[f'top{k}_interval'])})" for k in (1, 5))
        cells = (row["net"], row["data"], row["protocol"], f"{row['images']:,}", *errors, published(row))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def epoch_lines(rows: Sequence[Row]) -> list[str]:
    """The top-1 error on the watched pictures after each epoch of some runs of a study, per cent."""
    epochs = range(1, 1 + max(len(row["epochs"]) for row in rows))
    lines = [f"| run, seed | {' | '.join(f'epoch {epoch}' for epoch in epochs)} |", f"| --- |{' --: |' * len(epochs)}"]
    for row in rows:
        errors = [f"{100 * epoch['validation_top1_error']:.1f}" for epoch in row["epochs"]]
        lines.append(f"| {row['run']}, {row['seed']} | {' | '.join(errors)} |")
    return lines


def comparison_lines(rows: Sequence[Row]) -> list[str]:
    """Protocols side by side: errors, differences picture by picture, calibration and cost, and which one to take."""
    measured = [row for row in rows if "top1_error" in row]
    compared = next((row["compared_with"] for row in rows if "compared_with" in row), "none")
    lines = [
        f"| protocol | top-1 error, % | top-5 error, % | top-1 less {compared}'s, points | calibration error, % "
        "| cost, crops |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for row in measured:
        errors = (f"{100 * row[f'top{k}_error']:.1f} ({span(row[f'top{k}_interval'])})" for k in (1, 5))
        difference = ""
        if "top1_difference" in row:
            low, high = (f"{100 * bound:+.1f}" for bound in row["top1_difference_interval"])
            difference = f"{100 * row['top1_difference']:+.1f} ({low} to {high})"
        rest = (difference, f"{100 * row['calibration_error']:.1f}", f"{row['cost_ratio']:.1f}")
        lines.append(f"| {' | '.join((row['protocol'], *errors, *rest))} |")
    return [*lines, "", ErrorTable(rows).verdict()]


def published(row: Row) -> str:
    """The paper's top-1 / top-5 error of the same net by a protocol of the same kind, per cent.

    The paper normalises none: of ours that are, it is that of the net without. Errors among few classes stand alone.
    """
    if row.get("classes", 1000) < FEW:
        return ""
    net = row["net"].removesuffix("-bn")
    for protocol, errors in NETS[net].errors.items() if net in NETS else ():
        name, _, scales = protocol.partition("@")
        if row["protocol"].startswith(name) and (len(row["scales"]) > 1) == ("," in scales):
            return pair(errors)
    return ""


def span(interval: Sequence[float]) -> str:
    """An interval in per cent."""
    return "–".join(f"{100 * bound:.1f}" for bound in interval)


def speed_lines(rows: Sequence[Row]) -> list[str]:
    """How much faster ours is than its peers, and how near to what the machine can do."""
    lines = [
        "| what | times the peer | times the tuned peer | share of the limit | machine | torch |",
        "| --- | --: | --: | --: | --- | --- |",
    ]
    for row in rows:
        ratios = (f"{row['ratio']:.2f}", f"{row['tuned_peer_ratio']:.2f}", f"{100 * row['share_of_limit']:.0f} %")
        machine = f"{row['machine']['processor']}, {row['machine']['cores']} cores"
        lines.append(f"| {' | '.join((row['name'], *ratios, machine, row['torch']))} |")
    return lines


def dense_lines(rows: Sequence[Row]) -> list[str]:
    """How fast whole photographs of many shapes are tested, beside crops of one shape, and in how much memory."""
    lines = [
        "| protocol | photographs | shapes | a second | GFLOP/s | of the rate of crops | peak memory, MiB |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for result in rows:
        for row in result["dense"]:
            share, counts = f"{100 * row['share_of_crops']:.0f} %", (row["images"], row["shapes"])
            rates = (f"{row['images_per_second']:.2f}", f"{row['gflop_per_second']:.0f}")
            cells = (row["protocol"], *map(str, counts), *rates, share, f"{row['peak_memory_mib']:,.0f}")
            lines.append(f"| {' | '.join(cells)} |")
        for key, settings in (
            ("memory", "from Python"),
            ("lean_memory", "with the settings of the command `verydeep`"),
        ):
            seen = result[key]
            first, later = (f"{seen[f'most_{part}_mib']:,.0f} MiB" for part in ("in_first_100", "after_that"))
            what = f"{seen['images']:,} photographs by {seen['protocol']}, width {seen['width']}, {settings}"
            lines += ["", f"{what}: at most {first} in the first hundred, {later} after it."]
    return lines


def crops_lines(rows: Sequence[Row]) -> list[str]:
    """How much faster dense testing at several scales is than crops at these."""
    lines = [
        "| protocol | photographs | seconds | GFLOP/s |",
        "| --- | --: | --: | --: |",
    ]
    for result in rows:
        for way in (result["dense"], result["crops"]):
            rates = (f"{way['seconds']:.0f}", f"{way['gflop_per_second']:.0f}")
            lines.append(f"| {' | '.join((way['protocol'], str(way['images']), *rates))} |")
        times, arithmetic = result["times_faster"], result["times_faster_by_arithmetic"]
        lines += ["", f"So dense testing is {times:.2f} times as fast; by arithmetic {arithmetic:.2f} times."]
    return lines


def process_lines(rows: Sequence[Row]) -> list[str]:
    """What two processes do beside one, and beside what the plan said of them."""
    lines = [
        "| images a second | one core | two, each alone | two that share | two threads | efficiency | machine |",
        "| --- | --: | --: | --: | --: | --: | --- |",
    ]
    for row in rows:
        for what, name in (("train", "training"), ("test", "dense testing"), ("plan", "training, as planned")):
            rates = (f"{row[what][key]:.1f}" if key in row[what] else ""
                     for key in ("one_core", "two_alone", "two_processes", "two_threads"))  # fmt: skip
            machine = "" if what == "plan" else f"{row['machine']['processor']}, {row['machine']['cores']} cores"
            share = f"{100 * row[what]['efficiency']:.0f} %"
            lines.append(f"| {' | '.join((name, *rates, share, machine))} |")
    return lines


def serve_lines(rows: Sequence[Row]) -> list[str]:
    """How long it takes from the drop of a photograph on the page of `verydeep serve` to its answer."""
    lines = ["| net | photograph | seconds, median (least–most) | times | machine |", "| --- | --- | --: | --: | --- |"]
    for row in rows:
        seconds = f"{row['median']:.2f} ({row['least']:.2f}–{row['most']:.2f})"
        machine = f"{row['machine']['processor']}, {row['threads']} threads"
        lines.append(f"| {' | '.join((row['net'], row['photograph'], seconds, str(row['times']), machine))} |")
    return lines


def shard_lines(rows: Sequence[Row]) -> list[str]:
    """How fast pictures come from shards, from the folder that these were made of, and by webdataset's loader."""
    lines = ["| pictures a second | folder | shards | webdataset |", "| --- | --: | --: | --: |"]
    for row in rows:
        rates = row["pictures_per_second"]
        for what, shown in (("reading", "their bytes"), ("feed", "in batches of crops")):
            cells = (rates.get(f"{what} {where}") for where in ("folder", "shards", "webdataset"))
            lines.append(f"| {shown} | {' | '.join('' if each is None else f'{each:,.0f}' for each in cells)} |")
        machine = f"{row['machine']['processor']}, {row['machine']['cores']} cores"
        lines += ["", f"{row['pictures']:,} photographs of {row['bytes'] / 1e6:,.0f} MB, read before; {machine}."]
    return lines


def leaderboard_lines(rows: Sequence[Row]) -> list[str]:
    """Nets for CIFAR-10 among the first ten of 2014."""
    sheet = leaderboard(rows)
    return [*sheet.markdown(), "", sheet.note, "", *dict.fromkeys(f"Ours on {machine_of(row)[0]}." for row in rows)]


def finding_lines(folder: Path) -> list[str]:
    """What the findings of a study came to, pair by pair."""
    results = Results(folder)
    sheet = finding_sheet(try_findings(results.study(), results))
    return [*sheet.markdown(), "", sheet.note]


def card_lines(names: Sequence[str]) -> list[str]:
    """What trained nets of the package are and took."""
    lines = []
    for name in names:
        net, card = load_own_net(name)
        size = f"{card['width']:g} times as wide as the paper's, crop {net.crop} px"
        took = f"{card['epochs']} epochs in {card['training_seconds'] / 60:.0f} minutes"
        lines.append(f"`{name}` is {net.name}, {size}; it was trained for {took}.")
    return lines


# Tables of what a study keeps in its folder, which stands in place of files.
KEPT: Mapping[str, Callable[[Path], list[str]]] = {"findings": finding_lines}
# Tables of the nets that stand in place of files, most by arithmetic.
COUNTED: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
    "card": card_lines,
    "nets": net_lines,
    "beside": beside_lines,
    "protocols": protocol_lines,
    "ratios": cost_ratio_lines,
}
TABLES: Mapping[str, Callable[[Sequence[Row]], list[str]]] = {
    "boxes": box_lines,
    "caltech": caltech_lines,
    "comparison": comparison_lines,
    "crops": crops_lines,
    "dense": dense_lines,
    "descriptors": descriptor_lines,
    "epochs": epoch_lines,
    "errors": error_lines,
    "leaderboard": leaderboard_lines,
    "photographs": photograph_lines,
    "processes": process_lines,
    "serve": serve_lines,
    "shards": shard_lines,
    "speed": speed_lines,
    "voc": voc_lines,
}


def pages(paths: Iterable[Path]) -> list[Path]:
    """The pages among files and in folders."""
    return [page for path in paths for page in (sorted(path.rglob("*.md")) if path.is_dir() else [path])]


def main(arguments: Sequence[str]) -> None:
    """Rewrite the tables of the pages that the arguments name; run in the repository's root."""
    for page in pages(map(Path, arguments)):
        text = page.read_text(encoding="utf-8")
        filled = fill(text, Path())
        if filled != text:
            page.write_text(filled, encoding="utf-8")
            print(f"{page}: written anew")


if __name__ == "__main__":
    main(sys.argv[1:])
