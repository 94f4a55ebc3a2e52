import numpy as np
import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.nagadomi import SMALLEST
from verydeep.nets.registry import create_net, read_net, save_net


@pytest.fixture
def crops():
    """Crops whose neighbours are alike."""
    noise = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(noise, scale_factor=2, mode="bilinear")
    return (255 * large).to(torch.uint8)


@pytest.fixture
def net(crops):
    net = create_net("nagadomi-zca", width=0.1, crop=16, start="own")
    net.whiten([crops[:150], crops[150:]])
    return net


def test_whitening_is_the_authors_by_numpy(net, crops):
    values = crops.flatten(1).numpy() / 255.0
    scores = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    variances, axes = np.linalg.eigh(np.cov(scores, rowvar=False))
    due = scores @ (axes / np.sqrt(np.maximum(variances, 0) + SMALLEST)) @ axes.T
    found = net.prepared(crops).flatten(1).numpy()
    np.testing.assert_allclose(found, due, atol=2e-3)
    spread = np.cov(found, rowvar=False)
    long = variances > 1
    assert np.allclose(np.diag(axes.T @ spread @ axes)[long], (variances / (variances + SMALLEST))[long], rtol=1e-2)


def test_whitened_nets_are_for_crops_alone_and_say_why(net):
    assert net(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2, 10)
    with pytest.raises(NetError, match="24 × 20 px is not its crop, 16 px: a crop is whitened as a whole"):
        net.score_map(torch.zeros(1, 3, 20, 24))


def test_the_whitening_is_saved_with_the_weights_and_counted_with_none(net, crops, tmp_path):
    save_net(tmp_path / "net.safetensors", net)
    found, _ = read_net(tmp_path / "net.safetensors")
    assert torch.equal(found(crops[:3]), net(crops[:3]))
    counts = [sum(each.numel() for each in create_net(name).parameters()) for name in ("nagadomi", "nagadomi-zca")]
    assert counts == [5_745_738] * 2
