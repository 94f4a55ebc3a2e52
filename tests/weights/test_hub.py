import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from verydeep.errors import WeightsError
from verydeep.nets.net import Net
from verydeep.nets.registry import create_net, load_net, save_net
from verydeep.weights.hub import from_hub

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".h5")  # kept as large files, named by their SHA-256
TOKEN = "hf_nobodys"


class Handler(BaseHTTPRequestHandler):
    """As much of the hub as its library asks for: to fetch a file; to make a repository and put files into it."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_HEAD(self):
        self.file()

    def do_GET(self):
        self.wfile.write(self.file())

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        what = self.path.partition("?")[0]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.say(403, {"error": "Forbidden: you have no right to write here"})
        elif what == "/api/repos/create":
            made = json.loads(asked)
            self.server.repository = f"{made['organization']}/{made['name']}"
            self.server.private = made.get("visibility") == "private" or made.get("private") is True
            self.say(200, {"url": f"{self.server.url}/{self.server.repository}"})
        elif what == "/api/validate-yaml":
            self.say(200, {})
        elif what == f"/api/models/{self.server.repository}/preupload/main":
            files = [file["path"] for file in json.loads(asked)["files"]]
            modes = [{"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular"} for path in files]
            self.say(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif what == f"/{self.server.repository}.git/info/lfs/objects/batch":
            objects = json.loads(asked)["objects"]
            actions = [{"upload": {"href": f"{self.server.url}/large/{large['oid']}"}} for large in objects]
            given = [{**large, "actions": action} for large, action in zip(objects, actions, strict=True)]
            self.say(200, {"objects": given})
        elif what == f"/api/models/{self.server.repository}/commit/main":
            for line in asked.splitlines():
                self.commit(**json.loads(line))
            address = f"{self.server.url}/{self.server.repository}/commit/{COMMIT}"
            self.say(200, {"commitUrl": address, "commitOid": COMMIT})
        else:
            self.say(404, {"error": what})

    def commit(self, key, value):
        """Do a line of a commit."""
        if key == "file":
            content = base64.b64decode(value["content"])
        elif key == "lfsFile":
            content = self.server.large[value["oid"]]
        else:
            assert key == "header"
            return
        self.server.files[f"{self.server.repository}/{value['path']}"] = content

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.full:
            self.say(403, {"error": "no room"})
            return
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self.say(200, {})

    def say(self, status, answer):
        """Answer in JSON."""
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def file(self):
        """The head of a file; its content."""
        owner, name, _, _, path = (self.path.removeprefix("/").split("/", 4) + [""] * 4)[:5]
        content = self.server.files.get(f"{owner}/{name}/{path}")
        known = any(file.startswith(f"{owner}/{name}/") for file in self.server.files)
        self.send_response(200 if content else 404 if known else 401)
        if content:
            kind = hashlib.sha256 if path.endswith(LARGE) else hashlib.sha1
            self.send_header("ETag", f'"{kind(content).hexdigest()}"')
            content = self.server.damaged.get(path, content)
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""


@pytest.fixture
def hub():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.files, server.large, server.damaged, server.repository, server.full = {}, {}, {}, "", False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def at_hub(hub, tmp_path, monkeypatch):
    """The same, and this process asks it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # a store of its own, beside the hub
    disable_progress_bars()
    yield hub
    enable_progress_bars()


def tiny():
    return create_net("vgg-a", width=1 / 32, crop=32, classes=("cat", "dog", "eel"), start="he")


def same(one, other):
    state, others = one.state_dict(), other.state_dict()
    return list(state) == list(others) and all(torch.equal(state[name], others[name]) for name in state)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of how huggingface_hub uses httpx
