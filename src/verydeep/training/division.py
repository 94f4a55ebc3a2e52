"""Which pictures are trained on, and which are watched. Decision: docs/decisions/052-pictures-held-out.md."""

import numpy as np
from jaxtyping import Int64

from verydeep.data.annotations import Boxes, one_class_each, read_boxes
from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.folders import split_folders
from verydeep.data.open import open_dataset
from verydeep.errors import RecipeError
from verydeep.evaluation.posteriors import default_threads
from verydeep.training.log import Say
from verydeep.training.recipe import Recipe

HELD_OUT = 0.2  # of each class, where a data set has no split to watch
HELD_OUT_MOST = 50  # pictures of a class, as many as ILSVRC's validation has


def divide(recipe: Recipe, say: Say = lambda line: None) -> tuple[Dataset, Dataset]:
    """The pictures to train on and those to watch, disjoint.

    Args:
        recipe: with its data; `validation` says which are watched.
        say: is told what was held out without being asked for, and what the data set has to say of itself.

    Raises:
        DatasetError: the data set cannot be opened.
        RecipeError: training on it makes no sense.
    """
    data, validation = str(recipe.data), recipe.validation
    pictures = open_trained(recipe)
    for remark in pictures.remarks:
        say(f"{data}: {remark}")
    if len(pictures.classes) < 2:
        raise RecipeError(f"{data}: has one class, {pictures.classes[0]}; there is nothing to tell apart, add another")
    if (pictures.labels == UNLABELLED).any():
        raise RecipeError(f"{data}: has training pictures without labels; label them or remove them")
    generator = np.random.default_rng((recipe.seed, 1))
    if validation.held_out or (validation.held_out is None and lacks_split(pictures, validation.split)):
        most = HELD_OUT_MOST if validation.held_out is None else len(pictures)
        trained, held = hold_out(pictures.labels, validation.held_out or HELD_OUT, most, generator)
        if not len(held):
            raise RecipeError(f"{data}: has one picture a class; add more, so that some can be held out")
        if validation.held_out is None:
            say(f"{data}: has no split {validation.split!r}; {len(held)} of its {len(pictures)} pictures, drawn by the "
                "seed from every class, are held out: they are watched, not trained on")  # fmt: skip
        pictures, watched = pictures.subset(trained), pictures.subset(held)
    else:
        watched = one_class_each(open_dataset(data, split=validation.split, kind=recipe.kind))
        if recipe.classes is not None:
            watched = watched.only(pictures.classes)
        if watched.split == pictures.split:
            say(f"{data}: the pictures that are trained on are watched too, as the recipe says: the errors mean little")
    if (watched.labels == UNLABELLED).any():
        raise RecipeError(
            f"{data}: pictures of split {validation.split} have no labels; write validation.held_out = 0.1"
        )
    if validation.images and validation.images < len(watched):
        watched = watched.subset(np.sort(generator.permutation(len(watched))[: validation.images]))
    return pictures, watched


def open_trained(recipe: Recipe) -> Dataset:
    """The training split of a recipe's data, of so many of its classes as the recipe says.

    Raises:
        RecipeError: it has fewer.
    """
    pictures = one_class_each(open_dataset(str(recipe.data), split="train", kind=recipe.kind))
    if recipe.classes is None:
        return pictures
    there = len(pictures.classes)
    if recipe.classes > there:
        raise RecipeError(f"classes is {recipe.classes}, {recipe.data} has {there}; use {there} or fewer")
    return pictures.only([pictures.classes[place * there // recipe.classes] for place in range(recipe.classes)])


def lacks_split(pictures: Dataset, split: str) -> bool:
    """Whether class folders or a table are not divided, or have no folder for the split."""
    return pictures.split == "all" or (pictures.kind == "folders" and split not in split_folders(pictures.root))


def hold_out(
    labels: Int64[np.ndarray, " n"], share: float, most: int, generator: np.random.Generator
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " h"]]:
    """Indices to train on and indices held out, in order: a share of every class, at most so many of it.

    Of a class with two pictures or more at least one is held out and at least one stays.
    """
    held = []
    for label in np.unique(labels):
        of_class = generator.permutation(np.flatnonzero(labels == label))
        count = min(max(round(share * len(of_class)), 1), len(of_class) - 1, most)
        held.append(of_class[:count])
    chosen = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def keep_boxed(pictures: Dataset, recipe: Recipe, say: Say = lambda line: None) -> tuple[Dataset, Boxes]:
    """The pictures that have a good box of their class, and the boxes.

    Raises:
        DatasetError: the data set has no boxes, or bad ones that the recipe refuses.
        RecipeError: no picture has one.
    """
    assert recipe.boxes is not None
    boxes = read_boxes(pictures, recipe.boxes.bad, recipe.compute.threads or default_threads())
    if boxes.troubles:
        say(f"{recipe.data}, {pictures.split}: {boxes.trouble()}; see verydeep data check")
    good = np.flatnonzero(boxes.counts)
    where = f"{recipe.data}, {pictures.split}"
    if not len(good):
        raise RecipeError(f"{where}: no picture has a good box; see verydeep data check")
    if len(good) < len(pictures):
        say(f"{where}: {len(pictures) - len(good):,} of {len(pictures):,} pictures have no good box, and are left out")
        return pictures.subset(good), boxes.subset(good)
    return pictures, boxes
