import json
import re

import pytest

from verydeep.cli.app import run


def numbers(text):
    return {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)}


def test_nets_prints_the_published_numbers_of_parameters(capsys):
    assert run(["nets"]) == 0
    published = {132863336, 133047848, 134503528, 133638952, 138357544, 143667240}
    assert published <= numbers(capsys.readouterr().out)


def test_the_stages_of_d_have_the_parameters_of_the_slides(capsys):
    assert run(["nets", "vgg-d"]) == 0
    stages = capsys.readouterr().out.partition("stage")[2]
    found = re.findall(r"(conv\d|fc\d)\D+([\d,]+)", stages)
    assert [(name, int(count.replace(",", ""))) for name, count in found] == [
        ("conv1", 38720),
        ("conv2", 221440),
        ("conv3", 1475328),
        ("conv4", 5899776),
        ("conv5", 7079424),
        ("fc6", 102764544),
        ("fc7", 16781312),
        ("fc8", 4097000),
    ]


def test_an_alias_is_the_net(capsys):
    run(["nets", "vgg16"])
    alias = capsys.readouterr().out
    run(["nets", "vgg-d"])
    assert capsys.readouterr().out == alias


@pytest.mark.parametrize("name", ["vgg-a-lrn", "vgg-a-bn", "vgg-b-5x5"])
def test_the_stages_of_every_kind_of_net_sum_to_its_parameters(name, tmp_path):
    run(["nets", "--json", str(tmp_path / "nets.json")])
    run(["nets", name, "--json", str(tmp_path / "layers.json")])
    nets = {row["net"]: row["parameters"] for row in json.loads((tmp_path / "nets.json").read_text())}
    layers = json.loads((tmp_path / "layers.json").read_text())
    assert sum(row["parameters"] for row in layers) == nets[name]
    assert {row["stage"] for row in layers} == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"}


def test_every_net_is_listed_with_its_layers(tmp_path, capsys):
    from verydeep.nets.registry import NETS

    run(["nets", "--json", str(tmp_path / "nets.json")])
    rows = json.loads((tmp_path / "nets.json").read_text())
    assert [row["net"] for row in rows] == list(NETS)
    for row in rows:
        assert run(["nets", row["net"], "--json", str(tmp_path / "layers.json")]) == 0
        layers = json.loads((tmp_path / "layers.json").read_text())
        assert sum(layer["parameters"] for layer in layers) == row["parameters"], row["net"]
        assert sum(layer["macs"] for layer in layers) == row["macs"], row["net"]


REDUCED = {  # what each of GoogLeNet's modules has, and what it has without its reductions
    "3a": (163_696, 128_049_152, 387_296, 303_464_448),
    "3b": (388_736, 304_267_264, 1_770_912, 1_388_068_864),
    "4a": (376_176, 73_608_192, 2_716_096, 532_267_008),
    "4b": (449_160, 87_908_352, 4_833_728, 947_322_880),
    "4c": (510_104, 99_850_240, 6_967_744, 1_365_590_016),
    "4d": (605_376, 118_515_712, 9_365_968, 1_835_638_784),
    "4e": (868_352, 169_996_288, 16_727_744, 3_278_499_840),
    "5a": (1_043_456, 51_079_168, 21_188_288, 1_038_191_616),
    "5b": (1_444_080, 70_697_984, 28_498_816, 1_396_398_080),
}


def test_what_googlenets_reductions_save_is_printed_module_by_module(tmp_path, capsys):
    command = ["nets", "googlenet-naive", "--beside", "googlenet", "--json", str(tmp_path / "rows.json")]
    assert run(command) == 0
    said = capsys.readouterr().out
    rows = {row["stage"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    for module, (parameters, macs, naive_parameters, naive_macs) in REDUCED.items():
        row = rows[f"inception_{module}"]
        found = (row["beside_parameters"], row["beside_macs"], row["parameters"], row["macs"])
        assert found == (parameters, macs, naive_parameters, naive_macs)
        assert {naive_parameters, naive_macs} <= numbers(said)
    assert round(rows["all"]["times_parameters"], 1) == 13.9
    assert round(rows["all"]["times_macs"], 1) == 7.9
    assert rows["conv1"]["times_macs"] == 1


def test_a_net_beside_none_is_refused_in_one_line(capsys):
    assert run(["nets", "--beside", "googlenet"]) == 2
    assert "--beside googlenet goes with another net; write verydeep nets NET" in capsys.readouterr().err


def test_the_layers_of_a_file_of_weights_are_those_of_its_net(tmp_path, capsys):
    import verydeep

    net = verydeep.create_net("vgg-a", num_classes=3, width=1 / 16, crop=64)
    verydeep.save_net(tmp_path / "net.safetensors", net)
    assert run(["nets", str(tmp_path / "net.safetensors"), "--json", str(tmp_path / "layers.json")]) == 0
    layers = json.loads((tmp_path / "layers.json").read_text())
    assert sum(row["parameters"] for row in layers) == sum(parameter.numel() for parameter in net.parameters())
    assert layers[-1]["channels"] == 3
