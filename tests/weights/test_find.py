import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn
from torchvision.models import vgg

from verydeep.nets.registry import create_net, load_net, read_net, save_net
from verydeep.weights import find
from verydeep.weights.cards import weight_cards
from verydeep.weights.download import cache_folder, download
from verydeep.weights.find import find_weights, names_weights


def test_a_published_name_is_looked_up_by_net(refused):
    names = "vgg-a, vgg-b, vgg-d, vgg-e, vgg-a-bn, vgg-b-bn, vgg-d-bn, vgg-e-bn"
    assert refused(find_weights, "torchvision/imagenet1k_v1").startswith(
        f"torchvision/imagenet1k_v1: are for {names}, alexnet-torchvision, googlenet-torchvision; name one of them"
    )
    assert refused(find_weights, "torchvision/imagenet1k_v1", "vgg-c").endswith("not for vgg-c")
    assert "did you mean torchvision/imagenet1k_v1?" in refused(find_weights, "torchvision/imagenet1k_v2", "vgg-d")
    assert refused(find_weights, "oxford/ilsvrc2012").endswith("`verydeep weights list` has them all")


def test_a_path_is_a_path_even_if_it_looks_like_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "imagenet1k_v1").write_text("mine")
    path, card = find_weights("torchvision/imagenet1k_v1")
    assert (path.read_text(), card) == ("mine", None)
    assert find_weights("runs/first") == (path.__class__("runs/first"), None)


def test_what_asks_for_weights_is_known():
    asks = ["hf://owner/name", "https://host/some.pth", "http://host/some.pth", "oxford/bmvc2014", "Keras/ImageNet"]
    assert all(map(names_weights, asks))
    assert not any(map(names_weights, ["vgg-d", "runs/first", "some.pth", "torchvision:vgg16"]))


class Folder(BaseHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        content = (self.server.folder / self.path.removeprefix("/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def web(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Folder) as server:
        server.folder = tmp_path / "web"
        server.folder.mkdir()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_net_is_made_from_a_web_address_and_again_without_a_network(web, refused):
    made = create_net("vgg-a", width=1 / 32, crop=32, num_classes=3)
    save_net(web.folder / "net.safetensors", made)
    url = f"http://127.0.0.1:{web.server_port}/net.safetensors"
    net, _ = load_net(url)
    assert torch.equal(net.fc6.weight, made.fc6.weight)
    again = create_net("vgg-a", width=1 / 32, crop=32, weights=url)
    assert torch.equal(again.fc6.weight, made.fc6.weight)
    (web.folder / "net.safetensors").unlink()
    assert torch.equal(load_net(url)[0].fc6.weight, made.fc6.weight)
    assert "it was removed" in refused(load_net, f"{url}#sha256:00000000")


@pytest.mark.parametrize("name", ["vgg-d", "vgg-e"])
def test_a_published_name_takes_the_file_of_its_card(name, web, monkeypatch, refused):
    [card] = [card for card in weight_cards() if (card.name, card.net) == ("oxford/ilsvrc2014", name)]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused(lambda: create_net(name, weights="oxford/ilsvrc2014"))
    assert line.startswith(f"{card.url}: is not in {cache_folder()}/")
    save_net(web.folder / "net.safetensors", create_net("vgg-a", width=1 / 32, crop=32, num_classes=3))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    there = download(f"http://127.0.0.1:{web.server_port}/net.safetensors")
    cached = cache_folder() / line.partition(f"{cache_folder()}/")[2].partition(",")[0] / card.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    there.rename(cached)
    assert find_weights("oxford/ilsvrc2014", name) == (cached, card)


@pytest.fixture
def published(web, monkeypatch):
    """A function that has a card be of a narrow net of torchvision's, three classes at 32 px, which it gives."""

    def publish(name, net):
        torch.manual_seed(0)
        widths = [width if width == "M" else width // 32 for width in vgg.cfgs["D"]]
        theirs = vgg.VGG(vgg.make_layers(widths), num_classes=3, init_weights=False)
        theirs.classifier = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        torch.save(theirs.state_dict(), web.folder / "theirs.pth")
        checksum = hashlib.sha256((web.folder / "theirs.pth").read_bytes()).hexdigest()
        address = {"url": f"http://127.0.0.1:{web.server_port}/theirs.pth", "checksum": f"sha256:{checksum[:8]}"}
        moved = [
            card.model_copy(update=address) if (card.name, card.net) == (name, net) else card for card in weight_cards()
        ]
        monkeypatch.setattr(find, "weight_cards", lambda: moved)
        return theirs, address["url"]

    return publish


def test_published_weights_come_with_what_their_card_says(published, web):
    theirs, url = published("torchvision/imagenet1k_v1", "vgg-d")
    sizes = {"width": 1 / 32, "crop": 32, "hidden": 8}
    net = create_net("vgg-d", weights="torchvision/imagenet1k_v1", num_classes=3, **sizes)
    pixels = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    theirs.avgpool = nn.Identity()
    seen = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.inference_mode():
        torch.testing.assert_close(net(pixels), theirs(seen), rtol=1e-4, atol=1e-5)
    (web.folder / "theirs.pth").unlink()
    _, card = read_net("torchvision/imagenet1k_v1", "vgg-d")
    assert (card["weights"], card["library"], card["net"]) == ("torchvision/imagenet1k_v1", "torchvision", "vgg-d")
    assert card["provenance"]["url"] == url
    assert card["provenance"]["licence"].startswith("BSD-3-Clause")
    assert card["provenance"]["errors"] == [{"protocol": "centre@256", "top1_error": 0.28408, "top5_error": 0.09618}]


def test_published_features_leave_the_fully_connected_layers_to_chance(published, refused):
    theirs, _ = published("torchvision/imagenet1k_features", "vgg-d")
    name = "torchvision/imagenet1k_features"
    sizes = {"width": 1 / 32, "crop": 32, "hidden": 8, "weights": name}
    assert refused(lambda: create_net("vgg-d", **sizes)) == (
        f"{name}: has no layer of class scores; give classes, and the layers it lacks start at random"
    )
    net = create_net("vgg-d", classes=("cat", "dog"), **sizes)
    assert torch.equal(net.conv5_3.weight, theirs.features[28].weight)
    assert net.mean.flatten().tolist() == pytest.approx([122.9993, 116.9991, 103.9992])
    assert net.std.flatten().tolist() == [1, 1, 1]
    assert net.fc6.weight.shape == (8, 16, 1, 1)
    assert not torch.equal(net.fc6.weight.flatten(1), theirs.classifier[0].weight)
    assert net.fc8.weight.shape == (2, 8, 1, 1)


def test_published_weights_that_are_others_now_are_refused(published, web, refused):
    _, url = published("torchvision/imagenet1k_v1", "vgg-d")
    (web.folder / "theirs.pth").write_bytes(b"others")
    line = refused(lambda: create_net("vgg-d", weights="torchvision/imagenet1k_v1"))
    assert line.startswith(f"{url}: its sha256 is ")
