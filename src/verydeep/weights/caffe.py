"""Caffe's weights (`.caffemodel`): messages of layers with blobs of numbers, for pixels in the order BGR.

Both kinds of layer messages are read, and all that is needed stands in them: no prototxt is asked for.
"""

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import NO_STD, VGG_MEAN, Colours, Found, Step, as_windows, check_names
from verydeep.weights.protobuf import Message, floats, messages, packed, read_message, text, varints


@dataclass(frozen=True)
class Fields:
    """The numbers of a layer message's fields. Source: src/caffe/proto/caffe.proto of BVLC/caffe."""

    name: int
    blobs: int
    convolution: int
    pooling: int
    response: int
    transform: int


V1, V2 = 2, 100  # the fields of NetParameter that hold layers
LAYERS = {
    V1: Fields(name=4, blobs=6, convolution=10, pooling=19, response=18, transform=36),
    V2: Fields(name=1, blobs=7, convolution=106, pooling=121, response=118, transform=100),
}
V0 = 1  # the field of V1's layers that holds older ones
SHAPE, DIM, DATA, DOUBLE_DATA = 7, 1, 5, 8  # of BlobProto and its BlobShape
NUM, WIDTH = 1, 4  # of BlobProto, before it had a shape: num, channels, height, width
MEAN_VALUE = 5  # of TransformationParameter
SIDE_HEADS = ("loss1/", "loss2/")  # of GoogLeNet, for training only

