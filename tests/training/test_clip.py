"""Filters that are too large, and only those, are scaled down to the limit."""

import torch

from verydeep.nets.registry import create_net
from verydeep.training.clip import clip_filters


def test_large_filters_get_the_limit_and_the_others_stay():
    net = create_net("zfnet", num_classes=3, width=0.1, crop=64, start="he")
    with torch.no_grad():
        net.conv1.weight[2] *= 100
    before = {name: value.clone() for name, value in net.state_dict().items()}
    clip_filters(net, 0.5)
    assert any("fc" in name for name in before)
    for name, value in net.state_dict().items():
        for found, was in zip(value, before[name], strict=True) if value.dim() == 4 else [(value, before[name])]:
            size = was.square().mean().sqrt()
            clipped = name.startswith("conv") and value.dim() == 4 and size > 0.5
            torch.testing.assert_close(found, was * (0.5 / size) if clipped else was)
    assert not torch.equal(net.conv1.weight[2], before["conv1.weight"][2])
    clip_filters(net, 0.0)


def test_a_recipe_clips_after_every_step(small, ready):
    from verydeep.training.loop import train_epochs

    recipe = small(regularisation={"filter_clip": 0.05})
    state, feed, compute = ready(recipe)
    steps = train_epochs(state, feed, lambda net: {"top1_error": 0.5}, recipe, compute)
    next(steps)
    for layer in state.net.plan:
        if layer.kind == "conv":
            sizes = state.net.get_parameter(f"{layer.name}.weight").square().mean(dim=(1, 2, 3)).sqrt()
            assert sizes.max() <= 0.05 * (1 + 1e-5)
