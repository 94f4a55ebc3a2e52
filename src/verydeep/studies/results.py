"""A study's folder: what is done of it, and where it lies.

    study.json                 the study as it was done, and the parameters that were given
    A.0/run.json               the training of run A with seed 0: recipe, seconds, epochs, losses, signals
    A.0/rows.json              an error row for each test that is done
    A.0/ranks.safetensors      for each test the rank of the true class of every picture, for paired comparisons
    A.0/net.safetensors        weights in half precision, where another run starts from them
    A.0/dense@256.safetensors  posteriors of tests that a fusion needs
    errors.json                all error rows
    work/                      all that is not to be committed: folders of runs, weights of the others, drawn cases

A fusion has a folder, too, with rows.json and ranks.safetensors. Every file is written whole or not at all.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64

from verydeep.errors import StudyError
from verydeep.processes import processes
from verydeep.studies.study import Parameter, Study, Trial
from verydeep.weights.files import load, save, write_atomically

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same twice
    fcntl = None  # type: ignore[assignment]

Ranks = Int64[np.ndarray, " n"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A run or a fusion of a study, with one seed."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}.{self.seed}".replace(" ", "-")


@dataclass(frozen=True)
class Results:
    """What is done of a study.

    Attributes:
        folder: of the study.
    """

    folder: Path

    def of(self, job: Job) -> Path:
        """The folder of what is kept of a job."""
        return self.folder / str(job)

    def work(self, job: Job) -> Path:
        """The folder that a run is trained in."""
        return self.folder / "work" / str(job)

    def net(self, job: Job, study: Study) -> Path:
        """The weights of a run in half precision: kept where another starts from them."""
        started_from = any(run.start == job.name for run in study.runs.values())
        return self.of(job) / "net.safetensors" if started_from else self.folder / "work" / f"{job}.safetensors"

    def posteriors(self, job: Job, trial: Trial, split: str = "val", *, fused: bool = True) -> Path:
        """The posteriors of a test: kept where a fusion needs them, else there only while it is done."""
        name = f"{trial.protocol}.safetensors"
        return self.of(job) / name if fused and split == "val" else self.folder / "work" / f"{job}-{split}-{name}"

    def cases(self, job: Job) -> Path:
        """The folder of a fusion's drawn good and bad cases, on pictures that are not to be passed on."""
        return self.folder / "work" / f"{job}-cases"

    def trained(self, job: Job) -> Row | None:
        """What is known of a run's training, once it has ended."""
        path = self.of(job) / "run.json"
        return dict(read_json(path)) if path.exists() else None

    def rows(self, job: Job) -> list[Row]:
        """The error rows of a job's tests that are done."""
        path = self.of(job) / "rows.json"
        return list(read_json(path)) if path.exists() else []

    def row(self, job: Job, protocol: str = "", split: str = "val") -> Row | None:
        """The error row of a test; a fusion has one only."""
        return next((row for row in self.rows(job) if (row["test"], row["tested_on"]) == (protocol, split)), None)

    def ranks(self, job: Job) -> dict[str, Ranks]:
        """The rank of every picture's true class, 0 where it is the first guess, by split and protocol."""
        path = self.of(job) / "ranks.safetensors"
        if not path.exists():
            return {}
        return {name: tensor.numpy().astype(np.int64) for name, tensor in load(path)[0].items()}

    def wrong(self, job: Job, protocol: str = "", split: str = "val") -> Bool[np.ndarray, " n"] | None:
        """Whether the first guess was wrong, for every picture; None where that is not done."""
        found = self.ranks(job).get(f"{split} {protocol}")
        return None if found is None else found >= 1

    def add(self, job: Job, row: Row, ranks: Ranks) -> None:
        """Keep what a test gave; of several processes that made it the first one does."""
        if not processes().first:
            return
        found = self.ranks(job) | {f"{row['tested_on']} {row['test']}": ranks}
        tensors = {name: torch.from_numpy(each.astype(np.int16 if each.max() < 2**15 else np.int32))
                   for name, each in found.items()}  # fmt: skip
        self.of(job).mkdir(parents=True, exist_ok=True)
        save(self.of(job) / "ranks.safetensors", tensors, {"kind": "ranks 1"})
        rows = {(each["test"], each["tested_on"]): each for each in [*self.rows(job), row]}  # in place
        write_json(self.of(job) / "rows.json", list(rows.values()))  # last, since it says that the test is done
        with self.lock("errors", wait=True):
            write_json(self.folder / "errors.json", self.all_rows())

    def all_rows(self) -> list[Row]:
        """The error rows of all jobs, in the order of their folders' names."""
        return [row for path in sorted(self.folder.glob("*/rows.json")) for row in read_json(path)]

    def make(self, study: Study, parameters: Mapping[str, Parameter | str]) -> None:
        """Make the folder, and remember the study as it is, and which parameters were given.

        Raises:
            StudyError: it cannot be made.
        """
        try:
            (self.folder / "work").mkdir(parents=True, exist_ok=True)
            shown = "/report.html\n" if any(map(study.gives_boxes, study.runs)) else ""  # it shows the drawn cases
            (self.folder / ".gitignore").write_text(f"/work/\n{shown}")
        except OSError as error:
            raise StudyError(f"{self.folder}: cannot be made ({error.strerror}); give another folder") from None
        with self.lock("study", wait=True):
            write_json(self.folder / "study.json", {"given": dict(parameters), "study": study.model_dump()})

    def remembered(self, name: str) -> dict[str, Parameter]:
        """The parameters that were given for the study of this name before.

        Raises:
            StudyError: the folder is another study's, or none's.
        """
        if not (self.folder / "study.json").exists():
            if any(path.name != "work" and not path.name.startswith(".") for path in self.folder.glob("*")):
                raise StudyError(f"{self.folder}: is not the folder of a study; give another, or a new one")
            return {}
        kept = read_json(self.folder / "study.json")
        if kept["study"]["name"] != name:
            raise StudyError(f"{self.folder}: is of study {kept['study']['name']}, not {name}; give another folder")
        return dict(kept["given"])

    def study(self) -> Study:
        """The study that the folder is of, as it was done last.

        Raises:
            StudyError: it is none's.
        """
        if not (self.folder / "study.json").exists():
            raise StudyError(f"{self.folder}: is not the folder of a study; give one that `reproduce` has made")
        return Study.model_validate(read_json(self.folder / "study.json")["study"])

    @contextmanager
    def lock(self, name: object, *, wait: bool = False) -> Iterator[bool]:
        """Keep other processes from the same thing, such as a job; whether it was free."""
        with (self.folder / "work" / f"{name}.lock").open("ab") as file:
            try:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def read_json(path: Path) -> Any:
    """What a file of a study's folder holds.

    Raises:
        StudyError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); remove its folder, and that run is done again") from None


def write_json(path: Path, value: Any) -> None:
    """Write a file of JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
