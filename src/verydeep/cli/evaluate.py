"""`verydeep evaluate`: how good a net is."""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from verydeep.cli.options import Data, Device, Json, Kind, Split, Threads, in_a_folder
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
        list[str],
        Option(metavar="NAME", help="Such as dense@256,384,512, or all; may be given several times."),
    ] = ["centre", "dense"],  # noqa: B006 - typer copies it
    images: Annotated[
        int | None, Option(min=1, metavar="N", help="Test so many, of every class its share; by default all.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Which of them.")] = 0,
    split: Split = "val",
    kind: Kind = None,
    posteriors: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Leave a file of posteriors here for each test, and go on from what is there."),
    ] = None,
    batch: Annotated[
        int | None, Option(min=1, help="So many crops at a time; by default what the device likes.")
    ] = None,
    memory: Annotated[
        float | None, Option(min=0.01, metavar="GB", help="Gigabytes that pictures and maps may take at once.")
    ] = None,
    threads: Threads = None,
    device: Device = "auto",
    report: Annotated[
        Path | None, Option(metavar="FILE", help="Write a page on it here, class by class.", callback=in_a_folder)
    ] = None,
    submission: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Instead write five guesses a picture as ILSVRC takes them, by the last protocol.",
            callback=in_a_folder,
        ),
    ] = None,
    map_: Annotated[
        Path | None, Option("--map", metavar="FILE", help="Labels for the submission: map_clsloc.txt or meta.mat.")
    ] = None,
    json: Json = None,
) -> None:
    """Measure how often a net errs.

    Prints the top-1 and top-5 error of NET on DATA by each protocol with their 95 % intervals, its difference to the
    centre crop and its cost; and which is the cheapest that is not significantly worse than the best. Protocol all says
    first what each will take.
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
    if submission:
        from verydeep.localisation.devkit import read_classes
        from verydeep.localisation.localise import write_labels

        with progress() as show_progress:
            said = verydeep.posteriors(
                loaded, pictures, protocol[-1], device=device, batch=batch, memory=memory, threads=threads,
                progress=partial(show_progress, protocol[-1]), remark=remark,
            )  # fmt: skip
        write_labels(submission, said, read_classes(map_) if map_ else {})
        show(str(submission))
        return
    with progress() as show_progress:
        table = verydeep.evaluate(
            loaded,
            pictures,
            protocol,
            images=images,
            seed=seed,
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
    if report:
        from verydeep.studies.evaluation_page import write_evaluation

        write_evaluation(report, table, names={**pictures.names, **card.get("names", {})}, notes=pictures.remarks)
    show(table)
