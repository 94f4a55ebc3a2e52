import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from verydeep.weights.download import cache_folder, download

CONTENT = os.urandom(3 * 2**20)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """A server of one file, that can be told to misbehave.

    Attributes:
        content: the file.
        etag: its version.
        breaks: after so many bytes of the answer the connection is cut, once each.
        ranges: whether parts can be asked for.
        length: whether it says how long the file is.
        asked: of every request its Range, or None.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.breaks = CONTENT, '"one"', []
        self.ranges, self.length, self.asked = True, True, []

    def url(self, name="some.pth"):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, address):
        """Say nothing of connections that were cut on purpose."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if "missing" in self.path:
            self.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if self.headers.get("If-Range") not in (None, server.etag):
            begin = 0
        self.send_response(206 if begin else 200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(server.content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        answer = server.content[begin:]
        if server.breaks:
            self.wfile.write(answer[: server.breaks.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)  # in the middle of it
            return
        self.wfile.write(answer)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def files():
    return sorted(path.name for path in cache_folder().rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_then_comes_from_the_cache(server):
    path = download(server.url())
    assert path.read_bytes() == CONTENT
    assert path.name == "some.pth"
    assert files() == ["lock", "some.pth"]
    server.shutdown()
    assert download(server.url()) == path
    assert server.asked == [None]


def test_a_transfer_that_breaks_goes_on_where_it_was(server):
    server.breaks = [2**20, 2**20]
    seen = []
    path = download(server.url(), f"sha256:{SHA}", lambda what, count, of: seen.append((what, count, of)))
    assert path.read_bytes() == CONTENT
    begins = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.asked[1:]]
    assert len(begins) == 2
    assert 0 < begins[0] < begins[1] <= 2 * 2**20
    assert seen[-1] == ("some.pth", len(CONTENT), len(CONTENT))


def test_what_is_half_there_never_enters_the_cache_and_goes_on_the_next_time(server, refused):
    server.breaks = [10**6] + [0] * 10
    line = refused(download, server.url())
    assert line.startswith(f"{server.url()}: cannot be had (the connection broke after ")
    assert line.endswith("give the command again when there is a network, or the path of a file")
    assert "some.pth" not in files()
    begun = next(cache_folder().rglob("*.part")).stat().st_size
    assert 0 < begun <= 10**6
    server.breaks, server.asked = [], []
    assert download(server.url()).read_bytes() == CONTENT
    assert server.asked == [f"bytes={begun}-"]
    assert files() == ["lock", "some.pth"]


def test_parts_of_two_versions_are_never_put_together(server, refused):
    server.breaks = [10**6] + [0] * 10
    refused(download, server.url())
    server.breaks, server.etag, server.content = [], '"two"', bytes(reversed(CONTENT))
    assert download(server.url()).read_bytes() == bytes(reversed(CONTENT))


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, ""), (True, 'W/"weak"')])
def test_a_server_without_ranges_or_versions_is_asked_for_all_of_it_again(server, ranges, etag):
    server.ranges, server.etag, server.breaks = ranges, etag, [10**6]
    assert download(server.url()).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, refused):
    for checksum in ("sha256:0123abcd", "md5:" + 32 * "0", "sha1:" + 40 * "0"):
        assert "it was removed" in refused(download, server.url(), checksum)
        assert files() == ["lock"]
    assert "not 0123abcd" in refused(download, server.url("other-0123abcd.pth"))  # as the name says
    assert download(server.url(f"other-{SHA[:8]}.pth")).read_bytes() == CONTENT
    for kind in ("md5", "sha1", "sha256"):
        checksum = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
        assert download(server.url(f"{kind}.pth"), checksum).is_file()


def test_a_cached_file_that_has_changed_is_noticed_and_removed(server, refused):
    path = download(server.url(), f"sha256:{SHA}")
    path.write_bytes(CONTENT[:-1])
    assert "it was removed" in refused(download, server.url(), f"sha256:{SHA}")
    assert download(server.url(), f"sha256:{SHA}").read_bytes() == CONTENT


def test_a_part_of_another_file_does_not_pass_the_checksum(server, refused):
    server.breaks, server.etag = [10**6] + [0] * 10, ""
    refused(download, server.url(), f"sha256:{SHA}")
    part = next(cache_folder().rglob("*.part"))
    part.write_bytes(bytes(part.stat().st_size))
    server.breaks = []
    assert "it was removed" in refused(download, server.url(), f"sha256:{SHA}")
    assert download(server.url(), f"sha256:{SHA}").read_bytes() == CONTENT


def test_a_length_nobody_knows_needs_a_checksum(server, refused):
    server.length = False
    assert "does not say how long the file is" in refused(download, server.url())
    assert download(server.url(), f"sha256:{SHA}").read_bytes() == CONTENT


def test_no_network_a_missing_file_and_offline_are_one_line_each(server, refused, monkeypatch):
    assert "the server says 404 Not Found" in refused(download, server.url("missing.pth"))
    closed = "http://127.0.0.1:9/some.pth"
    assert refused(download, closed).startswith(f"{closed}: cannot be had (")
    here = download(server.url())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download(server.url()) == here
    assert "HF_HUB_OFFLINE forbids to fetch it" in refused(download, server.url("other.pth"))


def test_a_cache_that_cannot_be_written_is_named(server, refused, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot be written (Not a directory)" in refused(download, server.url())


def test_many_at_once_fetch_it_once(server):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: download(server.url()), range(8)))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert server.asked == [None]


def test_a_killed_process_leaves_a_part_that_the_next_one_finishes(server, tmp_path):
    server.content = CONTENT * 8
    code = f"""
import time
from verydeep.weights.download import download
download({server.url()!r}, progress=lambda what, count, of: (print(count, flush=True), time.sleep(0.05)))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert "some.pth" not in files()
    assert next(cache_folder().rglob("*.part")).stat().st_size > 0
    assert download(server.url()).read_bytes() == CONTENT * 8
    assert server.asked[-1] is not None
