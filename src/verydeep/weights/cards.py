"""What is known of published weights: where they are, whose they are, how good they are. One TOML file a source."""

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from verydeep.weights.found import Colours


class Published(BaseModel):
    """An error on ILSVRC-2012's validation images, as a fraction, by the protocol that it was measured with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: str
    top1_error: float | None = Field(None, gt=0, lt=1)
    top5_error: float | None = Field(None, gt=0, lt=1)


class WeightCard(BaseModel):
    """Published weights.

    Attributes:
        name: what to call them in `create_net(net, weights=name)`; the same for all nets of a source.
        net: of the registry.
        url: of the file.
        checksum: such as `sha256:397923af`; what was published of it may be its begin only.
        licence: in the publisher's words.
        source: the page that says so.
        parameters: weights and biases that are used here.
        mean: taken off the pixels, RGB, 0 to 255.
        std: what they are divided by, in levels of 255.
        top: whether there are fully connected layers.
        errors: as published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z]+/[a-z0-9_]+$")
    net: str
    url: str = Field(pattern=r"^https?://|^hf://")
    checksum: str = Field("", pattern=r"^$|^(sha256:[0-9a-f]{8,64}|sha1:[0-9a-f]{40}|md5:[0-9a-f]{32})$")
    licence: str | None = None
    source: str
    parameters: int = Field(gt=0)
    mean: Colours
    std: Colours = (1.0, 1.0, 1.0)
    top: bool = True
    errors: tuple[Published, ...] = ()

    def provenance(self) -> dict[str, Any]:
        """What the card of a net that has these weights should say of them."""
        return {"provenance": self.model_dump(include={"url", "licence", "source", "errors"}, mode="json")}


@cache
def weight_cards() -> Sequence[WeightCard]:
    """All cards, source by source."""
    folder = files("verydeep.weights").joinpath("cards")
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".toml"):
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            shared = {key: value for key, value in table.items() if key != "weights"}
            found += [WeightCard.model_validate(shared | weights) for weights in table["weights"]]
    return tuple(found)