def test_a_net_goes_to_the_hub_and_comes_back(at_hub, monkeypatch):
    net = tiny()
    address = net.push_to_hub("owner/name", {"data": "photos"}, private=True, token=TOKEN)
    assert address == f"{at_hub.url}/owner/name/commit/{COMMIT}"
    assert at_hub.private
    assert sorted(at_hub.files) == [f"owner/name/{file}" for file in ("README.md", "config.json", "net.safetensors")]
    assert len(at_hub.large) == 1
    assert b"Trained on photos." in at_hub.files["owner/name/README.md"]
    made = create_net("vgg-a", width=1 / 32, crop=32, classes=("cat", "dog", "eel"), weights="hf://owner/name")
    loaded, card = load_net("hf://owner/name")
    there = Net.from_pretrained("owner/name")
    assert same(made, net)
    assert same(loaded, net)
    assert same(there, net)
    assert card["data"] == "photos"
    assert there.classes == ("cat", "dog", "eel")
    assert not there.training
    at_hub.files.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(Net.from_pretrained("owner/name"), net)
    assert same(load_net("hf://owner/name")[0], net)


def test_weights_of_another_library_come_from_the_hub_with_their_config(at_hub, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    widths = [width if width == "M" else width // 32 for width in timm.models.vgg.cfgs["vgg11"]]
    theirs = timm.models.vgg.VGG(widths, num_classes=3, mlp_ratio=1 / 64)
    theirs.pre_logits = timm.models.vgg.ConvMlp(16, 24)
    theirs.head = timm.layers.ClassifierHead(24, 3, pool_type="avg")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    config = {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}, "label_names": ["a", "b", "c"]}
    at_hub.files["timm/tiny/model.safetensors"] = (tmp_path / "model.safetensors").read_bytes()
    at_hub.files["timm/tiny/config.json"] = json.dumps(config).encode()
    net = create_net("vgg-a", width=1 / 32, hidden=24, weights="hf://timm/tiny")
    assert torch.equal(net.conv1_1.weight, theirs.features[0].weight)
    assert net.classes == ("a", "b", "c")
    assert net.mean.flatten().tolist() == [127.5, 127.5, 127.5]
    assert net.std.flatten().tolist() == [63.75, 63.75, 63.75]


def test_a_file_that_is_not_what_the_hub_names_it_by_is_refused_and_removed(at_hub, tmp_path, refused):
    save_net(tmp_path / "net.safetensors", tiny())
    content = (tmp_path / "net.safetensors").read_bytes()
    at_hub.files["owner/name/net.safetensors"] = content
    at_hub.damaged["net.safetensors"] = content[:-1] + bytes([content[-1] ^ 1])  # as long
    for read in (lambda: load_net("hf://owner/name"), lambda: Net.from_pretrained("owner/name")):
        line = refused(read)
        assert line.startswith("hf://owner/name/net.safetensors: its sha256 is ")
        assert line.endswith(f"not {hashlib.sha256(content).hexdigest()[:16]}; it was removed; try again")
    at_hub.damaged.clear()
    path = from_hub("hf://owner/name")
    assert path.read_bytes() == content
    path.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # in the cache, later
    assert "; it was removed" in refused(from_hub, "hf://owner/name")
    assert from_hub("hf://owner/name").read_bytes() == content


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)  # its temporary files
@pytest.mark.parametrize(("token", "full"), [("hf_somebodys", False), (TOKEN, True)])
def test_who_may_not_write_is_told_so_in_one_line(token, full, at_hub):
    at_hub.full = full
    with pytest.raises(WeightsError, match=r"owner/name: .*403 Forbidden.*; see to its name and the network") as error:
        tiny().push_to_hub("owner/name", token=token)
    assert "\n" not in str(error.value)
    assert not at_hub.files


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
    """What a fresh process finds, told where the hub is as its users tell it."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "5"}
    environment = {**os.environ, **settings, **environment}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *wheres]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow  # two processes that import torch
def test_repositories_of_the_hub_come_from_it_and_then_from_its_cache(hub, tmp_path):
    hub.files |= {
        "someone/plain/model.safetensors": b"plain",
        "someone/odd/weights/vgg.h5": b"odd",
        "someone/torch/pytorch_model.bin": b"torch",
    }
    wheres = [
        "hf://someone/plain",
        "hf://someone/plain@main",
        "hf://someone/torch",
        "hf://someone/odd/weights/vgg.h5",
    ]
    there = ["model.safetensors plain", "model.safetensors plain", "pytorch_model.bin torch", "vgg.h5 odd"]
    lines = found(hub.url, tmp_path, *wheres, "hf://someone/odd", "hf://someone/none", "hf://someone/odd/missing.h5")
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
