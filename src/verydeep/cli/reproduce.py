"""`verydeep reproduce`: the experiments of the paper, again."""

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from verydeep.cli.options import Device, Json
from verydeep.cli.terminal import Interrupted, show


def reproduce(
    study: Annotated[
        str,
        Argument(
            metavar="STUDY",
            help="digits, tiny, paper, cifar10, localisation-tiny, transfer-tiny, stall, … or a TOML file.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        Option(
            metavar="DATA",
            help="A data set with a training and a validation split; of transfer-… the folder of several.",
        ),
    ] = None,
    set_: Annotated[
        list[str], Option("--set", metavar="KEY=VALUE", help="A parameter of the study; may be given several times.")
    ] = [],  # noqa: B006 - typer copies it
    folder: Annotated[
        Path | None, Option(metavar="FOLDER", help="Where it is kept; by default runs/ and the study's name.")
    ] = None,
    minutes: Annotated[
        float | None, Option(min=0, metavar="MINUTES", help="Begin no run that would take longer than what is left.")
    ] = None,
    full: Annotated[bool, Option("--full", help="Also what takes days: the same as --set full=true.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what remains and how long it takes; do nothing.")] = False,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Train, test and fuse what remains of STUDY, and print the paper's tables with ours beside.

    What is done is never done again: the same command goes on where it was, whatever cut it off.
    """
    from verydeep.cli.bars import study as bars
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.findings import try_findings
    from verydeep.studies.plan import plan_rows, plan_table
    from verydeep.studies.reproduce import prepare, reproduce
    from verydeep.studies.tables import finding_sheet, sheets
    from verydeep.studies.transfer_study import is_transfer

    parameters = dict(as_pair(text) for text in set_) | ({"full": "true"} if full else {})
    if is_transfer(study):
        show_transfer(study, data, folder, parameters, minutes, dry_run, device, json)
        return
    bench = prepare(study, data, folder=folder, parameters=parameters, device=device)
    if dry_run:
        steps = bench.plan()
        if json:
            write_rows(json, plan_rows(bench.study, steps))
        show(plan_table(bench.study, steps))
        return
    try:
        with bars() as (say, show_moment, progress):
            table = reproduce(study, data, folder=folder, parameters=parameters, device=device, minutes=minutes,
                              say=say, show=show_moment, progress=progress)  # fmt: skip
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if json:
        write_rows(json, table.rows)
    for sheet in sheets(bench.study, bench.results):
        show(sheet.table())
    if bench.study.findings:
        show(finding_sheet(try_findings(bench.study, bench.results)).table())


def show_transfer(
    study: str, data: str | None, folder: Path | None, parameters: dict[str, str], minutes: float | None, dry_run: bool,
    device: str, json: Path | None,
) -> None:  # fmt: skip
    """The same for a study of transfer."""
    from verydeep.cli.bars import study as bars
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.transfer_reproduce import prepare_transfer, reproduce_transfer
    from verydeep.studies.transfer_table import transfer_sheets

    bench = prepare_transfer(study, data, folder=folder, parameters=parameters)
    if dry_run:
        if json:
            write_rows(json, bench.plan_rows())
        show(bench.plan_table())
        return
    try:
        with bars() as (say, show_moment, progress):
            rows = reproduce_transfer(study, data, folder=folder, parameters=parameters, device=device, minutes=minutes,
                                      say=say, show=show_moment, progress=progress)  # fmt: skip
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if json:
        write_rows(json, rows)
    for sheet in transfer_sheets(bench.study, rows):
        show(sheet.table())


def as_pair(text: str) -> tuple[str, str]:
    """`epochs=3` → its two sides."""
    key, found, value = text.partition("=")
    if not found:
        raise BadParameter(f"--set {text}: is not KEY=VALUE; write such as --set epochs=3")
    return key, value
