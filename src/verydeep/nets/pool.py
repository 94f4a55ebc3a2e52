"""The pools of the nets: maxima of windows, the last of which may reach over the end of a map."""

from math import inf

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Pool(nn.MaxPool2d):
    """A pool of maxima over square windows; with `ceil_mode` no cell of a map is left out."""

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c u v"]:
        """The maxima; what is exported asks nothing about the side of the map, so that it is good for any.

        A window that reaches over the end sees there what is less than anything.
        """
        if not torch.compiler.is_compiling() and self.is_of_four() and pays(maps):
            return largest_of_four(maps)
        if not self.ceil_mode or not torch.compiler.is_exporting():
            return super().forward(maps)
        assert isinstance(self.stride, int)
        over = self.stride - 1
        return F.max_pool2d(F.pad(maps, (0, over, 0, over), value=-inf), self.kernel_size, self.stride, self.padding)

    def is_of_four(self) -> bool:
        """Whether its windows are those of nearly all of the nets: of two by two cells, none of which is in another."""
        return (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode) == (2, 2, 0, 1, False)


def pays(maps: Float[Tensor, "n c h w"]) -> bool:
    """Whether torch's own pool, which also keeps where each maximum was, is the slower one."""
    return (
        maps.dtype == torch.bfloat16
        and maps.device.type == "cpu"
        and maps.is_contiguous(memory_format=torch.channels_last)
        and not (maps.requires_grad and torch.is_grad_enabled())
    )


def largest_of_four(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h//2 w//2"]:
    """Maxima of two rows, then of two columns; the last of an odd number is left out."""
    height, width = (side // 2 * 2 for side in maps.shape[-2:])
    rows = torch.maximum(maps[:, :, 0:height:2, :width], maps[:, :, 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])
