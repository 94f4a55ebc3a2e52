"""All that decides a run, as data: a TOML file whose defaults are the paper's."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from verydeep.device import DataType, Layout
from verydeep.errors import RecipeError
from verydeep.localisation.head import BoxLoss, Regression
from verydeep.nets.initialise import Law

Fraction = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=1, le=16384)]
SMALL = {
    "shift": "",
    "distort": "",
    "nagadomi-36": "nagadomi-36",
}  # methods for small pictures; what they are watched by
Listed = Field(strict=False)  # TOML has lists for what is a tuple here


class Table(BaseModel):
    """A table of a recipe: it cannot be changed, and refuses keys that it does not know and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Start(Table):
    """How the weights start. Source: section 3.1."""

    law: Law = "paper"
    deviation: float = Field(0.01, gt=0)  # of the law "paper"
    graft: str | None = None  # a run or a file of a shallower net, whose layers of the same names are taken
    weights: str | None = None  # a run, a file, or the bundled net, of the same net; other classes leave fc8 random
    layers: Literal["all", "convolutional"] = "all"  # of `weights`, which are taken; then the others stay random
    train: Literal["all", "fully-connected", "last"] = "all"  # which layers are trained; the last gives the scores
    standardise: bool = False  # divide by the training pixels' deviation, which the paper does not


class Optimizer(Table):
    """Gradient descent with momentum. Source: section 3.1."""

    kind: Literal["sgd", "muon"] = "sgd"  # muon: each filter bank but the last moves along orthogonal directions
    learning_rate: float = Field(1e-2, gt=0)  # at the start, or after warming up
    momentum: Below1 = 0.9
    nesterov: bool = False
    last_layer: float = Field(1.0, gt=0)  # its rate, in multiples of learning_rate: where it alone starts at random
    shifts: float = Field(1.0, gt=0)  # the rate of normalisations' shifts, likewise; they are decayed as if it were 1
    weight_decay: float = Field(5e-4, ge=0)  # the multiplier of L2
    decay_biases: bool = False  # whether biases, and normalisations' scales and shifts, are decayed too
    batch: int = Field(256, ge=1)
    micro_batch: int | None = Field(None, ge=1)  # pictures at a time; by default as many as memory holds


class Schedule(Table):
    """How long, and how the learning rate falls. Source: section 3.1."""

    kind: Literal["plateau", "milestones", "cosine", "one-cycle", "polynomial", "exponential", "inverse"] = "plateau"
    epochs: int = Field(74, ge=1)
    drops: int = Field(3, ge=0)  # of the plateau; after the last one the next plateau ends the run
    factor: float = Field(10.0, gt=1)  # the rate is divided by it at each drop
    patience: int = Field(5, ge=1)  # epochs without progress before a drop
    threshold: float = Field(0.001, ge=0)  # progress: the validation top-1 error falls by as much
    milestones: Annotated[tuple[int, ...], Listed] = ()  # epochs after which the rate drops
    warm_up: float = Field(0.0, ge=0)  # epochs in which the rate rises from 0
    final: Fraction = 0.0  # share of the rate that cosine and one-cycle end at
    power: float = Field(0.5, gt=0)  # of what is left of the epochs, which the polynomial rate goes by
    decay: float = Field(
        0.02, ge=0
    )  # an epoch: exponential goes by exp(-decay · epochs), inverse by 1 / (1 + the same)
    tail: int = Field(0, ge=0)  # last epochs, in which these two stay at the share `final`


class Views(Table):
    """What becomes of a picture at each use. Source: section 3.1."""

    method: Literal["crop", "random-resized", "ten-crop", "shift", "distort", "nagadomi-36"] = "crop"
    smallest_side: Side | None = None  # S fixed, px; by default round(crop × 256 / 224)
    scale_jitter: Annotated[tuple[Side, Side] | None, Listed] = None  # S drawn from this range at each use, px
    area: Annotated[tuple[float, float], Listed] = (0.08, 1.0)  # of the method "random-resized"
    sides: Annotated[tuple[Side, ...], Listed] = ()  # that the crop is resized to, an epoch each in turn, px: spp-net
    side_jitter: Annotated[tuple[Side, Side] | None, Listed] = None  # instead drawn anew for each epoch, px
    shift: int = Field(2, ge=0)  # px either way, of the methods "shift" and "distort": for small pictures in memory
    mirror: Literal[True, False, "alternate"] = True  # alternate: each picture in every other epoch, with "shift"
    cutout: int = Field(0, ge=0)  # side of the square that "shift" fills with the mean colour, px
    plain: int = Field(0, ge=0)  # last epochs, in which "distort" leaves pictures as they are
    rgb_shift: float = Field(0.1, ge=0)  # in deviations of the training set's colours along their axes; 0 for none
    coarse_decode: bool = True  # JPEGs: large ones at a half, a quarter, an eighth, where S allows; colours as stored
    bad_pictures: Literal["stop", "skip"] = "stop"


