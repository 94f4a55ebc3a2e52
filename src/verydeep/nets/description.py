"""What a net is, before one is made: its layers as a function of its sizes, and what is published of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from verydeep.nets.initialise import Draw, gaussian
from verydeep.nets.layers import Layer, count_macs, count_parameters, count_weight_layers
from verydeep.nets.net import Net
from verydeep.nets.stack import Stack


@dataclass(frozen=True)
class NetDescription:
    """What a net is, at its full width, for its own classes and its own crop.

    Attributes:
        name: in the registry.
        build: its layers; takes num_classes, width, crop and hidden.
        crop: side of its window as published, in pixels.
        source: where it is defined.
        errors: published: protocol → (top-1, top-5) error on the pictures of `tested`, as fractions; None: not known.
        num_classes: as published.
        tested: the pictures that the errors are of.
        aliases: other names that it goes by.
        make: the module of a name, layers, classes, crop, width and dropout.
        draw: how its authors drew its first weights.
        mean: what its authors subtract from each colour whatever the pictures; 0 where it is the training pixels' mean.
        std: what they divide by after that, in levels of 255.
    """

    name: str
    build: Callable[..., Iterable[Layer]] = field(repr=False)
    crop: int
    source: str
    errors: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    num_classes: int = 1000
    tested: str = "ILSVRC-2012, validation"
    aliases: tuple[str, ...] = ()
    make: Callable[..., Net] = field(default=Stack, repr=False)
    draw: Draw = field(default=gaussian, repr=False)
    mean: float = 0.0
    std: float = 1.0

    @cached_property
    def plan(self) -> Sequence[Layer]:
        """Its layers, in the order of the data."""
        return tuple(self.build(num_classes=self.num_classes, width=1.0, crop=self.crop, hidden=None))

    @property
    def layers(self) -> int:
        """Layers with weights, as the paper counts depth."""
        return count_weight_layers(self.plan)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return count_parameters(self.plan)

    @property
    def macs(self) -> int:
        """Multiply-adds for one crop."""
        return count_macs(self.plan, self.crop)

    @property
    def has_hidden(self) -> bool:
        """Whether it has fully connected layers beside the one that gives the scores."""
        return sum(layer.kind == "fc" for layer in self.plan) > 1
