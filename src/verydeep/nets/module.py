"""The module that computes a layer."""

from torch import nn

from verydeep.nets.convolution import Convolution
from verydeep.nets.dropout import ChannelDropout, Dropout
from verydeep.nets.fully_connected import FullyConnected
from verydeep.nets.layers import Layer
from verydeep.nets.local_response import LocalResponseNorm, NormaliseWithin
from verydeep.nets.normalisation import Normalisation
from verydeep.nets.pool import Pool
from verydeep.nets.pyramid import Pyramid
from verydeep.nets.times import Times

RESPONSES = {  # size, alpha, beta and k of local response normalisation, by reading; torch divides alpha by the size
    "paper": (5, 5 * 1e-4, 0.75, 2.0),  # which does not. Source: Krizhevsky et al. 2012, section 3.3
    "caffe": (5, 1e-4, 0.75, 1.0),  # which does. Source: Caffe's bvlc_alexnet and bvlc_googlenet
}


def module(layer: Layer, dropout: float) -> nn.Module:
    """The module of a layer; none works in place, so that named layers stay what they were."""
    match layer.kind:
        case "conv":
            return Convolution(
                layer.inputs,
                layer.outputs,
                layer.kernel,
                layer.stride,
                layer.padding,
                groups=layer.groups,
                bias=layer.bias,
                fixed=layer.fixed,
            )
        case "norm":
            return Normalisation(layer.outputs, layer.epsilon, layer.momentum, learns_scale=layer.learns_scale)
        case "relu":
            return nn.LeakyReLU(layer.slope) if layer.slope else nn.ReLU()
        case "gelu":
            return nn.GELU()
        case "times":
            return Times(layer.factor)
        case "lrn" if layer.reading == "within":
            return NormaliseWithin()
        case "lrn":
            return LocalResponseNorm(*RESPONSES[layer.reading])
        case "pool":
            return Pool(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil)
        case "mean":
            return nn.AvgPool2d(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil)
        case "pyramid":
            return Pyramid(layer.levels, layer.kernel)
        case "join":
            return nn.Identity()
        case "fc":
            return FullyConnected(layer.inputs, layer.outputs, layer.kernel, bias=layer.bias)
        case "dropout":
            return Dropout(dropout * layer.share)
        case "drop-channels":
            return ChannelDropout(dropout * layer.share)
