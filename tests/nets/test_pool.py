import pytest
import torch
from torch import nn
from torch.export import Dim

from verydeep.nets.pool import Pool


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"),
    [(3, 2, 0, True), (3, 3, 0, True), (2, 2, 0, True), (3, 1, 1, True), (2, 2, 0, False)],
)
def test_an_exported_pool_gives_what_torchs_gives_for_maps_of_any_side(kernel, stride, padding, ceil):
    sides = {2: Dim("height", min=4), 3: Dim("width", min=4)}
    pool = Pool(kernel, stride, padding, ceil_mode=ceil)
    exported = torch.export.export(pool, (torch.randn(1, 2, 9, 14),), dynamic_shapes={"maps": sides}).module()
    due = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    for height in range(4, 12):
        for width in range(4, 12):
            maps = torch.randn(1, 2, height, width)
            assert exported(maps).equal(due(maps))
            assert pool(maps).equal(due(maps))
