"""A study's folder → its report: one HTML file, the same in Markdown, and every picture as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from verydeep.errors import StudyError
from verydeep.localisation.draw import TEXT
from verydeep.studies.findings import Effect, Tried, try_findings
from verydeep.studies.leaderboard import machine_and_threads
from verydeep.studies.plan import jobs, plan, remaining
from verydeep.studies.plots import Plot, plots
from verydeep.studies.report import thumbnail, write_page, write_report
from verydeep.studies.results import Results
from verydeep.studies.study import Study
from verydeep.studies.tables import Sheet, as_text, finding_sheet, interval, points, sheets, unsigned


def report(folder: str | Path) -> Path:
    """Write the report of a study's folder, or of a run's, into it.

    Returns:
        The HTML file; beside it lie the Markdown file and a folder of PNG files.

    Raises:
        StudyError: the folder is neither.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StudyError(f"{folder}: is not a folder; give one that `reproduce` or `train` has made")
    path = folder / "report.html"
    if (folder / "metrics.jsonl").exists():
        write_report(path, title=f"The run {folder.resolve().name}", runs=[folder])
        return path
    results = Results(folder)
    study = results.study()
    tried = try_findings(study, results)
    all_sheets = [*([finding_sheet(tried)] if tried else []), *sheets(study, results)]
    drawn = plots(study, results)
    state = f"Of this study, {remaining(plan(study, results))}"
    parameters = ", ".join(f"{key} = {value}" for key, value in study.parameters.items())
    write_page(
        path, "study.html.jinja", title=study.title, about=study.about, state=state, parameters=parameters,
        tried=[say_finding(study, each) for each in tried.values()], sheets=all_sheets, plots=drawn,
        cases=describe_cases(study, results), runs=describe_runs(study, results),
    )  # fmt: skip
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for plot in drawn:
        plot.save(pictures)
    lines = markdown(study, state, parameters, tried, all_sheets, drawn)
    path.with_suffix(".md").write_text(as_text(lines), encoding="utf-8")
    return path


def markdown(
    study: Study,
    state: str,
    parameters: str,
    tried: Mapping[str, Tried],
    all_sheets: Sequence[Sheet],
    drawn: Sequence[Plot],
) -> list[str]:
    """The report as lines of Markdown."""
    lines = [f"# {study.title}", "", study.about, "", f"{state}. With {parameters}.", ""]
    for each in (say_finding(study, each) for each in tried.values()):
        lines += [f"- **{each['claim']}** ({each['source']}): {each['verdict']}. {each['sentence']}"]
    for sheet in all_sheets:
        lines += ["", f"## {sheet.title}", "", *sheet.markdown(), *(["", sheet.note] if sheet.note else [])]
    for plot in drawn:
        lines += ["", f"![{plot.title}; {plot.source}](pictures/{plot.name}.png)"]
    return lines


def say_finding(study: Study, each: Tried) -> dict[str, str]:
    """A finding in words, by its first pair."""
    return {
        "claim": each.finding.claim,
        "source": each.finding.source,
        "verdict": each.verdict if each.effects[0].difference is not None else "not measured yet",
        "sentence": say_effect(each.effects[0], study.error_of(each.effects[0].first)),
    }


def say_effect(effect: Effect, error: str) -> str:
    """An effect in words, of this kind of error."""
    pair = f"{effect.first} against {effect.second}"
    theirs = f"the paper has {points(effect.published)}" if effect.published is not None else "the paper has no figure"
    if effect.difference is None:
        return f"{pair}: {theirs}{'' if effect.published is None else f' points of {error}'}."
    return (
        f"{pair}: {points(effect.difference)} points of {error} ({interval(effect)}; {effect.images:,} pictures, "
        f"{effect.seeds} {'seed' if effect.seeds == 1 else 'seeds'}); {theirs}. "
        f"A difference of {unsigned(effect.smallest)} would have shown."
    )


def describe_cases(study: Study, results: Results) -> dict[str, Any] | None:
    """What the page shows of good and bad boxes: of the fusion that errs least among those whose cases are here."""
    drawn = [
        (row["localisation_error"], job.name, results.cases(job))
        for job in jobs(study)
        if (row := results.row(job)) and results.cases(job).is_dir()
    ]
    if not drawn:
        return None
    _, name, folder = min(drawn)
    cases = []
    for kind in ("good", "bad"):
        for path in sorted(folder.glob(f"{kind}-*.png")):
            with Image.open(path) as picture:
                shown = thumbnail(np.asarray(picture))
                cases.append({"right": kind == "good", "thumbnail": shown, "caption": picture.info.get(TEXT, "")})
    return {"of": name, "shown": cases}


def describe_runs(study: Study, results: Results) -> list[dict[str, Any]]:
    """What the page shows of every training that has ended."""
    done = [(job, run) for job in jobs(study) if (run := results.trained(job))]
    return [
        {
            "name": str(job),
            **{key: run[key] for key in ("net", "starts_from", "images", "seconds")},
            "epochs": len(run["epochs"]),
            "loss": run["epochs"][-1]["loss"],
            "machine": machine_and_threads(run["environment"]),
        }
        for job, run in done
    ]
