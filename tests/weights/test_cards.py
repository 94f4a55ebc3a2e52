import re
from importlib import import_module
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
import torchvision

from verydeep.nets.registry import ALIASES, NETS, create_net
from verydeep.weights.cards import weight_cards
from verydeep.weights.found import IMAGENET_MEAN, IMAGENET_STD, VGG_MEAN
from verydeep.weights.torchvision_googlenet import HALF

CARDS = weight_cards()
THEIRS = {ours: theirs for theirs, ours in ALIASES.items() if theirs.startswith("vgg1")}
THEIRS |= {"alexnet-torchvision": "alexnet", "googlenet-torchvision": "googlenet"}


def name(card):
    return f"{card.name}-{card.net}"


def of(source):
    return pytest.mark.parametrize("card", [card for card in CARDS if card.name.startswith(source)], ids=name)


@pytest.mark.parametrize("card", CARDS, ids=name)
def test_a_card_is_of_a_net_and_names_one_file(card):
    assert card.net in NETS
    assert [name(other) for other in CARDS].count(name(card)) == 1
    assert urlparse(card.url).scheme in ("http", "https", "hf")
    assert all(found.top1_error or found.top5_error for found in card.errors)
    assert all((found.top1_error or 1) > (found.top5_error or 0) for found in card.errors)


@pytest.mark.parametrize("card", CARDS, ids=name)
def test_the_parameters_are_recounted_from_the_net(card):
    with torch.device("meta"):
        net = create_net(card.net)
    fully_connected = {layer.name for layer in net.plan if layer.kind == "fc"}
    counts = {name: parameter.numel() for name, parameter in net.named_parameters()}
    left_out = {name for name in counts if name.rpartition(".")[0] in fully_connected and not card.top}
    assert len(left_out) == (0 if card.top else 6)
    assert card.parameters == sum(counts.values()) - sum(counts[name] for name in left_out)


@of("torchvision/imagenet1k_v1")
def test_torchvisions_cards_are_its_own_lists(card):
    theirs = torchvision.models.get_model_weights(THEIRS[card.net]).IMAGENET1K_V1
    errors = {key: 1 - value / 100 for key, value in theirs.meta["_metrics"]["ImageNet-1K"].items()}
    assert card.url == theirs.url
    assert card.checksum == f"sha256:{re.search(r'-([0-9a-f]{8})[.]pth$', card.url)[1]}"
    assert card.parameters == theirs.meta["num_params"]
    assert [(found.protocol, found.top1_error, found.top5_error) for found in card.errors] == [
        ("centre@256", pytest.approx(errors["acc@1"]), pytest.approx(errors["acc@5"]))
    ]
    preset = theirs.transforms()
    assert (preset.crop_size, preset.resize_size) == ([224], [256])
    if card.net == "googlenet-torchvision":
        assert (card.mean, card.std) == (HALF, HALF)
    else:
        assert card.mean == pytest.approx([255 * value for value in preset.mean])
        assert card.std == pytest.approx([255 * value for value in preset.std])


@of("torchvision/imagenet1k_features")
def test_the_features_of_ssd_are_torchvisions(card):
    theirs = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES
    assert (card.url, card.top) == (theirs.url, False)
    assert card.mean == pytest.approx([255 * value for value in theirs.transforms().mean], abs=1e-4)
    assert card.std == pytest.approx([255 * value for value in theirs.transforms().std])


@of("timm/")
def test_timms_cards_are_its_own_list(card):
    timm = pytest.importorskip("timm")
    theirs = timm.get_pretrained_cfg(f"{THEIRS[card.net]}.tv_in1k")
    assert card.url == f"hf://{theirs.hf_hub_id}"
    assert card.licence == theirs.license
    [shown] = card.errors
    [other] = [other.errors[0] for other in CARDS if (other.name, other.net) == ("torchvision/imagenet1k_v1", card.net)]
    assert shown.top1_error == pytest.approx(other.top1_error, abs=5e-4)  # 25 of 50,000 pictures, resized by others
    assert shown.top5_error == pytest.approx(other.top5_error, abs=5e-4)
    assert card.mean == pytest.approx(IMAGENET_MEAN)
    assert card.std == pytest.approx(IMAGENET_STD)


@of("keras/")
def test_the_cards_of_keras_are_in_its_source(card, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    module = import_module(f"keras.src.applications.{THEIRS[card.net]}")
    assert card.url == (module.WEIGHTS_PATH if card.top else module.WEIGHTS_PATH_NO_TOP)
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert f'file_hash="{card.checksum.removeprefix("md5:")}"' in source
    assert card.mean == VGG_MEAN


@of("oxford/ilsvrc2014")
def test_oxfords_errors_are_those_of_the_paper(card):
    published = {found.protocol: (found.top1_error, found.top5_error) for found in card.errors}
    assert published == NETS[card.net].errors


@of("oxford/bmvc2014")
def test_the_errors_of_the_cnns_are_those_of_their_nets(card):
    published = {found.protocol: (found.top1_error, found.top5_error) for found in card.errors}
    assert published == NETS[card.net].errors


def test_every_source_of_caffe_takes_its_mean_off():
    caffe = {card.net: card.mean for card in CARDS if card.url.endswith("caffemodel")}
    cnns = {"cnn-f", "cnn-m", "cnn-m-2048", "cnn-m-1024", "cnn-m-128", "cnn-s"}
    assert caffe.keys() == {"vgg-d", "vgg-e", *cnns, "alexnet-caffe", "googlenet"}
    assert all(red > green > blue for red, green, blue in caffe.values())


def test_a_net_with_the_weights_of_a_card_says_where_they_are_from():
    [card] = [card for card in CARDS if name(card) == "bvlc/ilsvrc2012-googlenet"]
    provenance = card.provenance()["provenance"]
    assert provenance["licence"] == "unrestricted"
    assert provenance["errors"][0]["top5_error"] == 0.111
