import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from verydeep.nets.registry import create_net, load_net, save_net
from verydeep.weights.cards import weight_cards
from verydeep.weights.download import cache_folder, download
from verydeep.weights.find import find_weights, from_hub, names_weights

FILES = {  # of a hub: repository and path → content
    "someone/plain/model.safetensors": b"plain",
    "someone/odd/weights/vgg.h5": b"odd",
    "someone/torch/pytorch_model.bin": b"torch",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its library asks for to fetch a file."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.wfile.write(self.answer())

    def answer(self):
        owner, name, _, _, path = self.path.removeprefix("/").split("/", 4)
        content = FILES.get(f"{owner}/{name}/{path}")
        known = any(file.startswith(f"{owner}/{name}/") for file in FILES)
        self.send_response(200 if content else 404 if known else 401)
        if content:
            self.send_header("ETag", f'"{len(content)}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""


@pytest.fixture
def hub():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


SCRIPT = """
import sys
from verydeep.errors import WeightsError
from verydeep.weights.find import find_weights
for where in sys.argv[1:]:
    try:
        path, card = find_weights(where)
        print(path.name, path.read_text())
    except WeightsError as error:
        print(error)
"""


def found(endpoint, home, *wheres, **environment):
    """What a fresh process finds: the hub's library reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "5"}
    environment = {**os.environ, **settings, **environment}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *wheres]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow  # two processes that import torch
def test_repositories_of_the_hub_come_from_it_and_then_from_its_cache(hub, tmp_path):
    pytest.importorskip("huggingface_hub")
    wheres = [
        "hf://someone/plain",
        "hf://someone/plain@main",
        "hf://someone/torch",
        "hf://someone/odd/weights/vgg.h5",
    ]
    there = ["model.safetensors plain", "model.safetensors plain", "pytorch_model.bin torch", "vgg.h5 odd"]
    lines = found(hub, tmp_path, *wheres, "hf://someone/odd", "hf://someone/none", "hf://someone/odd/missing.h5")
    assert lines[:4] == there
    assert lines[4].startswith("hf://someone/odd: net.safetensors or model.safetensors or ")
    assert "name a file: hf://owner/name/FILE" in lines[4]
    assert lines[5].startswith("hf://someone/none: cannot be had (")
    assert lines[6].startswith("hf://someone/odd/missing.h5: missing.h5 cannot be had (")
    assert len(lines) == 7
    offline = found("http://127.0.0.1:9", tmp_path, *wheres, "hf://someone/new", HF_HUB_OFFLINE="1")
    assert offline[:4] == there
    assert offline[4].startswith("hf://someone/new: ")
    assert len(offline) == 5


def test_a_repository_is_written_as_owner_and_name(refused):
    for where in ("hf://", "hf://one", "hf://one/", "hf://one//two", "hf://one/two@", "hf://o ne/two"):
        assert refused(from_hub, where) == (
            f"{where}: is no repository; write hf://owner/name or hf://owner/name/path/of/file"
        )


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
