"""The tables that a study fills: ours beside the paper's, as sheets of text that every kind of page can print."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rich.table

from verydeep.evaluation.error_table import wilson_interval
from verydeep.studies.findings import Effect, Tried, error_interval
from verydeep.studies.leaderboard import standings
from verydeep.studies.plan import jobs
from verydeep.studies.published import LOCALISATION_TABLES, PAPERS_TABLES, published
from verydeep.studies.results import Job, Results, read_json
from verydeep.studies.study import Study


@dataclass(frozen=True)
class Sheet:
    """A table of text. The cells of `numbers` are set to the right."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int  # columns from the right that hold figures
    note: str = ""

    def is_number(self, column: int) -> bool:
        """Whether a column holds figures."""
        return column >= len(self.columns) - self.numbers

    def markdown(self) -> list[str]:
        """The sheet as lines of Markdown."""
        rule = ["--:" if self.is_number(column) else "---" for column in range(len(self.columns))]
        rows = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in self.rows]
        return [f"| {line} |" for line in (" | ".join(self.columns), " | ".join(rule), *rows)]

    def table(self) -> rich.table.Table:
        """The sheet as a table for a terminal."""
        table = rich.table.Table(title=self.title, title_justify="left", caption=self.note, caption_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if self.is_number(place) else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True)
class Measured:
    """An error over all seeds that are done, as a fraction with its 95 % interval."""

    error: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{100 * self.error:.1f} ({100 * self.low:.1f}–{100 * self.high:.1f})"


def measure(study: Study, results: Results, one: str, k: int = 1, split: str = "val") -> Measured | None:
    """The top-k error of a test such as `d-256 dense@256`, or of a fusion; None where nothing of it is done.

    With one seed the interval is over pictures (Wilson's), with several over pictures and seeds.
    """
    name, protocol = (one, "") if one in study.fusions else study.find(one)
    found = [results.ranks(job).get(f"{split} {protocol}") for job in jobs(study) if job.name == name]
    wrong = [ranks >= k for ranks in found if ranks is not None]
    if not wrong:
        return None
    error = float(np.mean(wrong))
    if len(wrong) == 1:
        return Measured(error, *wilson_interval(error, len(wrong[0])), 1)
    return Measured(error, *error_interval(np.stack(wrong).astype(int)), len(wrong))


def measure_known(study: Study, results: Results, one: str | None, k: int = 1) -> Measured | None:
    """The same; None, too, where the study has no such test."""
    known = one in study.fusions or one in {str(trial) for run in study.runs for trial in study.tests(run)}
    return measure(study, results, str(one), k) if known else None


def sheets(study: Study, results: Results) -> list[Sheet]:
    """The tables that a study fills."""
    return [
        beside_paper(study, results, name)
        if name in PAPERS_TABLES
        else localisation_sheet(study, results, name)
        if name in LOCALISATION_TABLES
        else OURS[name](study, results)
        for name in study.tables
    ]


def beside_paper(study: Study, results: Results, name: str) -> Sheet:
    """One of the paper's tables with ours beside it. Source: tables 3 to 7, section 4.5."""
    table = published()[name]
    several = any("trained" in row for row in table["rows"])
    tested = any("test5" in row for row in table["rows"])
    columns = ["net", *(["S"] * several), "Q" if several else "tested by", "paper: top-1, %", "top-5, %"]
    if tested:
        columns.append("top-5, test, %")
    rows = []
    for row in table["rows"]:
        ours = [measure_known(study, results, row.get("ours"), k) for k in (1, 5)]
        theirs = [figure(row.get(key)) for key in ("top1", "top5", *(["test5"] * tested))]
        seeds = str(ours[0].seeds) if ours[0] else ""
        labels = [row["net"], *([row.get("trained", "")] * several), row.get("tested", "")]
        rows.append((*labels, *theirs, *(str(each or "") for each in ours), seeds))
    return Sheet(
        name, f"{table['title']} ({table['source']})", (*columns, "ours: top-1, %", "top-5, %", "seeds"), tuple(rows),
        5 + tested, note=f"Sides are those of the paper's crop of 224 pixels; ours are of {crop_of(study)}.",
    )  # fmt: skip


def localisation_sheet(study: Study, results: Results, name: str) -> Sheet:
    """One of the paper's tables of localisation with ours beside it. Source: tables 8 to 10, appendix A."""
    table = published()[name]
    keys = [key for key in LABELS if any(key in row for row in table["rows"])]
    figures = [key for key in ("error", "test") if any(key in row for row in table["rows"])]
    rows = []
    for row in table["rows"]:
        one, ours = next(
            ((one, ours) for one in row.get("ours", ()) if (ours := measure_known(study, results, one))), ("", None)
        )
        labels, theirs = [row.get(key, "") for key in keys], [figure(row.get(key)) for key in figures]
        rows.append((*labels, one, *theirs, str(ours or ""), str(ours.seeds) if ours else ""))
    columns = (*keys, "our test", *(f"paper: {FIGURES[key]}" for key in figures), "ours: error, %", "seeds")
    return Sheet(
        name, f"{table['title']} ({table['source']})", columns, tuple(rows), len(figures) + 2,
        note=f"Sides are those of the paper's crop of 224 pixels; ours are of {crop_of(study)}.",
    )  # fmt: skip


