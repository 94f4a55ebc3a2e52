"""`verydeep data`: what is in a data set."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from verydeep.cli.options import Data, Json, Kind, Split, Threads
from verydeep.cli.terminal import show

data = typer.Typer(help="Make, check and measure data sets.")


@data.command()
def digits(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Where to put them; to be made.")] = Path("digits"),
    seed: Annotated[int, Option(min=0, help="Others give other pictures.")] = 0,
) -> None:
    """Make the built-in pictures.

    They are handwritten digits on photographs, with labels and boxes.
    """
    from verydeep.data.digits import make_digits

    show(str(make_digits(folder, seed=seed)))


@data.command()
def check(data: Data, split: Split = "val", kind: Kind = None, threads: Threads = None, json: Json = None) -> None:
    """Name the bad pictures and the bad boxes of a data set.

    Decodes every picture of one split of DATA, and says what kinds and sizes there are.
    """
    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.data.check import check
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.posteriors import default_threads

    pictures = verydeep.open_dataset(data, split, kind)
    with progress() as show_progress:
        result = check(pictures, threads or default_threads(), partial(show_progress, "decoding"))
    if json:
        write_rows(json, [result.to_dict()])
    show(str(result))
    if result.bad or result.bad_boxes:
        raise typer.Exit(2)


@data.command()
def stats(data: Data, split: Split = "train", kind: Kind = None, threads: Threads = None, json: Json = None) -> None:
    """Measure the colours of a data set.

    Prints the mean and the covariance of the pixels of one split of DATA.
    """
    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.data.statistics import measure
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.posteriors import default_threads

    pictures = verydeep.open_dataset(data, split, kind)
    with progress() as show_progress:
        result = measure(pictures, threads=threads or default_threads(), progress=partial(show_progress, "measuring"))
    if json:
        write_rows(json, [result.to_dict()])
    show(str(result))


@data.command()
def shard(
    data: Data,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Where to put the tar files.", show_default=False)],
    split: Split = "train",
    kind: Kind = None,
    megabytes: Annotated[float, Option(min=1, metavar="MB", help="Of a tar file, about.")] = 500,
    seed: Annotated[int, Option(min=0, help="Of the order in which pictures are written.")] = 0,
) -> None:
    """Put the pictures of a data set into tar files.

    They are in the layout of webdataset, with an index, by which FOLDER is opened as DATA itself is.
    """
    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.data.shards import write_shards

    pictures = verydeep.open_dataset(data, split, kind)
    with progress() as show_progress:
        card = write_shards(
            pictures, folder, megabytes=megabytes, seed=seed, progress=partial(show_progress, "writing")
        )
    show(str(card))
