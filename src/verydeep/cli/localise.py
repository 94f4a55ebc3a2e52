"""`verydeep localise`: where things are in pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from verydeep.cli.options import Data, Device, Json, Kind, Split, Threads, as_a_folder, in_a_folder, is_first
from verydeep.cli.terminal import remark, show

Localisers = Annotated[
    list[str],
    Option(
        metavar="NET",
        help="A net trained with [boxes]: a run's folder, a file, or a name; may be given several times; by default "
        "the one that comes with verydeep.",
        show_default=False,
    ),
]


class MeasureByDefault(TyperGroup):
    """`verydeep localise DATA` is the command `measure`, which so needs not be named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, or `measure`."""
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["measure", *args])


localise = typer.Typer(
    help="Find where things are in pictures: localise DATA, draw FILES…, or score what others found.",
    cls=MeasureByDefault,
)


@localise.command()
def measure(
    data: Data,
    localiser: Localisers = [],  # noqa: B006 - typer copies it
    net: Annotated[str, Option(metavar="NET", help="That names classes: a run's folder, a file, or a name.")] = (
        "tiny-imagenet"
    ),
    protocol: Annotated[
        str | None, Option(metavar="NAME", help="Of the classes; by default what the net was found best by.")
    ] = None,
    boxes: Annotated[
        list[str],
        Option(metavar="NAME", help="Of the boxes, such as dense@352,384-mirror; one for all localisers, or one each."),
    ] = [],  # noqa: B006 - typer copies it
    split: Split = "val",
    kind: Kind = None,
    images: Annotated[int | None, Option(min=1, metavar="N", help="So many, spread over all; by default all.")] = None,
    submission: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the guesses in the development kit's format.", callback=in_a_folder),
    ] = None,
    map_: Annotated[
        Path | None, Option("--map", metavar="FILE", help="Labels for the submission: map_clsloc.txt or meta.mat.")
    ] = None,
    cases: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Draw ten good and ten bad boxes of known classes into this folder.",
            callback=as_a_folder,
        ),
    ] = None,
    batch: Annotated[int | None, Option(min=1, help="So many crops at a time.")] = None,
    threads: Threads = None,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Measure how often a net and its localisers err on DATA.

    Prints the top-5 localisation error, the error with the true class known, and the classification error.
    """
    import numpy as np

    import verydeep
    from verydeep.cli.bars import progress
    from verydeep.data.annotations import one_class_each
    from verydeep.evaluation.error_table import per_cent, write_rows
    from verydeep.evaluation.predict import best_protocol
    from verydeep.localisation.devkit import read_classes
    from verydeep.localisation.draw import draw_cases
    from verydeep.localisation.localise import (
        bundled_localiser,
        guess,
        judge,
        localisation_row,
        open_localiser,
        write_submission,
    )
    from verydeep.nets.registry import load_own_net
    from verydeep.processes import processes

    localiser = localiser or [bundled_localiser()]
    loaded, card = load_own_net(net)
    if len(boxes) not in (0, 1, len(localiser)):
        raise typer.BadParameter(f"--boxes is given {len(boxes)} times for {len(localiser)} localisers")
    protocols = boxes if len(boxes) == len(localiser) else [boxes[0] if boxes else None] * len(localiser)
    localisers = [open_localiser(where, each) for where, each in zip(localiser, protocols, strict=True)]
    pictures = one_class_each(verydeep.open_dataset(data, split, kind))
    if images is not None:
        pictures = pictures.subset(np.unique(np.linspace(0, len(pictures) - 1, images).astype(int)))
    with progress() as show_progress:
        guesses = guess(loaded, localisers, pictures, protocol or best_protocol(loaded, card), device=device,
                        batch=batch, threads=threads, progress=show_progress)  # fmt: skip
        if submission:
            write_submission(submission, guesses, read_classes(map_) if map_ else {})
        if processes().any(submission is not None) and (pictures.labels == -1).any():
            show(str(submission))
            if json or cases:
                remark(f"{data}: has pictures without labels, so no errors: --json and --cases leave nothing")
            return
        rights = judge(guesses, localisers, pictures, device=device, batch=batch, progress=show_progress)
    row = localisation_row(guesses, localisers, pictures, rights)
    if cases and is_first():
        draw_cases(cases, pictures, rights)
    if row["bad_boxes"]:
        remark(f"{data}: bad boxes, mended or left out: {row['bad_boxes']}; see verydeep data check")
    if json:
        write_rows(json, [row])
    for name, words in (("localisation", "top-5 localisation error"), ("known_class", "with the class known"),
                        ("classification", "top-5 classification error")):  # fmt: skip
        show(f"{words}: {per_cent(row[f'{name}_error'], row[f'{name}_interval'])} %")
    show(f"{row['images']:,} images of {row['data']} {row['split']}; boxes by {', '.join(row['boxes'])}")


