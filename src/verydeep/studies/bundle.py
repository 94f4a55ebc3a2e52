"""A run → the net that the package brings: half precision, and a card with what is known of it.

`python -m verydeep.studies.bundle RUN DATA docs/results/NAME.json` measures what is bundled, not what was trained.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import verydeep.weights
from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import write_rows
from verydeep.evaluation.evaluate import evaluate
from verydeep.nets.registry import read_net, save_net
from verydeep.training.run import Run
from verydeep.weights.files import replacing

MAX_BYTES = 10_000_000
TERMS = "from ImageNet: non-commercial research and education; the copyright of the pictures stays with their authors"
PROTOCOLS = ("centre@64", "dense@64", "dense@64,80,96")


def bundle(
    run: Run, data: str | Path, folder: Path, *, terms: str = TERMS, protocols: Sequence[str] = PROTOCOLS
) -> Sequence[Mapping[str, Any]]:
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
        VerydeepError: the file is larger than a package should carry.
    """
    net, card = read_net(run.net)
    pictures = open_dataset(data, split="val")
    target = folder / f"{run.folder.name}.safetensors"
    names = {key: pictures.names[key].split(",")[0] for key in net.classes}  # the first of the synonyms
    facts = {key: card[key] for key in ("seed", "epochs", "recipe", "training_seconds", "torch")}
    facts |= {"data": pictures.root.resolve().name, "terms": terms, "names": names, "weights": target.stem}
    with replacing(target) as halved:
        save_net(halved, net, facts, half=True)
        if halved.stat().st_size > MAX_BYTES:
            raise VerydeepError(f"{run.folder}: its net takes {halved.stat().st_size:,} bytes; at most {MAX_BYTES:,}")
        rows = evaluate(read_net(halved)[0], pictures, protocols, weights=target.stem).rows
        save_net(halved, net, facts | {"errors": rows}, half=True)
    return rows


def main(run: str, data: str, rows: str) -> None:
    """Bundle a run and leave its errors in a file."""
    folder = Path(verydeep.weights.__file__).with_name("bundled")
    folder.mkdir(exist_ok=True)
    errors = bundle(Run(Path(run)), data, folder)
    write_rows(Path(rows), errors)
    print(json.dumps(list(errors), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
