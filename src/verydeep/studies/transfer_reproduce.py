"""A study of transfer, done: every row on every split, from wherever its folder is; nothing twice.

parts/ROW.SEED.json  what a row scored on a split, and what was asked
rows.json            the rows that are done on all their splits
tables.md            tables 11 and 12, ours beside theirs
work/                descriptors, trainings, locks: not to be committed
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import rich.table

from verydeep.errors import StudyError, VerydeepError
from verydeep.processes import processes
from verydeep.studies.plan import duration
from verydeep.studies.results import Results, read_json, write_json
from verydeep.studies.study import Parameter
from verydeep.studies.transfer_rows import Desk, Progress, measure
from verydeep.studies.transfer_study import Pictures, TransferRow, TransferStudy, read_transfer_study
from verydeep.studies.transfer_table import transfer_sheets
from verydeep.training.run import Moment
from verydeep.transfer.precision import RULES
from verydeep.weights.files import write_atomically

Row = dict[str, Any]
SCORES = ("mean_class_recall", *RULES)


@dataclass(frozen=True)
class Part:
    """A row of a study on one of its splits."""

    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.row}.{self.seed}"


@dataclass(frozen=True)
class TransferBench:
    """A study of transfer, its pictures and its folder.

    Attributes:
        study: with its parameters.
        root: the folder that holds the sets; None where none was given.
        folder: where all of it is kept.
    """

    study: TransferStudy
    root: Path | None
    folder: Path

    def asked(self, name: str) -> Row:
        """All that decides what a row scores."""
        row = self.study.rows[name]
        return {
            "Cs": list(self.study.Cs), "row": row.model_dump(mode="json", exclude={"like", "when"}),
            "set": self.study.sets[row.set].model_dump(mode="json", exclude={"folder", "table", "column", "splits"}),
        }  # fmt: skip

    def parts(self) -> list[Part]:
        """All parts, row by row."""
        return [
            Part(name, seed) for name, row in self.study.rows.items() for seed in range(self.study.sets[row.set].splits)
        ]

    def missing(self, part: Part) -> bool:
        """Whether the pictures of a part are not there."""
        return self.root is None or not (self.root / self.of(part)[1].folder).exists()

    def of(self, part: Part) -> tuple[TransferRow, Pictures]:
        """The row of a part, and its set."""
        row = self.study.rows[part.row]
        return row, self.study.sets[row.set]

    def file(self, part: Part) -> Path:
        """What is kept of a part."""
        return self.folder / "parts" / f"{part}.json"

    def done(self, part: Part) -> Row | None:
        """What a part scored; None where it is not done.

        Raises:
            StudyError: it was done otherwise.
        """
        if not self.file(part).exists():
            return None
        kept: Row = read_json(self.file(part))
        if kept["asked"] != self.asked(part.row):
            raise StudyError(
                f"{self.file(part)}: was done otherwise; give the same parameters, another folder, or remove the file"
            )
        return kept

    def seconds(self, part: Part) -> float | None:
        """How long a part takes, by what others took: of the same row, else of the same way on the same set."""
        row, _ = self.of(part)
        like = [
            [other for other in self.parts() if other.row == part.row],
            [other for other in self.parts() if (self.of(other)[0].set, self.of(other)[0].way) == (row.set, row.way)],
        ]
        for others in like:
            times = [kept["seconds"] for other in others if (kept := self.done(other))]
            if times:
                return median(times)
        return None

    def rows(self) -> list[Row]:
        """The rows that are done on all their splits."""
        found = []
        for name, row in self.study.rows.items():
            parts = [self.done(Part(name, seed)) for seed in range(self.study.sets[row.set].splits)]
            kept = [part for part in parts if part is not None]
            if len(kept) == len(parts):
                found.append(summed(name, row, self.study.sets[row.set], kept))
        return found

    def plan_rows(self) -> list[Row]:
        """What remains, as rows."""
        return [
            {"study": self.study.name, "row": part.row, "seed": part.seed, "done": self.done(part) is not None,
             "missing": self.missing(part), "seconds_left": 0.0 if self.done(part) else self.seconds(part)}
            for part in self.parts()
        ]  # fmt: skip

    def plan_table(self) -> rich.table.Table:
        """What remains, as a table to read."""
        table = rich.table.Table(title=f"{self.study.title}: {self.remaining()}", title_justify="left")
        for column in ("row", "split", "set", "state"):
            table.add_column(column)
        table.add_column("remains", justify="right")
        for part in self.parts():
            state = "done" if self.done(part) else "its pictures are not there" if self.missing(part) else "to be done"
            left = (
                ""
                if state != "to be done"
                else "not known yet"
                if (each := self.seconds(part)) is None
                else duration(each)
            )
            table.add_row(part.row, str(part.seed), self.of(part)[1].folder, state, left)
        return table

    def remaining(self) -> str:
        """How much there is still to do, in words."""
        parts = self.parts()
        left = [part for part in parts if not self.done(part) and not self.missing(part)]
        lacking = sorted({self.of(part)[1].folder for part in parts if self.missing(part) and not self.done(part)})
        without = f"; {', '.join(lacking)}: not there" if lacking else ""
        if not left:
            return f"{sum(self.done(part) is not None for part in parts)} of {len(parts)} parts are done{without}"
        times = [self.seconds(part) for part in left]
        known, unknown = sum(each or 0.0 for each in times), sum(each is None for each in times)
        said = [duration(known)] * bool(known) + [f"{unknown} of a time not known yet"] * bool(unknown)
        return f"{len(left)} of {len(parts)} parts remain: {' and '.join(said)}{without}"


def prepare_transfer(
    study: str | Path,
    data: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    parameters: Mapping[str, Parameter | str] | None = None,
) -> TransferBench:
    """A study of transfer with its folder, checked, before anything is done or written.

    Raises:
        StudyError: the study does not hold together, none of its sets is there, or parts were done otherwise.
    """
    read = read_transfer_study(study, parameters)
    root = None if data is None else Path(data)
    bench = TransferBench(read, root, Path(folder) if folder else Path("runs") / read.name)
    if root is not None and all(bench.missing(part) for part in bench.parts()):
        names = ", ".join(dict.fromkeys(pictures.folder for pictures in read.sets.values()))
        raise StudyError(f"{root}: holds none of {names}; give the folder in which they lie with --data")
    bench.rows()
    return bench


def reproduce_transfer(
    study: str | Path,
    data: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    parameters: Mapping[str, Parameter | str] | None = None,
    device: str = "auto",
    minutes: float | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Moment], None] = lambda moment: None,
    progress: Progress = lambda what, count, of: None,
) -> list[Row]:
    """Do what remains of a study of transfer: describe, fit, tune, test.

    A part that fails is named, and the others go on. Several commands may work in one folder.

    Args:
        study: "transfer-tiny", "transfer-paper", or a TOML file.
        data: the folder that holds the sets; rows of sets that are not there are left out.
        folder: where all of it is kept; by default `runs/` and the study's name.
        parameters: of the study, instead of its own.
        device: where to compute.
        minutes: no part is begun that would not end in so much time, by what others took.
        say: gets a line for each thing that a person should know.
        show: gets every step of the trainings.
        progress: gets each part and what is done of it, the number of pictures done and of all.

    Returns:
        The rows that are done on all splits, with `splits`, the score of each, and their mean and deviation.

    Raises:
        StudyError: the study does not hold together, or parts have failed; the others are done.

    Source: appendix B, tables 11 and 12.
    """
    bench = prepare_transfer(study, data, folder=folder, parameters=parameters)
    if bench.root is None:
        raise StudyError(f"study {bench.study.name}: needs pictures; give the folder that holds its sets with --data")
    we, work = processes(), bench.folder / "work"
    we.from_first(partial(make_folder, bench))
    until = None if minutes is None else time.monotonic() + 60 * minutes
    failed: dict[Part, VerydeepError] = {}
    passed: set[Part] = set()
    while True:
        with ExitStack() as held:
            part = we.from_first(partial(choose, bench, held, failed.keys() | passed, passed, until))
            if part is None:
                break
            say(f"{part} is next; {bench.remaining()}")
            desk = Desk(work, bench.study.Cs, device, say, show, partial(told, progress, str(part)))
            try:
                do(bench, part, desk)
            except VerydeepError as error:
                if we.count > 1:
                    raise
                failed[part] = error
                say(f"{part} failed: {error}")
    if failed:
        lines = "; ".join(f"{part}: {error}" for part, error in failed.items())
        raise StudyError(f"{len(failed)} failed: {lines}; the same command tries again, and does nothing done twice")
    say(f"{bench.folder}: {bench.remaining()}")
    return bench.rows()


def told(progress: Progress, part: str, what: str, count: int, of: int) -> None:
    """Say of a part what is done of it."""
    progress(f"{part}: {what}", count, of)


def make_folder(bench: TransferBench) -> None:
    """Make the folder of a study.

    Raises:
        StudyError: it cannot be made.
    """
    try:
        for name in ("parts", "work"):
            (bench.folder / name).mkdir(parents=True, exist_ok=True)
        (bench.folder / ".gitignore").write_text("/work/\n")
    except OSError as error:
        raise StudyError(f"{bench.folder}: cannot be made ({error.strerror}); give another folder") from None


def choose(
    bench: TransferBench, held: ExitStack, left_out: set[Part], passed: set[Part], until: float | None
) -> Part | None:
    """The part to do now, None where there is none; nobody else does it as long as `held` is open."""
    for part in bench.parts():
        if part in left_out or bench.missing(part) or bench.done(part):
            continue
        if until is not None and time.monotonic() + (bench.seconds(part) or 0) > until:
            passed.add(part)
            continue
        with ExitStack() as lock:
            if lock.enter_context(Results(bench.folder).lock(part)) and not bench.done(part):
                held.push(lock.pop_all())
                return part
            passed.add(part)
    return None


def do(bench: TransferBench, part: Part, desk: Desk) -> None:
    """Measure a part, and keep what it scored."""
    assert bench.root is not None
    row, pictures = bench.of(part)
    began = time.perf_counter()
    found = measure(str(part), row, pictures, bench.root, part.seed, desk)
    seconds = round(time.perf_counter() - began, 1)

    def keep() -> None:
        about = {"study": bench.study.name, "row": part.row, "seed": part.seed}
        write_json(bench.file(part), {**about, **found, "seconds": seconds, "asked": bench.asked(part.row)})
        with Results(bench.folder).lock("rows", wait=True):
            rows = bench.rows()
            write_json(bench.folder / "rows.json", rows)
            lines = [line for sheet in transfer_sheets(bench.study, rows)
                     for line in (f"## {sheet.title}", "", *sheet.markdown(), "")]  # fmt: skip
            write_atomically(bench.folder / "tables.md", "\n".join(lines).encode())

    processes().from_first(keep)


def summed(name: str, row: TransferRow, pictures: Pictures, kept: Sequence[Row]) -> Row:
    """A row over all its splits: the score of each, their mean, and their deviation where there are several.

    Source: appendix B.
    """
    first = kept[0]
    score = first.get("rule", "mean_class_recall")
    splits = [each[score] for each in kept]
    keys = ("study", "net", "way", "classes", "images", "trained_on", "dimensions", "rule")
    about: Row = {key: first[key] for key in keys if key in first}
    scores = {key: mean(each[key] for each in kept) for key in SCORES if key in first}
    return {
        "row": name, "set": row.set, "data": pictures.folder, "column": pictures.column, **about, "splits": splits,
        **scores, "deviation": stdev(splits) if len(splits) > 1 else None, "C": [each["C"] for each in kept],
        "seconds": round(sum(each["seconds"] for each in kept)),
    }  # fmt: skip