LABELS = ("method", "tuned", "regression", "trained", "tested")
FIGURES = {"error": "error, %", "test": "error, test, %"}


def box_sheet(study: Study, results: Results) -> Sheet:
    """Every test of every localiser with the class known, and every set of boxes for five classes, beside baselines."""
    rows = [(name, "class known", f"{100 * error:.1f}", "") for name, error in baselines(results)]
    located = [
        *((str(trial), "class known", str(trial)) for run in study.runs if study.gives_boxes(run)
          for trial in study.tests(run)),
        *((name, "top-5", name) for name, fusion in study.fusions.items() if fusion.boxes),
    ]  # fmt: skip
    for shown, kind, one in located:
        if ours := measure(study, results, one):
            rows.append((shown, kind, str(ours), str(ours.seeds)))
    return Sheet("boxes", "Localisation errors", ("boxes of", "error", "%", "seeds"), tuple(rows), 2)


def baselines(results: Results) -> Iterator[tuple[str, float]]:
    """Errors of boxes that no net is needed for, where a study's folder has them."""
    path = results.folder / "baselines.json"
    if path.exists():
        yield from read_json(path).items()


def crop_of(study: Study) -> int:
    """The crop of a study's nets, px."""
    return study.recipe_of(next(iter(study.runs)), 0).crop


def figure(value: float | None) -> str:
    """A figure in per cent as the paper prints it."""
    return "–" if value is None else f"{value:.1f}"


def error_sheet(study: Study, results: Results) -> Sheet:
    """Every test of every run and every fusion."""
    named = [run for run in study.runs if not study.gives_boxes(run)]
    tests = [(trial.run, study.protocol_of(trial), str(trial)) for run in named for trial in study.tests(run)]
    fused = [(name, f"mean of {len(fusion.of)}", name) for name, fusion in study.fusions.items() if not fusion.boxes]
    rows = []
    for run, protocol, one in (*tests, *fused):
        for split in study.splits:
            ours = [measure(study, results, one, k, split) for k in (1, 5)]
            if ours[0]:
                rows.append((run, split, protocol, *map(str, ours), str(ours[0].seeds)))
    columns = ("run", "split", "protocol", "top-1, %", "top-5, %", "seeds")
    return Sheet("errors", "Errors of every run", columns, tuple(rows), 3)


def fit_sheet(study: Study, results: Results) -> Sheet:
    """Errors on training pictures beside those on others: how much a net learned by heart. Source: section 3.1."""
    rows = []
    for name in study.runs:
        for trial in study.tests(name)[-1:]:
            trained, other = (measure(study, results, str(trial), 1, split) for split in ("train", "val"))
            if trained and other:
                gap = f"{100 * (other.error - trained.error):.1f}"
                rows.append((name, study.protocol_of(trial), str(trained), str(other), gap, str(other.seeds)))
    return Sheet("fit", "Top-1 errors on training pictures and on others, %",
                 ("run", "protocol", "training pictures", "others", "difference", "seeds"), tuple(rows), 4)  # fmt: skip


def signal_sheet(study: Study, results: Results) -> Sheet:
    """What every start does to signals, and where the loss went. Source: section 3.1."""
    rows = []
    for name in study.runs:
        run = results.trained(Job(name, 0))
        if run and run["signals"]:
            before, after = run["signals"]["before"], run["signals"]["after"]
            error = results.row(Job(name, 0), study.runs[name].tests[0]) if study.runs[name].tests else None
            rows.append((
                name, start_of(study, name), fades(before, "activation"), fades(before, "gradient", down=True),
                fades(after, "activation"), f"{run['losses'][0][1]:.2f}", f"{run['epochs'][-1]['loss']:.2f}",
                f"{100 * error['top1_error']:.1f}" if error else "",
            ))  # fmt: skip
    return Sheet(
        "signals", "Signals of every start",
        ("run", "start", "activation, last / first layer", "gradient, first / last layer", "activation after training",
         "first loss", "last loss", "top-1, %"), tuple(rows), 6,
        note="Root mean squares; fc8 left out. A ratio of 1 is a signal that passes unchanged.",
    )  # fmt: skip


def start_of(study: Study, name: str) -> str:
    """How a run starts, in words."""
    start = study.recipe_of(name, 0).start
    laws = {"paper": f"Gaussian, {start.deviation:g}", "glorot": "Glorot", "he": "He", "own": "the authors' own"}
    law = laws[start.law]
    return f"{law}, from {study.runs[name].start}" if study.runs[name].start else law


def fades(layers: Sequence[Mapping[str, Any]], key: str, *, down: bool = False) -> str:
    """How much of a signal is left at its end: gradients go down, from the last layer to the first."""
    first, last = layers[0][key], layers[-2][key]
    ratio = (first / last if last else math.nan) if down else (last / first if first else math.nan)
    return f"{ratio:.1e}"


