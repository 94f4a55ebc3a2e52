"""Files of Hugging Face's hub, in the cache that its own library keeps, each held against its checksum.

Decision: docs/decisions/131-the-hubs-checksums.md.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from verydeep.errors import WeightsError
from verydeep.weights.download import check
from verydeep.weights.timm import CONFIG

ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[^@]+))?")
FILES = ("net.safetensors", "model.safetensors", "pytorch_model.bin", "model.keras")  # looked for in this order
SHA256 = re.compile("[0-9a-f]{64}")


def from_hub(where: str) -> Path:
    """A file of weights of a repository.

    Args:
        where: `hf://owner/name`, `hf://owner/name@revision`, either with `/path/of/file` behind it.

    Raises:
        WeightsError: it cannot be had, is another than the hub says, or huggingface_hub is missing.
    """
    asked = ADDRESS.fullmatch(where)
    if not asked:
        raise WeightsError(f"{where}: is no repository; write hf://owner/name or hf://owner/name/path/of/file")
    try:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise WeightsError(f"{where}: huggingface_hub is missing; pip install 'verydeep[hub]'") from None
    for file in (asked["file"],) if asked["file"] else FILES:
        try:
            path = hub_file(asked["repo"], file, revision=asked["revision"])
            with suppress(OSError, ValueError):  # not every repository has one
                hub_file(asked["repo"], str(Path(file).with_name(CONFIG)), revision=asked["revision"])
            return path
        except LocalEntryNotFoundError as error:  # no network, and not in the cache
            missing: Exception = error
        except EntryNotFoundError as error:
            missing = error
        except (OSError, ValueError) as error:  # as all others of that library are
            raise WeightsError(f"{where}: cannot be had ({_line(error)}); see to its name and the network") from None
    files = asked["file"] or " or ".join(FILES)
    raise WeightsError(
        f"{where}: {files} cannot be had ({_line(missing)}); name a file: hf://owner/name/FILE"
    ) from None


def hub_file(repository: str, file: str, **options: Any) -> Path:
    """A file of a repository, from the cache, or fetched into it.

    Args:
        repository: `owner/name`.
        file: its path there.
        options: of huggingface_hub's `hf_hub_download`.

    Raises:
        WeightsError: its checksum is another.
        OSError, ValueError: of huggingface_hub, which must be installed.
    """
    from huggingface_hub import hf_hub_download

    return check_blob(f"hf://{repository}/{file}", Path(hf_hub_download(repository, file, **options)))


def check_blob(where: str, path: Path) -> Path:
    """A file of the cache, if it is what the cache names it by; a wrong one is removed.

    The hub names a large file by its SHA-256, and its library links to a blob of that name. It compares lengths only.

    Raises:
        WeightsError: its checksum is another.
    """
    blob = path.resolve()
    if path.is_symlink() and SHA256.fullmatch(blob.name):
        check(where, blob, f"sha256:{blob.name}")
    return path


def _line(error: Exception) -> str:
    """An error of the library, which writes pages, in a line."""
    return " ".join(str(error).split())[:120]
