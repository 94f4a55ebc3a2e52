"""The page as a web application: what it takes, what it refuses, and the one thread that computes.

Nothing is written: a picture's bytes come into memory as the body of a request, and go with its answer. Decision:
docs/decisions/120-a-page-that-keeps-nothing.md.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import ClientDisconnect

from verydeep.errors import PictureError, VerydeepError
from verydeep.pictures.decode import decode
from verydeep.serve.hosts import is_own, is_same_origin
from verydeep.serve.sight import ServedNet

BYTES = "application/octet-stream"  # what a script of another page may not send without asking first
PARTS = {  # of the page: where they lie
    "house.css": ("verydeep.studies", "text/css"),
    "serve.css": ("verydeep.serve", "text/css"),
    "serve.js": ("verydeep.serve", "text/javascript"),
}
HEADERS = {  # of every answer; the page has nothing from anywhere else
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


@dataclass(frozen=True)
class Limits:
    """What is refused.

    Attributes:
        megabytes: more than so many in a file.
        megapixels: more than so many in a picture, by its header.
        aspect: a longer side of more than so many smaller ones.
        waiting: more pictures than so many at once; the page asks to try again.
        seconds: longer than so many for a file to arrive.
    """

    megabytes: int | float = 32
    megapixels: float = 64.0
    aspect: int = 8
    waiting: int = 8
    seconds: float = 60.0


class Refusal(Exception):
    """What is refused before it is looked at: a status of HTTP and a clause for the page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(
    nets: Sequence[ServedNet], *, names: Collection[str] = ("localhost",), limits: Limits = Limits()
) -> Application:
    """The page on some nets, as an ASGI application.

    Args:
        nets: that can be chosen on the page; the first one at first.
        names: of this machine, that the page may be asked for by; besides any address in figures.
        limits: what is refused.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # whose pages would load scripts from elsewhere
    worker = ThreadPoolExecutor(1, thread_name_prefix="look")  # one picture at a time, beside the event loop
    waiting = threading.Semaphore(limits.waiting)

    async def page() -> Response:
        return Response(html(nets, limits), media_type="text/html")

    async def part(name: str) -> Response:
        if name not in PARTS:
            return Response("There is no such page.\n", 404, media_type="text/plain")
        package, kind = PARTS[name]
        return Response(files(package).joinpath(name).read_bytes(), media_type=kind)

    async def look(request: Request, net: int = 0) -> Response:
        if not 0 <= net < len(nets):
            return refuse(404, "there is no such net; load the page anew")
        if not waiting.acquire(blocking=False):
            return refuse(503, "others are being looked at; try again in a moment")
        try:
            encoded = await body(request, limits)
            answer = await asyncio.get_running_loop().run_in_executor(worker, sight, nets[net], encoded, limits)
        except Refusal as refusal:
            return refuse(refusal.status, str(refusal))
        except VerydeepError as error:
            return refuse(422, clause(error))
        finally:
            waiting.release()
        return JSONResponse(answer)

    app.add_api_route("/", page)
    app.add_api_route("/look", look, methods=["POST"])
    app.add_api_route("/{name}", part)
    return guarded(app, names)


def sight(net: ServedNet, encoded: bytes, limits: Limits) -> dict[str, Any]:
    """What a net says of an encoded picture, upright as its EXIF data say.

    Raises:
        PictureError: it is none, or too large.
    """
    picture = decode(encoded, max_megapixels=limits.megapixels)
    height, width, _ = picture.shape
    if max(height, width) > limits.aspect * min(height, width):
        raise PictureError(f"{width}x{height} px is too long; cut out a part of it")
    return net.look(picture)


async def body(request: Request, limits: Limits) -> bytes:
    """The bytes of a file, no more of them than are allowed.

    Raises:
        Refusal: there are more, or they do not come, or another page sends them.
    """
    if request.headers.get("content-type") != BYTES:
        raise Refusal(415, f"the picture has to be sent as {BYTES}")
    most = int(limits.megabytes * 1e6)
    if int(request.headers.get("content-length", 0)) > most:  # the server has seen to it that it is a number
        raise Refusal(413, too_large(limits))
    received = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                received += chunk
                if len(received) > most:
                    raise Refusal(413, too_large(limits))
    except TimeoutError:
        raise Refusal(408, "did not arrive in time; try again") from None
    except ClientDisconnect:
        raise Refusal(400, "did not arrive whole") from None
    return bytes(received)


def too_large(limits: Limits) -> str:
    """What to say of a file that is too large; the page says the same by itself."""
    return f"is larger than {limits.megabytes:g} megabytes"


def clause(error: VerydeepError) -> str:
    """What is wrong with a picture, without the name that it has here, and without advice for a command line."""
    what, _, advice = str(error).removeprefix("picture: ").partition("; ")
    return what if advice.startswith(("remove", "raise")) or not advice else f"{what}; {advice}"


def refuse(status: int, message: str) -> JSONResponse:
    """An answer that the page shows as a line."""
    return JSONResponse({"message": message}, status)


def html(nets: Sequence[ServedNet], limits: Limits) -> str:
    """The page itself."""
    environment = Environment(
        loader=PackageLoader("verydeep.serve", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.jinja").render(nets=nets, limits=limits)


def guarded(app: Application, names: Collection[str]) -> Application:
    """An application that answers to its own names and its own page alone, with the house's headers on everything."""

    async def answer(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        host = headers.get("host")
        if not is_own(host, names):
            refusal = Response("This page is not served by that name.\n", 403, media_type="text/plain")
            await refusal(scope, receive, send_with_headers)
        elif not is_same_origin(headers.get("origin"), host):
            await refuse(403, "another page has sent it")(scope, receive, send_with_headers)
        else:
            await app(scope, receive, send_with_headers)

    return answer