ALEXNET_MEAN: Colours = (122.6789143, 116.6687676, 104.0069879)  # of the mean image. Source: Caffe's 00-classification
GOOGLENET_MEAN: Colours = (123.0, 117.0, 104.0)  # Source: models/bvlc_googlenet/train_val.prototxt of BVLC/caffe


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a file.

    Attributes:
        name: as the file has it.
        blobs: weights and biases, of single precision.
        steps: what it does, where it is one of a net's steps and that is stated.
        mean: BGR, 0 to 255, of a layer of data.
    """

    name: str
    blobs: tuple[Float[np.ndarray, "..."], ...]
    steps: tuple[Step, ...]
    mean: tuple[float, ...]


def read_caffe(path: Path) -> Found:
    """The weights of a `.caffemodel`, as for pixels in the order RGB.

    Raises:
        WeightsError: it is damaged, of V0's layers, or of a net that is not here.
    """
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        layers = tuple(_layers(content, path))
    except ValueError as error:
        raise WeightsError(f"{path}: is not a whole file of weights ({error}); copy it again") from None
    tensors: dict[str, Tensor] = {}
    channels = 3
    inception = any(layer.name.startswith("inception_") for layer in layers)
    for layer in layers:
        if layer.blobs and not layer.name.startswith(SIDE_HEADS):
            weight, *bias = (torch.from_numpy(blob) for blob in layer.blobs)
            if not tensors and weight.dim() == 4:
                weight = weight.flip(1)  # BGR → RGB
            if weight.dim() == 2 and inception:
                weight = weight[:, :, None, None]  # after a mean over the whole map
            elif weight.dim() == 2:
                weight = as_windows(weight, channels, f"{path}: {layer.name}")
            channels = weight.shape[0]
            tensors[f"{layer.name}.weight"] = weight
            if bias:
                tensors[f"{layer.name}.bias"] = bias[0]
    if not tensors:
        raise WeightsError(f"{path}: is not a file of weights of a kind that is known here; see docs/weights.md")
    mean = _mean(layers, GOOGLENET_MEAN if inception else VGG_MEAN)
    grouped = {"conv1.weight", "conv2.weight"} <= tensors.keys() and (
        tensors["conv2.weight"].shape[1] * 2 == tensors["conv1.weight"].shape[0]
    )
    if grouped:
        if _comes_before("pool1", "norm1", layers):
            raise WeightsError(f"{path}: is CaffeNet, which normalises after pooling; that net is not here, AlexNet is")
        mean = _mean(layers, ALEXNET_MEAN)
    return Found("caffe", tensors, mean, NO_STD, tuple(step for layer in layers for step in layer.steps))


def _layers(content: memoryview, path: Path) -> Iterator[CaffeLayer]:
    net = read_message(content)
    for number, fields in LAYERS.items():
        for message in messages(net, number):
            if number == V1 and V0 in message:
                raise WeightsError(f"{path}: has layers of Caffe's first kind; upgrade it with Caffe's own tool")
            name = text(message, fields.name)
            check_names([name], str(path))
            steps = [
                *(_convolution(parameters) for parameters in messages(message, fields.convolution)),
                *(_pool(parameters) for parameters in messages(message, fields.pooling)),
                *(_response(parameters) for parameters in messages(message, fields.response)),
            ]
            yield CaffeLayer(
                name,
                tuple(_blob(blob, f"{path}: {name}") for blob in messages(message, fields.blobs)),
                tuple(steps),
                tuple(mean for data in messages(message, fields.transform) for mean in floats(data, MEAN_VALUE)),
            )


def _convolution(parameters: Message) -> Step:
    """Kernel, stride, padding and groups of a ConvolutionParameter."""
    kernel, stride = _last(parameters, 4, 11), _last(parameters, 6, 13, default=1)
    return "conv", kernel, stride, _last(parameters, 3, 9), _last(parameters, 5, default=1)


def _pool(parameters: Message) -> Step:
    """Kernel, stride and padding of a PoolingParameter."""
    kind = "mean" if _last(parameters, 1) else "pool"
    return kind, _last(parameters, 2, 5), _last(parameters, 3, 7, default=1), _last(parameters, 4, 9)


def _response(parameters: Message) -> Step:
    """Size, alpha, beta and k of an LRNParameter."""
    kind = "lrn within a channel" if _last(parameters, 4) else "lrn"
    alpha, beta, k = (
        float(f"{(floats(parameters, field) or (usual,))[-1]:.6g}") for field, usual in ((2, 1.0), (3, 0.75), (5, 1.0))
    )
    return kind, _last(parameters, 1, default=5), alpha, beta, k


def _last(parameters: Message, *numbers: int, default: int = 0) -> int:
    """The whole number in the first of some fields that is there."""
    return next((varints(parameters, number)[-1] for number in numbers if number in parameters), default)


def _blob(blob: Message, where: str) -> Float[np.ndarray, "..."]:
    """The numbers of a blob in its shape; of an older file, without the sides of 1 that biases and matrices have there.

    Raises:
        WeightsError: it has not as many numbers as its shape says.
    """
    shape: tuple[int, ...]
    if SHAPE in blob:
        shape = tuple(side for dims in messages(blob, SHAPE) for side in varints(dims, DIM))
    else:
        shape = tuple((varints(blob, side) or (0,))[-1] for side in range(NUM, WIDTH + 1))
    kind, encoded = ("<f4", packed(blob, DATA)) if DATA in blob else ("<f8", packed(blob, DOUBLE_DATA))
    size = np.dtype(kind).itemsize
    if math.prod(shape) * size != len(encoded):
        sides = "×".join(map(str, shape))
        raise WeightsError(f"{where} says that it is {sides} and holds {len(encoded) // size} numbers; copy it again")
    if SHAPE not in blob and shape[:2] == (1, 1):
        shape = shape[3:] if shape[2] == 1 else shape[2:]
    return np.frombuffer(encoded, kind).astype(np.float32).reshape(shape)


def _mean(layers: Sequence[CaffeLayer], usual: Colours) -> Colours:
    """What is taken off, RGB: what a layer of data says, or what is usual."""
    for layer in layers:
        if len(layer.mean) == 3:
            blue, green, red = layer.mean
            return red, green, blue
    return usual


def _comes_before(first: str, second: str, layers: Sequence[CaffeLayer]) -> bool:
    names = [layer.name for layer in layers]
    return first in names and second in names and names.index(first) < names.index(second)
