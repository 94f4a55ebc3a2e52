"""Which names a page may be asked for by, so that no other page's script reaches it.

A page somewhere can have its own name lead to this machine (DNS rebinding) and then read what is served here. A browser
still says that page's name in the header `Host`, and a page's origin in `Origin`. Addresses in figures cannot be
rebound. Decision: docs/decisions/120-a-page-that-keeps-nothing.md.
"""

import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit


def own_names(host: str) -> frozenset[str]:
    """The names that a page served at `host` may be asked for by; this machine's own, if others can reach it."""
    names = {"localhost", host.lower()}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local"}
    return frozenset(names)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_own(host: str | None, names: Collection[str]) -> bool:
    """Whether a header `Host`, with or without a port, is one of the names or an address in figures."""
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        urlsplit(f"//{host or ''}").port  # noqa: B018 - raises where it is none
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a header `Origin` is that of the page itself; a client that is no browser sends none."""
    return origin is None or urlsplit(origin).netloc == host
