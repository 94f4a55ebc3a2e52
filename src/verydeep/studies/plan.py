"""What remains of a study, in which order, and how long it will take by what was measured so far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import torch
from rich.table import Table

from verydeep.data.dataset import Dataset
from verydeep.evaluation.cost import costs
from verydeep.evaluation.protocol import parse
from verydeep.nets.layers import count_macs, count_training_operations
from verydeep.nets.registry import NETS, create_net
from verydeep.studies.results import Job, Results
from verydeep.studies.study import Study, Trial
from verydeep.training.folder import Run
from verydeep.training.recipe import Recipe


@dataclass(frozen=True)
class Step:
    """A job, and what is done of it.

    Attributes:
        job: a run or a fusion with one seed.
        needs: jobs that have to be done before.
        trained: whether its training has ended; a fusion has none.
        tests: that it is tested by, with the split; a fusion has one, of no protocol.
        tested: how many of them are done.
        seconds: that the rest will take; None where nothing like it has been timed.
    """

    job: Job
    needs: tuple[Job, ...]
    trained: bool
    tests: tuple[tuple[Trial, str], ...]
    tested: int
    seconds: float | None

    @property
    def done(self) -> bool:
        """Whether nothing remains."""
        return self.trained and self.tested == len(self.tests)


def jobs(study: Study) -> Iterator[Job]:
    """All jobs of a study in the order that they are done in: seed by seed, each after those that it needs."""
    seeds = max(run.seeds for run in study.runs.values())
    for seed in range(seeds):
        waiting = [Job(name, seed) for name, run in study.runs.items() if run.seeds > seed]
        while waiting:
            ready = next(job for job in waiting if not set(needs(study, job)) & set(waiting))
            waiting.remove(ready)
            yield ready
        for name in study.fusions:
            if seed < fusion_seeds(study, name):
                yield Job(name, seed)


def fusion_seeds(study: Study, name: str) -> int:
    """With how many seeds a fusion can be done: those that all of its runs have."""
    return min(study.runs[study.find(test).run].seeds for test in study.fusions[name].tests)


def needs(study: Study, job: Job) -> tuple[Job, ...]:
    """The jobs that have to be done before."""
    if job.name in study.fusions:
        return tuple(dict.fromkeys(Job(study.find(test).run, job.seed) for test in study.fusions[job.name].tests))
    start = study.runs[job.name].start
    return (Job(start, job.seed),) if start else ()


def trials_of(study: Study, job: Job) -> tuple[tuple[Trial, str], ...]:
    """What a job is tested by, and on which split."""
    if job.name in study.fusions:
        return ((Trial(job.name, ""), "val"),)
    return tuple((test, split) for split in study.splits for test in study.tests(job.name))


def fused(study: Study, test: Trial) -> bool:
    """Whether a fusion needs the posteriors of a test."""
    return any(str(test) in fusion.of for fusion in study.fusions.values())


def is_done(study: Study, results: Results, job: Job, trial: Trial, split: str) -> bool:
    """Whether a test has its row and, where a fusion waits for them (one may have joined later), its posteriors."""
    if results.row(job, trial.protocol, split) is None:
        return False
    waiting = split == "val" and any(
        str(trial) in fusion.of and job.seed < fusion_seeds(study, name) and results.row(Job(name, job.seed)) is None
        for name, fusion in study.fusions.items()
    )
    return not waiting or results.posteriors(job, trial).exists()


def plan(study: Study, results: Results, pictures: Dataset | None = None, watched: Dataset | None = None) -> list[Step]:
    """Every job of a study, with what is done of it.

    Args:
        study: whose jobs.
        results: in its folder.
        pictures: to train on, where known; else times are not.
        watched: to test on, where known; else times are not.
    """
    pace = Pace(study, results, pictures, watched)
    steps = []
    for job in jobs(study):
        tests = trials_of(study, job)
        remaining = [(trial, split) for trial, split in tests if not is_done(study, results, job, trial, split)]
        fusion = job.name in study.fusions  # which takes seconds
        trained = fusion or results.trained(job) is not None
        parts = [] if trained else [pace.training(job)]
        parts += [] if fusion else [pace.testing(job, trial) for trial, _ in remaining]
        known = [part for part in parts if part is not None]
        seconds = sum(known, start=0.0) if len(known) == len(parts) else None
        steps.append(Step(job, needs(study, job), trained, tests, len(tests) - len(remaining), seconds))
    return steps


class Pace:
    """How long things take, by what has been timed in a study's folder.

    A training: seconds a multiply-add, of the same net where it has been timed, else of all. A test: seconds a
    multiply-add, by the same protocol where it has been timed, else by all.
    """

    def __init__(self, study: Study, results: Results, pictures: Dataset | None, watched: Dataset | None) -> None:
        self.study, self.results, self.pictures, self.watched = study, results, pictures, watched
        self.trainings: dict[str, list[float]] = {}
        self.tests: dict[str, list[float]] = {}
        for job in jobs(study):
            if job.name in study.fusions:
                continue
            net, macs = study.recipe_of(job.name, job.seed).net, macs_of(study.recipe_of(job.name, job.seed))
            if run := results.trained(job):
                self.trainings.setdefault(net, []).append(run["seconds"] / (run["views"] * macs))
            elif pictures and (begun := self.begun(job)):
                self.trainings.setdefault(net, []).append(begun["seconds"] / (begun["epoch"] * len(pictures) * macs))
            for row in results.rows(job):
                self.tests.setdefault(row["test"], []).append(
                    row["seconds"] / (row["images"] * row["cost_ratio"] * macs)
                )

    def training(self, job: Job) -> float | None:
        """Seconds that a training still takes; None where none has been timed."""
        recipe = self.study.recipe_of(job.name, job.seed)
        timed = self.trainings.get(recipe.net) or all_of(self.trainings)
        if not timed or not self.pictures:
            return None
        begun = self.begun(job)
        epochs = recipe.schedule.epochs - (begun["epoch"] if begun else 0)
        return median(timed) * epochs * len(self.pictures) * macs_of(recipe)

    def testing(self, job: Job, trial: Trial) -> float | None:
        """Seconds that a test takes; None where none has been timed."""
        timed = self.tests.get(trial.protocol) or all_of(self.tests)
        if not timed or not self.watched:
            return None
        recipe = self.study.recipe_of(job.name, job.seed)
        sizes = (recipe.width, recipe.crop, recipe.hidden)
        crops = crops_of(recipe.net, *sizes, self.study.protocol_of(trial), self.watched)
        return median(timed) * len(self.watched) * crops * macs_of(recipe)

    def begun(self, job: Job) -> dict[str, Any] | None:
        """The last epoch of a training that has not ended."""
        epochs = [line for line in Run(self.results.work(job)).metrics if line["kind"] == "epoch"]
        return epochs[-1] if epochs else None


@cache
def crops_of(net: str, width: float, crop: int, hidden: int | None, protocol: str, watched: Dataset) -> float:
    """What a picture costs by a protocol, in crops."""
    parsed = parse(protocol, crop, net)
    with torch.device("meta"):  # its layers are asked for, not its weights
        empty = create_net(net, num_classes=1, width=width, crop=crop, hidden=hidden)
        return costs(empty, watched, [parsed])[parsed]


def all_of(times: Mapping[str, Sequence[float]]) -> list[float]:
    """All of the times."""
    return [each for some in times.values() for each in some]


def macs_of(recipe: Recipe) -> int:
    """Multiply-adds of a recipe's net for one crop; its classes, few as they are, are left out."""
    layers = NETS[recipe.net].build(num_classes=1, width=recipe.width, crop=recipe.crop, hidden=recipe.hidden)
    return count_macs(tuple(layers), recipe.crop)


