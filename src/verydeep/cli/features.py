"""`verydeep features`: what layers of a net make of pictures."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from verydeep.cli.options import Device, Json, Threads, in_a_folder
from verydeep.cli.terminal import remark, show


def features(
    files: Annotated[
        list[str],
        Argument(metavar="FILES", help="Pictures, or folders of pictures, however deep.", show_default=False),
    ],
    out: Annotated[
        Path,
        Option(metavar="FILE", help="Write here: .safetensors or .npz.", callback=in_a_folder, show_default=False),
    ],
    net: Annotated[
        str, Option(help="A file of weights, a run's folder, a name, torchvision:NAME, or timm:NAME.")
    ] = "tiny-imagenet",
    layer: Annotated[
        list[str],
        Option(metavar="NAME", help="Such as relu7 or pool5; may be given several times."),
    ] = ["relu7"],  # noqa: B006 - typer copies it
    protocol: Annotated[
        str, Option(metavar="NAME", help="What of a picture the net is shown, such as dense@256,384 or centre.")
    ] = "dense",
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
    """Write what layers of a net make of pictures.

    One row of numbers a picture and layer, averaged over positions, mirror image and scales, with the pictures' names.
    """
    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.mean_features import check_suffix, mean_features, to_dict
    from verydeep.evaluation.predict import open_files

    check_suffix(out)
    loaded, card = verydeep.load_net(net)
    for line in card.get("remarks", ()):
        remark(line)
    with progress() as show_progress:
        found = mean_features(
            loaded,
            open_files(files, loaded.classes),
            layer,
            protocol,
            device=device,
            batch=batch,
            memory=memory,
            threads=threads,
            progress=lambda done, of: show_progress("pictures", done, of),
            weights=card.get("weights", net),
        )
    found.save(out)
    if json:
        write_rows(json, [to_dict(found, str(out))])
    for name, rows in found.values.items():
        show(f"{out}: {name}, {len(rows):,} pictures × {rows.shape[1]:,} numbers, {found.protocol}")
