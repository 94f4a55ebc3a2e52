"""`verydeep predict`: what pictures show."""

from typing import Annotated

import typer
from typer import Argument, Option

from verydeep.cli.options import Device, Json, Threads
from verydeep.cli.terminal import remark, show


def predict(
    files: Annotated[
        list[str],
        Argument(metavar="FILES", help="Pictures, folders of pictures, or - for standard input.", show_default=False),
    ],
    net: Annotated[
        str, Option(help="A file of weights, a run's folder, a name, torchvision:NAME, timm:NAME, or an ONNX file.")
    ] = "tiny-imagenet",
    protocol: Annotated[
        str | None,
        Option(metavar="NAME", help="Such as centre or dense@64,72,80; by default what the net was found best by."),
    ] = None,
    threads: Threads = None,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Name what pictures show.

    Prints the five best classes of each picture with their posteriors.
    """
    import verydeep
    from verydeep.data.paths import printable
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.predict import best_protocol, credentials
    from verydeep.evaluation.predict import predict as predictions

    loaded, card = verydeep.load_net(net)
    for line in card.get("remarks", ()):
        remark(line)
    remark(credentials(net, loaded, card))
    protocol = protocol or best_protocol(loaded, card)
    rows, bad = [], 0
    for prediction in predictions(loaded, files, protocol, device=device, threads=threads):
        if prediction.error:
            bad += 1
            remark(prediction.error)
            continue
        row = prediction.to_dict(card.get("names", {}))
        rows.append({**row, "net": loaded.name, "protocol": protocol})
        show(printable(prediction.image))
        for guess in row["best"]:
            show(f"{100 * guess['posterior']:6.1f} %  {guess['name']}")
    if json:
        write_rows(json, rows)
    if bad:
        raise typer.Exit(2)
