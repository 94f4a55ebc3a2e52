"""A file from a web server into a cache: whole and checked, or not at all; what broke off goes on where it was."""

import hashlib
import http.client
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

from verydeep.errors import WeightsError
from verydeep.weights.lock import locked

Progress = Callable[[str, int, int], None]  # what, bytes that are here, bytes in all

PATIENCE = 20  # seconds that a server may keep silent
TRIES = 4  # in a row that bring nothing
CHUNK = 2**20  # bytes between two looks at the progress
IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # torch.hub's way: the file's name ends in the begin of its SHA-256


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/verydeep/weights or ~/.cache/verydeep/weights."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "verydeep" / "weights"


def download(url: str, checksum: str = "", progress: Progress | None = None) -> Path:
    """The file behind a URL, from the cache if it is there and still the same.

    Args:
        url: http or https.
        checksum: such as `sha256:397923af`, `md5:…` or `sha1:…`, whole or its begin; by default what the file's name
            says in torch.hub's way, or none.
        progress: is told the bytes.

    Raises:
        WeightsError: it cannot be had, or its checksum is another.
    """
    name = Path(unquote(urlparse(url).path)).name or "weights"
    begin = IN_NAME.search(name)
    checksum = checksum or (f"sha256:{begin[1]}" if begin else "")
    target = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if target.is_file():
        check(url, target, checksum)
        return target
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise WeightsError(f"{url}: is not in {target.parent}, and HF_HUB_OFFLINE forbids to fetch it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent / "lock"):
            if not target.is_file():  # nobody else was faster
                _fetch(url, Part(target), checksum, progress)
    except OSError as error:
        raise WeightsError(
            f"{target}: cannot be written ({error.strerror or error}); make room, or set XDG_CACHE_HOME"
        ) from None
    return target


class Part:
    """What is there of a file, and which version of the server's file it is a part of.

    Attributes:
        target: where the whole file will be.
        path: the part.
        note: what the server called the version.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path, self.note = (target.with_name(f"{target.name}.{end}") for end in ("part", "version"))

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """The server's word for the version; empty if it has none."""
        try:
            return str(json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return ""

    def start(self, version: str) -> None:
        """Forget what was there."""
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps(version), encoding="utf-8")

    def remove(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _fetch(url: str, part: Part, checksum: str, progress: Progress | None) -> None:
    """Bring a file here, in as many pieces as it takes, and move it to its place once it is whole and the right one.

    Raises:
        WeightsError: it cannot be had, or its checksum is another.
    """
    failures, size = 0, part.size
    while True:
        try:
            whole = _receive(url, part, checksum, progress)
        except HTTPError as error:
            error.close()
            raise WeightsError(f"{url}: the server says {error.code} {error.reason}; see to the address") from None
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if part.size <= size else 0
            size = part.size
            if failures == TRIES or not size:
                reason = getattr(error, "reason", None) or error
                raise WeightsError(
                    f"{url}: cannot be had ({reason}), {size:,} bytes of it are here; give the command again when "
                    "there is a network, or the path of a file"
                ) from None
            continue
        break
    if whole is not None and part.size != whole:
        part.remove()
        raise WeightsError(f"{url}: {part.size:,} bytes came instead of {whole:,}; try again")
    part.note.unlink()
    check(url, part.path, checksum)
    with part.path.open("rb+") as file:
        os.fsync(file.fileno())
    part.path.replace(part.target)


def _receive(url: str, part: Part, checksum: str, progress: Progress | None) -> int | None:
    """Add to a part what is missing; the size of the whole file, if the server says it."""
    here, version = part.size, part.version
    request = Request(url, headers={"User-Agent": "verydeep"})
    if here and (version or checksum):
        request.add_header("Range", f"bytes={here}-")
        if version:
            request.add_header("If-Range", version)
    with urlopen(request, timeout=PATIENCE) as answer:
        ranges = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        goes_on = answer.status == 206 and ranges and int(ranges[1]) == here
        if not goes_on:
            etag = answer.headers.get("ETag", "")
            part.start(answer.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag)
            here = 0
        length = answer.headers.get("Content-Length")
        whole = here + int(length) if length else None
        if whole is None and not checksum:
            raise WeightsError(f"{url}: the server does not say how long the file is; fetch it yourself, give its path")
        with part.path.open("ab") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                here += len(chunk)
                if progress:
                    progress(part.target.name, here, whole or here)
        if whole is not None and here < whole:
            raise ConnectionError(f"the connection broke after {here:,} of {whole:,} bytes")
    return whole


def check(where: str, path: Path, checksum: str) -> None:
    """Compare a file's checksum with what it should be; a wrong file is removed.

    Args:
        where: the file comes from.
        path: of the file.
        checksum: as in `download`; empty if none is known.

    Raises:
        WeightsError: it is another.
    """
    kind, _, begin = checksum.partition(":")
    if not begin:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, kind).hexdigest()
    if not digest.startswith(begin.lower()):
        path.unlink()
        raise WeightsError(f"{where}: its {kind} is {digest[:16]}…, not {begin[:16]}; it was removed; try again")
