"""Nets in folders and repositories of Hugging Face's kind: weights, config.json, a page that says what they are.

Nets do not need huggingface_hub; these methods do. Decision: docs/decisions/098-the-hub-by-three-methods.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verydeep.errors import WeightsError

if TYPE_CHECKING:
    from verydeep.nets.net import Net


class OnHub:
    """What makes a net one of the hub's: the three methods that its users know."""

    def save_pretrained(self, folder: str | Path, card: Mapping[str, Any] | None = None) -> None:
        """Write a folder as the hub has it; `from_pretrained`, and every command that takes a net, read it back.

        Args:
            folder: is made if it is not there; files of these names in it are replaced.
            card: what should be known of the net: data, recipe, errors, as `load_net` gives it.

        Raises:
            WeightsError: huggingface_hub is missing, or the folder cannot be written.
        """
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise WeightsError(f"{path}: is a file; name a folder")
        _hub_net(path)(self, card).save(path)

    def push_to_hub(self, repository: str, card: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Put the same into a repository of the hub, which is made if it is not there; the address of what was done.

        Args:
            repository: `owner/name`.
            card: see `save_pretrained`.
            options: of huggingface_hub: `private`, `token`, `branch`, `create_pr`, `commit_message`.

        Raises:
            WeightsError: huggingface_hub is missing, or the hub refuses.
        """
        return _hub_net(repository)(self, card).push(repository, **options)

    @classmethod
    def from_pretrained(cls, where: str | Path, **options: Any) -> "Net":
        """The net of a folder or of a repository, in eval mode; `load_net` gives its card, too.

        Args:
            where: a folder that `save_pretrained` wrote, or `owner/name`.
            options: of huggingface_hub: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`.

        Raises:
            WeightsError: huggingface_hub is missing, or there is no such net.
        """
        return _hub_net(where).load(where, **options)


def _hub_net(where: str | Path) -> Any:
    """The class that huggingface_hub works with."""
    try:
        from verydeep.nets.hub_net import HubNet
    except ImportError:
        raise WeightsError(f"{where}: huggingface_hub is missing; pip install 'verydeep[hub]'") from None
    return HubNet
