"""The main job in minutes, on the built-in pictures: digits → net A → a deeper net grafted from it → errors; boxes.

What `make demo` runs. It shows the bundled net on two real photographs, too, and ends with what to do next.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.digits import make_digits
from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import ErrorTable, write_rows
from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.predict import best_protocol, credentials, predict
from verydeep.localisation.draw import draw
from verydeep.localisation.localise import guess
from verydeep.localisation.locate import Localiser
from verydeep.nets.registry import bundled, read_net
from verydeep.studies.report import Example, write_report
from verydeep.studies.reproduce import reproduce
from verydeep.studies.results import Job, Results
from verydeep.studies.study import read_study
from verydeep.studies.tables import box_sheet
from verydeep.training.plan import BUNDLED
from verydeep.training.run import Moment, Run

STUDY = "digits"
EXAMPLES = 12  # pictures of the report
NEXT = (
    "verydeep predict holiday.jpg          # what a photograph of yours shows",
    "verydeep train photos                 # a net for your own classes: a folder of pictures for each",
    "verydeep evaluate runs/photos photos  # how good it is",
)


def demo(
    folder: str | Path = "verydeep-demo",
    *,
    json: str | Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Moment], None] = lambda moment: None,
    print_table: Callable[[Any], None] = lambda table: None,
) -> ErrorTable:
    """Make the digits, train and graft, test by three protocols, and write a report.

    Args:
        folder: where all of it goes; what is done already there is not done again.
        json: a file for the error rows.
        device: where to compute.
        say: gets each line for a person.
        show: gets every step of the trainings.
        print_table: gets the error table.

    Returns:
        The errors of both nets, and of the boxes.

    Raises:
        VerydeepError: the folder cannot be used.
    """
    folder = Path(folder)
    digits = folder / "digits"
    if not digits.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VerydeepError(f"{folder}: cannot be made ({error.strerror}); give another folder") from error
        say("1. Makes the built-in pictures: real handwritten digits on pieces of real photographs")
        make_digits(digits)
    say("2. Trains net A, then net B, whose layers of the same names start from net A's, and tests both: by the centre "
        "crop of a picture, on the whole of it densely, and densely at three scales; then a net from B that says where "
        "the digit is")  # fmt: skip
    table = reproduce(STUDY, digits, folder=folder / "study", device=device, say=say, show=show)
    results = Results(folder / "study")
    a, b, boxes = (Run(results.work(Job(name, 0))) for name in ("a", "b", "boxes"))
    named = ErrorTable([row for row in table.rows if "top1_error" in row])
    located = box_sheet(results.study(), results)
    print_table(named)
    print_table(located.table())
    if json:
        write_rows(Path(json), table.rows)
    write_report(
        folder / "report.html",
        title="The demo: handwritten digits on photographs",
        rows=named.rows,
        sheets=[located],
        runs=[run.folder for run in (a, b, boxes)],
        examples=examples(b, boxes, digits, device),
        notes=[read_study(STUDY).about],
    )
    if BUNDLED in bundled():
        say("3. Asks the net that comes with verydeep what two photographs show")
        show_bundled(device, say)
    say(f"The report, to look at in a browser: {folder / 'report.html'}")
    say("Now with pictures of yours:")
    for line in NEXT:
        say(f"  {line}")
    return table


def show_bundled(device: str, say: Callable[[str], None]) -> None:
    """Say what the bundled net takes scikit-learn's two photographs for, and how often it errs."""
    net, card = read_net(bundled()[BUNDLED])
    say(credentials(BUNDLED, net, card))
    photographs = Path(str(files("sklearn.datasets").joinpath("images")))
    paths = [photographs / name for name in ("china.jpg", "flower.jpg")]
    for prediction in predict(net, paths, best_protocol(net, card), device=device):
        best = ", ".join(f"{card['names'].get(key, key)} {100 * posterior:.0f} %" for key, posterior in prediction.best)
        say(f"{Path(prediction.image).name}: {best}")


def examples(run: Run, boxes: Run, digits: Path, device: str) -> list[Example]:
    """Pictures of the validation set, spread over it, with the five best classes and the box of the best one."""
    net, _ = read_net(run.net)
    pictures = open_dataset(digits, split="val")
    chosen = pictures.subset(np.linspace(0, len(pictures) - 1, EXAMPLES).astype(int))
    study = read_study(STUDY)
    protocol = study.protocol_of(study.tests("b")[-1])
    found = posteriors(net, chosen, protocol, device=device)
    localiser = Localiser(read_net(boxes.net)[0], study.protocol_of(study.tests("boxes")[0]))
    things = guess(net, [localiser], chosen, protocol, count=1, device=device)
    return [
        Example(
            np.asarray(draw(chosen.picture(i), things.of(i))),
            chosen.classes[chosen.labels[i]],
            found.best(i),
            caption=chosen.images[i],
        )
        for i in range(len(chosen))
    ]
