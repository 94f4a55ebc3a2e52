"""A picture with the boxes of what is in it."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from verydeep.data.boxes import iou
from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.localisation.localise import Located, Rights

COLOURS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#cc79a7",
)  # told apart by colour-blind readers; Okabe & Ito 2008
CASES = 10  # good ones, and bad ones
TEXT = "Description"  # PNG's own word for the text of a file that says what it shows
LEAST_SIDE = 256  # px that a small picture is enlarged to, in whole steps
THICKNESS = 200  # of the longer side of a picture, to one px of a line


def draw(
    picture: UInt8[np.ndarray, "h w 3"], things: Sequence[Located], names: Mapping[str, str] | None = None
) -> Image.Image:
    """The picture with a frame around each thing, its name and its posterior; the best one is drawn last.

    Args:
        picture: RGB.
        things: the best first.
        names: what people call the classes.
    """
    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    size = max(image.size)
    line, font = max(1, size // THICKNESS), ImageFont.load_default(max(10, size // 30))
    for place, (key, score, box) in reversed(list(enumerate(things))):
        colour = COLOURS[place % len(COLOURS)]
        canvas.rectangle(box, outline=colour, width=line)
        text = f"{(names or {}).get(key, key)} {100 * score:.0f} %"
        left, _, right, bottom = canvas.textbbox((0, 0), text, font=font)
        at = min(box[0], max(0, image.width - right)), max(0, box[1] - bottom - line)
        canvas.rectangle((at[0], at[1], at[0] + right - left + line, at[1] + bottom + line), fill=colour)
        canvas.text(at, text, fill="black", font=font)
    return image


def drawings_of(images: Sequence[str], folder: Path) -> list[Path]:
    """Where the drawing of each picture goes: `photo.png` of `photo.jpg`, or `photo-2.png` where that is taken.

    No two drawings have one file, and none has that of a picture.
    """
    taken = {Path(image).resolve() for image in images}
    drawings = []
    for image in images:
        stem = Path(image).stem
        names = itertools.chain([f"{stem}.png"], (f"{stem}-{number}.png" for number in itertools.count(2)))
        drawings.append(next(folder / name for name in names if (folder / name).resolve() not in taken))
        taken.add(drawings[-1].resolve())
    return drawings


def draw_cases(folder: Path, data: Dataset, rights: Rights, count: int = CASES) -> list[Path]:
    """Draw good and bad cases with the class known, spread over all: true boxes in white, the found one in colour.

    Each file's text says the class, the IoU of the found box with the nearest true one, and the picture's name.

    Args:
        folder: of the PNG files; made if need be.
        data: that was tested.
        rights: what became of it.
        count: of good cases, and of bad ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, places in (("good", np.flatnonzero(rights.known)), ("bad", np.flatnonzero(~rights.known))):
        chosen = places[np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))]
        for number, place in enumerate(chosen.tolist(), 1):
            index = int(rights.boxed[place])
            picture = Image.fromarray(data.picture(index))
            larger = max(1, LEAST_SIDE // max(picture.size))
            image = picture.resize((larger * picture.width, larger * picture.height), Image.Resampling.BICUBIC)
            canvas = ImageDraw.Draw(image)
            found, truth = larger * rights.found.boxes[place], rights.truth.of(place, (image.height, image.width))
            for box in truth.tolist():
                canvas.rectangle(box, outline="white", width=2)
            canvas.rectangle(found[0].tolist(), outline=COLOURS[0], width=2)
            key, text = data.classes[data.labels[index]], PngInfo()
            name = data.names.get(key, key).split(",")[0]  # the first of the synonyms
            text.add_itxt(TEXT, f"{name}: IoU {iou(found, truth).max():.2f}; {printable(data.images[index])}")
            files.append(folder / f"{kind}-{number:02d}.png")
            image.save(files[-1], pnginfo=text)
    return files
