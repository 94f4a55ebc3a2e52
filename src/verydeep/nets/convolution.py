"""The convolutions of the nets: one meaning, computed in the way that is fastest for the size at hand."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from verydeep.nets import side_by_side, winograd
from verydeep.nets.side_by_side import SideBySide
from verydeep.nets.winograd import Winograd

USUAL = ((3, 3), (1, 1), (1, 1), (1, 1), 1)  # kernel, stride, padding, dilation and groups that other ways exist for


class Convolution(nn.Conv2d):
    """A convolution; most are of stride 1 and keep the side of a map, for which there are faster ways.

    With `fixed` its weights are a buffer, which is not trained; all else is torch's.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        bias: bool = True,
        fixed: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        if fixed:
            weight = self.weight.detach()
            del self.weight
            self.register_buffer("weight", weight)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k u v"]:
        """The outputs; what is compiled or exported gets the plain operation."""
        usual = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups) == USUAL
        if not usual or maps.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(maps)
        data_type = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.weight.dtype
        if data_type == maps.dtype == torch.float32 and winograd.pays(maps, self.weight):
            return Winograd.apply(maps, self.weight, self.bias)
        if data_type == maps.dtype == torch.bfloat16 and side_by_side.pays(maps, self.weight):
            weight, bias = self.weight.to(data_type), None if self.bias is None else self.bias.to(data_type)
            return SideBySide.apply(maps, weight, bias)
        return super().forward(maps)
