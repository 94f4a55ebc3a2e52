"""A study, done: every run trained and tested, every fusion made, from wherever its folder is; nothing twice."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.dataset import Dataset
from verydeep.data.statistics import Statistics
from verydeep.device import choose_compute, convolution_peak
from verydeep.errors import StudyError, VerydeepError
from verydeep.evaluation.cost import costs
from verydeep.evaluation.error_table import ErrorTable, error_row
from verydeep.evaluation.fuse import fuse
from verydeep.evaluation.outcome import Outcome, outcome
from verydeep.evaluation.posteriors import Posteriors, name_of, posteriors
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.localisation.draw import draw_cases
from verydeep.localisation.localise import judge, localisation_row, place
from verydeep.localisation.locate import Localiser
from verydeep.localisation.measure import best_single_box, error_of, right_always, right_with_known_class
from verydeep.nets.net import Net
from verydeep.nets.registry import load_own_net, read_net, save_net
from verydeep.processes import processes
from verydeep.studies.leaderboard import keep_standings
from verydeep.studies.plan import Step, fused, is_done, jobs, macs_of, operations_of, plan, remaining
from verydeep.studies.results import Job, Results, read_json, write_json
from verydeep.studies.signals import signals
from verydeep.studies.study import Parameter, Study, Trial, read_study, scale_protocol
from verydeep.studies.transfer_study import is_transfer
from verydeep.training.division import divide, keep_boxed, lacks_split
from verydeep.training.folder import Run, first_difference
from verydeep.training.recipe import Recipe, parse_recipe, read_recipe
from verydeep.training.run import Moment, train
from verydeep.training.start import set_colours, start_net
from verydeep.training.views import training_views
from verydeep.weights.files import checksum, write_atomically

LOSSES = 200  # points of a training's loss that are kept, at most

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def reproduce(
    study: str | Path,
    data: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    parameters: Mapping[str, Parameter | str] | None = None,
    device: str = "auto",
    minutes: float | None = None,
    say: Say = lambda line: None,
    show: Callable[[Moment], None] = lambda moment: None,
    progress: Progress = lambda what, count, of: None,
) -> ErrorTable:
    """Do what remains of a study: train, test, fuse.

    A run that fails is named, and those that do not need it go on. Several commands may work in one folder. Under
    torchrun processes share each training and each test; they need the folder in common, and a run that fails ends all.

    Args:
        study: its name, such as "digits", or a TOML file.
        data: a data set with a training and a validation split; by default the study's own.
        folder: where all of it is kept; by default `runs/` and the study's name.
        parameters: of the study, instead of its own, such as `{"epochs": 3}`; the folder remembers them.
        device: where to compute.
        minutes: no run is begun that would not end in so much time, by what others took.
        say: gets a line for each thing that a person should know.
        show: gets every step of the trainings.
        progress: gets each test, the number of pictures done and of all.

    Returns:
        The error rows of all that is done. Beside those of `evaluate`: study, run, seed; test, the protocol with the
        sides of the paper's crop; tested_on, "val" or "train"; cost_ratio, of a picture, in crops.

    Raises:
        StudyError: the study does not hold together, the folder is another's, or runs have failed; the others are done.

    Source: section 4.
    """
    if is_transfer(study):
        raise StudyError(
            f"study {study}: is of transfer; use `verydeep reproduce` or verydeep.studies.transfer_reproduce"
        )
    bench = prepare(study, data, folder=folder, parameters=parameters, device=device)
    if bench.watched is None:
        raise StudyError(f"study {bench.study.name}: needs a data set; give one with --data")
    we = processes()

    def begin() -> None:
        bench.results.make(bench.study, bench.given)
        bench.measure_baselines()

    we.from_first(begin)
    until = None if minutes is None else time.monotonic() + 60 * minutes
    failed: dict[Job, Exception] = {}
    passed: set[Job] = set()  # taken by another process, or too long for the time that is left
    while True:
        with ExitStack() as held:
            step = we.from_first(partial(bench.choose, held, failed, passed, until, say))
            if step is None:
                break
            try:
                bench.do(step, say, show, progress)
                we.from_first(partial(keep_standings, bench.study, bench.results))
            except Exception as error:  # a mistake that can be mended, or a bug: the others go on first
                if we.count > 1:
                    raise  # since the other processes wait for this one
                failed[step.job] = error
                say(f"{step.job} failed: {error}")
    report_failures(bench, failed)
    say(f"{bench.results.folder}: {remaining(bench.plan())}")
    return ErrorTable(bench.results.all_rows())


def report_failures(bench: "Bench", failed: Mapping[Job, Exception]) -> None:
    """Raise what went wrong: a bug as it is, mistakes together in one line."""
    for error in failed.values():
        if not isinstance(error, VerydeepError):
            raise error
    if failed:
        lines = "; ".join(f"{job}: {error}" for job, error in failed.items())
        waiting = [step for step in bench.plan() if set(step.needs) & failed.keys()]
        rest = f"; {', '.join(str(step.job) for step in waiting)} cannot begin without" if waiting else ""
        raise StudyError(
            f"{len(failed)} failed: {lines}{rest}; the same command tries again, and does nothing done twice"
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """A study, its data and its folder.

    Attributes:
        study: with its parameters.
        given: the parameters that were given for it.
        data: path or name of the data set.
        results: in its folder.
        pictures: to train on; None where no data were given.
        watched: to test on.
        device: to compute on.
    """

    study: Study
    given: Mapping[str, Parameter | str]
    data: str | None
    results: Results
    pictures: Dataset | None
    watched: Dataset | None
    device: str

    def plan(self) -> list[Step]:
        """Every job, with what is done of it."""
        return plan(self.study, self.results, self.pictures, self.watched)

    def check(self) -> None:
        """Check that what is done in the folder is of this study, by these recipes, on these pictures.

        Raises:
            StudyError: it is not.
        """
        for job in jobs(self.study):
            run = None if job.name in self.study.fusions else self.results.trained(job)
            if run is None:
                continue
            key = first_difference(parse_recipe(run["recipe"]), self.study.recipe_of(job.name, job.seed))
            if key:
                raise StudyError(
                    f"{self.results.folder}: {job} was trained by another recipe ({key} differs); "
                    "give the same parameters, or another folder"
                )
            if self.watched is not None and run["watched"] != self.watched.fingerprint():
                raise StudyError(f"{self.results.folder}: {job} was tested on other pictures; give another folder")

    def recipe(self, job: Job) -> Recipe:
        """The recipe of a run, with its data and what it starts from."""
        start = self.study.runs[job.name].start
        where = None
        if start:  # as seen from here, so that a folder may be named in several ways
            where = os.path.relpath(self.results.net(Job(start, job.seed), self.study))
        recipe = self.study.recipe_of(job.name, job.seed, where)
        compute = recipe.compute.model_copy(update={"device": self.device})
        return recipe.model_copy(update={"data": self.data, "compute": compute})

    def choose(
        self, held: ExitStack, failed: Mapping[Job, Exception], passed: set[Job], until: float | None, say: Say
    ) -> Step | None:
        """The job to do now, None where there is none; nobody else does it as long as `held` is open.

        Args:
            held: gets the job's lock.
            failed: jobs that failed.
            passed: jobs that are left to others or to another time; gets those that are found.
            until: when to end, on the clock of `time.monotonic`.
            say: is told the job.
        """
        while True:
            steps = self.plan()
            done = {step.job for step in steps if step.done}
            ready = (step for step in steps if done >= set(step.needs))
            step = next((step for step in ready if step.job not in done | failed.keys() | passed), None)
            if step is None:
                return None
            if until is not None and time.monotonic() + (step.seconds or 0) > until:
                passed.add(step.job)
                continue
            with ExitStack() as lock:
                if not lock.enter_context(self.results.lock(step.job)):
                    passed.add(step.job)
                    continue
                steps = self.plan()  # once more: another process may have done it meanwhile
                step = next(each for each in steps if each.job == step.job)
                if step.done:
                    continue
                say(f"{step.job} is next; {remaining(steps)}")
                held.push(lock.pop_all())
                return step

    def do(self, step: Step, say: Say, show: Callable[[Moment], None], progress: Progress) -> None:
        """Do what remains of a job."""
        if step.job.name in self.study.fusions:
            if self.study.fusions[step.job.name].boxes:
                self.locate(step.job, progress)
            else:
                processes().from_first(partial(self.fuse, step.job))
            return
        if not step.trained:
            self.train(step.job, say, show)
        path = self.results.net(step.job, self.study)

        def find_remaining() -> list[tuple[Trial, str]]:
            found = [each for each in step.tests if not is_done(self.study, self.results, step.job, *each)]
            if found and not path.exists():
                raise StudyError(f"{path}: is not here, but tests of it remain; remove {self.results.of(step.job)}")
            return found

        for test, split in processes().from_first(find_remaining):
            self.test(step.job, test, split, say, progress)

    def train(self, job: Job, say: Say, show: Callable[[Moment], None]) -> None:
        """Train a run, and keep its weights and what is known of it."""
        recipe, we = self.recipe(job), processes()

        def begin() -> float | None:
            kept = Run(self.results.work(job)).recipe
            if kept.exists():
                before = read_recipe(kept).model_copy(update={"start": recipe.start})
                if not first_difference(before, recipe):
                    write_atomically(kept, recipe.to_toml().encode())  # the study's folder may have moved meanwhile
            return self.peak(recipe) if self.study.speed else None

        peak = we.from_first(begin)
        run = train(recipe, run=self.results.work(job), say=say, show=show)
        we.from_first(partial(self.keep_run, job, recipe, run, peak))

    def keep_run(self, job: Job, recipe: Recipe, run: Run, peak: float | None) -> None:
        """Keep the weights of a run that has ended, and what is known of it."""
        net, card = read_net(run.net)
        path = self.results.net(job, self.study)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_net(path, net, {**card, "study": self.study.name, "run": job.name}, half=True)
        epochs = [line for line in run.metrics if line["kind"] == "epoch"]
        self.results.of(job).mkdir(parents=True, exist_ok=True)
        assert self.pictures is not None and self.watched is not None  # noqa: PT018 - for mypy
        write_json(self.results.of(job) / "run.json", {
            "study": self.study.name, "run": job.name, "seed": job.seed, "net": recipe.net,
            "starts_from": self.study.runs[job.name].start, "images": len(self.pictures),
            "watched": self.watched.fingerprint(), "views": len(self.pictures) * len(epochs),
            "macs": macs_of(recipe), "operations": operations_of(recipe), "peak": peak,
            "parameters": sum(each.numel() for each in net.parameters()),
            "weights": checksum(net.state_dict(), net.name),
            "seconds": epochs[-1]["seconds"], "epochs": epochs, "losses": thinned(run),
            "signals": self.signals(recipe, run) if self.study.signals else {},
            "environment": run.noted, "recipe": self.study.recipe_of(job.name, job.seed).model_dump(exclude_none=True),
        })  # fmt: skip

    def peak(self, recipe: Recipe) -> float:
        """Gigaflop a second of convolutions alone, in the data type that the recipe trains in here."""
        wished = recipe.compute
        compute = choose_compute(wished.device, wished.data_type, wished.layout)
        return round(convolution_peak(compute.device, compute.data_type), 1)

    def signals(self, recipe: Recipe, run: Run) -> dict[str, Any]:
        """The signals of a net before its training and after it."""
        assert self.pictures is not None
        statistics = Statistics.from_dict(read_json(run.folder / "statistics.json"))
        first = start_net(recipe, self.pictures.classes, say=lambda line: None).eval()
        set_colours(first, recipe, statistics)
        views = training_views(recipe, statistics)
        last, _ = read_net(run.net)
        return {when: signals(net, self.pictures, views) for when, net in (("before", first), ("after", last))}

    def test(self, job: Job, trial: Trial, split: str, say: Say, progress: Progress) -> None:
        """Test a run by a protocol, from where that was left, and keep what it gave."""
        net, _ = read_net(self.results.net(job, self.study))
        protocol = parse(self.study.protocol_of(trial), net.crop, net.name)
        if self.study.gives_boxes(job.name):
            self.test_boxes(job, trial, split, net, protocol, progress)
            return
        is_fused = split == "val" and fused(self.study, trial)
        file = self.results.posteriors(job, trial, split, fused=is_fused)
        file.parent.mkdir(parents=True, exist_ok=True)
        tested = self.part(split)
        found = outcome(posteriors(net, tested, protocol, device=self.device, weights=str(job), file=file,
                                   progress=partial(progress, f"{job} by {protocol}"), remark=say))  # fmt: skip
        crops = costs(net, tested, [protocol])[protocol]
        self.keep(job, trial.protocol, split, found, error_row(found, protocol) | {"cost_ratio": round(crops, 3)})
        if not is_fused and processes().first:
            file.unlink()

    def test_boxes(self, job: Job, trial: Trial, split: str, net: Net, protocol: Protocol, progress: Progress) -> None:
        """Test a localiser with the class known, and keep what it gave. Source: appendix A."""
        data, boxes = keep_boxed(self.part(split), self.study.recipe_of(job.name, job.seed))
        began = time.perf_counter()
        right = right_with_known_class([Localiser(net, protocol.text)], data, boxes, device=self.device,
                                       progress=partial(progress, f"{job} by {protocol}"))  # fmt: skip
        self.results.add(job, {
            **self.named(job, trial.protocol, split), "net": net.name, "weights": str(job), "data": name_of(data),
            "split": data.split, "classes": len(data.classes), "protocol": protocol.text,
            "scales": list(protocol.scales), "mirror": protocol.mirror, "images": len(data),
            **error_of(right, "known_class"), "seconds": round(time.perf_counter() - began, 3),
            "cost_ratio": round(costs(net, data, [protocol])[protocol], 3),
        }, (~right).astype(np.int64))  # fmt: skip

    def measure_baselines(self) -> None:
        """Keep the errors of boxes that no net is needed for, where the study has localisers."""
        path = self.results.folder / "baselines.json"
        localiser = next((run for run in self.study.runs if self.study.gives_boxes(run)), None)
        if localiser is None or path.exists():
            return
        assert self.pictures is not None and self.watched is not None  # noqa: PT018 - for mypy
        recipe = self.study.recipe_of(localiser, 0)
        (_, learned), (_, tested) = (keep_boxed(part, recipe) for part in (self.pictures, self.watched))
        boxes = {"the whole picture": np.array([0.0, 0.0, 1.0, 1.0]),
                 "the best single box, chosen on the training pictures": best_single_box(learned)}  # fmt: skip
        write_json(path, {name: float(1 - right_always(box, tested).mean()) for name, box in boxes.items()})

    def locate(self, job: Job, progress: Progress) -> None:
        """Boxes of localisers for the five best classes of each picture. Source: appendix A."""
        assert self.watched is not None
        fusion, began = self.study.fusions[job.name], time.perf_counter()
        localisers = []
        for test in map(self.study.find, fusion.boxes):
            net, _ = read_net(self.results.net(Job(test.run, job.seed), self.study))
            localisers.append(Localiser(net, self.study.protocol_of(test)))
        if fusion.net is None:
            (test,) = (self.study.find(each) for each in fusion.of)
            named_by, _ = read_net(self.results.net(Job(test.run, job.seed), self.study))
            said = Posteriors.load(self.results.posteriors(Job(test.run, job.seed), test))
        else:
            named_by, _ = load_own_net(fusion.net)
            protocol = scale_protocol(str(fusion.protocol), named_by.crop)
            kept = self.results.folder / "work" / f"{Path(fusion.net).stem}-{protocol}.safetensors"  # for other fusions
            said = posteriors(
                named_by, self.watched, protocol, device=self.device, weights=fusion.net, file=kept,
                progress=lambda done, of: progress("classes", done, of),
            )  # fmt: skip
        guesses = place(said, named_by, localisers, self.watched, device=self.device, progress=progress)
        rights = judge(guesses, localisers, self.watched, device=self.device, progress=progress)
        row = localisation_row(guesses, localisers, self.watched, rights)
        processes().from_first(partial(draw_cases, self.results.cases(job), self.watched, rights))
        seconds = {"seconds": round(time.perf_counter() - began, 3)}
        self.results.add(job, {**self.named(job, "", "val"), **row, **seconds}, (~rights.located).astype(np.int64))

    def fuse(self, job: Job) -> None:
        """Average the posteriors of several tests. Source: section 4.4."""
        tests = [self.study.find(test) for test in self.study.fusions[job.name].of]
        found = outcome(fuse([self.results.posteriors(Job(test.run, job.seed), test) for test in tests]))
        rows = [self.results.row(Job(test.run, job.seed), test.protocol) or {} for test in tests]
        protocol = parse(self.study.protocol_of(tests[0]), 1)
        same = {key: rows[0][key] for key in ("scales", "mirror") if all(row[key] == rows[0][key] for row in rows)}
        row = error_row(found, protocol) | {"scales": [], "mirror": True} | same
        self.keep(job, "", "val", found, row)

    def keep(self, job: Job, test: str, split: str, found: Outcome, row: Mapping[str, Any]) -> None:
        """Keep the errors and the ranks of a test."""
        self.results.add(job, {**self.named(job, test, split), **row}, found.ranks)

    def named(self, job: Job, test: str, split: str) -> dict[str, Any]:
        """What a row is of."""
        return {"study": self.study.name, "run": job.name, "seed": job.seed, "test": test, "tested_on": split}

    def part(self, split: str) -> Dataset:
        """The pictures of a split that are tested on: of those to train on as many as are watched, evenly spread."""
        assert self.pictures is not None and self.watched is not None  # noqa: PT018 - for mypy
        if split != "train":
            return self.watched
        return self.pictures.subset(
            np.linspace(0, len(self.pictures) - 1, min(len(self.watched), len(self.pictures))).astype(int)
        )


def prepare(
    study: str | Path,
    data: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    parameters: Mapping[str, Parameter | str] | None = None,
    device: str = "auto",
) -> Bench:
    """A study with its data and its folder, all checked, before anything is done or written.

    Raises:
        StudyError: the study does not hold together, the folder is another's, or the data lack a validation split.
    """
    results = Results(Path(folder) if folder else Path("runs") / Path(study).stem)
    given = results.remembered(Path(study).stem) | dict(parameters or {})
    graph = read_study(study, given)
    data = graph.data if data is None else str(data)
    pictures = watched = None
    if data is not None:
        recipe = graph.recipe_of(next(iter(graph.runs)), 0).model_copy(update={"data": data})
        pictures, watched = divide(recipe)
        if recipe.validation.held_out or lacks_split(pictures, recipe.validation.split):
            raise StudyError(f"{data}: has no split of pictures to test on; divide it into train and val")
    bench = Bench(graph, given, data, results, pictures, watched, device)
    bench.check()
    return bench


def thinned(run: Run) -> list[tuple[int, float]]:
    """Step and loss along a training, some hundred of them; of a very short one, of its epochs."""
    lines = run.metrics
    losses = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step"]
    losses = losses or [(line["step"], line["loss"]) for line in lines]
    return losses[:: max(1, -(-len(losses) // LOSSES))]
