"""The score map of any module that pools or flattens a map of cells near its end, found by watching the module run.

A module is run on a crop and on a larger picture, and its steps on maps are compared. The last that takes a map which
has grown with the picture, and gives something that has not, ends the map: global pooling, or what comes before linear
layers. There the map is cut into windows of one crop's worth of cells, which the rest of the module takes for so many
pictures: each gives the scores of one position. Decision: docs/decisions/068-score-maps-by-watching.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Real
from torch import Size, Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Scores = Callable[[Tensor], Tensor]  # pixels n 3 h w → scores n k
Step = tuple[Any, int]  # a function, and which of its calls on maps
NOISE = 1e-3  # of the scores' spread: sums in another order differ by less, mistakes by more


class Unmappable(Exception):
    """Why a module has no score map, in one clause."""


@dataclass(frozen=True)
class Ending:
    """A step that ends the map.

    Attributes:
        kind: `mean` or `max` over all cells, `same` for the cells themselves in another shape, or anything `else`.
        shape: of what it gives for a batch of one crop.
    """

    kind: Literal["mean", "max", "same", "else"]
    shape: Size


@dataclass(frozen=True)
class Cut:
    """Where a module's map ends.

    Attributes:
        endings: the steps that take the last map; several where it is pooled in several ways.
        cells: rows and columns of that map for a crop.
        channels_last: whether its layout is n h w c.
    """

    endings: Mapping[Step, Ending]
    cells: tuple[int, int]
    channels_last: bool


def slide(scores: Scores, pixels: Real[Tensor, "n 3 h w"], cut: Cut) -> Float[Tensor, "n k u v"]:
    """Scores at every position: of each window of one crop's worth of cells of the last map."""
    mode = Slide(cut, len(pixels))
    with mode:
        found = scores(pixels)
    return found.unflatten(0, (len(pixels), *mode.positions)).permute(0, 3, 1, 2)


@torch.no_grad()
def find_cut(scores: Scores, crop: Real[Tensor, "1 3 crop crop"], larger: Real[Tensor, "1 3 h w"]) -> Cut:
    """Where the map of a module ends, tried out.

    Args:
        scores: the module in eval mode.
        crop: a picture of the crop's size.
        larger: a picture higher than that and wider still, by less than its double.

    Raises:
        Unmappable: there is no such place, or its cells are not what the module itself makes of them.
    """
    steps = Steps()
    with steps:
        own = scores(crop)
    ends, failure = Ends(steps.notes), ""
    try:
        with ends:
            scores(larger)
    except Exception as error:  # linear layers of another size, where the map has ended; or whatever a module may raise
        failure = one_line(error)
    if failure and not ends.rows_grown:
        raise Unmappable(f"it takes no picture larger than its crop ({failure})")
    if ends.maps is None:
        raise Unmappable("no step was seen in it that pools or flattens a map of rows and columns")
    cut = ends.cut()
    pair = torch.cat([larger.flip(-1), larger])  # a batch of one may go where one of two cannot
    try:
        of_crop, of_pair = slide(scores, crop, cut), slide(scores, pair, cut)
        with Corner(cut):
            corner = scores(larger)
    except Exception as error:
        raise Unmappable(f"its scores cannot be had at every position ({one_line(error)})") from error
    one_cell = of_crop.shape[-2:] == (1, 1) and alike(of_crop[:, :, 0, 0], own)
    if not one_cell or not alike(of_pair[1:, :, -1, -1], corner):
        raise Unmappable("what it says of a position is not what it says of a crop")
    return cut


def alike(scores: Float[Tensor, "n k"], others: Float[Tensor, "n k"]) -> bool:
    """Whether scores differ by rounding only."""
    if scores.shape != others.shape:
        return False
    noise = NOISE if scores.dtype in (torch.float32, torch.float64) else 30 * NOISE
    spread = others.std() if others.numel() > 1 else others.abs().max()
    return bool((scores - others).abs().max() <= noise * spread + 1e-6 * others.abs().max())


