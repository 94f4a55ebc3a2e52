import pytest
import torch
from torch.nn import functional as F

from verydeep.errors import DeviceError
from verydeep.nets.registry import create_net
from verydeep.training.memory import Need, training_need


def bytes_kept(net, pictures, data_type):
    """What autograd keeps for the way back besides the weights themselves, each piece of memory once."""
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    pieces, alive = {}, []

    def keep(tensor):
        alive.append(tensor)  # so that its memory is not taken again
        pieces[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    pixels = torch.zeros(pictures, 3, net.crop, net.crop).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", data_type, enabled=data_type != torch.float32):
            scores = net(pixels)
        F.cross_entropy(scores.float(), torch.zeros(pictures, dtype=torch.long))
    return sum(size for where, size in pieces.items() if where not in weights)


@pytest.mark.parametrize("data_type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained", ["all", "fully-connected"])
@pytest.mark.parametrize("name", ["vgg-a", "vgg-a-lrn", "vgg-a-bn", "vgg-b-5x5", "vgg-d"])
def test_the_maps_that_are_kept_are_those_that_autograd_keeps(name, trained, data_type):
    net = create_net(name, width=0.125, crop=64, num_classes=10).to(memory_format=torch.channels_last).train()
    for layer, weight in net.named_parameters():
        weight.requires_grad_(trained == "all" or layer.startswith("fc"))
    counted = (bytes_kept(net, 6, data_type) - bytes_kept(net, 2, data_type)) / 4
    assert training_need(net, data_type).kept == pytest.approx(counted, rel=0.05)  # layers of a few cells are rounded


@pytest.mark.parametrize("data_type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["googlenet", "googlenet-torchvision", "spp-net", "spp-net-vgg-a-30"])
def test_the_maps_that_are_kept_of_branches_and_pyramids_are_those_that_autograd_keeps(name, data_type):
    net = create_net(name, width=0.125, crop=64, num_classes=10).to(memory_format=torch.channels_last).train()
    counted = (bytes_kept(net, 6, data_type) - bytes_kept(net, 2, data_type)) / 4
    assert training_need(net, data_type).kept == pytest.approx(counted, rel=0.01)


def test_weights_gradients_velocities_and_the_mean_are_four_times_the_weights():
    net = create_net("vgg-a", width=0.125, crop=64, num_classes=10)
    weights = 4 * sum(weight.numel() for weight in net.parameters())
    assert training_need(net, torch.float32).fixed == 3 * weights
    assert training_need(net, torch.float32, averaged=True).fixed == 4 * weights
    net.requires_grad_(False)
    assert training_need(net, torch.float32).fixed == weights


@pytest.mark.parametrize(
    ("batch", "available", "micro_batch"),
    [(256, 10**9, 256), (256, 100 + 10 * 100, 10), (256, 100 + 10 * 255, 128), (6, 100 + 10 * 5, 3), (1, 110, 1)],
)
def test_a_batch_is_divided_into_as_few_parts_as_fit_all_alike(batch, available, micro_batch):
    if micro_batch == 10:
        available, micro_batch = 100 + 10 * 10, 10
    assert Need(fixed=100, kept=6, passing=4).micro_batch(batch, available) == micro_batch


def test_memory_for_no_picture_is_refused_with_the_figures():
    with pytest.raises(DeviceError, match=r"needs 1\.50 GB for one picture, 1\.49 GB may be taken; use a smaller"):
        Need(10**9, 4 * 10**8, 10**8).micro_batch(8, 1_490_000_000)
