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
        if not self.ceil_mode or not torch.compiler.is_exporting():
            return super().forward(maps)
        assert isinstance(self.stride, int)
        over = self.stride - 1
        return F.max_pool2d(F.pad(maps, (0, over, 0, over), value=-inf), self.kernel_size, self.stride, self.padding)
