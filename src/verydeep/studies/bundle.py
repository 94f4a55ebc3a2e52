"""A run → the nets that the package brings: half precision, and a card with what is known of them.

    python -m verydeep.studies.bundle RUN DATA docs/results/NAME.json

measures what is bundled, not what was trained. A run with `[boxes]` becomes the localiser of the bundled net, under the
name that it is looked for by, whatever the run is called.
"""

import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from verydeep.data.dataset import Dataset
from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import write_rows
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.predict import best_protocol
from verydeep.localisation.localise import BUNDLED as LOCALISER
from verydeep.localisation.localise import judge, localisation_row, place
from verydeep.localisation.locate import Localiser
from verydeep.nets.net import Net
from verydeep.nets.registry import BUNDLED_FOLDER, read_net, save_net
from verydeep.training.plan import BUNDLED
from verydeep.training.recipe import parse_recipe, read_recipe
from verydeep.training.run import Run
from verydeep.weights.files import replacing

MAX_BYTES = 12_000_000  # of all together
TERMS = "from ImageNet: non-commercial research and education; the copyright of the pictures stays with their authors"
PROTOCOLS = ("centre@64", "dense@64", "dense@64,80,96")
BOX_PROTOCOLS = ("centre@64", "dense@64", "dense@64,72")  # that localisers are tested by
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

    target = folder / f"{run.folder.name}.safetensors"
    return halve(run, pictures, target, {"terms": terms, "names": names}, "errors", measure)


def bundle_localiser(
    run: Run, data: str | Path, folder: Path, *, terms: str = TERMS, protocols: Sequence[str] = BOX_PROTOCOLS
) -> Rows:
    """The same for a localiser, whose boxes are those of the bundled net's classes. Raises as `bundle` does."""
    named_by, card = read_net(folder / f"{BUNDLED}.safetensors")
    pictures = open_dataset(data, split="val")

    def measure(halved: Net) -> Rows:
        said, rows = posteriors(named_by, pictures, best_protocol(named_by, card), weights=BUNDLED), []
        for protocol in protocols:
            localisers = [Localiser(halved, protocol)]
            guesses = place(said, named_by, localisers, pictures)
            rights = judge(guesses, localisers, pictures)
            rows.append({**localisation_row(guesses, localisers, pictures, rights), "weights": LOCALISER})
        return rows

    return halve(run, pictures, folder / f"{LOCALISER}.safetensors", {"terms": terms}, "localisation", measure)


def halve(
    run: Run,
    pictures: Dataset,
    target: Path,
    facts: Mapping[str, Any],
    key: str,
    measure: Callable[[Net], Rows],
) -> Rows:
    """Write a run's net in half precision, measure it, and write its card once more with what was found as `key`."""
    net, card = read_net(run.net)
    known = {key: card[key] for key in ("seed", "epochs", "training_seconds", "torch")} | dict(facts)
    known |= {"data": pictures.root.resolve().name, "weights": target.stem}
    recipe = parse_recipe(tomllib.loads(card["recipe"])).model_copy(update={"data": known["data"]})
    known["recipe"] = recipe.to_toml()  # where the data lay is nobody's business
    others = sum(file.stat().st_size for file in target.parent.glob("*.safetensors") if file != target)
    with replacing(target) as halved:
        save_net(halved, net, known, half=True)
        if (size := halved.stat().st_size + others) > MAX_BYTES:
            raise VerydeepError(f"{run.folder}: with it the package brings {size:,} bytes; at most {MAX_BYTES:,}")
        rows = measure(read_net(halved)[0])
        save_net(halved, net, known | {key: rows}, half=True)
    return rows


def main(run: str, data: str, rows: str) -> None:
    """Bundle a run and leave its errors in a file."""
    BUNDLED_FOLDER.mkdir(exist_ok=True)
    kept = Run(Path(run))
    errors = (bundle_localiser if read_recipe(kept.recipe).boxes else bundle)(kept, data, BUNDLED_FOLDER)
    write_rows(Path(rows), errors)
    print(json.dumps(list(errors), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