def leaderboard_sheet(study: Study, results: Results) -> Sheet:
    """Accuracies of every test and fusion of a study among those of the contest of 2014."""
    return leaderboard(list(standings(study, results)))


def leaderboard(standings: Sequence[Mapping[str, Any]]) -> Sheet:
    """Rows of a leaderboard among those of the contest of 2014, the best first."""
    theirs = published()["cifar-10-2014"]
    lines: list[tuple[float, tuple[str, ...]]] = []
    for row in theirs["rows"]:
        low, high = row.get("score", row.get("least")), row.get("score", row.get("most"))
        shown = f"{100 * low:.2f}" if low == high else f"{100 * low:.2f}–{100 * high:.2f}"
        who = f"{row['rank']}. {row['team']}, {row['what']}" if row["what"] else f"{row['rank']}. {row['team']}"
        lines.append((low - row["rank"] / 1e6, (who, "Kaggle 2014", shown, "", "", "", "")))
    for ours in standings:
        spread = f" ± {100 * ours['accuracy_std']:.2f}" if ours["seeds"] > 1 else ""
        minutes = "" if ours["minutes_mean"] is None else f"{ours['minutes_mean']:.1f}"
        share = "" if ours["flop_share_of_peak"] is None else f"{100 * ours['flop_share_of_peak']:.0f}"
        accuracy = f"{100 * ours['accuracy_mean']:.2f}{spread}"
        what = "" if ours["net"] == ours["run"] else f": {ours['net']}"
        _, threads = machine_of(ours)
        lines.append((ours["accuracy_mean"], (
            f"{ours['run']}{what}, {ours['data_type']}", ours["protocol"], accuracy, str(ours["seeds"]), minutes,
            threads, share,
        )))  # fmt: skip
    rows = [row for _, row in sorted(lines, key=lambda line: line[0], reverse=True)]
    return Sheet(
        "leaderboard", f"CIFAR-10: ours among the first ten of {theirs['source']}",
        ("who", "tested by", "accuracy, %", "seeds", "minutes", "threads", "of the peak, %"), tuple(rows), 5,
        note=f"Theirs: the scores of the first ({theirs['first']}) and of the fifth ({theirs['fifth']}) are confirmed, "
        "and that all ten were above 93 %; the others have the bounds that follow, by the lower of which they stand "
        "here. Ours: of the last epoch, mean and standard deviation over seeds; minutes of training with the tests "
        "that the recipe asks for, and with what the net starts from; threads, which are cores; operations of "
        "convolutions and fully connected layers in that time, done directly, as a share of what convolutions alone "
        "reached on the same machine with as many threads in the same data type.",
    )  # fmt: skip


def machine_of(standing: Mapping[str, Any]) -> tuple[str, str]:
    """Processor and number of threads of a row of a leaderboard."""
    processor, _, threads = standing["machine"].rpartition(", ")
    return processor, threads.partition(" ")[0]


OURS: Mapping[str, Callable[[Study, Results], Sheet]] = {
    "boxes": box_sheet, "errors": error_sheet, "fit": fit_sheet, "leaderboard": leaderboard_sheet,
    "signals": signal_sheet,
}  # fmt: skip


def finding_sheet(tried: Mapping[str, Tried]) -> Sheet:
    """Every pair of every finding: effect, interval, what could have been seen, and what it shows."""
    rows = [
        (each.finding.claim if not place else "", f"{effect.first} – {effect.second}", points(effect.published),
         points(effect.difference), interval(effect), unsigned(effect.smallest), p_values(effect),
         str(effect.seeds or ""),
         effect.verdict if effect.difference is not None else "not measured yet")
        for each in tried.values() for place, effect in enumerate(each.effects)
    ]  # fmt: skip
    return Sheet(
        "findings", "Every pair of the findings",
        ("finding", "pair", "paper, points", "ours, points", "95 % interval", "smallest that would show", "McNemar's p",
         "seeds", "shows"), tuple(rows), 7,
        note="Differences of errors in points: below zero, the first of the pair errs less. Intervals are over "
        "pictures and seeds. The smallest true difference that would have shown four times of five. McNemar's p, one "
        "for each seed, is over pictures alone. The first pair of a finding decides.",
    )  # fmt: skip


def points(difference: float | None) -> str:
    """A difference of errors in percentage points, with its sign."""
    return "" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def unsigned(difference: float) -> str:
    """A size in percentage points."""
    return "" if math.isnan(difference) else f"{100 * difference:.1f}"


def interval(effect: Effect) -> str:
    """The interval of an effect in percentage points."""
    if effect.difference is None:
        return ""
    return f"{points(effect.low)} to {points(effect.high)}{'' if effect.over_seeds else ', pictures alone'}"


def p_values(effect: Effect) -> str:
    """The p of each seed."""
    return ", ".join("<0.001" if p < 0.001 else f"{p:.2g}" for p in effect.p_values)


def as_text(lines: Iterable[str]) -> str:
    """Lines as a text that ends with one."""
    return "\n".join(lines) + "\n"
