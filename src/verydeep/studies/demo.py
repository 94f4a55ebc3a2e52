"""The main job in minutes, on the built-in pictures: digits → net A → a deeper net grafted from it → an error table.

What `make demo` runs. It shows the bundled net on two real photographs, too, and ends with what to do next.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.digits import make_digits
from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import ErrorTable, write_rows
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.predict import best_protocol, credentials, predict
from verydeep.nets.registry import bundled, read_net
from verydeep.studies.report import Example, write_report
from verydeep.training.plan import BUNDLED
from verydeep.training.recipe import Recipe, parse_recipe
from verydeep.training.run import Moment, Run, train

SCALES = (64, 80, 96)  # Q of the several-scales row, px; the middle one is the single scale
# A mirrored digit is another sign, so nothing is mirrored, in testing as in training.
PROTOCOLS = [f"centre@{SCALES[1]}", f"dense@{SCALES[1]}-mirror", f"dense@{','.join(map(str, SCALES))}-mirror"]
EXAMPLES = 12  # pictures of the report
SHALLOW: dict[str, Any] = {
    "net": "vgg-a-bn",  # without normalisation narrow nets need more minutes than a demo has
    "width": 0.25,
    "crop": 64,
    "hidden": 256,
    "start": {"law": "he", "standardise": True},
    "optimizer": {"learning_rate": 0.02, "batch": 32},
    "schedule": {"kind": "one-cycle", "epochs": 9, "warm_up": 1.0},
    "views": {"scale_jitter": (64, 96), "mirror": False},
    "regularisation": {"dropout": 0.2},
    "validation": {"protocol": PROTOCOLS[0]},
}
DEEP: dict[str, Any] = SHALLOW | {
    "net": "vgg-b-bn",
    "optimizer": {"learning_rate": 0.02, "batch": 32},
    "schedule": {"kind": "one-cycle", "epochs": 7, "warm_up": 0.5},
}
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
        The errors of both nets.

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
    say(f"2. Trains net A, batch-normalised and a quarter as wide, on crops of {SHALLOW['crop']} pixels")
    shallow = train(recipe(SHALLOW, digits, device), run=folder / "a", say=say, show=show)
    say("3. Trains net B, whose layers of the same names start from net A's")
    grafted = DEEP | {"start": DEEP["start"] | {"graft": str(shallow.folder)}}
    deep = train(recipe(grafted, digits, device), run=folder / "b", say=say, show=show)
    say("4. Tests both: the centre crop, the whole picture densely, and densely at three scales")
    pictures = open_dataset(digits, split="val")
    rows: list[Mapping[str, Any]] = []
    for run in (shallow, deep):
        net, _ = read_net(run.net)
        rows += evaluate(net, pictures, PROTOCOLS, device=device, weights=run.folder.name).rows
    table = ErrorTable(rows)
    print_table(table)
    if json:
        write_rows(Path(json), rows)
    write_rows(folder / "errors.json", rows)
    notes = [
        "The nets are a quarter as wide as the paper's, and the pictures are made: the figures show the machinery."
    ]
    write_report(folder / "report.html", title="The demo: handwritten digits on photographs", rows=rows,
                 runs=[shallow.folder, deep.folder], examples=examples(deep, digits, device), notes=notes)  # fmt: skip
    if BUNDLED in bundled():
        say("5. Asks the net that comes with verydeep what two photographs show")
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
    for prediction in predict(net, paths, best_protocol(card), device=device):
        best = ", ".join(f"{card['names'].get(key, key)} {100 * posterior:.0f} %" for key, posterior in prediction.best)
        say(f"{Path(prediction.image).name}: {best}")


def recipe(values: dict[str, Any], digits: Path, device: str) -> Recipe:
    """The recipe of one of the two trainings."""
    return parse_recipe(values | {"data": str(digits), "compute": {"device": device}}, "demo")


def examples(run: Run, digits: Path, device: str) -> list[Example]:
    """Pictures of the validation set, spread over it, with the five best classes."""
    net, _ = read_net(run.net)
    pictures = open_dataset(digits, split="val")
    chosen = pictures.subset(np.linspace(0, len(pictures) - 1, EXAMPLES).astype(int))
    found = posteriors(net, chosen, PROTOCOLS[-1], device=device)
    return [
        Example(chosen.picture(i), chosen.classes[chosen.labels[i]], found.best(i), caption=chosen.images[i])
        for i in range(len(chosen))
    ]
