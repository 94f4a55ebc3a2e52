"""`verydeep weights`: weights of other libraries in, ours out."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, BadParameter, Option

from verydeep.cli.options import Json, in_a_folder
from verydeep.cli.terminal import show

weights = typer.Typer(help="Take weights from other libraries, and give them ours.")


def three_numbers(text: str | None) -> tuple[float, float, float] | None:
    """The numbers of an option such as `123.68,116.779,103.939`."""
    if text is None:
        return None
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise BadParameter(
            f"{text} is not three numbers; write red,green,blue such as 123.68,116.779,103.939"
        ) from None
    return red, green, blue


@weights.command("import")
def import_(
    source: Annotated[
        str,
        Argument(
            metavar="SOURCE",
            help="A file of torchvision, timm, Keras or Caffe, a published name, an address, or hf://owner/name.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, Option(metavar="FILE", help="Write here.", callback=in_a_folder, show_default=False)],
    net: Annotated[
        str | None, Option(metavar="NAME", help="Of which net they are, where that is not to be recognised.")
    ] = None,
    classes: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="The names of the outputs, one a line; 1000 are taken for ImageNet's.", exists=True
        ),
    ] = None,
    mean: Annotated[
        str | None, Option(metavar="R,G,B", help="What is taken off, 0 to 255, where it is not as usual there.")
    ] = None,
    std: Annotated[str | None, Option(metavar="R,G,B", help="What is divided by, in levels of 255.")] = None,
    json: Json = None,
) -> None:
    """Make a file of ours of weights of others.

    Says what they were recognised as. What can be read can also be used without this: as NET of other commands, and as
    weights of create_net.
    """
    import torch

    from verydeep.cli.bars import progress
    from verydeep.data.lines import read_lines
    from verydeep.evaluation.error_table import write_rows
    from verydeep.nets.registry import read_net, save_net

    colours = {"mean": three_numbers(mean), "std": three_numbers(std)}
    if colours["std"] and min(colours["std"]) <= 0:
        raise BadParameter(f"--std {std} is not above 0; leave it out where nothing is divided")
    with progress() as show_progress:
        loaded, card = read_net(source, net, read_lines(classes) if classes else None, show_progress)
    for name, values in colours.items():
        if values:
            loaded.get_buffer(name).copy_(torch.tensor(values)[:, None, None])
    save_net(out, loaded, card)
    row = {
        "file": str(out),
        "net": loaded.name,
        "library": card.get("library", "verydeep"),
        "classes": len(loaded.classes),
        "crop": loaded.crop,
        "width": loaded.width,
        "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
        "mean": loaded.mean.flatten().tolist(),
        "std": loaded.std.flatten().tolist(),
    }
    if json:
        write_rows(json, [row])
    shown = {name: ", ".join(f"{value:.6g}" for value in row[name]) for name in colours}
    show(
        f"{out}: {row['net']} in the layout of {row['library']}, {row['classes']:,} classes from {loaded.classes[0]} "
        f"to {loaded.classes[-1]}, crop {row['crop']} px, {row['parameters']:,} parameters, mean {shown['mean']}, "
        f"deviation {shown['std']}"
    )


@weights.command("export")
def export(
    net: Annotated[
        str, Argument(metavar="NET", help="A file of weights, a run's folder, or a name.", show_default=False)
    ],
    out: Annotated[Path, Option(metavar="FILE", help="Write here.", callback=in_a_folder, show_default=False)],
    to: Annotated[
        str | None,
        Option(metavar="FORMAT", help="onnx, torch-export, torchvision or safetensors; by default that of the suffix."),
    ] = None,
    fold: Annotated[bool, Option("--fold", help="Fold batch normalisation into the convolutions.")] = False,
    json: Json = None,
) -> None:
    """Write a net to a file that others can use.

    FILE ends in .onnx, .pt2 (torch.export), .pth (torchvision's layout) or .safetensors (ours). ONNX and torch.export
    take pictures of any number and size; they are run at once and compared with NET.
    """
    import verydeep
    from verydeep.evaluation.error_table import write_rows
    from verydeep.nets.registry import load_own_net

    loaded, card = load_own_net(net)
    written = verydeep.export_net(verydeep.fold(loaded) if fold else loaded, out, to, card)
    if json:
        write_rows(json, [written.to_dict()])
    show(f"{out}: {written.format}")
    show(f"takes {written.takes}")
    show(f"gives {written.gives}")
    if written.difference is not None:
        show(f"differs from {net} by at most {written.difference:.1e} of its largest score, at three sizes")


@weights.command("list")
def list_(json: Json = None) -> None:
    """List published weights, which can be asked for by name."""
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.net_tables import weights_table
    from verydeep.weights.cards import weight_cards

    if json:
        write_rows(json, [card.model_dump(mode="json") for card in weight_cards()])
    show(weights_table(weight_cards()))
