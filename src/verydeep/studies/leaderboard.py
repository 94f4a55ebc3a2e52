"""What a study's nets have reached as accuracies, with time and hardware: the rows of a leaderboard.

`verydeep reproduce` keeps them as leaderboard.json in the study's folder; elsewhere they are written by
python -m verydeep.studies.leaderboard docs/results/cifar10 docs/results/cifar10.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from verydeep.studies.plan import jobs
from verydeep.studies.results import Job, Results, Row, write_json
from verydeep.studies.study import Study


def standings(study: Study, results: Results) -> Iterator[Row]:
    """A row for every test and fusion that is done, over all seeds that are.

    Each has run, net, protocol, seeds (how many), accuracy_mean and accuracy_std (fractions; of one seed 0),
    minutes_mean (of training, with that of the runs it starts from, of a fusion those of all its runs),
    flop_share_of_peak (a fraction; None of a fusion, and where no peak was measured), epochs (likewise with those
    before), parameters and machine.
    """
    for name in study.runs:
        for trial in study.tests(name):
            yield from standing(study, results, name, trial.protocol, [name])
    for name, fusion in study.fusions.items():
        yield from standing(study, results, name, "", [study.find(test).run for test in fusion.tests])


def standing(study: Study, results: Results, name: str, protocol: str, runs: list[str]) -> Iterator[Row]:
    """The row of a test of a run, or of a fusion of runs; none where nothing of it is done."""
    done = [job for job in jobs(study) if job.name == name and results.row(job, protocol) is not None]
    if not done:
        return
    rows = [results.row(job, protocol) or {} for job in done]
    accuracies = [1 - row["top1_error"] for row in rows]
    trained = [[results.trained(Job(run, job.seed)) or {} for run in dict.fromkeys(runs)] for job in done]
    chain = [each for run in dict.fromkeys(runs) for each in with_starts(study, run)]
    chains = [[results.trained(Job(run, job.seed)) or {} for run in dict.fromkeys(chain)] for job in done]
    first = trained[0][0]
    yield {
        "run": name,
        "net": " + ".join(dict.fromkeys(each["net"] for each in trained[0])),
        "protocol": rows[0]["protocol"] if len(trained[0]) == 1 else f"mean of {len(runs)}",
        "seeds": len(done),
        "accuracy_mean": round(mean(accuracies), 6),
        "accuracy_std": round(stdev(accuracies), 6) if len(accuracies) > 1 else 0.0,
        "accuracies": [round(each, 6) for each in accuracies],
        "minutes_mean": round(mean(sum(run["seconds"] for run in several) for several in chains) / 60, 2),
        "flop_share_of_peak": share_of_peak([several[0] for several in trained]) if len(trained[0]) == 1 else None,
        "epochs": sum(len(each["epochs"]) for each in chains[0]),
        "parameters": sum(each["parameters"] for each in trained[0]),
        "data_type": first["environment"].get("data_type", ""),
        "machine": machine_and_threads(first["environment"]),
    }


def machine_and_threads(environment: dict[str, Any]) -> str:
    """What a run was trained on, in words."""
    threads = environment.get("threads", "")
    return f"{environment.get('machine', '')}, {threads} {'thread' if threads == 1 else 'threads'}"


def with_starts(study: Study, run: str) -> list[str]:
    """A run after those that it starts from, the first one first."""
    start = study.runs[run].start
    return [*(with_starts(study, start) if start else ()), run]


def share_of_peak(runs: list[dict[str, Any]]) -> float | None:
    """Operations of trainings in their time, as a mean share of what convolutions alone reached in the same process.

    Operations are those of the direct way, also where another needs fewer (`nets/winograd.py`).
    """
    shares = [run["operations"] * run["views"] / run["seconds"] / 1e9 / run["peak"] for run in runs if run.get("peak")]
    return round(mean(shares), 4) if len(shares) == len(runs) else None


def keep_standings(study: Study, results: Results) -> None:
    """Write the rows beside a study's other results, if it has a leaderboard."""
    if "leaderboard" in study.tables:
        write_json(results.folder / "leaderboard.json", list(standings(study, results)))


def main(folder: str, file: str) -> None:
    """Write the rows of a study's folder to a file of JSON."""
    results = Results(Path(folder))
    write_json(Path(file), list(standings(results.study(), results)))


if __name__ == "__main__":
    main(*sys.argv[1:])
