import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verydeep.errors import DeviceError, NetError, WeightsError
from verydeep.evaluation.protocol import parse
from verydeep.nets.registry import ALIASES, NETS, bundled, create_net, load_net, read_net, save_net
from verydeep.weights.files import load, save

SIZES = ("crop", "width", "hidden", "dropout", "classes")  # of a net; with its name all that makes it again
PAPERS = [
    "vgg-a", "vgg-a-lrn", "vgg-b", "vgg-b-5x5", "vgg-c", "vgg-d", "vgg-e",
    "vgg-a-bn", "vgg-b-bn", "vgg-d-bn", "vgg-e-bn",
]  # fmt: skip


def one_line(error):
    return "\n" not in str(error.value)


def same(one, other):
    state, others = one.state_dict(), other.state_dict()
    return list(state) == list(others) and all(torch.equal(state[name], others[name]) for name in state)


def test_the_papers_nets_come_first_in_its_order():
    assert list(NETS)[: len(PAPERS)] == PAPERS
    assert all(name == NETS[name].name and NETS[name].source for name in NETS)
    assert all(NETS[name].crop == 224 for name in PAPERS)


def test_aliases_are_names_of_others_for_one_net_each():
    torchvisions = {
        "vgg11": "vgg-a", "vgg13": "vgg-b", "vgg16": "vgg-d", "vgg19": "vgg-e",
        "vgg11_bn": "vgg-a-bn", "vgg13_bn": "vgg-b-bn", "vgg16_bn": "vgg-d-bn", "vgg19_bn": "vgg-e-bn",
    }  # fmt: skip
    assert torchvisions.items() <= ALIASES.items()
    assert not ALIASES.keys() & NETS.keys()
    assert len(ALIASES) == sum(len(net.aliases) for net in NETS.values())
    assert create_net("vgg19_bn", width=1 / 64, crop=32).name == "vgg-e-bn"


def test_published_errors_are_fractions_of_the_best_rows_of_tables_3_and_4():
    assert NETS["vgg-d"].errors == {"dense@384": (0.256, 0.081), "dense@256,384,512": (0.248, 0.075)}
    assert NETS["vgg-a"].errors == {"dense@256": (0.296, 0.104)}
    assert not NETS["vgg-d-bn"].errors
    for net in NETS.values():
        for top1, top5 in net.errors.values():
            known = [error for error in (0.0, top5, top1, 1.0) if error is not None]
            assert len(known) > 2
            assert known == sorted(set(known)), net.name


def test_errors_on_cifar_10_are_those_that_were_published_by_the_way_they_were_measured():
    published = {name: dict(net.errors) for name, net in NETS.items() if net.tested == "CIFAR-10, test" and net.errors}
    assert published == {
        "nagadomi-zca": {"nagadomi-36@32": (0.0668, None)},  # not of `nagadomi`: he whitened
        "deepcnin-5-300": {"its author's test": (0.0628, None)},
        "deepc2c2-320": {"Kaggle's contest": (0.0447, None)},
    }
    assert parse("nagadomi-36", NETS["nagadomi-zca"].crop) == parse("nagadomi-36@32", NETS["nagadomi-zca"].crop)


@pytest.mark.parametrize("name", PAPERS)
def test_a_net_on_the_meta_device_has_shapes_and_no_memory(name):
    with torch.device("meta"):
        net = create_net(name)
        scores = net(torch.zeros(2, 3, 224, 224))
    assert scores.shape == (2, 1000)
    assert all(tensor.is_meta for tensor in net.state_dict().values())
    assert not net.training
    assert (net.name, net.crop, net.width, net.hidden, net.dropout) == (name, 224, 1.0, 4096, 0.5)


