"""Tables 11 and 12: ours beside theirs, as sheets of a study and as tables of a page."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from verydeep.studies.published import published
from verydeep.studies.tables import Sheet
from verydeep.studies.transfer_study import TransferStudy
from verydeep.transfer.descriptors import SCALES

TITLES = {"voc2007": "VOC-2007", "voc2012": "VOC-2012", "caltech101": "Caltech-101", "caltech256": "Caltech-256"}
PAPERS_NETS = {"D": 12_288, "E": 12_288, "D and E": 24_576}  # with the length of their descriptors. Source: appendix B
PAPERS_WAY = f"Q = {', '.join(map(str, SCALES))}, stacked"

Row = Mapping[str, Any]


def transfer_sheets(study: TransferStudy, rows: Sequence[Row]) -> list[Sheet]:
    """The tables that a study of transfer fills: the paper's rows, each with ours of the same, then our others.

    Args:
        study: whose tables.
        rows: of it that are done.

    Source: tables 11 and 12.
    """
    return [
        transfer_sheet(study, rows, name)
        for name in ("table-11", "table-12")
        if any(pictures.table == name for pictures in study.sets.values())
    ]


def transfer_sheet(study: TransferStudy, rows: Sequence[Row], name: str) -> Sheet:
    """One of the tables."""
    table = published()[name]
    columns = list(dict.fromkeys(each.column for each in study.sets.values() if each.table == name))
    of_paper: dict[str, dict[str, str]] = {}  # by the row of the paper's that it does again
    others: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if study.sets[row["set"]].table == name:
            like = study.rows[row["row"]].like
            found = of_paper.setdefault(like, {}) if like else others.setdefault((row["net"], row["way"]), {})
            found[row["column"]] = measured(row)
    lines: list[tuple[str, ...]] = []
    for each in table["rows"]:
        if any(column in each for column in columns):
            lines.append(("the paper's", each["net"], "", *(figure(each.get(column)) for column in columns)))
        if each["net"] in of_paper:
            lines.append(("ours", each["net"], "", *(of_paper[each["net"]].get(column, "") for column in columns)))
    lines += [("ours", *way, *(found.get(column, "") for column in columns)) for way, found in others.items()]
    titles = [TITLES.get(column, column) for column in columns]
    return Sheet(
        name, f"{table['title']} ({table['source']})", ("", "net", "pictures", *(f"{title}, %" for title in titles)),
        tuple(lines), len(columns), note="The paper's nets were trained on ILSVRC-2012. Mean average precision by the "
        "rule of the year; mean class recall with its deviation over random splits.",
    )  # fmt: skip


def figure(value: float | Sequence[float] | None) -> str:
    """A published figure, with its deviation where there is one."""
    if value is None:
        return "–"
    return f"{value[0]:.1f} ± {value[1]:.1f}" if isinstance(value, Sequence) else f"{value:.1f}"


def measured(row: Row) -> str:
    """A figure of ours: recall with its deviation, or average precision."""
    if "mean_class_recall" not in row:
        return f"{100 * row[row['rule']]:.1f}"
    deviation = row["deviation"]
    return f"{100 * row['mean_class_recall']:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def caltech_lines(rows: Sequence[Row]) -> list[str]:
    """Mean class recall over splits, with its spread, and how far each is behind the best over the same splits."""
    lines = [
        "| net | descriptor | numbers in it | mean class recall, % | behind the best, points | of each split |",
        "| --- | --- | --: | --: | --: | --- |",
    ]
    measured_here = [row for row in rows if "mean_class_recall" in row]
    best = max(measured_here, key=lambda row: float(row["mean_class_recall"]), default=None)
    for row in measured_here:
        each = ", ".join(f"{100 * value:.1f}" for value in row["splits"])
        numbers = f"{row['dimensions']:,}" if row["dimensions"] else ""
        lines.append(f"| {row['net']} | {row['way']} | {numbers} | {measured(row)} | {behind(best, row)} | {each} |")
    for theirs in published()["table-11"]["rows"]:
        if theirs["net"] in PAPERS_NETS:
            cells = (f"the paper's {theirs['net']}", PAPERS_WAY, f"{PAPERS_NETS[theirs['net']]:,}")
            lines.append(f"| {' | '.join(cells)} | {figure(theirs['caltech101'])} | | |")
    return lines


def behind(best: Row | None, row: Row) -> str:
    """By how much a row is less than the best, split by split: mean and deviation, in points."""
    if best is None or row is best or len(row["splits"]) != len(best["splits"]):
        return ""
    gaps = [100 * (high - low) for high, low in zip(best["splits"], row["splits"], strict=True)]
    return f"{mean(gaps):.1f}" + (f" ± {stdev(gaps):.1f}" if len(gaps) > 1 else "")


def voc_lines(rows: Sequence[Row]) -> list[str]:
    """Mean average precision by both rules, and how far each is behind the best by area."""
    lines = [
        "| net | descriptor | mean AP by 11 points, % | mean AP by area, % | behind the best, points |",
        "| --- | --- | --: | --: | --: |",
    ]
    of_voc = [row for row in rows if "area" in row]
    best = max((float(row["area"]) for row in of_voc), default=0.0)
    for row in of_voc:
        gap = f"{100 * (best - row['area']):.1f}" if row["area"] < best else ""
        cells = (row["net"], row["way"], f"{100 * row['11-point']:.1f}", f"{100 * row['area']:.1f}", gap)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def descriptor_lines(rows: Sequence[Row]) -> list[str]:
    """How fast photographs are described, beside loops of others over the same net."""
    lines = [
        "| net | who describes | computed in | photographs a second | times slower than ours | again, from the cache |",
        "| --- | --- | --- | --: | --: | --: |",
    ]
    notes = []
    for row in rows:
        for way, name in DESCRIBERS.items():
            found = row[way]
            again = f"{found['cache_times_faster']:,.0f} times as fast" if "cache_times_faster" in found else ""
            rates = (f"{found['images_per_second']:.2f}", f"{row['times_faster'][way]:.2f}" if way != "ours" else "")
            lines.append(f"| {' | '.join((row['net'], name, found['data_type'], *rates, again))} |")
        apart = row["one_less_cosine"]["single_to_ours"]
        scales = ", ".join(map(str, row["ours"]["scales"]))
        notes += [
            "",
            f"{row['net']}: {row['ours']['images']:,} photographs at Q = {scales}; ours in {row['ours']['data_type']} "
            f"is apart from ours in single precision by {apart['mean']:.1g} on average and {apart['most']:.1g} at most "
            f"(1 less the cosine). {machine(row)}",
        ]
    return [*lines, *notes]


DESCRIBERS = {
    "ours": "ours",
    "single": "ours in single precision",
    "loop": "a loop as people write it with torchvision",
    "pooled": "the same over torchvision's VGG as it is: one window a picture",
    "tuned": "the loop in channels_last, pictures decoded in other processes",
}


PEOPLE = {
    "ours": "`verydeep transfer`, at three scales",
    "quick": "`verydeep transfer --scales` with the smaller two of them",
    "timm": "timm's features, scikit-learn's regression",
}


def photograph_lines(rows: Sequence[Row]) -> list[str]:
    """How long one's own photographs take, from start to report, and how often they are named wrongly."""
    lines = ["| who | from start to end, seconds | named wrongly, % | pictures |", "| --- | --: | --: | --: |"]
    notes = []
    for row in rows:
        for way, name in PEOPLE.items():
            found = row[way]
            cells = (name, f"{found['seconds']:.1f}", f"{100 * found['error']:.1f}", f"{found['images']:,}")
            lines.append(f"| {' | '.join(cells)} |")
        notes += ["", machine(row)]
    return [*lines, *notes]


def machine(row: Row) -> str:
    """What a benchmark ran on, in a sentence."""
    return f"{row['machine']['processor']}, {row['machine']['cores']} cores, torch {row['torch']}."