class Regularisation(Table):
    """Against over-fitting; the first is the paper's."""

    dropout: Below1 = 0.5
    label_smoothing: Below1 = 0.0
    balanced: bool = False  # whether all classes count alike, however many pictures they have
    side_heads: float = Field(0.0, ge=0)  # weight of the loss of each side head: GoogLeNet's, with 0.3; 0 makes none
    filter_clip: float = Field(0.0, ge=0)  # largest root mean square of a convolution's filter: ZF's, with 0.1; 0: any
    weight_average: Below1 = 0.0  # decay at each step of a running mean of the weights, which is what is tested


class Validation(Table):
    """What is watched after each epoch."""

    split: str = "val"
    held_out: Below1 | None = None  # instead a share of each class, not trained on; by default where there is no split
    protocol: str | None = None  # by default the centre crop at the mean S. Source: section 3.1
    every: int = Field(1, ge=1)  # epochs
    images: int | None = Field(None, ge=1)  # at most, drawn by the seed


class Boxes(Table):
    """What makes a localiser, whose last layer gives boxes in place of class scores. Source: appendix A."""

    regression: Regression  # one box for all classes, or one for each class
    loss: BoxLoss = "euclidean"  # the paper's; see `localisation.head.box_losses`
    bad: Literal["mend", "skip", "stop"] = "mend"  # what becomes of bad boxes; pictures without any are left out


class Compute(Table):
    """Where and how it is computed; none of it decides what is learned, but for rounding."""

    device: str = "auto"
    data_type: DataType = "auto"
    layout: Layout = "auto"
    threads: int | None = Field(None, ge=1)  # of the feed
    deterministic: bool = False  # on CUDA: the same bits in every run, more slowly
    checkpoint_minutes: float = Field(5.0, ge=0)
    memory: float | None = Field(None, gt=0)  # gigabytes that a step may take; by default what is free


class Recipe(Table):
    """All that decides a run. Source: section 3.1."""

    net: str
    data: str | None = None
    kind: str | None = None  # of the data, where it is not to be recognised
    classes: int | None = Field(None, ge=2)  # so many of the data set's, spread evenly over their order; else all
    seed: int = Field(0, ge=0, lt=2**63)
    width: float = Field(1.0, gt=0)
    crop: int = Field(224, ge=1)  # each net has a least crop of its own
    hidden: int | None = Field(None, ge=1)
    loss: Literal["cross-entropy", "squared"] = "cross-entropy"  # squared: of posteriors against 0 and 1, as nagadomi's
    stall_steps: int = Field(2000, ge=0)  # steps after which a loss still at ln K ends the run; 0 for never
    start: Start = Start()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    views: Views = Views()
    regularisation: Regularisation = Regularisation()
    boxes: Boxes | None = None  # to train a localiser; without this table classes are learned
    validation: Validation = Validation()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _agrees(self) -> "Recipe":
        low, high = self.smallest_sides
        area, sides = self.views.area, (*self.views.sides, *(self.views.side_jitter or ()))
        refusals = [
            (low > high, f"views.scale_jitter is [{low}, {high}]; write the smaller side first"),
            (self.views.smallest_side and self.views.scale_jitter,
             "views.smallest_side and views.scale_jitter are both given; leave one out"),
            (self.views.method == "ten-crop" and low != high,
             'views.method = "ten-crop" takes one scale; write views.smallest_side'),
            (low < self.crop and self.views.method in ("crop", "ten-crop"),
             f"views.smallest_side is {low}, less than the crop, {self.crop}; use {self.crop} or more"),
            (not 0 < area[0] <= area[1] <= 1,
             f"views.area is {list(area)}; use two shares in (0, 1], the smaller one first"),
            (self.views.sides and self.views.side_jitter,
             "views.sides and views.side_jitter are both given; leave one out"),
            (self.views.side_jitter and list(sides) != sorted(sides),
             f"views.side_jitter is {list(sides)}; write the smaller side first"),
            (max(sides, default=0) > self.crop,
             f"views.sides has {max(sides, default=0)} px, more than the crop, {self.crop}; use {self.crop} or less"),
            (self.boxes and self.views.method != "crop",
             f'views.method is "{self.views.method}"; boxes go with "crop" alone'),
            (self.boxes and (self.views.sides or self.views.side_jitter),
             "boxes and views.sides are both given; leave one out"),
            (self.boxes and self.regularisation.label_smoothing,
             "regularisation.label_smoothing is for classes; leave it out with boxes"),
            (self.start.layers != "all" and not self.start.weights,
             "start.layers says which layers of start.weights are taken; give both, or leave it out"),
            (self.views.mirror == "alternate" and self.views.method != "shift",
             'views.mirror = "alternate" goes with views.method = "shift"; write true or false'),
            (self.views.cutout and self.views.method != "shift",
             'views.cutout goes with views.method = "shift"; leave it out'),
            (self.views.method in SMALL and (self.views.smallest_side or self.views.scale_jitter or sides),
             f'views.method is "{self.views.method}"; leave out smallest_side, scale_jitter and sides'),
            (max(self.views.shift, self.views.cutout) >= self.crop,
             f"views.shift and views.cutout are less than the crop, {self.crop} px"),
            (self.loss == "squared" and bool(self.regularisation.label_smoothing or self.regularisation.balanced),
             'loss = "squared" knows no label_smoothing and no balanced; leave them out'),
            (self.start.graft and self.start.weights, "start.graft and start.weights are both given; leave one out"),
            (self.schedule.warm_up >= self.schedule.epochs,
             f"schedule.warm_up is {self.schedule.warm_up}; use less than schedule.epochs, {self.schedule.epochs}"),
            (bool(self.schedule.milestones) != (self.schedule.kind == "milestones"),
             'schedule.milestones go with schedule.kind = "milestones", and it with them; give both or neither'),
        ]  # fmt: skip
        for wrong, message in refusals:
            if wrong:
                raise ValueError(message)
        return self

    @property
    def smallest_sides(self) -> tuple[int, int]:
        """The range of S, ends included, px."""
        if self.views.scale_jitter:
            return self.views.scale_jitter
        if self.views.method in SMALL:
            return self.crop, self.crop
        fixed = self.views.smallest_side or round(self.crop * 256 / 224)
        return fixed, fixed

    @property
    def validation_protocol(self) -> str:
        """What validation tests by: the centre crop at Q = S, or at the mean of S. Source: section 3.1, table 3."""
        if self.validation.protocol is not None:
            return self.validation.protocol
        if self.views.method == "random-resized":
            return "centre"
        return SMALL.get(self.views.method) or f"centre@{sum(self.smallest_sides) // 2}"

    def to_toml(self) -> str:
        """The recipe as a TOML file that `read_recipe` reads."""
        values = self.model_dump(exclude_none=True)
        lines = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for table, entries in values.items():
            if isinstance(entries, dict):
                lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in entries.items())]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is JSON's way but for one letter."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a TOML file, or of one of those that the package brings, by its name.

    Raises:
        RecipeError: it cannot be read, has an unknown key, an impossible value or lacks a key; reported in this order.
    """
    return parse_recipe(read_values(path), str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """What a recipe says, unchecked: of a TOML file, or of one of those that the package brings, by its name.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    file = Path(path)
    name = file.name.removesuffix(".toml")
    if not file.is_file() and name in recipes():
        file = recipes()[name]
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read ({error.strerror}); give a recipe in TOML, or one of {', '.join(recipes())}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML ({error})") from error


