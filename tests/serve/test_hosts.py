import socket

import pytest

from verydeep.serve.hosts import is_loopback, is_own, is_same_origin, own_names


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000", "[::1]", "192.168.1.7:8000"],
)
def test_its_names_and_addresses_in_figures_are_its_own(host):
    assert is_own(host, own_names("127.0.0.1"))


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8000", "localhost.evil.example", "evil.example@localhost.evil.example",
     "127.0.0.1.nip.io", "localhost:port", "[::1", "0x7f000001.evil", ":8000"],
)  # fmt: skip
def test_names_that_somebody_else_can_lead_here_are_not(host):
    assert not is_own(host, own_names("127.0.0.1"))


def test_the_machines_name_counts_where_others_can_reach_the_page():
    name = socket.gethostname()
    assert is_own(f"{name}:8000", own_names("0.0.0.0"))
    assert name.lower() == "localhost" or not is_own(name, own_names("127.0.0.1"))
    assert is_own("photos.example", own_names("photos.example"))


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("LocalHost", True), ("0.0.0.0", False),
                                           ("192.168.1.7", False), ("photos.example", False)])  # fmt: skip
def test_loopback_is_what_no_other_machine_reaches(host, own):
    assert is_loopback(host) == own


def test_an_origin_is_the_pages_own_or_none():
    assert is_same_origin(None, "localhost:8000")
    assert is_same_origin("http://localhost:8000", "localhost:8000")
    assert not is_same_origin("http://localhost:8001", "localhost:8000")
    assert not is_same_origin("https://evil.example", "localhost:8000")
    assert not is_same_origin("null", "localhost:8000")
