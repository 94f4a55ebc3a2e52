"""A picture with the boxes of what is in it."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from verydeep.localisation.localise import Located

COLOURS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#cc79a7",
)  # told apart by colour-blind readers; Okabe & Ito 2008
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
