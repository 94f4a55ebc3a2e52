"""Tables 11 and 12: ours beside theirs, as sheets of a study and as tables of a page."""

from collections.abc import Mapping, Sequence
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
    """Mean class recall over splits, with its spread."""
    lines = [
        "| net | descriptor | numbers in it | mean class recall, % | of each split |",
        "| --- | --- | --: | --: | --- |",
    ]
    for row in rows:
        if "mean_class_recall" in row:
            each = ", ".join(f"{100 * value:.1f}" for value in row["splits"])
            numbers = f"{row['dimensions']:,}" if row["dimensions"] else ""
            lines.append(f"| {row['net']} | {row['way']} | {numbers} | {measured(row)} | {each} |")
    for theirs in published()["table-11"]["rows"]:
        if theirs["net"] in PAPERS_NETS:
            cells = (f"the paper's {theirs['net']}", PAPERS_WAY, f"{PAPERS_NETS[theirs['net']]:,}")
            lines.append(f"| {' | '.join(cells)} | {figure(theirs['caltech101'])} | |")
    return lines


def voc_lines(rows: Sequence[Row]) -> list[str]:
    """Mean average precision by both rules."""
    lines = ["| net | descriptor | mean AP by 11 points, % | mean AP by area, % |", "| --- | --- | --: | --: |"]
    for row in rows:
        if "area" in row:
            lines.append(f"| {row['net']} | {row['way']} | {100 * row['11-point']:.1f} | {100 * row['area']:.1f} |")
    return lines
