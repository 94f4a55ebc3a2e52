"""Where weights are asked for: a path, a published name, a web address, or a repository of Hugging Face's hub."""

import difflib
import re
from pathlib import Path

from verydeep.errors import WeightsError
from verydeep.weights.cards import WeightCard, weight_cards
from verydeep.weights.download import Progress, download
from verydeep.weights.hub import from_hub


def names_weights(where: str | Path) -> bool:
    """Whether something that is no path asks for weights: a web address, a hub's repository, a published name."""
    text = str(where)
    return text.startswith(("hf://", "http://", "https://")) or text.lower() in {card.name for card in weight_cards()}


def find_weights(
    where: str | Path, net: str | None = None, progress: Progress | None = None
) -> tuple[Path, WeightCard | None]:
    """The file of weights that is asked for, fetched if it is not here, and its card if it is a published one.

    Args:
        where: a path; `torchvision/imagenet1k_v1` and others of `verydeep weights list`; an address, with a checksum
            behind a `#` if one is known (`https://…/some.pth#sha256:…`); `hf://owner/name`, with `@revision` and a path
            inside if need be.
        net: of the registry, where a published name has weights for several.
        progress: is told the bytes of a download.

    Raises:
        WeightsError: nothing is known by that name, or it cannot be had.
    """
    text = str(where)
    if text.startswith("hf://"):
        return from_hub(text), None
    if text.startswith(("http://", "https://")):
        url, _, checksum = text.partition("#")
        return download(url, checksum, progress), None
    path = Path(where)
    if path.exists() or not re.fullmatch(r"\w+/\w+", text):
        return path, None
    card = _card(text, net)
    return (path, None) if card is None else (_fetch(card, progress), card)


def _card(name: str, net: str | None) -> WeightCard | None:
    """The card of a published name; None if it is like none of these.

    Raises:
        WeightsError: it has none for the net, or it is only like a published one.
    """
    cards = weight_cards()
    named = [card for card in cards if card.name == name.lower()]
    chosen = [card for card in named if net in (None, card.net)]
    if len(chosen) == 1:
        return chosen[0]
    if named:
        which = f"are for {', '.join(card.net for card in named)}"
        raise WeightsError(f"{name}: {which}, not for {net}" if net else f"{name}: {which}; name one of them")
    sources = {card.name.partition("/")[0] for card in cards}
    if name.lower().partition("/")[0] in sources:
        near = difflib.get_close_matches(name.lower(), [card.name for card in cards], n=1, cutoff=0)[0]
        raise WeightsError(f"{name}: no such weights; did you mean {near}? `verydeep weights list` has them all")
    return None


def _fetch(card: WeightCard, progress: Progress | None) -> Path:
    if card.url.startswith("hf://"):
        return from_hub(card.url)
    return download(card.url, card.checksum, progress)
