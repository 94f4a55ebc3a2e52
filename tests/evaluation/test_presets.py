import numpy as np
import pytest
import torch
from PIL import Image

import verydeep

pytestmark = pytest.mark.slow

SHAPES = [(500, 375), (375, 500), (224, 224), (333, 1001), (97, 131), (60, 61), (1201, 250), (231, 229), (300, 299)]
SHAPES += [(640, 427), (480, 640), (350, 351)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of odd shapes, by class: smooth shapes under noise, so that filters differ in what they make of them."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for place, (height, width) in enumerate(SHAPES):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height))
        fine = generator.integers(-40, 41, (height, width, 3))
        pixels = np.clip(np.asarray(coarse).astype(int) + fine, 0, 255).astype(np.uint8)
        path = root / "val" / "n01440764" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def by_torchvision(net):
    from torchvision import models

    return models.get_model_weights(net.name.removeprefix("torchvision:")).DEFAULT.transforms()


def by_timm(net):
    from timm.data import create_transform, resolve_model_data_config

    return create_transform(**resolve_model_data_config(net.module), is_training=False)


def liven(module, pictures):
    """Change random weights, under which deep nets say the same of every picture, until they tell these apart."""
    *_, last = (part for part in module.modules() if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    module.train()(pictures)
    seen = []
    hook = last.register_forward_hook(lambda part, inputs, scores: seen.append(scores.transpose(0, 1).flatten(1)))
    module.eval()(pictures)
    hook.remove()
    mean = seen[0].mean(1)
    scale = 3 / (seen[0] - mean[:, None]).std()
    last.bias.sub_(mean).mul_(scale)
    last.weight.mul_(scale)


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("torchvision:squeezenet1_1", by_torchvision),  # bilinear, 256
        ("torchvision:efficientnet_b1", by_torchvision),  # bilinear, crop 240 of 255
        ("timm:resnet10t", by_timm),  # bicubic, crop 176 of 201
        ("timm:test_vit", by_timm),
    ],
)
@torch.no_grad()
def test_centre_crop_by_a_nets_own_preset_gives_the_same_five_best(name, transform, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    net, _ = verydeep.load_net(name)
    data = verydeep.open_dataset(folder)
    prepare = transform(net)
    pictures = torch.stack([prepare(Image.open(folder / image).convert("RGB")) for image in data.images])
    liven(net.module, pictures)
    found = verydeep.posteriors(net, data, "centre", device="cpu")
    theirs = net.module(pictures).softmax(1)
    np.testing.assert_allclose(found.values, theirs.numpy(), rtol=1e-3, atol=1e-6)
    for place in range(len(data)):
        assert [key for key, _ in found.best(place)] == [net.classes[k] for k in theirs[place].topk(5).indices]
    assert len({found.best(place)[0][0] for place in range(len(data))}) > 1  # or else it would show little


def test_a_wrapped_net_is_tested_by_every_protocol_in_one_table(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    net, _ = verydeep.load_net("torchvision:squeezenet1_1")
    data = verydeep.open_dataset(folder).subset(range(2))
    table = verydeep.evaluate(net, data, ["centre", "dense", "ten-crop"], device="cpu")
    assert [row["protocol"] for row in table.rows] == ["centre@256", "dense@256", "ten-crop@256"]
