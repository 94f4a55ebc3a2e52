"""Where weights are asked for: a path, a published name, a web address, or a repository of Hugging Face's hub."""

import difflib
import re
from contextlib import suppress
from pathlib import Path

from verydeep.errors import WeightsError
from verydeep.weights.cards import WeightCard, weight_cards
from verydeep.weights.download import Progress, download
from verydeep.weights.timm import CONFIG

HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[^@]+))?")
HUB_FILES = ("net.safetensors", "model.safetensors", "pytorch_model.bin", "model.keras")  # looked for in this order


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


def from_hub(where: str) -> Path:
    """A file of a repository of Hugging Face's hub, in the cache that its own library keeps.

    Args:
        where: `hf://owner/name`, `hf://owner/name@revision`, either with `/path/of/file` behind it.

    Raises:
        WeightsError: it cannot be had, or huggingface_hub is missing.
    """
    asked = HUB.fullmatch(where)
    if not asked:
        raise WeightsError(f"{where}: is no repository; write hf://owner/name or hf://owner/name/path/of/file")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise WeightsError(f"{where}: huggingface_hub is missing; pip install 'verydeep[hub]'") from None
    for file in (asked["file"],) if asked["file"] else HUB_FILES:
        try:
            path = Path(hf_hub_download(asked["repo"], file, revision=asked["revision"]))
            with suppress(OSError, ValueError):  # not every repository has one
                hf_hub_download(asked["repo"], str(Path(file).with_name(CONFIG)), revision=asked["revision"])
            return path
        except LocalEntryNotFoundError as error:  # no network, and not in the cache
            missing: Exception = error
        except EntryNotFoundError as error:
            missing = error
        except (OSError, ValueError) as error:  # as all others of that library are
            raise WeightsError(f"{where}: cannot be had ({_line(error)}); see to its name and the network") from None
    files = asked["file"] or " or ".join(HUB_FILES)
    raise WeightsError(
        f"{where}: {files} cannot be had ({_line(missing)}); name a file: hf://owner/name/FILE"
    ) from None


def _line(error: Exception) -> str:
    """An error of the library, which writes pages, in a line."""
    return " ".join(str(error).split())[:120]