def one_line(error: Exception) -> str:
    """An error's message as a clause."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 120 else f"{line[:117]}..."


class Watch(TorchFunctionMode):
    """Sees every step of a module that takes a map and no other tensor; the map may have any layout of four axes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Any] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called in place of each of torch's functions."""
        first, rest, named = (args[0] if args else None), args[1:], dict(kwargs or {})
        if not args and "input" in named:
            first = named.pop("input")
        if not isinstance(first, Tensor) or any(isinstance(other, Tensor) for other in (*rest, *named.values())):
            return function(*args, **(kwargs or {}))

        def alone(tensor: Tensor) -> Any:
            return self.step(function, tensor, *rest, **named)

        if first.dim() != 4:
            return alone(first)
        self.calls[function] += 1
        return self.on_map((function, self.calls[function]), first, alone)

    def step(self, function: Any, first: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A step as it is."""
        return function(first, *args, **kwargs)

    def on_map(self, step: Step, maps: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """A step that takes a map."""
        return function(maps)


@dataclass(frozen=True)
class Note:
    """What a step took and gave on a crop, and how it is done again."""

    taken: Size
    given: Size
    function: Callable[[Tensor], Tensor]


class Steps(Watch):
    """Notes the steps on a crop."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[Step, Note] = {}

    def on_map(self, step: Step, maps: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """Notes the step."""
        given = function(maps)
        if isinstance(given, Tensor):
            self.notes[step] = Note(maps.shape, given.shape, function)
        return given


class Ends(Watch):
    """Finds, on a larger picture, the last map that ends.

    Attributes:
        maps: the map.
        steps: that end it.
        rows_grown: whether they make rows of it that are longer than a crop's, which no linear layer takes.
    """

    def __init__(self, notes: Mapping[Step, Note]) -> None:
        super().__init__()
        self.notes = notes
        self.maps: Tensor | None = None
        self.steps: list[Step] = []
        self.rows_grown = False

    def on_map(self, step: Step, maps: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """Compares the step with what it was on a crop."""
        given = function(maps)
        if isinstance(given, Tensor) and step in self.notes and self.ends(self.notes[step], maps, given):
            if maps is not self.maps:
                self.maps, self.steps = maps, []
            self.steps.append(step)
            self.rows_grown = given.dim() == 2 and given.shape != self.notes[step].given
        return given

    def ends(self, note: Note, maps: Tensor, given: Tensor) -> bool:
        """Whether the map has grown with the picture, and has no more both rows and columns after the step."""
        axes = grown(note.taken, maps.shape)
        if axes not in ((2, 3), (1, 2)):
            return False
        one_axis_less = [(*maps.shape[:axis], *maps.shape[axis + 1 :]) for axis in axes]  # the other one soon follows
        rows = given.dim() == 2 and len(given) == len(maps)
        return given.shape == note.given or rows or tuple(given.shape) in one_axis_less

    def cut(self) -> Cut:
        """Where the last map ends."""
        assert self.maps is not None
        notes = {step: self.notes[step] for step in self.steps}
        taken = notes[self.steps[0]].taken
        first, second = grown(taken, self.maps.shape)
        endings = {step: Ending(kind_of(note, (first, second)), note.given) for step, note in notes.items()}
        return Cut(endings, (taken[first], taken[second]), channels_last=first == 1)


def grown(small: Size, large: Size) -> tuple[int, ...]:
    """The axes along which a larger picture's map is longer."""
    return tuple(axis for axis in range(len(small)) if large[axis] > small[axis])


def kind_of(note: Note, axes: tuple[int, int]) -> Literal["mean", "max", "same", "else"]:
    """What a step does with a map of a crop's cells, seen by what it does with random numbers."""
    maps = torch.randn(note.taken, generator=torch.Generator().manual_seed(0))
    given = note.function(maps).flatten()
    if given.shape == maps.flatten().shape and given.equal(maps.flatten()):
        return "same"
    means = maps.mean(axes).flatten()
    if given.shape != means.shape:
        return "else"
    if given.allclose(means, atol=1e-5):
        return "mean"
    return "max" if given.equal(maps.amax(axes).flatten()) else "else"


class Slide(Watch):
    """Cuts the last map into windows of a crop's worth of cells, laid out along the batch.

    Attributes:
        positions: rows and columns of windows.
    """

    def __init__(self, cut: Cut, pictures: int) -> None:
        super().__init__()
        self.cut, self.pictures = cut, pictures
        self.positions = (1, 1)

    def on_map(self, step: Step, maps: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """Ends the map."""
        if step not in self.cut.endings:
            return function(maps)
        ending = self.cut.endings[step]
        if self.cut.channels_last:
            maps = maps.movedim(-1, 1)
        rows, columns = self.cut.cells
        self.positions = (maps.shape[2] - rows + 1, maps.shape[3] - columns + 1)
        if ending.kind in ("mean", "max"):
            pool = F.avg_pool2d if ending.kind == "mean" else F.max_pool2d
            return pool(maps, self.cut.cells, stride=1).permute(0, 2, 3, 1).reshape(-1, *ending.shape[1:])
        windows = maps.unfold(2, rows, 1).unfold(3, columns, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        if self.cut.channels_last:
            windows = windows.movedim(1, -1).contiguous()
        return windows.reshape(-1, *ending.shape[1:]) if ending.kind == "same" else function(windows)

    def step(self, function: Any, first: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A step as it is, but that a module which shapes by the number of its pictures means all windows."""
        windows = self.pictures * self.positions[0] * self.positions[1]
        shaping = function in (Tensor.view, Tensor.reshape, torch.reshape) and args
        if shaping and first.shape[:1] == (windows,) != (self.pictures,):
            shape = args[0] if isinstance(args[0], (tuple, list)) else args
            if shape[0] == self.pictures:
                return first.reshape(windows, *shape[1:])
        return function(first, *args, **kwargs)


class Corner(Watch):
    """Shows the rest of a module the last window alone: what it says without windows along the batch."""

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self.cut = cut

    def on_map(self, step: Step, maps: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """Cuts the map off."""
        if step not in self.cut.endings:
            return function(maps)
        ending, axes = self.cut.endings[step], (1, 2) if self.cut.channels_last else (2, 3)
        rows, columns = self.cut.cells
        window = maps.narrow(axes[0], -rows, rows).narrow(axes[1], -columns, columns).contiguous()
        if ending.kind in ("mean", "max"):  # not the step itself: its window may be as large as the map
            return (window.mean(axes) if ending.kind == "mean" else window.amax(axes)).reshape(ending.shape)
        return function(window)
