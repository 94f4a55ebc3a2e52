"""A transfer → its page: how often it errs and on what, its worst mistakes, and whether more pictures would help."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from verydeep.data.dataset import UNLABELLED
from verydeep.errors import PictureError, VerydeepError
from verydeep.evaluation.outcome import Outcome, gather, look_at
from verydeep.studies.evaluation_page import class_errors, confusions, draw_matrix
from verydeep.studies.plots import Plot
from verydeep.studies.report import Example, describe_example, write_page
from verydeep.transfer.photographs import Learned, Report

WORST = 12  # mistakes that are shown
LISTED = 12  # classes, and confusions


def write_transfer(path: Path, report: Report) -> None:
    """Write one self-contained HTML file on a model of one's own photographs, with thumbnails of its worst mistakes.

    Raises:
        VerydeepError: the file cannot be written.
    """
    outcome = outcome_of(report)
    names = dict(report.model.names)
    row = report.row
    try:
        write_page(
            path,
            "transfer.html.jinja",
            title=f"{row['data']} by {row['net']}",
            row=row,
            summary=summary(report),
            verdict=report.verdict,
            curve=Plot("curve", "Error against pictures", "", partial(draw_curve, curve=report.curve)),
            points=report.curve,
            classes=class_errors(outcome, names)[:LISTED],
            confusions=confusions(outcome, names)[:LISTED],
            matrix=Plot("confusion", "Confusion matrix", "", partial(draw_matrix, outcome=outcome, names=names)),
            worst=[describe_example(example) for example in worst(report, outcome)],
            mistakes=int(outcome.wrong(1).sum()),
            notes=report.remarks,
        )
    except OSError as error:
        raise VerydeepError(f"{path}: cannot be written ({error.strerror}); give another place") from None


def outcome_of(report: Report) -> Outcome:
    """What became of each tested picture."""
    row = report.row
    about = {
        "classes": report.model.classes, "net": row["net"], "weights": row["weights"], "data": row["data"],
        "split": row["split"], "protocol": row["way"], "seconds": row["seconds"],
    }  # fmt: skip
    return gather(about, report.labels, [look_at(report.posteriors, report.labels)])


def summary(report: Report) -> str:
    """What was found, in a sentence."""
    row = report.row
    low, high = (100 * bound for bound in row["top1_interval"])
    how = (
        f"each tested by one of {row['folds']} classifiers that had not seen it"
        if row["folds"] > 1
        else f"tested by a classifier of {row['trained_on']:,} others"
    )
    error = f"{100 * row['top1_error']:.1f} % are named wrongly ({low:.1f} to {high:.1f} %)"
    return (
        f"Of {row['images']:,} pictures of {row['classes']:,} classes, {how}, {error}; who always names the most "
        f"frequent class errs in {100 * row['most_frequent_class_error']:.1f} %."
    )


def worst(report: Report, outcome: Outcome) -> Sequence[Example]:
    """The mistakes of which the model was surest, the surest first."""
    wrong = np.flatnonzero(outcome.wrong(1))
    order = wrong[np.argsort(-outcome.confidence[wrong], kind="stable")][:WORST].tolist()
    names, classes = report.model.names, report.model.classes
    shown = []
    for image in order:
        best = np.argsort(-report.posteriors[image], kind="stable")[:3].tolist()
        try:
            picture = report.data.picture(image)
        except PictureError:  # it has gone meanwhile
            continue
        label = int(report.labels[image])
        truth = None if label == UNLABELLED else names.get(classes[label], classes[label])
        guesses = [(names.get(classes[k], classes[k]), float(report.posteriors[image, k])) for k in best]
        shown.append(Example(picture, truth, guesses, report.data.images[image]))
    return shown


def draw_curve(axes: Axes, curve: Sequence[Learned]) -> None:
    """Draw the error against the pictures of a class that were trained on, with intervals."""
    for point in curve:
        axes.plot([point.images] * 2, [100 * bound for bound in point.interval], color="C0", linewidth=1.2)
    axes.plot([point.images for point in curve], [100 * point.error for point in curve], color="C0", marker="o")
    axes.set_xscale("log")
    axes.set_xticks([point.images for point in curve], [f"{point.images:.0f}" for point in curve])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("pictures of a class trained on")
    axes.set_ylabel("top-1 error, %")
