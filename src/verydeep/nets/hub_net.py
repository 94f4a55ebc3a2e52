"""A net as huggingface_hub takes it, and the page that stands beside it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin

from verydeep.errors import WeightsError
from verydeep.nets.net import Net
from verydeep.nets.registry import load_own_net, save_net
from verydeep.nets.score_map import one_line
from verydeep.weights.hub import hub_file

FILE = "net.safetensors"  # as in a run's folder, so that a command takes the one as the other


class HubNet(ModelHubMixin):  # type: ignore[misc]  # the extra may not be here
    """A net on its way to the hub or from it.

    Args:
        module: the net.
        known: its card.
    """

    def __init__(self, module: Net, known: Mapping[str, Any] | None) -> None:
        self.module, self.known = module, dict(known or {})

    def save(self, folder: Path) -> None:
        """Write a folder."""
        with _in_one_line(folder):
            (folder / "README.md").unlink(missing_ok=True)  # or else the page of another net would stay
            self.save_pretrained(folder, config=self.config)

    def push(self, repository: str, **options: Any) -> str:
        """Write a repository."""
        with _in_one_line(repository):
            try:
                address: str = self.push_to_hub(repository, config=self.config, **options)
            except RuntimeError as error:  # of a file; why, is its cause
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from None
                raise
        return address

    @classmethod
    def load(cls, where: str | Path, **options: Any) -> Net:
        """Read a folder or a repository."""
        with _in_one_line(where):
            net: Net = cls.from_pretrained(where, **options)
        return net

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says, for those who look at it there; the file of weights says it, too."""
        net = self.module
        sizes = {"crop": net.crop, "width": net.width, "num_classes": len(net.classes)}
        return {"library": "verydeep", "architecture": net.name, **sizes}

    def _save_pretrained(self, save_directory: Path) -> None:
        save_net(save_directory / FILE, self.module, self.known)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Net:
        if Path(model_id).is_dir():
            return load_own_net(model_id)[0]
        known = ("revision", "cache_dir", "force_download", "token", "local_files_only")
        asked = {name: options[name] for name in known if name in options}
        return load_own_net(hub_file(model_id, FILE, **asked))[0]

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The page: what the net knows, by which protocol how often it errs, how to use it."""
        return ModelCard("\n".join(page(self.module, self.known)) + "\n")


def page(net: Net, card: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the page of a net with a card."""
    yield from ("---", "library_name: verydeep", "pipeline_tag: image-classification", "tags:", f"- {net.name}", "---")
    yield from ("", f"# {net.name}, {len(net.classes):,} classes", "")
    yield f"Trained on {card.get('data', 'data that its card does not name')}. Crop {net.crop} px, width {net.width:g}"
    yield "of the published channels."
    if terms := card.get("terms"):
        yield from ("", f"Terms: {terms}.")
    if provenance := card.get("provenance"):
        yield from ("", f"Weights of {provenance.get('source', provenance.get('url'))}, {provenance.get('licence')}.")
    yield from ("", "## Errors", "")
    rows = card.get("errors") or ()
    if rows:
        yield "| data | split | protocol | images | top-1 error, % | top-5 error, % |"
        yield "| --- | --- | --- | --: | --: | --: |"
    else:
        yield "Not measured: `verydeep evaluate` does."
    for row in rows:
        what = " | ".join(str(row.get(key, "")) for key in ("data", "split", "protocol"))
        yield f"| {what} | {row['images']:,} | {100 * row['top1_error']:.1f} | {100 * row['top5_error']:.1f} |"
    yield from ("", "## Use", "", "```python", "import verydeep", "")
    yield from ('net, card = verydeep.load_net("hf://OWNER/NAME")  # or a folder with these files', "```")


@contextmanager
def _in_one_line(where: str | Path) -> Iterator[None]:
    """What huggingface_hub raises as an error of ours."""
    try:
        yield
    except (OSError, ValueError) as error:  # as all of that library's are
        raise WeightsError(f"{where}: {one_line(error)}; see to its name and the network") from error
