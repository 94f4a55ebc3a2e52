"""`verydeep serve`: a local page, to drop photographs on."""

from typing import Annotated

from typer import Argument, Option

from verydeep.cli.options import Device
from verydeep.cli.terminal import remark, show


def serve(
    nets: Annotated[
        list[str] | None,
        Argument(
            metavar="[NET]...",
            help="Files of weights, runs' folders, names, torchvision:NAME, timm:NAME, ONNX files.",
            show_default=False,
        ),
    ] = None,
    localiser: Annotated[
        list[str],
        Option(
            metavar="NET",
            help="Gives boxes, trained with [boxes] on the net's classes; may be given several times; by default "
            "the one that comes with verydeep, where it fits the net.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    boxes: Annotated[str | None, Option(metavar="NAME", help="Protocol of the boxes, such as dense@64,96.")] = None,
    protocol: Annotated[
        list[str],
        Option(metavar="NAME", help="A way of looking, such as dense@64; several times, the last names the classes."),
    ] = [],  # noqa: B006 - typer copies it
    host: Annotated[
        str, Option(metavar="ADDRESS", help="Of this machine; others reach the page at 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    megabytes: Annotated[float, Option(min=0.001, help="Of the largest file that is taken.")] = 32.0,
    device: Device = "auto",
) -> None:
    """Serve a page on this machine that says what photographs show.

    Prints its address and answers until Ctrl-C. Photographs are looked at in memory and not kept; nothing is loaded
    from elsewhere.
    """
    import sys

    from verydeep.serve.hosts import is_loopback
    from verydeep.serve.server import serve
    from verydeep.serve.sight import open_served

    served = [open_served(net, protocol, localiser or None, boxes, device) for net in nets or ["tiny-imagenet"]]
    for each in served:
        for line in each.card.get("remarks", ()):
            remark(line)
        for line in each.credentials:
            remark(line)
    if not is_loopback(host):
        remark(f"--host {host}: whoever reaches this machine can use the page; there is no password")

    def ready(address: str) -> None:
        show(address)
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        remark("drop a photograph there; Ctrl-C ends it")

    serve(served, host=host, port=port, megabytes=megabytes, ready=ready)
