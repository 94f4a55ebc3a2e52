"""The command in a process of its own, asked over a real socket."""

import base64
import http.client
import io
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from verydeep.cli.app import run
from verydeep.serve.server import address


def post(where, body, **headers):
    with closing(http.client.HTTPConnection(urlsplit(where).netloc, timeout=60)) as connection:
        connection.request("POST", "/look", body, {"Content-Type": "application/octet-stream"} | headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.slow
def test_it_answers_keeps_nothing_says_nothing_and_ends_on_ctrl_c(start_server, files, picture, encode, tmp_path):
    where, process = start_server(files[0], "--localiser", files[1], "--megabytes", "8", folder=tmp_path,
                                  TMPDIR=str(tmp_path))  # fmt: skip
    large = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    for encoded, status in ((encode(picture), 200), (encode(large), 200), (b"text", 422), (bytes(9 * 10**6), 413)):
        try:
            assert post(where, encoded)[0] == status
        except (BrokenPipeError, ConnectionResetError):  # it has heard enough
            assert status == 413
    assert post(where, encode(picture))[1]["classes"][0]["box"]
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(urllib.request.Request(where, headers={"Host": "evil.example"}), timeout=60)
    refused.value.close()
    assert list(tmp_path.iterdir()) == []
    process.send_signal(signal.SIGINT)
    said, remarks = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == ""
    credentials, boxes, advice, end = remarks.splitlines()
    assert "6 classes of animals" in credentials
    assert "one box for all classes" in boxes
    assert "Ctrl-C" in advice
    assert end == "verydeep: interrupted"


def test_a_port_in_use_is_said_in_a_line(files, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", str(files[0]), "--port", str(port), "--device", "cpu"]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"127.0.0.1:{port}: cannot be served at (address already in use); give another --port")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])  # RFC 6761, 5737: nobody's
def test_an_address_of_another_machine_is_said_in_a_line(files, capsys, host):
    assert run(["serve", str(files[0]), "--host", host, "--port", "0", "--device", "cpu"]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert host in line


def test_a_missing_extra_is_said_in_a_line(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["serve", str(files[0]), "--device", "cpu"]) == 2
    assert "pip install 'verydeep[serve]'" in capsys.readouterr().err


def test_a_net_that_is_not_there_is_said_before_anything_is_served(capsys):
    assert run(["serve", "vgg-q", "--device", "cpu"]) == 2
    assert "vgg-q is not a net" in capsys.readouterr().err


def test_addresses_are_such_as_a_browser_takes():
    assert address("127.0.0.1", 80) == "http://127.0.0.1:80/"
    assert address("::1", 8000) == "http://[::1]:8000/"
    assert address("0.0.0.0", 8000) == f"http://{socket.gethostname()}:8000/"


def test_a_picture_of_a_telephone_is_small_enough_for_the_page(served, encode):
    answer = served.look(np.zeros((3000, 4000, 3), np.uint8))
    _, _, encoded = answer["picture"]["address"].partition(",")
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as shown:
        assert max(shown.size) == 1280
