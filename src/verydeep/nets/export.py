"""A net → a file that others can use: ONNX, torch.export, torchvision's layout, or ours.

A file that computes is run at three shapes as soon as it is written, and is only kept if it says what the net says.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Real
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental import _config

from verydeep.errors import NetError, WeightsError
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import SCORE_MAP
from verydeep.nets.registry import save_net
from verydeep.nets.score_map import one_line
from verydeep.nets.torchvision_layout import torchvision_normalisation, torchvision_state, torchvisions
from verydeep.weights.files import replacing

Format = Literal["onnx", "torch-export", "torchvision", "safetensors"]
SUFFIXES: Mapping[str, Format] = {
    ".onnx": "onnx",
    ".pt2": "torch-export",
    ".pth": "torchvision",
    ".safetensors": "safetensors",
}
SAME = 1e-4  # of the largest score: sums in another order differ by less
OPEN = "RGB from 0 to 255, float32, [n, 3, h, w] with h and w of {crop} or more; mean and deviation are inside"

Run = Callable[[Tensor], tuple[Tensor, Tensor]]  # pixels → scores, score map


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        file: where.
        format: `onnx`, `torch-export`, `torchvision` or `safetensors`.
        takes: what goes in.
        gives: what comes out.
        difference: the largest to the net's own scores, as a fraction of the largest score; None where nothing runs.
    """

    file: str
    format: Format
    takes: str
    gives: str
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def export_net(net: Net, path: str | Path, to: str | None = None, card: Mapping[str, Any] | None = None) -> Export:
    """Write a net to a file that others can use.

    - `onnx` and `torch-export` take pictures of any number and size, and give `scores` [n, k], averaged over positions
      (those of a crop have one), and `score_map` [n, k, u, v].
    - `torchvision` is the state dict of torchvision's net of the same layers, without side heads.
    - `safetensors` is our own file, which every command takes.

    Args:
        net: in eval mode; `fold` it first if its batch normalisation is to go.
        path: of the file.
        to: the format; by default that of the suffix: `.onnx`, `.pt2`, `.pth` or `.safetensors`.
        card: what else should be known of it: data, recipe, errors.

    Raises:
        NetError: the format cannot hold the net, or the file does not say what the net says; then nothing is written.
        WeightsError: the file cannot be written.
    """
    path = Path(path)
    formats: dict[str | None, Format] = {each: each for each in get_args(Format)}
    names = ", ".join(get_args(Format))
    if to is None and path.suffix not in SUFFIXES:
        raise NetError(f"{path}: of which format? end it in {', '.join(SUFFIXES)}, or name one of {names}")
    if to is not None and to not in formats:
        raise NetError(f"{path}: {to!r} is not a format; use one of {names}")
    if not path.parent.is_dir():
        raise WeightsError(f"{path}: {path.parent} is not a folder; make it first")
    form = SUFFIXES[path.suffix] if to is None else formats[to]
    if any(module.training for module in net.modules()):
        raise NetError(f"{net.name}: is in training mode, with dropout; call its eval() before it is exported")
    reason = getattr(net, "no_score_map", "")
    if reason and form in ("onnx", "torch-export"):
        raise NetError(f"{net.name}: has no score map, since {reason}, and such a file gives one; use safetensors")
    if form == "safetensors":
        save_net(path, net, card)
        return Export(str(path), form, "loaded by verydeep", "a net with its card")
    with replacing(path) as partial:
        if form == "torchvision":
            return _to_torchvision(net, path, partial)
        write = _to_onnx if form == "onnx" else _to_torch_export
        try:
            run = write(net, partial, _card(net, card))
        except (RuntimeError, ValueError) as error:  # of torch's exporters, which have many kinds
            raise NetError(f"{path}: {net.name} cannot be exported ({one_line(error)})") from error
        difference = _difference(net, run, path)
    size = f"{net.crop} × {net.crop}"
    gives = f"scores [n, {len(net.classes)}], one row a picture, and score_map, one cell for {size} px"
    return Export(str(path), form, OPEN.format(crop=net.crop), gives, difference)