def test_sizes_are_as_asked():
    net = create_net("vgg-d", classes=["cat", "dog", "eel"], width=0.1, crop=100, hidden=33, dropout=0.25)
    assert net.classes == ("cat", "dog", "eel")
    assert [net.get_submodule(f"conv{block}_1").out_channels for block in range(1, 6)] == [6, 13, 26, 51, 51]
    assert [net.get_submodule(f"fc{layer}").out_channels for layer in (6, 7, 8)] == [33, 33, 3]
    assert net.fc6.kernel_size == (3, 3)
    assert net.dropout6.p == net.dropout7.p == 0.25
    assert create_net("vgg-a", width=1 / 64, crop=32).hidden == 64
    assert create_net("vgg-a", width=1 / 64, crop=32, num_classes=3).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"name": "vgg-g"}, "vgg-g is not a net; did you mean vgg-"),
        ({"name": "VGG16"}, "VGG16 is not a net; did you mean vgg16? `verydeep nets` lists them"),
        ({"name": ""}, " is not a net; did you mean"),
        ({"crop": 31}, "vgg-a: crop is 31; use 32 to 65536"),
        ({"crop": 0}, "vgg-a: crop is 0; use 32"),
        ({"width": 0.0}, "vgg-a: width is 0.0; use 0.001 to 64"),
        ({"width": float("nan")}, "vgg-a: width is nan; use"),
        ({"width": float("inf")}, "vgg-a: width is inf; use"),
        ({"hidden": 0}, "vgg-a: hidden is 0; use 1 to 1000000"),
        ({"num_classes": 0}, "vgg-a: num_classes is 0; use 1"),
        ({"num_classes": 10**12}, "vgg-a: num_classes is 1000000000000; use 1 to 1000000"),
        ({"classes": []}, "vgg-a: num_classes is 0; use 1"),
        ({"dropout": 1.5}, "vgg-a: dropout is 1.5; use 0 to 1"),
        ({"classes": ["a", "b", "a"]}, "vgg-a: 2 different names for 3 classes; give one for each"),
        ({"classes": ["a", "b"], "num_classes": 3}, "vgg-a: 2 different names for 3 classes; give one for each"),
    ],
)
def test_what_no_net_can_be_is_refused_in_one_line(sizes, line):
    with pytest.raises(NetError) as error:
        create_net(**{"name": "vgg-a", "width": 1 / 64, "crop": 32, **sizes})
    assert str(error.value).startswith(line)
    assert one_line(error)


def test_weights_that_memory_cannot_hold_are_refused_before_any_is_taken():
    with pytest.raises(DeviceError, match=r"vgg-d: its weights need 22\d\d\.\d GB, .* are free on cpu; use a smaller"):
        create_net("vgg-d", width=64.0)


@pytest.mark.parametrize("name", ["vgg-a-lrn", "vgg-c", "vgg-b-bn"])
def test_a_saved_net_comes_back_to_the_bit(name, tmp_path, narrow, pixels):
    net = narrow(name, classes=["n01", "n02", "Käse"], hidden=11, dropout=0.3, crop=75)
    save_net(tmp_path / "net.safetensors", net, {"data": "some", "errors": {"centre": [0.5, 0.1]}})
    found, card = read_net(tmp_path / "net.safetensors")
    assert same(found, net)
    assert {size: getattr(found, size) for size in ("name", *SIZES)} == {
        size: getattr(net, size) for size in ("name", *SIZES)
    }
    assert (card["data"], card["errors"]) == ("some", {"centre": [0.5, 0.1]})
    assert not found.training
    assert torch.equal(found.score_map(pixels(1, 120)), net.score_map(pixels(1, 120)))


def test_half_precision_is_half_as_large_and_close(tmp_path, narrow, pixels):
    net = narrow("vgg-a-bn", hidden=256)
    net.norm1_1.running_var.fill_(1e6)  # more than half precision holds
    for half in (True, False):
        save_net(tmp_path / str(half), net, half=half)
    assert (tmp_path / "True").stat().st_size < 0.6 * (tmp_path / "False").stat().st_size
    found, _ = load_net(tmp_path / "True")
    for name, tensor in found.state_dict().items():
        exact = net.state_dict()[name]
        assert tensor.dtype == exact.dtype
        if exact.dim() == 4:  # eleven bits, rounded
            torch.testing.assert_close(tensor, exact, rtol=2**-11, atol=2**-25)
        else:
            assert torch.equal(tensor, exact), name
    scores = net(pixels(2, 64))
    torch.testing.assert_close(found(pixels(2, 64)), scores, rtol=0, atol=0.01 * scores.abs().max().item())


def test_a_card_cannot_speak_for_the_net(tmp_path, narrow):
    save_net(tmp_path / "a", narrow("vgg-a"), {"net": "vgg-e", "crop": 7, "note": "kept"})
    found, card = read_net(tmp_path / "a")
    assert (found.name, found.crop, card["note"]) == ("vgg-a", 64, "kept")


def test_create_net_takes_weights_and_the_names_of_their_classes(tmp_path, narrow):
    net = narrow("vgg-b", classes=["n1", "n2", "n3"])
    save_net(tmp_path / "b", net)
    sizes = {"width": net.width, "crop": net.crop, "weights": tmp_path / "b"}
    assert same(create_net("vgg-b", **sizes), net)
    assert create_net("vgg13", **sizes, num_classes=3).classes == ("n1", "n2", "n3")
    assert create_net("vgg-b", **sizes, classes=["x", "y", "z"]).classes == ("x", "y", "z")


