"""How fast pictures are read from shards: beside the folder that they were made of, and webdataset's own loader.

    pip install webdataset
    python benchmarks/shards.py --folder PHOTOS --output docs/results/speed/shards.json

PHOTOS holds class folders of photographs. Each way is a process of its own and reads all of them once, in an epoch's
order, from memory, since they were read before; they take turns, and the best round of each counts. `reading` gives
bytes; `feed` makes batches of random crops of them, which webdataset has no part in. About two minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dense import versions
from machine import describe_machine

ROUNDS, MEGABYTES = 5, 50
WAYS = ("reading folder", "reading shards", "reading webdataset", "feed folder", "feed shards")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, required=True, help="Class folders of photographs.")
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.part:
        print(json.dumps(measure(chosen.part[0], chosen.folder, Path(chosen.part[1]))))
        return
    with tempfile.TemporaryDirectory() as desk:
        from verydeep.data.open import open_dataset
        from verydeep.data.shards import write_shards

        write_shards(open_dataset(chosen.folder, "train"), desk, megabytes=MEGABYTES)
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, found in rounds.items():
                command = [sys.executable, __file__, "--folder", chosen.folder, "--part", way, desk]
                found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
                print(way, found[-1], file=sys.stderr)
    best = {way: max(row["pictures_per_second"] for row in found) for way, found in rounds.items()}
    result = {
        "machine": describe_machine(), **versions(), "pictures": rounds[WAYS[0]][0]["pictures"],
        "bytes": rounds[WAYS[0]][0]["bytes"], "pictures_per_second": best,
        "shards_to_folder": round(best["reading shards"] / best["reading folder"], 2),
        "shards_to_webdataset": round(best["reading shards"] / best["reading webdataset"], 2),
        "feed_from_shards_to_folder": round(best["feed shards"] / best["feed folder"], 2),
        "rounds": {way: [row["pictures_per_second"] for row in found] for way, found in rounds.items()},
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text)
    else:
        print(text)


def measure(way: str, folder: Path, desk: Path) -> dict[str, Any]:
    """Pictures a second of one way; nothing is counted before the first picture is there."""
    what, where = way.split()
    pictures = {"reading": {"webdataset": webdataset}.get(where, encoded), "feed": fed}[what]
    source = pictures(folder if where == "folder" else desk)
    size, count = next(source), 0
    began = time.perf_counter()
    for each in source:
        size, count = size + each, count + 1
    return {
        "pictures_per_second": round(count / (time.perf_counter() - began), 1),
        "pictures": count + 1,
        "bytes": size,
    }


def split_of(where: Path) -> str:
    """The split that shards are of; of a folder its pictures to train on."""
    return next((card.stem.removeprefix("shards-") for card in where.glob("shards-*.json")), "train")


def encoded(where: Path) -> Any:
    """Bytes of each picture, in the order of the feed's first epoch."""
    import numpy as np

    from verydeep.data.open import open_dataset
    from verydeep.data.uses import generator

    data = open_dataset(where, split_of(where))
    for index in generator(0, 0, len(data)).permutation(np.arange(len(data))).tolist():
        yield len(data.encoded(index))


def webdataset(where: Path) -> Any:
    """The same as webdataset reads shards, with shards and pictures shuffled as its users do."""
    import webdataset

    files = sorted(map(str, where.glob("*.tar")))
    loader = webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False).shuffle(1000)
    for sample in loader:
        yield len(next(content for name, content in sample.items() if name.lower() in ("jpg", "jpeg", "png")))


def fed(where: Path) -> Any:
    """Each picture's part in the batches of one epoch; what the views weigh, not the files."""
    from contextlib import closing

    from verydeep.data.feed import Feed
    from verydeep.data.open import open_dataset
    from verydeep.data.training_views import TrainingViews
    from verydeep.evaluation.posteriors import default_threads

    data = open_dataset(where, split_of(where))
    with closing(Feed(data, TrainingViews(224, (256, 512)), 32, threads=default_threads())) as feed:
        for batch in feed.batches(0):
            for view in batch.views:
                yield view.numel()


if __name__ == "__main__":
    main()
