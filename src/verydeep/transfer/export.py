"""A model → one ONNX file: rescaling, descriptors and classifier together, tried at three shapes before it is kept."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.export import Dim

from verydeep.data.dataset import UNLABELLED
from verydeep.data.pictures import Pictures
from verydeep.errors import TransferError
from verydeep.nets.export import any_size
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import TRANSFER
from verydeep.nets.score_map import one_line
from verydeep.transfer.descriptors import Way
from verydeep.transfer.layer import describing_maps
from verydeep.transfer.model import Model
from verydeep.weights.files import replacing

SAME = 0.02  # of a posterior: pixels are rounded otherwise at the borders of rescaled pictures
SHAPES = ((120, 160), (201, 150), (90, 90))  # heights and widths that a file is tried at, px, for crops up to 64


class Whole(nn.Module):
    """Posteriors of pictures that are rescaled already, once for each scale."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.nets = nn.ModuleList(model.nets)
        self.ways = model.ways
        self.scales = scales_of(model.ways)
        self.weights = nn.Buffer(torch.from_numpy(model.weights).float())
        self.shift = nn.Buffer(torch.from_numpy(model.shift).float())
        self.temperature = model.temperature

    def forward(self, *pixels: Tensor) -> Tensor:  # shapes would be compared while they stand for any
        """Posteriors n k of pictures n 3 h w, given at every scale."""
        shown = dict(zip(self.scales, pixels, strict=True))
        parts = []
        for net, way in zip(self.nets, self.ways, strict=True):
            found = [self.describe(net, shown[scale], way) for scale in way.scales]
            joined = torch.stack(found).mean(dim=0) if way.combine == "average" else torch.cat(found, dim=1)
            parts.append(nn.functional.normalize(joined))
        whole = nn.functional.normalize(torch.cat(parts, dim=1))
        scores = nn.functional.linear(whole, self.weights, self.shift)
        return (scores / self.temperature).softmax(dim=1)

    def describe(self, net: Any, pixels: Tensor, way: Way) -> Tensor:
        """The descriptor n d of one scale."""
        one = describing_maps(net, pixels, way.layer).mean((2, 3))
        return (one + describing_maps(net, pixels.flip(-1), way.layer).mean((2, 3))) / 2 if way.mirror else one


def scales_of(ways: Sequence[Way]) -> tuple[int, ...]:
    """All scales, each once."""
    return tuple(dict.fromkeys(scale for way in ways for scale in way.scales))


def export_model(model: Model, path: str | Path) -> float:
    """Write a model to an ONNX file that takes `pixels` [n, 3, h, w], RGB from 0 to 255 and of any size, as decoded.

    It gives `posteriors` [n, k]; names and classes are in its metadata. Needs the extra `onnx`.

    Args:
        model: of nets of ours.
        path: of the file.

    Returns:
        The largest difference of a posterior that was seen when the file was tried.

    Raises:
        TransferError: the model has a net that is not ours, or the file does not say what the model says.
        WeightsError: the file cannot be written.
    """
    path = Path(path)
    for net in model.nets:
        if not isinstance(net, Net):
            raise TransferError(f"{path}: {net.name} is rescaled for in another way than ours; export nets of ours")
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise TransferError(f"{path}: {error.name} is missing; pip install 'verydeep[onnx]'") from None
    whole = Whole(model).eval()
    for net in model.nets:
        net.to("cpu")
    crop = max(net.crop for net in model.nets)
    traced = [torch.zeros(2, 3, scale + 5, scale + 37) for scale in whole.scales]
    number = Dim("n")
    sides = [(Dim(f"height_{scale}", min=crop), Dim(f"width_{scale}", min=crop)) for scale in whole.scales]
    shapes = [{0: number, 2: height, 3: width} for height, width in sides]
    names = [f"pixels_{scale}" for scale in whole.scales]
    try:
        with any_size(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that names of equal axes are put together
            program = torch.onnx.export(
                whole, tuple(traced), dynamic_shapes={"pixels": tuple(shapes)}, dynamo=True, input_names=names,
                output_names=["posteriors"], verbose=False,
            )  # fmt: skip
        assert program is not None
        proto = program.model_proto
        rescale_inside(proto, names, whole.scales)
    except (RuntimeError, ValueError) as error:  # of torch's exporter, which have many kinds
        raise TransferError(f"{path}: {model.name} cannot be exported ({one_line(error)})") from error
    about = {"classes": list(model.classes), "names": dict(model.names), "ways": list(map(str, model.ways))}
    onnx.helper.set_model_props(proto, {TRANSFER: json.dumps(about)})
    with replacing(path) as partial:
        partial.write_bytes(proto.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(partial, options, providers=["CPUExecutionProvider"])
        largest = 0.0
        for picture in noise(crop):
            pixels = picture.transpose(2, 0, 1)[None].astype(np.float32)
            (found,) = session.run(None, {"pixels": pixels})
            due = model.posteriors(as_data(picture), device="cpu", data_type="float32").values
            largest = max(largest, float(np.abs(found - due).max()))
        if not largest <= SAME:
            raise TransferError(f"{path}: differs from the model by {largest:.3f} of a posterior; it was not kept")
    return largest


def rescale_inside(proto: Any, names: Sequence[str], scales: Sequence[int]) -> None:
    """Put before each input what makes it of one input for all: rescaling, as `pictures.resize` has it."""
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, int | float] = {"twice": 2, "black": 0.0, "white": 255.0}
    nodes = [
        helper.make_node("Shape", ["pixels"], ["height_width"], start=2, end=4),
        helper.make_node("ReduceMin", ["height_width"], ["short"], keepdims=1),
        helper.make_node("Mul", ["short", "twice"], ["short_twice"]),
    ]
    for name, scale in zip(names, scales, strict=True):
        constants[f"{name}_scale"] = 2 * scale
        nodes += [
            helper.make_node("Mul", ["height_width", f"{name}_scale"], [f"{name}_longer"]),
            helper.make_node("Add", [f"{name}_longer", "short"], [f"{name}_half_up"]),
            helper.make_node("Div", [f"{name}_half_up", "short_twice"], [f"{name}_sides"]),
            helper.make_node(
                "Resize",
                ["pixels", "", "", f"{name}_sides"],
                [f"{name}_resized"],
                mode="linear",
                antialias=1,
                axes=[2, 3],
                coordinate_transformation_mode="half_pixel",
            ),
            helper.make_node("Round", [f"{name}_resized"], [f"{name}_rounded"]),
            helper.make_node("Clip", [f"{name}_rounded", "black", "white"], [name]),
        ]
    graph = proto.graph
    for key, value in constants.items():
        array = np.array(value, np.float32) if isinstance(value, float) else np.array([value], np.int64)
        graph.initializer.append(numpy_helper.from_array(array, key))
    old = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *old])
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "height", "width"]))


def noise(crop: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Pictures of several shapes, without sharp edges."""
    generator = np.random.default_rng(0)
    pictures = []
    for height, width in SHAPES:
        factor = max(1, -(-crop // 64))
        cells = torch.from_numpy(generator.uniform(0, 255, (1, 3, 6, 8)).astype(np.float32))
        large = nn.functional.interpolate(cells, (factor * height, factor * width), mode="bilinear")
        pictures.append(large[0].permute(1, 2, 0).round().byte().numpy())
    return pictures


def as_data(picture: UInt8[np.ndarray, "_ _ 3"]) -> Pictures:
    """One picture as a data set."""
    return Pictures(kind="arrays", root=Path("noise"), split="all", classes=(), names={}, images=("noise",),
                    labels=np.array([UNLABELLED]), pictures=(picture,))  # fmt: skip
