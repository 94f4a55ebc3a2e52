from functools import partial

import numpy as np
import pytest
import torch

from verydeep.data.open import open_dataset
from verydeep.errors import NetError, ProtocolError, TransferError
from verydeep.nets.features import features
from verydeep.nets.registry import create_net
from verydeep.nets.wrap import wrap
from verydeep.pictures.resize import rescale
from verydeep.transfer.descriptors import describe as describe_in
from verydeep.transfer.descriptors import length, way_of
from verydeep.transfer.layer import describing_layer

SCALES = (32, 40, 64)
describe = partial(describe_in, data_type="float32")  # in which what is done by hand is computed


def by_hand(net, data, layer, scales):
    """Descriptors of each scale by themselves, a picture and a mirror image at a time."""
    rows = []
    for index in range(len(data)):
        for scale in scales:
            pixels = torch.from_numpy(rescale(data.picture(index), scale)).permute(2, 0, 1)[None]
            with torch.no_grad():
                both = [features(net, shown, [layer])[layer].mean((2, 3)) for shown in (pixels, pixels.flip(-1))]
            rows.append(((both[0] + both[1]) / 2)[0].numpy())
    return np.array(rows).reshape(len(data), len(scales), -1)


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("layer", [None, "pool4"])
def test_descriptors_are_what_features_gives_averaged_picture_by_picture(net, pictures, layer):
    found = by_hand(net, pictures, layer or "relu7", SCALES)
    averaged = describe(net, pictures, layer=layer, scales=SCALES)
    stacked = describe(net, pictures, layer=layer, scales=SCALES, combine="stack")
    np.testing.assert_allclose(averaged, unit(found.mean(axis=1)), atol=1e-6)
    np.testing.assert_allclose(stacked, unit(found.reshape(len(pictures), -1)), atol=1e-6)


def test_each_scale_alone_stacked_by_hand_is_the_stack(net, pictures):
    alone = by_hand(net, pictures, "relu7", SCALES)
    for place, scale in enumerate(SCALES):
        np.testing.assert_allclose(describe(net, pictures, scales=[scale]), unit(alone[:, place]), atol=1e-6)


def test_nets_are_stacked_each_of_equal_weight(net, pictures):
    other = create_net("vgg-b", width=1 / 16, crop=32, hidden=7, num_classes=3, start="he", seed=1)
    both = describe([net, other], pictures, scales=[32])
    one, two = (describe(each, pictures, scales=[32]) for each in (net, other))
    np.testing.assert_allclose(both, np.concatenate([one, two], axis=1) / np.sqrt(2), atol=1e-6)


def test_mirror_images_can_be_left_out_and_else_do_not_matter(net, pictures):
    plain = describe(net, pictures, scales=[32], mirror=False)
    assert np.abs(plain - describe(net, pictures, scales=[32])).max() > 1e-3


def test_the_default_is_appendix_b_in_proportion_to_the_crop(net):
    way = way_of(net)
    assert (way.layer, way.scales, way.combine, way.mirror) == ("relu7", (37, 55, 73), "average", True)
    assert way_of(create_net("vgg-d", width=0.02, crop=224)).scales == (256, 384, 512)
    assert str(way_of(net, combine="stack", mirror=False)) == "relu7 at Q = 37, 55, 73, stacked, not mirrored"


def test_of_other_peoples_modules_it_is_what_their_last_layer_takes(pictures):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=4)
    net = wrap(module, classes="abcd", mean=120.0, std=60.0, crop=64)
    assert describing_layer(net) == "before fc"
    found = describe(net, pictures, scales=[64], mirror=False)
    trunk = torch.nn.Sequential(*[*module.children()][:-2]).eval()
    for index in (0, 1):
        pixels = torch.from_numpy(rescale(pictures.picture(index), 64)).permute(2, 0, 1)[None]
        with torch.no_grad():
            maps = trunk((pixels.float() - 120) / 60)[0]
        windows = [maps[:, :, left : left + 2].mean((1, 2)) for left in range(maps.shape[2] - 1)]
        due = torch.stack(windows).mean(0)
        np.testing.assert_allclose(found[index], (due / due.norm()).numpy(), atol=1e-5)


