import numpy as np
import pytest
import torch
from torch.nn import functional as F

from verydeep.nets.cifar_fast import EPSILON
from verydeep.nets.registry import create_net


@pytest.fixture
def net():
    net = create_net("cifar-fast", width=0.1, start="own", seed=4)
    net.mean.fill_(120)
    net.std.fill_(60)
    return net


def smooth_crops(count=60):
    """Pictures in which neighbours are alike, as they are in photographs."""
    noise = torch.rand(count, 3, 34, 34, generator=torch.Generator().manual_seed(0))
    return (255 * F.avg_pool2d(noise, 3, 1)).to(torch.uint8)


def test_whitened_patches_are_uncorrelated_and_of_variance_one(net):
    crops = smooth_crops()
    net.whiten([crops[:20], crops[20:]])
    normalised = ((crops.float() - 120) / 60).double().numpy()
    patches = np.stack([normalised[:, :, y : y + 31, x : x + 31] for y in (0, 1) for x in (0, 1)], axis=2)
    patches = patches.transpose(0, 3, 4, 1, 2).reshape(-1, 12)  # colours, then rows, then columns
    filters = net.conv0.weight.double().numpy().reshape(24, 12)
    assert np.allclose(filters[:12], -filters[12:])
    found = patches @ filters[:12].T
    products = found.T @ found / len(found)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    np.testing.assert_allclose(products, np.diag(variances / (variances + EPSILON)), atol=1e-4)


def test_the_whitening_layer_is_kept_but_not_trained(net):
    assert "conv0.weight" not in dict(net.named_parameters())
    assert "conv0.bias" in dict(net.named_parameters())
    assert "conv0.weight" in net.state_dict()


def test_filters_hand_their_inputs_on_at_the_start(net):
    maps = torch.rand(2, 24, 9, 9)
    torch.testing.assert_close(net.conv1_1(maps)[:, :6], maps[:, :6])
    inner = torch.rand(2, 6, 9, 9)
    torch.testing.assert_close(net.conv1_2(inner), inner)
    assert net.conv2_1.weight[6:].std() > 0.01


def test_normalisations_learn_a_shift_alone(net):
    assert [name for name, _ in net.norm1_1.named_parameters()] == ["bias"]
    maps = 5 + 3 * torch.rand(50, 6, 8, 8)
    found = net.norm1_1.train()(maps)
    assert found.mean().abs() < 1e-5
    assert found.std().item() == pytest.approx(1, abs=1e-3)


def test_scores_are_a_ninth_of_what_the_last_layer_gives(net):
    pixels = smooth_crops(3)
    *_, (before, inner), (name, scores) = list(net.maps(pixels))[-2:]
    assert (before, name) == ("fc5", "times5")
    torch.testing.assert_close(scores, inner / 9)
    torch.testing.assert_close(net(pixels), scores.flatten(1))
