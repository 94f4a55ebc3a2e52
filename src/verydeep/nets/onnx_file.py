"""Nets in ONNX files, run by onnxruntime.

What a file's metadata says of the net is believed: under the key `verydeep` a JSON object with any of `classes`,
`mean`, `std`, `value_range`, `channel_order`, `crop`, `smallest_side` and `interpolation`. Where it leaves out what
matters, the card says what was taken instead.
"""

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import NetError
from verydeep.nets.score_map import one_line
from verydeep.nets.wrap import Wrapped, wrap
from verydeep.pictures.preset import OURS, PillowPreset

TYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype("float32"),
    "tensor(float16)": np.dtype("float16"),
    "tensor(double)": np.dtype("float64"),
}
TRANSFER = "verydeep-transfer"  # the key of what `verydeep transfer --onnx` has written
SCORE_MAP = "score_map"  # the output that is taken of several: our own files give both scores and their map
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "value_range": 1.0}  # most nets', RGB


class Metadata(BaseModel):
    """What a file says of its net; other keys are free."""

    model_config = ConfigDict(frozen=True)
    classes: Sequence[str] | None = None
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] = 1.0
    value_range: float = 255
    channel_order: Literal["rgb", "bgr"] = "rgb"
    crop: int | None = Field(None, ge=1)
    smallest_side: int | None = Field(None, ge=1)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] | None = None


def onnx_net(path: Path) -> tuple[Wrapped, dict[str, Any]]:
    """The net of an ONNX file from pictures, n 3 h w or n h w 3, to scores, and its card.

    Raises:
        NetError: onnxruntime is not installed, or the file is missing, damaged, or of something else.
    """
    module = OnnxFile(path)
    known, names = module.metadata()
    crop = module.side or known.crop or 224
    remarks = []
    normalisation: dict[str, Any] = {"mean": known.mean, "std": known.std, "value_range": known.value_range}
    if known.mean is None:
        normalisation = IMAGENET
        remarks.append(f"{path}: names no mean; took ImageNet's mean and deviation, of values from 0 to 1")
    given = module.try_out(crop)
    classes = known.classes or names or [str(place) for place in range(given.shape[1])]
    if not (known.classes or names) and len(classes) == len(ilsvrc_names()):
        classes = list(ilsvrc_names())
        remarks.append(f"{path}: names no classes; took its 1000 for ILSVRC-2012's in the order of the wnids")
    if (given >= 0).all() and given.shape[1] > 1 and bool(((given.sum(1) - 1).abs() < 1e-3).all()):
        module.posteriors = True
        remarks.append(f"{path}: ends in a soft-max; took the logarithm of what it gives")
    preset = OURS
    if known.interpolation:
        preset = PillowPreset(path.name, known.smallest_side, interpolation=known.interpolation)
    net = wrap(
        module,
        classes=classes,
        channel_order=known.channel_order,
        crop=crop,
        name=path.stem,
        preset=preset,
        **normalisation,
    )
    if net.no_score_map:
        net.no_score_map = "an ONNX file shows no step between pictures and scores"
    return net, {"weights": str(path), "remarks": remarks}


class OnnxFile(nn.Module):
    """The graph of a file, as a module that is run on the CPU.

    Attributes:
        side: of the pictures that it takes, px; None where any will do.
        posteriors: whether it ends in a soft-max, which is then undone but for a constant.

    Raises:
        NetError: it cannot be read, or is not from pictures to one output.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise NetError(f"{path}: onnxruntime is missing; pip install 'verydeep[onnx]'") from None
        if not path.is_file():
            raise NetError(f"{path}: no such ONNX file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each kind of damage
            raise NetError(f"{path}: is not an ONNX file that can be run ({one_line(error)}); export it anew") from None
        self.path, self.posteriors = path, False
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.sha256 = nn.Buffer(torch.tensor(list(digest), dtype=torch.uint8))  # all that there is to tell weights by
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        names = [output.name for output in outputs]
        if len(inputs) != 1 or (len(names) != 1 and SCORE_MAP not in names):
            what = f"{len(inputs)} inputs and {len(outputs)} outputs"
            raise NetError(f"{path}: has {what}, where pictures go in and scores come out; export these alone")
        self.output = SCORE_MAP if SCORE_MAP in names else names[0]
        self.input, shape = inputs[0].name, list(inputs[0].shape)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type not in TYPES:
            raise NetError(f"{path}: takes {inputs[0].type} {shape}, not pictures [n, 3, h, w]; export it for these")
        self.dtype, self.colours_last = TYPES[inputs[0].type], shape[1] != 3
        height, width = shape[1:3] if self.colours_last else shape[2:]
        self.batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        fixed = [side for side in (height, width) if isinstance(side, int) and side > 0]
        if len(set(fixed)) > 1:
            raise NetError(f"{path}: takes pictures of {height} × {width} px; only squares can be tested here")
        self.side = fixed[0] if fixed else None

    def metadata(self) -> tuple[Metadata, Sequence[str]]:
        """What the file says of its net, and the names that other exporters give its outputs.

        Raises:
            NetError: our own key holds something else than it should, or the file is no net but a transfer's model.
        """
        found: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        if TRANSFER in found:  # at a crop, and normalised, pictures would not be what its classifier was trained on
            raise NetError(
                f"{self.path}: is a model of `verydeep transfer`, which rescales pictures itself; give the folder "
                "that it was exported from, or run it by onnxruntime"
            )
        try:
            known = Metadata.model_validate_json(found.get("verydeep", "{}"))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "the whole"
            raise NetError(f"{self.path}: its metadata `verydeep`, {where}: {problem['msg']}; export it anew") from None
        return known, names_in(found.get("classes") or found.get("names") or "")

    def try_out(self, crop: int) -> Float[Tensor, "1 k"]:
        """What it gives for a grey picture.

        Raises:
            NetError: it cannot be run, or gives something else than a row or a map of numbers.
        """
        try:
            given = self(torch.zeros(1, 3, crop, crop))
        except Exception as error:  # onnxruntime has a class for each kind of failure
            raise NetError(f"{self.path}: fails on a crop of {crop} px ({one_line(error)}); export it anew") from None
        if given.dim() not in (2, 4) or not given.is_floating_point():
            raise NetError(f"{self.path}: gives {given.dtype} {list(given.shape)}, not scores [n, k]; export these")
        return given.flatten(2).mean(-1) if given.dim() == 4 else given

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Tensor:
        """Scores, in as many parts as a fixed size of batch makes needful."""
        pictures = pixels.permute(0, 2, 3, 1) if self.colours_last else pixels
        values = np.ascontiguousarray(pictures.cpu().numpy(), dtype=self.dtype)
        size = self.batch or len(values)
        parts = []
        for start in range(0, len(values), size):
            part = values[start : start + size]
            filled = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), self.dtype)])
            parts.append(self.session.run([self.output], {self.input: filled})[0][: len(part)])
        scores = torch.from_numpy(np.concatenate(parts)).to(pixels.device)
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log() if self.posteriors else scores


def names_in(text: str) -> list[str]:
    """Names of outputs in a list or in a dict by number, as JSON or as Python writes it; none where it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            names = read(text)
            if isinstance(names, dict):
                names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(names, list):
            return [str(name) for name in names]
    return []
