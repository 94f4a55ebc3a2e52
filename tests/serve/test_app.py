"""The application, asked without a network between."""

import asyncio
import io
import re
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import verydeep.serve
from verydeep.pictures.decode import decode
from verydeep.serve.app import HEADERS, Limits, create_app
from verydeep.serve.sight import ServedNet


@pytest.fixture(scope="module")
def app(served):
    return create_app([served], limits=Limits(megabytes=2))


def png(width, height):
    """A picture that is a header and no more, as bombs are."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_a_picture_gets_the_answer_of_its_net(app, served, picture, encode, request_of):
    answer = asyncio.run(request_of(app, "POST", "/look", [encode(picture)]))
    assert answer.status == 200
    due = served.look(picture)
    for ours, theirs in zip(answer.json["classes"], due["classes"], strict=True):
        assert ours == pytest.approx(theirs) if isinstance(ours, float) else ours == theirs


def test_a_body_may_come_in_parts(app, picture, encode, request_of):
    whole = encode(picture)
    parts = [whole[start : start + 1000] for start in range(0, len(whole), 1000)]
    answers = [asyncio.run(request_of(app, "POST", "/look", body)).json for body in ([whole], parts)]
    assert answers[0]["classes"] == answers[1]["classes"]


def test_a_picture_is_set_upright_as_its_exif_data_say(app, picture, encode, request_of):
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(picture, "JPEG", exif=exif, quality=95)
    answer = asyncio.run(request_of(app, "POST", "/look", [encoded])).json
    assert (answer["picture"]["height"], answer["picture"]["width"]) == (140, 90)
    upright = asyncio.run(request_of(app, "POST", "/look", [encode(decode(encoded))])).json
    assert answer["classes"] == upright["classes"]


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "is empty"),
        (b"Milk, bread and a photograph.", "is of no known format (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC)"),
        (b"<!doctype html><script>alert(1)</script>", "is of no known format (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC)"),
        (png(60_000, 60_000), "60000x60000 are 3600 megapixels, the limit is 64"),
        (png(11_600, 8_700), "11600x8700 are 100.9 megapixels, the limit is 64"),
        (png(0, 5), "cannot be decoded"),
        (png(500, 500), "cannot be decoded"),
        ("half", "cannot be decoded"),
        ("long", "900x100 px is too long; cut out a part of it"),
    ],
    ids=["empty", "text", "a page", "a bomb", "a hundred megapixels", "no rows", "no pixels", "half", "long"],
)
def test_what_is_no_picture_of_ours_is_said_in_a_clause_and_the_next_one_is_looked_at(
    app, picture, encode, request_of, encoded, said
):
    if encoded == "half":
        whole = encode(picture, "JPEG")
        encoded = whole[: len(whole) // 2]
    if encoded == "long":
        encoded = encode(np.zeros((100, 900, 3), np.uint8))
    answer = asyncio.run(request_of(app, "POST", "/look", [encoded]))
    assert answer.status == 422
    assert answer.json["message"].startswith(said)
    assert "remove" not in answer.json["message"]
    assert asyncio.run(request_of(app, "POST", "/look", [encode(picture)])).status == 200


def test_a_true_photograph_of_a_hundred_megapixels_is_refused_by_its_header(app, request_of):
    file = io.BytesIO()
    Image.new("L", (11_600, 8_700)).save(file, "JPEG", quality=1)
    assert file.tell() < 2e6
    answer = asyncio.run(request_of(app, "POST", "/look", [file.getvalue()]))
    assert (answer.status, answer.json["message"]) == (422, "11600x8700 are 100.9 megapixels, the limit is 64")


def test_a_file_that_is_too_large_is_refused_by_what_it_says_or_once_it_is(app, request_of):
    said = "is larger than 2 megabytes"
    answer = asyncio.run(request_of(app, "POST", "/look", [b""], content_length="2000001"))
    assert (answer.status, answer.json["message"]) == (413, said)
    answer = asyncio.run(request_of(app, "POST", "/look", [bytes(10**6)] * 3))
    assert (answer.status, answer.json["message"]) == (413, said)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": None}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:8000"}, 422),  # the page itself: of an empty file
        ({"content_type": "text/plain"}, 415),  # what another page may send without asking
        ({"content_type": None}, 415),
    ],
)
def test_other_pages_are_refused(app, request_of, changes, status):
    assert asyncio.run(request_of(app, "POST", "/look", **changes)).status == status


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("POST", "/look", "net=1", 404),
        ("POST", "/look", "net=-1", 404),
        ("POST", "/look", "net=cat", 422),
        ("GET", "/look", "", 404),
        ("GET", "/docs", "", 404),
        ("GET", "/openapi.json", "", 404),
        ("GET", "/page.html.jinja", "", 404),
        ("GET", "/../app.py", "", 404),
        ("OPTIONS", "/look", "", 405),
    ],
)
def test_what_is_not_there_is_not_given(app, request_of, method, path, query, status):
    answer = asyncio.run(request_of(app, method, path, query=query))
    assert answer.status == status
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("path", ["/", "/house.css", "/serve.css", "/serve.js"])
def test_the_page_has_nothing_from_elsewhere_and_lets_nothing_in(app, request_of, path):
    answer = asyncio.run(request_of(app, path=path))
    assert answer.status == 200
    assert HEADERS.items() <= answer.headers.items()
    text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[\w-]+\.\w", text)
    assert " style=" not in text  # which the policy would not let through
    assert not re.search(r"\son\w+=", text)


def test_the_page_names_its_nets_and_what_they_know(served, request_of):
    other = ServedNet("<b>other</b>", served.net, {"weights": "random"}, served.protocols)
    text = asyncio.run(request_of(create_app([served, other]))).body.decode()
    assert "vgg-a with 6 classes of animals" in text
    assert "&lt;b&gt;other" in text
    assert "what it says means nothing" in text
    assert '<select id="net">' in text
    assert '<select id="net">' not in asyncio.run(request_of(create_app([served]))).body.decode()


def test_one_picture_at_a_time_is_computed_while_the_page_is_given_and_more_wait_or_come_again(
    served, picture, encode, request_of
):
    begun, go_on, at_once, most = threading.Semaphore(0), threading.Event(), [], []

    class Patient(ServedNet):
        def look(self, picture):
            at_once.append(1)
            most.append(len(at_once))
            begun.release()
            go_on.wait(30)
            at_once.pop()
            return {"classes": []}

    app = create_app([Patient("patient", served.net)], limits=Limits(waiting=3))

    async def crowd():
        asked = [asyncio.create_task(request_of(app, "POST", "/look", [encode(picture)])) for _ in range(4)]
        while not begun.acquire(blocking=False):
            await asyncio.sleep(0.01)
        page = await asyncio.wait_for(request_of(app), 10)  # meanwhile
        go_on.set()
        return page, await asyncio.gather(*asked)

    page, answers = asyncio.run(crowd())
    assert page.status == 200
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 503]
    assert max(most) == 1
    assert asyncio.run(request_of(app, "POST", "/look", [encode(picture)])).status == 200


def test_a_file_that_never_arrives_is_waited_for_so_long_and_no_longer(served, request_of):
    app = create_app([served], limits=Limits(seconds=0.05, waiting=1))
    for _ in range(2):  # the place of the first is free again
        answer = asyncio.run(request_of(app, "POST", "/look", [b"\xff\xd8"], hangs=True))
        assert (answer.status, answer.json["message"]) == (408, "did not arrive in time; try again")


def test_a_browser_that_leaves_hurts_nobody(app, request_of, picture, encode):
    async def leave():
        async def receive():
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/look", "query_string": b"", "headers": [
            (b"host", b"localhost"), (b"content-type", b"application/octet-stream")]}  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(leave())
    assert asyncio.run(request_of(app, "POST", "/look", [encode(picture)])).status == 200


def test_a_bug_is_an_answer_of_500_with_the_same_headers(served, picture, encode, request_of):
    class Broken(ServedNet):
        def look(self, picture):
            raise ZeroDivisionError

    answer = asyncio.run(request_of(create_app([Broken("broken", served.net)]), "POST", "/look", [encode(picture)]))
    assert answer.status == 500
    assert HEADERS.items() <= answer.headers.items()


def test_the_rooms_names_are_there():
    for name in verydeep.serve.__all__:
        assert getattr(verydeep.serve, name) is not None
