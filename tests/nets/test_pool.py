import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim

from verydeep.nets.pool import Pool, pays


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


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    layout=st.sampled_from([torch.channels_last, torch.preserve_format]),
)
def test_a_pool_of_bfloat16_gives_what_torchs_gives_whether_it_is_trained_or_not(height, width, layout):
    maps = torch.randn(2, 8, height, width).bfloat16().contiguous(memory_format=layout)
    maps[0, 0, 1, 1] = float("nan")
    due = nn.MaxPool2d(2)(maps)
    trained = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    for found in (Pool(2, 2)(maps), Pool(2, 2)(trained)):
        torch.testing.assert_close(found, due, rtol=0, atol=0, equal_nan=True)
        assert found.stride() == due.stride()
    assert not pays(trained)


def test_pools_of_other_windows_are_torchs():
    maps = torch.randn(1, 8, 9, 9).bfloat16().contiguous(memory_format=torch.channels_last)
    assert pays(maps)
    assert not pays(maps.float())
    for options in (
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2, "dilation": 2},
    ):
        assert Pool(**options)(maps).equal(nn.MaxPool2d(**options)(maps))