@pytest.mark.parametrize(
    ("saved", "asked", "line"),
    [
        ("vgg-d", {"name": "vgg-c"}, "conv3_3.weight is 8×8×3×3, this net has 8×8×1×1; load it as vgg-d"),
        ("vgg-a", {"name": "vgg-b"}, "conv1_2.weight is missing; load it as vgg-a"),
        ("vgg-e", {"name": "vgg-d"}, "conv3_4.bias is not in this net; load it as vgg-e"),
        ("vgg-a-bn", {"name": "vgg-a"}, "norm1_1.bias is not in this net; load it as vgg-a-bn"),
        (
            "vgg-a",
            {"width": 1 / 16},
            "conv1_1.weight is 2×3×3×3, this net has 4×3×3×3; load it as vgg-a, with its width",
        ),
        ("vgg-a", {"crop": 96}, "fc6.weight is 128×16×2×2, this net has 128×16×3×3; load it as vgg-a"),
        ("vgg-a", {"num_classes": 7}, "fc8.weight is 5×128×1×1, this net has 7×128×1×1; load it as vgg-a"),
    ],
)
def test_weights_of_another_net_are_refused_by_the_key(saved, asked, line, tmp_path, narrow):
    path = tmp_path / "other.safetensors"
    save_net(path, narrow(saved))
    with pytest.raises(WeightsError) as error:
        create_net(**{"name": "vgg-a", "width": 1 / 32, "crop": 64, "weights": path, **asked})
    assert str(error.value).startswith(f"{path}: {line}")
    assert one_line(error)


def test_a_net_is_found_by_name_file_or_run(tmp_path, narrow, monkeypatch):
    net = narrow("vgg-a")
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    save_net(run / "net.safetensors", net)
    monkeypatch.chdir(tmp_path)
    for where in (run, str(run), "runs/first", "runs/first/net.safetensors", run / "net.safetensors"):
        assert same(load_net(where)[0], net)
    (run / "net.safetensors").rename(run / "suffixless")
    assert same(load_net("runs/first/suffixless")[0], net)


@pytest.mark.parametrize(
    ("where", "kind", "line"),
    [
        ("", NetError, ".: has no net.safetensors; give a run that has ended an epoch, or a file of weights"),
        ("none.safetensors", WeightsError, "none.safetensors: no such file of weights"),
        ("vgg-q", NetError, "vgg-q is not a net; did you mean vgg-"),
        ("text.pt", WeightsError, "text.pt: is not a whole file of weights"),
    ],
)
def test_what_is_no_net_is_refused_in_one_line(where, kind, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("weights, honestly")
    with pytest.raises(kind) as error:
        load_net(where)
    assert str(error.value).startswith(line)
    assert one_line(error)


def test_every_net_of_the_package_loads_and_they_are_small_together():
    assert sum(path.stat().st_size for path in bundled().values()) <= 12_000_000
    for name in bundled():
        net, card = load_net(name)
        assert card["net"] == net.name
        assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(PAPERS),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["net", *SIZES]), value=JUNK)
def test_a_card_that_lies_gives_a_net_that_fits_or_one_line(tmp_path, narrow, key, value):
    path = tmp_path / "net.safetensors"
    if not path.exists():
        save_net(path, narrow("vgg-a"))
    tensors, card = load(path)
    lying = tmp_path / "lying.safetensors"
    save(lying, tensors, {**card, key: value})
    for use in (lambda: read_net(lying)[0], lambda: create_net("vgg-a", width=1 / 32, crop=64, weights=lying)):
        try:
            net = use()
        except (WeightsError, NetError) as error:
            line = str(error)
        else:
            assert len(net.classes) == 5
            assert all(isinstance(name, str) for name in net.classes)
            assert net.score_map(torch.zeros(1, 3, net.crop, net.crop)).shape == (1, 5, 1, 1)
            continue
        assert "\n" not in line


def test_a_card_of_a_net_of_later_days_is_refused(tmp_path, narrow):
    save_net(tmp_path / "net", narrow("vgg-a"))
    tensors, card = load(tmp_path / "net")
    save(tmp_path / "net", tensors, {**card, "net": "vgg-\nz"})
    with pytest.raises(WeightsError, match=r"its card is of no net: 'vgg-\\nz' is not known here; update verydeep"):
        read_net(tmp_path / "net")


@pytest.mark.parametrize("key", ["net", *SIZES])
def test_a_card_without_a_size_is_refused_by_the_size(key, tmp_path, narrow):
    save_net(tmp_path / "net", narrow("vgg-a"))
    tensors, card = load(tmp_path / "net")
    del card[key]
    save(tmp_path / "net", tensors, card)
    with pytest.raises(WeightsError, match=f"its card is of no net: {key}: Field required; give the net.safetensors"):
        read_net(tmp_path / "net")


def test_the_card_is_readable_json(tmp_path, narrow):
    save_net(tmp_path / "net", narrow("vgg-a"))
    content = (tmp_path / "net").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    card = json.loads(header["__metadata__"]["verydeep"])
    assert card == {
        "net": "vgg-a",
        "crop": 64,
        "width": 1 / 32,
        "hidden": 128,
        "dropout": 0.5,
        "classes": list("01234"),
    }
