"""A port of this machine, and a server that answers there until it is interrupted."""

import os
import socket
from collections.abc import Callable, Sequence

from verydeep.errors import ServeError
from verydeep.serve.hosts import own_names
from verydeep.serve.sight import ServedNet

CONNECTIONS = 64  # at once; more are told to come again
LAST_SECONDS = 5  # that an answer may still take once the server is told to end


def serve(
    nets: Sequence[ServedNet],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    megabytes: int | float = 32,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page on some nets until Ctrl-C.

    Args:
        nets: that can be chosen on it.
        host: address of this machine; by default nobody but this machine reaches it.
        port: 0 for any that is free.
        megabytes: of the largest file that is taken.
        ready: is told the page's address, once it can be opened.

    Raises:
        ServeError: the port is in use, the address is not this machine's, or the extra `serve` is missing.
        KeyboardInterrupt: after Ctrl-C.
    """
    try:
        import uvicorn

        from verydeep.serve.app import Limits, create_app
    except ModuleNotFoundError as error:
        raise ServeError(f"serve: {error.name} is missing; pip install 'verydeep[serve]'") from None
    with bind(host, port) as bound:
        ready(address(host, bound.getsockname()[1]))
        app = create_app(nets, names=own_names(host), limits=Limits(megabytes=megabytes))
        config = uvicorn.Config(
            app,
            log_config=None,  # warnings and bugs go to standard error; who asked for what is not written down
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[bound])


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine.

    Raises:
        ServeError: it is in use, or none of this machine's.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ServeError(f"--host {host}: is no address of this machine ({reason(error)})") from None
    try:
        if os.name == "posix":  # elsewhere it would share a port that is in use
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen()
    except OSError as error:
        bound.close()
        raise ServeError(
            f"{host}:{port}: cannot be served at ({reason(error)}); give another --port, 0 for any that is free"
        ) from None
    return bound


def reason(error: OSError | UnicodeError) -> str:
    """What the system says, as a clause."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def address(host: str, port: int) -> str:
    """What to type into a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
