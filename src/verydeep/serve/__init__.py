"""A local page on the chosen nets: a photograph goes in, what they take it for comes out, and nothing is kept.

The names below are loaded when they are first used, as those of `verydeep` itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.serve.app import Limits, create_app
    from verydeep.serve.server import serve
    from verydeep.serve.sight import ServedNet, open_served

__all__ = ["Limits", "ServedNet", "create_app", "open_served", "serve"]

HOMES = {
    "Limits": "verydeep.serve.app",
    "ServedNet": "verydeep.serve.sight",
    "create_app": "verydeep.serve.app",
    "open_served": "verydeep.serve.sight",
    "serve": "verydeep.serve.server",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'verydeep.serve' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value  # so that the next use comes here no more
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