def test_a_module_that_takes_crops_only_describes_the_centre(pictures):
    torch.manual_seed(0)

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = torch.nn.Linear(3 * 16 * 16, 6), torch.nn.Linear(6, 2)

        def forward(self, pixels):
            return self.last(self.hidden(pixels[:, :, ::2, ::2].reshape(len(pixels), 768)).relu())

    module = Fixed()
    net = wrap(module, classes="ab", mean=0.0, crop=32)
    assert net.no_score_map
    found = describe(net, pictures.subset([0]), scales=[32], mirror=False)
    picture = rescale(pictures.picture(0), 32)
    left = (picture.shape[1] - 32) // 2
    crop = torch.from_numpy(picture[:, left : left + 32].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        due = module.hidden(crop[:, :, ::2, ::2].reshape(1, 768)).relu()
    np.testing.assert_allclose(found, (due / due.norm()).numpy(), atol=1e-5)


def test_what_is_kept_is_not_described_again(net, pictures, tmp_path):
    first = describe(net, pictures, scales=SCALES, cache=tmp_path)
    shown = []
    with net.conv1_1.register_forward_hook(lambda *call: shown.append(len(call[2]))):
        again = describe(net, pictures, scales=SCALES, cache=tmp_path)
    assert again.tobytes() == first.tobytes()
    assert shown == []
    before = sorted(path.name for path in tmp_path.rglob("*.rows"))
    describe(net, pictures.subset([3, 5]), scales=[40], combine="stack", cache=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.rows")) == before  # nothing was added


def test_a_picture_is_known_by_its_content_not_by_its_name(net, photos, tmp_path, draw_picture):
    cache = tmp_path / "cache"
    data = tmp_path / "data"
    draw_picture(data / "cat" / "1.png", (9, 9, 9), 1)
    draw_picture(data / "cat" / "2.png", (200, 9, 9), 2)
    first = describe(net, open_dataset(data), scales=[32], cache=cache)
    (data / "cat" / "1.png").rename(data / "cat" / "3.png")
    np.testing.assert_array_equal(describe(net, open_dataset(data), scales=[32], cache=cache), first[::-1])
    assert len([*cache.rglob("*.rows")]) == 1
    draw_picture(data / "cat" / "2.png", (9, 200, 9), 3)
    changed = describe(net, open_dataset(data), scales=[32], cache=cache)
    assert np.abs(changed[0] - first[1]).max() > 1e-3
    np.testing.assert_array_equal(changed, describe(net, open_dataset(data), scales=[32]))


def test_other_weights_layers_and_scales_share_nothing(net, pictures, tmp_path):
    some = pictures.subset([0, 1, 2])
    other = create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=12, num_classes=5, start="he", seed=1)
    for way in ({}, {"layer": "relu6"}, {"scales": [33]}, {"mirror": False}):
        for each in (net, other):
            given = {"scales": [32], **way}
            kept = describe(each, some, cache=tmp_path, **given)
            np.testing.assert_array_equal(kept, describe(each, some, **given))
    assert len([*tmp_path.iterdir()]) == 8


def test_what_was_cut_off_or_damaged_is_described_again(net, pictures, tmp_path):
    due = describe(net, pictures, scales=[32], cache=tmp_path)
    (rows,) = tmp_path.rglob("*.rows")
    content = bytearray(rows.read_bytes())
    content[40] ^= 1  # in the first descriptor
    rows.write_bytes(content[: len(content) - 100])
    np.testing.assert_array_equal(describe(net, pictures, scales=[32], cache=tmp_path), due)
    added = {path.name: path.stat().st_size for path in tmp_path.rglob("*.rows")}
    assert len(added) == 2
    row = len(content) // len(pictures)
    assert sum(added.values()) == len(content) - 100 + 3 * row  # the first, and the two that were not whole


def test_little_memory_halves_the_pictures_at_once_and_changes_nothing(net, pictures):
    np.testing.assert_allclose(
        describe(net, pictures, scales=[32], batch=1), describe(net, pictures, scales=[32]), atol=1e-6
    )


def test_descriptors_that_are_no_numbers_are_named_with_their_picture(pictures):
    broken = create_net("vgg-a", width=1 / 16, crop=32, hidden=4, num_classes=2)
    with torch.no_grad():
        broken.fc6.bias[:] = torch.nan
    with pytest.raises(NetError, match=r"vgg-a: its descriptor of ant.0\d.png is no number") as caught:
        describe(broken, pictures.subset([0, 1]), scales=[32])
    assert "\n" not in str(caught.value)


def test_in_half_precision_descriptors_are_near_and_are_kept_apart(net, pictures, tmp_path):
    single = describe(net, pictures, scales=SCALES, cache=tmp_path)
    half = describe(net, pictures, scales=SCALES, cache=tmp_path, data_type="bfloat16")
    assert 0 < (1 - (single * half).sum(axis=1)).max() < 1e-3
    assert len([*tmp_path.iterdir()]) == 6
    measured = describe(net, pictures, scales=SCALES, cache=tmp_path, data_type="auto")
    assert measured.tobytes() in (single.tobytes(), half.tobytes())
    assert len([*tmp_path.rglob("*.rows")]) == 6  # it was one of both, and so not described again


def test_half_precision_is_for_nets_whose_layers_follow_each_other(pictures):
    branched = create_net("googlenet", width=1 / 16, num_classes=3, start="he")
    with pytest.raises(TransferError, match="googlenet: is not computed in bfloat16"):
        describe(branched, pictures, data_type="bfloat16")


@pytest.mark.parametrize("name", ["vgg-a-lrn", "spp-net", "googlenet", "overfeat-fast", "deepc2c2"])
def test_a_descriptor_is_as_long_as_the_layer_has_channels(name):
    net = create_net(name, width=1 / 16, num_classes=3)
    layer = describing_layer(net)
    with torch.no_grad():
        crop = torch.zeros(1, 3, net.crop, net.crop, dtype=torch.uint8)
        assert length(net, layer) == features(net, crop, [layer])[layer].shape[1]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layer": "relu9"}, NetError, "has no layer 'relu9'; did you mean relu7"),
        ({"scales": [20]}, ProtocolError, "20 px is less than the crop of vgg-a-bn, 32 px"),
        ({"scales": []}, ProtocolError, "has no scale"),
        ({"combine": "max"}, TransferError, "use 'average' or 'stack'"),
        ({"data_type": "half"}, TransferError, "data_type 'half': is none; use auto, float32, bfloat16"),
    ],
)
def test_a_way_that_does_not_exist_is_refused(net, pictures, options, error, words):
    with pytest.raises(error, match=words):
        describe(net, pictures, **options)


def test_a_cache_that_cannot_be_written_is_said(net, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferError, match="cannot be written"):
        describe(net, pictures, scales=[32], cache=tmp_path / "file" / "deeper")


def test_progress_ends_at_all_pictures(net, pictures):
    told = []
    describe([net, net], pictures.subset([0, 1]), scales=[32], progress=lambda *moment: told.append(moment))
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
