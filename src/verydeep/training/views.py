"""From a recipe to the views that training shows."""

from collections.abc import Iterator
from contextlib import closing

from jaxtyping import UInt8
from torch import Tensor

from verydeep.data.annotations import Boxes
from verydeep.data.dataset import Dataset, PictureArray
from verydeep.data.distorted_views import DistortedViews
from verydeep.data.feed import Feed
from verydeep.data.shifted_views import ShiftedViews
from verydeep.data.statistics import Statistics
from verydeep.data.training_views import TrainingViews
from verydeep.data.uses import Views
from verydeep.data.views_in_turn import ViewsInTurn
from verydeep.errors import RecipeError
from verydeep.localisation.targets import BoxViews
from verydeep.nets.net import Net
from verydeep.pictures.colour import RGBShift
from verydeep.pictures.views import corners_and_centre_of_square, nine_at_two_sizes
from verydeep.training.recipe import SMALL, Recipe

AT_ONCE = 500  # crops that a net measures itself on
ROUNDS = 36  # uses of each picture for it, at most: as many as nagadomi has views


def training_views(recipe: Recipe, statistics: Statistics, boxes: Boxes | None = None) -> Views:
    """What becomes of a picture at each use."""
    chosen = recipe.views
    shift = RGBShift.from_covariance(statistics.covariance) if chosen.rgb_shift else None
    match chosen.method:
        case "shift":
            red, green, blue = statistics.mean.round().astype(int).tolist()
            return ShiftedViews(recipe.crop, chosen.shift, chosen.mirror, chosen.cutout, (red, green, blue), shift,
                                chosen.rgb_shift)  # fmt: skip
        case "distort":
            return DistortedViews(recipe.crop, bool(chosen.mirror), shift=float(chosen.shift),
                                  until=recipe.schedule.epochs - chosen.plain)  # fmt: skip
        case "nagadomi-36":
            return ViewsInTurn(recipe.crop, nine_at_two_sizes)
        case "ten-crop":
            return ViewsInTurn(recipe.crop, corners_and_centre_of_square, recipe.smallest_sides[0])
    views = TrainingViews(
        crop=recipe.crop,
        smallest_side=recipe.smallest_sides,
        random_resized=chosen.method == "random-resized",
        area=chosen.area,
        mirror=bool(chosen.mirror),
        rgb_shift=shift,
        sigma=chosen.rgb_shift,
        coarse_decode=chosen.coarse_decode,
        sides=chosen.sides,
        side_jitter=chosen.side_jitter,
    )
    return views if boxes is None else BoxViews(**vars(views), boxes=boxes)


def training_crops(
    net: Net, pictures: Dataset, views: Views, seed: int, threads: int
) -> Iterator[UInt8[Tensor, "n 3 c c"]]:
    """The crops that a net is to be shown before it is trained: those of the first epochs, at most `ROUNDS`."""
    shown = 0
    with closing(Feed(pictures, views, AT_ONCE, seed=seed, threads=threads, bad_pictures="skip")) as feed:
        for epoch in range(ROUNDS):
            for batch in feed.batches(epoch):
                yield batch.views[: net.whitens - shown]
                shown += len(batch)
                if shown >= net.whitens:
                    return


def refuse_large(pictures: Dataset, recipe: Recipe) -> None:
    """Refuse pictures that a method for small ones cannot take.

    Raises:
        RecipeError: they are not in memory, or of another size.
    """
    method, side = recipe.views.method, recipe.crop
    if method not in SMALL:
        return
    if method == "nagadomi-36":
        side = round(side * 4 / 3)
    if not isinstance(pictures, PictureArray) or pictures.size(0) != (side, side):
        raise RecipeError(
            f'{recipe.data}: views.method = "{method}" is for pictures of {side} px in memory, such as CIFAR\'s; write '
            '"crop"'
        )