class Both(nn.Module):
    """What a file computes: scores, averaged over positions, and their map."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Real[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k u v"]]:
        """Scores and score map of pictures of any size of at least the crop."""
        score_map = self.net.scores(pixels)
        return score_map.mean(dim=(2, 3)), score_map


def _to_onnx(net: Net, partial: Path, card: str) -> Run:
    """Write an ONNX file, and a function that runs it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise NetError(f"{net.name}: {error.name} is missing; pip install 'verydeep[onnx]'") from None
    with any_size():
        program = torch.onnx.export(
            Both(net).eval(),
            **_traced(net),
            dynamo=True,
            input_names=["pixels"],
            output_names=["scores", SCORE_MAP],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props["verydeep"] = card
    program.save(partial, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(partial, options, providers=["CPUExecutionProvider"])

    def run(pixels: Tensor) -> tuple[Tensor, Tensor]:
        scores, score_map = session.run(None, {"pixels": pixels.cpu().numpy()})
        return torch.from_numpy(scores), torch.from_numpy(score_map)

    return run


def _to_torch_export(net: Net, partial: Path, card: str) -> Run:
    """Write an exported program, and a function that runs it."""
    with any_size():
        program = torch.export.export(Both(net).eval(), **_traced(net))
    with partial.open("wb") as file:  # whose name torch would want to end in .pt2
        torch.export.save(program, file, extra_files={"verydeep.json": card})
    with partial.open("rb") as file:
        run: Run = torch.export.load(file).module()
    return run


def _to_torchvision(net: Net, path: Path, partial: Path) -> Export:
    """Write a state dict of torchvision's."""
    state = {name: tensor.cpu().contiguous() for name, tensor in torchvision_state(net).items()}
    if path.suffix == ".safetensors":
        save_file(state, partial, metadata={"format": "pt"})
    else:
        torch.save(state, partial)
    mean, std = (tuple(round(value, 6) for value in values) for values in torchvision_normalisation(net))
    options = {"num_classes": len(net.classes), **torchvisions(net).options}
    made = f"{torchvisions(net).name}({', '.join(f'{name}={value}' for name, value in options.items())})"
    takes = f"RGB from 0 to 1, then Normalize(mean={mean}, std={std})"
    return Export(str(path), "torchvision", takes, f"scores [n, {len(net.classes)}], of torchvision.models.{made}")


def _card(net: Net, card: Mapping[str, Any] | None) -> str:
    """What `load_net` reads back of a file that takes pixels as ours do, and all else that is known of it."""
    inside = {"net": net.name, "crop": net.crop, "classes": list(net.classes)}
    return json.dumps({**(card or {}), **inside, "mean": 0, "std": 1, "value_range": 255, "channel_order": "rgb"})


def shapes(crop: int) -> tuple[tuple[int, int, int], ...]:
    """Number, height and width of the pictures that a file is tried with: a crop, and larger ones, wide and high."""
    return (1, crop, crop), (2, crop + crop // 3 + 1, crop + crop // 2 + 3), (3, 2 * crop + 5, crop + 1)


def _difference(net: Net, run: Run, path: Path) -> float:
    """The largest difference of what a file says to what the net says, as a fraction of the largest score.

    Raises:
        NetError: it is more than rounding.
    """
    largest = 0.0
    for shape in shapes(net.crop):
        pixels = _noise(net, *shape)
        with torch.no_grad():
            due = net.score_map(pixels)
            found = run(pixels)
        for ours, theirs in zip((due.mean(dim=(2, 3)), due), found, strict=True):
            if ours.shape != theirs.shape:
                raise NetError(f"{path}: gives {list(theirs.shape)} where the net gives {list(ours.shape)}; not kept")
            difference = float((ours - theirs.to(ours)).abs().max() / ours.abs().max())
            if not difference <= SAME:
                size = f"{shape[2]} × {shape[1]} px"
                raise NetError(f"{path}: differs from the net by {difference:.1e} of its scores at {size}; not kept")
            largest = max(largest, difference)
    return largest


def _noise(net: Net, number: int, height: int, width: int) -> Float[Tensor, "n 3 h w"]:
    """Pictures of noise, whole numbers from 0 to 255."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (number, 3, height, width), generator=generator)
    return pixels.to(net.mean.device, torch.float32)


def _traced(net: Net) -> dict[str, Any]:
    """What torch's exporters are to trace with: pictures whose number, height and width stand for any others."""
    sides = {axis: Dim(name, min=net.crop) for axis, name in ((2, "height"), (3, "width"))}
    return {"args": (_noise(net, *shapes(net.crop)[1]),), "dynamic_shapes": {"pixels": {0: Dim("n"), **sides}}}


def any_size() -> AbstractContextManager[None]:
    """Without this torch takes it that no axis is ever of length 1, and a crop's score map is.

    Decision: docs/decisions/096-what-is-exported.md.
    """
    return _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # made at run time
