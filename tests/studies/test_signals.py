import numpy as np
import pytest
import torch
from torch.nn import functional as F

from verydeep.data.open import open_dataset
from verydeep.data.training_views import TrainingViews
from verydeep.data.uses import generator
from verydeep.nets.registry import create_net
from verydeep.studies.signals import signals


def test_signals_are_those_of_hooks_on_a_backward_pass(digits):
    data = open_dataset(digits, split="val")
    net = create_net("vgg-a", width=0.03, crop=32, hidden=16, classes=data.classes, start="he")
    views = TrainingViews(32, (32, 40), mirror=False)
    found = signals(net, data, views)
    made = [views.make(data, index, generator(0, 0, index))[0] for index in range(40)]
    pixels = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
    kept = {}

    def keep(name):
        def hook(module, inputs, outputs):
            outputs.retain_grad()
            kept[name] = outputs

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in net.named_children() if "conv" in name]
    F.cross_entropy(net(pixels.float()), torch.from_numpy(data.labels), reduction="sum").backward()
    assert {row["layer"]: row for row in found}.keys() == kept.keys() | {"fc6", "fc7", "fc8"}
    for row in found[: len(kept)]:
        outputs = kept[row["layer"]]
        assert row["activation"] == pytest.approx(outputs.detach().pow(2).mean().sqrt().item(), rel=1e-4)
        assert row["gradient"] == pytest.approx(outputs.grad.pow(2).mean().sqrt().item(), rel=1e-4)
    for handle in handles:
        handle.remove()


def test_signals_leave_the_net_as_it_was(digits):
    data = open_dataset(digits, split="val")
    net = create_net("vgg-a", width=0.03, crop=32, hidden=16, classes=data.classes)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    signals(net, data, TrainingViews(32, (32, 32)))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_start_of_small_deviation_fades_and_hes_does_not(digits):
    data = open_dataset(digits, split="val")

    def fade(law):
        net = create_net("vgg-d", width=0.1, crop=32, hidden=32, classes=data.classes, start=law)
        found = signals(net, data, TrainingViews(32, (32, 32)))
        return found[-4]["activation"] / found[0]["activation"]  # of the last convolution

    assert fade("paper") < 1e-4
    assert 0.1 < fade("he") < 10
