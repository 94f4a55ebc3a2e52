"""A run → the nets that the package brings: half precision, and a card with what is known of them.

    python -m verydeep.studies.bundle RUN DATA docs/results/NAME.json

measures what is bundled, not what was trained. A run with `[boxes]` becomes the localiser of the bundled net.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import verydeep.weights
from verydeep.data.dataset import Dataset
from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import write_rows
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.predict import best_protocol
from verydeep.localisation.localise import guess, judge, localisation_row
from verydeep.localisation.locate import Localiser
from verydeep.nets.net import Net
from verydeep.nets.registry import read_net, save_net
from verydeep.training.plan import BUNDLED
from verydeep.training.run import Run
from verydeep.weights.files import replacing

MAX_BYTES = 12_000_000  # of all together
TERMS = "from ImageNet: non-commercial research and education; the copyright of the pictures stays with their authors"
PROTOCOLS = ("centre@64", "dense@64", "dense@64,80,96")
BOXES = "centre@64"  # what the localiser is tested by
Rows = Sequence[Mapping[str, Any]]


def bundle(
    run: Run, data: str | Path, folder: Path, *, terms: str = TERMS, protocols: Sequence[str] = PROTOCOLS
) -> Rows:
    """Write the run's net in half precision under the run's name, with the errors of that very file in its card.

    Args:
        run: whose net is bundled.
        data: the data set that it was trained on; its validation split is tested.
        folder: of the bundled nets.
        terms: of the data.
        protocols: to test by.

    Returns:
        The error rows.

    Raises:
        VerydeepError: the files are larger than a package should carry.
    """
    net, _ = read_net(run.net)
    pictures = open_dataset(data, split="val")
    names = {key: pictures.names[key].split(",")[0] for key in net.classes}  # the first of the synonyms

    def measure(halved: Net) -> Rows:
        return list(evaluate(halved, pictures, protocols, weights=run.folder.name).rows)

    return halve(run, pictures, folder, {"terms": terms, "names": names}, "errors", measure)


def bundle_localiser(run: Run, data: str | Path, folder: Path, *, terms: str = TERMS, protocol: str = BOXES) -> Rows:
    """The same for a localiser, whose boxes are those of the bundled net's classes. Raises as `bundle` does."""
    named_by, card = read_net(folder / f"{BUNDLED}.safetensors")
    pictures = open_dataset(data, split="val")

    def measure(halved: Net) -> Rows:
        localisers = [Localiser(halved, protocol)]
        guesses = guess(named_by, localisers, pictures, best_protocol(named_by, card))
        rights = judge(guesses, localisers, pictures)
        return [{**localisation_row(guesses, localisers, pictures, rights), "weights": run.folder.name}]

    facts = {"terms": terms, "validation_protocol": protocol}
    return halve(run, pictures, folder, facts, "localisation", measure)


def halve(
    run: Run,
    pictures: Dataset,
    folder: Path,
    facts: Mapping[str, Any],
    key: str,
    measure: Callable[[Net], Rows],
) -> Rows:
    """Write a run's net in half precision, measure it, and write its card once more with what was found as `key`."""
    net, card = read_net(run.net)
    target = folder / f"{run.folder.name}.safetensors"
    known = {key: card[key] for key in ("seed", "epochs", "recipe", "training_seconds", "torch")} | dict(facts)
    known |= {"data": pictures.root.resolve().name, "weights": target.stem}
    others = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file != target)
    with replacing(target) as halved:
        save_net(halved, net, known, half=True)
        if (size := halved.stat().st_size + others) > MAX_BYTES:
            raise VerydeepError(f"{run.folder}: with it the package brings {size:,} bytes; at most {MAX_BYTES:,}")
        rows = measure(read_net(halved)[0])
        save_net(halved, net, known | {key: rows}, half=True)
    return rows


def main(run: str, data: str, rows: str) -> None:
    """Bundle a run and leave its errors in a file."""
    folder = Path(verydeep.weights.__file__).with_name("bundled")
    folder.mkdir(exist_ok=True)
    kept = Run(Path(run))
    errors = (bundle_localiser if "[boxes]" in kept.recipe.read_text() else bundle)(kept, data, folder)
    write_rows(Path(rows), errors)
    print(json.dumps(list(errors), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