def operations_of(recipe: Recipe) -> int:
    """Operations of a training step of a recipe's net for one crop; its classes, few as they are, are left out."""
    layers = NETS[recipe.net].build(num_classes=1, width=recipe.width, crop=recipe.crop, hidden=recipe.hidden)
    return count_training_operations(tuple(layers), recipe.crop)


def remaining(steps: Sequence[Step]) -> str:
    """How much there is still to do, in words."""
    left = [step for step in steps if not step.done]
    if not left:
        return f"all {len(steps)} runs and fusions are done"
    known = sum((step.seconds for step in left if step.seconds is not None), start=0.0)
    unknown = sum(step.seconds is None for step in left)
    times = [duration(known)] * bool(known) + [f"{unknown} of a time not known yet"] * bool(unknown)
    return f"{len(left)} of {len(steps)} runs and fusions remain: {' and '.join(times) or 'seconds'}"


def duration(seconds: float) -> str:
    """A time for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plan_table(study: Study, steps: Sequence[Step]) -> Table:
    """The plan as a table to read."""
    table = Table(title=f"{study.title}: {remaining(steps)}", title_justify="left")
    for column in ("run", "net", "starts from", "state"):
        table.add_column(column)
    table.add_column("remains", justify="right")
    for step in steps:
        fusion = step.job.name in study.fusions
        if step.done:
            state = "done"
        elif fusion:
            state = "to be fused"
        elif step.trained:
            state = f"trained, {step.tested} of {len(step.tests)} tests done"
        else:
            state = "to be trained"
        net = "" if fusion else study.recipe_of(step.job.name, 0).net
        left = "" if step.done else "not known yet" if step.seconds is None else duration(step.seconds)
        sources = f"{len(step.needs)} runs" if fusion else ", ".join(map(str, step.needs))
        table.add_row(str(step.job), net, sources, state, left)
    return table


def plan_rows(study: Study, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The plan as rows."""
    return [
        {
            "study": study.name,
            "run": step.job.name,
            "seed": step.job.seed,
            "needs": [str(job) for job in step.needs],
            "trained": step.trained,
            "tests": len(step.tests),
            "tested": step.tested,
            "seconds_left": 0.0 if step.done else step.seconds,
        }
        for step in steps
    ]
