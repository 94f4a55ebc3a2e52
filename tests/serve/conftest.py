"""Small nets to serve, the page in this process, and the real command in one of its own."""

import asyncio
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.localisation.head import UNIT, outputs_of
from verydeep.serve.app import BYTES
from verydeep.serve.sight import open_served

CLASSES = ("bee", "cat", "dog", "eel", "fox", "gnu")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A net, and a localiser that says the middle of every crop, with some width and height."""
    folder = tmp_path_factory.mktemp("nets")
    sizes = {"width": 1 / 64, "crop": 64, "hidden": 8, "start": "he"}
    net = verydeep.create_net("vgg-a", classes=CLASSES, **sizes)
    verydeep.save_net(folder / "net.safetensors", net, {"names": {"eel": "moray eel"}, "data": "animals"})
    localiser = verydeep.create_net("vgg-a", classes=outputs_of(CLASSES, "scr"), **sizes)
    with torch.no_grad():
        localiser.fc8.weight.zero_()
        localiser.fc8.bias.copy_(torch.tensor([0.5, 0.5, 0.5, 0.5]) / UNIT)
    verydeep.save_net(folder / "localiser.safetensors", localiser, {"validation_protocol": "centre@64"})
    return folder / "net.safetensors", folder / "localiser.safetensors"


@pytest.fixture(scope="session")
def served(files):
    net, localiser = files
    return open_served(net, localisers=[localiser], device="cpu")


@pytest.fixture(scope="session")
def picture():
    """Noise of large grains, wider than high."""
    grains = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(grains).resize((140, 90)))


@pytest.fixture(scope="session")
def encode():
    """A picture as the bytes of a file."""

    def encoded(picture, kind="PNG", **options):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, **options)
        return file.getvalue()

    return encoded


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


async def ask(app, method="GET", path="/", body=(b"",), *, query="", hangs=False, **changes):
    """What the application answers to a request whose body comes in parts; header names have _ for -."""
    headers = {"host": "localhost:8000"} | ({"content-type": BYTES} if method == "POST" else {})
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    parts[-1]["more_body"] = hangs
    sent = []

    async def receive():
        if not parts:
            await asyncio.sleep(3600)
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value is not None],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except Exception:  # a bug, which the server writes down once it has answered
        if not sent:
            raise
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in rest))


@pytest.fixture(scope="session")
def request_of():
    return ask


@pytest.fixture(scope="session")
def start_server():
    """Starts the command and gives the address that it prints, with the process; ended afterwards."""
    running = []

    def start(*arguments, folder=None, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "verydeep", "serve", "--port", "0", "--device", "cpu", *map(str, arguments)],
            env=os.environ | environment, cwd=folder, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate()
        return address, process

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=30)
