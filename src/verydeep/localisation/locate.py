"""Localisers, a data set, a protocol → a box for each class that is asked for, in each picture.

Every cell of a localiser's map gives a box: that of the crop which the cell sees. Boxes of all cells, views, scales and
localisers of a class are put together, merged, and rated by what a classification net says of the same crops.

Source: appendix A.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from verydeep.data.boxes import areas, clip
from verydeep.data.dataset import Dataset
from verydeep.device import choose_device, keep_pages
from verydeep.errors import LocalisationError
from verydeep.evaluation.average import Room, score_maps, testing
from verydeep.evaluation.looks import Look, ahead, group_by_shape, naming, order_by_shape
from verydeep.evaluation.posteriors import Progress, default_threads
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.room import make_room
from verydeep.localisation.head import UNIT, corners, regression_of
from verydeep.localisation.merge import THRESHOLD, merge
from verydeep.nets.net import Net
from verydeep.pictures.crop import take
from verydeep.pictures.preset import OURS
from verydeep.pictures.views import View
from verydeep.processes import processes


@dataclass(frozen=True)
class Localiser:
    """A net that gives boxes.

    Attributes:
        net: it.
        protocol: that says which crops it is shown.
        where: what it was opened by.
        card: of the net.
    """

    net: Net
    protocol: str
    where: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Found:
    """A box for each class that was asked for, in each picture.

    Attributes:
        boxes: continuous coordinates of the picture as decoded, inside of it.
        scores: of each, the sum over the boxes that were merged into it; comparable in one picture only.
        sizes: height and width of each picture, px.
    """

    boxes: Float64[np.ndarray, "n c 4"]
    scores: Float64[np.ndarray, "n c"]
    sizes: Int64[np.ndarray, "n 2"]


@dataclass(frozen=True, kw_only=True)
class PlacedLook(Look):
    """A view of a picture, and where it lies.

    Attributes:
        view: in the rescaled picture.
        rescaled: its height and width, px.
        size: those of the picture as decoded, px.
    """

    view: View
    rescaled: tuple[int, int]
    size: tuple[int, int]


def locate(
    localisers: Sequence[Localiser],
    data: Dataset,
    wanted: Int64[np.ndarray, "n c"],
    classes: Sequence[str],
    scorer: Net | None = None,
    *,
    threshold: int | float = THRESHOLD,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """The best box of each wanted class in each picture.

    Under torchrun each process takes its share of the pictures, and all get all boxes.

    Args:
        localisers: whose boxes are put together before they are merged.
        data: pictures.
        wanted: classes that a box is wanted for, in each picture: places in `classes`.
        classes: keys of all that may be wanted.
        scorer: a classification net of the same crop and stride; a box counts by its posterior of the class in the crop
            that the box was found in. Without one all boxes count alike.
        threshold: up to which `match` boxes are merged.
        device: where to compute.
        batch: so many crops at once; by default what the device takes well.
        threads: that decode meanwhile.
        progress: called with the views done and their number, of all localisers.

    Raises:
        LocalisationError: there is no localiser, or it has no box for a class, or the scorer does not see what it sees.
    """
    if not localisers:
        raise LocalisationError("boxes: no localiser is given; give a net that was trained with [boxes]")
    we = processes()
    if we.count == 1:
        return locate_here(localisers, data, wanted, classes, scorer, threshold, device, batch, threads, progress)
    own = np.arange(len(data))[we.rank :: we.count]
    found = locate_here(
        localisers, data.subset(own), wanted[own], classes, scorer, threshold, device, batch, threads, progress
    )
    parts = []
    for mine in (found.boxes, found.scores, found.sizes):
        whole = np.zeros((len(data), *mine.shape[1:]), mine.dtype)
        whole[own] = mine
        parts.append(we.sum(torch.from_numpy(whole)).numpy())  # of which one process alone has each picture's
    return Found(*parts)


def locate_here(
    localisers: Sequence[Localiser],
    data: Dataset,
    wanted: Int64[np.ndarray, "n c"],
    classes: Sequence[str],
    scorer: Net | None,
    threshold: int | float,
    device: str | torch.device,
    batch: int | None,
    threads: int | None,
    progress: Progress | None,
) -> Found:
    """What `locate` gives, of pictures that this process alone looks at."""
    where = choose_device(device)
    if where.type == "cpu":
        keep_pages()
    boxes: list[list[Float32[np.ndarray, "m c 4"]]] = [[] for _ in range(len(data))]
    weights: list[list[Float32[np.ndarray, "m c"]]] = [[] for _ in range(len(data))]
    sizes = np.zeros((len(data), 2), np.int64)
    done = 0
    for localiser in localisers:
        places = places_of(localiser.net, classes)
        rated = None if scorer is None else (scorer, places_in_scorer(scorer, classes))
        for group, found, weight in cells(
            localiser, data, places, rated, wanted, where, batch, threads or default_threads()
        ):
            for look, of_picture, weight_of_picture in zip(group, found, weight, strict=True):
                boxes[look.image].append(of_picture)
                weights[look.image].append(weight_of_picture)
                sizes[look.image] = look.size
            done += len(group)
            if progress:
                progress(done, max(done, len(data) * len(localisers)))
    best = [
        [best_box(np.concatenate(of)[:, place], np.concatenate(rates)[:, place], threshold, (size[0], size[1]))
         for place in range(wanted.shape[1])]
        for of, rates, size in zip(boxes, weights, sizes.tolist(), strict=True)
    ]  # fmt: skip
    shape = (len(data), wanted.shape[1])
    return Found(
        np.array([[box for box, _ in row] for row in best], np.float64).reshape(*shape, 4),
        np.array([[score for _, score in row] for row in best], np.float64).reshape(shape),
        sizes,
    )


def best_box(
    boxes: Float32[np.ndarray, "m 4"], weights: Float32[np.ndarray, " m"], threshold: int | float, size: tuple[int, int]
) -> tuple[Float64[np.ndarray, " 4"], float]:
    """The merged box of the largest score, and that; the whole picture where no box has an area."""
    good = areas(boxes.astype(np.float64)) > 0
    if not good.any():
        return np.array([0, 0, size[1], size[0]], np.float64), 0.0
    merged = merge(boxes[good].astype(np.float64), weights[good].astype(np.float64), threshold)
    return merged.boxes[0], float(merged.scores[0])


def places_of(net: Net, classes: Sequence[str]) -> Int64[np.ndarray, " k"] | None:
    """For each class its place among the boxes of a localiser; None where it has one for all.

    Raises:
        LocalisationError: it has none for a class.
    """
    regression, own = regression_of(net)
    return None if regression == "scr" else _places(net, own, classes, "has no box for")


def places_in_scorer(net: Net, classes: Sequence[str]) -> Int64[np.ndarray, " k"]:
    """For each class its place among the scores of a net. Raises as `places_of` does."""
    return _places(net, net.classes, classes, "does not know")


def _places(net: Net, own: Sequence[str], classes: Sequence[str], lacks: str) -> Int64[np.ndarray, " k"]:
    found: Mapping[str, int] = {key: place for place, key in enumerate(own)}
    missing = next((key for key in classes if key not in found), None)
    if missing is not None:
        raise LocalisationError(f"{net.name}: {lacks} class {missing}; train it on the same classes")
    return np.array([found[key] for key in classes], np.int64)


def cells(
    localiser: Localiser,
    data: Dataset,
    places: Int64[np.ndarray, " k"] | None,
    rated: tuple[Net, Int64[np.ndarray, " k"]] | None,
    wanted: Int64[np.ndarray, "n c"],
    where: torch.device,
    batch: int | None,
    threads: int,
) -> Iterator[tuple[list[PlacedLook], Float32[np.ndarray, "g m c 4"], Float32[np.ndarray, "g m c"]]]:
    """Views in groups of one shape, the boxes of all their cells in pixels of the picture, and what each counts."""
    net = localiser.net
    protocol = parse(localiser.protocol, net.crop, net.name)
    scorer, score_places = rated or (None, None)
    with testing(net):
        net.to(where)
        room = make_room(net, where, batch)
        for group in group_by_shape(placed_looks(data, protocol, net.crop, threads), room.pixels):
            placed = [look for look in group if isinstance(look, PlacedLook)]
            pixels = torch.from_numpy(np.stack([look.picture for look in placed])).to(where).permute(0, 3, 1, 2)
            labels = torch.from_numpy(wanted[[look.image for look in placed]])
            parts = [False, True] if placed[0].mirror else [False]
            boxes = [box_map(net, pixels, places, labels, room, mirrored=mirrored) for mirrored in parts]
            if scorer is None or score_places is None:
                rates = [torch.ones(each.shape[:-1]) for each in boxes]
            else:
                rates = [rate_map(scorer, pixels, score_places, labels, room, mirrored=mirrored) for mirrored in parts]
                if rates[0].shape != boxes[0].shape[:-1]:
                    raise LocalisationError(
                        f"{scorer.name}: sees other crops than {net.name}; rate boxes by a net of crop {net.crop}"
                    )
            in_pictures = np.stack([
                to_picture(of_view, look)
                for of_view, look in zip(torch.cat(boxes, dim=1).numpy(), placed, strict=True)
            ])  # fmt: skip
            yield placed, in_pictures, torch.cat(rates, dim=1).numpy()


def placed_looks(data: Dataset, protocol: Protocol, crop: int, threads: int) -> Iterator[PlacedLook]:
    """The views of every picture, those of one shape near each other, as `evaluation.looks` has them, with places."""

    def of(image: int) -> list[PlacedLook]:
        picture = data.picture(image)
        height, width, _ = picture.shape
        with naming(data, image):
            shown = protocol.views(height, width, crop, OURS)
            if any(each.view.side for each in shown):
                raise LocalisationError(f"{protocol}: resizes parts of pictures; use centre, dense or multi-crop")
            rescaled = {side: OURS.rescale(picture, side) for side in {each.smallest_side for each in shown}}
        return [
            PlacedLook(
                image=image,
                weight=each.weight,
                picture=take(rescaled[each.smallest_side], each.view),
                mirror=each.mirror,
                view=each.view,
                rescaled=rescaled[each.smallest_side].shape[:2],
                size=(height, width),
            )
            for each in shown
        ]

    for found in ahead(of, order_by_shape(data, protocol, crop, threads), threads):
        yield from found


@torch.inference_mode()
def box_map(
    net: Net,
    pixels: Float[Tensor, "g 3 h w"] | Tensor,
    places: Int64[np.ndarray, " k"] | None,
    wanted: Int64[Tensor, "g c"],
    room: Room,
    *,
    mirrored: bool,
) -> Float[Tensor, "g m c 4"]:
    """The boxes of all cells of views for the wanted classes, in pixels of the view, x0, y0, x1, y1."""
    maps = whole_map(net, pixels, room, mirrored=mirrored)
    width = pixels.shape[-1]
    numbers = UNIT * maps.unflatten(1, (-1, 4))  # g k 4 u v
    if places is None:
        chosen = numbers.expand(-1, wanted.shape[1], -1, -1, -1)
    else:
        chosen = numbers[torch.arange(len(wanted))[:, None], torch.from_numpy(places)[wanted]]
    g, c, _, u, v = chosen.shape
    found = corners(chosen.flatten(0, 1)).unflatten(0, (g, c)) * net.crop  # g c 4 u v
    across, down = net.stride * torch.arange(v), net.stride * torch.arange(u)[:, None]
    found = found + torch.stack([across.expand(u, v), down.expand(u, v)] * 2)
    if mirrored:
        x0, y0, x1, y1 = found.unbind(2)
        found = torch.stack([width - x1, y0, width - x0, y1], dim=2)
    return found.flatten(3).permute(0, 3, 1, 2)


@torch.inference_mode()
def rate_map(
    scorer: Net,
    pixels: Float[Tensor, "g 3 h w"] | Tensor,
    places: Int64[np.ndarray, " k"],
    wanted: Int64[Tensor, "g c"],
    room: Room,
    *,
    mirrored: bool,
) -> Float[Tensor, "g m c"]:
    """The posteriors of the wanted classes in all cells of views."""
    with testing(scorer):
        scorer.to(pixels.device)
        posteriors = whole_map(scorer, pixels, room, mirrored=mirrored).softmax(dim=1)
    chosen = posteriors[torch.arange(len(wanted))[:, None], torch.from_numpy(places)[wanted]]  # g c u v
    return chosen.flatten(2).permute(0, 2, 1)


def whole_map(net: Net, pixels: Tensor, room: Room, *, mirrored: bool) -> Float[Tensor, "g k u v"]:
    """All outputs of a net at every position, on the CPU; of a crop at one."""
    shown = pixels.flip(-1) if mirrored else pixels
    maps = torch.cat([part.float().cpu() for part in score_maps(net, shown, room)])
    return maps if maps.dim() == 4 else maps[:, :, None, None]


def to_picture(boxes: Float32[np.ndarray, "m c 4"], look: PlacedLook) -> Float32[np.ndarray, "m c 4"]:
    """Boxes of a view in pixels of its picture, cut to it."""
    flat = boxes.reshape(-1, 4).astype(np.float64)
    (height, width), (rescaled_height, rescaled_width) = look.size, look.rescaled
    flat = flat + np.array([look.view.left, look.view.top] * 2, np.float64)
    flat = flat * np.array([width / rescaled_width, height / rescaled_height] * 2, np.float64)
    return clip(flat, height, width).reshape(boxes.shape).astype(np.float32)