def recipes() -> dict[str, Path]:
    """The recipes that the package brings, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("recipes").glob("*.toml"))}


def parse_recipe(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """The recipe of nested values; `where` names them in errors. Raises as `read_recipe` does."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = sorted(error.errors(), key=lambda each: ORDER.get(each["type"], 1))
        raise RecipeError(f"{where}: {_say(problems[0])}") from None


ORDER = {"extra_forbidden": 0, "missing": 2}  # an unknown key explains the others, so it is said first


def _say(problem: Any) -> str:
    """One line on what pydantic found."""
    key = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a key; write {_nearest(key)}"
    if problem["type"] == "missing":
        return f"{key} is missing; the only key without a default"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key} is {problem['input']!r}: {message[0].lower()}{message[1:]}" if key else message


def _nearest(key: str) -> str:
    """The known key most like an unknown one, in the same table or wherever it stands."""
    known = known_keys()
    wanted = SYNONYMS.get(key.rpartition(".")[2], key)
    by_last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.8)
    if not near:
        near = [by_last[last] for last in difflib.get_close_matches(wanted.rpartition(".")[2], by_last, n=1)]
    return near[0] if near else difflib.get_close_matches(wanted, known, n=1, cutoff=0)[0]


def known_keys() -> list[str]:
    """All keys of a recipe, those of its tables as `optimizer.momentum`."""
    known = []
    for name, entry in Recipe.model_fields.items():
        kinds = get_args(entry.annotation) or (entry.annotation,)
        kind = kinds[0]
        if isinstance(kind, type) and issubclass(kind, Table):
            known += [f"{name}.{inner}" for inner in kind.model_fields]
        else:
            known.append(name)
    return known


SYNONYMS = {  # what other programs call it
    "lr": "learning_rate",
    "batch_size": "batch",
    "wd": "weight_decay",
    "model": "net",
    "arch": "net",
    "dataset": "data",
    "flip": "mirror",
    "ema": "weight_average",
    "dtype": "data_type",
    "num_epochs": "epochs",
}