@localise.command()
def draw(
    files: Annotated[
        list[str], Argument(metavar="FILES", help="Pictures, or folders of pictures.", show_default=False)
    ],
    localiser: Localisers = [],  # noqa: B006 - typer copies it
    net: Annotated[str, Option(metavar="NET", help="That names classes.")] = "tiny-imagenet",
    count: Annotated[int, Option(min=1, metavar="N", help="So many boxes a picture.")] = 1,
    out: Annotated[
        Path, Option(metavar="FOLDER", help="Where the drawings go; made if need be.", callback=as_a_folder)
    ] = Path("boxes"),
    boxes: Annotated[str | None, Option(metavar="NAME", help="Protocol of the boxes, such as dense@64,96.")] = None,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Draw boxes, names and posteriors on pictures.

    Leaves a PNG for each of FILES in a folder, and prints what was found where.
    """
    from verydeep.data.paths import printable
    from verydeep.errors import PictureError
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.predict import best_protocol, credentials, open_files
    from verydeep.localisation.draw import draw, drawings_of
    from verydeep.localisation.localise import box_credentials, bundled_localiser, localise, open_localiser
    from verydeep.nets.registry import load_own_net

    localiser = localiser or [bundled_localiser()]
    loaded, card = load_own_net(net)
    opened = [open_localiser(where, boxes) for where in localiser]
    for line in (credentials(net, loaded, card), *map(box_credentials, opened)):
        remark(line)
    pictures = open_files(files, loaded.classes)
    out.mkdir(parents=True, exist_ok=True)
    protocol, names = best_protocol(loaded, card), card.get("names", {})
    rows, bad = [], 0
    for index, (image, target) in enumerate(zip(pictures.images, drawings_of(pictures.images, out), strict=True)):
        try:
            pixels = pictures.picture(index)
            found = localise(loaded, opened, pixels, count=count, protocol=protocol, device=device)
        except PictureError as error:
            bad += 1
            remark(str(error))
            continue
        draw(pixels, found, names).save(target)
        show(f"{printable(image)} → {printable(str(target))}")
        for key, score, box in found:
            show(f"{100 * score:6.1f} %  {names.get(key, key)}  {', '.join(f'{side:.0f}' for side in box)}")
        things = [
            {"class": key, "name": names.get(key, key), "posterior": score, "box": [*box]} for key, score, box in found
        ]
        rows.append({"image": image, "drawing": str(target), "found": things})
    if json:
        write_rows(json, rows)
    if bad:
        raise typer.Exit(2)


@localise.command()
def score(
    predictions: Annotated[
        Path, Argument(metavar="PREDICTIONS", help="Lines of LABEL XMIN YMIN XMAX YMAX.", show_default=False)
    ],
    truth: Annotated[Path, Option(metavar="FOLDER", help="An XML file for each picture.", show_default=False)],
    labels: Annotated[Path, Option(metavar="FILE", help="The label of each picture, a line each.", show_default=False)],
    map_: Annotated[
        Path | None, Option("--map", metavar="FILE", help="Labels of the names in the XML: map_clsloc.txt or meta.mat.")
    ] = None,
    exclude: Annotated[
        Path | None, Option(metavar="FILE", help="Numbers of pictures, from 1, that do not count for localisation.")
    ] = None,
    json: Json = None,
) -> None:
    """Score predictions in the ILSVRC development kit's format.

    Prints their localisation and classification error, by the kit's rule: of up to five guesses one must have the label
    and overlap a true box of that label by an IoU of at least 0.5.
    """
    from json import dumps

    from verydeep.localisation.devkit import score
    from verydeep.weights.files import write_atomically

    result = score(predictions, truth, labels, map=map_, exclude=exclude)
    for line in result.remarks:
        remark(line)
    if json:
        write_atomically(json, (dumps(result.to_dict(), indent=1) + "\n").encode())
    show(str(result))
