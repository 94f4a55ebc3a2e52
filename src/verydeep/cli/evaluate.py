"""`verydeep evaluate`: how good a net is."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from verydeep.cli.options import Data, Device, Json, Kind, Split, Threads
from verydeep.cli.terminal import remark, show


def evaluate(
    net: Annotated[
        str,
        Argument(
            metavar="NET",
            help="A file of weights, a run's folder, a name, torchvision:NAME, timm:NAME, or an ONNX file.",
            show_default=False,
        ),
    ],
    data: Data,
    protocol: Annotated[
        list[str], Option(metavar="NAME", help="Such as dense@256,384,512; may be given several times.")
    ] = ["centre", "dense"],  # noqa: B006 - typer copies it
    split: Split = "val",
    kind: Kind = None,
    posteriors: Annotated[
        Path | None, Option(metavar="FOLDER", help="Leave a file of posteriors here for each protocol.")
    ] = None,
    batch: Annotated[
        int | None, Option(min=1, help="So many crops at a time; by default what the device likes.")
    ] = None,
    memory: Annotated[
        float | None, Option(min=0.01, metavar="GB", help="Gigabytes that pictures and maps may take at once.")
    ] = None,
    threads: Threads = None,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Measure how often a net errs.

    Prints the top-1 and top-5 error of NET on DATA by each protocol, with their 95 % intervals.
    """
    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.evaluation.error_table import write_rows

    loaded, card = verydeep.load_net(net)
    for line in card.get("remarks", ()):
        remark(line)
    pictures = verydeep.open_dataset(data, split, kind)
    for line in pictures.remarks:
        remark(line)
    with progress() as show_progress:
        table = verydeep.evaluate(
            loaded,
            pictures,
            protocol,
            device=device,
            batch=batch,
            memory=memory,
            threads=threads,
            posteriors_folder=posteriors,
            progress=show_progress,
            remark=remark,
            weights=card.get("weights", net),
        )
    if json:
        write_rows(json, table.rows)
    show(table)
