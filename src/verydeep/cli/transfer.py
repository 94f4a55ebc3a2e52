"""`verydeep transfer`: a classifier of one's own photographs, on a net that others have trained."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from verydeep.cli.options import Device, Json, Threads, in_a_folder, is_first
from verydeep.cli.terminal import Interrupted, remark, show


def transfer(
    folder: Annotated[
        str,
        Argument(
            metavar="FOLDER",
            help="A folder for each class, or a CSV file of file,label[,split][,group].",
            show_default=False,
        ),
    ],
    net: Annotated[
        str,
        Option(help="Describes the pictures: a file of weights, a run's folder, a name, torchvision:NAME, timm:NAME."),
    ] = "tiny-imagenet",
    out: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Of the model and its report; by default transfer/ and FOLDER's name."),
    ] = None,
    layer: Annotated[
        str | None, Option(metavar="NAME", help="That describes; by default the penultimate one, after its ReLU.")
    ] = None,
    scales: Annotated[
        str | None, Option(metavar="Q,Q", help="Smallest sides in pixels; by default 256,384,512 for a crop of 224.")
    ] = None,
    combine: Annotated[str, Option(metavar="HOW", help="Of several scales: stack or average.")] = "stack",
    classifier: Annotated[str, Option(metavar="KIND", help="svm or logistic.")] = "svm",
    balanced: Annotated[bool, Option("--balanced", help="Count pictures of rare classes for more.")] = False,
    tune: Annotated[
        str, Option(metavar="WHAT", help="none; or train the net's last layer anew, or all of it, instead: last, all.")
    ] = "none",
    epochs: Annotated[
        int | None, Option(min=1, help="Of --tune; by default some ten thousand pictures' worth.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="How pictures are dealt out.")] = 0,
    allow_leaks: Annotated[
        bool, Option("--allow-leaks", help="Go on where a test picture is trained on, too.")
    ] = False,
    cache: Annotated[
        Path | None, Option(metavar="FOLDER", help="Where descriptors are kept; by default in the user's cache.")
    ] = None,
    onnx: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write net and classifier to one ONNX file, too.", callback=in_a_folder),
    ] = None,
    threads: Threads = None,
    device: Device = "auto",
    data_type: Annotated[
        str, Option(metavar="NAME", help="float32, bfloat16, or auto: the one that is measured to be clearly faster.")
    ] = "auto",
    json: Json = None,
) -> None:
    """Learn to tell one's own pictures apart by a net that is there already.

    Names the net, describes the pictures by it, trains a linear classifier, and prints how often that errs on pictures
    that it has not seen. Leaves a model that predict takes as its net, and a report.
    """
    from verydeep.cli.bars import progress
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.transfer_page import summary, write_transfer
    from verydeep.transfer.photographs import transfer_photographs
    from verydeep.transfer.store import cache_folder

    target = out or Path("transfer") / Path(folder).resolve().with_suffix("").name
    if target.exists() and not target.is_dir():
        raise typer.BadParameter(f"{target} is a file; name a folder for the model")
    if tune != "none":
        if tune not in ("last", "all"):
            raise typer.BadParameter(f"--tune {tune}: write none, last or all")
        if layer or scales or onnx:
            raise typer.BadParameter("--layer, --scales and --onnx are for --tune none; see verydeep weights export")
        show_tuned(folder, net, target, tune, balanced, epochs, seed, allow_leaks, device, json)
        return
    with progress() as show_progress:
        report = transfer_photographs(
            folder,
            net,
            layer=layer,
            scales=read_scales(scales),
            combine=combine,
            kind=classifier,
            class_weight="balanced" if balanced else None,
            seed=seed,
            allow_leaks=allow_leaks,
            cache=cache or cache_folder(),
            device=device,
            data_type=data_type,
            threads=threads,
            say=remark,
            progress=show_progress,
        )
    if not is_first():  # of several processes, which describe and train together
        return
    report.model.save(target)
    write_transfer(target / "report.html", report)
    if onnx:
        difference = report.model.export(onnx)
        remark(f"{onnx}: takes pictures of any size, says what the model says (differs by {difference:.4f} at most)")
    if json:
        write_rows(json, [report.row])
    show(summary(report))
    show(report.verdict)
    show(f"{target / 'report.html'}: the report; verydeep predict FILES --net {target} uses the model")


def show_tuned(
    folder: str, net: str, target: Path, tune: str, balanced: bool, epochs: int | None, seed: int,
    allow_leaks: bool, device: str, json: Path | None,
) -> None:  # fmt: skip
    """Fine-tune, and print the errors on pictures that nothing has seen."""
    from verydeep.cli.bars import training
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.evaluation_page import write_evaluation
    from verydeep.transfer.tune import tune_photographs

    try:
        with training() as (say, show_moment):
            table = tune_photographs(
                folder, net, run=target, tune="last" if tune == "last" else "all", balanced=balanced, epochs=epochs,
                seed=seed, allow_leaks=allow_leaks, device=device, say=say, show=show_moment,
            )  # fmt: skip
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if not is_first():
        return
    write_evaluation(target / "report.html", table)
    if json:
        write_rows(json, table.rows)
    show(table)
    show(f"{target / 'report.html'}: the report; verydeep predict FILES --net {target} uses the net")


def read_scales(text: str | None) -> list[int] | None:
    """`73,110` → the numbers."""
    if text is None:
        return None
    if not all(each.strip().isdecimal() for each in text.split(",")):
        raise typer.BadParameter(f"{text} is no list of scales; write whole pixels, such as 256,384")
    return [int(each) for each in text.split(",")]
