import json
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from verydeep import Net
from verydeep.errors import WeightsError
from verydeep.nets.registry import load_net

ROW = {"data": "photos", "split": "val", "protocol": "dense@64", "images": 1234, "top1_error": 0.25, "top5_error": 0.1}
CARD = {"data": "photos", "terms": "for everybody", "errors": [ROW]}


def same(one, other):
    state, others = one.state_dict(), other.state_dict()
    return list(state) == list(others) and all(torch.equal(state[name], others[name]) for name in state)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_net_comes_back_from_its_folder(narrow, tmp_path):
    net = narrow("vgg-a-bn", classes=("cat", "dog"), dropout=0.3)
    net.save_pretrained(tmp_path / "new" / "net", CARD)
    again = Net.from_pretrained(tmp_path / "new" / "net")
    assert same(again, net)
    assert not again.training
    assert (again.name, again.classes, again.crop, again.dropout) == ("vgg-a-bn", ("cat", "dog"), 64, 0.3)
    names = sorted(path.name for path in (tmp_path / "new" / "net").iterdir())
    assert names == ["README.md", "config.json", "net.safetensors"]


def test_a_folder_is_a_net_to_every_command_and_its_card_is_kept(narrow, tmp_path):
    net = narrow("vgg-a")
    net.save_pretrained(tmp_path, CARD)
    again, card = load_net(tmp_path)
    assert same(again, net)
    assert (card["data"], card["errors"]) == (CARD["data"], CARD["errors"])


def test_the_page_states_data_protocol_and_errors_and_the_configuration_the_net(narrow, tmp_path):
    narrow("vgg-a").save_pretrained(tmp_path, CARD)
    page = ModelCard.load(tmp_path / "README.md")
    assert page.data.library_name == "verydeep"
    assert "Trained on photos." in page.text
    assert "Terms: for everybody." in page.text
    assert "| photos | val | dense@64 | 1,234 | 25.0 | 10.0 |" in page.text
    configuration = json.loads((tmp_path / "config.json").read_text())
    assert (configuration["architecture"], configuration["num_classes"]) == ("vgg-a", 5)


def test_another_net_saved_to_the_same_folder_takes_all_of_it(narrow, tmp_path):
    narrow("vgg-a").save_pretrained(tmp_path, CARD)
    net = narrow("vgg-c", crop=96)
    net.save_pretrained(tmp_path)
    assert same(Net.from_pretrained(tmp_path), net)
    page = (tmp_path / "README.md").read_text()
    assert "# vgg-c, 5 classes" in page
    assert "Not measured" in page
    assert json.loads((tmp_path / "config.json").read_text())["crop"] == 96


def test_what_is_missing_or_cannot_be_reached_is_said_in_one_line(narrow, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for action, line in (
        (lambda: Net.from_pretrained("owner/name"), "owner/name: .*; see to its name and the network"),
        (lambda: Net.from_pretrained("a b c"), "a b c: .*; see to its name and the network"),
        (lambda: narrow("vgg-a").push_to_hub("owner/name"), "owner/name: .*; see to its name and the network"),
        (lambda: narrow("vgg-a").save_pretrained(tmp_path / "file"), "file: is a file; name a folder"),
    ):
        with pytest.raises(WeightsError, match=line) as error:
            action()
        assert "\n" not in str(error.value)


def test_without_the_extra_the_line_says_how_to_install_it(narrow, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "verydeep.nets.hub_net", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"owner/name: huggingface_hub is missing; pip install 'verydeep\[hub\]'"):
        Net.from_pretrained("owner/name")
    with pytest.raises(WeightsError, match=r"huggingface_hub is missing"):
        narrow("vgg-a").save_pretrained(tmp_path)
