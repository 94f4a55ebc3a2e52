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
        str,
        Option(
            help="A file of weights, a folder of train or transfer, a name, torchvision:NAME, timm:NAME, an ONNX file."
        ),
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
    from verydeep.localisation.head import refuse_localiser
    from verydeep.transfer.model import is_model, load_model

    if is_model(net):
        if protocol is not None:
            raise typer.BadParameter(f"--protocol: {net} looks at pictures in its own way; leave it out")
        model = load_model(net)
        remark(model.credentials(net))
        name, names, protocol = model.name, model.names, " + ".join(map(str, model.ways))
        found = model.predict(files, device=device, threads=threads)
    else:
        loaded, card = verydeep.load_net(net)
        refuse_localiser(loaded)
        for line in card.get("remarks", ()):
            remark(line)
        remark(credentials(net, loaded, card))
        protocol = protocol or best_protocol(loaded, card)
        name, names = loaded.name, card.get("names", {})
        found = predictions(loaded, files, protocol, device=device, threads=threads)
    rows, bad = [], 0
    for prediction in found:
        if prediction.error:
            bad += 1
            remark(prediction.error)
            continue
        row = prediction.to_dict(names)
        rows.append({**row, "net": name, "protocol": protocol})
        show(printable(prediction.image))
        for guess in row["best"]:
            show(f"{100 * guess['posterior']:6.1f} %  {guess['name']}")
    if json:
        write_rows(json, rows)
    if bad:
        raise typer.Exit(2)
